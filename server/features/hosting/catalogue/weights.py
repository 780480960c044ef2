"""Read the headers of a folder's weights: files, sizes, formats.

Standard library only, because the workers use it in an environment without our other packages.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from server.models.files import AGAIN, ModelFolderError, clean, opened, read_json, unreadable

# Largest header of the safetensors format.
MAX_HEADER_BYTES = 100_000_000
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_DTYPE_BYTES = {
    "F64": 8,
    "I64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "BOOL": 1,
}
# Weights whose rows are the numbers that a layer keeps per token. Those of a vision part keep none.
_KEPT = re.compile(r"(?:^|\.)(?:self_attn|self_attention|attention|attn)\.[kv]_proj\.weight$")
_VISION = re.compile(r"(?:^|[._])(?:vis|image|audio|talker|token2wav)")
# Beginning of git-lfs's pointer to a large file
_POINTER = b"version "
# Suffixes of pickled weights
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
LLAMA_CPP = "Let its server run it (LOCAL_MODEL, or subprocess in the engine panel), or take the model's release with safetensors."


@dataclass(frozen=True, slots=True)
class Weights:
    # Bytes of the files
    size: int
    # Bytes of the numbers in them
    bytes: int
    # None when they are packed
    parameters: int | None
    # Format of most of them, with torch's name; "" unknown
    dtype: str
    # Bytes of one such number
    each: int
    # Numbers that the text model keeps per token, by the shapes of its weights; 0: unknown
    kept: int = 0


def read_weights(folder: Path) -> Weights:
    """Read the headers of all shards.

    Raises ModelFolderError when one is missing, damaged or truncated.
    """
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = _shards(index)
        elif (folder / name).exists():
            shards = [name]
        else:
            continue
        lost = [shard for shard in shards if not (folder / shard).is_file()]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise ModelFolderError(
                f"{folder} lacks {', '.join(map(clean, lost[:5]))}{more} of {len(shards)} files with weights."
                " bash scripts/download_model.sh fetches what is missing."
            )
        return _summed(folder / shard for shard in shards)
    raise ModelFolderError(_no_weights(folder))


def _no_weights(folder: Path) -> str:
    """Return the error text for a folder without weights: what it has instead, and what to do."""
    names = sorted(path.name for path in folder.iterdir())
    begin = f"There are no weights in {folder}: neither {_WEIGHTS[0]} nor an index of its parts."
    if any(name.endswith((".part", ".incomplete")) for name in names):
        return (
            f"{begin} Their download is not complete: bash scripts/download_model.sh continues it."
        )
    if parts := [name for name in names if name.endswith(".safetensors")]:
        return (
            f"{begin} {clean(parts[0])} is there, but its index is missing"
            f" ({_WEIGHTS[0]}.index.json). {AGAIN}"
        )
    if other := [name for name in names if name.endswith(".gguf")]:
        return f"{begin} {clean(other[0])} is there, a file for llama.cpp. {LLAMA_CPP}"
    if pickled := [name for name in names if name.endswith(_PICKLED)]:
        return (
            f"{begin} {clean(pickled[0])} is there: only safetensors are read, since other formats run code when they are"
            " loaded. Take a release of the model that has them."
        )
    return f"{begin} {AGAIN}"


def _shards(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    if (
        not isinstance(names, dict)
        or not names
        or not all(isinstance(name, str) for name in names.values())
    ):
        raise ModelFolderError(f"{index} is damaged: it has no weight_map. {AGAIN}")
    if any("/" in name or name.startswith(".") for name in names.values()):
        raise ModelFolderError(
            f"{index} names a file outside of the folder. Do not use this model."
        )
    return sorted(set(names.values()))


def _header(path: Path) -> tuple[int, int, Counter[str], int]:
    """Read a safetensors header (github.com/huggingface/safetensors): the bytes of the file and of its numbers, the
    numbers by their format, and those kept per token. Raises ModelFolderError.
    """
    elements: Counter[str] = Counter()
    end = kept = 0
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(8)
            if first == _POINTER:
                raise ModelFolderError(
                    f"{path} is only git-lfs's pointer to the weights: git lfs pull fetches them."
                )
            length = int.from_bytes(first, "little")
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            kind, shape = str(tensor["dtype"]), tensor["shape"]
            begin, stop = tensor["data_offsets"]
            if not all(type(one) is int and one >= 0 for one in (*shape, begin, stop)):
                raise ValueError
            count = math.prod(shape)
            # The size has to fit the format; unknown formats have at least half a byte per element.
            known = _DTYPE_BYTES.get(kind)
            if count * known != stop - begin if known else count > 2 * (stop - begin):
                raise ValueError
            elements[kind] += count
            end = max(end, stop)
            if len(shape) == 2 and _KEPT.search(name) and not _VISION.search(name):
                kept += shape[0]
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFolderError(
            f"{path} is damaged: its beginning is no safetensors header. {AGAIN}"
        ) from None
    if size < 8 + length + end:
        raise ModelFolderError(
            f"{path} is cut short: it has {size} bytes of {8 + length + end}. {AGAIN}"
        )
    return size, end, elements, kept


def _summed(paths: Iterable[Path]) -> Weights:
    size = held = kept = 0
    elements: Counter[str] = Counter()
    for path in paths:
        its_size, its_numbers, its_elements, its_kept = _header(path)
        size, held, kept = size + its_size, held + its_numbers, kept + its_kept
        elements += its_elements
    heaviest = max(
        elements, key=lambda kind: elements[kind] * _DTYPE_BYTES.get(kind, 1), default=""
    )
    # Packed numbers hold several weights each.
    packed = not elements.keys() <= {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2"}
    parameters = None if packed or not elements else sum(elements.values()) or None
    each = _DTYPE_BYTES.get(heaviest, 1)
    return Weights(size, held, parameters, _DTYPE_NAMES.get(heaviest, ""), each, kept)
