"""The end-of-turn model's file: the one that is named, of the right form, and nothing else."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import pytest

from server.core.metrics import Metrics
from server.core.sound import Sound
from server.features.voice_in import listening as turn_checks
from server.features.voice_in.listening import TurnChecks
from server.features.voice_in.turn_model import (
    FRAMES,
    MELS,
    MOST_CHECKS,
    TurnJudge,
    TurnModel,
    log_mel,
)
from server.shared import onnx_file
from server.shared.onnx_file import ModelTrouble, ModelUnusable
from tests.support import onnx_model
from tests.support.fakes import until
from tests.support.onnx_model import written
from tests.support.sounds import Samples, make_hiss
from tests.support.turn_checks import HeldTurnModel, checks_of


def trouble(path: Path, sha256: str) -> ModelTrouble:
    with pytest.raises(ModelUnusable) as caught:
        TurnModel(path, sha256)
    return caught.value.trouble


@pytest.mark.parametrize("likelihood", [0.02, 0.49, 0.51, 0.97])
def test_its_likelihood_decides(tmp_path: Path, likelihood: float) -> None:
    """From one half on a turn is complete."""
    file, sha256 = written(tmp_path, onnx_model.turn_model(likelihood))
    model = TurnModel(file, sha256.upper())
    assert model.measure_likelihood(make_hiss(2)) == pytest.approx(likelihood, abs=1e-6)
    assert model.is_complete(make_hiss(2)) is (likelihood >= 0.5)


def test_it_hears_the_sound(tmp_path: Path) -> None:
    """A model that answers by its input tells loud from silent, and the 8 s before from none."""
    model = TurnModel(*written(tmp_path, onnx_model.turn_model()))
    found = [
        model.measure_likelihood(sound)
        for sound in (np.zeros(9, np.int16), make_hiss(1), make_hiss(8))
    ]
    assert len(set(found)) == 3
    longer = np.concatenate([np.full(16_000, 9_000, np.int16), make_hiss(8)])
    assert model.measure_likelihood(longer) == found[2]
    # Nothing of what others said before is left in it.
    assert model.measure_likelihood(make_hiss(1)) == found[1]


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


# The spectrogram is Whisper's own


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


# The checks of all microphones: a bound, counts, and one line when the trouble begins and ends


SOUND = np.zeros(16_000, np.int16)


class Ear:
    """One microphone's checks by a model that the test lets go."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.model = HeldTurnModel()
        self.metrics = Metrics("0")
        self.judge = TurnJudge(cast(TurnModel, self.model), pool, self.metrics)
        self.answers: list[tuple[int, bool | None]] = []
        self.of_use = True
        self.checks = TurnChecks(self.judge, self._answer)

    def _answer(self, number: int, complete: bool | None) -> bool:
        self.answers.append((number, complete))
        return self.of_use

    @property
    def heard(self) -> list[int]:
        return [int(samples[0]) for samples in self.model.heard]

    @property
    def counted(self) -> dict[str, int]:
        return checks_of(self.metrics)

    def ended(self) -> None:
        """Wait until the callbacks of the last check have run, in the pool's thread."""
        self.pool.submit(lambda: None).result(10)


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    # On a busy machine, too, a check is slow only where a test wants it to be.
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 30.0)
    with ThreadPoolExecutor(1) as pool:
        yield Ear(pool)


def test_checks_are_bounded(ear: Ear) -> None:
    """One runs and two wait; a fourth is refused, until one has ended."""
    begun = [ear.judge.begin(SOUND) for _ in range(MOST_CHECKS)]
    assert all(begun)
    assert ear.judge.begin(SOUND) is None
    ear.model.go.set()
    assert [cast("Future[bool]", one).result(10) for one in begun] == [True] * MOST_CHECKS
    ear.ended()
    assert all(ear.judge.begin(SOUND) for _ in range(MOST_CHECKS))


def test_trouble_is_said_once(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    """A line when it begins and one when it ends, however many checks; each is counted."""
    caplog.set_level(logging.INFO)
    for result in ("complete", "unused", "slow", "busy", "unused", "failed", "complete", "slow"):
        ear.judge.note(result)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "WARNING"]
    assert vars(caplog.records[0])["reason"] == "slow"
    assert ear.counted == {"complete": 2, "unused": 2, "slow": 2, "busy": 1, "failed": 1}


# One microphone's checks: one at a time, each with an answer in time, none for a pause that is
# over


def sound(value: int) -> Sound:
    return Sound(np.full(1600, value, np.int16), 100.0)


@pytest.mark.parametrize(
    ("complete", "of_use", "counted"),
    [(True, True, "complete"), (False, True, "incomplete"), (True, False, "unused")],
)
async def test_an_answer_comes_back(ear: Ear, complete: bool, of_use: bool, counted: str) -> None:
    """On the event loop, with its number; nothing waits afterwards. It is of no use where the turn has ended by itself."""
    ear.model.answer, ear.of_use = complete, of_use
    ear.model.go.set()
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, complete)])
    assert not ear.checks.busy
    assert ear.counted == {counted: 1}


async def test_a_slow_check_has_no_answer(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn does not wait for it; it is counted once, and its late answer goes nowhere."""
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 0.02)
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, None)])
    assert ear.checks.busy
    ear.model.go.set()
    await until(lambda: not ear.checks.busy)
    assert ear.answers == [(1, None)]
    assert ear.counted == {"slow": 1}


async def test_one_at_a_time(ear: Ear) -> None:
    """The person goes on and pauses again, twice, while a check runs: the newest pause is judged."""
    ear.checks.ask(1, sound(1))
    await until(lambda: ear.heard == [1])
    ear.checks.close()
    ear.checks.ask(2, sound(2))
    ear.checks.ask(3, sound(3))
    assert ear.heard == [1]
    ear.model.go.set()
    await until(lambda: ear.answers == [(3, True)])
    assert ear.heard == [1, 3]
    assert ear.counted == {"unused": 2, "complete": 1}


async def test_a_failed_check(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    """No answer; the log has the kind of the error, and nothing of its text."""
    ear.model.error = ValueError("what was said")
    ear.model.go.set()
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, None)])
    (record,) = caplog.records
    assert vars(record)["error"] == "ValueError"
    assert "what was said" not in caplog.text
    assert ear.counted == {"failed": 1}
    ear.model.error = None
    ear.checks.ask(2, sound(6))
    await until(lambda: ear.answers[1:] == [(2, True)])
