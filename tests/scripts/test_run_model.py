"""scripts/run.sh --model on a machine without llama.cpp: one command and a yes, until the page's question is answered;
killed at each stage, and begun again. The wheel and the model come from this machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder
from scripts.models.choose import GPU_SIGNS
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.real_model.server import ASK_COLOR, PYTHON, free_port
from tests.scripts.test_choose_model import BufferPool, answers_at
from tests.scripts.test_choose_model import environment as new_environment
from tests.support.clients import open_page
from tests.support.fakes_terminal import Terminal
from tests.support.hub_stand_in import Hub, Model, running_hub
from tests.support.running import Running
from tests.support.wheels import repacked
from tests.whole.test_real_llama import CATALOGUE, COMMIT, NAME
from tests.whole.test_real_model import ColoredScene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(any(sign.exists() for sign in GPU_SIGNS), reason="the wheel uses no GPU"),
]

# Seconds
INSTALLS, ANSWERS = 60.0, 60.0


class Computer(BufferPool):
    """This project with its true server, an index with the true wheel, and no llama-server."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        super().__init__(folder, hub, whole=True)
        (self.home / "models.toml").write_text(CATALOGUE)
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (packages,) = PYTHON.parent.parent.glob("lib/python3*/site-packages")
        lock = self.root / "locks" / "requirements-llama.txt"
        lock.write_text(repacked(packages, "xllamacpp", self.wheels))
        self.port = free_port()
        (self.root / ".env").write_text(
            f"HOST=127.0.0.1\nPORT={self.port}\nVISUAL_TOKEN_BUDGET=64\n"
        )

    @property
    def server(self) -> Path:
        """The folder with llama.cpp's server."""
        return self.home / "models" / ".llama.cpp"

    def environment(self, **more: str) -> dict[str, str]:
        own = {"PATH": "/usr/bin:/bin", "PIP_FIND_LINKS": str(self.wheels), "OMP_NUM_THREADS": "1"}
        return super().environment(**own | {"VLLM_BASE_URL": "http://127.0.0.1:9/v1"} | more)

    def begin(self, *args: str) -> Terminal:
        return Terminal(self.command(*args), self.environment(), Path("/"))

    async def starts_and_answers(self) -> None:
        """Begin the server without a word about models, and ask it about a red picture."""
        process = self.start()
        try:
            async with asyncio.timeout(2 * ANSWERS):
                assert await self._answer(process) == ("It is red", "local")
        finally:
            process.terminate()
            said = process.communicate(timeout=30)[0]
        assert process.returncode == 0, said

    async def _answer(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """Return the answer's first words and the engine that gave it."""
        base = f"http://127.0.0.1:{self.port}"
        await answers_at(base, process)
        where = cast(Running, SimpleNamespace(base_url=base, ws_url=base.replace("http", "ws")))
        encoder = LiveEncoder(ColoredScene("red"), rate=10)
        camera = CameraPeer(base, encoder)
        try:
            await camera.connect()
            page = await open_page(where, camera.token, camera.session_id)
            await page.camera("live")
            answer = await page.ask(ASK_COLOR, timeout=ANSWERS)
            await page.close()
            return answer["text"][:9], answer["engine"]
        finally:
            await camera.close()
            await encoder.close()


@pytest.fixture
def computer(tiny_model: Path, tmp_path: Path) -> Iterator[Computer]:
    folder = write(tiny_model, tmp_path / "files")
    with running_hub() as hub:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub.models[NAME] = Model({COMMIT: files}, {"main": COMMIT})
        yield Computer(tmp_path, hub)


def kill(terminal: Terminal) -> None:
    """End it and all that it started, as a lost connection or a full memory does."""
    os.killpg(terminal.process.pid, signal.SIGKILL)
    terminal.close()


def killed_when(terminal: Terminal, seen: Callable[[str], object]) -> str:
    text = terminal.read_until(seen, INSTALLS)
    kill(terminal)
    return text


async def test_one_command_and_a_yes_until_the_answer(computer: Computer) -> None:
    """Killed while it installs the server, fetches the model and loads it, each time it goes on; later starts
    use the model, also with a new .venv, until it is forgotten.
    """
    silent = computer.run("--model", PORT="0")
    assert silent.returncode == 1
    assert "Proposed: Colors" in silent.stderr
    assert "Nothing was fetched: there is no terminal to ask on." in silent.stderr
    assert not computer.server.exists()

    terminal = computer.begin("--model")
    terminal.read_until(lambda text: "Fetch it and start? [y/N]" in text, INSTALLS)
    terminal.type("y\n")
    killed_when(terminal, lambda text: "Installing llama.cpp's server (xllamacpp" in text)
    assert not list(computer.server.glob("*[0-9]"))

    stalls, asked = computer.hub.models[NAME].stalls, computer.hub.asked
    stalls[WEIGHTS] = 1000
    killed_when(computer.begin("--model", "colors"), lambda _: ("GET", WEIGHTS, 0) in asked)
    (server,) = computer.server.iterdir()
    stalls.clear()

    killed_when(computer.begin("--model", "colors"), lambda _: loads(computer))

    computer.hub.status = 503
    shutil.rmtree(computer.wheels)
    shutil.rmtree(computer.root / ".venv")
    new_environment(computer.root / ".venv")
    await computer.starts_and_answers()
    assert list(computer.server.iterdir()) == [server]
    assert computer.run("--install", "--model", "none").returncode == 0
    assert not (computer.root / ".model").exists()


def loads(computer: Computer) -> bool:
    """Return True when llama.cpp's server has been started with the model."""
    weights = str(computer.home / "models" / "colors-GGUF" / WEIGHTS)
    return any(weights in (one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))


async def test_without_a_terminal_a_name_suffices(computer: Computer) -> None:
    """And a start that finds no llama.cpp, as after an upgrade of it, installs it."""
    done = computer.run("--install", "--model", "colors")
    assert done.returncode == 0, done.stderr
    assert "Installing llama.cpp's server" in done.stderr
    shutil.rmtree(computer.server)
    await computer.starts_and_answers()
    assert len(list(computer.server.iterdir())) == 1
    there = {path.name for path in computer.home.glob("models/colors-GGUF/*.gguf")}
    assert there == {WEIGHTS, PROJECTOR}
