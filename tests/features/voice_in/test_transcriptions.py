"""Sound to words over HTTP: both forms of a stream, whole answers, and servers that misbehave."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from server.core.sound import Sound
from server.features.voice_in.recogniser import (
    MOST_WORDS_CHARS,
    Transcriptions,
    Words,
    WordTime,
)
from server.shared.speech import (
    SpeechError,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from tests.support.transcription_server import TranscriptionServer

SOUND = Sound(np.arange(-800, 800, dtype=np.int16), 5.0)
# Long enough for a busy machine; only the tests of a limit use shorter ones.
LIMITS = SpeechLimits(first=10.0, between=10.0, total=20.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TranscriptionServer]:
    async with TranscriptionServer() as one:
        yield one


async def said(
    server: TranscriptionServer,
    *,
    limits: SpeechLimits = LIMITS,
    language: str | None = None,
    model: str = "m",
    key: str = "",
) -> list[Words]:
    client = Transcriptions(server.base_url, key, limits)
    try:
        words = client.recognise(SOUND, model=model, language=language)
        return [one async for one in words]
    finally:
        await client.close()


def events(*data: Any) -> list[str | bytes | float | None]:
    return [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in data]


def vllm(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"delta": delta, "finish_reason": finish}
    return {"object": "transcription.chunk", "choices": [choice]}


async def test_a_whole_answer(server: TranscriptionServer) -> None:
    """The sound goes as a WAV file, with the model, the language and the key."""
    server.key = "k"
    assert await said(server, language="de-AT", key="k") == [Words("What is this?", True)]
    (heard,) = server.requests
    assert heard.fields == {
        "model": "m",
        "language": "de",
        "response_format": "json",
        "stream": "true",
        "temperature": "0",
    }
    with wave.open(io.BytesIO(heard.file)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(file.getnframes()) == SOUND.samples.tobytes()


async def test_the_words_times(server: TranscriptionServer) -> None:
    """Times are taken where the server gives them; a list that is not well-formed is none."""
    good = [{"word": " this ", "start": 0, "end": 0.5}, {"word": "cup", "start": 0.5, "end": 1}]
    server.answers = [json.dumps({"text": "this cup", "words": good})]
    (words,) = await said(server)
    assert words.times == (WordTime("this", 0.0, 0.5), WordTime("cup", 0.5, 1.0))
    for bad in ("x", [1], [{"word": 1}], [{"word": "a", "start": -1, "end": True}]):
        server.answers = [json.dumps({"text": "this cup", "words": bad})]
        assert (await said(server)) == [Words("this cup", True)]


@pytest.mark.parametrize(
    "stream",
    [
        events(
            {"type": "transcript.text.delta", "delta": "What "},
            {"type": "transcript.text.delta", "delta": "is this?"},
            {"type": "something.new"},
            {"type": "transcript.text.done", "text": "What is this?"},
        ),
        events(vllm("What"), vllm(" is this?"), vllm("", "stop"), vllm(None), "[DONE]"),
        # Without [DONE], and the delta as a text
        events(
            {"choices": [{"delta": "What"}]}, {"choices": []}, vllm(" is this?"), vllm("", "stop")
        ),
    ],
)
async def test_both_forms_of_a_stream(
    server: TranscriptionServer, stream: list[str | bytes | float | None]
) -> None:
    """Each piece gives the whole text so far; the last one is final."""
    server.kind = "text/event-stream; charset=utf-8"
    server.answers = stream
    words = await said(server)
    assert [one.text for one in words] == ["What", "What is this?", "What is this?"]
    assert [one.final for one in words] == [False, False, True]


async def test_a_field_that_is_refused_is_left_out(server: TranscriptionServer) -> None:
    """From then on, and for good."""
    server.refused = {"stream", "temperature"}
    client = Transcriptions(server.base_url, "", LIMITS)
    try:
        for _ in range(2):
            words = client.recognise(SOUND, model="", language=None)
            assert [one async for one in words] == [Words("What is this?", True)]
    finally:
        await client.close()
    assert [sorted(one.fields) for one in server.requests] == [
        ["response_format", "stream", "temperature"],
        ["response_format", "temperature"],
        ["response_format"],
        ["response_format"],
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SpeechRefused),
        (401, SpeechUnavailable),
        (404, SpeechUnavailable),
        (413, SpeechRefused),
        (429, SpeechUnavailable),
        (302, SpeechUnavailable),
        (500, SpeechFailed),
        (503, SpeechUnavailable),
    ],
)
async def test_refusals(server: TranscriptionServer, status: int, kind: type[SpeechError]) -> None:
    """Each with our own sentence; visitors read no address and no setting, and nobody the server's text."""
    server.status = status
    server.extra = ["location: http://127.0.0.1:1/v1", "retry-after: 7"]
    with pytest.raises(SpeechError) as raised:
        await said(server)
    error = raised.value
    assert type(error) is kind
    assert str(server.port) in error.message
    assert "secret" not in error.message
    assert str(server.port) not in error.visitor_message
    assert "TRANSCRIPTION" not in error.visitor_message
    assert error.retry_after == (7.0 if status in (429, 503) else None)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("text/html", ["<html>"]),
        ("application/json", ["[1]"]),
        ("application/json", ['{"hello": 1}']),
        ("application/json", ['{"text": 5}']),
        ("application/json", ["{"]),
        ("application/json", ['{"text": "' + "x" * 300_000 + '"}']),
        ("application/json", ['{"error": {"message": "secret words"}}']),
        ("application/json", [b"\xff\xfe"]),
        ("text/event-stream", ["data: {\n\n"]),
        ("text/event-stream", events([1])),
        ("text/event-stream", events({"error": {"message": "secret words", "code": 500}})),
        # It ends before it is whole.
        ("text/event-stream", events(vllm("What"))),
        ("text/event-stream", [*events(vllm("What")), None]),
    ],
)
async def test_answers_that_are_none(
    server: TranscriptionServer, kind: str, answers: list[str | bytes | float | None]
) -> None:
    """Malformed, of another kind, broken off: an error of ours, without the server's text."""
    server.kind, server.answers = kind, answers
    with pytest.raises(SpeechFailed) as raised:
        await said(server)
    assert "secret" not in raised.value.message + raised.value.visitor_message


