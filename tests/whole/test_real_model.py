"""The vLLM engine and the whole program against a real model server: `transformers serve` with a
tiny Qwen2.5-VL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import EngineFailed
from server.core.frames import Picture, Role
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.hosting import Hosting
from server.media.picture import encode
from server.models.base import Chunk, EngineRequest, EngineState
from server.models.openai.chat_client import Endpoint
from server.models.openai.engine import OpenAIEngine
from tests.real_model.server import (
    ASK_COLOR,
    ASK_SONG,
    COLORS,
    GREY,
    PYTHON,
    ModelServer,
    build,
    watch_lessons,
)
from tests.support.answers import collect
from tests.support.clients import Message, Page, soon, visitor
from tests.support.fakes import make_request
from tests.support.running import running

# Tokens of an answer that is far from its end whenever a test stops it.
SONG = 3000

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny_model: Path) -> AsyncIterator[ModelServer]:
    one = ModelServer(tiny_model)
    try:
        await one.start()
        yield one
    finally:
        one.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def engine(server: ModelServer) -> AsyncIterator[OpenAIEngine]:
    one = OpenAIEngine("vllm", Endpoint(server.base_url, model=str(server.model)))
    yield one
    await one.close()


@pytest.fixture(scope="module")
def watcher_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that was taught to watch for red."""
    folder = tmp_path_factory.mktemp("watches")
    return build(folder, watch_lessons("you see red")).rename(folder / "watcher")


def request(question: str, color: str = "red", max_tokens: int = 64) -> EngineRequest:
    """A question about a picture of one colour."""
    bgr = np.full((196, 252, 3), COLORS[color][::-1], np.uint8)
    jpeg = encode.encode_jpeg(bgr)
    picture = Picture("f", 1.0, None, 1280, 720, 252, 196, 63, jpeg, None, None, 0.003)
    return make_request(question, picture, max_tokens=max_tokens)


# The engine alone


async def test_without_a_name_it_says_what_to_set(server: ModelServer) -> None:
    """The served model cannot be found here."""
    nameless = OpenAIEngine("vllm", Endpoint(server.base_url))
    status = await nameless.probe()
    await nameless.close()
    assert status.state is EngineState.MISCONFIGURED
    assert "MODEL_NAME" in status.detail


@pytest.mark.parametrize("color", COLORS)
async def test_pixels_become_words(engine: OpenAIEngine, color: str) -> None:
    """The picture alone decides the answer; it comes in pieces, and with the server's counts."""
    pieces, end = await collect(engine, request(ASK_COLOR, color))
    assert "".join(pieces) == f"It is {color}."
    assert len(pieces) >= 2
    assert end.finish_reason == "stop"
    # The picture's 63 tokens and the text; the words and the end.
    assert end.usage.prompt_tokens is not None
    assert end.usage.prompt_tokens > 63
    assert end.usage.completion_tokens == 4


async def begun(engine: OpenAIEngine) -> tuple[AsyncGenerator[Chunk, None], float]:
    """A song that is going on, and how long it takes if nobody stops it, seconds."""
    song = engine.answer(request(ASK_SONG, max_tokens=SONG))
    await anext(song)
    begin = time.monotonic()
    for _ in range(20):
        await anext(song)
    return song, SONG * (time.monotonic() - begin) / 20


async def test_closing_stops_the_generation(engine: OpenAIEngine) -> None:
    """The server has one answer at a time; closed, the next comes long before its end."""
    song, whole = await begun(engine)
    waiting = asyncio.create_task(collect(engine, request(ASK_COLOR)))
    for _ in range(100):
        await anext(song)
    assert not waiting.done()
    begin = time.monotonic()
    await song.aclose()
    pieces, _ = await asyncio.wait_for(waiting, 60)
    assert "".join(pieces) == "It is red."
    assert time.monotonic() - begin < whole / 2


async def test_a_question_that_waits_is_taken_back(engine: OpenAIEngine) -> None:
    """Cancelled before its first token, it does not hold up the next one either."""
    song, whole = await begun(engine)
    waiting = asyncio.create_task(collect(engine, request(ASK_SONG, max_tokens=SONG)))
    for _ in range(50):
        await anext(song)
    waiting.cancel()
    await asyncio.wait([waiting])
    begin = time.monotonic()
    await song.aclose()
    await collect(engine, request(ASK_COLOR))
    assert time.monotonic() - begin < whole / 2


