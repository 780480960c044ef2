"""The manager with a vLLM of this machine: `tests.support.real_vllm` says how to have one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from scripts.bench.live_encoder import LiveEncoder
from server.core.errors import EngineFailed
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.status import ManagerState
from server.models.base import Finished, ShownPicture
from server.models.prompts import make_captions
from server.shared.processes.reaper import list_descendants
from tests.features.hosting.test_manager_real import words
from tests.real_model.server import ASK_COLOR, ASK_SONG, COLORS
from tests.real_model.under_load import lose_and_replace
from tests.support.engine_plans import Managed, managed_for_real, settled
from tests.support.fakes import make_request
from tests.support.real_vllm import LOADS, PYTHON, REASON, VllmServer, prepared
from tests.whole.test_real_model import ColoredScene, request

SONG = 3000
# A cancelled answer's slot is free again within so many seconds.
FREED = 0.3

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason=REASON),
    # A start may take LOADS, of which a test has several.
    pytest.mark.timeout(5 * LOADS),
]


@pytest.fixture
def colors(tiny_model: Path, tmp_path: Path) -> Path:
    return prepared(tiny_model, tmp_path / "colors")


def choice(folder: Path, **more: object) -> Choice:
    fields = {"model": str(folder), "mode": RunMode.SUBPROCESS, "context": 4096, **more}
    return Choice.model_validate(fields)


async def ready_again(one: Managed) -> None:
    async with asyncio.timeout(LOADS):
        while one.manager.get_status().state is not ManagerState.READY:
            await asyncio.sleep(0.05)


async def counted(one: Managed, what: str) -> float:
    """The sum of these of vLLM's own counts."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        text = (await client.get(f"http://127.0.0.1:{one.plan().launch.port}/metrics")).text
    found = re.findall(rf"^vllm:{what} (\S+)$", text, re.M)
    assert found
    return sum(map(float, found))


async def color(one: Managed, name: str) -> str:
    return await words(one.manager.active.answer(request(ASK_COLOR, name)))


def engine_core(one: Managed) -> int:
    """The process below the server that has the model."""
    for pid in list_descendants(one.pid()):
        if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("vLLM has no process of that name")


async def test_it_takes_the_past_as_one_video(colors: Path) -> None:
    """The command allows one, and its frames cost as much in pairs as one picture."""
    async with managed_for_real(Path(PYTHON)) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        slot = one.manager.active
        assert slot.status.capabilities.video
        bare = request(ASK_COLOR, "green")
        ages = [(float(age), float(age)) for age in range(80, 0, -10)]
        earlier = tuple(
            ShownPicture(bare.picture, caption, number=number)
            for number, caption in enumerate(make_captions(ages), 1)
        )
        taken: dict[int, int] = {}
        for frames in (4, 6, 8):
            asked = make_request(
                ASK_COLOR, bare.picture, earlier=earlier[-frames:], video=True, max_tokens=8
            )
            *_, end = [chunk async for chunk in slot.answer(asked)]
            assert isinstance(end, Finished)
            assert not end.video_refused
            assert end.usage.prompt_tokens is not None
            taken[frames] = end.usage.prompt_tokens
        pair = bare.picture.visual_tokens
        # With the words for the frames' times
        assert pair <= taken[6] - taken[4] < 1.5 * pair + 40
        assert pair <= taken[8] - taken[6] < 1.5 * pair + 40


async def test_it_answers_is_cancelled_and_comes_back(colors: Path) -> None:
    """Pixels become words, a closed answer leaves vLLM idle, and whichever of its processes is
    killed, the next question works.
    """
    async with managed_for_real(Path(PYTHON)) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        assert "--no-enable-log-requests" in one.manager.get_status().shown
        assert {"loading weights"} <= {s.progress.phase for s in one.seen if s.progress}
        for name in COLORS:
            assert await color(one, name) == f"It is {name}."

        song = one.manager.active.answer(request(ASK_SONG, max_tokens=SONG))
        await anext(song)
        began = time.monotonic()
        await song.aclose()
        # By its own counts nothing is worked on, and most of the song was not sung.
        while await counted(one, r"num_requests_(?:running|waiting)\{[^}]*\}"):
            assert time.monotonic() - began < FREED
        assert await counted(one, r"generation_tokens_total\{[^}]*\}") < SONG / 2

        for which in (one.pid, lambda: engine_core(one)):
            song = one.manager.active.answer(request(ASK_SONG, max_tokens=SONG))
            await anext(song)
            everything = list_descendants(one.pid())
            began = time.monotonic()
            os.kill(which(), signal.SIGKILL)
            with pytest.raises(EngineFailed, match="in mid-answer"):
                async for _ in song:
                    pass
            assert time.monotonic() - began < 8
            await ready_again(one)
            assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]
            assert await color(one, "green") == "It is green."

        everything = [one.pid(), *list_descendants(one.pid())]
        await one.manager.stop()
        assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]


async def test_killed_and_replaced_under_load_it_loses_no_question(colors: Path) -> None:
    encoder = LiveEncoder(ColoredScene("red"), rate=10)
    await lose_and_replace(VllmServer(colors), encoder, LOADS)
    await encoder.close()


async def test_it_is_stopped_while_it_loads(colors: Path) -> None:
    """Whatever it is at then, nothing of it is left, and the next start works."""
    async with managed_for_real(Path(PYTHON)) as one:
        await one.manager.start(choice(colors))
        async with asyncio.timeout(LOADS):
            while not any("EngineCore" in line for line in one.lines):
                await asyncio.sleep(0.05)
        everything = [one.outermost(), *list_descendants(one.outermost())]
        assert len(everything) > 2
        await one.manager.stop()
        assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]
        assert one.manager.get_status().state is ManagerState.IDLE
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)


async def test_what_it_refuses_is_a_sentence(colors: Path) -> None:
    """Weights of another model's shapes: what that means, and what to do."""
    config = json.loads((colors / "config.json").read_text())
    text = config.get("text_config", config)
    text["intermediate_size"] = text["intermediate_size"] * 2
    (colors / "config.json").write_text(json.dumps(config))
    async with managed_for_real(Path(PYTHON)) as one:
        await one.manager.start(choice(colors))
        error = await settled(one, ManagerState.FAILED)
        assert error.startswith("colors could not be started. It ended with status 1")
        assert f"The weights in {colors} are damaged or of another model." in error
