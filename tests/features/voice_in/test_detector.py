"""Speech is found in voices, and in nothing else; the shipped model is the one that was chosen."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.core.sound import Sound
from server.features.voice_in.detector import (
    CHUNK,
    CHUNK_SECONDS,
    MODEL,
    SILENCE_DB,
    Detector,
    SpeechModel,
    State,
)
from tests.support.sounds import (
    SENTENCES,
    VOICES,
    Samples,
    hiss,
    keys,
    mixed,
    music,
    needs_espeak,
    pieces,
    rumble,
    silence,
    spoken,
)


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return SpeechModel()


def likelihoods(model: SpeechModel, samples: Samples) -> list[float]:
    return [one.speech for one in Detector(model).feed(Sound(samples, 0.0))]


def test_the_model_is_the_chosen_one_and_has_its_licence() -> None:
    """silero-vad 6.2.3 as its authors published it, under the MIT licence."""
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest == "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
    licence = (MODEL.parent / "LICENSE-silero-vad").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n\nCopyright (c) 2020-present Silero Team")


@needs_espeak
@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("noise", ["none", "hiss", "rumble", "keys", "music"])
def test_speech_is_found_in_noise(model: SpeechModel, voice: str, noise: str) -> None:
    """Nine of ten chunks of each voice, clean and with noise of the same level, 0 dB."""
    clean = spoken(SENTENCES[1], voice)
    seconds = len(clean) / 16_000
    loud = {
        "none": silence(seconds),
        "hiss": hiss(seconds, -23),
        "rumble": rumble(seconds, -23),
        "keys": keys(seconds, peak=0.8),
        "music": music(seconds, level=-33),
    }[noise]
    found = likelihoods(model, mixed(clean, loud))
    assert np.mean([one >= 0.5 for one in found]) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_speech(model: SpeechModel, seed: int) -> None:
    """Ten minutes of hiss, rumble, keys and music: less than one chunk in a thousand."""
    sounds = [hiss(50, -30, seed), rumble(50, -25, seed), keys(50, seed), music(50, seed, -22)]
    found = likelihoods(model, np.concatenate(sounds))
    assert np.mean([one >= 0.5 for one in found]) < 0.001


@needs_espeak
def test_pieces_give_what_the_whole_gives(model: SpeechModel) -> None:
    """However the sound is cut, each chunk has its own time, in order and without a gap."""
    sound = np.concatenate([hiss(0.4), spoken(SENTENCES[0]), hiss(0.3)])
    whole = Detector(model).feed(Sound(sound, 7.0))
    assert len(whole) == len(sound) // CHUNK
    for size in (320, 960, 1, CHUNK, 5000):
        cut, detector = sound[: 400 * size], Detector(model)
        found = [one for piece in pieces(cut, 7.0, size) for one in detector.feed(piece)]
        assert len(found) == len(cut) // CHUNK
        for one, other in zip(found, whole, strict=False):
            assert one.at == pytest.approx(other.at)
            assert one.speech == pytest.approx(other.speech, abs=1e-3)
            assert one.level == pytest.approx(other.level)
    assert [one.at for one in whole] == pytest.approx(
        [7 + number * CHUNK_SECONDS for number in range(len(whole))]
    )


def test_silence_asks_no_model() -> None:
    """After half a second what stands where nothing was sent costs nothing, and reads as silence."""
    model = _Counting()
    detector = Detector(model)
    found = [one for piece in pieces(silence(2)) for one in detector.feed(piece)]
    assert len(found) == 62
    assert model.asked == 16
    assert {(one.speech, one.level) for one in found[16:]} == {(0.0, SILENCE_DB)}
    detector.feed(Sound(hiss(0.04), 2))
    assert model.asked == 17


def test_levels_are_those_of_the_sound() -> None:
    """A full square wave has 0 dBFS, a hundredth of it -40."""
    wave = np.tile(np.array([32767, -32768], np.int16), 8000)
    for sound, level in ((wave, 0), (wave // 100, -40)):
        assert Detector(_Counting()).feed(Sound(sound, 0))[3].level == pytest.approx(level, abs=0.1)


@needs_espeak
def test_microphones_share_a_model_and_nothing_else(model: SpeechModel) -> None:
    """Many at once, in threads: each finds what it finds alone."""
    sounds = [np.concatenate([spoken(SENTENCES[0], one), silence(0.2)]) for one in VOICES] * 3

    def alone(sound: Samples) -> list[float]:
        detector = Detector(model)
        return [one.speech for piece in pieces(sound) for one in detector.feed(piece)]

    expected = [alone(sound) for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(alone, sounds)) == expected


@needs_espeak
def test_reset_forgets(model: SpeechModel) -> None:
    """After it the detector is as new."""
    detector = Detector(model)
    sound = Sound(spoken(SENTENCES[0])[:9000], 0.0)
    first = detector.feed(sound)
    detector.reset()
    assert detector.feed(sound) == first


def test_a_chunk_costs_little(model: SpeechModel) -> None:
    """A speaking microphone takes 1 % of a core at most: 0.06 ms a chunk were measured."""
    detector = Detector(model)
    sound = list(pieces(hiss(20, -30), size=640))
    began = time.thread_time()
    for piece in sound:
        detector.feed(piece)
    assert time.thread_time() - began < 20 * 0.02


class _Counting(SpeechModel):
    """Finds speech everywhere, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def run(self, chunk: Samples, state: State) -> tuple[float, State]:  # type: ignore[override]
        self.asked += 1
        return 1.0, state
