"""A voice on a server: found, lost and found again; the socket first where it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from server.core.sound import VoiceChunk
from server.features.voice_out.voices import (
    ServerVoice,
)
from server.shared.speech import (
    PROBE_SECONDS,
    SocketNotOffered,
    SpeechError,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from tests.support.clients import soon
from tests.support.speech_server import (
    EVENTS,
    RATE,
    Piece,
    SpeechServer,
    SpeechSocketServer,
    espeak,
)

TEXT = "There is a red cup on the table."
# Long enough for a busy machine; only the tests of a limit use shorter ones.
LIMITS = SpeechLimits(first=10.0, between=10.0, total=20.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with SpeechServer() as one:
        yield one


@pytest.fixture
def short(server: SpeechServer) -> SpeechServer:
    server.answers = [bytes(2000)]
    return server


Connect = Callable[..., ServerVoice]


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes voices, which are closed at the end."""
    made: list[ServerVoice] = []

    def connect(server: SpeechServer | SpeechSocketServer | str, **given: Any) -> ServerVoice:
        address = server if isinstance(server, str) else server.base_url
        made.append(ServerVoice(**{"base_url": address, "limits": LIMITS, **given}))
        return made[-1]

    yield connect
    for one in made:
        await one.close()


async def say(voice: ServerVoice) -> int:
    return sum([len(one.samples) async for one in voice.speak("Hello.", language=None)])


async def test_its_first_model_speaks(short: SpeechServer, connect: Connect) -> None:
    voice = connect(short)
    assert not voice.ready
    assert await voice.probe() == PROBE_SECONDS
    assert voice.ready
    assert voice.elsewhere == ""
    assert await say(voice) == 1000
    assert short.requests[0].fields["model"] == "speaker"


async def test_a_server_that_goes_is_not_ready_until_it_is_back(
    short: SpeechServer, connect: Connect
) -> None:
    voice = connect(short)
    await voice.probe()
    short.status = 503
    with pytest.raises(SpeechUnavailable):
        await say(voice)
    assert not voice.ready
    await voice.probe()
    assert voice.ready
    # A text that it does not take says nothing about the next one.
    short.status = 400
    with pytest.raises(SpeechRefused):
        await say(voice)
    assert voice.ready


async def test_a_slow_beginning_is_waited_for(short: SpeechServer, connect: Connect) -> None:
    """While the headers are there; without them the first text may come too late, and later ones have more time."""
    limits = SpeechLimits(first=0.2, between=5.0, total=20.0)
    short.answers = [0.5, bytes(2000)]
    voice = connect(short, limits=limits)
    await voice.probe()
    assert await say(voice) == 1000
    short.answers, short.wait = [bytes(2000)], 0.5
    voice = connect(short, limits=limits)
    await voice.probe()
    with pytest.raises(SpeechTimeout):
        await say(voice)
    assert voice.ready
    assert await say(voice) == 1000


