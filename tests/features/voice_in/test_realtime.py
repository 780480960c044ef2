"""Sound to words over vLLM's realtime socket, against a real WebSocket server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from server.core.sound import Sound
from server.features.voice_in.recogniser import Pieces, ServerRecogniser, Transcription
from server.shared.speech import (
    SocketNotOffered,
    SpeechError,
    SpeechFailed,
    SpeechLimits,
    SpeechTimeout,
    SpeechUnavailable,
)
from tests.support.sounds import stream
from tests.support.speech_server import TranscriptionServer

LIMITS = SpeechLimits(connect=10.0, first=10.0, between=10.0, total=20.0)
PIECES = [Sound(np.full(320, n, np.int16), n * 0.02) for n in range(4)]
Talk = Callable[["Server", ServerConnection], Awaitable[None]]


@dataclass
class Server:
    """The messages that one socket server got."""

    address: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    audio: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, socket: ServerConnection) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await socket.recv())
        if event["type"] == "input_audio_buffer.append":
            self.audio += base64.b64decode(event.pop("audio"), validate=True)
        self.events.append(event)
        return event

    async def until_final(self, socket: ServerConnection) -> None:
        while not (await self.next(socket)).get("final"):
            pass


async def put(socket: ServerConnection, **event: Any) -> None:
    await socket.send(json.dumps(event))


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[Server]:
    server = Server()

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        server.headers = {"path": socket.request.path, **dict(socket.request.headers.raw_items())}
        try:
            await talk(server, socket)
            await socket.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            server.gone.set()

    async with serve(handler, "127.0.0.1", 0) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        server.address = f"http://127.0.0.1:{port}/v1"
        yield server


async def spoken(pause: Callable[[], Awaitable[object]]) -> AsyncIterator[Sound]:
    """Two pieces, with a pause between them."""
    yield PIECES[0]
    await pause()
    yield PIECES[1]


def recognised(
    server: Server | str, sound: AsyncIterator[Sound] | None = None, **given: Any
) -> AsyncGenerator[Transcription, None]:
    address = server if isinstance(server, str) else server.address
    given = {"base_url": address, "model": "m", "limits": LIMITS, **given}
    return ServerRecogniser(**given).send_by_socket(sound or Pieces(stream(*PIECES)))


async def last(words: AsyncGenerator[Transcription, None]) -> Transcription:
    return [one async for one in words][-1]


async def well(server: Server, socket: ServerConnection) -> None:
    await put(socket, type="session.created", id="s", created=1)
    await server.until_final(socket)
    await put(socket, type="transcription.delta", delta="What ")
    await put(socket, type="something.new")
    await put(socket, type="transcription.delta", delta="is this?")
    await put(socket, type="transcription.done", text="What is this?", usage={})


async def test_the_whole_exchange() -> None:
    """The model, the beginning, the sound, its end; the words as they come."""
    async with talking(well) as server:
        words = [one async for one in recognised(server, api_key="k")]
    assert words == [
        Transcription("What", False),
        Transcription("What is this?", False),
        Transcription("What is this?", True),
    ]
    kinds = [(one["type"], one.get("final"), one.get("model")) for one in server.events]
    assert kinds == [
        ("session.update", None, "m"),
        ("input_audio_buffer.commit", False, None),
        *[("input_audio_buffer.append", None, None)] * 4,
        ("input_audio_buffer.commit", True, None),
    ]
    assert server.audio == b"".join(piece.samples.tobytes() for piece in PIECES)
    assert server.headers["path"] == "/v1/realtime"
    assert server.headers["Authorization"] == "Bearer k"


async def test_words_come_while_it_is_spoken() -> None:
    """The first ones before the last piece of sound."""
    heard = asyncio.Event()

    async def talk(server: Server, socket: ServerConnection) -> None:
        await put(socket, type="session.created")
        while not server.audio:
            await server.next(socket)
        await put(socket, type="transcription.delta", delta="What")
        await server.until_final(socket)
        await put(socket, type="transcription.done", text="What is it")

    async with (
        talking(talk) as server,
        aclosing(recognised(server, spoken(heard.wait))) as words,
    ):
        assert await anext(words) == Transcription("What", False)
        heard.set()
        assert await anext(words) == Transcription("What is it", True)


def sends(*events: dict[str, Any] | str | bytes, created: bool = True, final: bool = False) -> Talk:
    """Begin the session if `created`, wait for the end of the sound if `final`, send the events."""

    async def talk(server: Server, socket: ServerConnection) -> None:
        if created:
            await put(socket, type="session.created")
        if final:
            await server.until_final(socket)
        for event in events:
            await socket.send(json.dumps(event) if isinstance(event, dict) else event)

    return talk


async def endless(server: Server, socket: ServerConnection) -> None:
    await put(socket, type="session.created")
    while True:
        await put(socket, type="something.new")


async def hangs_up(server: Server, socket: ServerConnection) -> None:
    await sends(final=True)(server, socket)
    await socket.close()


DELTA = {"type": "transcription.delta", "delta": "secret words"}
# A model of vLLM-Omni's, which takes the sound for a question
ANSWERS = {"type": "response.output_audio.delta", "audio": "AAAA", "sample_rate_hz": 24000}


@pytest.mark.slow
@pytest.mark.parametrize(
    "talk",
    [
        sends({"type": "error", "error": "secret words", "code": "failed"}, created=False),
        sends({"type": "error", "error": {"code": 500, "message": "secret words"}}, final=True),
        sends("secret words"),
        sends(b"\xff\x00"),
        sends({"type": "transcription.done", "text": "x" * 100_000}, final=True),
        sends(DELTA, ANSWERS, final=True),
        endless,
        hangs_up,
    ],
)
async def test_answers_that_are_none(talk: Talk) -> None:
    """Errors, other things, too much, broken off: an error of ours without the server's text."""
    async with talking(talk) as server:
        with pytest.raises(SpeechFailed) as raised:
            await last(recognised(server))
        assert "secret" not in raised.value.message + raised.value.visitor_message
        async with asyncio.timeout(5):
            await server.gone.wait()


