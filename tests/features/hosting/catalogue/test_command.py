"""The exact command for a choice: checked fields, words and no shell, secrets nowhere."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.core.frames import Geometry
from server.features.hosting.catalogue import vllm
from server.features.hosting.catalogue.choice import Choice, CommandError
from server.features.hosting.catalogue.command import IMAGES, build_command
from server.features.hosting.catalogue.entry import Ability, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.machine import Vendor
from server.features.hosting.catalogue.vllm import IMAGE_FLAGS
from server.shared.processes.environment import make_child_environment
from tests.features.hosting.catalogue.test_modes import ALL, MAKER, MODEL
from tests.features.hosting.catalogue.test_modes import VLLM as BARE
from tests.support.vllm_stand_in import recorded

KEY = "keyOfTheTestThatNobodyMaySee"
QWEN = MODEL.model_copy(
    update={
        "geometry": Geometry(28, 3136, 12_845_056),
        "abilities": frozenset({Ability.IMAGES, Ability.VIDEO_IN}),
        "context_length": 128_000,
    }
)
VLLM = replace(BARE, flags=frozenset(recorded("0.32")))
HOST = replace(ALL, vllm=VLLM)


def built(mode: str, host: Any = HOST, model: Any = QWEN, **fields: object) -> Launch:
    choice = Choice.read({"model": "some/model", "mode": mode, **fields})
    return build_command(choice, model, host, api_key=KEY, container="mine")


def value(words: tuple[str, ...], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_vllm_as_a_subprocess() -> None:
    """The program with what it lists, on loopback, the key in its environment alone."""
    host = replace(HOST, gpus=HOST.gpus * 2)
    options = {"images": 3, "visual_tokens": 512, "gpu_memory_utilization": 0.5}
    launch = built("subprocess", host, gpus=2, **options)
    words = launch.argv
    assert words[:3] == ("/usr/bin/vllm", "serve", "/models/some")
    assert {word for word in words if word.startswith("--")} <= set(recorded("0.32"))
    assert (value(words, "--host"), value(words, "--port")) == ("127.0.0.1", "8002")
    assert value(words, "--served-model-name") == launch.served_name == "some/model"
    assert value(words, "--max-model-len") == "8192"
    assert value(words, "--gpu-memory-utilization") == "0.5"
    assert value(words, "--tensor-parallel-size") == "2"
    limits = json.loads(value(words, "--limit-mm-per-prompt"))
    assert limits == {
        "image": 3,
        "video": {"count": 1, "num_frames": 8, "width": 308, "height": 308},
    }
    assert json.loads(value(words, "--mm-processor-kwargs"))["max_pixels"] == 512 * 784
    assert "--no-enable-log-requests" in words
    assert (launch.base_url, launch.port) == ("http://127.0.0.1:8002/v1", 8002)
    assert not launch.warnings
    assert launch.env[vllm.KEY] == KEY


@pytest.mark.parametrize(
    ("gigabytes", "there", "used"), [(19, 1, 1), (19, 4, 1), (150, 2, 2), (150, 3, 2), (300, 4, 4)]
)
def test_as_few_gpus_as_it_fits_in(gigabytes: int, there: int, used: int) -> None:
    model = QWEN.model_copy(update={"memory_bytes": gigabytes * 10**9})
    host = replace(HOST, gpus=HOST.gpus * there)
    for mode in ("subprocess", "container"):
        words = built(mode, host, model).argv
        found = value(words, "--tensor-parallel-size") if used > 1 else "1"
        assert found == str(used)
        assert ("--tensor-parallel-size" in words) is (used > 1)
    with pytest.raises(CommandError, match=f"gpus is 16, but this machine has {there}"):
        built("subprocess", host, model, gpus=16)


def test_flags_that_this_vllm_lacks_are_left_out_with_a_warning() -> None:
    flags = frozenset(recorded("0.9.2")) - {"--max-model-len"}
    old = replace(VLLM, version="0.9.2", flags=flags)
    launch = built("subprocess", replace(HOST, vllm=old))
    assert {word for word in launch.argv if word.startswith("--")} <= flags
    assert (
        "This vLLM (0.9.2) does not support --max-model-len, which was left out." in launch.warnings
    )
    assert any("older than 0.30" in warning for warning in launch.warnings)
    loud = replace(old, flags=flags - {"--disable-log-requests"})
    with pytest.raises(CommandError, match="keeps questions out of its log"):
        built("subprocess", replace(HOST, vllm=loud))


def test_vllm_on_the_cpu() -> None:
    laptop = replace(HOST, gpus=(), torch_device="", vllm=replace(VLLM, for_cpu=True))
    launch = built("subprocess", laptop)
    assert launch.for_cpu
    assert launch.argv[:3] == ("/usr/bin/vllm", "serve", "/models/some")
    assert {word for word in launch.argv if word.startswith("--")} <= set(recorded("0.32"))
    assert value(launch.argv, "--kv-cache-memory-bytes") == str(2 << 30)
    less = replace(laptop, ram_total_bytes=QWEN.memory_bytes + 2 * 10**9)
    assert value(built("subprocess", less).argv, "--kv-cache-memory-bytes") == "1000000000"
    assert not built("subprocess").for_cpu
    assert "--kv-cache-memory-bytes" not in built("subprocess").argv


@pytest.mark.parametrize(
    ("vendor", "program", "gpu"),
    [
        ("nvidia", "docker", ["--gpus", "all"]),
        ("nvidia", "podman", ["--device", "nvidia.com/gpu=all"]),
        ("amd", "docker", ["--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video"]),
        ("amd", "podman", ["--group-add", "keep-groups"]),
    ],
)
def test_a_container(vendor: str, program: str, gpu: list[str]) -> None:
    gpus = tuple(replace(card, vendor=Vendor(vendor)) for card in HOST.gpus)
    programs: dict[str, Any] = {"docker": None, "podman": None, program: f"/usr/bin/{program}"}
    host = replace(HOST, gpus=gpus, ram_total_bytes=2**36, **programs)
    launch = built("container", host, image="example.org/vllm:1")
    words = launch.argv
    assert words[:3] == (f"/usr/bin/{program}", "run", "--rm")
    line = shlex.join(words)
    assert shlex.join(gpu) in line
    assert "--ipc=private" in words
    assert "--shm-size=8g" in words
    assert {f"--memory={2**36}b", f"--memory-swap={2**36}b"} <= set(words)
    assert value(words, "--mount") == "type=bind,src=/models/some,dst=/model,readonly"
    assert value(words, "--publish") == "127.0.0.1:8002:8000"
    assert f"--env {vllm.KEY} " in line
    assert KEY not in line
    at = words.index("example.org/vllm:1")
    assert words[at + 1 : at + 3] == ("serve", "/model")
    assert value(words[at:], "--port") == "8000"
    assert launch.container == value(words, "--name") == "mine"
    assert ("--http-proxy=false" in words) is (program == "podman")
    assert launch.env[vllm.KEY] == KEY


def test_flags_for_images_are_those_of_a_recorded_version() -> None:
    """Nobody asks an image for its help before it is pulled, so these have to be right."""
    assert set(recorded("0.32")) >= IMAGE_FLAGS


def test_images_are_of_one_release_each() -> None:
    """The same program next month, too; the flags are those of these releases."""
    assert IMAGES.keys() == set(Vendor)
    for image in IMAGES.values():
        assert re.fullmatch(r"docker\.io/vllm/[a-z-]+:v0\.3\d\.\d+(@sha256:[0-9a-f]{64})?", image)
        assert Choice.read({"model": "m", "mode": "container", "image": image}).image == image


@pytest.mark.parametrize(
    ("version", "architecture", "takes"),
    [
        ("0.32.0", "qwen2_5_vl", True),
        ("0.30.1", "qwen2_5_vl", True),
        ("0.11.0", "qwen2_5_vl", False),
        ("somewhen", "qwen2_5_vl", False),
        ("0.32.0", "smolvlm", False),
    ],
)
def test_a_video_takes_no_more_memory_than_a_picture(
    version: str, architecture: str, takes: bool
) -> None:
    """One is allowed where its size can be bounded, and the model's frames count in pairs."""
    host = replace(HOST, vllm=replace(VLLM, version=version))
    model = QWEN.model_copy(update={"architecture": architecture})
    launch = built("subprocess", host, model)
    video = json.loads(value(launch.argv, "--limit-mm-per-prompt"))["video"]
    if not takes:
        assert video == 0
        return
    assert model.geometry is not None
    tokens = video["num_frames"] // 2 * (video["width"] // model.geometry.factor) ** 2
    assert tokens <= 1280 < 1.2 * tokens


