"""A folder's weights without reading them: which files, how large, how many numbers of which format; and its JSON files.

Standard library only: the workers, which run where nothing else of ours does, look with it, too.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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
# What a layer keeps of each token: as many numbers as these have rows. Those of a vision part keep nothing.
_KEPT = re.compile(r"(?:^|\.)(?:self_attn|self_attention|attention|attn)\.[kv]_proj\.weight$")
_VISION = re.compile(r"(?:^|[._])(?:vis|image|audio|talker|token2wav)")
# How git-lfs begins what stands for a large file
_POINTER = b"version "
# What pickled weights are called, and those for other programs
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
AGAIN = "Download it again: bash scripts/download_model.sh"
LLAMA_CPP = (
    "Start its server (llama-server -m MODEL --mmproj PROJECTOR) and choose remote, or take the model's release with"
    " safetensors."
)
# In an error; what is longer or hidden in a name is nobody's business.
MAX_NAME_CHARS = 80


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
    # Numbers that the text model keeps of each token, by the sizes of its weights; 0 where they do not tell
    kept: int = 0


def read_json(path: Path) -> dict[str, Any]:
    """Raises ModelFolderError. A pipe or a device is not waited for."""
    try:
        data = _bytes(path)
        content = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"There is no {path.name} in {path.parent}. Is this a model's folder, and downloaded to the end? {AGAIN}"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError):
        raise ModelFolderError(f"{path} is damaged: it is not JSON. {AGAIN}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is damaged: it is no JSON object. {AGAIN}")
    return content


def _bytes(path: Path) -> bytes:
    """Of a regular file. Raises OSError, ModelFolderError."""
    with _opened(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ModelFolderError(f"{path} is damaged: no such file is that large. {AGAIN}")
    return data


def _opened(path: Path) -> BinaryIO:
    """Without waiting for whoever writes into a pipe. Raises OSError, ModelFolderError for what is no file."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    number = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ModelFolderError(f"{path} is no file that can be read. {AGAIN}")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def unreadable(path: Path, error: OSError) -> ModelFolderError:
    return ModelFolderError(
        f"{path} cannot be read ({error.strerror}). Give this user access to it."
    )


def clean(name: str) -> str:
    """A name out of a file, for people."""
    return "".join(char for char in name if char.isprintable())[:MAX_NAME_CHARS]


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
                f"{folder} lacks {', '.join(map(clean, lost[:5]))}{more} of {len(shards)} files with weights."
                " bash scripts/download_model.sh fetches what is missing."
            )
        return _summed([_header(folder / shard) for shard in shards])
    raise ModelFolderError(_no_weights(folder))


def _no_weights(folder: Path) -> str:
    """What is there in their place, and what to do."""
    names = sorted(path.name for path in folder.iterdir())
    begin = f"There are no weights in {folder}: neither {_WEIGHTS[0]} nor an index of its parts."
    if any(name.endswith((".part", ".incomplete")) for name in names):
        return (
            f"{begin} Their download has not ended: bash scripts/download_model.sh goes on with it."
        )
    if parts := [name for name in names if name.endswith(".safetensors")]:
        return (
            f"{begin} {clean(parts[0])} is there, and the file that says what is in it is not"
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


@dataclass(frozen=True, slots=True)
class _Header:
    """What one file's header tells."""

    # Of the file, and of the numbers in it
    size: int
    held: int
    # How many numbers of each format
    elements: Mapping[str, int]
    kept: int


def _header(path: Path) -> _Header:
    """The format: github.com/huggingface/safetensors. Raises ModelFolderError."""
    elements: dict[str, int] = {}
    end = kept = 0
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(8)
            if first == _POINTER:
                raise ModelFolderError(
                    f"{path} is no more than git-lfs's pointer to the weights: git lfs pull fetches them."
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
            # What is known of a format has to come to the bytes; others have half a byte at least.
            known = _DTYPE_BYTES.get(kind)
            if count * known != stop - begin if known else count > 2 * (stop - begin):
                raise ValueError
            elements[kind] = elements.get(kind, 0) + count
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
    return _Header(size, end, elements, kept)


def _summed(headers: Iterable[_Header]) -> Weights:
    size = held = kept = 0
    elements: dict[str, int] = {}
    for one in headers:
        size += one.size
        held += one.held
        kept += one.kept
        for kind, count in one.elements.items():
            elements[kind] = elements.get(kind, 0) + count
    heaviest = max(
        elements, key=lambda kind: elements[kind] * _DTYPE_BYTES.get(kind, 1), default=""
    )
    # Packed numbers hold several weights each.
    packed = not elements.keys() <= {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2"}
    parameters = None if packed or not elements else sum(elements.values()) or None
    each = _DTYPE_BYTES.get(heaviest, 1)
    return Weights(size, held, parameters, _DTYPE_NAMES.get(heaviest, ""), each, kept)
