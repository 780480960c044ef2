"""Speech is found in voices, and in nothing else; the shipped model is the one that was chosen."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.detector import (
    CHUNK_SECONDS,
    MODEL,
    SILENCE_DB,
    Chunk,
    OnsetDetector,
    SpeechDetector,
    SpeechModel,
    State,
)
from server.features.voice_in.listening import DetectorQueue
from tests.support.fakes import until
from tests.support.sounds import (
    SENTENCES,
    VOICES,
    Samples,
    make_hiss,
    make_silence,
    needs_espeak,
    pieces,
    synthesise_espeak,
)


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return SpeechModel()


def test_the_model_is_the_chosen_one_and_has_its_licence() -> None:
    """silero-vad 6.2.3 as its authors published it, under the MIT licence."""
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest == "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
    licence = (MODEL.parent / "LICENSE-silero-vad").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n\nCopyright (c) 2020-present Silero Team")


def test_silence_asks_no_model() -> None:
    """After half a second what stands where nothing was sent costs nothing, and reads as silence."""
    model = _Counting()
    detector = SpeechDetector(model)
    found = [one for piece in pieces(make_silence(2)) for one in detector.feed(piece)]
    assert len(found) == 62
    assert model.asked == 16
    assert {(one.speech, one.level) for one in found[16:]} == {(0.0, SILENCE_DB)}
    detector.feed(Sound(make_hiss(0.04), 2))
    assert model.asked == 17


def test_levels_are_those_of_the_sound() -> None:
    """A full square wave has 0 dBFS, a hundredth of it -40."""
    wave = np.tile(np.array([32767, -32768], np.int16), 8000)
    for sound, level in ((wave, 0), (wave // 100, -40)):
        assert SpeechDetector(_Counting()).feed(Sound(sound, 0))[3].level == pytest.approx(
            level, abs=0.1
        )


@needs_espeak
def test_microphones_share_a_model_and_nothing_else(model: SpeechModel) -> None:
    """Many at once, in threads: each finds what it finds alone."""
    sounds = [
        np.concatenate([synthesise_espeak(SENTENCES[0], one), make_silence(0.2)]) for one in VOICES
    ] * 3

    def alone(sound: Samples) -> list[float]:
        detector = SpeechDetector(model)
        return [one.speech for piece in pieces(sound) for one in detector.feed(piece)]

    expected = [alone(sound) for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(alone, sounds)) == expected


def test_a_chunk_costs_little(model: SpeechModel) -> None:
    """A speaking microphone takes 1 % of a core at most: 0.06 ms a chunk were measured."""
    detector = SpeechDetector(model)
    sound = list(pieces(make_hiss(20, -30), size=640))
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


# Sounds that stand out from what is heard all the time


def begun(levels: Iterable[float]) -> list[float]:
    """Return the times at which sounds begin, in seconds."""
    onset = OnsetDetector()
    at = 0.0
    found = []
    for level in levels:
        if onset.is_onset(Chunk(at, 0.0, level)):
            found.append(round(at, 1))
        at += CHUNK_SECONDS
    return found


def lasting(seconds: float, level: float) -> list[float]:
    return [level] * round(seconds / CHUNK_SECONDS)


def test_a_bark_in_a_quiet_room() -> None:
    """Within 100 ms; a second one soon after it is the same sound, a later one another."""
    bark = lasting(0.3, -25)
    found = begun(
        lasting(5, -70) + bark + lasting(0.5, -70) + bark + lasting(3, -70) + bark + lasting(1, -70)
    )
    assert found == [5.1, 9.2]


def test_soft_and_short_sounds_are_none() -> None:
    """A creak far away, a click, and hiss that goes up and down a little."""
    hiss = [-60 + (number % 5) for number in range(300)]
    assert begun(lasting(3, -80) + lasting(1, -55) + lasting(3, -80)) == []
    assert begun(lasting(3, -80) + lasting(2 * CHUNK_SECONDS, -10) + lasting(3, -80)) == []
    assert begun(hiss) == []


# Sound on its way through the detector: one piece of work at a time, a bound, and no late result


PIECE = SOUND_RATE // 50


class HeldModel:
    """A detector's model that answers when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.broken = False

    def run(self, chunk: np.ndarray, state: State) -> tuple[float, State]:
        assert self.go.wait(10)
        if self.broken:
            raise RuntimeError("What was said")
        return 0.9, state


class Ear:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.model = HeldModel()
        self.groups: list[list[Chunk]] = []
        self.dropped: list[int] = []
        self.patience = 1
        self.detection = DetectorQueue(
            cast(SpeechModel, self.model),
            pool,
            on_chunks=self.groups.append,
            on_dropped=self.dropped.append,
            patience=lambda: self.patience,
        )

    @property
    def chunks(self) -> list[Chunk]:
        return [chunk for group in self.groups for chunk in group]

    def hear(self, pieces: int) -> None:
        rng = np.random.default_rng(1)
        for number in range(pieces):
            samples = rng.integers(-9000, 9000, PIECE).astype(np.int16)
            self.detection.add(Sound(samples, 100 + number / 50))


@pytest.fixture
def ear() -> Iterator[Ear]:
    with ThreadPoolExecutor(1) as pool:
        yield Ear(pool)


async def test_a_slow_machine_hears_what_is_said_now(ear: Ear) -> None:
    """Two seconds wait at most; beyond, all of it is dropped and counted."""
    ear.hear(300)
    assert sum(ear.dropped) >= 150
    assert len(ear.detection.waiting) <= 101
    ear.model.go.set()
    await until(lambda: bool(ear.chunks) and not ear.detection.busy)


async def test_a_broken_detector_is_counted(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the kind of the error and nothing else of it; the next sound is tried again."""
    ear.model.broken = True
    ear.model.go.set()
    ear.hear(2)
    await until(lambda: ear.dropped == [1])
    (record,) = caplog.records
    assert vars(record)["error"] == "RuntimeError"
    assert "What was said" not in caplog.text
    ear.model.broken = False
    ear.hear(4)
    await until(lambda: bool(ear.chunks))
