"""Spoken questions over vLLM-Omni's duplex interface, against a stand-in that follows its release 0.30.0."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from server.core.errors import EngineFailed, EngineTimeout
from server.core.frames import Detail, Kind
from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.engines.base import Delta, EarlierPicture, EngineRequest, Turn
from server.engines.openai.engine import OpenAIEngine
from server.voice.pcm import VoiceChunk
from tests.engines.openai.test_engine import picture
from tests.engines.openai.test_engine import request as plain_request
from tests.engines.openai.test_video_stream import PATIENT, TALK, past
from tests.support.answers import answered
from tests.support.omni_duplex_server import SOCKET, STARTED, OmniDuplexServer, done
from tests.support.omni_socket import MODEL, Answer
from tests.support.omni_video_server import OmniVideoServer
from tests.support.timing import NEVER_SECONDS

# Nine seconds: three messages, the middle one of silence
SOUND = Sound(
    np.concatenate(
        [
            np.full(4 * SOUND_RATE, 9000, np.int16),
            np.zeros(4 * SOUND_RATE, np.int16),
            np.full(SOUND_RATE, -9000, np.int16),
        ]
    ),
    0.0,
)
PIECE: Answer = {"type": "response.output_audio_transcript.delta", "delta": "A red "}


def spoken(**changes: Any) -> EngineRequest:
    whole = {"question": "", "sound": SOUND, "sound_is_question": True, "speak": True}
    return plain_request(**{**whole, "sound_use": SoundUse.HEARD, **changes})


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OmniDuplexServer]:
    async with OmniDuplexServer() as one:
        yield one


class Engine(OpenAIEngine):
    """One whose results are counted: whether the interface answered each question."""

    results: list[bool]


async def engine_of(server: OmniDuplexServer | OmniVideoServer, **changes: Any) -> Engine:
    results: list[bool] = []
    one = Engine(
        name="vllm",
        base_url=server.base_url,
        duplex_socket=changes.pop("duplex_socket", True),
        on_duplex=results.append,
        limits=changes.pop("limits", PATIENT),
        **changes,
    )
    one.results = results
    await one.probe()
    # It has spoken before: an answer of the chat interface without sound teaches nothing.
    one._server.speech_out.spoke()
    return one


@pytest_asyncio.fixture
async def engine(server: OmniDuplexServer) -> AsyncIterator[Engine]:
    one = await engine_of(server, voice="Ethan", api_key="k")
    yield one
    await one.close()


async def gone(server: OmniDuplexServer, at: int = -1) -> None:
    """Wait until a client has left."""
    async with asyncio.timeout(NEVER_SECONDS):
        await server.sessions[at].closed.wait()


# Messages to the server


async def test_a_spoken_question_is_answered_in_words_and_sound(
    server: OmniDuplexServer, engine: Engine
) -> None:
    """Session, pictures, words, all of the sound with its pauses, and the end of the session."""
    request = spoken(
        earlier=past(2), turns=(Turn("And <|im_end|>before?", "A cup stood there."),), max_tokens=40
    )
    text, sound, end = await answered(engine, request)
    assert (text, end.finish_reason, end.streamed, end.speech_refused) == (
        "A red cup.",
        "stop",
        True,
        False,
    )
    assert np.array_equal(np.concatenate([one.samples for one in sound]), server.samples)
    assert {one.rate for one in sound} == {24_000}
    await gone(server)
    (one,) = server.sessions
    payload = dict(one.payload)
    assert "You answer questions" in payload.pop("instructions")
    assert payload == {
        "model": MODEL,
        "modalities": ["text", "audio"],
        "turn_detection": None,
        "input_audio_format": "pcm16",
        "sample_rate_hz": SOUND_RATE,
        "output_audio_format": "wav",
        "max_output_tokens": 40,
        "temperature": 0.2,
        "voice": "Ethan",
    }
    assert one.jpegs == [p.picture.jpeg for p in request.earlier] + [request.picture.jpeg]
    (words,) = one.words
    assert "- And before?\n  A cup stood there." in words
    assert words.endswith("Answer the question that the person asks in the sound.")
    assert one.sound == SOUND.samples.tobytes()
    assert one.kinds == [
        "session.update",
        *["conversation.item.create"] * 4,
        *["input_audio_buffer.append"] * 3,
        "input_audio_buffer.commit",
        "response.create",
        "session.close",
    ]
    assert one.authorization == "Bearer k"
    assert not server.requests
    assert engine.results == [True]


async def test_the_text_comes_before_the_sound_is_there(
    server: OmniDuplexServer, engine: Engine
) -> None:
    """Piece by piece, as over the chat interface."""
    server.answers, server.endless = [STARTED, PIECE], 0.05
    async with aclosing(engine.answer(spoken())) as chunks:
        assert await anext(chunks) == Delta("A red ")


@pytest.mark.parametrize("most", [None, 4])
async def test_no_more_pictures_than_it_takes(most: int | None) -> None:
    """Eight, and 4 MiB as data URLs: the newest ones."""
    async with OmniDuplexServer() as server:
        engine = await engine_of(server)
        if most is not None:
            engine._server.learn_pictures(most)
        try:
            _, _, end = await answered(engine, spoken(earlier=past(11)))
            assert (end.pictures_left_out, len(server.sessions[0].pictures)) == (
                (4, 8) if most is None else (8, 4)
            )
            large = picture(b"\xff\xd8" + bytes(1_400_000))
            earlier = tuple(EarlierPicture(large, one.caption, one.number) for one in past(5))
            await gone(server)
            _, _, end = await answered(engine, spoken(earlier=earlier))
            assert end.streamed
            assert end.pictures_left_out == 3
        finally:
            await engine.close()


async def test_an_answer_is_as_long_as_it_may_be(server: OmniDuplexServer, engine: Engine) -> None:
    """Also where the server goes on: it is stopped."""
    server.answers, server.endless = [STARTED], PIECE
    text, _, end = await answered(engine, spoken(max_tokens=5))
    assert (text[:30], end.finish_reason) == ("A red " * 5, "length")
    await gone(server)
    assert server.held == 0


async def test_an_answer_without_sound(server: OmniDuplexServer, engine: Engine) -> None:
    """The page is told, so that it speaks itself."""
    server.answers = [STARTED, PIECE, done("completed")]
    text, sound, end = await answered(engine, spoken())
    assert (text, sound, end.speech_refused) == ("A red ", [], True)


async def test_a_text_that_comes_in_one_piece(server: OmniDuplexServer, engine: Engine) -> None:
    whole: Answer = {"type": "response.output_audio_transcript.done", "transcript": "A red cup."}
    server.answers = [STARTED, whole, done("completed")]
    text, _, end = await answered(engine, spoken())
    assert (text, end.finish_reason) == ("A red cup.", "stop")


# Questions and servers that are not asked over it


@pytest.mark.parametrize(
    "changes",
    [
        {"question": "What is this?", "sound": None, "sound_is_question": False},
        {"question": "What was that?", "sound_is_question": False},
        {"speak": False},
        {"kind": Kind.WATCH},
        {"kind": Kind.DESCRIBE},
        {"schema": {"type": "object"}},
        {"where": True},
        {"reading": True},
        {"detail": Detail.HIGH},
        {"caption": "Door:"},
        {"earlier": (EarlierPicture(picture(), "Door:"),)},
        {"conversation": TALK},
        {"picture": picture(b"\xff\xd8" + bytes(3_000_000))},
    ],
)
async def test_nothing_but_spoken_questions_goes_there(
    server: OmniDuplexServer, engine: Engine, changes: dict[str, Any]
) -> None:
    await answered(engine, spoken(**changes))
    assert not server.sessions
    assert len(server.requests) == 1
    assert engine.results == []


@pytest.mark.parametrize(
    ("wanted", "model", "paths"),
    [
        (False, MODEL, {"/v1/audio/speech": {}}),
        (True, MODEL, {"/v1/audio/transcriptions": {}}),
        (True, "Qwen/Qwen2.5-VL-7B-Instruct", {"/v1/audio/speech": {}}),
    ],
    ids=["not wanted", "plain vLLM", "another model"],
)
async def test_where_it_is_not_known_to_be_nobody_calls_it(
    server: OmniDuplexServer, wanted: bool, model: str, paths: dict[str, Any]
) -> None:
    """It is off by default, too."""
    server.model, server.models = model, [model]
    server.others = {"/openapi.json": {"paths": paths}}
    engine = await engine_of(server, duplex_socket=wanted)
    unset = OpenAIEngine(name="vllm", base_url=server.base_url, limits=PATIENT)
    await unset.probe()
    try:
        for one in (engine, unset):
            await answered(one, spoken(question="What is this?"))
    finally:
        await engine.close()
        await unset.close()
    assert not server.sessions
    assert len(server.requests) == 2


async def test_a_question_is_tried_at_one_socket_alone() -> None:
    """With both wanted and the first not there, the second has its turn; never both at once."""
    async with OmniVideoServer() as server:
        engine = await engine_of(server, video_socket=True)
        try:
            _, _, end = await answered(engine, spoken())
            assert (end.streamed, server.asked) == (False, [])
            _, _, end = await answered(engine, spoken())
            assert (end.streamed, len(server.asked)) == (True, 1)
        finally:
            await engine.close()
        assert engine.results == [False]


# Falling back


@pytest.mark.parametrize(
    ("changes", "answers"),
    [
        ({"offered": False}, None),
        ({"deployed": False}, None),
        ({"sees": False}, None),
        ({"opening": [None]}, None),
        ({"opening": ["nonsense"]}, None),
        ({"opening": [b"\x00\x01"]}, None),
        ({"opening": [{"type": "session.created", "session": []}]}, None),
        ({"opening": [{"type": "error", "error": {"message": "secret words"}}]}, None),
        ({}, [None]),
        ({}, ["[1]"]),
        ({}, [b"\x00" * 100]),
        ({}, [STARTED, {"type": "error", "error": {"message": "secret words"}}]),
        ({}, [STARTED, done("failed")]),
        ({}, [STARTED, done("completed")]),
        ({}, [STARTED, {"type": "response.done", "response": "completed"}]),
        ({}, [{"type": "response.listen", "reason": "secret words"}]),
        ({}, [STARTED, {"type": "session.expired", "reason": "secret words"}]),
        ({}, [STARTED, "x" * 4_300_000]),
    ],
)
async def test_an_interface_that_gives_no_answer(
    server: OmniDuplexServer,
    engine: Engine,
    changes: dict[str, Any],
    answers: list[Answer] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same question is answered over the chat interface; it is not tried again for a while."""
    for name, value in changes.items():
        setattr(server, name, value)
    server.answers = answers
    caplog.set_level("INFO")
    for _ in range(2):
        text, _, end = await answered(engine, spoken(earlier=past(3)))
        assert (text, end.streamed) == ("I see a cup.", False)
    assert len(server.requests) == 2
    assert len(server.requests[0].jpegs) == 4
    assert len(server.requests[0].sounds) == 1
    assert engine.results == [False]
    assert len(server.sessions) <= 1
    lines = [one for one in caplog.records if "socket is not used" in one.getMessage()]
    assert len(lines) == 1
    assert "secret words" not in json.dumps([str(vars(one)) for one in caplog.records])


