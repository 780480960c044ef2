"""Model files that an operator names with their checksum, loaded by onnxruntime."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.models.files import ModelFolderError, open_regular

# The largest that is used has 32 MB.
MOST_BYTES = 64 * 1024 * 1024


class ModelTrouble(StrEnum):
    """The reason why a file is not used, as `/health` and the log have it."""

    UNREADABLE = "the file cannot be read"
    TOO_LARGE = "the file has more than 64 MiB"
    OTHER_SHA256 = "the file has another SHA-256"
    NO_MODEL = "onnxruntime cannot load the file"
    OTHER_FORM = "the model takes or gives something else than is needed"


class ModelUnusable(Exception):
    """A file that is not the model; `trouble` says why.

    Outside the tree of errors: the doctor catches it without a server, and nobody reads its text.
    """

    def __init__(self, trouble: ModelTrouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def load_session(path: Path, sha256: str = "") -> Any:
    """Load a file, on one thread; with a checksum, only the file that has it. Raises ModelUnusable."""
    import onnxruntime

    content = _read(path)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise ModelUnusable(ModelTrouble.OTHER_SHA256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Errors are raised; nothing is written to the terminal beside the log.
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
