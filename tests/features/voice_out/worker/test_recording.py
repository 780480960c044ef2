"""The file of a voice that is copied."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from server.features.voice_out.worker.qwen3_tts import Recording, RecordingError


def written(
    file: Path, seconds: float = 2.0, *, channels: int = 1, width: int = 2, rate: int = 8000
) -> Path:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        count = int(seconds * rate)
        if width == 2:
            levels = np.tile(np.array([16384, 0][:channels], "<i2"), count)
            out.writeframes(levels.tobytes())
        else:
            out.writeframes(bytes(count * channels * width))
    return file


def test_a_recording_and_its_words(tmp_path: Path) -> None:
    file = written(tmp_path / "anna.wav")
    assert Recording.read(str(file)).words == ""
    (tmp_path / "anna.txt").write_text(" Hello,\n I am Anna. ")
    found = Recording.read(str(file))
    assert (found.words, found.rate, len(found.samples)) == ("Hello, I am Anna.", 8000, 16_000)
    assert found.samples.dtype == np.float32
    assert set(found.samples) == {0.5}


def test_two_channels_become_one(tmp_path: Path) -> None:
    found = Recording.read(str(written(tmp_path / "anna.wav", channels=2)))
    assert set(found.samples) == {0.25}
    assert len(found.samples) == 16_000


@pytest.mark.parametrize(
    ("seconds", "width", "words"),
    [(0.5, 2, "has 0.5 s"), (31.0, 2, "has 31.0 s"), (2.0, 1, "no WAV file of 16 bits")],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, seconds: float, width: int, words: str
) -> None:
    file = written(tmp_path / "anna.wav", seconds, width=width)
    with pytest.raises(RecordingError, match=rf"anna\.wav.*{words}.*Set SPEECH_VOICE to a WAV"):
        Recording.read(str(file))


@pytest.mark.parametrize("content", [b"", b"RIFF....", b"no sound", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "anna.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording.read(str(file))


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"word " * 400])
def test_words_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path / "anna.wav")
    (tmp_path / "anna.txt").write_bytes(content)
    with pytest.raises(RecordingError, match=r"cannot be read|at most 1,000"):
        Recording.read(str(file))


@pytest.mark.parametrize(
    "voice", ["", "http://127.0.0.1/anna.wav", "data:audio/wav;base64,AAAA", "\0"]
)
def test_only_a_file_is_read(voice: str) -> None:
    """The package itself would fetch an address, too."""
    with pytest.raises(RecordingError, match="Set SPEECH_VOICE to a WAV"):
        Recording.read(voice)
