"""The manager with a true llama.cpp server and the tiny model that names colours, as GGUF files."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench.live_encoder import LiveEncoder
from server.core.errors import EngineFailed, EngineUnavailable
from server.core.frames import Role
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.hosting import Hosting
from server.features.hosting.planner import find_port
from server.features.hosting.status import ManagerState
from server.media.picture import encode
from server.models.base import Delta, EngineRequest, EngineState, Trouble
from server.models.openai.chat_client import Endpoint
from server.models.openai.engine import OpenAIEngine
from server.shared.processes.reaper import list_descendants
from tests.features.hosting.test_manager_real import words
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.real_model.server import ASK_COLOR, ASK_SONG, COLORS
from tests.real_model.under_load import lose_and_replace
from tests.support.clients import http, metric, soon, visitor
from tests.support.engine_plans import Managed, managed_for_real, settled
from tests.support.fakes import make_request
from tests.support.fakes_openai import FakeOpenAI
from tests.support.hub_stand_in import Model as OnHub
from tests.support.hub_stand_in import running_hub
from tests.support.real_llama import LOADS, PROGRAM, LlamaServer, SlowFile, slots
from tests.support.running import Running, running
from tests.whole.test_real_model import ColoredScene, request

SONG = 3000
# A cancelled answer's slot is free again within so many seconds.
FREED = 0.3


@pytest.fixture(scope="module")
def colors(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tiny_model, tmp_path_factory.mktemp("gguf") / "colors")


def choice(folder: Path, **more: object) -> Choice:
    fields = {"model": str(folder), "mode": RunMode.SUBPROCESS, "port": find_port(None)}
    return Choice.model_validate({**fields, "context": 4096, "visual_tokens": 64, **more})


async def color(one: Managed, name: str) -> str:
    """The first two words: what comes after them hangs on how a JPEG is decoded."""
    return await words(one.manager.active.answer(request(ASK_COLOR, name, max_tokens=2)))


def launch(one: Managed) -> Launch:
    return one.plan().launch


async def busy(one: Managed) -> int:
    return sum(await slots(launch(one).base_url, launch(one).key))


async def test_it_answers_is_cancelled_and_comes_back(colors: Path) -> None:
    """Pixels become the words of the torch model; a closed answer frees its slot at once; kill -9 in
    mid-answer is reported, and it comes back; stopped, nothing is left.
    """
    async with managed_for_real(llama_server=PROGRAM) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        shown = one.manager.get_status().shown
        assert f"LLAMA_API_KEY=******** {PROGRAM} --model {colors / WEIGHTS}" in shown
        assert launch(one).key not in shown
        phases = {s.progress.phase for s in one.seen if s.progress}
        assert "loading weights" in phases
        capabilities = one.manager.active.status.capabilities
        assert capabilities.images
        assert (capabilities.context_length, capabilities.max_concurrency) == (4096, 2)
        assert await slots(launch(one).base_url, launch(one).key) == [False, False]
        for name in COLORS:
            assert await color(one, name) == f"It is {name}"

        song = one.manager.active.answer(request(ASK_SONG, max_tokens=SONG))
        await anext(song)
        assert await busy(one) == 1
        began = time.monotonic()
        await song.aclose()
        while await busy(one):
            assert time.monotonic() - began < FREED
        assert await color(one, "green") == "It is green"

        song = one.manager.active.answer(request(ASK_SONG, max_tokens=SONG))
        await anext(song)
        os.kill(one.pid(), signal.SIGKILL)
        with pytest.raises(EngineFailed, match="in mid-answer"):
            async for _ in song:
                pass
        assert "SIGKILL" in one.manager.get_status().error
        async with asyncio.timeout(LOADS):
            while one.manager.get_status().state is not ManagerState.READY:
                await asyncio.sleep(0.02)
        assert await color(one, "red") == "It is red"

        everything = [one.pid(), *list_descendants(one.pid())]
        await one.manager.stop()
        assert not [pid for pid in everything if Path(f"/proc/{pid}").exists()]


async def test_two_are_answered_at_once_and_a_third_waits(colors: Path) -> None:
    """Each has a slot of its own; nothing is refused."""
    async with managed_for_real(llama_server=PROGRAM) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        songs = [one.manager.active.answer(request(ASK_SONG, max_tokens=SONG)) for _ in range(2)]
        for song in songs:
            await anext(song)
        assert await busy(one) == 2
        third = asyncio.create_task(color(one, "green"))
        await songs[0].aclose()
        assert await third == "It is green"
        await songs[1].aclose()


async def test_nobody_else_asks_it(colors: Path) -> None:
    """Without the key its slots, which know what is asked, tell nothing."""
    async with managed_for_real(llama_server=PROGRAM) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        with pytest.raises(AssertionError, match="Invalid API Key"):
            await slots(launch(one).base_url, "another")
        stranger = OpenAIEngine("vllm", Endpoint(launch(one).base_url, "another", "colors"))
        try:
            status = await stranger.probe()
            assert (status.state, status.trouble) == (EngineState.MISCONFIGURED, Trouble.KEY)
            assert "did not accept our key. Set VLLM_API_KEY to the key" in status.detail
            with pytest.raises(EngineUnavailable, match="did not accept our key"):
                await words(stranger.answer(request(ASK_COLOR, "red")))
        finally:
            await stranger.close()
        # What was asked is in no line of its log.
        await color(one, "red")
        assert not [line for line in one.lines if ASK_COLOR in line or "It is red" in line]


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            WEIGHTS,
            b"qwen2vl",
            b"qwen9vl",
            "does not support the architecture of this model, which is newer",
        ),
        (
            PROJECTOR,
            b"qwen2.5vl_merger",
            b"qwen9.9vl_merger",
            "does not support the architecture of this model, which is newer",
        ),
        (
            WEIGHTS,
            b"blk.0.ffn_up",
            b"blk.0.ffn_xx",
            "is missing, damaged or of another model. Fetch",
        ),
    ],
)
async def test_what_it_cannot_load_is_said_and_the_one_before_goes_on(
    colors: Path, tmp_path: Path, file: str, old: bytes, new: bytes, says: str
) -> None:
    """A kind that only a newer llama.cpp knows, damaged weights: one sentence with what to do."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in colors.iterdir():
        content = path.read_bytes()
        (broken / path.name).write_bytes(
            content.replace(old, new) if path.name == file else content
        )
    async with managed_for_real(llama_server=PROGRAM) as one:
        await one.manager.start(choice(broken))
        error = await settled(one, ManagerState.FAILED)
        assert says in error
        assert "could not be started" in error
        # Whoever asks meanwhile is answered by the next engine.
        assert one.engines.current is one.spare


