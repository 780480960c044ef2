"""Names of colours. Pure.

The rule, on OpenCV's HSV (hue 0 to 179, saturation and value 0 to 255): below value 60 it is black;
below saturation 38 it is grey, from value 190 on white, below value 80 black again. All else goes
by hue, where dark orange is brown, light and pale orange beige, and pale red and magenta are pink. The borders are set so that
the CSS colours of these names get them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.encode import shrunk
from server.media.picture.grounding import Box

NAMES = (
    *("black", "grey", "white", "red", "orange", "yellow"),
    *("green", "turquoise", "blue", "purple", "pink", "brown"),
    "beige",
)
NEUTRAL = frozenset({"black", "grey", "white"})
# Those that shadows, wood and skin have, too
DULL = NEUTRAL | {"brown", "beige"}
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
# Hues of walls, sand and cream, which are beige from this value on and below this saturation
_WARM, _LIGHT, _PALE = (8, 30), 170, 90
# Tan and fur are no orange up to this saturation.
_TAN = 126
# Longest side to which a picture is shrunk; a colour's share needs no more pixels.
_SIDE = 96
# Colours with smaller shares are not named: of a ground, and of a coloured thing on it.
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
    # A strong dark red stays red, a strong dark orange is brown.
    dull = (value < 170) & (sat >= 60)
    named[dull & ((hue < 4) | (hue >= 176)) & (sat < 200)] = _INDEX["brown"]
    named[dull & (hue >= 4) & (hue < 22)] = _INDEX["brown"]
    named[(hue >= 7) & (hue < 22) & (sat < 70) & (value < 210)] = _INDEX["brown"]
    # Olive leaves
    named[(hue >= 26) & (hue < 34) & (value < 160) & (sat >= 60)] = _INDEX["green"]
    light = (value >= _LIGHT) & (sat < _PALE)
    named[light & (hue >= _WARM[0]) & (hue < _WARM[1])] = _INDEX["beige"]
    named[(named == _INDEX["orange"]) & (hue >= _WARM[0]) & (sat < _TAN)] = _INDEX["beige"]
    # A little green is seen more than a little of any other hue.
    pale = sat < np.where((hue >= 45) & (hue < 80), 30, 38)
    named[pale] = _INDEX["grey"]
    named[pale & (value >= 190)] = _INDEX["white"]
    named[pale & (value < 80)] = _INDEX["black"]
    named[value < 60] = _INDEX["black"]
    return named


# How near in hue a lit side is to the colour of the rest of a thing, and how much larger that is
_NEAR_HUE, _LARGER = 4, 2


def is_shade(
    bgr: NDArray[np.uint8], named: NDArray[np.uint8], spot: NDArray[np.bool_], name: str
) -> bool:
    """Return whether a spot is only a side of a larger thing of the next colour: the lit top of an orange block is yellow.

    `named`: the picture's `name_pixels`; `spot`: the spot's pixels.
    """
    hue = float(np.median(cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)[..., 0][spot]))
    borders = [(upper, _HUES[at][1], _HUES[at + 1][1]) for at, (upper, _) in enumerate(_HUES[:-1])]
    others = {
        low if name == high else high
        for upper, low, high in borders
        if name in (low, high) and abs(hue - upper) <= _NEAR_HUE
    }
    for other in others:
        both = (spot | (named == _INDEX[other])).astype(np.uint8)
        _, labels = cv2.connectedComponents(both, connectivity=8)
        joint = labels == labels[spot][0]
        if np.count_nonzero(joint) >= (1 + _LARGER) * np.count_nonzero(spot):
            return True
    return False


# Below this saturation blue may be the sky's light on something white or grey
_SKY = 64
# Brown with so much orange and yellow is the shade on a thing of these colours.
_LIT = {"orange": 0.15, "yellow": 0.05}


def shares(bgr: NDArray[np.uint8], *, lit: bool = False) -> list[tuple[str, float]]:
    """Return colours and their shares of the picture (0 to 1), largest first, without tiny ones.

    `lit`: of a thing, without what light and shade add to its own colours.
    """
    small = shrunk(bgr, _SIDE)[0]
    named = name_pixels(small)
    if lit:
        _, sat, value = cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2HSV))
        sky = (named == _INDEX["blue"]) & (sat < _SKY)
        named[sky] = np.where(value[sky] >= 190, _INDEX["white"], _INDEX["grey"])
        if all(np.mean(named == _INDEX[name]) >= least for name, least in _LIT.items()):
            named[named == _INDEX["brown"]] = _INDEX["orange"]
    counts = np.bincount(named.ravel(), minlength=len(NAMES)) / named.size
    order = np.argsort(-counts, kind="stable")
    return [(NAMES[n], float(counts[n])) for n in order if counts[n] >= _LEAST_THING]


def by_place(bgr: NDArray[np.uint8]) -> dict[str, tuple[tuple[str, float], ...]]:
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
    return {place: tuple(shares(part)) for place, part in parts.items()}


def rim(bgr: NDArray[np.uint8]) -> dict[str, float]:
    """Return the colours of the picture's edges, and their shares of these."""
    height, width = bgr.shape[:2]
    rim = max(1, height // 12), max(1, width // 16)
    edges = (bgr[: rim[0]], bgr[height - rim[0] :], bgr[:, : rim[1]], bgr[:, width - rim[1] :])
    found: dict[str, float] = {}
    for edge in edges:
        for name, share in shares(edge):
            found[name] = found.get(name, 0.0) + share / len(edges)
    return found


# Pixels of a part whose ring is looked at, and the ring's radii
_RING_SIDE = 96
_RING = (0.82, 0.98)


def ring(bgr: NDArray[np.uint8]) -> list[tuple[str, float]]:
    """Return the colours of the ring that touches a part's edges, as of a cup from above, and their shares of it, largest first."""
    small = cv2.resize(bgr, (_RING_SIDE, _RING_SIDE), interpolation=cv2.INTER_AREA)
    named = name_pixels(np.asarray(small, np.uint8))
    at = (np.arange(_RING_SIDE) - (_RING_SIDE - 1) / 2) / (_RING_SIDE / 2)
    far = np.hypot(at[:, None], at[None, :])
    inside = named[(far > _RING[0]) & (far < _RING[1])]
    counts = np.bincount(inside, minlength=len(NAMES)) / inside.size
    return [(NAMES[n], float(counts[n])) for n in np.argsort(-counts, kind="stable")]


# Where clothes are below a face, in heights and widths of it: from and to, and half as wide; in a portrait what is left
_BELOW, _BESIDE = (0.5, 1.7), 0.8
_BELOW_PORTRAIT, _BESIDE_PORTRAIT = 0.25, 1.2
# Least height of that part
_LEAST_BELOW, _LEAST_PORTRAIT = 0.25, 0.12


def worn(bgr: NDArray[np.uint8], face: Box) -> list[tuple[str, float]]:
    """Return the colours below a face, as of a shirt, and their shares of that part, largest first; none without room."""
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
    return shares(bgr[int(top) : int(bottom), int(left) : int(right) + 1])


def ground(rim: Mapping[str, float]) -> tuple[str, ...]:
    """Return the colours of the background: those of at least 30 % of the picture's edges."""
    order = sorted(rim, key=lambda name: -rim[name])
    return tuple(name for name in order if rim[name] >= 0.3)


def _least_thing(name: str, *, plain: bool, apart: bool) -> float:
    """Return the least share of a part that a colour of a thing has. `apart`: the edges have none."""
    if name in NEUTRAL:
        return 0.15 if plain else 0.33
    return 0.05 if plain or apart else 0.33


def thing(
    part: Sequence[tuple[str, float]], ground: Sequence[str], rim: Collection[str] | None = None
) -> tuple[tuple[str, ...], str]:
    """Return the colours of the thing in a part of the picture, and its ground ("" without one).

    On a grey, white or black ground a coloured spot of a twentieth of the part is a thing, and a
    grey one of about a sixth. On a coloured ground it has to be a third, since that colour may be
    the thing itself; a twentieth is enough for a colour that the picture's edges (`rim`) have not.
    """
    if not part:
        return (), ""
    behind = [name for name, _ in part if name in ground]
    plain = bool(behind) and behind[0] in NEUTRAL
    rest = [
        (name, share)
        for name, share in part
        if name not in ground
        and share >= _least_thing(name, plain=plain, apart=rim is not None and name not in rim)
    ]
    if behind and rest:
        # Shades of one thing: a second colour counts with half of the first one's share.
        return tuple(n for n, share in rest if share >= 0.5 * rest[0][1])[:2], behind[0]
    first, share = part[0]
    return (first, *(n for n, other in part[1:2] if other >= 0.6 * share)), ""