async def test_a_refused_field_is_left_out_for_good(server: ModelServer) -> None:
    """This server answers 422 to `priority`; the visitor notices nothing, and it isn't sent again."""
    engine = OpenAIEngine(
        "vllm",
        Endpoint(
            server.base_url, model=str(server.model), fields={"temperature": 0.2, "priority": 3}
        ),
    )
    try:
        for _ in range(2):
            pieces, _ = await collect(engine, request(ASK_COLOR))
            assert "".join(pieces) == "It is red."
    finally:
        await engine.close()
    assert server.log.read_text("utf-8").count('HTTP/1.1" 422') == 1


async def test_a_broken_picture_is_an_error(engine: OpenAIEngine) -> None:
    """The server fails at it; the next question works."""
    broken = request(ASK_COLOR)
    object.__setattr__(broken.picture, "jpeg", b"\xff\xd8 not really a picture \xff\xd9")
    with pytest.raises(EngineFailed):
        await collect(engine, broken)
    pieces, _ = await collect(engine, request(ASK_COLOR, "blue"))
    assert "".join(pieces) == "It is blue."


# The whole program


class ColoredScene(Scene):
    """One colour everywhere."""

    def __init__(self, color: str) -> None:
        super().__init__(320, 240)
        self._noise = np.random.default_rng(0)
        self.show(COLORS[color])

    def show(self, rgb: tuple[int, int, int]) -> None:
        bgr = np.full((self.height, self.width, 3), rgb[::-1], np.uint8)
        self._planes = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)

    def draw(self, epoch: float) -> av.VideoFrame:
        """Never twice the same picture, or the camera would count as frozen."""
        planes = self._planes.copy()
        height, width = self.height, self.width
        planes[:height] += self._noise.integers(0, 6, (height, width)).astype(np.uint8)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cameras() -> AsyncIterator[dict[str, LiveEncoder]]:
    encoders = {color: LiveEncoder(ColoredScene(color), rate=10) for color in COLORS}
    yield encoders
    for encoder in encoders.values():
        await encoder.close()


def pieces_of(page: Page, id: str) -> list[str]:
    return [m["text"] for m in page.seen if m["type"] == "delta" and m["id"] == id]


def wanted(answer: Message, model: ModelServer, color: str) -> None:
    """This is a whole answer of the real model about a camera's picture of that colour."""
    assert answer["type"] == "response", answer
    assert (answer["engine"], answer["model"]) == ("vllm", model.model.name)
    assert (answer["text"], answer["finish_reason"]) == (f"It is {color}.", "stop")
    frame = answer["frame"]
    assert (frame["source_width"], frame["source_height"]) == (320, 240)
    # Largest context of this model, by its files.
    assert frame["visual_tokens"] <= 64
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["prompt_tokens"] > frame["visual_tokens"]


async def test_two_visitors_get_their_own_answers(
    server: ModelServer, engine: OpenAIEngine, cameras: dict[str, LiveEncoder]
) -> None:
    """One stops a long answer; then each hears at once the colour before its camera, streamed."""
    song, whole = await begun(engine)
    await song.aclose()
    async with (
        running(
            engine="vllm",
            vllm_base_url=server.base_url,
            model_name=str(server.model),
            response_max_tokens=SONG,
        ) as run,
        visitor(run, cameras["green"]) as green,
        visitor(run, cameras["red"]) as red,
    ):
        assert (green.page.seen[0]["engine"], green.page.seen[0]["engine_state"]) == (
            "vllm",
            "ready",
        )
        await red.page.send(type="settings", max_tokens=SONG)
        await red.page.send(type="chat", content=ASK_SONG, id="song")
        await red.page.next("delta", id="song", timeout=20)
        for _ in range(5):
            await red.page.next("delta", id="song", timeout=20)
        await red.page.send(type="cancel", id="song")
        begin = time.monotonic()
        stopped = await red.page.end("song")
        assert stopped["finish_reason"] == "cancelled"
        assert set(stopped["text"].split()) == {"la"}
        answers = await asyncio.gather(
            green.page.ask(ASK_COLOR, id="g", timeout=60),
            red.page.ask(ASK_COLOR, id="r", timeout=60),
        )
        # Not behind the song: the server has one answer at a time in work.
        assert time.monotonic() - begin < whole / 2
        wanted(answers[0], server, "green")
        wanted(answers[1], server, "red")
        assert "".join(pieces_of(green.page, "g")) == "It is green."
        assert "".join(pieces_of(red.page, "r")) == "It is red."


