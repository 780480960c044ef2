"""scripts/start_vllm_server.sh with a vLLM stand-in that takes what 0.9.2 and 0.32 take."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from config import ConfigError, Settings, load
from scripts.models import bare_settings, serve, vllm_command
from scripts.models.checkpoint import Checkpoint
from scripts.models.disk import ModelError
from server.core.frames import Geometry
from server.features.hosting.catalogue import vllm as catalogue_vllm
from server.features.hosting.catalogue.engine_log import explain_failure
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.vllm import Vllm, parse_flags
from server.features.hosting.gpu import Gpu
from server.features.hosting.host import query_vllm
from server.media.picture import prepare as resize
from server.models import families
from server.shared.processes.environment import make_child_environment
from tests.support.documents import ROOT
from tests.support.fakes_server import free_port
from tests.support.programs import ran
from tests.support.vllm_stand_in import FAILURES, install, install_for_cpu, recorded

PROGRAM = ROOT / "scripts" / "models" / "serve.py"
KEY = "keyOfTheTestThatNobodyMaySee"
VERSIONS = ("0.9.2", "0.32")
ROCM = json.dumps(
    [
        {
            "gpu": 0,
            "asic": {"market_name": "AMD Instinct MI300X"},
            "mem_usage": {"total_vram": {"value": 192 << 10}, "used_vram": {"value": 1 << 10}},
        }
    ]
)
Result = subprocess.CompletedProcess[str]


@contextmanager
def process(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """It does not outlive its test; asked to end, it ends what it started."""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()
                running.communicate(timeout=60)


class Machine:
    """A folder of programs and a model, and the environment that finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.bin = folder / "bin"
        self.bin.mkdir()
        model = folder / "a model"
        model.mkdir()
        config = {"model_type": "qwen2_5_vl", "vision_config": {"patch_size": 14}}
        (model / "config.json").write_text(json.dumps(config))
        (model / "model.safetensors").write_bytes(bytes(1000))
        self.model = model
        self.tool("amd-smi", f"echo 'WARNING: something'; echo '{ROCM}'")

    def tool(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "MODEL_PATH": str(self.model),
            "VLLM_BASE_URL": f"http://127.0.0.1:{self.port}/v1",
            "VLLM_API_KEY": KEY,
            **more,
        }

    def command(self, *args: str) -> list[str]:
        return [sys.executable, str(PROGRAM), "--env-file", "/dev/null", *args]

    def run(self, *args: str, **more: str) -> Result:
        with process(self.command(*args), self.environment(**more)) as running:
            out, err = running.communicate(timeout=60)
        return subprocess.CompletedProcess(args, running.returncode, out, err)

    def started(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.bin / "started.json").read_text())
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# The command


def model_of(**config: Any) -> Checkpoint:
    return Checkpoint(Path("/m"), config, None, ())


def built(version: str, *extra: str, kind: str = "", **settings: str) -> Launch:
    model = model_of(model_type=kind, vision_config={"patch_size": 14})
    vllm = Vllm(version, frozenset(recorded(version)))
    return vllm_command.build(load(None, **settings), model, vllm, extra)


@pytest.mark.parametrize("version", VERSIONS)
def test_only_listed_flags_are_passed(version: str) -> None:
    """Each is in that version's help, the whole setup is there, and requests are never logged."""
    command = built(
        version, model_name="the model", model_dtype="bfloat16", model_max_tokens="4096"
    )
    flags = [word for word in command.argv if word.startswith("--")]
    assert set(flags) <= set(recorded(version))
    words = list(command.argv)

    def value(flag: str) -> str:
        return words[words.index(flag) + 1]

    assert words[:3] == ["vllm", "serve", "/m"]
    assert (value("--served-model-name"), value("--dtype")) == ("the model", "bfloat16")
    assert (value("--max-model-len"), value("--gpu-memory-utilization")) == ("4096", "0.9")
    assert (value("--host"), value("--port")) == ("127.0.0.1", "8001")
    assert json.loads(value("--limit-mm-per-prompt")) == {"image": 4, "video": 0}
    # No request has a priority: whose turn it is, is decided before.
    assert "--scheduling-policy" not in flags
    # vLLM knows best how many answers its memory holds.
    assert "--max-num-seqs" not in flags
    assert "--enable-prefix-caching" in flags
    silent = "--disable-log-requests" if version == "0.9.2" else "--no-enable-log-requests"
    assert silent in flags
    assert not {"--enable-log-requests", "--enable-log-outputs", "--api-key"} & set(flags)
    assert not any("left out" in warning for warning in command.warnings)
    # It fetches nothing, from the version that has such an option, and reports nothing.
    if "--allowed-media-domains" in recorded(version):
        assert value("--allowed-media-domains").endswith(".invalid")
    assert command.env["VLLM_NO_USAGE_STATS"] == "1"
    assert command.env["HF_HUB_OFFLINE"] == "1"


