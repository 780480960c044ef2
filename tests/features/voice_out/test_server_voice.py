"""A voice on a server: found, lost and found again; the socket first where it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from server.features.voice_out.voices import (
    SOUND_BYTES,
    ServerVoice,
    Synthesis,
    SynthesisSocket,
)
from server.media.sound.pcm import VoiceChunk
from server.shared.speech import (
    PROBE_SECONDS,
    NotOffered,
    SpeechError,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from tests.support.pieces_server import Piece
from tests.support.speech_server import RATE, SpeechServer, SpeechSocketServer, espeak


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with SpeechServer() as one:
        yield one


@pytest.fixture
def short(server: SpeechServer) -> SpeechServer:
    server.answers = [bytes(2000)]
    return server


async def say(voice: ServerVoice) -> int:
    return sum([len(one.samples) async for one in voice.speak("Hello.", language=None)])


async def test_its_first_model_speaks(short: SpeechServer) -> None:
    voice = ServerVoice(base_url=short.base_url)
    assert not voice.ready
    assert await voice.probe() == PROBE_SECONDS
    assert voice.ready
    assert voice.elsewhere == ""
    assert await say(voice) == 1000
    assert short.requests[0].fields["model"] == "speaker"
    await voice.close()


async def test_a_model_that_is_named_speaks(short: SpeechServer) -> None:
    """Also where the server lists none."""
    short.models = None
    voice = ServerVoice(base_url=short.base_url, model="other", voice="Vivian")
    await voice.probe()
    assert voice.ready
    assert await say(voice) == 1000
    assert short.requests[0].fields["model"] == "other"
    await voice.close()


async def test_a_server_that_goes_is_not_ready_until_it_is_back(short: SpeechServer) -> None:
    voice = ServerVoice(base_url=short.base_url)
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
    await voice.close()


async def test_a_wrong_key_is_not_ready(short: SpeechServer) -> None:
    """And the key stands in no text."""
    short.key = "right"
    voice = ServerVoice(base_url=short.base_url, api_key="wrong-key")
    assert await voice.probe() < PROBE_SECONDS
    assert not voice.ready
    with pytest.raises(SpeechError) as raised:
        await say(voice)
    assert "wrong-key" not in raised.value.message + repr(voice)
    await voice.close()


async def test_a_name_of_another_machine_is_told() -> None:
    voice = ServerVoice(base_url="http://speech.example.org/v1")
    assert voice.elsewhere == "speech.example.org"
    await voice.close()


async def test_the_socket_is_used_where_it_is_wanted() -> None:
    async with SpeechSocketServer() as server:
        voice = ServerVoice(base_url=server.base_url, socket=True)
        assert await say(voice) > 1000
        assert server.messages[1] == {"type": "input.text", "text": "Hello."}
        await voice.close()


async def test_without_a_socket_http_is_used(short: SpeechServer) -> None:
    voice = ServerVoice(base_url=short.base_url, socket=True)
    assert await say(voice) == 1000
    assert await say(voice) == 1000
    await voice.close()


# Words to sound over HTTP: streams in both forms, and servers that misbehave.

TEXT = "There is a red cup on the table."
# Long enough for a busy machine; only the tests of a limit use shorter ones.
LIMITS = SpeechLimits(first=10.0, between=10.0, total=20.0)


async def spoken(
    server: SpeechServer,
    *,
    limits: SpeechLimits = LIMITS,
    language: str | None = None,
    voice: str = "",
    key: str = "",
) -> tuple[NDArray[np.int16], set[int]]:
    """Speak; return all samples, and the rates that were given with them."""
    client = Synthesis(server.base_url, key, voice, limits)
    try:
        speaking = client.speak(TEXT, model="m", language=language)
        chunks = [chunk async for chunk in speaking]
        return np.concatenate([one.samples for one in chunks]), {one.rate for one in chunks}
    finally:
        await client.http.close()


@pytest.mark.parametrize("events", [False, True])
async def test_speech_comes_whole(server: SpeechServer, events: bool) -> None:
    """As raw PCM and in events, sample by sample, at the rate that the server gives."""
    server.events = events
    samples, rates = await spoken(server)
    assert rates == {RATE}
    assert np.array_equal(samples, espeak(TEXT))


async def test_what_is_asked_for(server: SpeechServer) -> None:
    """A stream of PCM, with the model, the voice, the language's name and the key."""
    server.key = "k"
    await spoken(server, language="de-AT", voice="Vivian", key="k")
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


async def test_the_first_sound_comes_before_the_last_is_made(server: SpeechServer) -> None:
    server.answers = [bytes(4000), 30.0]
    client = Synthesis(server.base_url, "", "", LIMITS)
    async with aclosing(client.speak(TEXT, model="", language=None)) as chunks:
        assert len((await anext(chunks)).samples) == 2000
    await client.http.close()


