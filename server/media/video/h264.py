"""Bound H.264 frames (Annex B) and rewrite their sequence parameter sets before libav decodes them.

Pure.

libav keeps as many reference pictures as a set (ITU-T H.264 section 7.3.2.1.1) states, and further
pictures for reordering: up to sixteen, also where the set states nothing and pictures arrive out of
order. The rewritten set states that no picture is reordered, and leaves out every field that
decoding does not need.

libav allocates 4 KiB for a unit of four bytes and 168 KiB for a picture parameter set of ten, and
never frees either.
"""

from __future__ import annotations

from typing import NamedTuple

# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
MAX_SIDE_MACROBLOCKS = 256
# Pictures beside the references: the present one, the one before (from which libav conceals damage)
# and the newest returned one.
BESIDE_REFERENCES = 3
# Macroblocks of all kept pictures: level 5.2's references (table A-1) and those beside. 196 MiB.
MAX_KEPT_MACROBLOCKS = 184_320 + BESIDE_REFERENCES * MAX_PICTURE_MACROBLOCKS
# Parameter sets in one frame; encoders send one.
MAX_SETS = 8
# Units in one frame: a slice for each of its 512 packets, and the units before them.
MAX_UNITS = 600
# Memory of a macroblock: 384 bytes of samples, motion vectors and other data (measured).
MACROBLOCK_BYTES = 540
# Memory of a picture parameter set (measured).
PICTURE_SET_BYTES = 168 << 10
_START = b"\0\0\1"
_SLICES = frozenset({1, 5})
# Data partitions: a slice in three units, which libav does not read
_PARTITIONS = frozenset({2, 3, 4})
_SPS = 7
_PPS = 8
# Baseline, main, extended and high: the profiles that can be 4:2:0 with 8 bits only.
_PROFILES = frozenset({66, 77, 88, 100})
_HIGH = 100
# Bytes read of a set: all needed fields lie in them, scaling lists and colours included.
_LONGEST = 1024
_MAX_REFERENCES = 16
_EXTENDED_SAR = 255


class FormatRefused(ValueError):
    """The stream is not 4:2:0 with 8 bits, or has slice groups, data partitions, or slices out of
    order.

    Outside the tree of errors: the decoder counts it, and no client gets it.
    """


class TooLarge(ValueError):
    """The pictures need more memory than any camera may have.

    Outside the tree of errors as `FormatRefused` is.
    """


class SequenceSet(NamedTuple):
    """The memory that a set makes a decoder keep, and the rewritten set."""

    # Macroblocks of one picture
    picture: int
    # Macroblocks of all kept pictures
    kept: int
    # The unit's bytes behind its header, with emulation prevention
    written: bytes


class H264Frames:
    """Checks one decoder's frames, in decoding order."""

    def __init__(self) -> None:
        # Ids of the picture parameter sets so far
        self._pictures: set[int] = set()
        # Largest number of kept macroblocks over all sequence parameter sets so far
        self._most = 0
        # Macroblocks of the largest picture so far
        self.picture = 0

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame to decode, and the most bytes that all frames so far may keep (0:
        unchanged).

        Raises FormatRefused, TooLarge, and ValueError for a frame that is malformed or out of
        bounds.
        """
        parts: list[bytes] = []
        changed = sets = units = 0
        begun = False
        done = 0
        at = data.find(_START)
        while at >= 0:
            units += 1
            if units > MAX_UNITS:
                raise ValueError(f"A frame has more than {MAX_UNITS} units.")
            begin = at + 3
            at = data.find(_START, begin)
            kind = data[begin] & 0x1F if begin < len(data) else 0
            if kind in _SLICES and not begun:
                begun = True
                _check_beginning(data[begin + 1 : begin + 9])
            if kind in _PARTITIONS:
                raise FormatRefused("A picture is in data partitions.")
            if kind not in (_SPS, _PPS):
                continue
            changed = 1
            unit = data[begin + 1 : at if at >= 0 else len(data)]
            if kind == _PPS:
                self._pictures.add(_read_picture_set(unit))
                continue
            sets += 1
            if sets > MAX_SETS:
                raise ValueError(f"A frame has more than {MAX_SETS} sequence parameter sets.")
            read = self._sequence_set(unit)
            parts += (data[done : begin + 1], read.written)
            # Bytes between this unit and the next start code are left out.
            done = at if at >= 0 else len(data)
        parts.append(data[done:])
        kept = self._most * MACROBLOCK_BYTES + len(self._pictures) * PICTURE_SET_BYTES
        return (b"".join(parts) if sets else data), kept if changed else 0

    def _sequence_set(self, unit: bytes) -> SequenceSet:
        read = read_set(unit)
        self._most = max(self._most, read.kept)
        self.picture = max(self.picture, read.picture)
        return read


def _check_beginning(slice_header: bytes) -> None:
    """Refuse a picture that begins with a later slice: libav loses all slices before the first one."""
    if Bits(slice_header).ue():
        raise FormatRefused("A picture's slices are out of order.")


def _read_picture_set(unit: bytes) -> int:
    """Read the id of a picture parameter set (section 7.3.2.2) without its NAL header."""
    bits = Bits(unit)
    number = bits.ue(255)
    bits.ue(31)
    bits.read(2)
    if bits.ue():
        raise FormatRefused("A picture has slice groups.")
    return number


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

    Raises FormatRefused, TooLarge, and ValueError for a malformed set.
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
        raise TooLarge(
            f"A stream wants {kept} macroblocks kept; at most {MAX_KEPT_MACROBLOCKS} are allowed."
        )
    text = bits.so_far() + "1" + _vui(_colors(bits), references) + "1"
    text += "0" * (-len(text) % 8)
    return SequenceSet(picture, kept, _protected(int(text, 2).to_bytes(len(text) // 8, "big")))


def _bounded(width: int, height: int) -> int:
    if width > MAX_SIDE_MACROBLOCKS or height > MAX_SIDE_MACROBLOCKS:
        raise TooLarge(
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
    """Copy `video_signal_type` from the usability information (section E.1.1); "0" without."""
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
    head = "00" + colors + "00000"
    # Restrictions: vectors beyond the edges, no bound of bytes and bits, the usual bound of
    # vectors, no reordered pictures, and only as many buffered pictures as references.
    numbers = "".join(_ue(number) for number in (0, 0, 16, 16, 0, references))
    return head + "11" + numbers


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
