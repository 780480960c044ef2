"""A drawn face that a face detector accepts, so that no photograph is needed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 640
_UNIT = 460
# (centre x, centre y, radius x, radius y) in units of the face, then the colour (blue, green, red).
_ELLIPSES = [
    ((0, 0.9, 0.7, 0.35), (90, 60, 40)),
    ((0, 0.5, 0.17, 0.25), (125, 155, 200)),
    ((0, -0.12, 0.4, 0.48), (35, 45, 60)),
    ((0, 0.04, 0.33, 0.45), (150, 180, 225)),
    ((-0.14, -0.07, 0.095, 0.065), (125, 155, 200)),
    ((0.14, -0.07, 0.095, 0.065), (125, 155, 200)),
    ((-0.14, -0.06, 0.07, 0.034), (240, 240, 240)),
    ((0.14, -0.06, 0.07, 0.034), (240, 240, 240)),
    ((-0.14, -0.06, 0.033, 0.034), (50, 45, 40)),
    ((0.14, -0.06, 0.033, 0.034), (50, 45, 40)),
    ((-0.14, -0.14, 0.1, 0.02), (45, 55, 75)),
    ((0.14, -0.14, 0.1, 0.02), (45, 55, 75)),
    ((0, 0.02, 0.03, 0.12), (165, 195, 238)),
    ((0, 0.13, 0.07, 0.03), (110, 140, 190)),
    ((-0.03, 0.135, 0.015, 0.01), (50, 60, 90)),
    ((0.03, 0.135, 0.015, 0.01), (50, 60, 90)),
    ((0, 0.26, 0.13, 0.045), (85, 80, 180)),
    ((0, 0.26, 0.12, 0.008), (50, 45, 110)),
]


def drawn_face(height: int) -> NDArray[np.uint8]:
    """A square picture, 1.55 times the height, a face that high in its middle (chin to brow)."""
    picture = np.full((_SIDE, _SIDE, 3), (190, 185, 180), np.uint8)
    for (x, y, across, down), colour in _ELLIPSES:
        centre = (int(_SIDE / 2 + x * _UNIT), int(_SIDE / 2 + y * _UNIT))
        radii = (int(across * _UNIT), int(down * _UNIT))
        cv2.ellipse(picture, centre, radii, 0, 0, 360, colour, -1, cv2.LINE_AA)
    light = 1 - 0.35 * np.clip((np.arange(_SIDE) - 250) / 390, 0, 1)
    lit = (picture * light[None, :, None]).astype(np.uint8)
    soft = cv2.GaussianBlur(lit, (0, 0), 3)
    scale = height / (0.9 * _UNIT)
    return np.asarray(
        cv2.resize(soft, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
    )


def scene_with_face(
    height: int, left: int = 500, top: int = 200, width: int = 1280, tall: int = 720
) -> NDArray[np.uint8]:
    """A camera picture with one drawn face whose square begins at (left, top)."""
    scene = np.full((tall, width, 3), 150, np.uint8)
    face = drawn_face(height)[: tall - top, : width - left]
    scene[top : top + face.shape[0], left : left + face.shape[1]] = face
    return scene