def test_a_video_is_allowed_to_a_model_that_takes_one() -> None:
    """As large as a picture in all, for a vLLM that can bound it."""
    for version, video in (
        ("0.32", {"count": 1, "num_frames": 8, "width": 476, "height": 476}),
        ("0.9.2", 0),
    ):
        argv = built(version, kind="qwen2_5_vl").argv
        limits = json.loads(argv[argv.index("--limit-mm-per-prompt") + 1])
        assert limits == {"image": 4, "video": video}


@pytest.mark.parametrize(
    ("kind", "extra", "parser"),
    [
        ("qwen3_vl", (), ["hermes"]),
        ("qwen3_5", (), ["qwen3_coder"]),
        ("qwen3_vl", ("--tool-call-parser", "mine"), ["mine"]),
        ("qwen2_5_vl", (), []),
    ],
)
def test_tools_are_read_of_a_family_that_calls_them(
    kind: str, extra: tuple[str, ...], parser: list[str]
) -> None:
    """Without the parser vLLM refuses them; the operator's own wins."""
    argv = built("0.32", *extra, kind=kind).argv
    flags = [n for n, word in enumerate(argv) if word == "--tool-call-parser"]
    assert [argv[n + 1] for n in flags] == parser
    assert ("--enable-auto-tool-choice" in argv) is (bool(parser) and not extra)


@pytest.mark.parametrize("budget", [16, 512, 1280, 4096])
def test_vllm_resizes_none_of_our_pictures(budget: int) -> None:
    """The server's pictures of a camera, at either detail, are within vLLM's pixels."""
    words = list(built("0.32", visual_token_budget=str(budget)).argv)
    pixels = json.loads(words[words.index("--mm-processor-kwargs") + 1])
    theirs = Geometry(28, pixels["min_pixels"], pixels["max_pixels"])
    assert resize.HIGH_TOKENS == catalogue_vllm.HIGH_DETAIL_TOKENS
    for tokens in (budget, resize.HIGH_TOKENS):
        for height, width in ((720, 1280), (480, 640), (1920, 1080), (90, 160)):
            most = resize.get_budget_pixels(tokens, families.QWEN2_VL)
            ours = resize.smart_resize(height, width, families.QWEN2_VL, most)
            assert resize.smart_resize(*ours, theirs) == ours


def test_versions_with_known_crashes_are_warned_of() -> None:
    """Below 0.30, and where the version is not known."""
    assert any("older than 0.30" in warning for warning in built("0.9.2").warnings)
    assert not built("0.32").warnings
    flags = frozenset(recorded("0.32"))
    for version, warned in (("0.29.1", True), ("0.30.0", False), ("1.0", False), ("dev", True)):
        command = vllm_command.build(load(None), model_of(), Vllm(version, flags))
        assert any("crash" in warning for warning in command.warnings) is warned


