"""Words to sound over vLLM-Omni's socket: its messages, and servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
import pytest_asyncio

from server.features.voice_out.server_voice import SynthesisSocket, VoiceLimits
from server.media.sound.pcm import VoiceChunk
from server.shared.speech.bounded_socket import NotOffered
from server.shared.speech.errors import SpeechError, SpeechFailed, SpeechTimeout, SpeechUnavailable
from tests.support.speech_server import RATE, SpeechServer, SpeechSocketServer, espeak

TEXT = "There is a red cup."
LIMITS = VoiceLimits(first=10.0, between=10.0, total=20.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SpeechSocketServer]:
    async with SpeechSocketServer() as one:
        yield one


async def spoken(
    server: SpeechSocketServer, limits: VoiceLimits = LIMITS, **config: str
) -> list[VoiceChunk]:
    client = SynthesisSocket(server.base_url, config.get("key", ""), "Vivian", limits)
    speaking = client.speak(TEXT, model="m", language=config.get("language"))
    return [chunk async for chunk in speaking]


async def test_speech_comes_whole(server: SpeechSocketServer) -> None:
    """The configuration, the text and its end go out; the sound comes at the server's rate."""
    chunks = await spoken(server, language="zh", key="k")
    assert {one.rate for one in chunks} == {RATE}
    assert np.array_equal(np.concatenate([one.samples for one in chunks]), espeak(TEXT))
    assert server.messages == [
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
    assert server.headers == ["Bearer k"]


async def test_leaving_closes_the_socket_at_once(server: SpeechSocketServer) -> None:
    server.answers, server.endless = ['{"type": "audio.start", "sample_rate": 24000}'], bytes(1000)
    client = SynthesisSocket(server.base_url, "", "", LIMITS)
    async with aclosing(client.speak(TEXT, model="", language=None)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await server.closed.wait()


async def test_a_server_without_it() -> None:
    async with SpeechServer() as other:
        client = SynthesisSocket(other.base_url, "", "", LIMITS)
        with pytest.raises(NotOffered):
            await anext(client.speak(TEXT, model="", language=None))


async def test_nobody_there() -> None:
    client = SynthesisSocket("http://127.0.0.1:9/v1", "", "", LIMITS)
    with pytest.raises(SpeechUnavailable):
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
    server: SpeechSocketServer, answer: str | bytes | None
) -> None:
    server.answers = [answer]
    with pytest.raises(SpeechError) as raised:
        await spoken(server)
    assert "secret words" not in raised.value.message
    assert "127.0.0.1" not in raised.value.visitor_message


@pytest.mark.slow
@pytest.mark.parametrize("endless", [bytes(65536), b"", b"\0"])
async def test_a_server_that_never_ends(server: SpeechSocketServer, endless: bytes) -> None:
    """No more bytes and messages are read than the limits, whatever time they take."""
    server.answers, server.endless = [], endless
    with pytest.raises(SpeechFailed):
        await spoken(server, VoiceLimits(first=300.0, between=300.0, total=300.0))


@pytest.mark.parametrize(
    ("answers", "limits"),
    [
        ([1.0], VoiceLimits(first=0.2, between=10, total=10)),
        ([bytes(10), 1.0], VoiceLimits(first=10, between=0.1, total=10)),
    ],
)
async def test_a_server_that_is_too_slow(
    server: SpeechSocketServer, answers: list[str | bytes | float | None], limits: VoiceLimits
) -> None:
    server.answers = answers
    with pytest.raises(SpeechTimeout):
        await spoken(server, limits)
