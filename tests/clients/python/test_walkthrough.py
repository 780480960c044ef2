"""clients/python/README.md, word for word: its commands and programs run against a server with a live camera."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from qwen_camera import errors
from qwen_camera.command import parser

from tests.clients.python.desk import Desk, desk_of, white_paper
from tests.support.guides import ROOT, blocks, text_of

pytestmark = pytest.mark.slow

FOLDER = ROOT / "clients" / "python"
TEXT = text_of("clients/python/README.md")
BLOCKS = blocks(TEXT)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
INSTALL, VARIABLES, COMMANDS = (text for kind, text in BLOCKS if kind == "bash")


async def started(desk: Desk, folder: Path, *command: str) -> asyncio.subprocess.Process:
    """Only the two variables are ours: they name a server that nobody has."""
    bin = folder / "bin"
    if not bin.exists():
        bin.mkdir()
        (bin / "qwen-camera").write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m qwen_camera "$@"\n'
        )
        (bin / "qwen-camera").chmod(0o755)
    env = os.environ | {
        "PATH": f"{bin}:{os.environ['PATH']}",
        "PYTHONPATH": str(FOLDER / "src"),
        "QWEN_CAMERA_URL": desk.run.base_url,
        "QWEN_CAMERA_TOKEN": await desk.token(),
    }
    return await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def out_of(process: asyncio.subprocess.Process) -> str:
    out, errors = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def test_its_commands_and_programs_work(tmp_path: Path) -> None:
    """All but the installation, which tests/clients/python/test_package.py does, and a paper that turns white once."""
    assert re.findall(r"export (\w+)=", VARIABLES) == ["QWEN_CAMERA_URL", "QWEN_CAMERA_TOKEN"]
    assert INSTALL == "pip install ./clients/python\n"
    *asking, watching = COMMANDS.splitlines()
    answers, waiting = PROGRAMS
    async with desk_of() as desk:
        said = await out_of(await started(desk, tmp_path, "bash", "-ec", "\n".join(asking)))
        access, answer, found, place = said.splitlines()
        assert access.startswith("Helper: events, look, watch, until ")
        assert (answer, found) == ("I see a cup.", "I see a cup.")
        assert re.fullmatch(r"(\d+ ){4}cup", place)
        assert (tmp_path / "now.jpg").read_bytes().startswith(b"\xff\xd8")
        said = await out_of(await started(desk, tmp_path, sys.executable, "-c", answers))
        *lines, last = said.splitlines()
        assert lines == ["I see a cup. True", "I see a cup.", "cup 4", "640 360"]
        assert last.startswith("No pictures of the recent past are kept.")
        process = await started(desk, tmp_path, sys.executable, "-c", waiting)
        await desk.wait_for_listener()
        (watch,) = desk.watches()
        desk.alert(watch, "It is white.", desk.later())
        assert await out_of(process) == "the kettle boils It is white. True\n"
        assert desk.watches() == []
        # From a shell to a true alert
        desk.fake.answer_for = white_paper
        desk.fake.card = {"owned_by": "vllm"}
        count = desk.fake.count
        process = await started(desk, tmp_path, "bash", "-ec", watching)
        # The first look, and the one at the settled scene
        await desk.fake.wait_for(count + 2, timeout=30)
        desk.scene.text, desk.scene.text_px = "WHITE", 20
        told = r"20\S+ \S+  something red appears: It is white\.\n"
        assert re.fullmatch(told, await out_of(process))
        assert desk.watches() == []


def test_it_names_what_there_is() -> None:
    """Every error, exit status and command."""
    kinds = {name for name, one in vars(errors).items() if isinstance(one, type)}
    assert all(
        f"`{name}`" in TEXT for name in kinds if issubclass(getattr(errors, name), Exception)
    )
    text = parser().format_help()
    statuses = re.findall(r"^  (\d+) ", text, re.MULTILINE)
    assert statuses == re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)
    for name in re.findall(r"^    ([a-z]+) ", text, re.MULTILINE):
        assert re.search(rf"`{name}`|qwen-camera {name} ?", TEXT), name
