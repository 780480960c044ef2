"""The end-of-turn model's file: the one that is named, of the right form, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from server.features.voice_in.turn_model import TurnModel
from server.shared import onnx_file
from server.shared.onnx_file import ModelTrouble, ModelUnusable
from tests.support import onnx_model
from tests.support.onnx_model import written
from tests.support.sounds import hiss


def trouble(path: Path, sha256: str) -> ModelTrouble:
    with pytest.raises(ModelUnusable) as caught:
        TurnModel(path, sha256)
    return caught.value.trouble


@pytest.mark.parametrize("likelihood", [0.02, 0.49, 0.51, 0.97])
def test_its_likelihood_decides(tmp_path: Path, likelihood: float) -> None:
    """From one half on a turn is complete."""
    file, sha256 = written(tmp_path, onnx_model.turn_model(likelihood))
    model = TurnModel(file, sha256.upper())
    assert model.likelihood(hiss(2)) == pytest.approx(likelihood, abs=1e-6)
    assert model.complete(hiss(2)) is (likelihood >= 0.5)


def test_it_hears_the_sound(tmp_path: Path) -> None:
    """A model that answers by its input tells loud from silent, and the 8 s before from none."""
    model = TurnModel(*written(tmp_path, onnx_model.turn_model()))
    found = [model.likelihood(sound) for sound in (np.zeros(9, np.int16), hiss(1), hiss(8))]
    assert len(set(found)) == 3
    longer = np.concatenate([np.full(16_000, 9_000, np.int16), hiss(8)])
    assert model.likelihood(longer) == found[2]
    # Nothing of what others said before is left in it.
    assert model.likelihood(hiss(1)) == found[1]


@pytest.mark.parametrize("shape", [(1, 80, 800), ("a", "b", "c"), ("a", 80, 800)])
def test_open_lengths_are_fine(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    """Exports differ in what they leave open."""
    file, sha256 = written(tmp_path, onnx_model.turn_model(0.9, shape=shape))
    assert TurnModel(file, sha256).complete(hiss(1))


def test_another_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its checksum: it never reaches onnxruntime."""
    file, _ = written(tmp_path, onnx_model.turn_model(0.9))
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("it was loaded")
    )
    assert trouble(file, "0" * 64) is ModelTrouble.OTHER_SHA256


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, a pipe that would never end, too large, without permission."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "none.onnx", tmp_path, pipe, tmp_path / ("x" * 300)):
        assert trouble(path, "0" * 64) is ModelTrouble.UNREADABLE
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(onnx_file.MOST_BYTES + 1)
    assert trouble(large, "0" * 64) is ModelTrouble.TOO_LARGE


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ModelTrouble.NO_MODEL),
        (b"no model at all", ModelTrouble.NO_MODEL),
        (onnx_model.turn_model(0.9, shape=("batch", 80, 3000)), ModelTrouble.OTHER_FORM),
        (onnx_model.turn_model(0.9, shape=("batch", 128, 800)), ModelTrouble.OTHER_FORM),
        (onnx_model.turn_model(0.9, shape=("batch", 800)), ModelTrouble.OTHER_FORM),
        (onnx_model.turn_model(0.9, inputs=2), ModelTrouble.OTHER_FORM),
        (onnx_model.turn_model(raw=3.5), ModelTrouble.OTHER_FORM),
        (onnx_model.turn_model(raw=float("nan")), ModelTrouble.OTHER_FORM),
    ],
    ids=["empty", "text", "30 s", "128 bands", "flat", "two inputs", "3.5", "nan"],
)
def test_another_form_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, expected: ModelTrouble
) -> None:
    """When it is loaded, and not with the first turn; onnxruntime writes nothing beside the log."""
    assert trouble(*written(tmp_path, content)) is expected
    assert capfd.readouterr() == ("", "")
