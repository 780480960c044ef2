"""Encoded frames of one colour, as a camera sends them."""

from __future__ import annotations

import functools
from fractions import Fraction

import av
import numpy as np

_ENCODERS = {
    "H264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}),
    "H265": (
        "libx265",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x265-params": "keyint=10:min-keyint=10:log-level=none:pools=none:frame-threads=1:repeat-headers=1",
        },
    ),
    "JPEG": ("mjpeg", {}),
}


@functools.cache
def encoded(
    codec: str, frames: int, width: int = 64, height: int = 48, format: str = "yuv420p"
) -> tuple[bytes, ...]:
    """Encode `frames` pictures, whose luma is 16, 17 and so on, a key frame every ten."""
    name, options = _ENCODERS[codec]
    context = av.CodecContext.create(name, "w")
    context.width, context.height = width, height  # type: ignore[attr-defined]
    context.pix_fmt = "yuvj420p" if codec == "JPEG" else format  # type: ignore[attr-defined]
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25, 1)  # type: ignore[attr-defined]
    context.options = options
    context.thread_count = 1
    found: list[bytes] = []
    for number in range(frames):
        luma = np.full((height * 3 // 2, width), 128, np.uint8)
        luma[:height] = 16 + number
        if format == "yuv420p":
            image = av.VideoFrame.from_ndarray(luma, format="yuv420p")
        else:
            image = av.VideoFrame(width, height, format)
        if codec == "JPEG":
            image = image.reformat(format="yuvj420p")
        image.pts = number
        found += [bytes(one) for one in context.encode(image)]  # type: ignore[attr-defined]
    found += [bytes(one) for one in context.encode(None)]  # type: ignore[attr-defined]
    assert len(found) == frames
    return tuple(found)
