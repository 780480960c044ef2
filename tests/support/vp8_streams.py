"""VP8 bit by bit (RFC 6386 sections 7 and 9): headers that keep and hide pictures as they like,
over flat pictures.
"""

from __future__ import annotations

import struct


class _Bools:
    """Section 7.3's encoder, for bits of even chance."""

    def __init__(self) -> None:
        self._bottom = 0
        self._range = 255
        self._bits = 0

    def put(self, value: int, count: int = 1) -> None:
        for at in range(count - 1, -1, -1):
            split = 1 + ((self._range - 1) * 128 >> 8)
            if value >> at & 1:
                self._bottom += split
                self._range -= split
            else:
                self._range = split
            while self._range < 128:
                self._range <<= 1
                self._bottom <<= 1
                self._bits += 1

    def bytes(self, zeros: int) -> bytes:
        """Return the written bytes, followed by zeros: each further bit is 0, with any probability."""
        length = self._bits + 8
        value = self._bottom << -length % 8
        return value.to_bytes((length + 7) // 8, "big") + bytes(zeros)


def frame(
    size: tuple[int, int] | None = None,
    *,
    shown: bool = True,
    last: bool = True,
    golden: bool = False,
    alternative: bool = False,
    scale: int = 0,
    zeros: int = 4000,
) -> bytes:
    """A key frame of that size, or (None) a delta of intra macroblocks as the options say."""
    bools = _Bools()
    if size is not None:
        bools.put(0, 2)
    bools.put(0, 1)
    bools.put(0, 11)
    bools.put(0, 2)
    bools.put(60, 7)
    bools.put(0, 5)
    if size is None:
        bools.put(golden)
        bools.put(alternative)
        bools.put(0, 2 * (not golden) + 2 * (not alternative))
        bools.put(0, 2)
        bools.put(1)
        bools.put(last)
    else:
        bools.put(1)
    first = bools.bytes(zeros)
    tag = (size is None) | shown << 4 | len(first) << 5
    head = struct.pack("<I", tag)[:3]
    if size is not None:
        head += b"\x9d\x01\x2a" + struct.pack("<HH", size[0] | scale << 14, size[1] | scale << 14)
    return head + first + bytes(zeros)
