"""scripts/run.sh --model: a model found in the catalogue, fetched once from a tiny hub on loopback,
and remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder
from scripts.models.choose import GPU_SIGNS, Choice, is_complete
from server.features.hosting.catalogue.entry import Catalogue
from tests.real_model.server import ASK_COLOR, free_port
from tests.support.clients import open_page
from tests.support.documents import ROOT
from tests.support.gguf_writer import write_projector, write_weights
from tests.support.hub_stand_in import Hub, Model, running_hub
from tests.support.programs import ran
from tests.support.running import Running
from tests.support.wheels import locked, wheel, write_empty_locks
from tests.whole.test_real_model import ColoredScene

pytestmark = pytest.mark.slow

COMMIT = "3" * 40
CATALOGUE = """
[[model]]
id = "someone/tiny-vl"
title = "Tiny"
aliases = ["tiny"]
revision = "{revision}"
model_type = "vision"
architecture = "qwen2_5_vl"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 1000
needs = {{ transformers = "" }}

[[model]]
id = "someone/huge-vl"
aliases = ["huge"]
model_type = "vision"
architecture = "qwen2_5_vl"
abilities = ["images"]
weights_bytes = 10000000000000
memory_bytes = 1000
needs = {{ transformers = "" }}

[[model]]
id = "someone/heavy-vl"
aliases = ["heavy"]
model_type = "vision"
architecture = "qwen2_5_vl"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 10000000000000
needs = {{ transformers = "" }}

[[model]]
id = "someone/code-vl"
aliases = ["code"]
model_type = "vision"
architecture = "other"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 1000
remote_code = true
needs = {{ transformers = "" }}

[[model]]
id = "someone/tiny-video"
aliases = ["video"]
model_type = "video"
architecture = "WanPipeline"
library = "diffusers"
abilities = ["text_to_video"]
weights_bytes = 1000
memory_bytes = 1000
needs = {{ diffusers = "" }}

[[model]]
id = "someone/tiny-GGUF"
aliases = ["gguf"]
model_type = "vision"
architecture = "qwen3_vl"
library = "llama.cpp"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 1000
needs = {{ "llama.cpp" = "b9049" }}
quantization = "Q4_K_M"
weights_file = "tiny-Q4_K_M.gguf"
projector_file = "mmproj-F16.gguf"
"""
HEADER = b'{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}'
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(4000)
FILES = {"config.json": b'{"model_type": "qwen2_5_vl"}', "model.safetensors": WEIGHTS}
VIDEO = {
    "model_index.json": b'{"_class_name": "WanPipeline"}',
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": WEIGHTS,
}
Result = subprocess.CompletedProcess[str]


def says_help(build: str) -> str:
    """The shell lines with which a stand-in for llama.cpp's server answers --help and --version."""
    data = Path(__file__).parents[1] / "data" / "llama_help.txt"
    return f'case $1 in --version) echo "version: {build} (0c1e570)" ;; *) cat "{data}" ;; esac'