def test_pixel_limits_are_given_to_processors_that_have_them() -> None:
    """Others call theirs otherwise, and vLLM would not start with what they do not know."""
    assert "--mm-processor-kwargs" in built("subprocess").argv
    other = QWEN.model_copy(update={"architecture": "glm4v"})
    for mode in ("subprocess", "container"):
        assert "--mm-processor-kwargs" not in built(mode, model=other).argv


def test_a_format_that_does_not_fit_is_refused() -> None:
    """Twice the bytes of what is stored."""
    card = replace(HOST.gpus[0], total_bytes=30 * 10**9)
    host = replace(HOST, gpus=(card,))
    assert built("container", host).argv
    with pytest.raises(
        CommandError, match="needs about 37 GB of memory, and this machine has 28 GB"
    ):
        built("container", host, dtype="float32")
    two = replace(HOST, gpus=(card, card))
    assert value(built("subprocess", two, dtype="float32").argv, "--tensor-parallel-size") == "2"


def test_a_folder_that_can_not_be_mounted_is_refused() -> None:
    """A comma would end the mount's source."""
    with pytest.raises(CommandError, match=r"/a,readonly=false cannot be mounted"):
        built("container", model=QWEN.with_folder(Path("/a,readonly=false")))


def test_a_folder_with_links_out_of_it_is_not_mounted(tmp_path: Path) -> None:
    """As the hub's cache has them; those within are there in a container, too."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "again.json").symlink_to("config.json")
    words = built("container", model=QWEN.with_folder(folder)).argv
    assert value(words, "--mount") == f"type=bind,src={folder},dst=/model,readonly"
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        CommandError, match=r"it contains links to files outside of it.*cp -rL FOLDER COPY"
    ):
        built("container", model=QWEN.with_folder(folder))


def test_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program's worker in the models' own Python, from the project's root."""
    root = Path("/opt/qwen camera")
    monkeypatch.setattr("server.features.hosting.catalogue.command.ROOT", root)
    launch = built("in_process")
    assert launch.argv == (
        *(
            "/env/bin/python",
            "-m",
            "server.features.local_models.worker",
            "--model",
            "/models/some",
        ),
        *("--dtype", "auto", "--device", "cuda", "--context", "8192"),
    )
    assert launch.shown.startswith("cd '/opt/qwen camera' && HF_HUB_OFFLINE=1 ")
    assert "CUDA_VISIBLE_DEVICES" not in launch.env
    small = replace(HOST.gpus[0], total_bytes=1)
    launch = built("in_process", replace(HOST, gpus=(small,)))
    assert value(launch.argv, "--device") == "cpu"
    assert launch.env["CUDA_VISIBLE_DEVICES"] == launch.env["HIP_VISIBLE_DEVICES"] == ""
    for vendor, name in (
        (Vendor.NVIDIA, "CUDA_VISIBLE_DEVICES"),
        (Vendor.AMD, "HIP_VISIBLE_DEVICES"),
    ):
        free = [replace(HOST.gpus[0], vendor=vendor, free_bytes=n * 10**10) for n in (1, 9, 2)]
        assert built("in_process", replace(HOST, gpus=tuple(free))).env[name] == "1"


