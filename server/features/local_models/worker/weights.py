"""Read from a model's files what its folder holds, without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.models.weights import ModelFolderError, read_json, read_weights

# Names in config files of the longest text that a model was made for.
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "model_max_length",
    "max_sequence_length",
    "n_positions",
)
# The number formats that torch's models compute with
_DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Weights:
    bytes: int
    # The number format that most of it is stored in, by torch's name; "" when it is none that torch
    # computes with.
    dtype: str
    # Bytes per number, in most of the weights
    bytes_each: int
    model_type: str
    # Tokens; None when the config does not say.
    context_length: int | None


def read(folder: Path) -> Weights:
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
    dtype = found.dtype if found.dtype in _DTYPES else ""
    # Packed numbers stay as they are, in what is about two bytes for what is computed.
    each = 2 if not dtype and found.parameters is None else found.each
    return Weights(found.bytes, dtype, each, kind, _context(config))


def _context(config: dict[str, Any]) -> int | None:
    # For a model that hears and speaks
    inner = config.get("thinker_config")
    config = inner if isinstance(inner, dict) else config
    parts = [config.get("text_config"), config.get("llm_config"), config]
    for part in parts:
        for name in _CONTEXT_NAMES:
            value = part.get(name) if isinstance(part, dict) else None
            if type(value) is int and value > 0:
                return value
    return None


def _shown(path: Path) -> str:
    return "".join(char for char in str(path) if char.isprintable())[:200]
