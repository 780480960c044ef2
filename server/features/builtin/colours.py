"""Names of colours. Pure.

The rule, on OpenCV's HSV (hue 0 to 179, saturation and value 0 to 255): below value 60 it is black;
below saturation 38 it is grey, from value 190 on white, below value 80 black again. Other pixels are
named by hue: dark orange is brown, light and pale orange beige, pale red and magenta pink. With these
thresholds the CSS colours get their own names.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.encode import shrink
from server.media.picture.grounding import Box

NAMES = (
    *("black", "grey", "white", "red", "orange", "yellow"),
    *("green", "turquoise", "blue", "purple", "pink", "brown"),
    "beige",
)
NEUTRAL = frozenset({"black", "grey", "white"})
_INDEX = {name: index for index, name in enumerate(NAMES)}
# The upper end of each name's hues, exclusive
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
# Hues of walls, sand and cream: beige from this value on and below this saturation
_WARM, _LIGHT, _PALE = (8, 30), 170, 90
# Hue from which beige needs a lower saturation; and that saturation
_CREAM, _PALE_CREAM = 24, 64
# Saturation below which tan and fur are not named orange
_TAN = 126
# Longest side of the shrunk picture, in pixels; a colour's share needs no more.
_SIDE = 96
# Minimum share of a colour that is named, both of a background and of a coloured object on it
LEAST = 0.08
_LEAST_THING = 0.02


def name_pixels(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the index into `NAMES` for each pixel of a (height, width, 3) picture."""
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
    hue, sat, value = (hsv[..., n].astype(np.int16) for n in range(3))
    named = np.zeros(hue.shape, np.uint8)
    lower = 0
    for upper, name in _HUES:
        named[(hue >= lower) & (hue < upper)] = _INDEX[name]
        lower = upper
    reddish = (hue < 7) | (hue >= 170)
    named[reddish & (sat < 130) & (value >= 170)] = _INDEX["pink"]
    # A saturated dark red stays red; a dark orange is brown, if saturated only when darker.
    dull = (value < 170) & (sat >= 60)
    named[dull & ((hue < 4) | (hue >= 176)) & (sat < 200)] = _INDEX["brown"]
    shaded = value < 170 - np.maximum(0, sat - 180) // 2
    named[dull & shaded & (hue >= 4) & (hue < 22)] = _INDEX["brown"]
    named[(hue >= 7) & (hue < 22) & (sat < 70) & (value < 210)] = _INDEX["brown"]
    # Olive leaves
    named[(hue >= 26) & (hue < 34) & (value < 160) & (sat >= 60)] = _INDEX["green"]
    # Cream is paler than a pale yellow.
    pale = sat < np.where(hue < _CREAM, _PALE, _PALE_CREAM)
    named[(value >= _LIGHT) & pale & (hue >= _WARM[0]) & (hue < _WARM[1])] = _INDEX["beige"]
    named[(named == _INDEX["orange"]) & (hue >= _WARM[0]) & (sat < _TAN)] = _INDEX["beige"]
    # People notice a pale green sooner than other pale hues.
    pale = sat < np.where((hue >= 45) & (hue < 80), 30, 38)
    named[pale] = _INDEX["grey"]
    named[pale & (value >= 190)] = _INDEX["white"]
    named[pale & (value < 80)] = _INDEX["black"]
    named[value < 60] = _INDEX["black"]
    return named


# Saturation below which blue and turquoise may be skylight on something white or grey
_SKY = 64


def measure_shares(bgr: NDArray[np.uint8], *, lit: bool = False) -> list[tuple[str, float]]:
    """Return colours and their shares of the picture (0 to 1), largest first, without tiny ones.

    `lit`: the picture shows an object; skylight on it is not counted as its colour.
    """
    return _measure_shares(shrink(bgr, _SIDE)[0], lit=lit)


def _measure_shares(small: NDArray[np.uint8], *, lit: bool = False) -> list[tuple[str, float]]:
    named = name_pixels(small)
    if lit:
        _, sat, value = cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2HSV))
        sky = np.isin(named, (_INDEX["blue"], _INDEX["turquoise"])) & (sat < _SKY)
        named[sky] = np.where(value[sky] >= 190, _INDEX["white"], _INDEX["grey"])
    counts = np.bincount(named.ravel(), minlength=len(NAMES)) / named.size
    order = np.argsort(-counts, kind="stable")
    return [(NAMES[n], float(counts[n])) for n in order if counts[n] >= _LEAST_THING]