@pytest.mark.night
async def test_a_server_that_dies_and_comes_back(
    server: ModelServer, cameras: dict[str, LiveEncoder]
) -> None:
    """Killed in mid-answer: an error, never a spliced answer; then the state is down, or the built-in
    engine answers; and back.
    """
    settings = {"vllm_base_url": server.base_url, "model_name": str(server.model)}
    settings["drain_seconds"] = "1"
    async with (
        running(engine="vllm", **settings) as alone,
        running(engine="auto", **settings) as auto,
        visitor(alone, cameras["red"]) as one,
        visitor(auto, cameras["blue"]) as two,
    ):
        await one.page.send(type="settings", max_tokens=SONG)
        await one.page.send(type="chat", content=ASK_SONG, id="song")
        for _ in range(5):
            await one.page.next("delta", id="song", timeout=20)
        server.kill()
        error = await one.page.end("song")
        assert (error["type"], error["code"], error["retryable"]) == (
            "error",
            "engine_failed",
            True,
        )
        assert "could not finish this answer" in error["message"]
        down = await one.page.next("ready", engine_state="unreachable")
        assert down["engine"] == "vllm"
        assert down["engine_detail"]
        assert server.base_url not in down["engine_detail"]
        assert (await one.page.ask(ASK_COLOR))["code"] == "engine_unavailable"

        answer = await two.page.ask("How bright is it?", timeout=20)
        assert (answer["type"], answer["engine"]) == ("response", "builtin"), answer

        await server.start()
        up = await asyncio.gather(
            one.page.next("ready", engine="vllm", engine_state="ready", timeout=15),
            two.page.next("ready", engine="vllm", engine_state="ready", timeout=15),
        )
        assert {ready["model"] for ready in up} == {server.model.name}
        wanted(await one.page.ask(ASK_COLOR, timeout=20), server, "red")
        # The turn before is nothing that the model was taught: what it says now is its own affair.
        again = await two.page.ask(ASK_COLOR, timeout=20)
        assert (again["type"], again["engine"]) == ("response", "vllm"), again


@pytest.mark.night
async def test_a_model_of_this_server_watches(server: ModelServer, watcher_model: Path) -> None:
    """WATCHES_BASE_URL=local: LOCAL_MODEL watches and describes and answers nothing, though ENGINE names another
    engine; stopped in the panel, the one that answers stands in, and started again it watches again.
    """
    scene = ColoredScene("red")
    scene.show(GREY)
    encoder = LiveEncoder(scene, rate=10)
    settings: dict[str, Any] = {
        "vllm_base_url": server.base_url,
        "model_name": str(server.model),
        "watches_base_url": "local",
        "local_model": watcher_model,
        "engine_python": PYTHON,
        "trust_remote_code": True,
    }
    try:
        async with running(engine="vllm", **settings) as run, visitor(run, encoder) as one:
            page, engines = one.page, run.program.engines
            manager = run.program.added.provided[Hosting].manager
            await soon(lambda: engines.of(Role.WATCHES).name == "local", 60)
            told = await page.next("ready", stands_in="", timeout=30)
            assert told["roles"] == {"watches": {"engine": "local", "model": "watcher"}}
            await page.send(type="watch", id="red", condition="you see red")
            watches: list[dict[str, Any]] = []
            while not (watches and watches[0]["armed"]):
                watches = (await page.next("watches", timeout=60))["watches"]
            assert watches[0]["reason"] == "It is not red."
            scene.show(COLORS["red"])
            alert = await page.next("alert", timeout=60)
            assert (alert["model"], alert["reason"]) == ("watcher", "It is red.")
            answer = await page.ask(ASK_COLOR, timeout=60)
            assert answer["model"] == server.model.name
            await manager.stop()
            told = await page.next("ready", roles={}, timeout=30)
            assert told["stands_in"]
            assert engines.current.name == "vllm"
            await manager.start(Choice(model=str(watcher_model), mode=RunMode.IN_PROCESS))
            told = await page.next("ready", stands_in="", timeout=60)
            assert told["roles"]["watches"]["model"] == "watcher"
            assert engines.current.name == "vllm"
    finally:
        await encoder.close()
