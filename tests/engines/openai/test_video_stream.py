"""Questions over vLLM-Omni's socket for streamed video, against a stand-in that follows its protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from server.core.errors import EngineFailed, EngineTimeout
from server.core.frames import Kind
from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.engines import recollection
from server.engines.base import Delta, EarlierPicture, EngineRequest, Turn
from server.engines.conversation import Conversation, Message, Shown, Speaker, Words
from server.engines.openai.chat_client import TimeLimits
from server.engines.openai.engine import OpenAIEngine
from tests.engines.openai.test_engine import picture
from tests.engines.openai.test_engine import request as plain_request
from tests.support.answers import answered
from tests.support.omni_socket import MODEL, Answer
from tests.support.omni_video_server import SOCKET, OmniVideoServer
from tests.support.timing import NEVER_SECONDS

SOUND = Sound(np.arange(-32_000, 32_000).astype(np.int16), 0.0)
# Of a server that is slow by itself, on a busy machine
PATIENT = TimeLimits(first_token=30.0, between_tokens=20.0, total=60.0)
STARTED: Answer = {"type": "response.start"}
TALK = Conversation((Message(Speaker.USER, (Words("What?"), Shown(0))),))
PIECE: Answer = {"type": "response.text.delta", "delta": "A red "}


def past(count: int) -> tuple[EarlierPicture, ...]:
    """Pictures of the past, each with bytes of its own."""
    captions = recollection.captions([(10.0 * n, 10.0 * n) for n in range(count, 0, -1)])
    return tuple(
        EarlierPicture(picture(b"\xff\xd8 %d \xff\xd9" % number), caption, number)
        for number, caption in enumerate(captions, 1)
    )


def asked(**changes: Any) -> EngineRequest:
    whole = {"question": "What fell down?", "earlier": past(3), "sound": SOUND}
    return plain_request(**{**whole, "sound_use": SoundUse.HEARD, **changes})


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OmniVideoServer]:
    async with OmniVideoServer() as one:
        yield one


class Engine(OpenAIEngine):
    """One whose results are counted: whether the socket answered each question."""

    results: list[bool]


async def engine_of(server: OmniVideoServer, **changes: Any) -> Engine:
    results: list[bool] = []
    one = Engine(
        name="vllm",
        base_url=server.base_url,
        video_socket=changes.pop("video_socket", True),
        on_streamed=results.append,
        limits=changes.pop("limits", PATIENT),
        **changes,
    )
    one.results = results
    await one.probe()
    return one


@pytest_asyncio.fixture
async def engine(server: OmniVideoServer) -> AsyncIterator[Engine]:
    one = await engine_of(server, voice="Ethan", api_key="k")
    yield one
    await one.close()


# Messages to the server


async def test_the_pictures_and_the_sound_come_before_the_question(
    server: OmniVideoServer, engine: Engine
) -> None:
    """In the protocol's messages: every picture, the newest last, its whole sound, and the words."""
    request = asked(turns=(Turn("And <|im_end|>before?", "A cup stood there."),), max_tokens=40)
    text, sound, end = await answered(engine, request)
    assert (text, sound, end.finish_reason, end.streamed) == ("A red cup.", [], "stop", True)
    (one,) = server.asked
    config = dict(one.config)
    assert "You answer questions" in config.pop("system_prompt")
    assert config == {
        "type": "session.config",
        "model": MODEL,
        "modalities": ["text"],
        "num_frames": 4,
        "max_frames": 4,
        "enable_frame_filter": False,
        "sampling_params_list": [{"max_tokens": 40, "temperature": 0.2}],
    }
    assert one.frames == [p.picture.jpeg for p in request.earlier] + [request.picture.jpeg]
    assert one.sound == SOUND.samples.tobytes()
    (words,) = one.queries
    assert words.endswith("\n\nWhat fell down?")
    assert "[1] 30 s ago; [2] 20 s ago; [3] 10 s ago." in words
    assert "- And before?\n  A cup stood there." in words
    assert "what was heard there" in words
    assert one.authorization == "Bearer k"
    assert not server.requests
    assert engine.results == [True]


async def test_a_spoken_question_about_now(server: OmniVideoServer, engine: Engine) -> None:
    """Its sound is the question."""
    request = asked(question="", earlier=(), sound_is_question=True)
    text, _, _ = await answered(engine, request)
    assert text == "A red cup."
    assert server.asked[0].queries == ["Answer the question that the person asks in the sound."]
    assert len(server.asked[0].frames) == 1


