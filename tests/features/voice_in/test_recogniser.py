"""A recogniser on a server: its state, and the way that is taken."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio

from server.core.errors import Draining
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.recogniser import (
    MOST_SOUND_SECONDS,
    MOST_WORDS_CHARS,
    ChosenRecogniser,
    LocalRecogniser,
    Pieces,
    ServerRecogniser,
    SpeechRecogniser,
    Transcription,
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
from tests.support.sounds import stream
from tests.support.speech_server import TranscriptionServer

NOBODY = "http://127.0.0.1:9/v1"
# Long enough for a busy machine; only the tests of a limit use shorter ones.
LIMITS = SpeechLimits(first=10.0, between=10.0, total=20.0)
WHOLE = Sound(np.arange(640).astype(np.int16), 5.0)
CREATED = {"type": "session.created"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TranscriptionServer]:
    async with TranscriptionServer() as one:
        yield one


Connect = Callable[..., ServerRecogniser]


@pytest_asyncio.fixture
async def connect(server: TranscriptionServer) -> AsyncIterator[Connect]:
    """Makes recognisers of the server, which are closed at the end."""
    made: list[ServerRecogniser] = []

    def connect(**given: Any) -> ServerRecogniser:
        made.append(ServerRecogniser(**{"base_url": server.base_url, "limits": LIMITS, **given}))
        return made[-1]

    yield connect
    for one in made:
        await one.close()


async def said(recogniser: SpeechRecogniser, *sound: Sound) -> list[Transcription]:
    pieces = sound or (Sound(WHOLE.samples[:320], 5.0), Sound(WHOLE.samples[320:], 5.02))
    return [one async for one in recogniser.recognise(stream(*pieces), language="en")]


async def test_a_probe_finds_state_and_model(server: TranscriptionServer, connect: Connect) -> None:
    """The first model listed, unless one is named; a server without a list is taken, too, until it is gone."""
    changes: list[bool] = []
    recogniser: ServerRecogniser = connect(
        api_key="k", on_change=lambda: changes.append(recogniser.ready)
    )
    assert not recogniser.ready
    server.models = ["whisper-large", "other"]
    await recogniser.probe()
    assert recogniser.ready
    assert recogniser.elsewhere == ""
    assert recogniser.name == "transcriptions"
    await said(recogniser)
    assert server.requests[-1].fields["model"] == "whisper-large"
    server.models = None
    await recogniser.probe()
    assert recogniser.ready
    server.key = "other"
    await recogniser.probe()
    assert changes == [True, False]
    named = connect(api_key="other", model="mine")
    await named.probe()
    assert named.ready
    await said(named)
    assert server.requests[-1].fields["model"] == "mine"
    assert "other" not in repr(named)
    gone = connect(base_url=NOBODY)
    await gone.probe()
    assert not gone.ready


def test_another_machine_is_named() -> None:
    """Before any probe; a wrong address is refused."""
    assert ServerRecogniser(base_url="http://gpu.example.org/v1").elsewhere == "gpu.example.org"
    with pytest.raises(ValueError, match="http"):
        ServerRecogniser(base_url="gpu.example.org")


async def test_the_socket_goes_first_where_it_is_wanted(
    server: TranscriptionServer, connect: Connect
) -> None:
    """Its words are taken; without the setting it is not tried."""
    server.upgrade = [CREATED, {"type": "transcription.done", "text": "by socket"}]
    recogniser = connect(realtime=True)
    assert recogniser.name == "realtime"
    assert await said(recogniser) == [Transcription("by socket", True)]
    assert server.requests == []


@pytest.mark.parametrize(
    "upgrade",
    [404, 500, [], [{"type": "error", "error": "no"}], [CREATED, {"type": "error", "error": "no"}]],
)
async def test_http_takes_over_with_the_whole_sound(
    server: TranscriptionServer, connect: Connect, upgrade: int | list[object]
) -> None:
    """A socket that is not offered, or fails before any words, is not tried again for a while."""
    server.upgrade = upgrade
    recogniser = connect(realtime=True)
    for count in (1, 2):
        assert await said(recogniser) == [Transcription("What is this?", True)]
        assert server.requests[-1].file.endswith(WHOLE.samples.tobytes())
        assert (len(server.requests), server.upgrades) == (count, 1)


async def test_a_socket_that_works_for_us_keeps_it_ready(
    server: TranscriptionServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers no probe meanwhile; without such work it is not ready."""
    server.upgrade = [CREATED, {"type": "transcription.delta", "delta": "What"}]
    recogniser = connect(realtime=True, limits=SpeechLimits(probe=0.2))
    await recogniser.probe()
    monkeypatch.setattr(recogniser, "models", asyncio.Event().wait)
    async with aclosing(recogniser.recognise(stream(WHOLE), language=None)) as words:
        assert await anext(words) == Transcription("What", False)
        await recogniser.probe()
        assert recogniser.ready
    await recogniser.probe()
    assert not recogniser.ready


