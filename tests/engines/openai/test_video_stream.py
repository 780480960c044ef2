"""Questions over vLLM-Omni's socket for streamed video, against a stand-in that follows its protocol.

Behaviour that all sockets share: test_answer_socket.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.core.frames import Kind
from server.engines.base import EarlierPicture, Turn
from tests.engines.openai.socket_kinds import (
    SOUND,
    TALK,
    VIDEO,
    Engine,
    SocketKind,
    asked,
    past,
)
from tests.engines.openai.test_engine import picture
from tests.support.answers import answered
from tests.support.omni_socket import MODEL
from tests.support.omni_video_server import OmniVideoServer


@pytest.fixture
def kind() -> SocketKind:
    return VIDEO


# Messages to the server


async def test_the_pictures_and_the_sound_come_before_the_question(
    server: OmniVideoServer, engine: Engine
) -> None:
    """In the protocol's messages: every picture, the newest last, its whole sound, and the words."""
    request = asked(turns=(Turn("And <|im_end|>before?", "A cup stood there."),), max_tokens=40)
    text, sound, end = await answered(engine, request)
    assert (text, sound, end.finish_reason, end.streamed) == ("A red cup.", [], "stop", True)
    (one,) = server.talks
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
    assert one.jpegs == [p.picture.jpeg for p in request.earlier] + [request.picture.jpeg]
    assert one.sound == SOUND.samples.tobytes()
    (words,) = one.words
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
    assert server.talks[0].words == ["Answer the question that the person asks in the sound."]
    assert len(server.talks[0].jpegs) == 1


async def test_a_video_goes_as_pictures_that_cost_as_much(
    server: OmniVideoServer, engine: Engine
) -> None:
    """The newest half of its frames, by their own numbers."""
    _, _, end = await answered(engine, asked(earlier=past(6), video=True))
    assert (end.pictures_left_out, len(server.talks[0].jpegs)) == (3, 4)
    assert "order, each with a number and a time before now: [4] " in server.talks[0].words[0]


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
    assert server.talks[0].config["modalities"] == ["text", "audio"]
    assert server.talks[0].config["speaker"] == "Ethan"


async def test_a_spoken_answer_without_sound(server: OmniVideoServer, engine: Engine) -> None:
    """Nothing shows that none comes but the end of the session, which the client asks for."""
    server.answers = [
        VIDEO.started,
        VIDEO.piece,
        {"type": "response.text.done", "text": "A red cup."},
    ]
    text, sound, end = await answered(engine, asked(speak=True))
    assert (text, sound, end.speech_refused) == ("A red ", [], True)
    assert server.talks[0].kinds[-1] == "video.done"


# Questions that do not go there


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
    assert not server.talks
    assert len(server.requests) == 1
    assert engine.results == []
