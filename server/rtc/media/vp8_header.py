"""What a VP8 key frame makes a decoder keep, before it does (RFC 6386 section 9.1). Pure."""

from __future__ import annotations

# The previous, the golden and the alternative frame, the one decoded last, which need be none of these, the present one,
# and the newest that was handed out.
PICTURES = 6
# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
# 16×16 pixels of 4:2:0. What is beside them is little (measured).
MACROBLOCK_BYTES = 384


class Vp8Frames:
    """The frames of one decoder; each says all there is to know of it."""

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """The frame as it came, and the most bytes that it may have kept; 0 for a delta or what is no frame at all.

        Raises ValueError for a picture that is too large.
        """
        macroblocks = picture_macroblocks(data)
        if macroblocks > MAX_PICTURE_MACROBLOCKS:
            raise ValueError(
                f"A picture has {macroblocks} macroblocks; at most {MAX_PICTURE_MACROBLOCKS} are allowed."
            )
        return data, PICTURES * macroblocks * MACROBLOCK_BYTES


def picture_macroblocks(data: bytes) -> int:
    """Macroblocks of a key frame; 0 for a delta or what is no frame at all."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits ask for a scale on display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return ((width + 15) // 16) * ((height + 15) // 16)