async def test_a_switch_that_fails_leaves_the_first_one(colors: Path, tmp_path: Path) -> None:
    """A cut file is found before anything is stopped; a kind that the server does not know, after it."""
    async with managed_for_real(llama_server=PROGRAM) as one:
        await one.manager.start(choice(colors))
        await settled(one, ManagerState.READY)
        cut = tmp_path / "cut"
        cut.mkdir()
        for path in colors.iterdir():
            (cut / path.name).write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(Exception, match="is truncated: it has"):
            await one.manager.start(choice(cut))
        assert one.manager.get_status().state is ManagerState.READY
        assert await color(one, "red") == "It is red"

        newer = tmp_path / "newer"
        newer.mkdir()
        for path in colors.iterdir():
            (newer / path.name).write_bytes(path.read_bytes().replace(b"qwen2vl", b"qwen9vl"))
        await one.manager.start(choice(newer))
        await settled(one, ManagerState.READY)
        assert "does not support the architecture of this model" in one.manager.get_status().error
        assert await color(one, "red") == "It is red"


@pytest.fixture
async def red() -> AsyncIterator[LiveEncoder]:
    """A camera before which all is red."""
    encoder = LiveEncoder(ColoredScene("red"), rate=10)
    yield encoder
    await encoder.close()


async def test_a_question_waits_until_the_model_is_loaded(
    colors: Path, tmp_path: Path, red: LiveEncoder
) -> None:
    """503 from the server is the state `loading`, and the question is answered afterwards."""
    slow = SlowFile(shutil.copytree(colors, tmp_path / "slow") / PROJECTOR)
    server = LlamaServer(slow.path.parent, key="k")
    server.begin()
    try:
        async with (
            running(engine="vllm", vllm_base_url=server.base_url, vllm_api_key="k") as run,
            visitor(run, red) as one,
        ):
            engines = run.program.engines
            await soon(lambda: engines.current.status.state is EngineState.LOADING, LOADS)
            await one.page.send(type="chat", content=ASK_COLOR, id="a")
            await soon(lambda: metric(run, "engine_retries_total", reason="loading") > 0, LOADS)
            slow.arrive()
            answer = await one.page.end("a", timeout=LOADS)
            assert answer["type"] == "response", answer
            pieces = [m["text"] for m in one.page.seen if m["type"] == "delta"]
            assert "".join(pieces) == answer["text"] != ""
    finally:
        server.kill()