def test_what_makes_videos_has_a_worker_of_its_own() -> None:
    launch = built("in_process", model=MAKER, flow_shift=5, vae_tiling=True, cpu_offload=True)
    assert launch.argv == (
        *("/env/bin/python", "-m", "server.features.generation.worker", "--model", "/models/some"),
        *("--dtype", "auto", "--flow-shift", "5", "--vae-tiling", "--cpu-offload"),
    )
    assert built("in_process", model=MAKER).argv == launch.argv[:9]
    assert built("in_process", model=MAKER, flow_shift=None).argv == launch.argv[:7]
    card = replace(HOST.gpus[0], total_bytes=13 * 10**9)
    small = replace(HOST, gpus=(card,))
    assert built("in_process", small, MAKER).argv[9:] == ("--cpu-offload",)
    tiny = replace(HOST, gpus=(replace(card, total_bytes=1),))
    assert built("in_process", tiny, MAKER).env["CUDA_VISIBLE_DEVICES"] == ""
    assert built("in_process", small, MAKER, cpu_offload=True).argv[9:] == ("--cpu-offload",)


def test_remote_starts_nothing() -> None:
    launch = built("remote", url="https://gpu.example.org:9/v1/")
    assert launch.argv == ()
    assert (launch.base_url, launch.served_name) == ("https://gpu.example.org:9/v1", "some/model")
    assert "POST https://gpu.example.org:9/v1/chat/completions" in launch.shown
    assert launch.shown.endswith("Pictures go to gpu.example.org.")
    unknown = build_command(Choice(model="m", mode=RunMode.REMOTE, url="http://h/v1"), None, HOST)
    assert unknown.served_name == "m"
    first = build_command(Choice(mode=RunMode.REMOTE, url="http://h/v1"), None, HOST)
    assert (first.served_name, "first model that it lists" in first.shown) == ("", True)
    with pytest.raises(CommandError, match="Run it in-process"):
        built("remote", model=MAKER, url="http://h/v1")