async def test_words_are_not_said_twice(server: TranscriptionServer, connect: Connect) -> None:
    """A socket that fails after its first words is the end."""
    delta = {"type": "transcription.delta", "delta": "What"}
    server.upgrade = [CREATED, delta, {"type": "error", "error": "no"}]
    with pytest.raises(SpeechFailed):
        await said(connect(realtime=True))
    assert server.requests == []


@pytest.mark.parametrize("realtime", [False, True])
async def test_more_than_a_minute_is_refused(
    server: TranscriptionServer, connect: Connect, realtime: bool
) -> None:
    """By either way, and nothing of it is sent over HTTP."""
    server.upgrade = [CREATED]
    long = Sound(np.zeros(int(MOST_SOUND_SECONDS * SOUND_RATE) + 1, np.int16), 0.0)
    with pytest.raises(SpeechRefused):
        await said(connect(realtime=realtime), long)
    assert server.requests == []


# Sound in parts, as one


def parts(*lengths: int) -> AsyncIterator[Sound]:
    ends = np.cumsum(lengths)
    cut = np.split(np.arange(sum(lengths)).astype(np.int16), ends[:-1])
    begins = (ends - lengths) / SOUND_RATE
    return stream(*(Sound(one, at) for one, at in zip(cut, begins, strict=True)))


async def test_pieces_become_one() -> None:
    """Those taken one by one before count, too; empty ones are left out."""
    found = Pieces(parts(3, 0, 4, 5))
    assert len((await anext(found)).samples) == 3
    whole = await found.read_all()
    assert whole is not None
    assert whole.samples.tolist() == list(range(12))
    assert whole.captured == 0.0


# A recogniser that an operator chooses: which of the two answers, and that each one ends.


class Fake:
    """A recogniser whose one word is its own name."""

    def __init__(self, name: str, elsewhere: str = "") -> None:
        self.name, self.elsewhere = name, elsewhere
        self.ready = False
        self.started = self.closed = 0
        # Cleared: it takes its time to end
        self.ends = asyncio.Event()
        self.ends.set()

    def start(self) -> None:
        self.started += 1

    async def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        yield Transcription(f"{self.name} {language}", True)

    async def close(self) -> None:
        await self.ends.wait()
        self.closed += 1


class Rig:
    def __init__(self, settled: Fake | None) -> None:
        self.made: list[Fake] = []
        self.changes = 0
        self.ear = ChosenRecogniser(
            cast(LocalRecogniser | None, settled), self._make, self._changed
        )

    def _make(self, folder: Path) -> LocalRecogniser:
        self.made.append(Fake(folder.name))
        return cast(LocalRecogniser, self.made[-1])

    def _changed(self) -> None:
        self.changes += 1

    async def words(self) -> list[str]:
        return [one.text async for one in self.ear.recognise(stream(WHOLE), language="de")]


async def test_the_chosen_one_answers_once_it_is_loaded() -> None:
    """And that of the settings before, and again when the chosen one has failed or gone."""
    settled = Fake("server", "speech.example.org")
    settled.ready = True
    rig = Rig(settled)
    assert await rig.words() == ["server de"]
    await rig.ear.choose(Path("/models/whisper"))
    (one,) = rig.made
    assert one.started == 1
    assert await rig.words() == ["server de"]
    assert rig.ear.elsewhere == "speech.example.org"
    one.ready = True
    assert await rig.words() == ["whisper de"]
    assert (rig.ear.elsewhere, rig.ear.ready) == ("", True)
    one.ready = False
    assert await rig.words() == ["server de"]
    await rig.ear.forget()
    assert (one.closed, rig.changes, rig.ear.chosen) == (1, 1, None)
    await rig.ear.forget()
    assert (one.closed, rig.changes) == (1, 1)


async def test_another_choice_ends_the_one_before() -> None:
    rig = Rig(None)
    for name in ("one", "two"):
        await rig.ear.choose(Path(f"/models/{name}"))
    first, second = rig.made
    assert (first.closed, second.closed) == (1, 0)
    second.ready = True
    assert await rig.words() == ["two de"]


