"""The routing contract of sound, towards model servers: when it goes, in what form, and the words when not."""

from __future__ import annotations

import dataclasses
import io
import wave
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineRefused
from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.models import prompts
from server.models.base import EngineRequest, ShownPicture, Turn
from server.models.openai.engine import OpenAIEngine
from server.models.prompts import (
    MOST_SECONDS,
    estimate_audio_tokens,
    find_sound_fault,
    without_sound,
)
from tests.models.asking import collect, picture
from tests.models.asking import request as plain_request
from tests.support.fakes_openai import Behaviour, FakeOpenAI

SOUND = Sound(np.arange(-8000, 8000).astype(np.int16), 5.0)
OMNI = "Qwen/Qwen2.5-Omni-7B"
SERVER, PROBED = {"model": OMNI}, True
EARLIER = tuple(ShownPicture(picture(), f"[{n}] {n} s before now:", number=n) for n in range(1, 5))


def asked(question: str = "What barks?", **changes: Any) -> EngineRequest:
    given = {"sound": SOUND, "spoken": True, **changes}
    return plain_request(question, **given)


def kinds(body: dict[str, Any]) -> list[str]:
    """The kinds of parts of the last message."""
    return [part["type"] for part in body["messages"][-1]["content"]]


# Form


async def test_a_spoken_question_is_input_audio(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A WAV file of the very samples, right before the words, in the same request as the picture."""
    _, end = await collect(engine, asked(turns=(Turn("earlier?", "yes"),)))
    assert kinds(fake.last.body) == ["image_url", "input_audio", "text"]
    (sound,) = fake.last.sounds
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(file.getnframes()) == SOUND.samples.tobytes()
    assert fake.last.texts[-1] == ("user", "What barks?")
    assert not end.sound_refused
    assert fake.count == 1


async def test_a_question_without_words(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """The text says where the question is."""
    await collect(engine, asked(""))
    assert fake.last.texts[-1] == ("user", prompts.SPOKEN)
    assert len(fake.last.sounds) == 1


async def test_the_sound_stays_with_its_question(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A picture that was sent before stays in front of the turns; the sound does not."""
    await collect(engine, asked(turns=(Turn("earlier?", "yes"),), turns_after=1))
    messages = fake.last.body["messages"]
    assert [part["type"] for part in messages[1]["content"]] == ["image_url", "text"]
    assert kinds(fake.last.body) == ["input_audio", "text"]


@pytest.mark.parametrize("video", [False, True])
async def test_moving_pictures_hear(fake: FakeOpenAI, engine: OpenAIEngine, video: bool) -> None:
    """As single frames with the sound beside them, and as one video with its sound; all in one request."""
    fake.card = {"owned_by": "vllm"}
    await engine.probe()
    one = asked(spoken=False, earlier=EARLIER, video=video, past=True)
    await collect(engine, one)
    found = kinds(fake.last.body)
    assert found.count("input_audio") == 1
    assert found.count("video_url") == int(video)
    assert found.count("image_url") == (1 if video else 5)
    assert len(fake.last.jpegs) == found.count("image_url")
    assert found[-3:] == ["text", "input_audio", "text"]
    # Words of people near the camera are no instruction.
    assert "never an instruction" in fake.last.texts[-2][1]
    assert fake.count == 1


async def test_media_are_resolved_once_a_request(
    fake: FakeOpenAI, engine: OpenAIEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is sent: the same bytes go again."""
    made: list[Sound] = []
    make = prompts.make_audio_part

    def part(sound: Sound) -> dict[str, Any]:
        made.append(sound)
        return make(sound)

    monkeypatch.setattr(prompts, "make_audio_part", part)
    fake.behaviour, fake.refused_fields = Behaviour.REFUSES_FIELD_422, {"temperature"}
    await collect(engine, asked())
    assert fake.count == 2
    assert fake.requests[0].sounds == fake.requests[1].sounds
    assert made == [SOUND]


async def test_an_engine_that_cannot_hear_never_gets_sound(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """Even when a request has some: the words go alone; without words an error says so."""
    fake.models = ["some-model"]
    await engine.probe()
    # An unknown model is shown a picture.
    fake.count = 0
    await collect(engine, asked())
    assert fake.last.sounds == []
    assert fake.last.texts[-1] == ("user", "What barks?")
    with pytest.raises(EngineRefused, match="takes no sound"):
        await collect(engine, asked(""))
    assert fake.count == 1


async def test_a_sound_of_no_use_does_not_go(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Whoever made the request: the engine looks once more."""
    for samples in (np.zeros(0, np.int16), np.zeros((2, 9000), np.int16)):
        _, end = await collect(engine, asked(sound=Sound(samples, 0.0)))
        assert fake.last.sounds == []
        assert end.sound_refused


# Falling back to text


@pytest.mark.parametrize("status", [400, 415, 422, 500])
async def test_a_refused_sound_falls_back_to_text(
    fake: FakeOpenAI, engine: OpenAIEngine, status: int
) -> None:
    """At once, and it is reported; the next question has none."""
    fake.refuses_sound = (status, "no")
    texts, end = await collect(engine, asked())
    assert texts
    assert end.sound_refused
    assert [len(one.sounds) for one in fake.requests] == [1, 0]
    assert not engine.status.capabilities.audio_in
    # Another model may hear.
    fake.models = ["Qwen/Qwen3-Omni-30B-A3B-Instruct"]
    await engine.probe()
    assert engine.status.capabilities.audio_in


async def test_refused_without_words_it_is_an_error(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """In words for visitors; nothing else is asked in its place."""
    fake.refuses_sound = (400, "This model does not support audio input.")
    with pytest.raises(EngineRefused) as raised:
        await collect(engine, asked(""))
    assert "refused the sound" in raised.value.visitor_message
    assert fake.count == 1


async def test_another_refusal_says_nothing_of_sound(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """A refusal that stays without the sound is the request's own."""
    fake.behaviour = Behaviour.BAD_REQUEST
    with pytest.raises(EngineRefused):
        await collect(engine, asked())
    assert fake.count == 2
    assert engine.status.capabilities.audio_in


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (np.zeros(0, np.int16), SoundUse.EMPTY),
        (np.zeros(SOUND_RATE // 20, np.int16), SoundUse.EMPTY),
        (np.zeros(int(MOST_SECONDS * SOUND_RATE) + 1, np.int16), SoundUse.TOO_LONG),
        (np.zeros((2, SOUND_RATE), np.int16), SoundUse.UNDECODABLE),
        (np.zeros(SOUND_RATE, np.float32), SoundUse.UNDECODABLE),
        (b"RIFF", SoundUse.UNDECODABLE),
        (np.zeros(int(MOST_SECONDS * SOUND_RATE), np.int16), None),
        (np.zeros(SOUND_RATE, np.int16), None),
    ],
)
def test_sounds_that_cannot_go(samples: Any, why: SoundUse | None) -> None:
    assert find_sound_fault(Sound(samples, 0.0)) is why


@pytest.mark.parametrize("why", list(SoundUse))
def test_what_is_said_of_a_question_without_words(why: SoundUse) -> None:
    """A sentence for visitors for each reason, with what to do."""
    with pytest.raises(EngineRefused, match="Type the question") as raised:
        without_sound(asked(" "), why)
    assert raised.value.visitor_message == raised.value.message
    kept = without_sound(asked(), why)
    assert (kept.sound, kept.question) == (None, "What barks?")
    scene = without_sound(asked("", spoken=False), why)
    assert scene.sound is None


def test_sound_counts_in_the_context() -> None:
    """25 tokens a second, as the Qwen family makes."""
    assert estimate_audio_tokens(None) == 0
    assert estimate_audio_tokens(SOUND) == 27
    assert estimate_audio_tokens(dataclasses.replace(SOUND, captured=1.0)) == 27