async def test_killed_and_replaced_under_load_it_loses_no_question(
    colors: Path, tmp_path: Path, red: LiveEncoder
) -> None:
    server = LlamaServer(shutil.copytree(colors, tmp_path / "colors"))
    await lose_and_replace(server, red, LOADS)


OPERATOR = "operator-token-of-this-test"
NAME, COMMIT = "someone/colors-GGUF", "7" * 40
CATALOGUE = f"""
[[model]]
id = "{NAME}"
title = "Colors"
aliases = ["colors"]
revision = "{COMMIT}"
model_type = "vision"
architecture = "qwen2_5_vl"
library = "llama.cpp"
abilities = ["images", "grounding"]
boxes = "pixels"
geometry = {{ factor = 28, min_pixels = 3136, max_pixels = 50176 }}
weights_bytes = 1000
memory_bytes = 1000
needs = {{ "llama.cpp" = "" }}
weights_file = "{WEIGHTS}"
projector_file = "{PROJECTOR}"
"""


class Operator:
    def __init__(self, run: Running) -> None:
        self._run = run

    async def ask(self, method: str, path: str, **body: object) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        async with http(self._run) as client:
            answer = await client.request(
                method, f"/api/engine{path}", headers=headers, json=body or None
            )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def fetched(self) -> None:
        async with asyncio.timeout(LOADS):
            while (found := await self.ask("GET", "/fetch"))["state"] != "done":
                assert found["state"] != "failed", found
                await asyncio.sleep(0.05)