async def test_nothing_is_loaded_after_the_end() -> None:
    """Neither by a choice that still ended the one before, nor by a later one."""
    rig = Rig(None)
    await rig.ear.choose(Path("/models/one"))
    (one,) = rig.made
    one.ends.clear()
    late = asyncio.create_task(rig.ear.choose(Path("/models/two")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(rig.ear.close())
    await asyncio.sleep(0)
    one.ends.set()
    with pytest.raises(Draining):
        await late
    await closing
    with pytest.raises(Draining):
        await rig.ear.choose(Path("/models/three"))
    assert rig.made == [one]
    assert rig.ear.chosen is None


async def test_one_whose_end_was_cancelled_is_ended_by_the_next() -> None:
    """Its request was given up: its process would stay, with its memory."""
    rig = Rig(None)
    await rig.ear.choose(Path("/models/one"))
    (one,) = rig.made
    one.ends.clear()
    ending = asyncio.create_task(rig.ear.forget())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert one.closed == 0
    one.ends.set()
    await rig.ear.close()
    assert one.closed == 1


# Sound to words over HTTP: both forms of a stream, whole answers, and servers that misbehave.

RAMP = Sound(np.arange(-800, 800, dtype=np.int16), 5.0)


async def transcribed(
    server: TranscriptionServer, *, language: str | None = None, **given: Any
) -> list[Transcription]:
    given = {"base_url": server.base_url, "model": "m", "limits": LIMITS, **given}
    recogniser = ServerRecogniser(**given)
    try:
        return [one async for one in recogniser.send_by_http(RAMP, language)]
    finally:
        await recogniser.close()


def events(*data: Any) -> list[str | bytes | float | None]:
    return [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in data]


def vllm(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"delta": delta, "finish_reason": finish}
    return {"object": "transcription.chunk", "choices": [choice]}


async def test_a_whole_answer(server: TranscriptionServer) -> None:
    """The sound goes as a WAV file, with the model, the language and the key."""
    server.key = "k"
    assert await transcribed(server, language="de-AT", api_key="k") == [
        Transcription("What is this?", True)
    ]
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
        assert file.readframes(file.getnframes()) == RAMP.samples.tobytes()


async def test_the_words_times(server: TranscriptionServer) -> None:
    """Times are taken where the server gives them; a list that is not well-formed is none."""
    good = [{"word": " this ", "start": 0, "end": 0.5}, {"word": "cup", "start": 0.5, "end": 1}]
    server.answers = [json.dumps({"text": "this cup", "words": good})]
    (words,) = await transcribed(server)
    assert words.times == (WordTime("this", 0.0, 0.5), WordTime("cup", 0.5, 1.0))
    for bad in ("x", [1], [{"word": 1}], [{"word": "a", "start": -1, "end": True}]):
        server.answers = [json.dumps({"text": "this cup", "words": bad})]
        assert (await transcribed(server)) == [Transcription("this cup", True)]


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
    words = await transcribed(server)
    assert [one.text for one in words] == ["What", "What is this?", "What is this?"]
    assert [one.final for one in words] == [False, False, True]


MILK = "Is this the milk that expires tomorrow?"


@pytest.mark.parametrize("end", [[], ["[DONE]"]])
@pytest.mark.parametrize(
    "texts",
    [
        [" Is this the milk", " that expires tomorrow?"],
        # As servers send them that strip each segment
        ["Is this the milk", "that expires tomorrow?"],
        ["", f" {MILK}"],
        [" Is this the milk", f" {MILK}"],
    ],
)
async def test_segments_without_a_type_are_one_sentence(
    server: TranscriptionServer, texts: list[str], end: list[str]
) -> None:
    """They are joined, a text that repeats all so far replaces it, and only the end of the body is final."""
    server.kind = "text/event-stream"
    segments = events(*({"text": text, "language": "en"} for text in texts), *end)
    server.answers = [part for segment in segments for part in (segment, 0.05)]
    words = await transcribed(server)
    assert [one.final for one in words[:-1]] == [False] * (len(words) - 1)
    assert words[-1] == Transcription(MILK, True)


async def test_segments_without_spaces(server: TranscriptionServer) -> None:
    """Chinese gets no spaces between its segments; pieces of words that bring their own stay as they are."""
    server.kind = "text/event-stream"
    for texts, whole in (
        (["这是什么？", "牛奶吗？"], "这是什么？牛奶吗？"),
        ([" It exp", "ires."], "It expires."),
    ):
        server.answers = events(*({"text": text} for text in texts))
        assert (await transcribed(server))[-1] == Transcription(whole, True)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("segments", "text"),
    [
        ([{"no_speech_prob": 0.97, "avg_logprob": -1.4}], ""),
        ([{"no_speech_prob": 0.97, "avg_logprob": -1.4}] * 2, ""),
        ([{"no_speech_prob": 0.97, "avg_logprob": -1.4}, {"no_speech_prob": 0.1}], "Thanks!"),
        ([{"no_speech_prob": 0.97, "avg_logprob": -0.3}], "Thanks!"),
        ([{"no_speech_prob": 0.5, "avg_logprob": -1.4}], "Thanks!"),
        ([{"no_speech_prob": "0.97", "avg_logprob": None}, 5], "Thanks!"),
        ([], "Thanks!"),
    ],
)
async def test_words_of_segments_without_speech_are_none(
    server: TranscriptionServer, kind: str, segments: list[object], text: str
) -> None:
    """By Whisper's own rule, where the server tells; one segment with speech keeps all words."""
    answer = {"text": " Thanks!", "segments": segments}
    server.kind = kind
    server.answers = [json.dumps(answer)] if kind == "application/json" else events(answer)
    assert (await transcribed(server))[-1] == Transcription(text, True)


async def test_a_field_that_is_refused_is_left_out(
    server: TranscriptionServer, connect: Connect
) -> None:
    """And so are the other optional ones, from then on."""
    server.refused = {"stream", "temperature"}
    recogniser = connect()
    for _ in range(2):
        words = recogniser.send_by_http(RAMP, None)
        assert [one async for one in words] == [Transcription("What is this?", True)]
    assert [sorted(one.fields) for one in server.requests] == [
        ["response_format", "stream", "temperature"],
        ["response_format"],
        ["response_format"],
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SpeechRefused),
        (302, SpeechUnavailable),
        (429, SpeechUnavailable),
        (500, SpeechFailed),
    ],
)
async def test_refusals(server: TranscriptionServer, status: int, kind: type[SpeechError]) -> None:
    """Each with our own sentence; visitors read no address and no setting, and nobody the server's text."""
    server.status = status
    server.extra = ["location: http://127.0.0.1:1/v1", "retry-after: 7"]
    with pytest.raises(SpeechError) as raised:
        await transcribed(server)
    error = raised.value
    assert type(error) is kind
    assert str(server.port) in error.message
    assert "secret" not in error.message
    assert str(server.port) not in error.visitor_message
    assert "TRANSCRIPTION" not in error.visitor_message
    assert error.retry_after == (7.0 if status == 429 else None)
    # Once more without the optional fields
    assert len(server.requests) == (2 if status in (400, 500) else 1)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("text/html", ["<html>"]),
        ("application/json", ["[1]"]),
        ("application/json", ['{"hello": 1}']),
        ("application/json", ['{"text": 5}']),
        ("application/json", ["{"]),
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
        await transcribed(server)
    assert "secret" not in raised.value.message + raised.value.visitor_message


