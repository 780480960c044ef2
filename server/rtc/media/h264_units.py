"""Bound H.264 frames (Annex B) and rewrite their parameter sets before libav decodes them. Pure.

libav allocates 4 KiB for a unit of four bytes and 168 KiB for a picture parameter set of ten, and never frees either.
"""

from __future__ import annotations

from server.rtc.media.h264_sps import Bits, SequenceSet, read_set

# Parameter sets in one frame; encoders send one.
MAX_SETS = 8
# Units in one frame: a slice for each of its 512 packets, and the units before them.
MAX_UNITS = 600
# Memory of a macroblock: 384 bytes of samples, motion vectors and other data (measured).
MACROBLOCK_BYTES = 540
# Memory of a picture parameter set (measured).
PICTURE_SET_BYTES = 168 << 10

_START = b"\0\0\1"
_SPS = 7
_PPS = 8


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
        """Return the frame to decode, and the most bytes that all frames so far may keep (0: unchanged).

        Raises `h264_sps.FormatRefused`, and ValueError for a frame that is malformed or out of bounds.
        """
        parts: list[bytes] = []
        changed = sets = units = 0
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
            changed = 1
            unit = data[begin + 1 : at if at >= 0 else len(data)]
            if kind == _PPS:
                self._pictures.add(Bits(unit).ue(255))
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