async def test_fetched_from_a_mirror_it_answers_the_camera(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator fetches it (two files of five) and starts it; red in front of the camera comes back as
    "red"; cancelled its slot is free; killed, the built-in engine answers until it is back; switched to
    a copy of it, that one answers.
    """
    (tmp_path / "models.toml").write_text(CATALOGUE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("server.features.hosting.hosting.MODELS_FOLDER", tmp_path / "models")
    scenes = {name: LiveEncoder(ColoredScene(name), rate=10) for name in ("red", "blue")}
    with running_hub() as hub:
        files = {path.name: path.read_bytes() for path in colors.iterdir()}
        files |= {"tiny-Q8_0.gguf": b"x", "README.md": b"x", "config.json": b"{}"}
        hub.models[NAME] = OnHub({COMMIT: files}, names={"main": COMMIT})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        async with (
            running(
                engine="auto",
                operator_token=OPERATOR,
                rate_limit_per_minute=0,
                allow_model_downloads=True,
                catalogue=str(tmp_path / "models.toml"),
                llama_server=str(PROGRAM),
                response_max_tokens=2000,
                vllm_base_url="http://127.0.0.1:9/v1",
            ) as run,
            visitor(run, scenes["red"]) as red,
        ):
            operator = Operator(run)
            await operator.ask("POST", "/fetch", model=NAME)
            await operator.fetched()
            folder = tmp_path / "models" / "colors-GGUF"
            assert {path.name for path in folder.glob("*.gguf")} == {WEIGHTS, PROJECTOR}

            chosen = {"mode": "subprocess", "context": 4096, "visual_tokens": 64}
            await operator.ask("POST", "/start", model=NAME, **chosen)
            await red.page.next("ready", engine="local", engine_state="ready", timeout=LOADS)
            answer = await red.page.ask(ASK_COLOR, id="a", timeout=LOADS)
            assert answer["model"] == NAME
            assert answer["text"].startswith("It is red")

            manager = run.program.added.provided[Hosting].manager
            first = manager._plan.launch
            await red.page.send(type="chat", content=ASK_SONG, id="song")
            await red.page.next("delta", id="song", timeout=LOADS)
            await red.page.send(type="cancel", id="song")
            # The song may have come to its end just before.
            assert (await red.page.end("song"))["finish_reason"] in ("cancelled", "stop")
            began = time.monotonic()
            while any(await slots(first.base_url, first.key)):
                assert time.monotonic() - began < FREED

            (served,) = list_descendants(manager.ready_runtime._process.pid)
            os.kill(served, signal.SIGKILL)
            await red.page.next("ready", engine="builtin", timeout=LOADS)
            answer = await red.page.ask("How bright is it?", id="b", timeout=LOADS)
            assert (answer["type"], answer["engine"]) == ("response", "builtin")
            await red.page.next("ready", engine="local", engine_state="ready", timeout=LOADS)
            answer = await red.page.ask(ASK_COLOR, id="c", timeout=LOADS)
            assert answer["text"].startswith("It is red")

            shutil.copytree(colors, tmp_path / "copy")
            await operator.ask("POST", "/start", model=str(tmp_path / "copy"), **chosen)
            await soon(lambda: run.program.engines.current.status.model == "copy", LOADS)
            await manager.wait_settled()
            # On another page: what it says with turns before is its own affair.
            async with visitor(run, scenes["blue"]) as blue:
                answer = await blue.page.ask(ASK_COLOR, timeout=LOADS)
                assert answer["model"] == "copy"
                assert answer["text"].startswith("It is blue")
    for scene in scenes.values():
        await scene.close()


async def test_it_watches_while_another_server_answers(colors: Path) -> None:
    """WATCHES_BASE_URL=local with a GGUF: watches go to this machine's model and questions to the large one, which
    stands in once it is stopped.
    """
    scene = ColoredScene("red")
    encoder = LiveEncoder(scene, rate=10)
    try:
        async with (
            FakeOpenAI(model="large-vl") as large,
            running(
                engine="vllm",
                vllm_base_url=large.base_url,
                watches_base_url="local",
                local_model=colors,
                llama_server=str(PROGRAM),
                model_max_tokens=4096,
            ) as run,
            visitor(run, encoder) as one,
        ):
            engines = run.program.engines
            await soon(lambda: engines.of(Role.WATCHES).name == "local", LOADS)
            told = await one.page.next("ready", stands_in="", timeout=LOADS)
            assert told["roles"]["watches"] == {"engine": "local", "model": colors.name}
            await one.page.send(type="watch", id="w", condition="you see red")
            await soon(lambda: metric(run, "first_token_seconds_count", role="watches") > 0, LOADS)
            assert large.count == 0
            assert (await one.page.ask(ASK_COLOR))["model"] == "large-vl"
            await run.program.added.provided[Hosting].manager.stop()
            told = await one.page.next("ready", roles={}, timeout=LOADS)
            assert "using the fallback" in told["stands_in"]
            scene.show(COLORS["blue"])
            await large.wait_for(2, timeout=LOADS)
    finally:
        await encoder.close()


def fresh(number: int) -> EngineRequest:
    """A question about a picture that was never sent before: one more shade of red."""
    shade = [max(0, part - number) for part in COLORS["red"]][::-1]
    jpeg = encode.encode_jpeg(np.full((196, 252, 3), shade, np.uint8))
    shown = dataclasses.replace(request(ASK_SONG).picture, jpeg=jpeg)
    return make_request(ASK_SONG, shown, max_tokens=200)


@pytest.fixture
def one_core() -> Iterator[None]:
    """This test, and what it starts, have one core: on a busy machine threads wait for each other above all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.night
@pytest.mark.usefixtures("one_core")
async def test_it_is_quicker_than_torch_with_the_same_weights(
    colors: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So small models are for it: first token, pictures and tokens a second, side by side in one run."""
    whole = {}
    for name, folder, mode in (
        ("llama.cpp", colors, RunMode.SUBPROCESS),
        ("torch", tiny_model, RunMode.IN_PROCESS),
    ):
        began = time.monotonic()
        async with managed_for_real(llama_server=PROGRAM) as one:
            await one.manager.start(choice(folder, mode=mode))
            await settled(one, ManagerState.READY)
            loaded = time.monotonic() - began
            first, rate = [], []
            # The first two warm it up.
            for number in range(12):
                began = time.monotonic()
                song = one.manager.active.answer(fresh(number))
                at = [time.monotonic() async for part in song if isinstance(part, Delta)]
                assert len(at) > 100
                first.append(at[0] - began)
                rate.append((len(at) - 1) / (at[-1] - at[0]))
        seconds, pieces = statistics.median(first[2:]), statistics.median(rate[2:])
        whole[name] = seconds + 200 / pieces
        with capsys.disabled():
            print(
                f"\n{name}: loaded in {loaded:.1f} s, first token {seconds * 1000:.0f} ms, ", end=""
            )
            print(f"{1 / seconds:.0f} pictures/s, {pieces:.0f} tokens/s")
    assert whole["llama.cpp"] < whole["torch"]