async def test_a_voice_that_hangs_is_not_ready_however_many_texts_it_is_given(
    short: SpeechServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text has come too late since the last probe; until then it may work on one."""
    voice = connect(short, limits=SpeechLimits(first=0.1, between=0.6, probe=0.1))
    await voice.probe()
    short.wait = 1.0
    with pytest.raises(SpeechTimeout):
        await say(voice)
    # One that answers a probe is slow, and does not hang.
    await voice.probe()
    for known in (False, True):
        short.requests.clear()
        with monkeypatch.context() as patch:
            patch.setattr(voice, "models", asyncio.Event().wait)
            text = asyncio.create_task(say(voice))
            await soon(lambda: short.requests != [])
            await voice.probe()
            assert voice.ready is not known
            with pytest.raises(SpeechTimeout):
                await text


async def test_a_slow_socket_is_waited_for(socket: SpeechSocketServer, connect: Connect) -> None:
    socket.answers = [0.5, bytes(2000), '{"type": "audio.done"}']
    voice = connect(socket, socket=True, limits=SpeechLimits(first=0.2, between=5.0, total=20.0))
    assert await say(voice) == 1000


async def test_without_a_socket_http_is_used(short: SpeechServer, connect: Connect) -> None:
    voice = connect(short, socket=True)
    assert await say(voice) == 1000
    assert await say(voice) == 1000


# Words to sound over HTTP: streams in both forms, and servers that misbehave.


async def spoken(
    server: SpeechServer, *, language: str | None = None, **given: Any
) -> tuple[NDArray[np.int16], set[int]]:
    """Speak; return all samples, and the rates that were given with them."""
    given = {"base_url": server.base_url, "model": "m", "limits": LIMITS, **given}
    one = ServerVoice(**given)
    try:
        chunks = [chunk async for chunk in one.speak_by_http(TEXT, language)]
        return np.concatenate([one.samples for one in chunks]), {one.rate for one in chunks}
    finally:
        await one.close()


@pytest.mark.parametrize("kind", [f"audio/pcm;rate={RATE}", EVENTS])
async def test_speech_comes_whole(server: SpeechServer, kind: str) -> None:
    """As raw PCM and in events, sample by sample, at the rate that the server gives."""
    server.kind = kind
    samples, rates = await spoken(server)
    assert rates == {RATE}
    assert np.array_equal(samples, espeak(TEXT))


async def test_what_is_asked_for(server: SpeechServer) -> None:
    """A stream of PCM, with the model, the voice, the language's name and the key."""
    server.key = "k"
    await spoken(server, language="de-AT", voice="Vivian", api_key="k")
    (asked,) = server.requests
    assert asked.fields == {
        "model": "m",
        "input": TEXT,
        "voice": "Vivian",
        "language": "German",
        "response_format": "pcm",
        "stream": True,
        "stream_format": "audio",
        "initial_codec_chunk_frames": 2,
    }
    assert asked.headers["accept-encoding"] == "identity"


async def test_the_first_sound_comes_before_the_last_is_made(
    server: SpeechServer, connect: Connect
) -> None:
    server.answers = [bytes(4000), 30.0]
    async with aclosing(connect(server).speak_by_http(TEXT, None)) as chunks:
        assert len((await anext(chunks)).samples) == 2000


async def test_leaving_stops_the_server_at_once(server: SpeechServer, connect: Connect) -> None:
    """It sees the connection closed, and speaks no further."""
    server.endless = bytes(1000)
    async with aclosing(connect(server).speak_by_http(TEXT, None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await server.requests[0].done.wait()
    assert server.requests[0].closed_early


async def test_fields_that_a_server_refuses_are_left_out(
    server: SpeechServer, connect: Connect
) -> None:
    """From then on."""
    server.refused = {"stream_format", "language"}
    voice = connect(server, model="m")
    for _ in range(2):
        async for _chunk in voice.speak_by_http(TEXT, "fr"):
            pass
    assert len(server.requests) == 3
    assert server.requests[-1].fields.keys() == {"model", "input", "response_format"}


async def test_a_text_that_a_server_refuses_costs_no_field(
    server: SpeechServer, connect: Connect
) -> None:
    server.refused = {"input"}
    voice = connect(server, model="m")
    for _ in range(2):
        with pytest.raises(SpeechRefused):
            await anext(voice.speak_by_http(TEXT, "fr"))
    assert [len(one.fields) for one in server.requests] == [7, 3, 7, 3]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, SpeechRefused), (307, SpeechUnavailable), (500, SpeechFailed)],
)
async def test_refusals(server: SpeechServer, status: int, kind: type[SpeechError]) -> None:
    """In our own words, and without the server's, its address or a setting for visitors."""
    server.status = status
    server.extra = ["location: http://127.0.0.1:9/", "retry-after: 7"]
    with pytest.raises(kind) as raised:
        await spoken(server)
    assert "secret words" not in raised.value.message
    assert str(status) in raised.value.message
    for word in ("127.0.0.1", "SPEECH_", "HTTP"):
        assert word not in raised.value.visitor_message
    assert len(server.requests) == (2 if status in (400, 500) else 1)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([b"\0\0" * 100, None], SpeechFailed),
        ([], SpeechFailed),
        ([b"\0"], SpeechFailed),
        ([b"ID3" + bytes(100)], SpeechFailed),
    ],
)
async def test_sound_that_is_none(
    server: SpeechServer, answers: list[Piece], kind: type[SpeechError]
) -> None:
    """A connection that breaks, nothing, half a sample, and an MP3."""
    server.answers = answers
    server.extra = ["content-length: 1000"] if None in answers else []
    with pytest.raises(kind):
        await spoken(server)


@pytest.mark.parametrize("kind", ["audio/mpeg", "text/html; charset=utf-8", "application/json"])
async def test_another_form_is_named(server: SpeechServer, kind: str) -> None:
    server.kind = kind
    with pytest.raises(SpeechFailed, match=kind.partition(";")[0]):
        await spoken(server)


