"""Read the headers of a folder's .safetensors files (sizes, formats), and the context length of its configuration.

Standard library only, because the workers use this module in an environment without our other packages.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.models.files import (
    AGAIN,
    ModelFolderError,
    clean,
    get_object,
    make_unreadable_error,
    open_regular,
    read_json,
)

# Largest header that the safetensors format allows
MAX_HEADER_BYTES = 100_000_000
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_DTYPE_BYTES = {
    **dict.fromkeys(("F64", "I64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
}
# Names of the context length in configurations
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "model_max_length",
    "max_sequence_length",
    "n_positions",
)
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Sizes and number format of a model's weights."""

    # Bytes of the files, headers included
    size: int
    # Bytes of the tensors
    bytes: int
    # True if one stored number holds several weights
    packed: bool
    # Number format of most weights, by torch's name; "": unknown
    dtype: str
    # Bytes of one number in that format
    each: int


def read_weights(folder: Path) -> WeightFiles:
    """Read the headers of all shards. Raises ModelFolderError if one is missing, damaged or truncated."""
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = _list_shards(index)
        elif (folder / name).exists():
            shards = [name]
        else:
            continue
        lost = [shard for shard in shards if not (folder / shard).is_file()]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise ModelFolderError(
                f"{folder} lacks {', '.join(map(clean, lost[:5]))}{more} of {len(shards)} files of weights."
                " Fetch them: bash scripts/download_model.sh"
            )
        return _sum(folder / shard for shard in shards)
    raise ModelFolderError(_explain_no_weights(folder))


def _explain_no_weights(folder: Path) -> str:
    """Return the error text for a folder without weights."""
    begin = f"There are no weights in {folder}: neither {_WEIGHTS[0]} nor an index of its parts."
    if any(path.suffix in (".part", ".incomplete") for path in folder.iterdir()):
        return f"{begin} The download is incomplete. Continue it: bash scripts/download_model.sh"
    return (
        f"{begin} Other formats are not read, because they run code when they are loaded. {AGAIN}"
    )


def _list_shards(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    if not (isinstance(names, dict) and names):
        raise ModelFolderError(f"{index} is damaged: it has no weight_map. {AGAIN}")
    found = sorted(set(map(str, names.values())))
    if any("/" in name or name.startswith(".") for name in found):
        raise ModelFolderError(f"{index} names a file outside the folder. Do not use this model.")
    return found


def _read_header(path: Path) -> tuple[int, int, Counter[str]]:
    """Read a safetensors header (github.com/huggingface/safetensors).

    Returns the bytes of the file, the bytes of its tensors, and the count of numbers by format. Raises ModelFolderError.
    """
    elements: Counter[str] = Counter()
    end = 0
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                elements[str(tensor["dtype"])] += math.prod(tensor["shape"])
                end = max(end, tensor["data_offsets"][1])
    except OSError as error:
        raise make_unreadable_error(path, error) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelFolderError(
            f"{path} is damaged: its header is not a safetensors header. {AGAIN}"
        ) from None
    if size < 8 + length + end:
        raise ModelFolderError(
            f"{path} is truncated: it has {size} of {8 + length + end} bytes. {AGAIN}"
        )
    return size, end, elements


def _sum(paths: Iterable[Path]) -> WeightFiles:
    size = held = 0
    elements: Counter[str] = Counter()
    for path in paths:
        its_size, its_numbers, its_elements = _read_header(path)
        size, held = size + its_size, held + its_numbers
        elements += its_elements
    heaviest = max(
        elements, key=lambda kind: elements[kind] * _DTYPE_BYTES.get(kind, 1), default=""
    )
    packed = not elements.keys() <= {*_DTYPE_NAMES, "F8_E4M3", "F8_E5M2"}
    each = _DTYPE_BYTES.get(heaviest, 1)
    return WeightFiles(size, held, packed, _DTYPE_NAMES.get(heaviest, ""), each)


def find_context_length(config: Mapping[str, Any]) -> int | None:
    """Return the context length in tokens, from any place in the configuration, or None if there is none."""
    outer = get_object(config, "thinker_config") or config
    inner = [get_object(outer, name) for name in ("text_config", "llm_config", "language_config")]
    for part in (*inner, outer):
        for name in _CONTEXT_NAMES:
            found = part.get(name)
            # Larger values are mistakes, or mean "no limit".
            if type(found) is int and 0 < found <= 10**9:
                return found
    return None
