"""Sound in a request: the check that an engine takes it, its form for model servers, its cost. Pure."""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Any

import numpy as np

from server.core.errors import EngineRefused
from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.media.sound.pcm import wav
from server.models.base import EngineRequest

# Seconds of sound in one request; shorter than the least is no word and no noise.
MOST_SECONDS = 60.0
LEAST_SECONDS = 0.1
# Seconds of the scene's sound that go with pictures: at most, and with a single one
SCENE_SECONDS = 30.0
LEAST_SCENE_SECONDS = 4.0
# Tokens of a second of sound in the Qwen family (25 frames a second), and its marks
_TOKENS_A_SECOND = 25
_MARK_TOKENS = 2


def fault(sound: Sound) -> SoundUse | None:
    """Return the reason why a sound cannot go to any engine; None for one that can."""
    samples = sound.samples
    if not isinstance(samples, np.ndarray) or samples.dtype != np.int16 or samples.ndim != 1:
        return SoundUse.UNDECODABLE
    if sound.seconds < LEAST_SECONDS:
        return SoundUse.EMPTY
    return SoundUse.TOO_LONG if sound.seconds > MOST_SECONDS else None


def audio_part(sound: Sound) -> dict[str, Any]:
    """Return a message's part with a sound as a WAV file, in the form of OpenAI's API."""
    data = base64.b64encode(wav(sound.samples.tobytes(), SOUND_RATE)).decode("ascii")
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def audio_tokens(sound: Sound | None) -> int:
    """Estimate a sound's tokens in a prompt."""
    if sound is None:
        return 0
    return math.ceil(sound.seconds * _TOKENS_A_SECOND) + _MARK_TOKENS


def checked(request: EngineRequest, audio_in: bool) -> EngineRequest:
    """Return a request without a sound that cannot go to an engine: the last check before it does.

    Raises EngineRefused as `without_sound`.
    """
    if request.sound is None:
        return request
    wrong = fault(request.sound) if audio_in else SoundUse.DEAF
    return request if wrong is None else without_sound(request, wrong)


def without_sound(request: EngineRequest, why: SoundUse) -> EngineRequest:
    """Fall back to the request's text. Raises EngineRefused when the sound was all of the question."""
    if request.sound_is_question and not request.question.strip():
        raise unheard(why)
    return dataclasses.replace(request, sound=None, sound_use=why)


def unheard(why: SoundUse) -> EngineRefused:
    """Return the error of a question that only its sound had."""
    return EngineRefused(f"{_UNHEARD[why]} Type the question, or say it again.", public=True)


_UNHEARD = {
    SoundUse.HEARD: "The question was not understood.",
    SoundUse.DEAF: "This model cannot hear, and nothing else makes words of speech here.",
    SoundUse.MISSING: "No sound of the question arrived.",
    SoundUse.EMPTY: "The question had no sound.",
    SoundUse.TOO_LONG: f"The question was longer than {MOST_SECONDS:g} seconds.",
    SoundUse.UNDECODABLE: "The sound of the question could not be read.",
    SoundUse.REFUSED: "The model did not take the sound of the question.",
}
