"""Check and rewrite H.264 sequence parameter sets (ITU-T H.264 section 7.3.2.1.1). Pure.

libav keeps as many reference pictures as a set states, and further pictures for reordering: up to sixteen, also where the
set states nothing and pictures arrive out of order. The rewritten set states that no picture is reordered, and leaves
out every field that decoding does not need.
"""

from __future__ import annotations

from typing import NamedTuple

# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
MAX_SIDE_MACROBLOCKS = 256
# Pictures beside the references: the present one, the one before (from which libav conceals damage) and the newest
# returned one.
BESIDE_REFERENCES = 3
# Macroblocks of all kept pictures: the references of level 5.2 (table A-1) and those beside them. 196 MiB.
MAX_KEPT_MACROBLOCKS = 184_320 + BESIDE_REFERENCES * MAX_PICTURE_MACROBLOCKS

# Baseline, main, extended and high: the profiles that can be 4:2:0 with 8 bits only.
_PROFILES = frozenset({66, 77, 88, 100})
_HIGH = 100
# Bytes that are read of a set: no needed field lies behind them, scaling lists and colours included.
_LONGEST = 1024
_MAX_REFERENCES = 16
_EXTENDED_SAR = 255


class FormatRefused(ValueError):
    """The stream's pictures are not 4:2:0 with 8 bits."""


class SequenceSet(NamedTuple):
    """The memory that a set makes a decoder keep, and the rewritten set."""

    # Macroblocks of one picture
    picture: int
    # Macroblocks of all kept pictures
    kept: int
    # The unit's bytes behind its header, with emulation prevention
    written: bytes


class Bits:
    """Reads the bits of a NAL unit behind its header; removes emulation prevention bytes."""

    def __init__(self, unit: bytes) -> None:
        data = unit[:_LONGEST].replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._size = self._left = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("A parameter set ends before its fields do.")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def ue(self, most: int = (1 << 32) - 2) -> int:
        """Read an unsigned Exp-Golomb number (section 9.1). Raises ValueError above `most`."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("A number of a parameter set has more than 32 bits.")
        number = (1 << zeros) - 1 + self.read(zeros)
        if number > most:
            raise ValueError(f"A number of a parameter set is {number}; at most {most} is allowed.")
        return number

    def se(self) -> int:
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def so_far(self) -> str:
        """Return all bits read so far as a string of ones and zeros."""
        count = self._size - self._left
        return f"{self._value >> self._left:0{count}b}"


def read_set(unit: bytes) -> SequenceSet:
    """Parse a set (without its NAL header) and rewrite it; bytes behind it are ignored.

    Raises FormatRefused, and ValueError for a malformed set or one that would keep too much memory.
    """
    bits = Bits(unit)
    profile = bits.read(8)
    if profile not in _PROFILES:
        raise FormatRefused(f"Profile {profile} may have more than 8 bits or other than 4:2:0.")
    bits.read(16)
    bits.ue(31)
    if profile == _HIGH:
        _samples(bits)
    bits.ue(12)
    order = bits.ue(2)
    if order == 0:
        bits.ue(12)
    elif order == 1:
        bits.read(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue(255)):
            bits.se()
    references = bits.ue(_MAX_REFERENCES)
    bits.read(1)
    width, height = bits.ue() + 1, bits.ue() + 1
    if not bits.read(1):
        height *= 2
        bits.read(1)
    bits.read(1)
    if bits.read(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        if 2 * (left + right) >= 16 * width or 2 * (top + bottom) >= 16 * height:
            raise ValueError("A sequence parameter set leaves nothing of its pictures.")
    picture = _bounded(width, height)
    kept = picture * (max(1, references) + BESIDE_REFERENCES)
    if kept > MAX_KEPT_MACROBLOCKS:
        raise ValueError(
            f"A stream wants {kept} macroblocks kept; at most {MAX_KEPT_MACROBLOCKS} are allowed."
        )
    text = bits.so_far() + "1" + _vui(_colors(bits), references) + "1"
    text += "0" * (-len(text) % 8)
    return SequenceSet(picture, kept, _protected(int(text, 2).to_bytes(len(text) // 8, "big")))


def _bounded(width: int, height: int) -> int:
    if width > MAX_SIDE_MACROBLOCKS or height > MAX_SIDE_MACROBLOCKS:
        raise ValueError(
            f"A picture has {16 * width}×{16 * height} pixels; a side may have {16 * MAX_SIDE_MACROBLOCKS}."
        )
    return width * height


def _samples(bits: Bits) -> None:
    if bits.ue() != 1 or bits.ue() or bits.ue() or bits.read(1):
        raise FormatRefused("Pictures are not 4:2:0 with 8 bits, or coded without loss.")
    if not bits.read(1):
        return
    for number in range(8):
        if bits.read(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.se()) % 256
                last = following or last


def _colors(bits: Bits) -> str:
    """Copy the bits of `video_signal_type` from the usability information (section E.1.1); "0" without one."""
    try:
        if not bits.read(1):
            return "0"
        if bits.read(1) and bits.read(8) == _EXTENDED_SAR:
            bits.read(32)
        if bits.read(1):
            bits.read(1)
        if not bits.read(1):
            return "0"
        kind = bits.read(4)
        described = bits.read(1)
        return f"1{kind:04b}{described}" + (f"{bits.read(24):024b}" if described else "")
    except ValueError:  # it ends early: some encoders write this, and decoders accept it
        return "0"


def _vui(colors: str, references: int) -> str:
    """Write usability information with these colours, in which no picture is reordered."""
    # No aspect ratio, no overscan; no chroma location, timing, buffers and picture structure.
    head = "00" + colors + "0" "0" "00" "0"
    # Restrictions: vectors beyond the edges, no bound of bytes and bits, the usual bound of vectors, no reordered
    # pictures, and only as many buffered pictures as references.
    numbers = "".join(_ue(number) for number in (0, 0, 16, 16, 0, references))
    return head + "1" "1" + numbers


def _ue(number: int) -> str:
    text = f"{number + 1:b}"
    return "0" * (len(text) - 1) + text


def _protected(rbsp: bytes) -> bytes:
    """Insert emulation prevention bytes (section 7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
