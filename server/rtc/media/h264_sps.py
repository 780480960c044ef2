"""H.264 sequence parameter sets (ITU-T H.264 section 7.3.2.1.1), checked and written again. Pure.

libav keeps as many reference pictures as a set says, and beside them as many as may have to be put in order: up to
sixteen by the set's own word, and as many where it says nothing and pictures come out of order. A set that is written again
says that none has to be, and everything that no decoder here needs is left out.
"""

from __future__ import annotations

from typing import NamedTuple

# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
MAX_SIDE_MACROBLOCKS = 256
# The present picture, the one before (from which libav hides damage) and the newest that was handed out, which need not
# be references.
BESIDE_REFERENCES = 3
# Macroblocks of all pictures that are kept: references as level 5.2 has them (table A-1), and those beside. 196 MiB.
MAX_KEPT_MACROBLOCKS = 184_320 + BESIDE_REFERENCES * MAX_PICTURE_MACROBLOCKS

# Baseline, main, extended and high: no other has 4:2:0 with 8 bits alone.
_PROFILES = frozenset({66, 77, 88, 100})
_HIGH = 100
# No field that is read lies further behind, scaling lists and colours included.
_LONGEST = 1024
_MAX_REFERENCES = 16
_EXTENDED_SAR = 255


class FormatRefused(ValueError):
    """Its pictures are not 4:2:0 with 8 bits."""


class SequenceSet(NamedTuple):
    """What a set makes a decoder keep, and how it is given to one."""

    # Macroblocks of one picture
    picture: int
    # Macroblocks of all pictures that are kept
    kept: int
    # The unit's bytes behind its header, with emulation prevention
    written: bytes


class Bits:
    """Bits of a NAL unit behind its header, which may still have its emulation prevention bytes."""

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
        """Section 9.1: as many zeros as bits follow the first one."""
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
        """Everything that was read, as ones and zeros."""
        count = self._size - self._left
        return f"{self._value >> self._left:0{count}b}"


def read_set(unit: bytes) -> SequenceSet:
    """Read a set without its NAL header; what follows it does not count.

    Raises FormatRefused, and ValueError for one that is malformed or would have too much kept.
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
    """`video_signal_type` of the usability information (section E.1.1), bits as they stand; "0" where it has none."""
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
    except ValueError:  # it ends early: encoders have written such, and decoders take it
        return "0"


def _vui(colors: str, references: int) -> str:
    """Usability information with these colours, by which every picture is shown when it is decoded."""
    # No aspect ratio, no overscan; no chroma location, timing, buffers and picture structure.
    head = "00" + colors + "0" "0" "00" "0"
    # Restrictions: vectors beyond the edges, no bound of bytes and bits, of vectors the usual one; nothing to be
    # put in order, and no more pictures than there are references.
    numbers = "".join(_ue(number) for number in (0, 0, 16, 16, 0, references))
    return head + "1" "1" + numbers


def _ue(number: int) -> str:
    text = f"{number + 1:b}"
    return "0" * (len(text) - 1) + text


def _protected(rbsp: bytes) -> bytes:
    """With emulation prevention (section 7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
