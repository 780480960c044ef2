"""The manager with real models: the tiny one that names colours, through what it starts itself."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.planner import find_port
from server.models.base import Chunk, Delta
from server.shared.processes.reaper import list_descendants
from tests.real_model.gguf_files import write
from tests.real_model.server import ASK_COLOR
from tests.support.engine_plans import Managed, managed_for_real
from tests.support.real_llama import PROGRAM
from tests.whole.test_real_model import request

pytestmark = pytest.mark.slow
LOADS = 90.0
SONG = 3000
# Each is a load of some seconds: ten are for whoever has the time.
SWITCHES = int(os.environ.get("MANAGER_SWITCHES", "2"))
# Share of what was held
WITHIN = 0.05


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a model is no quicker on more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


async def load(one: Managed, folder: Path, mode: RunMode) -> None:
    async with asyncio.timeout(LOADS):
        more = {"context": 4096, "visual_tokens": 64, "port": find_port(None)}
        await one.ready(Choice.model_validate({"model": str(folder), "mode": mode, **more}))


async def words(answer: AsyncGenerator[Chunk, None]) -> str:
    return "".join([chunk.text async for chunk in answer if isinstance(chunk, Delta)])


async def colour(one: Managed, color: str) -> str:
    return await words(one.manager.active.answer(request(ASK_COLOR, color)))


def anonymous(pid: int) -> int:
    """Bytes that `pid` and all below it have of their own: what a leak would be made of.

    Pages of files, libraries above all, are shared with whatever else runs on the machine, and come
    and go with it.
    """
    found = 0
    for one in (pid, *list_descendants(pid)):
        with suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return found * 1024


async def test_switches_give_memory_back(tiny_model: Path, tmp_path: Path) -> None:
    """Back and forth between two ways to run it, within 5 %: with one loaded as with none this process
    and all below it hold what they held the first time.
    """
    other = write(tiny_model, tmp_path / "other")
    held: dict[str, list[int]] = {}

    def note(what: str) -> None:
        gc.collect()
        held.setdefault(what, []).append(anonymous(os.getpid()))

    async with managed_for_real(llama_server=PROGRAM) as one:
        for number in range(SWITCHES + 1):
            mode = (RunMode.IN_PROCESS, RunMode.SUBPROCESS)[number % 2]
            await load(one, (tiny_model, other)[number % 2], mode)
            assert (await colour(one, "red")).startswith("It is")
            note(str(mode))
            # None but what is loaded holds anything.
            note("the server alone")
            held["the server alone"][-1] -= anonymous(one.outermost())
        await one.manager.stop()
    print({what: [round(count / 1e6, 1) for count in counts] for what, counts in held.items()})
    for what, counts in held.items():
        assert counts[-1] <= counts[0] * (1 + WITHIN), what