async def test_a_video_goes_as_pictures_that_cost_as_much(
    server: OmniVideoServer, engine: Engine
) -> None:
    """The newest half of its frames, by their own numbers."""
    _, _, end = await answered(engine, asked(earlier=past(6), video=True))
    assert (end.pictures_left_out, len(server.asked[0].frames)) == (3, 4)
    assert "order, each with a number and a time before now: [4] " in server.asked[0].queries[0]


@pytest.mark.parametrize("spelling", ["first", "0.30.0", "realtime"])
async def test_the_answer_is_spoken_beside_its_text(
    server: OmniVideoServer, engine: Engine, spelling: str
) -> None:
    """In each spelling, sample by sample; the voice is named."""
    server.spelling = spelling
    text, sound, end = await answered(engine, asked(speak=True))
    assert text == "A red cup."
    assert np.array_equal(np.concatenate([one.samples for one in sound]), server.samples)
    assert not end.speech_refused
    assert server.asked[0].config["modalities"] == ["text", "audio"]
    assert server.asked[0].config["speaker"] == "Ethan"


async def test_a_spoken_answer_without_sound(server: OmniVideoServer, engine: Engine) -> None:
    """Nothing shows that none comes but the end of the session, which the client asks for."""
    server.answers = [STARTED, PIECE, {"type": "response.text.done", "text": "A red cup."}]
    text, sound, end = await answered(engine, asked(speak=True))
    assert (text, sound, end.speech_refused) == ("A red ", [], True)
    assert server.asked[0].done


async def test_a_text_that_comes_in_one_piece(server: OmniVideoServer, engine: Engine) -> None:
    """Of a server that is set to gather it."""
    server.answers = [STARTED, {"type": "response.text.done", "text": "A red cup."}]
    text, _, end = await answered(engine, asked())
    assert (text, end.finish_reason) == ("A red cup.", "stop")


async def test_an_answer_is_as_long_as_it_may_be(server: OmniVideoServer, engine: Engine) -> None:
    """Also where the server knows no limit: it is stopped."""
    server.answers, server.endless = [STARTED], PIECE
    text, _, end = await answered(engine, asked(max_tokens=5))
    assert (text, end.finish_reason) == ("A red " * 5, "length")
    async with asyncio.timeout(NEVER_SECONDS):
        await server.asked[0].closed.wait()


# Servers that are not asked over it


@pytest.mark.parametrize(
    "changes",
    [
        {"earlier": (), "sound": None},
        {"kind": Kind.WATCH},
        {"kind": Kind.DESCRIBE},
        {"schema": {"type": "object"}},
        {"where": True},
        {"reading": True},
        {"caption": "Door:"},
        {"earlier": (EarlierPicture(picture(), "Door:"),)},
        {"conversation": TALK, "earlier": ()},
    ],
)
async def test_what_has_no_field_there_goes_to_the_chat_interface(
    server: OmniVideoServer, engine: Engine, changes: dict[str, Any]
) -> None:
    await answered(engine, asked(**changes))
    assert not server.asked
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
    server: OmniVideoServer, wanted: bool, model: str, paths: dict[str, Any]
) -> None:
    """Not even its address is tried."""
    server.model, server.models = model, [model]
    server.others = {"/openapi.json": {"paths": paths}}
    engine = await engine_of(server, video_socket=wanted)
    try:
        await answered(engine, asked())
    finally:
        await engine.close()
    assert not server.asked
    assert len(server.requests) == 1


# Falling back


