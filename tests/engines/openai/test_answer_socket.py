"""Behaviour that all sockets for questions share, against a stand-in for each kind."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineFailed, EngineTimeout
from server.core.sound import SOUND_RATE, Sound
from server.engines.base import Delta
from server.engines.openai.engine import OpenAIEngine
from tests.engines.openai.socket_kinds import (
    DUPLEX,
    PATIENT,
    VIDEO,
    Engine,
    OmniKind,
    SocketKind,
    engine_of,
    past,
)
from tests.support.answers import answered
from tests.support.omni_duplex_server import done
from tests.support.omni_socket import MODEL, Answer
from tests.support.timing import NEVER_SECONDS, at_once

# Answers


async def test_a_text_that_comes_in_one_piece(
    kind: SocketKind, server: OmniKind, engine: Engine
) -> None:
    """Of a server that is set to gather it."""
    server.answers = [kind.started, *kind.at_once]
    text, _, end = await answered(engine, kind.ask())
    assert (text, end.finish_reason) == ("A red cup.", "stop")


async def test_an_answer_is_as_long_as_it_may_be(
    kind: SocketKind, server: OmniKind, engine: Engine
) -> None:
    """Also where the server goes on, or knows no limit: it is stopped."""
    server.answers, server.endless = [kind.started], kind.piece
    request = kind.ask(max_tokens=5)
    text, _, end = await answered(engine, request)
    # A spoken answer has one piece more.
    assert (text, end.finish_reason) == ("A red " * (5 + request.speak), "length")
    await server.gone()
    assert server.held == 0


# Servers that are not asked over it


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
    kind: SocketKind, server: OmniKind, wanted: bool, model: str, paths: dict[str, Any]
) -> None:
    """Not even its address is tried. It is off by default, too."""
    server.model, server.models = model, [model]
    server.others = {"/openapi.json": {"paths": paths}}
    engine = await engine_of(kind, server, **{kind.wanted: wanted})
    unset = OpenAIEngine(name="vllm", base_url=server.base_url, limits=PATIENT)
    await unset.probe()
    try:
        for one in (engine, unset):
            await answered(one, kind.ask(question="What is this?"))
    finally:
        await engine.close()
        await unset.close()
    assert not server.talks
    assert len(server.requests) == 2


# Falling back


@pytest.mark.parametrize(
    ("kind", "changes", "answers"),
    [
        (VIDEO, {"offered": False}, None),
        (VIDEO, {"deployed": False}, None),
        (VIDEO, {}, [None]),
        (VIDEO, {}, ["nonsense"]),
        (VIDEO, {}, ["[1]"]),
        (VIDEO, {}, [VIDEO.error]),
        (VIDEO, {}, [VIDEO.started, VIDEO.error]),
        (VIDEO, {}, [VIDEO.started, {"type": "response.text.done", "text": ""}]),
        # Release 0.30.0 ends a failed question so, too.
        (VIDEO, {}, [VIDEO.error, {"type": "response.text.done", "text": ""}]),
        (VIDEO, {}, [{"type": "video.frame.ack", "accepted": False}]),
        (VIDEO, {}, [VIDEO.started, "x" * 300_000]),
        (DUPLEX, {"offered": False}, None),
        (DUPLEX, {"deployed": False}, None),
        (DUPLEX, {"sees": False}, None),
        (DUPLEX, {"opening": [None]}, None),
        (DUPLEX, {"opening": ["nonsense"]}, None),
        (DUPLEX, {"opening": [b"\x00\x01"]}, None),
        (DUPLEX, {"opening": [{"type": "session.created", "session": []}]}, None),
        (DUPLEX, {"opening": [DUPLEX.error]}, None),
        (DUPLEX, {}, [None]),
        (DUPLEX, {}, ["[1]"]),
        (DUPLEX, {}, [b"\x00" * 100]),
        (DUPLEX, {}, [DUPLEX.started, DUPLEX.error]),
        (DUPLEX, {}, [DUPLEX.started, done("failed")]),
        (DUPLEX, {}, [DUPLEX.started, done("completed")]),
        (DUPLEX, {}, [DUPLEX.started, {"type": "response.done", "response": "completed"}]),
        (DUPLEX, {}, [{"type": "response.listen", "reason": "secret words"}]),
        (DUPLEX, {}, [DUPLEX.started, {"type": "session.expired", "reason": "secret words"}]),
        (DUPLEX, {}, [DUPLEX.started, "x" * 4_300_000]),
    ],
)
async def test_a_socket_that_gives_no_answer(
    kind: SocketKind,
    server: OmniKind,
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
        text, _, end = await answered(engine, kind.ask(earlier=past(3)))
        assert (text, end.streamed) == ("I see a cup.", False)
    assert len(server.requests) == 2
    assert len(server.requests[0].jpegs) == 4
    assert len(server.requests[0].sounds) == 1
    assert engine.results == [False]
    assert len(server.talks) <= 1
    lines = [one for one in caplog.records if "socket is not used" in one.getMessage()]
    assert len(lines) == 1
    assert "secret words" not in json.dumps([str(vars(one)) for one in caplog.records])


async def test_it_goes_nowhere_else(kind: SocketKind, server: OmniKind, engine: Engine) -> None:
    """A redirect is a socket that is not there."""
    async with kind.server() as other:
        server.redirect = f"ws://127.0.0.1:{other.port}{kind.path}"
        _, _, end = await answered(engine, kind.ask())
        assert not end.streamed
        assert not other.talks


async def test_a_server_that_does_not_begin(
    kind: SocketKind, server: OmniKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a part of the time; the rest is for the chat interface."""
    monkeypatch.setattr("server.engines.openai.answer_socket._BEGINNING", 1 / 200)
    server.deaf = True
    limits = replace(PATIENT, first_token=NEVER_SECONDS, total=NEVER_SECONDS)
    engine = await engine_of(kind, server, limits=limits)
    try:
        async with at_once():
            text, _, end = await answered(engine, kind.ask())
        assert (text, end.streamed) == ("I see a cup.", False)
        await server.gone()
        assert server.held == 0
    finally:
        await engine.close()


