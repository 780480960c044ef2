"""Sounds for the tests: voices of espeak-ng, noise, keys, music, a television. All repeatable."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from scripts.bench import voice_sounds
from scripts.bench.voice_sounds import (
    VOICES,
    Samples,
    make_hiss,
    make_keyboard_sound,
    make_music,
    make_rumble,
    make_silence,
    mix,
    set_level,
    synthesise_espeak,
)
from server.core.sound import SOUND_RATE, Sound

# For the tests beside their own
__all__ = [
    "VOICES",
    "Samples",
    "louder",
    "make_hiss",
    "make_keyboard_sound",
    "make_music",
    "make_rumble",
    "make_silence",
    "mix",
    "set_level",
    "synthesise_espeak",
]
# Samples of a piece as it comes from the microphone, 20 ms
PIECE = 320

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
HALVES = voice_sounds.SENTENCES
SENTENCES = tuple(" ".join(halves) for halves in HALVES)


def louder(sound: Samples, db: float) -> Samples:
    """Return a sound so many dB louder."""
    loud: Samples = np.clip(sound * 10 ** (db / 20), -32768, 32767).astype(np.int16)
    return loud


def television(seconds: float, level: float = -40, seed: int = 0) -> Samples:
    """Return voices that follow each other with short pauses, over music."""
    random = np.random.default_rng(seed)
    parts: list[Samples] = []
    length = 0
    while length < seconds * SOUND_RATE:
        voice = VOICES[random.integers(len(VOICES))]
        text = SENTENCES[random.integers(len(SENTENCES))]
        parts += [synthesise_espeak(text, voice), make_silence(random.uniform(0.15, 0.9))]
        length += len(parts[-1]) + len(parts[-2])
    voices = np.concatenate(parts)[: round(seconds * SOUND_RATE)]
    return set_level(mix(voices, make_music(seconds, seed, -38)), level)


def pieces(samples: Samples, captured: float = 0.0, size: int = PIECE) -> Iterator[Sound]:
    """Cut a sound as it comes from a microphone."""
    for begin in range(0, len(samples), size):
        yield Sound(samples[begin : begin + size], captured + begin / SOUND_RATE)


async def stream(*pieces: Sound) -> AsyncIterator[Sound]:
    """Give these pieces, one after the other."""
    for piece in pieces:
        yield piece