@pytest.mark.parametrize(
    "event",
    [
        "nonsense",
        "[1]",
        '{"type": "speech.audio.delta", "audio": "§"}',
        '{"type": "speech.audio.error", "error": {"message": "secret words"}}',
        '{"type": "speech.audio.delta", "sample_rate": 1}',
        "x" * 300_000,
    ],
)
async def test_events_that_are_none(server: SpeechServer, event: str) -> None:
    server.kind = EVENTS
    server.answers = [f"data: {event}\n\n"]
    with pytest.raises(SpeechError) as raised:
        await spoken(server)
    assert "secret words" not in raised.value.message


@pytest.mark.parametrize(
    ("answers", "limits"),
    [
        ([30.0], SpeechLimits(first=10, between=0.1, total=10)),
        ([b"\0\0", 30.0], SpeechLimits(first=10, between=0.1, total=10)),
        ([b"\0\0", *([0.02, b"\0\0"] * 200)], SpeechLimits(first=10, between=10, total=0.3)),
    ],
)
async def test_a_server_that_is_too_slow(
    server: SpeechServer, answers: list[Piece], limits: SpeechLimits
) -> None:
    """To begin, between two pieces, and altogether."""
    server.answers = answers
    with pytest.raises(SpeechTimeout):
        await spoken(server, limits=limits)


async def test_nobody_there(connect: Connect) -> None:
    voice = connect("http://127.0.0.1:9/v1")
    for way in (voice.speak_by_http, voice.speak_by_socket):
        with pytest.raises(SpeechUnavailable):
            await anext(way(TEXT, None))
    await voice.probe()
    assert "does not respond" in voice.trouble


# Words to sound over vLLM-Omni's socket: its messages, and servers that misbehave.


@pytest_asyncio.fixture
async def socket() -> AsyncIterator[SpeechSocketServer]:
    async with SpeechSocketServer() as one:
        yield one


async def spoken_by(
    socket: SpeechSocketServer, language: str | None = None, **given: Any
) -> list[VoiceChunk]:
    given = {
        "base_url": socket.base_url,
        "model": "m",
        "voice": "Vivian",
        "limits": LIMITS,
        **given,
    }
    return [chunk async for chunk in ServerVoice(**given).speak_by_socket(TEXT, language)]


async def test_speech_comes_whole_by_the_socket(socket: SpeechSocketServer) -> None:
    """The configuration, the text and its end go out; the sound comes at the server's rate."""
    chunks = await spoken_by(socket, language="zh", api_key="k")
    assert {one.rate for one in chunks} == {RATE}
    assert np.array_equal(np.concatenate([one.samples for one in chunks]), espeak(TEXT))
    assert socket.messages == [
        {
            "type": "session.config",
            "response_format": "pcm",
            "stream_audio": True,
            "model": "m",
            "voice": "Vivian",
            "language": "Chinese",
        },
        {"type": "input.text", "text": TEXT},
        {"type": "input.done"},
    ]
    assert socket.headers == ["Bearer k"]


async def test_leaving_closes_the_socket_at_once(
    socket: SpeechSocketServer, connect: Connect
) -> None:
    socket.answers, socket.endless = ['{"type": "audio.start", "sample_rate": 24000}'], bytes(1000)
    async with aclosing(connect(socket).speak_by_socket(TEXT, None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await socket.closed.wait()


async def test_a_server_without_it(server: SpeechServer, connect: Connect) -> None:
    with pytest.raises(SocketNotOffered):
        await anext(connect(server).speak_by_socket(TEXT, None))


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense",
        "[1]",
        '{"type": "error", "message": "secret words"}',
        '{"type": "audio.done", "error": "secret words"}',
        '{"type": "audio.start", "sample_rate": 1}',
        bytes(2 * 1024 * 1024),
        None,
    ],
)
async def test_answers_that_are_none(
    socket: SpeechSocketServer, answer: str | bytes | None
) -> None:
    socket.answers = [answer]
    with pytest.raises(SpeechError) as raised:
        # What is no event may be followed by one.
        await spoken_by(socket, limits=SpeechLimits(first=10.0, between=1.0))
    assert "secret words" not in raised.value.message
    assert "127.0.0.1" not in raised.value.visitor_message