async def test_a_server_that_breaks_in_mid_answer(
    kind: SocketKind, server: OmniKind, engine: Engine
) -> None:
    """No second answer begins behind half of one, and nothing of the server's words is quoted."""
    for broken in (None, kind.error, "nonsense", *kind.breaks):
        server.answers = [kind.started, kind.piece, broken]
        with pytest.raises(EngineFailed) as raised:
            await answered(engine, kind.ask())
        assert "secret words" not in raised.value.message
        await server.gone()
        # A broken connection does not hear that the session is over.
        server.talks.clear()
    assert not server.requests


@pytest.mark.parametrize("begun", [False, True])
async def test_a_server_that_falls_silent(
    kind: SocketKind, server: OmniKind, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun, and its time ends."""
    # All of the time for the first token, so that this can be short
    monkeypatch.setattr("server.engines.openai.answer_socket._BEGINNING", 1)
    server.answers = [kind.started, *[kind.piece] * begun]
    limits = replace(PATIENT, first_token=0.6, between_tokens=0.4)
    engine = await engine_of(kind, server, limits=limits)
    try:
        with pytest.raises(EngineTimeout):
            await answered(engine, kind.ask())
        await server.gone()
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("kind", "endless"),
    [
        (VIDEO, {"type": "pong"}),
        (VIDEO, {"type": "response.text.delta", "delta": ""}),
        (DUPLEX, {"type": "pong"}),
        (DUPLEX, {"type": "response.output_audio_transcript.delta", "delta": ""}),
        (DUPLEX, {"type": "response.output_audio.delta", "delta": "!"}),
        (
            DUPLEX,
            {
                "type": "session.created",
                "session": {"capabilities": {"supports_image_input": True}},
            },
        ),
    ],
    ids=[
        "video: events of nothing",
        "video: pieces of nothing",
        "duplex: events of nothing",
        "duplex: pieces of nothing",
        "duplex: sound that is none",
        "duplex: sessions",
    ],
)
async def test_a_server_that_never_ends(
    kind: SocketKind, server: OmniKind, endless: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of its messages are read than the limit, whatever is in them."""
    monkeypatch.setattr("server.engines.openai.answer_socket._MOST_MESSAGES", 500)
    monkeypatch.setattr("server.engines.openai.answer_socket.STREAM_BYTES", 2**40)
    server.answers, server.endless = [kind.started], endless
    engine = await engine_of(kind, server)
    try:
        text, _, end = await answered(engine, kind.ask())
        assert (text, end.streamed) == ("I see a cup.", False)
        await server.gone()
        assert server.talks[0].kinds.count(kind.question) == 1
    finally:
        await engine.close()


# Leaving


async def test_leaving_ends_it_at_once(kind: SocketKind, server: OmniKind, engine: Engine) -> None:
    """In mid-answer, and before it begins: a server that would keep the session of a client that is gone hears so."""
    server.answers, server.endless = [kind.started, kind.piece], 0.05
    async with aclosing(engine.answer(kind.ask())) as chunks:
        assert await anext(chunks) == Delta("A red ")
    await server.gone()
    assert (server.held, server.talks[0].kinds[-1]) == (0, kind.farewell)
    server.deaf = True
    task = asyncio.ensure_future(answered(engine, kind.ask()))
    async with asyncio.timeout(NEVER_SECONDS):
        while len(server.talks) < 2 or kind.question not in server.talks[1].kinds:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await server.gone()
    assert (server.held, server.talks[1].kinds[-1]) == (0, kind.farewell)
    assert not server.requests


async def test_two_people_share_nothing_there(
    kind: SocketKind, server: OmniKind, engine: Engine
) -> None:
    """Each question has a connection of its own, which ends with it, so that nothing stays there."""
    server.most_sessions = 2
    sounds = [Sound(np.full(SOUND_RATE, tone, np.int16), 0.0) for tone in (1000, 2000)]
    await asyncio.gather(
        *(
            answered(
                engine,
                kind.ask(session_id=f"s{at}", question=f"{at}?", sound=sound, earlier=past(at + 1)),
            )
            for at, sound in enumerate(sounds)
        )
    )
    assert len(server.talks) == 2
    for at, one in enumerate(server.talks):
        await server.gone(at)
        (words,) = one.words
        whose = int(words[-2])
        assert one.sound == sounds[whose].samples.tobytes()
        assert len(one.jpegs) == whose + 2
    assert server.held == 0
