"""Words to sound over HTTP: streams in both forms, and servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from server.features.voice_out.server_voice import SOUND_BYTES, Synthesis, VoiceLimits
from server.shared.speech.errors import (
    SpeechError,
    SpeechFailed,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from tests.support.pieces_server import Piece
from tests.support.speech_server import RATE, SpeechServer, espeak

TEXT = "There is a red cup on the table."
# Long enough for a busy machine; only the tests of a limit use shorter ones.
LIMITS = VoiceLimits(first=10.0, between=10.0, total=20.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with SpeechServer() as one:
        yield one


async def spoken(
    server: SpeechServer,
    *,
    limits: VoiceLimits = LIMITS,
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
        await client.close()


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
    await client.close()


async def test_leaving_stops_the_server_at_once(server: SpeechServer) -> None:
    """It sees the connection closed, and speaks no further."""
    server.endless = bytes(1000)
    client = Synthesis(server.base_url, "", "", LIMITS)
    async with aclosing(client.speak(TEXT, model="", language=None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await server.requests[0].done.wait()
    assert server.requests[0].closed_early
    await client.close()


async def test_fields_that_a_server_refuses_are_left_out(server: SpeechServer) -> None:
    """From then on."""
    server.refused = {"stream_format", "language"}
    client = Synthesis(server.base_url, "", "", LIMITS)
    for _ in range(2):
        async for _chunk in client.speak(TEXT, model="m", language="fr"):
            pass
    await client.close()
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
    await client.close()
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
        await spoken(server, limits=VoiceLimits(first=15.0, between=15.0, total=15.0))
    assert SOUND_BYTES <= 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("answers", "limits"),
    [
        ([30.0], VoiceLimits(first=0.1, between=10, total=10)),
        ([b"\0\0", 30.0], VoiceLimits(first=10, between=0.1, total=10)),
        ([b"\0\0", *([0.02, b"\0\0"] * 200)], VoiceLimits(first=10, between=10, total=0.3)),
    ],
)
async def test_a_server_that_is_too_slow(
    server: SpeechServer, answers: list[Piece], limits: VoiceLimits
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
    await client.close()


async def test_limits_are_finite() -> None:
    with pytest.raises(ValueError, match="first"):
        VoiceLimits(first=float("inf"))