@pytest.mark.parametrize("mode", ["subprocess", "container", "in_process"])
def test_what_is_shown_is_what_runs(mode: str) -> None:
    """Read back by a shell's rules it is the very words, the key hidden."""
    launch = built(mode, model=QWEN.with_folder(Path("/a folder/with 'quotes' $HOME `id`; rm")))
    words = shlex.split(launch.shown)
    assert tuple(words[-len(launch.argv) :]) == launch.argv
    assert KEY not in launch.shown
    assert KEY not in repr(launch)
    assert (f"{vllm.KEY}=********" in launch.shown) is (mode != "in_process")


def test_foreign_code_is_never_a_field() -> None:
    """Only a model that has some and the setting together give the flag."""
    with pytest.raises(CommandError, match="There is no field trust_remote_code"):
        Choice.read({"model": "m", "mode": "subprocess", "trust_remote_code": True})
    model = QWEN.model_copy(update={"remote_code": True})
    with pytest.raises(CommandError, match="TRUST_REMOTE_CODE=true"):
        built("subprocess", model=model)
    trusting = replace(HOST, trust_remote_code=True)
    for mode in ("subprocess", "container", "in_process"):
        assert "--trust-remote-code" in built(mode, trusting, model).argv
        assert "--trust-remote-code" not in built(mode, trusting).argv


