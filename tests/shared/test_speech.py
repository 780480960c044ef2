"""A speech server's refusals as errors of ours."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from server.core.sound import Sound
from server.features.voice_in.recogniser import ServerRecogniser
from server.features.voice_out.voices import ServerVoice
from server.models.openai import http
from server.shared.speech import (
    BoundedSocket,
    Refusals,
    SocketBounds,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
    SpeechWorker,
)
from tests.core.test_error_texts import for_visitors
from tests.support.clients import soon
from tests.support.http_stand_in import HttpRequest, private_tls
from tests.support.sounds import stream
from tests.support.speech_server import TranscriptionServer

SOUND = Sound(np.ones(320, np.int16), 0.0)
REFUSALS = Refusals("speech server", "SPEECH", "http://10.1.2.3/v1", "/audio/speech")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0, SpeechFailed, "log"),
        (200, SpeechFailed, "log"),
        (307, SpeechUnavailable, "SPEECH_BASE_URL"),
        (400, SpeechRefused, "refused"),
        (401, SpeechUnavailable, "SPEECH_API_KEY"),
        (403, SpeechUnavailable, "SPEECH_API_KEY"),
        (404, SpeechUnavailable, "SPEECH_MODEL"),
        (422, SpeechRefused, "refused"),
        (429, SpeechUnavailable, "no more requests"),
        (500, SpeechFailed, "log"),
        (503, SpeechUnavailable, "no more requests"),
    ],
)
def test_a_status(status: int, kind: type[Exception], words: str) -> None:
    """Operators read where, what and what to do; visitors read none of the names."""
    error = REFUSALS.from_status(status, 3.0)
    assert type(error) is kind
    assert "http://10.1.2.3/v1" in error.message
    assert words in error.message
    assert for_visitors(error.visitor_message)


def test_the_other_ways_to_fail() -> None:
    """Each with its kind."""
    assert isinstance(REFUSALS.unreachable(), SpeechUnavailable)
    assert isinstance(REFUSALS.make_timeout_error(), SpeechTimeout)
    assert isinstance(REFUSALS.interrupted(), SpeechFailed)
    assert isinstance(REFUSALS.make_invalid_answer_error(), SpeechFailed)
    assert "sends too much" in REFUSALS.make_invalid_answer_error("sends too much").message


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("ear", "mouth"),
    [
        ({"id": "Systran/faster-whisper-small"}, {"id": "speaches-ai/Kokoro-82M-v1.0-ONNX"}),
        ({"id": "Qwen/Qwen3-ASR-0.6B"}, {"id": "Qwen/Qwen3-TTS-12Hz-0.6B"}),
        # One that is known leaves the other one to the other use.
        ({"id": "parakeet"}, {"id": "mine"}),
        ({"id": "mine"}, {"id": "mine too", "task": "text-to-speech"}),
        # The task decides, not the name.
        (
            {"id": "kokoro", "task": "automatic-speech-recognition"},
            {"id": "whisper", "task": "text-to-speech"},
        ),
    ],
)
async def test_each_use_takes_a_model_of_its_kind(
    ear: dict[str, str], mouth: dict[str, str], backwards: bool
) -> None:
    """Whichever a server lists first."""
    async with TranscriptionServer() as server:
        server.models = [mouth, ear] if backwards else [ear, mouth]
        for use, wanted in ((ServerRecogniser, ear), (ServerVoice, mouth)):
            one = use(base_url=server.base_url)
            await one.probe()
            await one.close()
            assert one.model == wanted["id"]


class OneAtATime(TranscriptionServer):
    """Answers nothing else while it works, as small servers on a CPU do."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        async with self._turn:
            return await super()._answer(request, reader, writer)


async def said(ear: ServerRecogniser) -> str:
    return [words.text async for words in ear.recognise(stream(SOUND), language=None)][-1]


async def test_a_server_that_works_for_us_stays_ready() -> None:
    """It answers no probe meanwhile, and nobody else loses their turn; without such work it is not ready."""
    async with OneAtATime() as server:
        ear = ServerRecogniser(base_url=server.base_url, limits=SpeechLimits(probe=0.2))
        await ear.probe()
        server.wait = 1.0
        words = asyncio.create_task(said(ear))
        await soon(lambda: server.requests != [])
        await ear.probe()
        assert (ear.ready, words.done()) == (True, False)
        assert await words == "What is this?"
        await server.close()
        await ear.probe()
        assert not ear.ready
        await ear.close()


async def test_a_certificate_that_is_not_trusted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the probe, over HTTP and on the socket; SSL_CERT_FILE with its authority mends all three."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    server = TranscriptionServer()
    server.tls, authority = private_tls(tmp_path)
    server.upgrade = [{"type": "session.created"}, {"type": "transcription.done", "text": "By"}]
    async with server:
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            http.get_tls_context.cache_clear()
            ear = ServerRecogniser(base_url=server.base_url)
            await ear.probe()
            assert (ear.ready, "SSL_CERT_FILE" in ear.trouble) == (trusted, not trusted)
            for way in (ear.send_by_socket(stream()), ear.send_by_http(SOUND, None)):
                if trusted:
                    assert (await anext(way)).text
                    await way.aclose()
                else:
                    with pytest.raises(SpeechUnavailable, match="certificate is not trusted"):
                        await anext(way)
            await ear.close()
    http.get_tls_context.cache_clear()


READY_AT_ITS_END = """
import sys
from server.shared.processes.wire import encode
sys.stdin.buffer.read()
sys.stdout.buffer.write(encode({"type": "ready"}))
sys.stdout.flush()
"""


async def test_one_that_is_loaded_while_it_is_ended_is_not_ready() -> None:
    """Nobody hears of it, and nobody's sound goes to a process that is about to be gone."""
    changes: list[bool] = []
    worker = SpeechWorker(
        "recogniser",
        (sys.executable, "-c", READY_AT_ITS_END),
        {},
        load_seconds=60,
        remedy="",
        on_change=lambda: changes.append(worker.ready),
    )
    worker.start()
    # Its input is open: closing it is the first way to end it.
    await soon(lambda: worker._worker._stdin is not None)
    await worker.close()
    assert (changes, worker.ready) == ([], False)


@pytest.mark.parametrize(
    ("message", "bounds", "taken", "why"),
    [
        (b"\0" * 1000, SocketBounds(1000, 5, 100_000), 5, "more than 5 messages"),
        (b"\0" * 1000, SocketBounds(1000, 100, 5000), 5, "more than 5,000 bytes"),
        # However small it is, a message costs time.
        (b"", SocketBounds(1000, 100, 320), 5, "more than 320 bytes"),
    ],
)
async def test_a_server_without_an_end_is_left(
    message: bytes, bounds: SocketBounds, taken: int, why: str
) -> None:
    """As soon as it has sent more messages, or more bytes, than the bounds allow."""

    async def endless(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.send(message)
                await asyncio.sleep(0)

    async with serve(endless, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        refusals = Refusals("speech server", "SPEECH", address, "/sound")
        socket = BoundedSocket(refusals, "", 10.0, bounds)
        async with socket.open() as exchange:
            for _ in range(taken):
                assert await exchange.next() == message
            with pytest.raises(SpeechFailed, match=why):
                await exchange.next()
