"""Load ONNX model files, given by an operator with their checksum."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.models.files import ModelFolderError, open_regular

# Maximum size; the largest model in use has 32 MB.
MOST_BYTES = 64 * 1024 * 1024


class ModelTrouble(StrEnum):
    """The reason why a file is not used, as shown in `/health` and the log."""

    UNREADABLE = "the file cannot be read"
    TOO_LARGE = "the file has more than 64 MiB"
    OTHER_SHA256 = "the file has another SHA-256"
    NO_MODEL = "onnxruntime cannot load the file"
    OTHER_FORM = "the model takes or gives something else than is needed"


class ModelUnusable(Exception):
    """A file cannot be used as the model; `trouble` says why.

    Not a QwenCameraError: the doctor catches it without a server.
    """

    def __init__(self, trouble: ModelTrouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def load_session(path: Path, sha256: str = "") -> Any:
    """Load a file for one thread; with a checksum, only a file that matches it. Raises ModelUnusable."""
    import onnxruntime

    content = _read(path)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise ModelUnusable(ModelTrouble.OTHER_SHA256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Errors are raised; onnxruntime must not write to the terminal.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001
        raise ModelUnusable(ModelTrouble.NO_MODEL) from None


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ModelFolderError):
        raise ModelUnusable(ModelTrouble.UNREADABLE) from None
    if len(content) > MOST_BYTES:
        raise ModelUnusable(ModelTrouble.TOO_LARGE)
    return content
