"""Sounds for the tests: voices of espeak-ng, noise, keys, music, a television. All repeatable."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import wave
from collections.abc import Iterator

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.sound import SOUND_RATE, Sound

Samples = NDArray[np.int16]
# Samples of a piece as it comes from the microphone, 20 ms
PIECE = 320

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
SENTENCES = (
    "What is this in front of me?",
    "Please read the small print on the box.",
    "Where did I leave my keys this morning?",
    "Is the light above the door red or green?",
    "How many people are waiting over there?",
)
VOICES = ("en-us", "en-gb+f3", "en-gb-x-rp+m5", "de+f2", "fr", "es+m3")


@functools.cache
def spoken(text: str, voice: str = "en-us", speed: int = 165, pitch: int = 50) -> Samples:
    """Return a sentence without the silence around it, at -23 dBFS."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    out = subprocess.run(command, check=True, capture_output=True, timeout=20).stdout
    with wave.open(io.BytesIO(out)) as file:
        # A stream's header does not know the length.
        samples = np.frombuffer(file.readframes(10**8), np.int16)
        rate = file.getframerate()
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE)
    parts = [one.to_ndarray()[0] for one in (*resampler.resample(frame), *resampler.resample(None))]
    whole = np.concatenate(parts)
    loud = np.flatnonzero(np.abs(whole.astype(np.int32)) > 300)
    made = at_level(whole[loud[0] : loud[-1] + 1], -23)
    made.flags.writeable = False
    return made


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SOUND_RATE), np.int16)


def hiss(seconds: float, level: float = -60, seed: int = 0) -> Samples:
    """Return white noise."""
    return _noise(seconds, level, seed, 0)


def rumble(seconds: float, level: float = -40, seed: int = 0) -> Samples:
    """Return brown noise, as of a fan or a road."""
    return _noise(seconds, level, seed, 1)


def _noise(seconds: float, level: float, seed: int, slope: float) -> Samples:
    count = round(seconds * SOUND_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    steps = np.maximum(1, np.fft.rfftfreq(count, 1 / SOUND_RATE) / 50)
    return at_level(np.fft.irfft(spectrum / steps**slope, count), level)


def keys(seconds: float, seed: int = 0, peak: float = 0.3) -> Samples:
    """Return a keyboard: short bursts with a decay, four to nine a second."""
    random = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * SOUND_RATE))
    at = 0.1
    while at < seconds - 0.1:
        length = int(random.uniform(0.008, 0.03) * SOUND_RATE)
        burst = random.standard_normal(length) * np.exp(-np.linspace(0, 6, length))
        begin = int(at * SOUND_RATE)
        sound[begin : begin + length] += burst * random.uniform(0.3, 1) * peak / 3
        at += random.uniform(0.11, 0.25)
    return _whole(sound * 32767)


def music(seconds: float, seed: int = 0, level: float = -26) -> Samples:
    """Return chords of plucked and held notes with overtones, and a drum."""
    random = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * SOUND_RATE))
    beat = 0.4
    for number in range(int(seconds / beat)):
        begin = int(number * beat * SOUND_RATE)
        length = min(int(beat * 2 * SOUND_RATE), len(sound) - begin)
        t = np.arange(length) / SOUND_RATE
        root = 110 * 2 ** (random.integers(0, 24) / 12)
        for interval in (0, 4, 7):
            note = root * 2 ** (interval / 12)
            tone = sum(np.sin(2 * np.pi * note * k * t) / k for k in range(1, 6))
            sound[begin : begin + length] += tone * np.exp(-3 * t)
        drum = random.standard_normal(length) * np.exp(-40 * t)
        sound[begin : begin + length] += drum * 2
    return at_level(sound, level)


def television(seconds: float, level: float = -40, seed: int = 0) -> Samples:
    """Return voices that follow each other with short pauses, over music."""
    random = np.random.default_rng(seed)
    parts: list[Samples] = []
    length = 0
    while length < seconds * SOUND_RATE:
        voice = VOICES[random.integers(len(VOICES))]
        text = SENTENCES[random.integers(len(SENTENCES))]
        parts += [spoken(text, voice), silence(random.uniform(0.15, 0.9))]
        length += len(parts[-1]) + len(parts[-2])
    voices = np.concatenate(parts)[: round(seconds * SOUND_RATE)]
    return at_level(mixed(voices, music(seconds, seed, -38)), level)


def at_level(sound: NDArray[np.generic], level: float) -> Samples:
    """Return a sound at this level, dBFS."""
    exact = sound.astype(np.float64)
    rms = np.sqrt((exact**2).mean()) or 1
    return _whole(exact * (10 ** (level / 20) * 32768 / rms))


def louder(sound: Samples, db: float) -> Samples:
    return _whole(sound.astype(np.float64) * 10 ** (db / 20))


def mixed(sound: Samples, *others: Samples) -> Samples:
    """Return sounds at the same time; others that are shorter end earlier."""
    sum = sound.astype(np.float64)
    for other in others:
        sum[: len(other)] += other[: len(sum)]
    return _whole(sum)


def _whole(sound: NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def pieces(samples: Samples, captured: float = 0.0, size: int = PIECE) -> Iterator[Sound]:
    """Cut a sound as it comes from a microphone."""
    for begin in range(0, len(samples), size):
        yield Sound(samples[begin : begin + size], captured + begin / SOUND_RATE)
