"""Sounds for a simulated microphone: speech from espeak-ng or a file, imitated speech, and noise.

All sounds are mono, 16 bits, at `RATE`, and the same each time.
"""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from scripts.bench.processes import MeasurementError

RATE = 16_000
# Level of speech, dBFS
SPEECH_DB = -23.0
# Maximum length of a file, so that a turn of 30 s contains it
MOST_FILE_SECONDS = 25.0
Samples = NDArray[np.int16]
# Each in two halves, between which a person may pause
SENTENCES = (
    ("What is this", "in front of me?"),
    ("Please read the small print", "on the box."),
    ("Where did I leave my keys", "this morning?"),
    ("Is the light above the door", "red or green?"),
    ("How many people", "are waiting over there?"),
)
VOICES = ("en-us", "en-gb+f3", "en-gb-x-rp+m5", "de+f2", "fr", "es+m3")


@dataclass(frozen=True, slots=True)
class Speech:
    """A source of spoken sentences, by number, without surrounding silence."""

    # The origin of the sounds, for the report
    name: str
    sentence: Callable[[int], Samples]
    # A sentence in two parts
    halves: Callable[[int], tuple[Samples, Samples]]


def find_speech(file: Path | None) -> Speech:
    """Return the best source: the given file, espeak-ng, or imitated speech. Raises MeasurementError."""
    if file is not None:
        said = read_sound(file)
        return Speech(file.name, lambda _number: said, lambda _number: (said, said))
    if shutil.which("espeak-ng"):
        return Speech("espeak-ng", _make_sentence, _make_halves)
    return Speech(
        "imitated syllables (espeak-ng is not installed)",
        lambda number: make_syllables(10, _make_seed(number)),
        lambda number: (
            make_syllables(5, _make_seed(2 * number)),
            make_syllables(5, _make_seed(2 * number + 1)),
        ),
    )


def _make_sentence(number: int) -> Samples:
    return synthesise_espeak(" ".join(SENTENCES[number % len(SENTENCES)]), _choose_voice(number))


def _make_halves(number: int) -> tuple[Samples, Samples]:
    first, second = SENTENCES[number % len(SENTENCES)]
    return synthesise_espeak(first, _choose_voice(number)), synthesise_espeak(
        second, _choose_voice(number)
    )


def _choose_voice(number: int) -> str:
    return VOICES[number // len(SENTENCES) % len(VOICES)]


def read_sound(path: Path) -> Samples:
    """Return the sound of a file without surrounding silence. Raises MeasurementError."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    parts: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MeasurementError(f"{path} has no sound")
            for frame in container.decode(audio=0):
                parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
    except (OSError, av.error.FFmpegError) as error:
        raise MeasurementError(f"{path} cannot be read as sound ({error.strerror})") from None
    parts += [one.to_ndarray()[0] for one in resampler.resample(None)] if parts else []
    found = _trim(parts)
    if not len(found):
        raise MeasurementError(f"{path} is silent: record somebody who speaks one sentence")
    if len(found) > MOST_FILE_SECONDS * RATE:
        raise MeasurementError(
            f"{path} has {len(found) / RATE:.0f} s of sound; the maximum is {MOST_FILE_SECONDS:.0f} s"
        )
    return found


@functools.cache
def synthesise_espeak(text: str, voice: str = "en-us") -> Samples:
    """Return a sentence spoken by espeak-ng, without surrounding silence, at `SPEECH_DB`."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", "165", "-p", "50", text]
    out = subprocess.run(command, check=True, capture_output=True, timeout=20).stdout
    with wave.open(io.BytesIO(out)) as file:
        # The header of a streamed file does not contain the length.
        samples = np.frombuffer(file.readframes(10**8), np.int16)
        rate = file.getframerate()
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    parts = [one.to_ndarray()[0] for one in (*resampler.resample(frame), *resampler.resample(None))]
    made = set_level(_trim(parts), SPEECH_DB)
    made.flags.writeable = False
    return made


