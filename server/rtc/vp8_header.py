"""What a VP8 key frame makes a decoder keep, before it does (RFC 6386 section 9.1). Pure."""

from __future__ import annotations

# The previous, the golden and the alternative frame, and the present one.
PICTURES = 4


def kept_macroblocks(data: bytes) -> int:
    """Macroblocks of all pictures that this frame may have kept; 0 for a delta or what is no frame at all."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits ask for a scale on display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return PICTURES * ((width + 15) // 16) * ((height + 15) // 16)