def get_colours_by_place(bgr: NDArray[np.uint8]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return the colours of the whole picture, its outer thirds and its middle, largest first."""
    height, width = bgr.shape[:2]
    top, left = height // 3, width // 3
    parts = {
        "whole": bgr,
        "left": bgr[:, : max(1, left)],
        "right": bgr[:, width - max(1, left) :],
        "top": bgr[: max(1, top)],
        "bottom": bgr[height - max(1, top) :],
        "middle": bgr[top : max(top + 1, height - top), left : max(left + 1, width - left)],
    }
    return {place: tuple(measure_shares(part)) for place, part in parts.items()}


# Segmentation of an object from its background: longest side of the part in pixels, margin around a box as a fraction
# of its size, and the middle of a picture as fractions of its width and height
_SUBJECT_SIDE, _AROUND, _MIDDLE = 96, 0.25, (0.1, 0.06, 0.9, 0.94)
# Minimum fraction of its box that an object fills
_LEAST_SUBJECT = 0.02
# Fraction of the examined part from which a box has no background around it
_ALL = 0.95


def find_subject_colours(bgr: NDArray[np.uint8], box: Box | None = None) -> list[tuple[str, float]]:
    """Return the colours of the object in a box, or in the middle, without its background.

    Each has its share of the object, largest first; empty if nothing stands out. Takes about 15 ms.
    """
    height, width = bgr.shape[:2]
    if box is None:
        x1, y1, x2, y2 = _MIDDLE
        box = Box(x1 * width, y1 * height, x2 * width, y2 * height)
    across, down = _AROUND * box.width, _AROUND * box.height
    left, top = int(max(0, box.x1 - across)), int(max(0, box.y1 - down))
    part = bgr[top : int(box.y2 + down) + 1, left : int(box.x2 + across) + 1]
    small, scale = shrink(part, _SUBJECT_SIDE)
    inside = (
        *(int((box.x1 - left) * scale), int((box.y1 - top) * scale)),
        *(max(1, int(box.width * scale)), max(1, int(box.height * scale))),
    )
    mask = np.zeros(small.shape[:2], np.uint8)
    if inside[2] * inside[3] > _ALL * mask.size:
        return _measure_shares(small, lit=True)
    # OpenCV's random state belongs to the thread; a fixed seed makes the result repeatable.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, mask, inside, *models, 2, cv2.GC_INIT_WITH_RECT)
    own = mask == cv2.GC_PR_FGD
    if np.count_nonzero(own) < _LEAST_SUBJECT * inside[2] * inside[3]:
        return []
    behind = dict(_measure_shares(small[~own][:, None]))
    found = _measure_shares(small[own][:, None], lit=True)
    # A colour with a larger share in the background shows through.
    return [one for one in found if one[1] > behind.get(one[0], 0.0)] or found


# Place of clothes below a face, in its heights and widths: begin, end and half the width; and the same in a portrait,
# down to the picture's edge
_BELOW, _BESIDE = (0.5, 1.7), 0.8
_BELOW_PORTRAIT, _BESIDE_PORTRAIT = 0.25, 1.2
# Minimum height of that part, in heights of the face
_LEAST_BELOW, _LEAST_PORTRAIT = 0.25, 0.12


def find_clothes_colours(bgr: NDArray[np.uint8], face: Box) -> list[tuple[str, float]]:
    """Return the colours below a face, as of a shirt, with their shares, largest first; empty if there is no room."""
    height, width = bgr.shape[:2]
    tall, wide = face.height, face.width
    top, bottom = (face.y2 + at * tall for at in _BELOW)
    beside, least = _BESIDE, _LEAST_BELOW
    if min(bottom, height) - top < least * tall:
        top, beside, least = face.y2 + _BELOW_PORTRAIT * tall, _BESIDE_PORTRAIT, _LEAST_PORTRAIT
    bottom = min(bottom, height)
    if bottom - top < least * tall or bottom - top < 2:
        return []
    middle, _ = face.middle
    left, right = max(0.0, middle - beside * wide), min(width, middle + beside * wide)
    return measure_shares(bgr[int(top) : int(bottom), int(left) : int(right) + 1])


# Minimum share of a further colour, relative to the first colour's share
_FURTHER = 0.3


def select_main_colours(shares: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    """Return the colours that describe an object, two at most."""
    return tuple(name for name, share in shares if share >= _FURTHER * shares[0][1])[:2]
