"""What an H.264 sequence parameter set makes a decoder keep, before it does (ITU-T H.264 section 7.3.2.1.1). Pure.

libav keeps as many reference pictures as the set says, sixteen at most, whatever the level allows: at 4096×4096 that
is more than half a gigabyte for a stream of a few kilobytes a frame.
"""

from __future__ import annotations

import re

# Macroblocks of all pictures that are kept, the one being decoded included: those of level 5.2 (table A-1), plus one
# picture of 4096×4096. About 94 MiB.
MAX_KEPT_MACROBLOCKS = 184_320 + 65_536
# Parameter sets in one frame; encoders send one.
MAX_SETS = 8

# A start code and a NAL unit header of type 7, whatever its other bits.
_SPS = re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67\x87\xa7\xc7\xe7]")
# Profiles whose sets say more about the samples.
_MORE = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
# No field that is read lies further behind, scaling lists included.
_LONGEST = 1024


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("A sequence parameter set ends before its fields do.")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def ue(self) -> int:
        """Section 9.1: as many zeros as bits follow the first one."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("A number of a sequence parameter set has more than 32 bits.")
        return (1 << zeros) - 1 + self.read(zeros)

    def se(self) -> int:
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def check_frame(data: bytes) -> int:
    """The most macroblocks that a parameter set of an Annex B frame may have kept; 0 when it has none.

    Raises ValueError for one that is malformed or would have too much kept.
    """
    most = 0
    for count, match in enumerate(_SPS.finditer(data)):
        if count >= MAX_SETS:
            raise ValueError(f"A frame has more than {MAX_SETS} sequence parameter sets.")
        kept = kept_macroblocks(data[match.end() : match.end() + _LONGEST])
        if kept > MAX_KEPT_MACROBLOCKS:
            raise ValueError(
                f"A stream wants {kept} macroblocks kept; at most {MAX_KEPT_MACROBLOCKS} are allowed."
            )
        most = max(most, kept)
    return most


def kept_macroblocks(rbsp: bytes) -> int:
    """Macroblocks of all reference pictures and the present one, of a set without its NAL header. Raises ValueError."""
    # What follows the set is harmless: its fields come first.
    bits = _Bits(rbsp.replace(b"\0\0\3", b"\0\0"))
    profile = bits.read(8)
    bits.read(16)
    bits.ue()
    if profile in _MORE:
        _samples(bits)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.read(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise ValueError("A sequence parameter set has a cycle of more than 255 frames.")
        for _ in range(cycle):
            bits.se()
    references = bits.ue()
    bits.read(1)
    width, height = bits.ue() + 1, bits.ue() + 1
    if not bits.read(1):
        height *= 2
    return width * height * (references + 1)


def _samples(bits: _Bits) -> None:
    chroma = bits.ue()
    if chroma == 3:
        bits.read(1)
    bits.ue()
    bits.ue()
    bits.read(1)
    if not bits.read(1):
        return
    for number in range(12 if chroma == 3 else 8):
        if bits.read(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.se()) % 256
                last = following or last