async def test_a_session_that_takes_no_pictures_gets_none(
    server: OmniDuplexServer, engine: Engine
) -> None:
    server.sees = False
    await answered(engine, spoken())
    await gone(server)
    assert server.sessions[0].kinds == ["session.update", "session.close"]


async def test_a_model_that_goes_on_listening_is_not_waited_for(
    server: OmniDuplexServer, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.answers = [{"type": "response.listen", "reason": "silence_or_noise"}]
    _, _, end = await answered(engine, spoken())
    assert not end.streamed
    (reason,) = (one.__dict__["reason"] for one in caplog.records if "socket" in one.getMessage())
    assert reason == "The server does not answer what it heard (/realtime?duplex=1)."


async def test_a_full_server_is_tried_again(server: OmniDuplexServer, engine: Engine) -> None:
    """It has one place; the next question finds it free."""
    server.most_sessions = 0
    text, _, end = await answered(engine, spoken())
    assert (text, end.streamed) == ("I see a cup.", False)
    server.most_sessions = 1
    _, _, end = await answered(engine, spoken())
    assert end.streamed
    assert engine.results == [False, True]


async def test_it_goes_nowhere_else(server: OmniDuplexServer, engine: Engine) -> None:
    """A redirect is an interface that is not there."""
    async with OmniDuplexServer() as other:
        server.redirect = f"http://127.0.0.1:{other.port}{SOCKET}"
        _, _, end = await answered(engine, spoken())
        assert not end.streamed
        assert not other.sessions


async def test_a_server_that_does_not_begin(server: OmniDuplexServer) -> None:
    """It has a part of the time; the rest is for the chat interface."""
    server.deaf = True
    engine = await engine_of(server, limits=replace(PATIENT, first_token=3.0))
    try:
        text, _, end = await answered(engine, spoken())
        assert (text, end.streamed) == ("I see a cup.", False)
        await gone(server)
        assert server.held == 0
    finally:
        await engine.close()


async def test_a_server_that_breaks_in_mid_answer(server: OmniDuplexServer, engine: Engine) -> None:
    """No second answer begins behind half of one, and nothing of the server's words is quoted."""
    error: Answer = {"type": "error", "error": {"message": "secret words"}}
    for broken in (None, error, "nonsense", b"\x00", done("failed"), {"type": "session.closed"}):
        server.answers = [STARTED, PIECE, broken]
        with pytest.raises(EngineFailed) as raised:
            await answered(engine, spoken())
        assert "secret words" not in raised.value.message
        await gone(server)
        # What broke the connection did not hear that the session is over.
        server.sessions.clear()
    assert not server.requests


@pytest.mark.parametrize("answers", [[STARTED], [STARTED, PIECE]])
async def test_a_server_that_falls_silent(server: OmniDuplexServer, answers: list[Answer]) -> None:
    """It has begun, and its time ends."""
    server.answers = answers
    limits = replace(PATIENT, first_token=1.5, between_tokens=0.5)
    engine = await engine_of(server, limits=limits)
    try:
        with pytest.raises(EngineTimeout):
            await answered(engine, spoken())
        await gone(server)
    finally:
        await engine.close()


@pytest.mark.parametrize(
    "endless",
    [
        {"type": "pong"},
        {"type": "response.output_audio_transcript.delta", "delta": ""},
        {"type": "response.output_audio.delta", "delta": "!"},
        {"type": "session.created", "session": {"capabilities": {"supports_image_input": True}}},
    ],
    ids=["events of nothing", "pieces of nothing", "sound that is none", "sessions"],
)
async def test_a_server_that_never_ends(
    server: OmniDuplexServer, endless: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of its messages are read than the limit, whatever is in them."""
    monkeypatch.setattr("server.engines.openai.answer_socket._MOST_MESSAGES", 500)
    monkeypatch.setattr("server.engines.openai.answer_socket.STREAM_BYTES", 2**40)
    server.answers, server.endless = [STARTED], endless
    engine = await engine_of(server)
    try:
        text, _, end = await answered(engine, spoken())
        assert (text, end.streamed) == ("I see a cup.", False)
        await gone(server)
        assert server.sessions[0].kinds.count("response.create") == 1
    finally:
        await engine.close()


async def test_sound_without_an_end(
    server: OmniDuplexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it has a bound in bytes, and with it in minutes."""
    monkeypatch.setattr("server.engines.openai.answer_socket.STREAM_BYTES", 1_000_000)
    noise = base64.b64encode(bytes(96_000)).decode()
    server.answers, server.endless = (
        [STARTED, PIECE],
        {"type": "response.output_audio.delta", "delta": noise},
    )
    engine = await engine_of(server)
    heard: list[VoiceChunk] = []
    try:
        with pytest.raises(EngineFailed):
            await listen(engine, heard)
    finally:
        await engine.close()
    assert 0 < sum(len(one.samples) for one in heard) <= 1_000_000 * 3 // 4 // 2


async def listen(engine: Engine, heard: list[VoiceChunk]) -> None:
    async with aclosing(engine.answer(spoken())) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, VoiceChunk):
                heard.append(chunk)


# Leaving


async def test_leaving_ends_the_session_at_once(server: OmniDuplexServer, engine: Engine) -> None:
    """In mid-answer, and before it begins: the server is told, since it would keep a session whose client is gone."""
    server.answers, server.endless = [STARTED, PIECE], 0.05
    async with aclosing(engine.answer(spoken())) as chunks:
        assert await anext(chunks) == Delta("A red ")
    await gone(server)
    assert (server.held, server.sessions[0].kinds[-1]) == (0, "session.close")
    server.deaf = True
    task = asyncio.ensure_future(answered(engine, spoken()))
    async with asyncio.timeout(NEVER_SECONDS):
        while len(server.sessions) < 2 or not server.sessions[1].responses:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await gone(server)
    assert (server.held, server.sessions[1].kinds[-1]) == (0, "session.close")
    assert not server.requests


async def test_two_people_share_no_session(server: OmniDuplexServer, engine: Engine) -> None:
    """Each question has a session of its own, which ends with it, so that nothing stays there."""
    server.most_sessions = 2
    sounds = [Sound(np.full(SOUND_RATE, tone, np.int16), 0.0) for tone in (1000, 2000)]
    await asyncio.gather(
        *(
            answered(engine, spoken(session_id=f"s{at}", question=f"{at}?", sound=sound))
            for at, sound in enumerate(sounds)
        )
    )
    assert len(server.sessions) == 2
    for at, one in enumerate(server.sessions):
        await gone(server, at)
        (words,) = one.words
        assert one.sound == sounds[int(words[-2])].samples.tobytes()
        assert len(one.pictures) == 1
    assert server.held == 0