def test_the_key_and_other_secrets() -> None:
    """The key goes by the environment and is masked where it is shown; no other secret goes at all."""
    command = built("0.32", vllm_api_key=KEY)
    assert KEY not in command.shown
    assert KEY not in " ".join(command.argv)
    ours = {"JWT_SECRET_KEY": "x", "ACCESS_CODE": "y", "VLLM_BASE_URL": "z", "HOME": "/h"}
    child = make_child_environment({**ours, "TURN_SECRET": "t"}, command.env)
    assert child[catalogue_vllm.KEY] == KEY
    assert child["HOME"] == "/h"
    assert not {"JWT_SECRET_KEY", "ACCESS_CODE", "TURN_SECRET", "VLLM_BASE_URL"} & child.keys()


@pytest.mark.parametrize(
    ("settings", "extra", "says"),
    [
        ({}, ["--enable-log-requests"], "questions are never logged"),
        ({}, ["--enable_log_outputs"], "answers are never logged"),
        ({}, ["--no-disable-log-requests"], "questions are never logged"),
        ({}, ["--config=more.yaml"], "a file could enable"),
        ({}, ["--api-key", "x"], "list of processes"),
        ({}, ["--port", "1"], "follows from the settings"),
        ({}, ["--wings"], "has no --wings"),
        ({"vllm_base_url": "https://127.0.0.1:8001/v1"}, [], "without TLS"),
        ({"vllm_base_url": "http://127.0.0.1:8001/api"}, [], "under /v1"),
    ],
)
def test_what_is_not_started(settings: dict[str, str], extra: list[str], says: str) -> None:
    """Flags that would log questions or show the key, and settings that vLLM cannot follow."""
    with pytest.raises(ModelError, match=says):
        built("0.32", *extra, **settings)


def test_a_vllm_that_can_only_log_requests_is_refused() -> None:
    """There is no way to keep questions out of its log."""
    flags = frozenset(recorded("0.9.2")) - {"--disable-log-requests"}
    with pytest.raises(ModelError, match="keeps questions out of its log"):
        vllm_command.build(load(None), model_of(), Vllm("0.9.2", flags))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_flags_of_the_installed_one_are_found(version: str, tmp_path: Path) -> None:
    """However that version lists all of them; what an explanation names does not count."""
    found = query_vllm(str(install(tmp_path, version)))
    assert found.version == version
    assert found.flags == set(recorded(version))
    text = "  -tp N, --tensor-parallel-size N  Like --other\n  --a-b, --no-a-b\n        see --c"
    assert parse_flags(text) == {"--tensor-parallel-size", "--a-b", "--no-a-b"}


# The log


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("oom", ["GPU_MEMORY_UTILIZATION (now 0.9)", "MODEL_MAX_TOKENS (now 8192)"]),
        ("held", ["Other programs hold", "GPU_MEMORY_UTILIZATION (now 0.9)", "MODEL_MAX_TOKENS"]),
        ("context", ["Lower MODEL_MAX_TOKENS (now 8192)", "GPU_MEMORY_UTILIZATION"]),
        ("port", ["Another program has port 8001"]),
        ("cpu", ["finds no GPU"]),
    ],
)
def test_failures_are_explained(behaviour: str, says: list[str]) -> None:
    """By the settings to change, with their values."""
    told = explain_failure(
        ["INFO", FAILURES[behaviour], "RuntimeError: Engine core initialization failed."],
        memory="GPU_MEMORY_UTILIZATION (now 0.9)",
        context="MODEL_MAX_TOKENS (now 8192)",
        dtype="MODEL_DTYPE (now float16)",
        port=8001,
        path="/m",
    )
    assert all(words in told for words in says), told
    assert not explain_failure(["INFO all is well"])


# The script


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_it_becomes_vllm(machine: Machine, version: str) -> None:
    """Checked, printed, then vLLM has its process, its environment and its signals; `--wait`
    returns when it answers.
    """
    install(machine.bin, version)
    with process(machine.command(), machine.environment(ACCESS_CODE="", NOTIFY="x")) as running:
        waited = machine.run("--wait", "--pid", str(running.pid), "--timeout", "40")
        assert waited.returncode == 0, waited.stderr
        started = machine.started()
        assert started["pid"] == running.pid
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGTERM, err
    assert "AMD Instinct MI300X, 191.0 GiB of 192.0 GiB free" in err
    assert re.search(rf"Ready after \d+ s: http://127.0.0.1:{machine.port}/v1\n", waited.stderr)
    assert ("older than 0.30" in err) is (version == "0.9.2")
    shown = shlex.split(out.splitlines()[0])
    assert shown[shown.index("serve") :] == ["serve", *started["arguments"]]  # type: ignore[misc]
    environment = started["environment"]
    assert isinstance(environment, dict)
    assert environment["VLLM_API_KEY"] == KEY
    assert not {"ACCESS_CODE", "NOTIFY", "MODEL_PATH"} & environment.keys()
    assert KEY not in out + err
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", machine.port), 1)


