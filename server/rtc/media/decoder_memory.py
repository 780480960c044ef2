"""Limit the memory of decoded pictures: what each frame would make a decoder keep, and what all
cameras share. Pure.

`PictureMemory` is safe to call from several threads.
"""

from __future__ import annotations

import threading

from server.rtc.media.h264 import H264Frames, TooLarge

# Most memory of a decoder beside its pictures: its tables, the units of a frame of 2 MiB, and that
# frame without emulation prevention (measured).
DECODER_BYTES = 14 << 20
# Pictures that a decoder keeps: the previous, golden and alternative frame, the one decoded last,
# the present one, and the newest returned one.
VP8_PICTURES = 6
# Macroblocks of a picture of 4096×4096
VP8_MAX_MACROBLOCKS = 65_536
# 16×16 pixels of 4:2:0. The decoder's other memory is small (measured).
VP8_MACROBLOCK_BYTES = 384
# Memory guaranteed to each camera. Pictures of 1920×1088 take 18 MiB in VP8, and 29 MiB in H.264
# with four references (the most of level 4); an H.264 decoder takes 14 MiB more, and 25 picture
# parameter sets 4 MiB.
OWN_BYTES = 48 << 20
# Memory that all cameras share for what exceeds their own.
SHARED_BYTES = 512 << 20


class CheckedFrames:
    """Checks one decoder's frames before they are decoded."""

    def __init__(self, codec: str) -> None:
        self._frames = _FRAMES[codec]()

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame to decode, and the most bytes the decoder may keep from now on (0:
        unchanged).

        Raises FormatRefused, TooLarge, and ValueError for a malformed frame.
        """
        data, kept = self._frames.checked(data)
        return data, kept and kept + DECODER_BYTES


class Vp8Frames:
    """Checks one decoder's frames; each stands for itself."""

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame unchanged, and the most bytes that the decoder may keep; 0 for anything
        but a key frame.

        Raises TooLarge.
        """
        macroblocks = picture_macroblocks(data)
        if macroblocks > VP8_MAX_MACROBLOCKS:
            raise TooLarge(
                f"A picture has {macroblocks} macroblocks; at most {VP8_MAX_MACROBLOCKS} are allowed."
            )
        return data, VP8_PICTURES * macroblocks * VP8_MACROBLOCK_BYTES


def picture_macroblocks(data: bytes) -> int:
    """Return the number of a key frame's macroblocks; 0 for anything else."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits ask for a scale on display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return ((width + 15) // 16) * ((height + 15) // 16)


_FRAMES: dict[str, type[Vp8Frames | H264Frames]] = {"VP8": Vp8Frames, "H264": H264Frames}


class PictureMemory:
    """Tracks each decoder's part of the shared memory.

    Its largest demand counts until it is closed.

    Bounds of memory for pictures larger than 1920×1080: 512 MiB for all cameras; when full,
    larger pictures are refused until memory is free.
    """

    def __init__(self, *, own: int = OWN_BYTES, shared: int = SHARED_BYTES) -> None:
        self._own = own
        self._free = shared
        self._taken: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Free bytes of the shared memory."""
        return self._free

    def take(self, owner: object, size: int) -> bool:
        """Reserve `size` bytes in all for `owner`'s decoder.

        Returns False, and reserves nothing, when too few are left.
        """
        with self._lock:
            more = size - self._own - self._taken.get(owner, 0)
            if more > self._free:
                return False
            if more > 0:
                self._taken[owner] = self._taken.get(owner, 0) + more
                self._free -= more
            return True

    def give_back(self, owner: object) -> None:
        """Release the reservation of a closed decoder. Safe to call more than once."""
        with self._lock:
            self._free += self._taken.pop(owner, 0)
