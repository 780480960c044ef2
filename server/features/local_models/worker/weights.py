"""Read from a model's files what its folder holds, without loading it; choose number format and memory for it here."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from pathlib import Path

from server.features.hosting.catalogue.weights import context_length, read_weights
from server.features.hosting.control_groups import main_memory
from server.models.files import ModelFolderError, read_json

DTYPES = ("auto", "float16", "bfloat16", "float32")
BYTES_EACH = {"float16": 2, "bfloat16": 2, "float32": 4}
# Memory beside the weights: for computing, and for a picture in work.
_EXTRA_SHARE, _EXTRA_MOST = 0.10, 10**9
_EXTRA_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelWeights:
    bytes: int
    # The number format that most of it is stored in, by torch's name; "" when it is none that torch
    # computes with.
    dtype: str
    # Bytes per number, in most of the weights
    bytes_each: int
    model_type: str
    # Tokens; None when the config does not say.
    context_length: int | None


def read(folder: Path) -> ModelWeights:
    """Check that the config can be read and each shard is whole. Raises ModelFolderError."""
    if not folder.is_dir():
        raise ModelFolderError(
            f"{_shown(folder)} is no folder that can be read. LOCAL_MODEL must name one with a model's config.json and"
            " its .safetensors files; scripts/download_model.sh makes one."
        )
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelFolderError(
            f"config.json in {_shown(folder)} names no model_type, so it is no model for transformers. Download it again."
        )
    found = read_weights(folder)
    dtype = found.dtype if found.dtype in BYTES_EACH else ""
    # Packed numbers stay as they are, in what is about two bytes for what is computed.
    each = 2 if not dtype and found.packed else found.each
    return ModelWeights(found.bytes, dtype, each, kind, context_length(config))


def _shown(path: Path) -> str:
    return "".join(char for char in str(path) if char.isprintable())[:200]


# Number format, memory and tokens on this machine


def memory_needed(weights_bytes: int, bytes_each: int, dtype: str) -> int:
    """Return the bytes that a model needs in that format; stored it has `bytes_each` a number."""
    computed = weights_bytes * BYTES_EACH[dtype] // bytes_each
    return computed + min(int(computed * _EXTRA_SHARE), _EXTRA_MOST) + _EXTRA_BYTES


def choose_dtype(asked: str, stored: str, *, gpu: bool, bfloat16: bool, roomy: bool) -> str:
    """Choose the format to compute in.

    `bfloat16` tells whether the device computes in it quickly, `roomy` whether twice the bytes fit.
    A CPU has no arithmetic for float16, so there it is never used.
    """
    if gpu:
        if asked != "auto":
            return asked
        return stored if stored == "float16" else ("bfloat16" if bfloat16 else "float16")
    if asked in ("bfloat16", "float32"):
        return asked
    if stored == "float32" or (not bfloat16 and roomy):
        return "float32"
    return "bfloat16"


def free_ram() -> int | None:
    """Bytes that this process may still take, by all limits; None when unknown."""
    total, free = main_memory()
    found = [free if total else None, _within_limit()]
    return min((value for value in found if value is not None), default=None)


def _within_limit() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * resource.getpagesize())
    return None


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
