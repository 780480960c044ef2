"""The manager with real models: the tiny one that names colours, through what it starts itself."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from server.catalogue.command import Choice
from server.catalogue.entry import RunMode
from server.engines.base import Chunk, Delta
from server.engines.manager_status import ManagerState
from server.engines.process_memory import tree_bytes
from server.errors import EngineFailed
from tests.engine_plans import Managed, managed_for_real
from tests.real_model.server import ASK_COLOR, ASK_SONG
from tests.test_real_model import request

LOADS = 90.0
SONG = 3000
# Each is a load of some seconds: ten are for whoever has the time.
SWITCHES = int(os.environ.get("MANAGER_SWITCHES", "2"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a model is no quicker on more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def choice(folder: Path, mode: RunMode) -> Choice:
    return Choice(model=str(folder), mode=mode)


async def load(one: Managed, folder: Path, mode: RunMode) -> None:
    await one.manager.start(choice(folder, mode))
    async with asyncio.timeout(LOADS):
        status = await one.manager.settled()
    assert status.state is ManagerState.READY, status.error


async def words(answer: AsyncGenerator[Chunk, None]) -> str:
    return "".join([chunk.text async for chunk in answer if isinstance(chunk, Delta)])


async def colour(one: Managed, color: str) -> str:
    return await words(one.manager.place.answer(request(ASK_COLOR, color)))


async def until_ready(one: Managed) -> None:
    async with asyncio.timeout(LOADS):
        while one.manager.status().state is not ManagerState.READY:
            await asyncio.sleep(0.02)


async def test_a_server_that_the_program_started(tiny_model: Path) -> None:
    """Pixels become words; cancelling stops the work there; kill -9 in mid-answer is told at once, and it comes back."""
    async with managed_for_real() as one:
        await load(one, tiny_model, RunMode.SUBPROCESS)
        assert "loading weights" in {s.progress.phase for s in one.seen if s.progress}
        assert await colour(one, "red") == "It is red."

        song = one.manager.place.answer(request(ASK_SONG, max_tokens=SONG))
        await anext(song)
        began = time.monotonic()
        for _ in range(20):
            await anext(song)
        whole = (time.monotonic() - began) / 20 * SONG
        await song.aclose()
        began = time.monotonic()
        # One generation at a time: it would have to wait for the song.
        assert await colour(one, "green") == "It is green."
        assert time.monotonic() - began < whole / 4

        song = one.manager.place.answer(request(ASK_SONG, max_tokens=SONG))
        for _ in range(5):
            await anext(song)
        began = time.monotonic()
        os.kill(one.pid(), signal.SIGKILL)
        with pytest.raises(EngineFailed, match="ended unexpectedly in mid-answer"):
            async for _ in song:
                pass
        assert time.monotonic() - began < 2
        assert "SIGKILL" in one.manager.status().error
        await until_ready(one)
        assert await colour(one, "blue") == "It is blue."


async def test_switches_give_memory_back(tiny_model: Path, tmp_path: Path) -> None:
    """Back and forth between two ways to run it: what this process and all below it hold is again what it was."""
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    held: dict[RunMode, list[int]] = {}
    async with managed_for_real() as one:
        for number in range(SWITCHES + 1):
            mode = (RunMode.IN_PROCESS, RunMode.SUBPROCESS)[number % 2]
            await load(one, (tiny_model, other)[number % 2], mode)
            assert await colour(one, "red") == "It is red."
            gc.collect()
            held.setdefault(mode, []).append(tree_bytes(os.getpid()) or 0)
        released = one.manager.status().released
        assert released is not None
        assert (released.held or 0) > 100e6
        assert released.left == 0
        await one.manager.stop()
    print({str(mode): [round(count / 1e6, 1) for count in counts] for mode, counts in held.items()})
    for counts in held.values():
        assert counts[-1] <= counts[0] * 1.05, counts
