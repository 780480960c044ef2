"""Check H.265 frames (Annex B) before libav decodes them. Pure.

The pictures that its decoder keeps are bounded by the memory of the process; see `limits`.
"""

from __future__ import annotations

from server.rtc.media.h264 import Bits, FormatRefused, TooLarge

# Largest side of a picture in pixels, as for visitors' cameras
MAX_SIDE = 4096
# Units of a frame; a camera has one for each slice and a few beside them.
MAX_UNITS = 1024
_START = b"\0\0\1"
_SPS = 33


class H265Frames:
    """Checks one decoder's frames, as `CheckedFrames` does for other codecs."""

    def checked(self, data: bytes) -> bytes:
        """Return the frame to decode.

        Raises FormatRefused, TooLarge, and ValueError for a malformed frame.
        """
        at = data.find(_START)
        units = 0
        while at >= 0:
            units += 1
            if units > MAX_UNITS:
                raise ValueError(f"A frame has more than {MAX_UNITS} units.")
            begin = at + 3
            at = data.find(_START, begin)
            if begin < len(data) and data[begin] >> 1 & 0x3F == _SPS:
                check_set(data[begin + 2 : at if at >= 0 else len(data)])
        return data


def check_set(unit: bytes) -> tuple[int, int]:
    """Read the size of a sequence parameter set's pictures (H.265 section 7.3.2.2.1), without its
    NAL header.

    Raises FormatRefused, TooLarge, and ValueError for a malformed set.
    """
    bits = Bits(unit)
    bits.read(4)
    layers = bits.read(3)
    bits.read(1)
    if layers > 6:
        raise ValueError("A sequence parameter set has more than seven layers.")
    _skip_profile(bits, layers)
    bits.ue(15)
    if bits.ue(3) != 1:
        raise FormatRefused("Pictures are not 4:2:0.")
    width, height = bits.ue(), bits.ue()
    if bits.read(1):
        for _ in range(4):
            bits.ue()
    if bits.ue() or bits.ue():
        raise FormatRefused("Pictures have more than 8 bits.")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise TooLarge(f"A picture has {width}×{height} pixels; a side may have {MAX_SIDE}.")
    return width, height


def _skip_profile(bits: Bits, layers: int) -> None:
    """Read past `profile_tier_level` (section 7.3.3)."""
    bits.read(88)
    bits.read(8)
    if not layers:
        return
    there = [(bits.read(1), bits.read(1)) for _ in range(8)][:layers]
    for profile, level in there:
        bits.read(88 * profile + 8 * level)
