"""The camera's picture as the first frame of a video: the middle of it, in the video's own shape. Pure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def cover(bgr: NDArray[np.uint8], width: int, height: int) -> bytes:
    """RGB of `width` * `height` pixels, from the largest part around the middle that has their ratio."""
    rows, columns = bgr.shape[:2]
    part_rows = min(rows, max(1, round(columns * height / width)))
    part_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - part_rows) // 2, (columns - part_columns) // 2
    part = bgr[top : top + part_rows, left : left + part_columns]
    shrinks = width * height < part_rows * part_columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    sized = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how)
    return np.ascontiguousarray(sized[..., ::-1]).tobytes()