@pytest.mark.slow
def test_dry_run_starts_nothing(machine: Machine) -> None:
    """It prints the command alone, through the shell script, from anywhere."""
    install(machine.bin, "0.32")
    done = ran(
        ["bash", str(ROOT / "scripts" / "start_vllm_server.sh"), *machine.command("--dry-run")[2:]],
        env=machine.environment(),
        cwd="/",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "VLLM_API_KEY=******** vllm serve" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not (machine.bin / "started.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("oom", "The GPU's memory is full. Lower GPU_MEMORY_UTILIZATION (now 0.9)"),
        ("unknown", ""),
    ],
)
def test_a_failed_start_is_explained(machine: Machine, behaviour: str, says: str) -> None:
    """vLLM's status and words are passed on; its log gives the reason and settings to change."""
    install(machine.bin, "0.32", behaviour)
    done = machine.run()
    assert done.returncode == 1
    assert FAILURES[behaviour] in done.stderr
    log = machine.folder / "vllm.log"
    log.write_text(done.stdout + done.stderr)
    explained = machine.run("--explain", str(log))
    assert explained.returncode == (0 if says else 1)
    assert (says or "The log contains no known reason.") in explained.stdout
    assert "Traceback" not in explained.stderr


@pytest.mark.slow
def test_no_gpu_no_start(machine: Machine) -> None:
    """Never on the CPU; a dry run prints the command all the same.

    A GPU that others fill is reported.
    """
    install(machine.bin, "0.32")
    machine.tool("amd-smi", "echo 'ERROR: no driver' >&2; exit 2")
    done = machine.run()
    assert done.returncode == 1
    assert "amd-smi: amd-smi exited with status 2: ERROR: no driver" in done.stderr
    assert "so it is not started" in done.stderr
    assert not (machine.bin / "started.json").exists()
    assert machine.run("--dry-run").returncode == 0
    machine.tool("amd-smi", f"echo '{ROCM.replace(' 1024', ' 102400')}'")
    assert "Only 92.0 GiB of the first GPU's memory are free" in machine.run("--dry-run").stderr


@pytest.mark.slow
def test_on_the_cpu_by_request_alone(machine: Machine) -> None:
    """With --cpu and a build for it vLLM serves there without any GPU; a build for a GPU does not."""
    machine.tool("amd-smi", "exit 2")
    install(machine.bin, "0.32")
    refused = machine.run("--cpu")
    assert refused.returncode == 1
    assert "`vllm` is not built for the CPU" in refused.stderr
    program = install_for_cpu(machine.folder / "environment", behaviour="on_cpu")
    machine.tool("amd-smi", f"echo '{ROCM}'")
    refused = machine.run("--vllm", str(program))
    assert refused.returncode == 1
    assert "is built for the CPU" in refused.stderr
    assert "use --cpu" in refused.stderr
    machine.tool("amd-smi", "exit 2")
    with process(machine.command("--cpu", "--vllm", str(program)), machine.environment()) as one:
        waited = machine.run("--wait", "--pid", str(one.pid), "--timeout", "40")
        assert waited.returncode == 0, waited.stderr
        one.send_signal(signal.SIGTERM)
        one.communicate(timeout=20)