def environment(folder: Path) -> Path:
    """A virtual environment with this one's packages; pip is one of them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


class BufferPool:
    """This project in its own folder, installed, with a server that tells how it was started."""

    def __init__(self, folder: Path, hub: Hub, *, whole: bool = False) -> None:
        """`whole`: with the true server and the models' own environment."""
        self.root = folder / "a project"
        self.home = folder / "home"
        self.hub = hub
        self.home.mkdir()
        # With what is compiled, which takes seconds.
        left_out = shutil.ignore_patterns("bench", "monitoring")
        for name in ("scripts", "server", "client"):
            shutil.copytree(ROOT / name, self.root / name, ignore=left_out)
        shutil.copy(ROOT / "config.py", self.root)
        (self.root / "requirements-models.txt").write_text("# nothing\n")
        write_empty_locks(self.root)
        environment(self.root / ".venv")
        if whole:
            shutil.copy(ROOT / "requirements-models.txt", self.root)
            for name in ("requirements-models.txt", "torch.txt"):
                shutil.copy(ROOT / "locks" / name, self.root / "locks")
            (self.root / ".venv-models").symlink_to(ROOT / ".venv-models")
        else:
            environment(self.root / ".venv-models")
            (self.root / "server" / "main.py").write_text(
                "import os\nprint('started with', os.environ.get('LOCAL_MODEL'))\n"
            )
        self.write_catalogue()
        # Without an index there is no face model: said, and gone on.
        if not whole:
            assert self.run("--install").returncode == 0

    def write_catalogue(self, revision: str = "") -> None:
        (self.home / "models.toml").write_text(CATALOGUE.format(revision=revision))

    @property
    def folder(self) -> Path:
        return self.home / "models" / "tiny-vl"

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "HF_ENDPOINT": self.hub.url,
            "CATALOGUE": "~/models.toml",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            **more,
        }

    def command(self, *args: str) -> list[str]:
        return ["bash", str(self.root / "scripts" / "run.sh"), *args]

    def run(self, *args: str, cwd: Path | str = "/", **more: str) -> Result:
        return ran(self.command(*args), env=self.environment(**more), cwd=cwd, timeout=120)

    def start(self, *args: str, **more: str) -> subprocess.Popen[str]:
        """The server goes on."""
        return subprocess.Popen(
            self.command(*args),
            env=self.environment(
                OMP_NUM_THREADS="1", VLLM_BASE_URL="http://127.0.0.1:9/v1", **more
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def started_with(self, *args: str, cwd: Path | str = "/", **more: str) -> str:
        done = self.run(*args, cwd=cwd, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().removeprefix("started with ")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as one:
        one.models["someone/tiny-vl"] = Model({COMMIT: dict(FILES)}, {"main": COMMIT})
        one.models["someone/tiny-video"] = Model({COMMIT: dict(VIDEO)}, {"main": COMMIT})
        yield one


@pytest.fixture(scope="module")
def installed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> BufferPool:
    return BufferPool(tmp_path_factory.mktemp("choose"), hub)


@pytest.fixture
def scratch(installed: BufferPool) -> Iterator[BufferPool]:
    """Without what the test before it fetched and chose."""
    yield installed
    shutil.rmtree(installed.home / "models", ignore_errors=True)
    (installed.root / ".model").unlink(missing_ok=True)
    (installed.root / ".env").unlink(missing_ok=True)
    installed.write_catalogue()
    installed.hub.asked.clear()
    installed.hub.status = 0


def test_a_model_is_fetched_once_and_remembered(scratch: BufferPool) -> None:
    """Later starts take it without a network, until it is forgotten; its files stay."""
    first = scratch.run("--model", "tiny")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == f"started with {scratch.folder}"
    assert "Installing requirements-models.txt" in first.stderr
    assert "someone/tiny-vl at " + COMMIT in first.stderr
    assert all((scratch.folder / name).read_bytes() == FILES[name] for name in FILES)
    scratch.hub.asked.clear()
    scratch.hub.status = 503
    assert scratch.started_with() == str(scratch.folder)
    assert scratch.started_with("--model", "someone/TINY-vl") == str(scratch.folder)
    forgotten = scratch.run("--model", "none")
    assert forgotten.stdout.strip() == "started with None"
    assert f"{scratch.folder} is forgotten" in forgotten.stderr
    assert scratch.started_with() == "None"
    assert (scratch.folder / "model.safetensors").exists()
    assert scratch.hub.asked == []


def test_what_the_settings_name_goes_before_what_is_remembered(scratch: BufferPool) -> None:
    """LOCAL_MODEL of the environment or .env; what is asked for now goes before all."""
    (scratch.root / ".model").write_text(f"{scratch.home}\n")
    assert scratch.started_with() == str(scratch.home)
    assert scratch.started_with(LOCAL_MODEL="/other") == "/other"
    (scratch.root / ".env").write_text("LOCAL_MODEL=/of/the/file\n")
    assert scratch.started_with() == "None"
    assert scratch.started_with("--model", "tiny", LOCAL_MODEL="/other") == str(scratch.folder)
    assert "still names one" in scratch.run("--model", "none").stderr


def test_a_model_that_is_gone_is_said(scratch: BufferPool) -> None:
    """The server starts without it, and both ways on are named."""
    (scratch.root / ".model").write_text(f"{scratch.home}/nothing\n")
    done = scratch.run()
    assert done.stdout.strip() == "started with None"
    assert f"The model in {scratch.home}/nothing no longer exists" in done.stderr
    assert "--model none" in done.stderr


def test_a_folder_is_taken_as_it_is(scratch: BufferPool) -> None:
    """By a path from where the command is given; one whose shards are missing is not."""
    own = scratch.home / "models" / "own one"
    own.mkdir(parents=True)
    for name, content in FILES.items():
        (own / name).write_bytes(content)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (own / name).write_text("{}")
    assert scratch.started_with("--model", "own one", cwd=own.parent) == str(own)
    # No catalogue is needed for it.
    away = scratch.home / "other.toml"
    away.write_text("a b c")
    assert scratch.started_with("--model=~/models/own one", CATALOGUE=str(away)) == str(own)
    pipeline = scratch.home / "models" / "own pipeline"
    for name, content in VIDEO.items():
        (pipeline / name).parent.mkdir(parents=True, exist_ok=True)
        (pipeline / name).write_bytes(content)
    done = scratch.run("--model", "own pipeline", cwd=own.parent)
    assert f"{pipeline}/model_index.json names the pipeline" in done.stderr
    index = {"weight_map": {"a": "model.safetensors", "b": "lost.safetensors"}}
    (own / "model.safetensors.index.json").write_text(json.dumps(index))
    done = scratch.run("--model", str(own))
    assert done.returncode == 1
    assert "lacks lost.safetensors" in done.stderr
    assert scratch.hub.asked == []


@pytest.mark.night
def test_a_pinned_revision_is_fetched_again_when_it_changes(scratch: BufferPool) -> None:
    """Files of another commit or size do not count."""
    assert scratch.started_with("--model", "tiny") == str(scratch.folder)
    known = json.loads((scratch.folder / "model-files.json").read_text())
    known["source"]["commit"] = "4" * 40
    (scratch.folder / "model-files.json").write_text(json.dumps(known))
    scratch.write_catalogue(COMMIT)
    done = scratch.run("--model", "tiny")
    assert "0 bytes to fetch" in done.stderr
    assert json.loads((scratch.folder / "model-files.json").read_text())["source"] == {
        "repository": "someone/tiny-vl",
        "commit": COMMIT,
    }
    choice = Choice(
        Catalogue.read(CATALOGUE.format(revision=""), "").require("tiny"),
        scratch.folder,
        Catalogue.load(),
    )
    assert is_complete(choice)
    (scratch.folder / "config.json").unlink()
    assert not is_complete(choice)
    (scratch.folder / "model.safetensors").write_bytes(b"cut")
    assert scratch.started_with("--model", "tiny") == str(scratch.folder)
    assert all((scratch.folder / name).read_bytes() == FILES[name] for name in FILES)


@pytest.mark.night
def test_llama_cpps_server_runs_a_gguf_model(scratch: BufferPool, tmp_path: Path) -> None:
    """Without it, and with one that is too old, nothing is fetched; with it no torch is installed,
    and its two files alone come; a file of one's own is taken as it is.
    """
    write_weights(tmp_path / "tiny-Q4_K_M.gguf")
    write_projector(tmp_path / "mmproj-F16.gguf")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    files["tiny-Q8_0.gguf"] = b"x" * 9999
    scratch.hub.models["someone/tiny-GGUF"] = Model({COMMIT: files}, {"main": COMMIT})
    aside = (scratch.root / ".venv-models").rename(scratch.root / ".venv-aside")
    done = scratch.run("--model", "gguf", PATH="/usr/bin:/bin")
    assert done.returncode == 1
    assert "llama.cpp's server cannot be installed. The package index has no" in done.stderr
    assert "Without --model the server starts with the configured engine" in done.stderr
    assert scratch.hub.asked == []

    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\n{says_help('9048')}\n")
    program.chmod(0o755)
    done = scratch.run("--model", "gguf", LLAMA_SERVER=str(program), PATH="/usr/bin:/bin")
    assert done.returncode == 1
    assert "It needs llama.cpp b9049 or newer, and 9048 is installed" in done.stderr
    assert scratch.hub.asked == []
    program.write_text(f"#!/bin/sh\n{says_help('9049')}\n")
    folder = scratch.home / "models" / "tiny-GGUF"
    done = scratch.run("--model", "gguf", LLAMA_SERVER=str(program), PATH="/usr/bin:/bin")
    assert done.stdout.strip() == f"started with {folder}", done.stderr
    path = f"{tmp_path}:/usr/bin:/bin"
    done = scratch.run("--model", "gguf", PATH=path)
    assert done.stdout.strip() == f"started with {folder}", done.stderr
    assert "requirements-models" not in done.stderr
    there = {path.name for path in folder.iterdir()}
    assert there == {"tiny-Q4_K_M.gguf", "mmproj-F16.gguf", "model-files.json"}
    assert not (scratch.root / ".venv-models").exists()
    (folder / "tiny-Q4_K_M.gguf").write_bytes(b"GGUF")
    scratch.hub.asked.clear()
    assert scratch.started_with("--model", "gguf", PATH=path) == str(folder)
    assert {name for _, name, _ in scratch.hub.asked} == {"tiny-Q4_K_M.gguf"}

    own = scratch.started_with("--model", "tiny-Q4_K_M.gguf", cwd=tmp_path, PATH=path)
    assert own == str(tmp_path / "tiny-Q4_K_M.gguf")
    assert scratch.started_with(PATH=path) == own
    assert scratch.started_with("--model", ".", cwd=folder, PATH=path) == str(folder)
    aside.rename(scratch.root / ".venv-models")


def test_a_model_for_something_else_is_fetched_and_not_loaded(scratch: BufferPool) -> None:
    """One that makes videos answers no questions: the message says where it is started."""
    done = scratch.run("--model", "video")
    assert done.stdout.strip() == "started with None", done.stderr
    assert "makes videos and answers no questions" in done.stderr
    assert (scratch.home / "models" / "tiny-video" / "transformer" / "config.json").exists()
    assert not (scratch.root / ".model").exists()


@pytest.mark.parametrize(
    ("args", "more", "says"),
    [
        (["nonsense"], {}, "has no model nonsense. It has: tiny, huge, heavy, code, video, gguf"),
        (["huge"], {}, "There is not enough space at"),
        (["tiny"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        pytest.param(["code"], {}, "TRUST_REMOTE_CODE=true", marks=pytest.mark.night),
        pytest.param(
            *(
                ["tiny"],
                {"CATALOGUE": "/nowhere.toml"},
                "Leave it empty for the built-in catalogue",
            ),
            marks=pytest.mark.night,
        ),
        pytest.param(
            *(["tiny"], {"ENGINE_PYTHON": "/nowhere/python"}, "which cannot be run"),
            marks=pytest.mark.night,
        ),
    ],
)
def test_what_can_not_be_is_said(
    scratch: BufferPool, args: list[str], more: dict[str, str], says: str
) -> None:
    """A sentence without a traceback, no server, and nothing is remembered."""
    done = scratch.run("--model", *args, cwd=Path("/"), **more)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (scratch.root / ".model").exists()


def test_without_the_hub_the_ways_on_are_named(scratch: BufferPool) -> None:
    """Before anything is installed for a model that cannot be had; without --model it starts."""
    (scratch.root / ".venv-models" / "models.stamp").unlink(missing_ok=True)
    done = scratch.run("--model", "tiny", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1 cannot be reached" in done.stderr
    assert "Without --model the server starts with the configured engine" in done.stderr
    assert "bash scripts/run.sh --model FOLDER" in done.stderr
    assert "Installing" not in done.stderr
    assert scratch.started_with() == "None"


def test_stopped_while_the_hub_is_looked_at(scratch: BufferPool) -> None:
    """No traceback, the usual status, and nothing is remembered."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = subprocess.Popen(
            scratch.command("--model", "tiny"),
            env=scratch.environment(HF_ENDPOINT=url),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        silent.settimeout(30)
        with silent.accept()[0]:
            os.killpg(running.pid, signal.SIGINT)
            _, said = running.communicate(timeout=30)
    # A shell tells either of them as 130.
    assert running.returncode in (130, -signal.SIGINT)
    assert "Stopped." in said
    assert "Traceback" not in said


@pytest.mark.skipif(any(sign.exists() for sign in GPU_SIGNS), reason="a GPU has memory, too")
def test_a_model_that_can_not_fit_is_not_fetched(scratch: BufferPool) -> None:
    """The error names the needed space, the free space, and the remedy."""
    done = scratch.run("--model", "heavy")
    assert done.returncode == 1
    assert "needs about 9.1 TiB of memory, but this machine has" in done.stderr
    assert scratch.hub.asked == []


def test_a_python_of_ones_own_is_taken(scratch: BufferPool) -> None:
    """With ENGINE_PYTHON nothing is installed; one without the libraries is refused with the
    command for them.
    """
    lacking = scratch.run("--model", "tiny", ENGINE_PYTHON=sys.executable)
    assert lacking.returncode == 1
    assert f"lacks torch and transformers: {sys.executable} -m pip install" in lacking.stderr
    (scratch.root / ".venv-models" / "models.stamp").unlink(missing_ok=True)
    own = scratch.home / "python"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    done = scratch.run("--model", "tiny", ENGINE_PYTHON=str(own))
    assert done.stdout.strip() == f"started with {scratch.folder}", done.stderr
    assert "requirements-models.txt" not in done.stderr


def test_what_can_not_be_installed_stops_it(scratch: BufferPool) -> None:
    """Before anything is fetched, with the ways on."""
    lock = scratch.root / "locks" / "requirements-models.txt"
    lock.write_text(locked("no-such-package-of-qwen-camera", "1"))
    done = scratch.run("--model", "tiny")
    lock.write_text("# nothing\n")
    assert done.returncode == 1
    assert "The packages that run a model could not be installed" in done.stderr
    assert "ENGINE_PYTHON=/path/to/bin/python" in done.stderr
    assert scratch.hub.asked == []


@pytest.mark.night
def test_without_a_cpu_build_the_usual_torch_is_taken(scratch: BufferPool, tmp_path: Path) -> None:
    """Its size comes first; for the tests alone, which skip, it is not."""
    requirements = scratch.root / "requirements-models.txt"
    requirements.write_text('torch==9.9.9+cpu; sys_platform == "linux"\n')
    (scratch.root / "locks" / "torch.txt").write_text(wheel(tmp_path, "torch", "9.9.9"))
    stamp = scratch.root / ".venv-models" / "models.stamp"
    before = stamp.read_text() if stamp.exists() else ""
    models = ["bash", str(scratch.root / "scripts" / "models.sh")]
    env = {
        "PATH": os.environ["PATH"],
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
    }
    try:
        without = ran(models, env=env, timeout=60)
        needed = ran([*models, "--needed"], env=env, timeout=60)
    finally:
        requirements.write_text("# nothing\n")
        (scratch.root / "locks" / "torch.txt").write_text("# nothing\n")
    assert without.returncode == 0
    assert "are skipped" in without.stderr
    assert needed.returncode == 0, needed.stderr
    assert "using the default build, 3 GB to fetch and 7 GB on the disk" in needed.stderr
    assert list((scratch.root / ".venv-models").glob("lib/*/site-packages/torch-9.9.9.dist-info"))
    assert stamp.read_text() != before


async def answers_at(base: str, process: subprocess.Popen[Any]) -> None:
    """Until the engine that it has to answer with is one that is loaded here."""
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client, asyncio.timeout(90):
        while True:
            assert process.poll() is None
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health")).json()["engine"]["name"] == "local":
                    return
            await asyncio.sleep(0.1)


@pytest.mark.night
async def test_the_cameras_questions_are_answered_by_it(
    hub: Hub, tmp_path: Path, tiny_model: Path
) -> None:
    """Fetched by one command and remembered by the next: red in front of the camera comes back as
    "red" from this model.
    """
    files = {
        path.relative_to(tiny_model).as_posix(): path.read_bytes()
        for path in tiny_model.rglob("*")
        if path.is_file()
    }
    hub.models["someone/tiny-vl"] = Model({COMMIT: files}, {"main": COMMIT})
    scratch = BufferPool(tmp_path, hub, whole=True)
    assert scratch.run("--install", "--model", "tiny", TRUST_REMOTE_CODE="true").returncode == 0
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    where = cast(Running, SimpleNamespace(base_url=base, ws_url=f"ws://127.0.0.1:{port}"))
    encoder = LiveEncoder(ColoredScene("red"), rate=10)
    camera = CameraPeer(base, encoder)
    hub.status = 503
    process = scratch.start("--host", "127.0.0.1", "--port", str(port), TRUST_REMOTE_CODE="true")
    try:
        await answers_at(base, process)
        await camera.connect()
        page = await open_page(where, camera.token, camera.session_id)
        await page.camera("live")
        answer = await page.ask(ASK_COLOR, timeout=30)
        assert (answer["text"], answer["engine"]) == ("It is red.", "local")
        await page.close()
    finally:
        await camera.close()
        await encoder.close()
        process.terminate()
        said = process.communicate(timeout=30)[0]
        hub.status = 0
    assert process.returncode == 0, said
