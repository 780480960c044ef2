"""Choose the picture size for a Qwen vision model, and count its visual tokens.

`smart_resize` as published with Qwen2-VL (qwen-vl-utils, `vision_process.py`; transformers,
`image_processing_qwen2_vl.py`). The model does not resize a picture of that size again, so its boxes are in our pixels.
"""

from __future__ import annotations

import math

from server.core.frames import Geometry, Tiles

# Longer side to shorter side; from `smart_resize`.
MAX_RATIO = 200
# Visual tokens of `detail: high`; enough for a 1280×720 camera without shrinking (1,196 tokens at factor 28).
HIGH_TOKENS = 1_280


def smart_resize(
    height: int, width: int, geometry: Geometry, max_pixels: float | None = None
) -> tuple[int, int]:
    """Return the (height, width) to resize to: multiples of the factor, with about the same aspect ratio.

    `max_pixels` lowers the geometry's own maximum (see `budget_pixels`), but not below its minimum.
    This is the published behaviour with two additions. The longer side is cut to keep the maximum where one side is a
    single factor already, or where rounding up to the minimum exceeds the maximum. A shrunk picture never falls below the
    minimum, which takes precedence where no size fits both.

    Raises ValueError for sides below 1 and for an aspect ratio over `MAX_RATIO`.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a picture of {width}x{height} was given; each side must be at least 1")
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_RATIO:
        raise ValueError(
            f"a picture of {width}x{height} was given, an aspect ratio of {ratio:.1f}; "
            f"at most {MAX_RATIO} is allowed"
        )
    factor, least = geometry.factor, geometry.min_pixels
    most: float = geometry.max_pixels
    if max_pixels is not None:
        most = max(least, min(most, max_pixels))
    # Python's round: halves go to the even neighbour, as published.
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > most:
        shrink = math.sqrt(height * width / most)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < least:
        grow = math.sqrt(least / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    if high * wide > most:
        short = min(high, wide)
        long = max(factor, int(most // (short * factor)) * factor)
        high, wide = (short, long) if high <= wide else (long, short)
    if high * wide < least:
        # Rounding has shrunk it below the minimum: the model would enlarge it, and its boxes would not be in our pixels.
        grow = math.sqrt(least / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def visual_tokens(height: int, width: int, geometry: Geometry) -> int:
    """Return the visual tokens of a picture; its sides are multiples of the factor."""
    if geometry.tiles is not None:
        return _tiled(height, width, geometry.tiles)
    return (height // geometry.factor) * (width // geometry.factor)


def _tiled(height: int, width: int, tiles: Tiles) -> int:
    """Count tokens like transformers' `image_processing_idefics3.py`, which stretches both sides to whole squares."""
    side, longest = tiles.side, tiles.longest
    if tiles.filled:
        longest = min(longest, math.ceil(max(height, width) / side) * side)
    # In the published order, which rounds at each step: the longer side, the other one to an even number, both to squares.
    aspect = width / height
    lying = width >= height
    short = int(longest / aspect if lying else longest * aspect)
    short = max(1, short + short % 2)
    aspect = longest / short if lying else short / longest
    along = math.ceil(longest / side) * side
    across = int(along / aspect if lying else along * aspect)
    along, across = along // side, math.ceil(across / side)
    squares = along * across
    return tiles.tokens * (squares + 1 if squares > 1 else 1)


def budget_pixels(tokens: int, geometry: Geometry) -> int:
    """Return the largest number of pixels that costs at most this many tokens."""
    return tokens * geometry.factor**2
