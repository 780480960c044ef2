"""A folder's weights without reading them: which files, how large, how many numbers of which format; and its JSON files.

Standard library only: the workers, which run where nothing else of ours does, look with it, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 32 * 1024 * 1024
# A safetensors header has at most so many bytes by its format.
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
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
AGAIN = "Download it again: bash scripts/download_model.sh"


class ModelFolderError(Exception):
    """The folder holds no model that can be used; `message` says what was found and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Weights:
    # Of the files
    size: int
    # Of the numbers in them, without what else the files hold
    bytes: int
    # None where they are packed
    parameters: int | None
    # Of most of them, as the library calls it; "" unknown
    dtype: str
    # Bytes of one such number
    each: int


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelFolderError(f"{path} is damaged: no such file is that large. {AGAIN}")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"There is no {path.name} in {path.parent}. Is this a model's folder, and downloaded to the end?"
        ) from None
    except OSError as error:
        raise ModelFolderError(
            f"{path} cannot be read ({error.strerror}). Give this user access to it."
        ) from None
    except (ValueError, RecursionError):
        raise ModelFolderError(f"{path} is damaged: it is not JSON. {AGAIN}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is damaged: it is no JSON object. {AGAIN}")
    return content


def has_weights(folder: Path) -> bool:
    return any(
        (folder / name).exists() or (folder / f"{name}.index.json").exists() for name in _WEIGHTS
    )


def read_weights(folder: Path) -> Weights:
    """Of all shards together. Raises ModelFolderError where one is missing or cut short."""
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
                f"{folder} lacks {', '.join(lost[:5])}{more} of {len(shards)} files with weights."
                " bash scripts/download_model.sh fetches what is missing."
            )
        return _summed([_header(folder / shard) for shard in shards])
    raise ModelFolderError(
        f"There are no weights in {folder}: neither {_WEIGHTS[0]} nor an index of its parts. Only safetensors are read, since"
        " other formats run code when they are loaded."
    )


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


def _header(path: Path) -> tuple[int, int, dict[str, int]]:
    """A file's size, that of its numbers, and how many are of which format. The format: github.com/huggingface/safetensors."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError
            header = json.loads(file.read(length))
        elements: dict[str, int] = {}
        end = 0
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            kind, shape = str(tensor["dtype"]), tensor["shape"]
            elements[kind] = elements.get(kind, 0) + math.prod(int(side) for side in shape)
            end = max(end, int(tensor["data_offsets"][1]))
    except OSError as error:
        raise ModelFolderError(
            f"{path} cannot be read ({error.strerror}). Give this user access to it."
        ) from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ModelFolderError(
            f"{path} is damaged: its beginning is no safetensors header. {AGAIN}"
        ) from None
    if size < 8 + length + end:
        raise ModelFolderError(
            f"{path} is cut short: it has {size} bytes of {8 + length + end}. {AGAIN}"
        )
    return size, end, elements


def _summed(headers: Iterable[tuple[int, int, Mapping[str, int]]]) -> Weights:
    size = held = 0
    elements: dict[str, int] = {}
    for bytes_, numbers, kinds in headers:
        size += bytes_
        held += numbers
        for kind, count in kinds.items():
            elements[kind] = elements.get(kind, 0) + count
    heaviest = max(
        elements, key=lambda kind: elements[kind] * _DTYPE_BYTES.get(kind, 1), default=""
    )
    # Packed numbers hold several weights each.
    packed = not elements.keys() <= {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2"}
    parameters = None if packed or not elements else sum(elements.values()) or None
    each = _DTYPE_BYTES.get(heaviest, 1)
    return Weights(size, held, parameters, _DTYPE_NAMES.get(heaviest, ""), each)
