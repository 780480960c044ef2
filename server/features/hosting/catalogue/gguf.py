"""Read the header of a GGUF file (github.com/ggml-org/ggml, docs/gguf.md): the metadata of a model for llama.cpp.

The package `gguf` would decode the whole vocabulary, which takes seconds. Texts above 4,096 bytes, arrays and weights are
skipped.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from server.models.files import ModelFolderError, clean, make_unreadable_error

Value = str | int | float | bool
SUFFIX = ".gguf"
# Remedy for a damaged file
AGAIN = (
    "Remove it, and fetch the model again: bash scripts/run.sh --model NAME, or the engine panel."
)
_MAX_TEXT_BYTES = 4096
_TEXT, _ARRAY = 8, 9


# Format characters of `struct`, by GGUF's number of the type
_LETTERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
# Numbers per block and bytes per block, by ggml's number of the type (ggml.h); "-": unknown, not checked
_BLOCKS = (
    "1/4 1/2 32/18 32/20 - - 32/22 32/24 32/34 - 256/84 256/110 256/144 256/176 256/210 "
    "256/292 256/66 256/74 256/98 256/50 32/18 256/110 256/82 256/136 1/1 1/2 1/4 1/8 1/8 "
    "256/56 1/2 - - - 256/54 256/66 - - - 32/17 64/36 128/18"
)


@dataclass(frozen=True, slots=True)
class Gguf:
    """Metadata of a file, which is not trusted."""

    # Values by name, such as "general.architecture"; without arrays and long texts
    fields: Mapping[str, Value]
    # Bytes of the file
    size: int

    def get_text(self, name: str) -> str:
        value = self.fields.get(name)
        return clean(value) if isinstance(value, str) else ""

    def get_integer(self, name: str) -> int:
        """Return the value if it is a positive integer of at most 1e9, otherwise 0."""
        value = self.fields.get(name)
        return value if type(value) is int and 0 < value <= 10**9 else 0

    @property
    def architecture(self) -> str:
        return self.get_text("general.architecture")

    @property
    def projector(self) -> str:
        """Projector type of a multimodal projector (mmproj); "" for other files."""
        return self.get_text("clip.vision.projector_type") or self.get_text("clip.projector_type")

    @property
    def reads_pictures(self) -> bool:
        """True if the file is a multimodal projector, which turns pictures into tokens, and not a model's weights."""
        return self.architecture == "clip" or self.get_text("general.type") == "mmproj"


def is_gguf(path: Path) -> bool:
    """Return True for a GGUF file, and for a folder with GGUF files and no .safetensors files; False if unreadable."""
    try:
        if not path.is_dir():
            return path.suffix == SUFFIX and path.is_file()
        suffixes = {Path(name).suffix for name in os.listdir(path)}
    except OSError:
        return False
    return SUFFIX in suffixes and ".safetensors" not in suffixes


def read(path: Path) -> Gguf:
    """Read the header of a file, and check that the file is complete. Blocking. Raises ModelFolderError."""
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise make_unreadable_error(path, error) from None


@lru_cache(maxsize=64)
def _read(path: Path, size: int, _changed: int) -> Gguf:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFolderError(f"{path} is not a GGUF file, although its name says so. {AGAIN}")
        try:
            fields, tensors = _read_fields(file)
            needed = _compute_least_bytes(file, fields, tensors)
        except (struct.error, LookupError, ValueError, OverflowError, MemoryError):
            raise ModelFolderError(
                f"{path} is truncated or damaged: its header is invalid. {AGAIN}"
            ) from None
    if needed > size:
        raise ModelFolderError(
            f"{path} is truncated: it has {size:,} of at least {needed:,} bytes. {AGAIN}"
        )
    return Gguf(fields, size)


def _read_fields(file: BufferedReader) -> tuple[dict[str, Value], int]:
    """Return the metadata fields, and the number of tensors, whose table follows."""
    version, tensors, count = _read_numbers(file, "IQQ")
    if version not in (2, 3):
        raise ValueError
    fields: dict[str, Value] = {}
    for _ in range(count):
        name = _read_text(file)
        value = _read_value(file, _read_numbers(file, "I")[0])
        if name and value is not None:
            fields[name] = value
    return fields, tensors


def _compute_least_bytes(file: BufferedReader, fields: Mapping[str, Value], tensors: int) -> int:
    """Read the table of tensors; return the minimum size in bytes of a file that contains all of them."""
    blocks, end = _BLOCKS.split(), 0
    for _ in range(tensors):
        _read_text(file)
        shape = _read_numbers(file, f"{_read_numbers(file, 'I')[0]}Q")
        kind, offset = _read_numbers(file, "IQ")
        block, _, size = blocks[kind].partition("/") if kind < len(blocks) else ("", "", "")
        end = max(end, offset + (-(-math.prod(shape) // int(block)) * int(size) if size else 0))
    alignment = fields.get("general.alignment", 32)
    step = alignment if type(alignment) is int and alignment > 0 else 32
    return -(-file.tell() // step) * step + end


def _read_value(file: BufferedReader, kind: int) -> Value | None:
    """Read a field's value; return None for a skipped one."""
    if kind == _TEXT:
        return _read_text(file)
    if kind != _ARRAY:
        value: Value = _read_numbers(file, _LETTERS[kind])[0]
        return value
    kind, count = _read_numbers(file, "IQ")
    if kind != _TEXT:
        file.seek(count * struct.calcsize(f"<{_LETTERS[kind]}"), os.SEEK_CUR)
        return None
    # Skip the texts of a vocabulary; only their lengths are read.
    for _ in range(count):
        file.seek(_read_numbers(file, "Q")[0], os.SEEK_CUR)
    return None


def _read_text(file: BufferedReader) -> str | None:
    """Read a text; return None, and skip it, if it is longer than _MAX_TEXT_BYTES."""
    (length,) = _read_numbers(file, "Q")
    if length > _MAX_TEXT_BYTES:
        file.seek(length, os.SEEK_CUR)
        return None
    return file.read(length).decode("utf-8", "replace")


def _read_numbers(file: BufferedReader, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))