@pytest.mark.parametrize(
    ("talk", "limits"),
    [
        (sends(created=False), SpeechLimits(connect=0.3)),
        (sends(final=True), SpeechLimits(first=0.2)),
        (sends(DELTA, final=True), SpeechLimits(between=0.2)),
    ],
)
async def test_a_slow_server(talk: Talk, limits: SpeechLimits) -> None:
    """Its time begins with the end of the sound."""
    async with talking(talk) as server:
        with pytest.raises(SpeechTimeout):
            await last(recognised(server, limits=limits))


async def test_a_person_may_speak_for_longer_than_the_server_may_think() -> None:
    """No limit of the server's runs while sound comes."""
    limits = SpeechLimits(connect=10.0, first=0.5, between=0.5)
    async with talking(well) as server:
        words = recognised(server, spoken(partial(asyncio.sleep, 0.6)), limits=limits)
        assert await last(words) == Transcription("What is this?", True)


async def test_cancel_closes_the_socket() -> None:
    """At once, in the middle of the sound; nothing is left at work."""
    before = asyncio.all_tasks()

    async def talk(server: Server, socket: ServerConnection) -> None:
        await put(socket, type="session.created")
        await put(socket, type="transcription.delta", delta="What")
        await server.until_final(socket)

    async with talking(talk) as server:
        async with aclosing(recognised(server, spoken(asyncio.Event().wait))) as words:
            assert await anext(words) == Transcription("What", False)
        async with asyncio.timeout(5):
            await server.gone.wait()
    assert not {task for task in asyncio.all_tasks() - before if task.get_name() == "realtime"}


@pytest.mark.parametrize("status", [403, 404, 302])
async def test_where_it_is_not_offered(status: int) -> None:
    """No sound is taken then; a redirect is not followed."""
    async with TranscriptionServer() as server:
        server.upgrade = status
        server.extra = [f"location: ws{server.base_url.removeprefix('http')}/realtime"]
        found = Pieces(stream(*PIECES))
        words = recognised(server.base_url, found)
        with pytest.raises(SpeechUnavailable if status == 302 else SocketNotOffered):
            await anext(words)
        assert server.upgrades == 1
        whole = await found.read_all()
    assert whole is not None
    assert len(whole.samples) == 4 * 320


@pytest.mark.parametrize(
    ("status", "kind"), [(401, SpeechUnavailable), (500, SpeechFailed), (0, SpeechUnavailable)]
)
async def test_refusals(status: int, kind: type[SpeechError]) -> None:
    """As over HTTP; also where nobody is there."""
    async with TranscriptionServer() as server:
        server.upgrade = status
        address = server.base_url if status else "http://127.0.0.1:9/v1"
        with pytest.raises(kind):
            await anext(recognised(address))
