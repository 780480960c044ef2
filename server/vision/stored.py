"""Prepare a stored picture for a model: it was filtered before it was stored, so only its size changes."""

from __future__ import annotations

import time
from typing import Protocol

import cv2
import numpy as np

from server.core.frames import Geometry, Picture
from server.vision import encode
from server.vision.resize import budget_pixels, smart_resize, visual_tokens


class Stored(Protocol):
    """A filtered picture as JPEG, and its frame's facts."""

    @property
    def id(self) -> str: ...

    @property
    def captured(self) -> float: ...

    @property
    def captured_sender(self) -> float | None: ...

    @property
    def source_width(self) -> int: ...

    @property
    def source_height(self) -> int: ...

    @property
    def jpeg(self) -> bytes: ...


def stored_picture(
    stored: Stored, geometry: Geometry, tokens: int, *, thumbnail: bool = False
) -> Picture:
    """Create an engine's picture of at most about `tokens` visual tokens. Raises ValueError for a broken JPEG."""
    began = time.perf_counter()
    decoded = cv2.imdecode(np.frombuffer(stored.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a stored picture cannot be decoded")
    bgr = np.asarray(decoded, np.uint8)
    most = budget_pixels(tokens, geometry)
    height, width = smart_resize(bgr.shape[0], bgr.shape[1], geometry, most)
    shrinks = width * height < bgr.shape[0] * bgr.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    sized = np.asarray(cv2.resize(bgr, (width, height), interpolation=how), np.uint8)
    return Picture(
        frame_id=stored.id,
        captured=stored.captured,
        captured_sender=stored.captured_sender,
        source_width=stored.source_width,
        source_height=stored.source_height,
        width=width,
        height=height,
        visual_tokens=visual_tokens(height, width, geometry),
        jpeg=encode.jpeg(sized),
        bgr=None,
        thumbnail=encode.small(bgr) if thumbnail else None,
        prepare_seconds=time.perf_counter() - began,
    )
