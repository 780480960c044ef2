"""Frames of H.264 in Annex B form, as they are before libav gets them: bounded, and their sets written again. Pure.

A unit of four bytes takes four KiB in libav, and a picture parameter set of ten takes 168: neither is ever given back.
"""

from __future__ import annotations

from server.rtc.media.h264_sps import Bits, SequenceSet, read_set

# Parameter sets in one frame; encoders send one.
MAX_SETS = 8
# As many slices as a frame may have packets, and what stands before them.
MAX_UNITS = 600
# What a macroblock takes: 384 bytes of samples, and motion vectors and more beside (measured).
MACROBLOCK_BYTES = 540
# What a picture parameter set takes (measured).
PICTURE_SET_BYTES = 168 << 10

_START = b"\0\0\1"
_SPS = 7
_PPS = 8


class H264Frames:
    """The frames of one decoder, in the order in which it gets them."""

    def __init__(self) -> None:
        # Numbers of its picture parameter sets
        self._pictures: set[int] = set()
        # Of all sequence parameter sets so far
        self._most = 0
        # Macroblocks of the largest picture so far
        self.picture = 0

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """The frame as the decoder may have it, and the most bytes that all frames so far may have kept (0: nothing new).

        Raises `h264_sps.FormatRefused`, and ValueError for what is malformed or out of bounds.
        """
        parts: list[bytes] = []
        told = sets = units = 0
        done = 0
        at = data.find(_START)
        while at >= 0:
            units += 1
            if units > MAX_UNITS:
                raise ValueError(f"A frame has more than {MAX_UNITS} units.")
            begin = at + 3
            at = data.find(_START, begin)
            kind = data[begin] & 0x1F if begin < len(data) else 0
            if kind not in (_SPS, _PPS):
                continue
            told = 1
            unit = data[begin + 1 : at if at >= 0 else len(data)]
            if kind == _PPS:
                self._pictures.add(Bits(unit).ue(255))
                continue
            sets += 1
            if sets > MAX_SETS:
                raise ValueError(f"A frame has more than {MAX_SETS} sequence parameter sets.")
            read = self._sequence_set(unit)
            parts += (data[done : begin + 1], read.written)
            # What stands between this unit and the next start code is left out.
            done = at if at >= 0 else len(data)
        parts.append(data[done:])
        kept = self._most * MACROBLOCK_BYTES + len(self._pictures) * PICTURE_SET_BYTES
        return (b"".join(parts) if sets else data), kept if told else 0

    def _sequence_set(self, unit: bytes) -> SequenceSet:
        read = read_set(unit)
        self._most = max(self._most, read.kept)
        self.picture = max(self.picture, read.picture)
        return read
