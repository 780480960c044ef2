"""The figures of voice, from turns that are made up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.bench.report import Row
from scripts.bench.voice_figures import (
    Interruption,
    Turn,
    VoiceFigures,
    count_underruns,
)
from scripts.bench.voice_peer import ReceivedPacket
from scripts.bench.voice_sounds import (
    RATE,
    find_speech,
    make_syllables,
    write_sound,
)


def turn(number: int = 0, **times: float) -> Turn:
    found = Turn(number, 10.0, 12.0)
    for name, at in times.items():
        setattr(found, name, at)
    return found


def packets(
    count: int, *, level: float = -20, begin: float = 5.0, late: dict[int, float] | None = None
) -> list[ReceivedPacket]:
    late = late or {}
    return [
        ReceivedPacket(begin + number * 0.02 + late.get(number, 0.0), number * 960, level)
        for number in range(count)
    ]


def row(figures: VoiceFigures, what: str) -> Row:
    (found,) = [one for one in figures.to_rows() if what in one.what]
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
    assert count_underruns(packets(50)) == 0
    assert count_underruns(packets(50, late={20: 0.05})) == 0
    late = dict.fromkeys(range(20, 50), 0.1)
    assert count_underruns(packets(50, late=late)) == 1


# The sounds


def test_the_best_source_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is given, then espeak-ng, then syllables; the report names it."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert "espeak-ng is not installed" in find_speech(None).name
    assert len(find_speech(None).sentence(0)) == 2 * RATE
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert find_speech(None).name == "espeak-ng"
    found = find_speech(write_sound(tmp_path / "me.wav", make_syllables(5)))
    assert found.name == "me.wav"
    assert len(found.sentence(3)) / RATE == pytest.approx(1.0, abs=0.1)
