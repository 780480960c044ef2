"""Read the header of a GGUF file: what llama.cpp's models say about themselves.

Read here, and not by the package `gguf`: it decodes every word of the vocabulary, for seconds, and
trusts the file. Bounds: a header has 96 MiB at most, 4,096 fields and 65,536 tensors; a text of a
field that is kept has 4,096 bytes, and arrays keep 512 numbers. Weights are not read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from itertools import islice
from pathlib import Path

from server.models.files import ModelFolderError, clean, unreadable

Value = str | int | float | bool | tuple[int, ...]
SUFFIX = ".gguf"
# What to do about a file that is not as it was made
AGAIN = (
    "Remove it, and fetch the model again: bash scripts/run.sh --model NAME, or the engine panel."
)
# Of a folder, when its kind is looked for
_MOST_FILES = 1000
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_BYTES = 96 * 1024**2
_MOST_FIELDS, _MOST_TENSORS = 4096, 65_536
_MOST_TEXT, _MOST_NUMBERS = 4096, 512
_MOST_DIMENSIONS = 4
_TEXT, _ARRAY = 8, 9


def _table(words: str) -> tuple[str, ...]:
    """Return what stands for the numbers from 0 on; "" for "-"."""
    return tuple(word.strip("-") for word in words.split())


# Numbers by the format's number of their type: struct's letters
_NUMBERS = _table("B b H h I i f ? - - Q q d")
# By ggml's number of a type (ggml.h): how many numbers are in a block, and its bytes. Of types that are
# not listed nothing is known, nor checked.
_BLOCKS = _table(
    "1/4 1/2 32/18 32/20 - - 32/22 32/24 32/34 - 256/84 256/110 256/144 256/176 256/210 "
    "256/292 256/66 256/74 256/98 256/50 32/18 256/110 256/82 256/136 1/1 1/2 1/4 1/8 1/8 "
    "256/56 1/2 - - - 256/54 256/66 - - - 32/17 64/36 128/18"
)
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
    # Numbers of all its tensors
    parameters: int
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
        with os.scandir(path) as entries:
            suffixes = {Path(entry.name).suffix for entry in islice(entries, _MOST_FILES)}
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
        return _Reader(file, path, size).header()


class _Reader:
    def __init__(self, file: BufferedReader, path: Path, size: int) -> None:
        self._file, self._path, self._size = file, path, size
        # Bytes of the header that were read
        self._at = 0

    def header(self) -> Gguf:
        if self._take(4) != _MAGIC:
            raise self._wrong("is no GGUF file, whatever its name says")
        version = self._number("I")
        if version not in _VERSIONS:
            raise ModelFolderError(
                f"{self._path} is GGUF of version {version}; {_VERSIONS[0]} and {_VERSIONS[1]} are known. Take another file of"
                " the model."
            )
        tensors, count = self._number("Q"), self._number("Q")
        if tensors > _MOST_TENSORS or count > _MOST_FIELDS:
            raise self._wrong(f"says that it has {count} fields and {tensors} tensors")
        fields: dict[str, Value] = {}
        for _ in range(count):
            name = self._text()
            value = self._value(self._number("I"))
            if name is not None and value is not None:
                fields[name] = value
        parameters, end = 0, 0
        for _ in range(tensors):
            numbers, last = self._tensor()
            parameters, end = parameters + numbers, max(end, last)
        alignment = fields.get("general.alignment", 32)
        step = alignment if type(alignment) is int and 0 < alignment <= 65_536 else 32
        needed = -(-self._at // step) * step + end
        if needed > self._size:
            raise ModelFolderError(
                f"{self._path} is cut off: it has {self._size:,} bytes of at least {needed:,}. {AGAIN}"
            )
        return Gguf(fields, parameters, self._size)

    def _tensor(self) -> tuple[int, int]:
        """Return a tensor's numbers, and where it ends behind the header."""
        self._text()
        dimensions = self._number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise self._wrong(f"has a tensor of {dimensions} dimensions")
        numbers = 1
        for _ in range(dimensions):
            numbers *= self._number("Q")
        kind, offset = self._number("I"), self._number("Q")
        block, _, size = (_BLOCKS[kind] if kind < len(_BLOCKS) else "").partition("/")
        return numbers, offset + (-(-numbers // int(block)) * int(size) if size else 0)

    def _value(self, kind: int) -> Value | None:
        """Read a field's value; None for one that is not kept."""
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            return self._number(self._letter(kind))
        kind, count = self._number("I"), self._number("Q")
        if kind == _TEXT:
            # The words of a vocabulary: only their lengths are looked at.
            if count * 8 > _MOST_BYTES:
                raise self._wrong(f"has a list of {count} texts")
            if count * 8 > self._size - self._at:
                raise self._cut_off()
            for _ in range(count):
                self._skip(self._number("Q"))
            return None
        letter = self._letter(kind)
        size = struct.calcsize(f"<{letter}")
        if count > _MOST_NUMBERS or letter in "fd":
            self._skip(count * size)
            return None
        raw = self._take(count * size)
        return tuple(int(number) for (number,) in struct.iter_unpack(f"<{letter}", raw))

    def _letter(self, kind: int) -> str:
        if kind >= len(_NUMBERS) or not _NUMBERS[kind]:
            raise self._wrong(f"has a field of the unknown kind {kind}")
        return _NUMBERS[kind]

    def _text(self) -> str | None:
        """Read a text; None for one that is too long to keep."""
        length = self._number("Q")
        if length > _MOST_TEXT:
            self._skip(length)
            return None
        return self._take(length).decode("utf-8", "replace")

    def _number(self, letter: str) -> int:
        raw = self._take(struct.calcsize(f"<{letter}"))
        return struct.unpack(f"<{letter}", raw)[0]  # type: ignore[no-any-return]

    def _take(self, count: int) -> bytes:
        self._count(count)
        raw = self._file.read(count)
        if len(raw) < count:
            raise self._cut_off()
        return raw

    def _skip(self, count: int) -> None:
        self._count(count)
        self._file.seek(count, 1)

    def _count(self, count: int) -> None:
        self._at += count
        if self._at > self._size:
            raise self._cut_off()
        if self._at > _MOST_BYTES:
            raise self._wrong(f"has a header of more than {_MOST_BYTES // 1024**2} MiB")

    def _cut_off(self) -> ModelFolderError:
        return ModelFolderError(
            f"{self._path} is cut off: it ends after {self._size:,} bytes, within its header. {AGAIN}"
        )

    def _wrong(self, what: str) -> ModelFolderError:
        return ModelFolderError(f"{self._path} {what}. {AGAIN}")
