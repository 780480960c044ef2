"""Read the header of a GGUF file: what llama.cpp's models say about themselves.

Read here, and not by the package `gguf`, which decodes every word of the vocabulary, for seconds. Texts of a field that is
kept have 4,096 bytes at most, and arrays 512 numbers. Weights are not read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from server.models.files import ModelFolderError, clean, unreadable

Value = str | int | float | bool | tuple[int, ...]
SUFFIX = ".gguf"
# What to do about a file that is not as it was made
AGAIN = (
    "Remove it, and fetch the model again: bash scripts/run.sh --model NAME, or the engine panel."
)
_MOST_TEXT, _MOST_NUMBERS = 4096, 512
_TEXT, _ARRAY = 8, 9


def _table(words: str) -> tuple[str, ...]:
    """Return what stands for the numbers from 0 on; "" for "-"."""
    return tuple(word.strip("-") for word in words.split())


# Numbers by the format's number of their type: struct's letters
_LETTERS = _table("B b H h I i f ? - - Q q d")
# By the number of `general.file_type` (llama.h), without "MOSTLY_"
_FILE_TYPES = _table(
    "F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S "
    "Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M "
    "IQ4_XS IQ1_M BF16 - - - TQ1_0 TQ2_0 MXFP4 NVFP4"
)


@dataclass(frozen=True, slots=True)
class Gguf:
    """The facts that a file gives of itself; none is trusted."""

    # By name, such as "general.architecture"; long texts and lists of texts are left out
    fields: Mapping[str, Value]
    # Of the file
    size: int

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        return clean(value) if isinstance(value, str) else ""

    def whole(self, name: str) -> int:
        """Return a positive number, of a list of them the largest; 0 without one."""
        value = self.fields.get(name)
        if isinstance(value, tuple):
            value = max(value, default=0)
        return value if type(value) is int and 0 < value <= 10**9 else 0

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def projector(self) -> str:
        """The kind of a file that reads pictures (mmproj); "" for others, and its own kinds."""
        return self.text("clip.vision.projector_type") or self.text("clip.projector_type")

    @property
    def reads_pictures(self) -> bool:
        """True for the file that goes with a model's weights and turns pictures into its tokens."""
        return self.architecture == "clip" or self.text("general.type") == "mmproj"

    @property
    def quantization(self) -> str:
        """The format as llama.cpp names it: "Q4_K_M"; "" when it names none that is known."""
        number = self.fields.get("general.file_type")
        if type(number) is not int or not 0 <= number < len(_FILE_TYPES):
            return ""
        return _FILE_TYPES[number]


def is_gguf(path: Path) -> bool:
    """Return True for such a file, and for a folder with some and no weights of another form, beside which
    hubs keep a config.json, too; False for what cannot be read.
    """
    try:
        if not path.is_dir():
            return path.suffix == SUFFIX and path.is_file()
        suffixes = {Path(name).suffix for name in os.listdir(path)}
    except OSError:
        return False
    return SUFFIX in suffixes and ".safetensors" not in suffixes


def read(path: Path) -> Gguf:
    """Read a file's header. Blocking. Raises ModelFolderError, also for one that is cut off."""
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from None


@lru_cache(maxsize=64)
def _read(path: Path, size: int, _changed: int) -> Gguf:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFolderError(f"{path} is no GGUF file, whatever its name says. {AGAIN}")
        try:
            return Gguf(_fields(file), size)
        except (struct.error, IndexError, ValueError, OverflowError, MemoryError):
            raise ModelFolderError(
                f"{path} is cut off or damaged: its header makes no sense. {AGAIN}"
            ) from None


def _fields(file: BufferedReader) -> dict[str, Value]:
    version, _, count = _numbers(file, "IQQ")
    if version not in (2, 3):
        raise ValueError
    fields: dict[str, Value] = {}
    for _ in range(count):
        name = _text(file)
        value = _value(file, _numbers(file, "I")[0])
        if name and value is not None:
            fields[name] = value
    return fields


def _value(file: BufferedReader, kind: int) -> Value | None:
    """Read a field's value; None for one that is not kept."""
    if kind == _TEXT:
        return _text(file)
    if kind != _ARRAY:
        value: Value = _numbers(file, _LETTERS[kind])[0]
        return value
    kind, count = _numbers(file, "IQ")
    if kind == _TEXT:
        # The words of a vocabulary: only their lengths are looked at.
        for _ in range(count):
            file.seek(_numbers(file, "Q")[0], os.SEEK_CUR)
        return None
    letter = _LETTERS[kind]
    if count > _MOST_NUMBERS or letter in "fd":
        file.seek(count * struct.calcsize(f"<{letter}"), os.SEEK_CUR)
        return None
    return tuple(int(number) for number in _numbers(file, f"{count}{letter}"))


def _text(file: BufferedReader) -> str | None:
    """Read a text; None for one that is too long to keep."""
    (length,) = _numbers(file, "Q")
    if length > _MOST_TEXT:
        file.seek(length, os.SEEK_CUR)
        return None
    return file.read(length).decode("utf-8", "replace")


def _numbers(file: BufferedReader, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))
