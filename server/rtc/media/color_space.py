"""How a sender's pictures stand for colours: WebRTC's color space header extension. Pure.

Browsers that convert a picture themselves say so there (Chromium: BT.709 at full range for a canvas and for many cameras),
for VP8 has no field for it and their H.264 does not use its own. Read by another matrix, red is a darker and a purer one.

Source: webrtc.org/experiments/rtp-hdrext/color-space; its numbers are those of ITU-T H.273.
"""

from __future__ import annotations

from dataclasses import dataclass

URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
# Primaries, transfer, matrix, range with chroma siting; with HDR metadata behind them.
_SIZES = (4, 28)
# Matrices that libav's scaler knows (MatrixCoefficients, H.273 table 4): BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020.
# GBR, YCgCo and "unspecified" are none of YCbCr's, or say nothing.
MATRICES = frozenset({1, 4, 5, 6, 7, 9})
LIMITED, FULL = 1, 2


@dataclass(frozen=True, slots=True)
class ColorSpace:
    """`matrix`: one of `MATRICES`; `range`: `LIMITED` (luma 16 to 235) or `FULL` (0 to 255). Both as libav numbers them."""

    matrix: int
    range: int


def parse(value: bytes) -> ColorSpace | None:
    """What the extension's `value` says; None when it says nothing that can be used."""
    if len(value) not in _SIZES:
        return None
    matrix, extent = value[2], value[3] >> 4 & 3
    if matrix not in MATRICES or extent not in (LIMITED, FULL):
        return None
    return ColorSpace(matrix, extent)
