"""What a model's folder holds, read from its files without loading it. Standard library only."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_JSON_BYTES = 64 * 1024 * 1024
# Names in config files of the longest text that a model was made for.
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "model_max_length",
    "max_sequence_length",
    "n_positions",
)
_DTYPE_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class WeightsError(Exception):
    """The folder can not be loaded. `message` is a sentence that says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Weights:
    bytes: int
    # The number format that most of it is stored in, by torch's name; "" when it is none that torch computes with.
    dtype: str
    # What most bytes are per number.
    bytes_each: int
    model_type: str
    # Tokens; None when the config does not say.
    context_length: int | None


def look(folder: Path) -> Weights:
    """Check that the config can be read and that every shard is there and whole. Raises WeightsError."""
    config = _config(folder)
    total = 0
    by_dtype: dict[str, int] = {}
    for shard in _shards(folder):
        size, stored = _shard(shard)
        total += size
        for dtype, count in stored.items():
            by_dtype[dtype] = by_dtype.get(dtype, 0) + count
    most = max(by_dtype, key=lambda name: by_dtype[name], default="")
    return Weights(
        total,
        _DTYPES.get(most, ""),
        _DTYPE_BYTES.get(most, 1),
        config["model_type"],
        _context(config),
    )


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise WeightsError(
            f"{_shown(folder)} is no folder that can be read. LOCAL_MODEL must name one with a model's config.json and"
            " its .safetensors files; scripts/download_model.sh makes one."
        )
    config = _json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise WeightsError(
            f"config.json in {_shown(folder)} names no model_type, so it is no model for transformers. Download it again."
        )
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("too large")
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{path.name} is missing in {_shown(path.parent)}. Download the model again, or name another folder in LOCAL_MODEL."
        ) from None
    except OSError as error:
        raise WeightsError(
            f"{path.name} in {_shown(path.parent)} can not be read ({error.strerror}). Make it readable for this user."
        ) from None
    except (ValueError, RecursionError):
        raise WeightsError(
            f"{path.name} in {_shown(path.parent)} is damaged: it is no JSON. Download the model again."
        ) from None
    if not isinstance(data, dict):
        raise WeightsError(
            f"{path.name} in {_shown(path.parent)} is damaged: it is no JSON object. Download the model again."
        )
    return data


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        single = folder / "model.safetensors"
        if single.exists():
            return [single]
        raise WeightsError(
            f"There are no weights in {_shown(folder)}: neither model.safetensors nor model.safetensors.index.json."
            " Download the model again; weights in other formats are not loaded."
        )
    placed = _json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise WeightsError(
            f"{index.name} in {_shown(folder)} is damaged: it has no weight_map. Download the model again."
        )
    names = sorted({str(name) for name in placed.values()})
    if any("/" in name or name.startswith(".") for name in names):
        raise WeightsError(
            f"{index.name} in {_shown(folder)} names a file outside of the folder. Do not use this model."
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise WeightsError(
            f"{missing[0]}{others} of {len(names)} files with weights are missing in {_shown(folder)}."
            " Download the model again: what is there is kept."
        )
    return [folder / name for name in names]


def _shard(path: Path) -> tuple[int, dict[str, int]]:
    """Bytes of a shard's tensors, and how many of them are of which format.

    A safetensors file is the header's length (64 bits, little end first), the header as JSON, the tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MAX_JSON_BYTES, size):
                raise ValueError("header too long")
            header = json.loads(file.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        stored: dict[str, int] = {}
        for tensor in tensors:
            begin, stop = tensor["data_offsets"]
            stored[tensor["dtype"]] = stored.get(tensor["dtype"], 0) + stop - begin
        whole = bool(size == 8 + length + end)
    except OSError as error:
        raise WeightsError(
            f"{path.name} in {_shown(path.parent)} can not be read ({error.strerror}). Make it readable for this user."
        ) from None
    except (
        ValueError,
        struct.error,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    ):
        whole = False
        end, stored = 0, {}
    if not whole:
        raise WeightsError(
            f"{path.name} in {_shown(path.parent)} is damaged or not whole. Delete it and download the model again:"
            " what else is there is kept."
        )
    return end, stored


def _context(config: dict[str, Any]) -> int | None:
    parts = [config.get("text_config"), config.get("llm_config"), config]
    for part in parts:
        for name in _CONTEXT_NAMES:
            value = part.get(name) if isinstance(part, dict) else None
            if type(value) is int and value > 0:
                return value
    return None


def _shown(path: Path) -> str:
    return "".join(char for char in str(path) if char.isprintable())[:200]
