"""Find whether two frames show the same in every detail, so that one picture serves for both.

The change gate forgives small things and a shaken hand, which is right for work that nobody asked for. A question may be
about the smallest thing in sight; here a digit that changes on a display is enough. What a tripod has is forgiven: noise,
a few pixels of sway, and light that flickers by a few percent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.media.picture.alignment import Pose, Reference
from server.media.picture.luma import luma_plane
from server.media.picture.planes import F32, U8, Planes, Scratch, chroma_planes

if TYPE_CHECKING:
    import av

# Pixels of a frame that become one of what is kept, in each direction. It is compared at half of that, in blocks of two:
# laid over each other at twice the size, an edge that swayed by half a pixel leaves a third of the difference.
_SHRINK = 2
# A block of 8 px differs when its mean does by more grey levels than this; where the camera sways, also by more than this
# share of the contrast around it. With
# `python -m benchmarks.picture_reuse` a digit of an LCD with a contrast of 30 has 7.7 on a tripod, and 7.0 where it sways.
_LEAST = 6.8
_EDGE = 0.15
# Before a camera that stands, by so many times as much as 95 % of all blocks do at least: noise; never more than this.
_TIMES = 3.6
_MOST = 16.0
_STANDS = 0.05
# Of color, where blocks are 16 px
_COLOR_LEAST = 8.0
# With a larger difference of 95 % of all blocks the camera moves or the light has changed.
_RESTLESS = 6.0
# The farthest sway (blocks of 8 px), and the largest change of the light's gain
_SWAY = 0.6
_LIGHT = 0.09
# A picture that has become sharper by more than this share may show what the other one could not.
_SHARPER = 1.25
# Bands of mains light: a gain for each row, from differences up to this, in so many rounds
_ROW_CLIP = 6.0
_ROW_ROUNDS = 3
# The mean over this share of width and height is light.
_WIDE = 0.4
_KERNEL = np.ones((3, 3), np.uint8)


class Likeness:
    """The small planes of one frame (340 kB at 1280×720; 1.1 MB in detail)."""

    def __init__(self, image: av.VideoFrame, scratch: Scratch, *, detail: bool = False) -> None:
        """`detail`: blocks of half the size, for questions about small print; noise then counts as a difference more often.

        Raises ValueError for a pixel format without a luma plane of bytes.
        """
        self._planes = Planes()
        with scratch.lock:
            self._planes.read(image, scratch)
        shrink = _SHRINK // 2 if detail else _SHRINK
        turned = self._planes.turned
        self._size = (image.width, image.height)
        self._luma = _shrunk(luma_plane(image), shrink, turned)
        self._chroma = tuple(
            _shrunk(plane, 2 * shrink, turned) for plane in chroma_planes(image) or ()
        )

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks that are compared."""
        rows, columns = self._luma.shape
        return rows // 2, columns // 2

    def alike(self, later: Likeness, scratch: Scratch) -> bool:
        """Return True when a later frame shows no more than this one: no block of 8 px differs by more than noise does."""
        if (
            self._size != later._size
            or self._luma.shape != later._luma.shape
            or len(self._chroma) != len(later._chroma)
        ):
            return False
        if self._luma is later._luma:
            return True
        reference = Reference(self._planes)
        with scratch.lock:
            np.copyto(scratch.luma, later._planes.luma)
            pose = reference.align(scratch.luma, scratch)
        if pose.shift > _SWAY or abs(pose.gain) > _LIGHT:
            return False
        if _sharpness(later._luma) > _SHARPER * _sharpness(self._luma):
            return False
        return _luma_alike(self._luma, later._luma, pose) and all(
            _color_alike(one, two, pose)
            for one, two in zip(self._chroma, later._chroma, strict=True)
        )


def _shrunk(plane: U8, shrink: int, turned: bool) -> U8:
    height, width = plane.shape
    if shrink > 1:
        size = max(1, width // shrink), max(1, height // shrink)
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.array(plane.T if turned else plane, order="C")


def _sharpness(luma: U8) -> float:
    """Return how much fine detail there is, in grey levels."""
    return float(cv2.mean(cv2.absdiff(luma, cv2.blur(luma, (3, 3))))[0]) + 0.5


def _laid(plane: U8, pose: Pose) -> F32:
    """Return a later plane as the earlier frame would show it."""
    height, width = plane.shape
    values: F32 = plane.astype(np.float32)
    if pose.still:
        return values
    laid = np.empty_like(values)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = pose.matrix(width, height)
    cv2.warpAffine(
        values, matrix, (width, height), dst=laid, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return laid


def _halved(plane: F32) -> F32:
    height, width = plane.shape
    size = max(1, width // 2), max(1, height // 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _luma_alike(one: U8, two: U8, pose: Pose) -> bool:
    later = _laid(two, pose)
    earlier = one.astype(np.float32)
    height, width = one.shape
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(height / width)
    light = across * np.float32(pose.slope_across) + down * np.float32(pose.slope_down)
    light += np.float32(1 + pose.gain)
    difference = _halved(later - earlier * light - np.float32(pose.offset))
    earlier, later = _halved(earlier), _halved(later)
    squares = np.einsum("ij,ij->i", earlier, earlier)[:, None] + np.float32(1)
    for _ in range(_ROW_ROUNDS):
        clipped = np.clip(difference, -_ROW_CLIP, _ROW_CLIP)
        gains = cv2.blur(np.einsum("ij,ij->i", clipped, earlier)[:, None] / squares, (1, 5))
        difference -= earlier * gains
    height, width = difference.shape
    wide = cv2.resize(
        np.clip(difference, -_ROW_CLIP, _ROW_CLIP), (40, 24), interpolation=cv2.INTER_AREA
    )
    wide = cv2.blur(wide, (round(_WIDE * 40), round(_WIDE * 24)))
    difference -= cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)
    means, usual = _means(difference, 2 * pose.margin)
    least = _LEAST
    if pose.shift < _STANDS:
        least = min(_MOST, max(_LEAST, _TIMES * usual))
    else:
        means -= _EDGE * _contrast(earlier, later)
    return usual <= _RESTLESS and float(means.max()) <= least


def _color_alike(one: U8, two: U8, pose: Pose) -> bool:
    later, earlier = _laid(two, pose), one.astype(np.float32)
    difference = _halved(later - earlier)
    difference -= np.median(difference)
    means, usual = _means(difference, pose.margin)
    means -= _EDGE * _contrast(_halved(earlier), _halved(later))
    return usual <= _RESTLESS and float(means.max()) <= _COLOR_LEAST


def _means(difference: F32, margin: int) -> tuple[F32, float]:
    """Return the sizes of the blocks' means, and that which 95 % of them do not exceed."""
    means = np.abs(cv2.blur(difference, (2, 2)))
    usual = float(np.quantile(means[::2, ::2], 0.95))
    if margin:
        means[:margin] = means[-margin:] = 0
        means[:, :margin] = means[:, -margin:] = 0
    return means, usual


def _contrast(one: F32, two: F32) -> F32:
    """Return the range of values in the 3×3 around each pixel that both have."""
    ranges = (cv2.dilate(each, _KERNEL) - cv2.erode(each, _KERNEL) for each in (one, two))
    return np.asarray(np.minimum(*ranges), np.float32)
