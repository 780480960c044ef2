"""The camera's picture as the first frame of a video."""

from __future__ import annotations

import numpy as np
import pytest

from server.generation.first_frame import cover


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (832, 480), (1920, 1088)])
def test_the_middle_of_the_picture_in_the_videos_shape(width: int, height: int) -> None:
    """RGB of exactly that size; nothing is squeezed, the margin is left out."""
    bgr = np.zeros((720, 1280, 3), np.uint8)
    bgr[..., 0], bgr[..., 1] = 10, 90
    # A disc in the middle stays a disc.
    rows, columns = np.ogrid[:720, :1280]
    bgr[(rows - 360) ** 2 + (columns - 640) ** 2 < 150**2, 2] = 220
    rgb = np.frombuffer(cover(bgr, width, height), np.uint8).reshape(height, width, 3)
    assert tuple(rgb[0, 0]) == (0, 90, 10)
    assert tuple(rgb[height // 2, width // 2]) == (220, 90, 10)
    disc = rgb[..., 0] > 110
    tall, wide = disc.any(1).sum(), disc.any(0).sum()
    assert abs(int(tall) - int(wide)) <= 2
    assert tall == pytest.approx(300 * max(width / 1280, height / 720), abs=2)