async def test_leaving_stops_the_server_at_once(server: SpeechServer) -> None:
    """It sees the connection closed, and speaks no further."""
    server.endless = bytes(1000)
    client = Synthesis(server.base_url, "", "", LIMITS)
    async with aclosing(client.speak(TEXT, model="", language=None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await server.requests[0].done.wait()
    assert server.requests[0].closed_early
    await client.http.close()


async def test_fields_that_a_server_refuses_are_left_out(server: SpeechServer) -> None:
    """From then on."""
    server.refused = {"stream_format", "language"}
    client = Synthesis(server.base_url, "", "", LIMITS)
    for _ in range(2):
        async for _chunk in client.speak(TEXT, model="m", language="fr"):
            pass
    await client.http.close()
    assert len(server.requests) == 4
    assert server.requests[-1].fields.keys() == {
        *("model", "input", "response_format", "stream", "initial_codec_chunk_frames")
    }


async def test_a_server_that_does_not_say_what_it_refuses(server: SpeechServer) -> None:
    """It gets the request without all that it may not know; a text that it refuses costs no field."""
    server.names_refused = False
    server.refused = {"stream_format"}
    await spoken(server, language="fr")
    assert [len(one.fields) for one in server.requests] == [7, 3]
    server.requests.clear()
    server.refused = {"input"}
    client = Synthesis(server.base_url, "", "", LIMITS)
    for _ in range(2):
        with pytest.raises(SpeechRefused):
            await anext(client.speak(TEXT, model="m", language="fr"))
    await client.http.close()
    assert [len(one.fields) for one in server.requests] == [7, 3, 7, 3]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SpeechRefused), (401, SpeechUnavailable), (404, SpeechUnavailable),
        (307, SpeechUnavailable), (429, SpeechUnavailable), (500, SpeechFailed),
        (503, SpeechUnavailable),
    ],
)  # fmt: skip
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
    assert len(server.requests) == (2 if status == 400 else 1)


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
    server.events = True
    server.answers = [f"data: {event}\n\n"]
    with pytest.raises(SpeechError) as raised:
        await spoken(server)
    assert "secret words" not in raised.value.message


async def test_a_stream_of_events_that_breaks_off(server: SpeechServer) -> None:
    server.events = True
    server.answers = ['data: {"audio": "AAAA"}\n\n']
    with pytest.raises(SpeechFailed):
        await spoken(server)


@pytest.mark.slow
@pytest.mark.parametrize(
    "endless", [b"\0" * 65536, b"data: {}\n\n" * 1000, b": still here\n\n" * 1000]
)
async def test_a_server_that_never_ends(server: SpeechServer, endless: bytes) -> None:
    """No more than the limit is read of it."""
    server.events = endless.startswith((b"data", b":"))
    server.answers, server.endless = [], endless
    server.kind = "audio/pcm"
    with pytest.raises(SpeechError):
        await spoken(server, limits=SpeechLimits(first=15.0, between=15.0, total=15.0))
    assert SOUND_BYTES <= 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("answers", "limits"),
    [
        ([30.0], SpeechLimits(first=0.1, between=10, total=10)),
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


async def test_nobody_there() -> None:
    client = Synthesis("http://127.0.0.1:9/v1", "", "", LIMITS)
    with pytest.raises(SpeechUnavailable):
        await anext(client.speak(TEXT, model="", language=None))
    assert await client.http.models() == (0, [])
    await client.http.close()
    socket = SynthesisSocket("http://127.0.0.1:9/v1", "", "", LIMITS)
    with pytest.raises(SpeechUnavailable):
        await anext(socket.speak(TEXT, model="", language=None))


# Words to sound over vLLM-Omni's socket: its messages, and servers that misbehave.


@pytest_asyncio.fixture
async def socket() -> AsyncIterator[SpeechSocketServer]:
    async with SpeechSocketServer() as one:
        yield one


async def spoken_by(
    socket: SpeechSocketServer, limits: SpeechLimits = LIMITS, **config: str
) -> list[VoiceChunk]:
    client = SynthesisSocket(socket.base_url, config.get("key", ""), "Vivian", limits)
    speaking = client.speak(TEXT, model="m", language=config.get("language"))
    return [chunk async for chunk in speaking]


async def test_speech_comes_whole_by_the_socket(socket: SpeechSocketServer) -> None:
    """The configuration, the text and its end go out; the sound comes at the server's rate."""
    chunks = await spoken_by(socket, language="zh", key="k")
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


async def test_leaving_closes_the_socket_at_once(socket: SpeechSocketServer) -> None:
    socket.answers, socket.endless = ['{"type": "audio.start", "sample_rate": 24000}'], bytes(1000)
    client = SynthesisSocket(socket.base_url, "", "", LIMITS)
    async with aclosing(client.speak(TEXT, model="", language=None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await socket.closed.wait()


async def test_a_server_without_it() -> None:
    async with SpeechServer() as other:
        client = SynthesisSocket(other.base_url, "", "", LIMITS)
        with pytest.raises(NotOffered):
            await anext(client.speak(TEXT, model="", language=None))


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
        await spoken_by(socket)
    assert "secret words" not in raised.value.message
    assert "127.0.0.1" not in raised.value.visitor_message


@pytest.mark.slow
@pytest.mark.parametrize("endless", [bytes(65536), b"", b"\0"])
async def test_a_socket_that_never_ends(socket: SpeechSocketServer, endless: bytes) -> None:
    """No more bytes and messages are read than the limits, whatever time they take."""
    socket.answers, socket.endless = [], endless
    with pytest.raises(SpeechFailed):
        await spoken_by(socket, SpeechLimits(first=300.0, between=300.0, total=300.0))


@pytest.mark.parametrize(
    ("answers", "limits"),
    [
        ([1.0], SpeechLimits(first=0.2, between=10, total=10)),
        ([bytes(10), 1.0], SpeechLimits(first=10, between=0.1, total=10)),
    ],
)
async def test_a_socket_that_is_too_slow(
    socket: SpeechSocketServer, answers: list[str | bytes | float | None], limits: SpeechLimits
) -> None:
    socket.answers = answers
    with pytest.raises(SpeechTimeout):
        await spoken_by(socket, limits)
