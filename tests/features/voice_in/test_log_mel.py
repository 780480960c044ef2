"""The spectrogram is Whisper's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from server.features.voice_in.turn_model import FRAMES, MELS, log_mel
from tests.support.sounds import Samples

MODELS_PYTHON = Path(__file__).parents[3] / ".venv-models" / "bin" / "python"
# Of `rising`, by transformers 5.23: means of 20 bands and 200 frames each, and three values
BY_TRANSFORMERS = {
    3.0: (
        [
            [-0.27598, -0.27598, 0.22967, 0.71496],
            [-0.2769, -0.2769, 0.24978, 0.72316],
            [-0.2769, -0.2769, 0.24836, 0.76578],
            [-0.2769, -0.2769, 0.23648, 0.82204],
        ],
        [0.89679, 0.80099, 0.68129],
    ),
    9.5: (
        [
            [0.5887, 0.59094, 0.58579, 0.59163],
            [0.63703, 0.59303, 0.59905, 0.59895],
            [0.68296, 0.68256, 0.61459, 0.6112],
            [0.62433, 0.65357, 0.72086, 0.72034],
        ],
        [0.55676, 0.63778, 0.63163],
    ),
}
# As smart-turn calls it: silence in front, `do_normalize`
_EXTRACT = """
import sys
import numpy as np
from transformers import WhisperFeatureExtractor
sound = np.load(sys.argv[1]).astype(np.float32)[-128000:] / 32768
sound = np.pad(sound, (128000 - len(sound), 0))
found = WhisperFeatureExtractor(chunk_length=8)(
    sound, sampling_rate=16000, return_tensors="np", padding="max_length", max_length=128000,
    truncation=True, do_normalize=True,
)
np.save(sys.argv[2], found.input_features[0])
"""


def rising(seconds: float) -> Samples:
    """A tone that rises from 100 to 7,000 Hz and grows louder, in noise. Repeatable everywhere."""
    at = np.arange(round(seconds * 16_000)) / 16_000
    tone = 12_000 * np.sin(2 * np.pi * (100 + 3450 * at / seconds) * at) * at / seconds
    noise = np.random.default_rng(7).integers(-900, 900, len(at))
    found: Samples = (tone + noise).astype(np.int16)
    return found


@pytest.mark.parametrize("seconds", BY_TRANSFORMERS)
def test_it_is_that_of_transformers(seconds: float) -> None:
    """Shorter sound has silence in front, longer sound loses its beginning."""
    means, values = BY_TRANSFORMERS[seconds]
    found = log_mel(rising(seconds))
    assert found.shape == (MELS, FRAMES)
    assert found.dtype == np.float32
    blocks = found.reshape(4, 20, 4, 200).mean((1, 3))
    assert blocks == pytest.approx(np.array(means), abs=2e-4)
    assert found[[3, 30, 70], [799, 640, 520]] == pytest.approx(np.array(values), abs=2e-4)


def test_nothing_at_all_is_silence() -> None:
    """Finite values, the same everywhere."""
    found = log_mel(np.zeros(0, np.int16))
    assert found == pytest.approx(np.full((MELS, FRAMES), -1.5))


@pytest.mark.slow
@pytest.mark.skipif(not MODELS_PYTHON.exists(), reason="no .venv-models")
@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.5])
def test_each_value_is_that_of_transformers(tmp_path: Path, seconds: float) -> None:
    """Asked now, in the models' environment."""
    sound, features = tmp_path / "sound.npy", tmp_path / "features.npy"
    np.save(sound, rising(seconds))
    command = [str(MODELS_PYTHON), "-c", _EXTRACT, str(sound), str(features)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert log_mel(rising(seconds)) == pytest.approx(np.load(features), abs=1e-4)