@pytest.mark.parametrize("endless", [b"x" * 65536, b": no\n\n" * 8192, b"data: 1" * 8192])
async def test_endless_answers_end(server: TranscriptionServer, endless: bytes) -> None:
    """By their size, whatever they hold."""
    server.kind, server.endless = "text/event-stream", endless
    with pytest.raises(SpeechFailed):
        await said(server)


async def test_more_words_than_a_question_may_have(server: TranscriptionServer) -> None:
    """The text is cut there, and the rest is not waited for."""
    server.kind = "text/event-stream"
    server.answers, server.endless = (
        [],
        b"".join(one.encode() for one in events(vllm("word-" * 100)) if isinstance(one, str)),
    )
    words = await said(server)
    assert len(words[-1].text) == MOST_WORDS_CHARS
    assert words[-1].final
    server.kind, server.endless = "application/json", None
    server.answers = [json.dumps({"text": "x" * 9000})]
    assert len((await said(server))[-1].text) == MOST_WORDS_CHARS


@pytest.mark.parametrize("answers", [[60.0], [*events(vllm("What")), 60.0]])
async def test_a_slow_server(
    server: TranscriptionServer, answers: list[str | bytes | float | None]
) -> None:
    """Before its first piece and after it."""
    server.kind, server.answers = "text/event-stream", answers
    with pytest.raises(SpeechTimeout):
        await said(server, limits=SpeechLimits(first=0.2, between=0.2))


async def test_a_server_that_does_not_answer_at_all(server: TranscriptionServer) -> None:
    """The limit counts from the request, not from the answer's headers."""
    server.wait = 60.0
    with pytest.raises(SpeechTimeout):
        await said(server, limits=SpeechLimits(first=0.2))


async def test_keep_alive_comments_are_no_words(server: TranscriptionServer) -> None:
    """They do not hold the limits off."""
    server.kind = "text/event-stream"
    server.answers = [part for _ in range(100) for part in (": alive\n\n", 0.05)]
    with pytest.raises(SpeechTimeout):
        await said(server, limits=SpeechLimits(first=0.3))


async def test_nobody_there() -> None:
    """A server that is down."""
    async with TranscriptionServer() as server:
        pass
    with pytest.raises(SpeechUnavailable):
        await said(server)


async def test_cancel_closes_the_connection(server: TranscriptionServer) -> None:
    """At once: the server stops its work."""
    server.kind, server.answers = "text/event-stream", [*events(vllm("What")), 60.0]
    client = Transcriptions(server.base_url, "", LIMITS)
    try:
        async with aclosing(client.recognise(SOUND, model="m", language=None)) as words:
            assert await anext(words) == Words("What", False)
        async with asyncio.timeout(5):
            await server.requests[0].done.wait()
        assert server.requests[0].closed_early
    finally:
        await client.close()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0])
def test_limits_are_checked(value: float) -> None:
    """A limit that is none."""
    with pytest.raises(ValueError, match="more than 0"):
        SpeechLimits(first=value)