def test_an_impossible_mode_has_no_command() -> None:
    with pytest.raises(CommandError, match="Neither docker nor podman"):
        built("container", replace(HOST, docker=None))
    with pytest.raises(CommandError, match="The model some/model is unknown"):
        built("subprocess", model=None)
    with pytest.raises(CommandError, match="context is 200000, but model supports at most 128000"):
        built("subprocess", context=200_000)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "mode is missing. Allowed: remote, subprocess, container or in_process."),
        ([], "The choice is unusable"),
        ({"mode": "wings"}, "mode is wings. Allowed: remote,"),
        ({"mode": "in_process"}, "The mode in_process needs model"),
        ({"mode": "remote"}, "The mode remote needs url"),
        ({"mode": "in_process", "model": "--flag"}, "model is --flag. Allowed: an id"),
        ({"mode": "in_process", "model": "/a\nb"}, "model is /ab. Allowed"),
        ({"mode": "in_process", "model": "m", "port": 80}, "port is 80. Allowed: a whole number"),
        ({"mode": "in_process", "model": "m", "context": 511}, "context is 511. Allowed:"),
        ({"mode": "in_process", "model": "m", "dtype": "int4"}, "dtype is int4. Allowed: auto,"),
        (
            {"mode": "in_process", "model": "m", "gpu_memory_utilization": 1.01},
            "gpu_memory_utilization is 1.01. Allowed: a number from 0.05 to 1.",
        ),
        ({"mode": "in_process", "model": "m", "compile": "yes"}, "compile is yes. Allowed: true"),
        ({"mode": "container", "model": "m", "image": "-v"}, "image is -v. Allowed: an image"),
        ({"mode": "remote", "url": "ftp://h/v1"}, "url is unusable. Allowed: an http or https"),
        ({"mode": "remote", "url": "http://u:hush@h/v1"}, "url is unusable. Allowed"),
        ({"mode": "remote", "url": "http://h/v1?k=hush"}, "url is unusable. Allowed"),
        ({"mode": "remote", "url": "http://[h/v1"}, "url is unusable. Allowed"),
        ({"mode": "remote", "url": "http://h/v1", "wings": 2}, "There is no field wings. The"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(data: object, says: str) -> None:
    """A URL's text is not repeated: there may be a password in it."""
    with pytest.raises(CommandError) as caught:
        Choice.read(data)
    assert says in caught.value.message, caught.value.message
    assert "hush" not in caught.value.message


@given(st.text(max_size=60), st.text(max_size=60))
@example("--trust-remote-code", "")
@example("-v", "")
@example("m", "--privileged")
@example("m", "-v")
def test_no_text_becomes_a_flag(model: str, image: str) -> None:
    try:
        choice = Choice.read({"model": model, "mode": "container", "image": image})
    except CommandError:
        return
    assert not choice.model.startswith("-")
    assert not choice.image.startswith("-")
    assert choice.model.isprintable()
    words = build_command(choice, QWEN, HOST).argv
    assert not image or image in words


def test_a_child_gets_none_of_our_secrets() -> None:
    """The variables for programs and GPUs, and those of the launch, are passed on; the rest is not."""
    launch = built("subprocess")
    ours = {
        "PATH": "/bin",
        "HOME": "/h",
        "CUDA_VISIBLE_DEVICES": "0",
        "HSA_OVERRIDE": "1",
        "JWT_SECRET_KEY": "x",
        "OPERATOR_TOKEN": "x",
        "TURN_SECRET": "x",
        "HF_TOKEN": "x",
        "VLLM_API_KEY": "x",
        "VLLM_TRACE_FUNCTION": "1",
        "VLLM_ROCM_USE_AITER": "1",
        "VLLM_BASE_URL": "x",
        "REDIS_URL": "x",
        "LD_PRELOAD": "x",
        "CUDA_TOKEN": "x",
        "NVIDIA_API_KEY": "x",
        "HF_TOKEN_PATH": "x",
        "HF_ENDPOINT": "x",
        "VLLM_LOGGING_LEVEL": "DEBUG",
        "VLLM_LOGGING_CONFIG_PATH": "x",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "1",
    }
    child = make_child_environment(ours, launch.env)
    assert child.pop(vllm.KEY) == KEY
    assert child.keys() == {
        *("PATH", "HOME", "CUDA_VISIBLE_DEVICES", "HSA_OVERRIDE", "VLLM_ROCM_USE_AITER"),
        *("VLLM_NO_USAGE_STATS", "HF_HUB_OFFLINE"),
    }