def test_weights_that_do_not_fit_are_said() -> None:
    """One GPU is used unless flags say more, however many there are."""
    settings = load(None, gpu_memory_utilization="0.5")
    cards = [Gpu(n, "GPU", 0.0, 0, 100 * 2**30, None, None) for n in range(4)]
    doubts = serve.find_memory_warnings(cards, 60 * 2**30, settings)
    assert "The weights take 60.0 GiB" in doubts[0]
    assert "uses (1) is 50.0 GiB" in doubts[0]
    assert "-- --tensor-parallel-size 4" in doubts[0]
    assert not serve.find_memory_warnings(cards, 60 * 2**30, settings, 2)
    assert "tensor-parallel" not in serve.find_memory_warnings(cards[:1], 60 * 2**30, settings)[0]
    for flags, count in (
        (("serve", "m"), 1),
        (("--tensor-parallel-size", "2"), 2),
        (("--tensor-parallel-size=4", "-pp", "2"), 8),
        (("-tp",), 1),
        (("-tp", "x"), 1),
    ):
        assert serve.count_gpus_per_copy(flags) == count


@pytest.mark.slow
def test_what_is_wrong_before_the_start_is_said(machine: Machine) -> None:
    """One sentence each: no vLLM, no model, no shard, a bad setting, a server already there."""
    assert "vllm was not found" in machine.run().stderr
    machine.tool("vllm", "echo 'RuntimeError: Failed to infer device type' >&2; exit 1")
    assert "finds no GPU" in machine.run().stderr
    install(machine.bin, "0.32")
    assert "There is no folder" in machine.run(MODEL_PATH=str(machine.folder / "none")).stderr
    for settings, says in (
        ({"GPU_MEMORY_UTILIZATION": "9"}, "GPU_MEMORY_UTILIZATION is '9'"),
        ({"VLLM_BASE_URL": "https://x/v1"}, "without TLS"),
    ):
        done = machine.run("--dry-run", **settings)
        assert done.returncode == 1
        assert says in done.stderr
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (machine.model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00001-of-00001.safetensors" in machine.run("--dry-run").stderr
    (machine.model / "model.safetensors.index.json").unlink()
    words = ["serve", "--host", "127.0.0.1", "--port", str(machine.port)]
    with process([str(machine.bin / "vllm"), *words], {"PATH": os.environ["PATH"]}) as other:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with closing(socket.socket()) as sock:
                if sock.connect_ex(("127.0.0.1", machine.port)) == 0:
                    break
            time.sleep(0.05)
        assert other.poll() is None
        done = machine.run()
    assert done.returncode == 1
    assert "A server is already running" in done.stderr


@pytest.mark.slow
def test_a_dry_run_needs_neither_gpu_nor_a_vllm_that_answers(machine: Machine) -> None:
    """The command is printed, for newer versions' flags; without --dry-run it is refused."""
    machine.tool("vllm", "echo 'RuntimeError: no GPU' >&2; exit 1")
    machine.tool("amd-smi", "exit 1")
    done = machine.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "--max-model-len 8192" in done.stdout
    assert "0.30 or newer" in done.stderr
    assert machine.run().returncode == 1


@pytest.mark.slow
def test_gpus_of_amd_get_what_their_guide_sets(machine: Machine) -> None:
    """In the command; a value of the environment wins."""
    install(machine.bin, "0.32")
    shown = machine.run("--dry-run").stdout
    for name in catalogue_vllm.ROCM_ENVIRONMENT:
        assert f"{name}=1" in shown
    spread = machine.run("--dry-run", "--", "--tensor-parallel-size", "2").stdout
    assert "--mm-encoder-tp-mode data" in spread
    assert "--mm-encoder-tp-mode" not in shown
    kept = make_child_environment(
        {"SAFETENSORS_FAST_GPU": "1", "AITER_JIT_DIR": "/x", "AMDGCN_USE_BUFFER_OPS": "0",
         "FLASH_ATTENTION_TRITON_AMD_ENABLE": "1", "HIP_FORCE_DEV_KERNARG": "1",
         "TORCH_BLAS_PREFER_HIPBLASLT": "1", "VLLM_ROCM_USE_AITER": "0"}, {}
    )  # fmt: skip
    assert len(kept) == 7


# A dry run without packages


BARE = """# settings
export MODEL_NAME="two words"  # shown
MODEL_PATH = ~/models/${WHICH:-none} # where
MODEL_DTYPE=BFloat16
GPU_MEMORY_UTILIZATION='0.85'
vllm_api_key="a\\tb${MODEL_NAME}#c"
VLLM_BASE_URL=http://127.0.0.1:8009/v1/
MODEL_MAX_TOKENS=4096
MAX_CONCURRENT_INFERENCES=12
VISUAL_TOKEN_BUDGET=
RESPONSE_MAX_TOKENS
FRAME_RATE=3
"""


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("", {}),
        (BARE, {"MODEL_NAME": "other", "MODEL_MAX_TOKENS": ""}),
        (BARE.replace("\n", "\r\n"), {}),
    ],
)
def test_a_dry_run_is_the_same_without_packages(
    tmp_path: Path, machine: Machine, text: str, env: dict[str, str]
) -> None:
    """For the same .env and environment, with a GPU."""
    file = tmp_path / "settings"
    file.write_bytes(text.encode())
    words = [str(PROGRAM), "--dry-run", "--env-file", str(file), "--vllm", "/nowhere/vllm"]
    shown = []
    for python in ([sys.executable], [sys.executable, "-S", "-B"]):
        given = {"PATH": f"{machine.bin}:/usr/bin:/bin", "HOME": "/home/x", "WHICH": "qwen", **env}
        with process([*python, *words], given) as running:
            out, err = running.communicate(timeout=60)
        assert running.returncode == 0, err
        shown.append(out)
    assert shown[0] == shown[1]
    assert ("--max-model-len 4096" in shown[0]) is bool(text and not env)


