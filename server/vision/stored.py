"""Prepare a stored picture for a model: it was filtered before it was stored, so only its size changes."""

from __future__ import annotations

import time
from typing import Protocol

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
    bgr = encode.decoded(stored.jpeg)
    if bgr is None:
        raise ValueError("a stored picture cannot be decoded")
    most = budget_pixels(tokens, geometry)
    height, width = smart_resize(bgr.shape[0], bgr.shape[1], geometry, most)
    return Picture(
        frame_id=stored.id,
        captured=stored.captured,
        captured_sender=stored.captured_sender,
        source_width=stored.source_width,
        source_height=stored.source_height,
        width=width,
        height=height,
        visual_tokens=visual_tokens(height, width, geometry),
        jpeg=encode.jpeg(encode.scaled_to(bgr, width, height)),
        bgr=None,
        thumbnail=encode.small(bgr) if thumbnail else None,
        prepare_seconds=time.perf_counter() - began,
    )