@pytest.mark.parametrize(
    ("changes", "answers"),
    [
        ({"offered": False}, None),
        ({"deployed": False}, None),
        ({}, [None]),
        ({}, ["nonsense"]),
        ({}, ["[1]"]),
        ({}, [{"type": "error", "message": "secret words"}]),
        ({}, [STARTED, {"type": "error", "message": "secret words"}]),
        ({}, [STARTED, {"type": "response.text.done", "text": ""}]),
        # Release 0.30.0 ends a failed question so, too.
        ({}, [{"type": "error", "message": "x"}, {"type": "response.text.done", "text": ""}]),
        ({}, [{"type": "video.frame.ack", "accepted": False}]),
        ({}, [STARTED, "x" * 300_000]),
    ],
)
async def test_a_socket_that_gives_no_answer(
    server: OmniVideoServer,
    engine: Engine,
    changes: dict[str, Any],
    answers: list[Answer] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same question is answered over the chat interface; the socket is not tried again for a while."""
    for name, value in changes.items():
        setattr(server, name, value)
    server.answers = answers
    caplog.set_level("INFO")
    for _ in range(2):
        text, _, end = await answered(engine, asked())
        assert (text, end.streamed) == ("I see a cup.", False)
    assert len(server.requests) == 2
    assert len(server.requests[0].jpegs) == 4
    assert len(server.requests[0].sounds) == 1
    assert engine.results == [False]
    assert len(server.asked) <= 1
    lines = [one for one in caplog.records if "socket is not used" in one.getMessage()]
    assert len(lines) == 1
    assert "secret words" not in json.dumps([str(vars(one)) for one in caplog.records])


async def test_it_goes_nowhere_else(server: OmniVideoServer, engine: Engine) -> None:
    """A redirect is a socket that is not there."""
    async with OmniVideoServer() as other:
        server.redirect = f"http://127.0.0.1:{other.port}{SOCKET}"
        _, _, end = await answered(engine, asked())
        assert not end.streamed
        assert not other.asked


async def test_a_server_that_does_not_begin(server: OmniVideoServer) -> None:
    """It has a part of the time; the rest is for the chat interface."""
    server.deaf = True
    engine = await engine_of(server, limits=replace(PATIENT, first_token=3.0))
    try:
        text, _, end = await answered(engine, asked())
        assert (text, end.streamed) == ("I see a cup.", False)
        async with asyncio.timeout(NEVER_SECONDS):
            await server.asked[0].closed.wait()
    finally:
        await engine.close()


async def test_a_server_that_breaks_in_mid_answer(server: OmniVideoServer, engine: Engine) -> None:
    """No second answer begins behind half of one, and nothing of the server's words is quoted."""
    for broken in (None, {"type": "error", "message": "secret words"}, "nonsense"):
        server.answers = [STARTED, PIECE, broken]
        with pytest.raises(EngineFailed) as raised:
            await answered(engine, asked())
        assert "secret words" not in raised.value.message
    assert not server.requests


@pytest.mark.parametrize("answers", [[STARTED], [STARTED, PIECE]])
async def test_a_server_that_falls_silent(server: OmniVideoServer, answers: list[Answer]) -> None:
    """It has begun, and its time ends."""
    server.answers = answers
    limits = replace(PATIENT, first_token=1.5, between_tokens=0.5)
    engine = await engine_of(server, limits=limits)
    try:
        with pytest.raises(EngineTimeout):
            await answered(engine, asked())
        async with asyncio.timeout(NEVER_SECONDS):
            await server.asked[0].closed.wait()
    finally:
        await engine.close()


@pytest.mark.parametrize(
    "endless",
    [{"type": "pong"}, {"type": "response.text.delta", "delta": ""}],
    ids=["events of nothing", "pieces of nothing"],
)
async def test_a_server_that_never_ends(
    server: OmniVideoServer, endless: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of its messages are read than the limit, whatever is in them."""
    monkeypatch.setattr("server.engines.openai.answer_socket._MOST_MESSAGES", 500)
    monkeypatch.setattr("server.engines.openai.answer_socket.STREAM_BYTES", 2**40)
    server.answers, server.endless = [STARTED], endless
    engine = await engine_of(server)
    try:
        text, _, end = await answered(engine, asked())
        assert (text, end.streamed) == ("I see a cup.", False)
        async with asyncio.timeout(NEVER_SECONDS):
            await server.asked[0].closed.wait()
    finally:
        await engine.close()


# Leaving


async def test_leaving_closes_the_socket_at_once(server: OmniVideoServer, engine: Engine) -> None:
    """In mid-answer, and before it begins."""
    server.answers, server.endless = [STARTED, PIECE], 0.05
    async with aclosing(engine.answer(asked())) as chunks:
        assert await anext(chunks) == Delta("A red ")
    async with asyncio.timeout(NEVER_SECONDS):
        await server.asked[0].closed.wait()
    server.deaf = True
    task = asyncio.ensure_future(answered(engine, asked()))
    async with asyncio.timeout(NEVER_SECONDS):
        while len(server.asked) < 2 or not server.asked[1].queries:
            await asyncio.sleep(0.01)
        task.cancel()
        await server.asked[1].closed.wait()
    assert not server.requests


async def test_two_people_share_no_connection(server: OmniVideoServer, engine: Engine) -> None:
    """Each question has a connection of its own, which ends with it, so that nothing stays there."""
    sounds = [Sound(np.full(SOUND_RATE, tone, np.int16), 0.0) for tone in (100, 200)]
    await asyncio.gather(
        *(
            answered(engine, asked(session_id=f"s{at}", question=f"{at}?", sound=sound))
            for at, sound in enumerate(sounds)
        )
    )
    assert len(server.asked) == 2
    for one in server.asked:
        at = int(one.queries[0][-2])
        assert one.sound == sounds[at].samples.tobytes()
        assert len(one.queries) == 1
        async with asyncio.timeout(NEVER_SECONDS):
            await one.closed.wait()
