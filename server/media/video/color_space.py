"""Parse WebRTC's color space header extension: the matrix and range of a sender's pictures. Pure.

Browsers that convert pictures themselves name the colour space there (Chromium: BT.709 at full
range for a canvas and for many cameras), because VP8 has no field for it and their H.264 leaves its
own out. A wrong matrix shifts the colours.

Source: webrtc.org/experiments/rtp-hdrext/color-space; the numbers are those of ITU-T H.273.
"""

from __future__ import annotations

from dataclasses import dataclass

URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
# Bytes: primaries, transfer, matrix, range with chroma siting; the longer one adds HDR metadata.
_SIZES = (4, 28)
# YCbCr matrices of libav's scaler (MatrixCoefficients, H.273 table 4): BT.709, FCC, BT.601 twice,
# SMPTE 240M, BT.2020. Left out: GBR, YCgCo and "unspecified".
MATRICES = frozenset({1, 4, 5, 6, 7, 9})
LIMITED, FULL = 1, 2


@dataclass(frozen=True, slots=True)
class ColorSpace:
    """`matrix`: one of `MATRICES`; `range`: `LIMITED` (luma 16 to 235) or `FULL` (0 to 255).

    Both as libav numbers them.
    """

    matrix: int
    range: int


def parse(value: bytes) -> ColorSpace | None:
    """Parse the extension's value; None when it is malformed or names no usable colour space."""
    if len(value) not in _SIZES:
        return None
    matrix, extent = value[2], value[3] >> 4 & 3
    if matrix not in MATRICES or extent not in (LIMITED, FULL):
        return None
    return ColorSpace(matrix, extent)
