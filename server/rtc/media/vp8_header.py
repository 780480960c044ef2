"""Read a VP8 key frame's size before decoding, to bound the decoder's memory (RFC 6386 section 9.1). Pure."""

from __future__ import annotations

# Pictures that a decoder keeps: the previous, golden and alternative frame, the one decoded last, the present one, and the
# newest returned one.
PICTURES = 6
# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
# 16×16 pixels of 4:2:0. The decoder's other memory is small (measured).
MACROBLOCK_BYTES = 384


class Vp8Frames:
    """Checks one decoder's frames; each stands for itself."""

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame unchanged, and the most bytes that the decoder may keep; 0 for anything but a key frame.

        Raises ValueError for a picture that is too large.
        """
        macroblocks = picture_macroblocks(data)
        if macroblocks > MAX_PICTURE_MACROBLOCKS:
            raise ValueError(
                f"A picture has {macroblocks} macroblocks; at most {MAX_PICTURE_MACROBLOCKS} are allowed."
            )
        return data, PICTURES * macroblocks * MACROBLOCK_BYTES


def picture_macroblocks(data: bytes) -> int:
    """Return the number of a key frame's macroblocks; 0 for anything else."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits ask for a scale on display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return ((width + 15) // 16) * ((height + 15) // 16)
