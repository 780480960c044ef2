"""Spoken questions over vLLM-Omni's duplex interface, against a stand-in that follows its release 0.30.0.

Behaviour that all sockets share: test_answer_socket.py.
"""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineFailed
from server.core.frames import Detail, Kind
from server.core.sound import SOUND_RATE
from server.engines.base import Delta, EarlierPicture, Turn
from server.voice.pcm import VoiceChunk
from tests.engines.openai.socket_kinds import (
    DUPLEX,
    PAUSES,
    TALK,
    Engine,
    SocketKind,
    engine_of,
    past,
    spoken,
)
from tests.engines.openai.test_engine import picture
from tests.support.answers import answered
from tests.support.omni_duplex_server import STARTED, OmniDuplexServer, done
from tests.support.omni_socket import MODEL
from tests.support.omni_video_server import OmniVideoServer


@pytest.fixture
def kind() -> SocketKind:
    return DUPLEX


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
    await server.gone()
    (one,) = server.talks
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
    assert one.sound == PAUSES.samples.tobytes()
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
    server.answers, server.endless = [STARTED, DUPLEX.piece], 0.05
    async with aclosing(engine.answer(spoken())) as chunks:
        assert await anext(chunks) == Delta("A red ")


@pytest.mark.parametrize("most", [None, 4])
async def test_no_more_pictures_than_it_takes(most: int | None) -> None:
    """Eight, and 4 MiB as data URLs: the newest ones."""
    async with OmniDuplexServer() as server:
        engine = await engine_of(DUPLEX, server)
        if most is not None:
            engine._server.learn_pictures(most)
        try:
            _, _, end = await answered(engine, spoken(earlier=past(11)))
            assert (end.pictures_left_out, len(server.talks[0].jpegs)) == (
                (4, 8) if most is None else (8, 4)
            )
            large = picture(b"\xff\xd8" + bytes(1_400_000))
            earlier = tuple(EarlierPicture(large, one.caption, one.number) for one in past(5))
            await server.gone()
            _, _, end = await answered(engine, spoken(earlier=earlier))
            assert end.streamed
            assert end.pictures_left_out == 3
        finally:
            await engine.close()


async def test_an_answer_without_sound(server: OmniDuplexServer, engine: Engine) -> None:
    """The page is told, so that it speaks itself."""
    server.answers = [STARTED, DUPLEX.piece, done("completed")]
    text, sound, end = await answered(engine, spoken())
    assert (text, sound, end.speech_refused) == ("A red ", [], True)


# Questions that do not go there


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
    assert not server.talks
    assert len(server.requests) == 1
    assert engine.results == []


async def test_a_question_is_tried_at_one_socket_alone() -> None:
    """With both wanted and the first not there, the second has its turn; never both at once."""
    async with OmniVideoServer() as server:
        engine = await engine_of(DUPLEX, server, video_socket=True)
        try:
            _, _, end = await answered(engine, spoken())
            assert (end.streamed, server.talks) == (False, [])
            _, _, end = await answered(engine, spoken())
            assert (end.streamed, len(server.talks)) == (True, 1)
        finally:
            await engine.close()
        assert engine.results == [False]


# Falling back


async def test_a_session_that_takes_no_pictures_gets_none(
    server: OmniDuplexServer, engine: Engine
) -> None:
    server.sees = False
    await answered(engine, spoken())
    await server.gone()
    assert server.talks[0].kinds == ["session.update", "session.close"]


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


async def test_sound_without_an_end(
    server: OmniDuplexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it has a bound in bytes, and with it in minutes."""
    monkeypatch.setattr("server.engines.openai.answer_socket.STREAM_BYTES", 1_000_000)
    noise = base64.b64encode(bytes(96_000)).decode()
    server.answers, server.endless = (
        [STARTED, DUPLEX.piece],
        {"type": "response.output_audio.delta", "delta": noise},
    )
    engine = await engine_of(DUPLEX, server)
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
