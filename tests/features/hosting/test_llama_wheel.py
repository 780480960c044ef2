"""llama.cpp's server out of xllamacpp: its installation, the options that this project gives to `llama-server`, its end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from server.features.hosting import llama_wheel
from server.features.hosting.catalogue.engine_log import explain_failure, parse_progress
from server.features.hosting.catalogue.llama_cpp import LlamaServing, build_arguments
from server.features.hosting.host import query_llama
from server.features.hosting.llama_wheel import LlamaError, install, require_machine
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.support.clients import bearer, trusted
from tests.support.real_llama import LOADS, LlamaServer, SlowFile
from tests.support.wheels import locked, wheel

PROGRAM = Path(__file__).parents[2] / "support" / "llama-server"


@dataclass
class Planned(LlamaServer):
    """Started as the manager starts it, with every option that it may be given."""

    key: str = "k"
    context: int = 4096
    # Of a shell, before it
    limit: str = ""

    def command(self) -> Sequence[str | Path]:
        server, trouble = query_llama(str(PROGRAM))
        assert server is not None, trouble
        assert server.version
        shell = ("sh", "-c", f'{self.limit}; exec "$@"', "sh") if self.limit else ()
        arguments = build_arguments(
            server,
            LlamaServing(
                weights=str(self.model / WEIGHTS),
                projector=str(self.model / PROJECTOR),
                name="some/model",
                host="127.0.0.1",
                port=self.port,
                context=self.context,
                slots=2,
                threads=1,
                free_bytes=800_000_000,
                picture_tokens=(16, 1024),
            ),
        )
        return (*shell, *arguments)


@pytest.fixture
async def server(tiny_model: Path, tmp_path: Path) -> AsyncIterator[Planned]:
    one = Planned(write(tiny_model, tmp_path / "colors"))
    yield one
    one.kill()


async def test_it_takes_the_options_of_llama_server(server: Planned) -> None:
    """Each that the manager may give; and the server is as they say."""
    given = {str(word) for word in server.command() if str(word).startswith("--")}
    optional = {"--alias", "--threads", "--ubatch-size", "--cache-ram", "--ctx-checkpoints"}
    assert given >= optional | {"--image-min-tokens", "--image-max-tokens", "--no-ui", "--offline"}
    await server.start()
    async with httpx.AsyncClient(trust_env=False, verify=trusted()) as client:
        url = server.base_url.removesuffix("/v1")
        assert (await client.get(f"{url}/props")).status_code == 401
        props = (await client.get(f"{url}/props", headers=bearer("k"))).json()
        assert (await client.get(url, headers=bearer("k"))).status_code == 404
    assert (props["total_slots"], props["model_alias"]) == (2, "some/model")
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["modalities"]["vision"]


async def test_it_ends_while_it_loads(server: Planned) -> None:
    SlowFile(server.model / PROJECTOR)
    process = server.begin()
    until = time.monotonic() + LOADS
    while b"load_model: loading model" not in server.log.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
    process.terminate()
    assert process.wait(LOADS) == -signal.SIGTERM


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def swap(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "other")
    (folder / PROJECTOR).rename(folder / WEIGHTS)
    (folder / "other").rename(folder / PROJECTOR)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        *(
            (spoil, "is missing, damaged or of another model. Fetch")
            for spoil in (
                lambda one: os.truncate(one.model / WEIGHTS, 0),
                lambda one: cut(one.model / PROJECTOR),
                lambda one: (one.model / PROJECTOR).unlink(),
                lambda one: swap(one.model),
                lambda one: shutil.copy(one.model / WEIGHTS, one.model / PROJECTOR),
            )
        ),
        (
            lambda one: one.__dict__.update(limit="ulimit -v 700000", context=10**6),
            "memory does not hold the model and its context. Lower",
        ),
    ],
)
async def test_why_it_does_not_start(
    server: Planned, spoil: Callable[[Planned], object], says: str
) -> None:
    """In one sentence, from its true log, which ends without a traceback."""
    spoil(server)
    assert server.begin().wait(LOADS) == 1
    log = server.log.read_text("utf-8", "replace")
    assert says in explain_failure(log.splitlines(), context="the context", path=server.model)
    assert "Traceback" not in log


async def test_a_port_that_another_program_has(server: Planned) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        assert server.begin().wait(LOADS) == 1
    lines = server.log.read_text("utf-8").splitlines()
    assert explain_failure(lines).startswith("Another program has port")


# Its installation, from a folder of wheels

VERSION = "2026.1.9999"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package that has nothing in it; the lock names it, and the home is empty."""
    (tmp_path / "wheels").mkdir()
    lock = tmp_path / "lock.txt"
    lock.write_text(wheel(tmp_path / "wheels", "xllamacpp", VERSION))
    monkeypatch.setattr(llama_wheel, "LOCK", lock)
    for name, value in {
        "HOME": tmp_path,
        "PIP_NO_INDEX": 1,
        "PIP_FIND_LINKS": tmp_path / "wheels",
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def test_it_is_installed_once(index: Path) -> None:
    """Beside the models, whole or not at all; what a killed run left is cleared away."""
    kept = index / "models" / ".llama.cpp"
    left = kept / f"{VERSION}.partial" / "xllamacpp"
    left.mkdir(parents=True)
    said: list[str] = []
    assert not llama_wheel.is_installed()
    assert install(said.append) == kept / VERSION
    assert said == [f"Installing llama.cpp's server (xllamacpp {VERSION}, 34 MB)."]
    assert parse_progress(said[0])
    assert [path.name for path in kept.iterdir()] == [VERSION]
    assert [path.name for path in (kept / VERSION).iterdir()] == [f"xllamacpp-{VERSION}.dist-info"]
    (index / "wheels" / f"xllamacpp-{VERSION}-py3-none-any.whl").unlink()
    assert install(said.append) == kept / VERSION
    assert len(said) == 1
    assert llama_wheel.is_installed()


def test_a_second_one_waits_for_the_first(index: Path) -> None:
    kept = index / "models" / ".llama.cpp"
    kept.mkdir(parents=True)
    lock = os.open(kept, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    code = f"from server.features.hosting import llama_wheel as w; w.LOCK = w.Path({str(llama_wheel.LOCK)!r}); w.install(print)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(2)
        (kept / VERSION).mkdir()
        os.close(lock)
        assert other.communicate(timeout=30)[0] == b""
    assert other.returncode == 0


@pytest.mark.parametrize(
    ("lock", "environment", "says"),
    [
        (
            locked("xllamacpp", VERSION),
            {},
            "The downloaded file does not have the checksum in locks/",
        ),
        (locked("xllamacpp", "3.1"), {}, "The package index has no xllamacpp 3.1 for this system"),
        (
            locked("xllamacpp", "3.1"),
            {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"},
            "The package index cannot be reached",
        ),
        ("# nothing\n", {}, "llama.cpp.s server cannot be installed, because"),
        ("", {"HOME": "/dev/null"}, "cannot be installed to /dev/null/models"),
    ],
)
def test_why_it_cannot_be_installed(
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    lock: str,
    environment: dict[str, str],
    says: str,
) -> None:
    """In a sentence with what to do; nothing counts as installed then."""
    if lock:
        llama_wheel.LOCK.write_text(lock)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LlamaError, match=says):
        install(print)
    assert not list(index.glob(f"models/.llama.cpp/{VERSION}"))


def test_without_pip_or_room_it_says_so(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = index / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(bare / "bin" / "python"))
        with pytest.raises(
            LlamaError, match=r"has no pip\. Make a new \.venv: bash scripts/run.sh --install"
        ):
            install(print)
    monkeypatch.setattr(llama_wheel, "ROOM_BYTES", 1 << 62)
    with pytest.raises(LlamaError, match="MB are free at"):
        install(print)


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels of other systems need none of it")
def test_a_machine_on_which_it_cannot_run_is_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older or another C library, a processor without AVX2, no libgomp."""
    for libc in (("glibc", "2.12"), ("musl", "1.2"), ("", "")):
        with pytest.raises(LlamaError, match=r"needs glibc 2.17 or newer, and this system has"):
            require_machine(libc=libc)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx f16c bmi2\n")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(LlamaError, match="This processor lacks AVX2, FMA, for which"):
        require_machine(cpuinfo)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LlamaError, match="has no build for riscv64"):
        require_machine()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("ctypes.CDLL", gone)
    with pytest.raises(LlamaError, match="apt install libgomp1"):
        require_machine(cpuinfo)


def gone(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def test_its_failure_is_the_reason_that_is_shown(index: Path) -> None:
    """Of a process that was to install it when a model starts."""
    code = (
        "import sys; from server.features.hosting import llama_wheel as w;"
        f"w.LOCK = w.Path({str(llama_wheel.LOCK)!r}); w.main()"
    )
    (index / "wheels" / f"xllamacpp-{VERSION}-py3-none-any.whl").unlink()
    done = subprocess.run(
        [sys.executable, "-c", code, "--model", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1
    reason = explain_failure((done.stdout + done.stderr).splitlines())
    assert reason.startswith("llama.cpp's server cannot be installed. The package index has no")