def write_sound(path: Path, sound: Samples) -> Path:
    """Write a sound as a WAV file. Return its path."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sound.tobytes())
    return path


def _trim(parts: Sequence[Samples]) -> Samples:
    """Return a sound without surrounding silence; empty if it contains nothing else."""
    whole = np.concatenate([np.zeros(0, np.int16), *parts])
    loud = np.flatnonzero(np.abs(whole.astype(np.int32)) > 300)
    return whole[loud[0] : loud[-1] + 1] if len(loud) else whole[:0]


# Formants of five vowels, Hz (Peterson and Barney 1952, men), and their widths
_VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
_WIDTHS = (80, 100, 140)
_STEP = 0.005


# Seeds whose sequence of vowels the server's detector accepts as speech
SYLLABLE_SEEDS = (23, 27, 30, 35, 36, 37, 48, 49)


def _make_seed(number: int) -> int:
    return SYLLABLE_SEEDS[number % len(SYLLABLE_SEEDS)]


@functools.cache
def make_syllables(count: int, seed: int = SYLLABLE_SEEDS[0]) -> Samples:
    """Return syllables of 0.2 s: harmonics below moving formants."""
    random = np.random.default_rng(seed)
    length = 0.2
    steps = round(count * length / _STEP)
    at = np.arange(steps) * _STEP
    vowels = np.array([_VOWELS[random.integers(5)] for _ in range(count + 1)], float)
    place = at / length
    which = place.astype(int)
    # Half of a syllable is its vowel, the rest the transition to the next one.
    way = np.clip((place - which) * 2 - 1, 0, 1)[:, None]
    formants = vowels[which] * (1 - way) + vowels[which + 1] * way
    pitch = 130 - 25 * at / at[-1] + 6 * np.sin(2 * np.pi * 2.3 * at) + random.normal(0, 1, steps)
    loudness = 0.15 + 0.85 * np.sin(np.pi * (place - which)) ** 0.7
    samples = round(count * length * RATE)
    times = np.arange(samples) / RATE
    phase = 2 * np.pi * np.cumsum(np.interp(times, at, pitch)) / RATE
    sound = np.zeros(samples)
    for number in range(1, 32):
        hertz = number * pitch
        gain = sum(
            weight / (1 + ((hertz - formants[:, index]) / (_WIDTHS[index] / 2)) ** 2) ** 0.5
            for index, weight in enumerate((1.0, 0.6, 0.3))
        )
        sound += np.interp(times, at, gain * loudness / number**0.5) * np.sin(number * phase)
    for number in range(1, count):
        # A fricative before every other vowel
        if random.random() < 0.5:
            begin = round((number * length - 0.03) * RATE)
            hiss = np.diff(random.standard_normal(round(0.05 * RATE) + 1))
            sound[begin : begin + len(hiss)] += hiss * np.hanning(len(hiss)) * sound.std() * 0.4
    made = set_level(sound, SPEECH_DB)
    made.flags.writeable = False
    return made


# Noise


def make_silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def make_hiss(seconds: float, level: float = -60, seed: int = 0) -> Samples:
    """Return white noise."""
    return _make_noise(seconds, level, seed, 0)


def make_rumble(seconds: float, level: float = -40, seed: int = 0) -> Samples:
    """Return brown noise, as of a fan or a road."""
    return _make_noise(seconds, level, seed, 1)


def _make_noise(seconds: float, level: float, seed: int, slope: float) -> Samples:
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    steps = np.maximum(1, np.fft.rfftfreq(count, 1 / RATE) / 50)
    return set_level(np.fft.irfft(spectrum / steps**slope, count), level)


def make_keyboard_sound(seconds: float, seed: int = 0, peak: float = 0.3) -> Samples:
    """Return the sound of a keyboard: short decaying bursts, four to nine per second."""
    random = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * RATE))
    at = 0.1
    while at < seconds - 0.1:
        length = int(random.uniform(0.008, 0.03) * RATE)
        burst = random.standard_normal(length) * np.exp(-np.linspace(0, 6, length))
        begin = int(at * RATE)
        sound[begin : begin + length] += burst * random.uniform(0.3, 1) * peak / 3
        at += random.uniform(0.11, 0.25)
    return _to_whole_packets(sound * 32767)


def make_music(seconds: float, seed: int = 0, level: float = -26) -> Samples:
    """Return chords of plucked and held notes with overtones, and a drum."""
    random = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * RATE))
    beat = 0.4
    for number in range(int(seconds / beat)):
        begin = int(number * beat * RATE)
        length = min(int(beat * 2 * RATE), len(sound) - begin)
        t = np.arange(length) / RATE
        root = 110 * 2 ** (random.integers(0, 24) / 12)
        for interval in (0, 4, 7):
            note = root * 2 ** (interval / 12)
            tone = sum(np.sin(2 * np.pi * note * k * t) / k for k in range(1, 6))
            sound[begin : begin + length] += tone * np.exp(-3 * t)
        drum = random.standard_normal(length) * np.exp(-40 * t)
        sound[begin : begin + length] += drum * 2
    return set_level(sound, level)


def make_noises(seconds: float) -> dict[str, Samples]:
    """Return noises by name, each of this length."""
    return {
        "hiss": make_hiss(seconds, -35),
        "rumble": make_rumble(seconds, -30),
        "keys": make_keyboard_sound(seconds),
        "music": make_music(seconds),
    }


def set_level(sound: NDArray[np.generic], level: float) -> Samples:
    """Return a sound at this level, dBFS."""
    exact = sound.astype(np.float64)
    rms = np.sqrt((exact**2).mean()) or 1
    return _to_whole_packets(exact * (10 ** (level / 20) * 32768 / rms))


def mix(sound: Samples, *others: Samples) -> Samples:
    """Return the sum of sounds that start at the same time; shorter `others` end earlier."""
    sum = sound.astype(np.float64)
    for other in others:
        sum[: len(other)] += other[: len(sum)]
    return _to_whole_packets(sum)


def measure_level(samples: NDArray[np.generic]) -> float:
    """Return the level of a sound, dBFS; -96 for silence."""
    power = float((samples.astype(np.float64) ** 2).mean()) / 32768**2 if len(samples) else 0.0
    return max(-96.0, float(10 * np.log10(max(power, 1e-12))))


def _to_whole_packets(sound: NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