@pytest.mark.parametrize("endless", [b"x" * 65536, b": no\n\n" * 8192, b"data: 1" * 8192])
async def test_endless_answers_end(server: TranscriptionServer, endless: bytes) -> None:
    """By their size, whatever they hold."""
    server.kind, server.endless = "text/event-stream", endless
    with pytest.raises(SpeechFailed):
        await transcribed(server)


async def test_more_words_than_a_question_may_have(server: TranscriptionServer) -> None:
    """The text is cut there, and the rest is not waited for."""
    server.kind = "text/event-stream"
    server.answers, server.endless = (
        [],
        b"".join(one.encode() for one in events(vllm("word-" * 100)) if isinstance(one, str)),
    )
    words = await transcribed(server)
    assert len(words[-1].text) == MOST_WORDS_CHARS
    assert words[-1].final
    server.kind, server.endless = "application/json", None
    server.answers = [json.dumps({"text": "x" * 9000})]
    assert len((await transcribed(server))[-1].text) == MOST_WORDS_CHARS


@pytest.mark.parametrize("answers", [[60.0], [*events(vllm("What")), 60.0]])
async def test_a_slow_server(
    server: TranscriptionServer, answers: list[str | bytes | float | None]
) -> None:
    """Before its first piece and after it."""
    server.kind, server.answers = "text/event-stream", answers
    with pytest.raises(SpeechTimeout):
        await transcribed(server, limits=SpeechLimits(first=0.2, between=0.2))


async def test_a_server_that_does_not_answer_at_all(server: TranscriptionServer) -> None:
    """The limit counts from the request, not from the answer's headers."""
    server.wait = 60.0
    with pytest.raises(SpeechTimeout):
        await transcribed(server, limits=SpeechLimits(first=0.2))


async def test_keep_alive_comments_are_no_words(server: TranscriptionServer) -> None:
    """They do not hold the limits off."""
    server.kind = "text/event-stream"
    server.answers = [part for _ in range(100) for part in (": alive\n\n", 0.05)]
    with pytest.raises(SpeechTimeout):
        await transcribed(server, limits=SpeechLimits(first=0.3))


async def test_nobody_there(server: TranscriptionServer) -> None:
    """A server that is down."""
    with pytest.raises(SpeechUnavailable):
        await transcribed(server, base_url=NOBODY)


async def test_cancel_closes_the_connection(server: TranscriptionServer, connect: Connect) -> None:
    """At once: the server stops its work."""
    server.kind, server.answers = "text/event-stream", [*events(vllm("What")), 60.0]
    async with aclosing(connect().send_by_http(RAMP, None)) as words:
        assert await anext(words) == Transcription("What", False)
    async with asyncio.timeout(5):
        await server.requests[0].done.wait()
    assert server.requests[0].closed_early
