"""Streamed sound beside the package's whole decoding, with tiny models of random weights."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.features.voice_out.voices import LocalVoice
from server.features.voice_out.worker.qwen3_tts import Recording, SpeakError
from server.shared.speech import SpeechUnavailable
from tests.real_model.server import PYTHON
from tests.support import local_voice

pytestmark = pytest.mark.slow
# The same sums in another order, as windows of another length have them, differ by 5e-7.
ROUNDING = 1e-5
# The stream has 16 bits.
STEP = 0.6 / 32767
WAYS = ("defaults", "overlap", "quick", "breaks", "voice_alone", "copied")
FRAMES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    local_voice.needed()
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def compared(folder: Path) -> dict[str, Any]:
    return local_voice.compare(folder)


@pytest.mark.night
def test_the_decoder_looks_back_as_far_as_its_layers_do(compared: dict[str, Any]) -> None:
    """Two layers of 8 frames reach 14 back, and convolutions 11 more; all else here follows from that."""
    assert compared["field"] == 25


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_the_whole_decoding(compared: dict[str, Any], way: str) -> None:
    """Every sample, with windows that hold what the new frames depend on."""
    found = compared[way]
    assert found["samples"] == [FRAMES * 1920] * 2
    assert found["frames"] == FRAMES
    assert found["loudness"] > 0.1
    assert found["stream"] < STEP + ROUNDING


@pytest.mark.parametrize("way", WAYS)
def test_windows_agree_where_they_overlap(compared: dict[str, Any], way: str) -> None:
    """Each with the whole, also in samples that an earlier one made: so with one another."""
    windows = compared[way]["windows"]
    assert len(windows) > 5
    assert all(window["largest"] < ROUNDING for window in windows)
    assert all(window["compared"] >= 1920 for window in windows)
    if way in ("defaults", "overlap"):
        # Most samples were made more than once.
        assert sum(window["compared"] for window in windows) > 1.5 * FRAMES * 1920


def test_a_window_that_is_too_short_is_seen(compared: dict[str, Any]) -> None:
    """Six frames less than the decoder looks back: the comparison sees that."""
    assert compared["short"]["stream"] > 30 * STEP


def test_a_compiled_network_is_used_and_left_when_it_fails(compared: dict[str, Any]) -> None:
    """The decoder and the codebook predictor are compiled; one that fails in a text goes on plain."""
    assert compared["compiled"] == 2
    assert compared["quick"]["notes"] == []
    assert compared["breaks"]["notes"] == [
        "The decoder runs in eager mode, because its optimisation failed (RuntimeError: no graph)."
    ]


@pytest.mark.parametrize(
    ("voice", "words"),
    [
        ("", "Set SPEECH_VOICE to a WAV file"),
        pytest.param("/nowhere/anna.wav", "anna.wav cannot be read", marks=pytest.mark.night),
    ],
)
async def test_a_copying_model_asks_for_its_recording(
    folder: Path, compared: dict[str, Any], voice: str, words: str
) -> None:
    one = LocalVoice(folder / "base", str(PYTHON), voice=voice, env=local_voice.ENVIRONMENT)
    async with local_voice.loading(one) as model:
        with pytest.raises(SpeechUnavailable, match=words):
            await model.wait()


@pytest.mark.night
async def test_a_recording_is_copied_by_the_process(folder: Path, compared: dict[str, Any]) -> None:
    one = LocalVoice(
        folder / "base",
        str(PYTHON),
        options="max_frames=10",
        voice=str(folder / "hum.wav"),
        env=local_voice.ENVIRONMENT,
    )
    async with local_voice.loading(one) as model:
        await model.wait()
        chunks = [len(c.samples) async for c in model.speak("A cup.", language="en")]
        assert chunks == [2 * 1920, 8 * 1920]


# The file of a voice that is copied.


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
    [(0.5, 2, "lasts 0.5 s"), (31.0, 2, "lasts 31.0 s"), (2.0, 1, "not a WAV file of 16 bits")],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, seconds: float, width: int, words: str
) -> None:
    file = written(tmp_path / "anna.wav", seconds, width=width)
    with pytest.raises(SpeakError, match=rf"anna\.wav.*{words}.*Set SPEECH_VOICE to a WAV"):
        Recording.read(str(file))


@pytest.mark.parametrize("content", [b"", b"RIFF....", b"no sound", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "anna.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SpeakError, match="cannot be read"):
        Recording.read(str(file))


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"word " * 400])
def test_words_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path / "anna.wav")
    (tmp_path / "anna.txt").write_bytes(content)
    with pytest.raises(SpeakError, match=r"cannot be read|at most 1,000"):
        Recording.read(str(file))


@pytest.mark.parametrize(
    "voice", ["", "http://127.0.0.1/anna.wav", "data:audio/wav;base64,AAAA", "\0"]
)
def test_only_a_file_is_read(voice: str) -> None:
    """The package itself would fetch an address, too."""
    with pytest.raises(SpeakError, match="Set SPEECH_VOICE to a WAV"):
        Recording.read(voice)
