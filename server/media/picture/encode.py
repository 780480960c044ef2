"""Encode pictures, thumbnails and stills as JPEG; decode and scale pictures."""

from __future__ import annotations

import base64
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]
# JPEG quality on OpenCV's scale. At 80, printed letters of 14 px have no ringing, and a 720p page of small text takes
# about 120 kB and 1.5 ms. At 90 the JPEG is a third larger, and models do not read it better.
QUALITY = 80
# Longer side and size of a thumbnail
THUMBNAIL_SIDE = 320
THUMBNAIL_BYTES = 24 * 1024
# Longer side and size of a small picture, of which a message may have several
SMALL_SIDE = 240
SMALL_BYTES = 10 * 1024
# Longer side and size of a still
STILL_SIDE = 640
STILL_BYTES = 36 * 1024
# Tried in turn until the size fits; with the last one the sides are halved until it does.
_THUMBNAIL_QUALITIES = (75, 55, 35, 20)
# Least frames of a video for a Qwen vision model (qwen-vl-utils 0.0.14, `vision_process.py`)
MIN_FRAMES = 4


def encode_jpeg(bgr: Bgr, quality: int = QUALITY) -> bytes:
    """Encode a (height, width, 3) BGR picture as baseline JPEG (4:2:0). Raises ValueError if that fails."""
    with suppress(cv2.error):
        # OpenCV accepts padded rows, as in a view of a decoder's plane.
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done:
            return data.tobytes()
    raise ValueError(f"an array of shape {bgr.shape} cannot be encoded as JPEG")


def decode(data: bytes) -> Bgr | None:
    """Decode a JPEG to BGR; None if it is broken."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(found, np.uint8) if found is not None else None


def scale_to(bgr: Bgr, width: int, height: int) -> Bgr:
    """Scale a picture to exactly this size; one of this size is returned unchanged."""
    if bgr.shape[:2] == (height, width):
        return bgr
    shrinks = width * height < bgr.shape[0] * bgr.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(bgr, (width, height), interpolation=how), np.uint8)


def shrink(bgr: Bgr, side: int) -> tuple[Bgr, float]:
    """Shrink a picture by area averaging until its longest side is at most `side`. Return it and the scale."""
    height, width = bgr.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return bgr, 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def encode_thumbnail(bgr: Bgr) -> bytes:
    """Encode the picture as JPEG of at most 320 px per side and 24 KiB."""
    return _encode_bounded(bgr, THUMBNAIL_SIDE, THUMBNAIL_BYTES)


def encode_small(bgr: Bgr) -> bytes:
    """Encode the picture as JPEG of at most 240 px per side and 10 KiB."""
    return _encode_bounded(bgr, SMALL_SIDE, SMALL_BYTES)


def encode_still(bgr: Bgr) -> bytes:
    """Encode the picture as JPEG of at most 640 px per side and 36 KiB."""
    return _encode_bounded(bgr, STILL_SIDE, STILL_BYTES)


def _encode_bounded(bgr: Bgr, side: int, most: int) -> bytes:
    small = _shrink_within(bgr, side)
    while True:
        for quality in _THUMBNAIL_QUALITIES:
            data = encode_jpeg(small, quality)
            if len(data) <= most:
                return data
        # This terminates: a JPEG of one pixel has less than a kilobyte.
        small = _shrink_within(small, max(small.shape[:2]) // 2)


def to_data_url(jpeg_bytes: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes).decode("ascii")


def _shrink_within(bgr: Bgr, side: int) -> Bgr:
    """Shrink a picture with the same aspect ratio until no side is longer than `side`."""
    height, width = bgr.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return bgr
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Exact halves first: they take an eighth of the time of area averaging over uneven steps.
    while max(bgr.shape[:2]) >= 2 * side:
        half = max(1, bgr.shape[1] // 2), max(1, bgr.shape[0] // 2)
        bgr = np.asarray(cv2.resize(bgr, half, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR), np.uint8)
