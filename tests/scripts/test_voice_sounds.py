"""Sounds that a benchmark speaks: a detector takes them for speech, or does not."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import voice_sounds
from scripts.bench.processes import MeasurementError
from scripts.bench.voice_sounds import (
    RATE,
    EspeakSpeech,
    FileSpeech,
    MadeUpSpeech,
    find_speech,
    level_of,
    noises,
    read_sound,
    silence,
    syllables,
)
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.detector import Detector, SpeechModel


def share_of_speech(samples: voice_sounds.Samples) -> float:
    """Return the share of chunks that the detector takes for speech."""
    chunks = Detector(SpeechModel()).feed(Sound(samples, 0.0))
    return float(np.mean([chunk.speech >= 0.5 for chunk in chunks]))


def test_the_rate_is_the_servers() -> None:
    assert RATE == SOUND_RATE


@pytest.mark.parametrize("seed", voice_sounds.SYLLABLE_SEEDS)
def test_made_up_syllables_are_taken_for_speech(seed: int) -> None:
    """So that a turn is measured where espeak-ng is not installed."""
    sound = syllables(10, seed)
    assert len(sound) == 2 * RATE
    assert level_of(sound) == pytest.approx(-23, abs=1)
    assert share_of_speech(sound) > 0.8
    assert share_of_speech(syllables(5, seed)) > 0.8


def test_noise_is_not() -> None:
    for name, sound in noises(5.0).items():
        assert share_of_speech(sound) < 0.05, name


def test_the_best_source_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is given, then espeak-ng, then syllables; the report names it."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert isinstance(find_speech(None), MadeUpSpeech)
    assert "espeak-ng is not installed" in find_speech(None).name
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert isinstance(find_speech(None), EspeakSpeech)
    file = recorded(tmp_path / "me.wav", syllables(5))
    found = find_speech(file)
    assert isinstance(found, FileSpeech)
    assert found.name == "me.wav"


def recorded(path: Path, samples: voice_sounds.Samples) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


def test_a_recording_loses_its_silence(tmp_path: Path) -> None:
    """Sound around the sentence would count as a late answer."""
    sound = np.concatenate([silence(1.0), syllables(5), silence(2.0)])
    found = read_sound(recorded(tmp_path / "me.wav", sound))
    assert len(found) / RATE == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("samples", "words"),
    [(silence(1.0), "is silent"), (np.tile(syllables(10), 14), "at most 25 s")],
)
def test_a_recording_that_cannot_be_used_is_named(
    tmp_path: Path, samples: voice_sounds.Samples, words: str
) -> None:
    with pytest.raises(MeasurementError, match=words):
        find_speech(recorded(tmp_path / "me.wav", samples)).sentence(0)


def test_a_file_without_sound_is_named(tmp_path: Path) -> None:
    file = tmp_path / "me.txt"
    file.write_text("no sound")
    with pytest.raises(MeasurementError, match="cannot be read as sound"):
        find_speech(file).sentence(0)
    with pytest.raises(MeasurementError, match="cannot be read"):
        find_speech(tmp_path / "nowhere.wav").sentence(0)
