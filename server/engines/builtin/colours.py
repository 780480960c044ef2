"""Names of colours. Pure.

The rule, on OpenCV's HSV (hue 0 to 179, saturation and value 0 to 255): below value 46 it is black; below saturation
38 it is grey, from value 190 on white, below value 80 black again; all else goes by hue, where dark orange is brown
and pale red and magenta are pink. The borders were set so that the CSS colours of these names get them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

NAMES = (
    "black",
    "grey",
    "white",
    "red",
    "orange",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
    "brown",
)
_INDEX = {name: index for index, name in enumerate(NAMES)}
# Hue up to which a name holds.
_HUES = (
    (7, "red"),
    (20, "orange"),
    (34, "yellow"),
    (80, "green"),
    (98, "turquoise"),
    (130, "blue"),
    (153, "purple"),
    (170, "pink"),
    (180, "red"),
)
# Pixels a side that are looked at; a colour's share needs no more.
_SIDE = 96
# A share below this is not named.
_LEAST = 0.08


def name_pixels(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index into `NAMES` for each pixel of a (height, width, 3) picture."""
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
    hue, sat, value = (hsv[..., n].astype(np.int16) for n in range(3))
    named = np.zeros(hue.shape, np.uint8)
    lower = 0
    for upper, name in _HUES:
        named[(hue >= lower) & (hue < upper)] = _INDEX[name]
        lower = upper
    reddish = (hue < 7) | (hue >= 170)
    named[reddish & (sat < 130) & (value >= 170)] = _INDEX["pink"]
    # A strong dark red stays red, a strong dark orange is brown.
    dull = (value < 170) & (sat >= 60)
    named[dull & ((hue < 4) | (hue >= 176)) & (sat < 200)] = _INDEX["brown"]
    named[dull & (hue >= 4) & (hue < 22)] = _INDEX["brown"]
    pale = sat < 38
    named[pale] = _INDEX["grey"]
    named[pale & (value >= 190)] = _INDEX["white"]
    named[pale & (value < 80)] = _INDEX["black"]
    named[value < 46] = _INDEX["black"]
    return named


def shares(bgr: NDArray[np.uint8]) -> list[tuple[str, float]]:
    """Colours by their share of the picture (0 to 1), largest first, without those that hardly show."""
    height, width = bgr.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    counts = np.bincount(name_pixels(small).ravel(), minlength=len(NAMES)) / (size[0] * size[1])
    order = np.argsort(-counts, kind="stable")
    return [(NAMES[n], float(counts[n])) for n in order if counts[n] >= _LEAST]


def centre(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle third each way: what a person points at."""
    height, width = bgr.shape[:2]
    top, left = height // 3, width // 3
    return bgr[top : max(top + 1, height - top), left : max(left + 1, width - left)]
