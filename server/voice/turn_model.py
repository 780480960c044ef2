"""A model that hears whether a turn is complete, run by onnxruntime: smart-turn v3 and its like.

It takes the last 8 s of a turn as `log_mel` draws them, and gives the likelihood that nothing more
follows. The program has none of its own: an operator names the file with its checksum.
"""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.voice.log_mel import FRAMES, MELS, log_mel

# smart-turn v3 has 8 MB, or 32 without quantisation.
MOST_BYTES = 64 * 1024 * 1024
# Likelihood from which a turn is complete, as upstream has it
_COMPLETE = 0.5


class TurnTrouble(StrEnum):
    """The reason why there is no model, as `/health` has it."""

    UNREADABLE = "the file cannot be read"
    TOO_LARGE = "the file has more than 64 MiB"
    OTHER_SHA256 = "the file has another SHA-256"
    NO_MODEL = "onnxruntime cannot load the file"
    OTHER_FORM = "the model does not take 80 x 800 log-mel values, or does not give one likelihood"


class TurnModelUnusable(Exception):
    """A file that is not the model; `trouble` says why.

    Outside the tree of errors: the doctor catches it without a server, and nobody reads its text.
    """

    def __init__(self, trouble: TurnTrouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


class TurnModel:
    """The network, without state: one for the process. Thread-safe."""

    def __init__(self, path: Path, sha256: str) -> None:
        """Load a file, if it is the one of this checksum. Raises TurnModelUnusable."""
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != sha256.lower():
            raise TurnModelUnusable(TurnTrouble.OTHER_SHA256)
        self._session = _session(content)
        self._input = _input_of(self._session)
        try:
            self.likelihood(np.zeros(0, np.int16))
        except Exception:  # noqa: BLE001
            raise TurnModelUnusable(TurnTrouble.OTHER_FORM) from None

    def complete(self, samples: NDArray[np.int16]) -> bool:
        """Find whether a turn with this sound is complete. Raises what onnxruntime raises, ValueError."""
        return self.likelihood(samples) >= _COMPLETE

    def likelihood(self, samples: NDArray[np.int16]) -> float:
        """Return the likelihood that a turn is complete, 0 to 1. Raises as `complete` does."""
        spectrogram = log_mel(samples)[None]
        outputs = self._session.run(None, {self._input: spectrogram})
        found = float(np.asarray(outputs[0], np.float32).reshape(()))
        if not math.isfinite(found) or not 0 <= found <= 1:
            raise ValueError("the model gave no likelihood")
        return found


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            # No device and no pipe, which might never end
            raise TurnModelUnusable(TurnTrouble.UNREADABLE)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        raise TurnModelUnusable(TurnTrouble.UNREADABLE) from None
    if len(content) > MOST_BYTES:
        raise TurnModelUnusable(TurnTrouble.TOO_LARGE)
    return content


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Errors are raised; nothing is written to the terminal beside the log.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001
        raise TurnModelUnusable(TurnTrouble.NO_MODEL) from None


def _input_of(session: Any) -> str:
    """Return the name of the only input. A length that the model leaves open is no number."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise TurnModelUnusable(TurnTrouble.OTHER_FORM)
    shape = inputs[0].shape
    fits = len(shape) == 3 and all(
        not isinstance(has, int) or has == wanted
        for has, wanted in zip(shape, (1, MELS, FRAMES), strict=True)
    )
    if not fits:
        raise TurnModelUnusable(TurnTrouble.OTHER_FORM)
    return str(inputs[0].name)
