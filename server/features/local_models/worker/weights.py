"""Read the sizes of a model from its files without loading it; choose a number format that fits this machine."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from pathlib import Path

from server.features.hosting.catalogue.weights import find_context_length, read_weights
from server.features.hosting.control_groups import get_main_memory
from server.models.files import ModelFolderError, read_json

DTYPES = ("auto", "float16", "bfloat16", "float32")
BYTES_EACH = {"float16": 2, "bfloat16": 2, "float32": 4}
# Memory in addition to the weights, for activations: fraction of the weights, its maximum in bytes, and a constant
_EXTRA_SHARE, _EXTRA_MOST = 0.10, 10**9
_EXTRA_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """Sizes and kind of a model."""

    bytes: int
    # Stored number format of most weights, by torch's name; "" if torch does not compute in it
    dtype: str
    # Bytes per number of most weights
    bytes_each: int
    model_type: str
    # Tokens; None: unknown
    context_length: int | None


def read(folder: Path) -> ModelWeights:
    """Read configuration and headers, and check that each shard is complete. Raises ModelFolderError."""
    if not folder.is_dir():
        raise ModelFolderError(
            f"{_format_path(folder)} is not a readable folder. Set LOCAL_MODEL to a folder with config.json and .safetensors"
            " files, such as scripts/download_model.sh creates."
        )
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelFolderError(
            f"config.json in {_format_path(folder)} has no model_type, so transformers cannot load the model. Download it again."
        )
    found = read_weights(folder)
    dtype = found.dtype if found.dtype in BYTES_EACH else ""
    # Packed weights stay packed; count two bytes per number for the rest.
    each = 2 if not dtype and found.packed else found.each
    return ModelWeights(found.bytes, dtype, each, kind, find_context_length(config))


def _format_path(path: Path) -> str:
    return "".join(char for char in str(path) if char.isprintable())[:200]


# Number format, memory and tokens on this machine


def compute_memory(weights_bytes: int, bytes_each: int, dtype: str) -> int:
    """Return the bytes of memory that a model needs in `dtype`; it is stored with `bytes_each` bytes per number."""
    computed = weights_bytes * BYTES_EACH[dtype] // bytes_each
    return computed + min(int(computed * _EXTRA_SHARE), _EXTRA_MOST) + _EXTRA_BYTES


def choose_dtype(asked: str, stored: str, *, gpu: bool, bfloat16: bool, roomy: bool) -> str:
    """Return the number format to compute in.

    `bfloat16`: the device computes in it fast. `roomy`: float32 fits into memory. Never float16 on a CPU, which has no
    arithmetic for it.
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
    """Return the bytes of memory that this process may still allocate, within all limits; None: unknown."""
    total, free = get_main_memory()
    found = [free if total else None, _get_limit_left()]
    return min((value for value in found if value is not None), default=None)


def _get_limit_left() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * resource.getpagesize())
    return None


def format_gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
