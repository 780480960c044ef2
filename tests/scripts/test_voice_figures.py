"""The figures of voice, from turns that are made up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import voice_sounds
from scripts.bench.processes import MeasurementError
from scripts.bench.report import Row
from scripts.bench.voice_figures import (
    Interruption,
    Pause,
    Turn,
    VoiceFigures,
    underruns,
)
from scripts.bench.voice_peer import Received
from scripts.bench.voice_sounds import (
    RATE,
    find_speech,
    level_of,
    silence,
    syllables,
    write_sound,
)
from server.core.sound import Sound
from server.features.voice_in.detector import Detector, SpeechModel


def turn(number: int = 0, **times: float) -> Turn:
    found = Turn(number, 10.0, 12.0)
    for name, at in times.items():
        setattr(found, name, at)
    return found


def packets(
    count: int, *, level: float = -20, begin: float = 5.0, late: dict[int, float] | None = None
) -> list[Received]:
    late = late or {}
    return [
        Received(begin + number * 0.02 + late.get(number, 0.0), number * 960, level)
        for number in range(count)
    ]


def row(figures: VoiceFigures, what: str) -> Row:
    (found,) = [one for one in figures.rows() if what in one.what]
    return found


def test_times_count_from_the_end_of_speech() -> None:
    figures = VoiceFigures(
        200, turns=[turn(decided=12.3, text=12.32, model=12.35, token=12.6, pcm=12.7, sound=12.73)]
    )
    spread = row(figures, "end of speech → decided").spread
    assert spread is not None
    assert spread.p95 == pytest.approx(300)
    assert row(figures, "decided → question at the model").reached
    spread = row(figures, "end of speech → first sound").spread
    assert spread is not None
    assert spread.p50 == pytest.approx(730)


def test_a_turn_that_was_cut_off_is_no_latency() -> None:
    """It is counted, and its time is not averaged with the others."""
    figures = VoiceFigures(200, turns=[turn(decided=11.0), turn(1, decided=12.4, text=12.5)])
    assert figures.turns[0].cut
    found = row(figures, "end of speech → decided").spread
    assert found is not None
    assert found.n == 1
    whole = row(figures, "not heard whole")
    assert whole.value == 1
    assert whole.reached is False


def test_a_frame_from_before_the_end_of_speech_is_seen() -> None:
    """By the clock in the picture at the model."""
    figures = VoiceFigures(200)
    figures.turns = [
        turn(decided=12.3, model=12.4, age_ms=100.0),
        turn(1, decided=12.3, model=12.4, age_ms=500.0),
    ]
    found = row(figures, "capture of its frame")
    assert found.spread is not None
    assert found.spread.max == pytest.approx(300)
    assert "the earliest -100 ms" in found.note


def test_a_short_pause_must_not_cut_a_long_one_may() -> None:
    figures = VoiceFigures(500)
    figures.pauses = [
        Pause(300, 500, cut=False),
        Pause(300, 500, cut=True),
        Pause(300, 200, cut=True),
    ]
    assert row(figures, "300 ms, with 500 ms").reached is False
    assert row(figures, "300 ms, with 200 ms").reached is None


def test_a_sentence_in_which_the_machine_stood_still_does_not_count() -> None:
    """It had another pause than the one that is measured."""
    figures = VoiceFigures(
        200, pauses=[Pause(150, 200, cut=False, stood=0.01), Pause(150, 200, cut=True, stood=0.46)]
    )
    found = row(figures, "150 ms, with 200 ms")
    assert (found.value, found.unit, found.reached) == (0, "of 1", True)
    assert found.note.startswith("1 more")


def test_interruptions_count_from_their_first_sound() -> None:
    figures = VoiceFigures(200)
    figures.interruptions = [
        Interruption(10.0, 10.05, 10.1, 10.098, stopped=True),
        Interruption(20.0, None, None, None, stopped=False),
    ]
    found = row(figures, "first sound over an answer → silent").spread
    assert found is not None
    assert found.p50 == pytest.approx(100)
    assert row(figures, "stopped nothing").value == 1


def test_a_packet_beyond_the_reserve_is_an_underrun() -> None:
    """Those behind it, which come as late, are not: the listener waits once."""
    assert underruns(packets(50)) == 0
    assert underruns(packets(50, late={20: 0.05})) == 0
    late = dict.fromkeys(range(20, 50), 0.1)
    assert underruns(packets(50, late=late)) == 1


def test_what_is_drawn_counts_from_the_end_of_speech_and_the_first_sound() -> None:
    figures = VoiceFigures(200, turns=[turn(decided=12.3), turn(1, decided=11.0)])
    figures.interruptions = [Interruption(10.0, 10.05, None, None, stopped=False)]
    steps, over = figures.panels().values()
    assert steps["decided"] == [pytest.approx(300)]
    assert over == {"lowered": [pytest.approx(50)], "silent": []}
    figures.interruptions = []
    assert list(figures.panels()) == ["ms after the end of speech"]


# The sounds


def share_of_speech(samples: voice_sounds.Samples) -> float:
    """Return the share of chunks that the detector takes for speech."""
    chunks = Detector(SpeechModel()).feed(Sound(samples, 0.0))
    return float(np.mean([chunk.speech >= 0.5 for chunk in chunks]))


@pytest.mark.parametrize("seed", voice_sounds.SYLLABLE_SEEDS)
def test_made_up_syllables_are_taken_for_speech(seed: int) -> None:
    """So that a turn is measured where espeak-ng is not installed."""
    sound = syllables(10, seed)
    assert len(sound) == 2 * RATE
    assert level_of(sound) == pytest.approx(-23, abs=1)
    assert share_of_speech(sound) > 0.8
    assert share_of_speech(syllables(5, seed)) > 0.8


def test_the_best_source_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is given, then espeak-ng, then syllables; the report names it."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert "espeak-ng is not installed" in find_speech(None).name
    assert len(find_speech(None).sentence(0)) == 2 * RATE
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert find_speech(None).name == "espeak-ng"
    found = find_speech(write_sound(tmp_path / "me.wav", syllables(5)))
    assert found.name == "me.wav"
    assert len(found.sentence(3)) / RATE == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("samples", "words"),
    [(silence(1.0), "is silent"), (np.tile(syllables(10), 14), "at most 25 s")],
)
def test_a_recording_that_cannot_be_used_is_named(
    tmp_path: Path, samples: voice_sounds.Samples, words: str
) -> None:
    with pytest.raises(MeasurementError, match=words):
        find_speech(write_sound(tmp_path / "me.wav", samples))