# Settings without packages


KEPT = (*bare_settings.NUMBERS, *bare_settings.TEXTS)


def test_defaults_and_bounds_are_those_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEPT:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("VLLM_API_KEY", "'some-key'")
    bare, whole = bare_settings.read(tmp_path / "none"), load(None)
    for name in KEPT:
        if name != "vllm_api_key":
            assert getattr(bare, name) == getattr(whole, name)
    assert bare.vllm_api_key.get_secret_value() == whole.vllm_api_key.get_secret_value()
    for name, (_, least, most) in bare_settings.NUMBERS.items():
        low, high = Settings.model_fields[name].metadata
        assert (low.ge, high.le) == (least, most)


@pytest.mark.parametrize(
    "text",
    [
        "A=b",
        "A = b # c",
        "A=b#c",
        "export A='b # c' # d",
        'A="x\\ny\\"z"',
        "A='x\\ny'",
        "A=1\nB=${A}-${C:-d}-${E}\nA=2",
        "A=\nB",
        "# A=b\n\n  A=b  \n",
        'A="two\nlines"\nB=1',
        "A='b' c\nB=2",
        "A='b\nB=2",
        "'A'=b\r\nB=2\r\n",
        "A=b=c==",
        "=b\nA=1",
    ],
)
def test_a_file_is_read_as_the_server_reads_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings"
    file.write_bytes(text.encode())
    values = dotenv_values(file, interpolate=False).items()
    whole = {name.lower(): value for name, value in values if value}
    found = {name: value for name, value in bare_settings.read_values(file).items() if value}
    assert found == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GPU_MEMORY_UTILIZATION", "2"),
        ("GPU_MEMORY_UTILIZATION", "nan"),
        ("MODEL_MAX_TOKENS", "many"),
        ("MODEL_MAX_TOKENS", "4096.5"),
        ("MODEL_DTYPE", "int8"),
        ("VLLM_BASE_URL", "ftp://127.0.0.1/v1"),
    ],
)
def test_what_the_server_refuses_is_refused(tmp_path: Path, name: str, value: str) -> None:
    file = tmp_path / "settings"
    file.write_text(f"{name}={value}")
    with pytest.raises(ConfigError, match=name):
        load(file)
    with pytest.raises(ModelError, match=name):
        bare_settings.read(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_bytes(b"A=\xff")
    with pytest.raises(ModelError, match="cannot be read as UTF-8 text"):
        bare_settings.read(file)
