"""Compare a scene with what it showed before, down to a digit, by the means of several frames.

The change gate forgives small things and a shaken hand, which is right for work that nobody asked for. A question may be
about the smallest thing in sight. What a tripod has is forgiven: noise, a few pixels of sway, and light that flickers by a
few percent. Noise alone hides a digit from two frames: means of eight do not have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.media.picture.planes import (
    F32,
    U8,
    BufferPool,
    Planes,
    chroma_planes,
    luma_plane,
)
from server.shared.attention.registration import Pose, Reference, without_edge

if TYPE_CHECKING:
    import av

# Looks that a scene is known by
SAMPLES = 8
# Grey levels by which a pixel of these planes may differ, in the mean of so many of the newest looks: a faint change shows in
# eight, one of the last moment in one. `tests/features/prefill/test_likeness.py` measures what they see and forgive.
_LIMITS = {1: 32.0, 4: 22.0, SAMPLES: 16.0}
# Of a quiet scene, whose looks differ less from each other, so many times as much, but no less than this share of the limits
_TIMES = 2.8
_QUIET = 0.4
# Of color, in means of 2×2
_COLOR_LIMIT = 8.0
# Edges that sway differ by this share of the contrast around them.
_EDGE = 0.2
# Width of the planes of a wide picture
_WIDTH = 640
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
_KERNEL = np.ones((5, 5), np.uint8)


class FrameSample:
    """The small planes of one frame (430 kB at 1280×720)."""

    def __init__(self, image: av.VideoFrame, scratch: BufferPool) -> None:
        self.planes = Planes()
        with scratch.lock:
            self.planes.read(image, scratch)
        self.size = (image.width, image.height)
        shrink = max(2, round(max(self.size) / _WIDTH))
        full = (luma_plane(image), *chroma_planes(image))
        # Luma, U, V
        self.fine = [_shrink(plane, shrink, self.planes.turned) for plane in full]


class Likeness:
    """The mean of looks at one scene, with which later ones are compared (2 MB at 1280×720)."""

    def __init__(self, looks: Sequence[FrameSample], scratch: BufferPool) -> None:
        self._size = looks[0].size
        self._reference = Reference(looks[0].planes)
        laid = [self._align(look, scratch) for look in looks]
        # Of one that does not fit nothing is known.
        self._means: list[F32] | None = None
        if all(laid):
            poses, planes = zip(*(one for one in laid if one is not None), strict=True)
            self._means = _mean(planes)
            # The newest one differs from the others by noise.
            noise, _ = _differences(_mean(planes[:-1] or planes), planes[-1], _margin(poses))
            self._share = min(1.0, max(_QUIET, _TIMES * noise / _LIMITS[1]))

    def matches(self, looks: Sequence[FrameSample], scratch: BufferPool) -> bool:
        """Return True when later looks, the newest last, show no more than this: no pixel differs by more than noise does."""
        laid = [self._align(look, scratch) for look in looks]
        if self._means is None or not all(laid):
            return False
        poses, planes = zip(*(one for one in laid if one is not None), strict=True)
        margin = _margin(poses)
        for count, limit in _LIMITS.items():
            later = _mean(planes[-count:])
            if _sharpness(later[0]) > _SHARPER * _sharpness(self._means[0]):
                return False
            luma, color = _differences(self._means, later, margin)
            if luma > limit * self._share or color > _COLOR_LIMIT:
                return False
        return True

    def _align(self, look: FrameSample, scratch: BufferPool) -> tuple[Pose, list[F32]] | None:
        """Return a look's planes as the first one would show them; None for another view or light."""
        if look.size != self._size:
            return None
        with scratch.lock:
            np.copyto(scratch.luma, look.planes.luma)
            pose = self._reference.align(scratch.luma, scratch)
        if pose.shift > _SWAY or abs(pose.gain) > _LIGHT:
            return None
        luma, *chroma = (_warp(plane, pose) for plane in look.fine)
        height, width = luma.shape
        light = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(pose.slope_across)
        down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(height / width)
        light = light + down * np.float32(pose.slope_down) + np.float32(1 + pose.gain)
        return pose, [(luma - np.float32(pose.offset)) / light, *chroma]


def _margin(poses: Sequence[Pose]) -> int:
    """Return the pixels at each edge that some look may not show, and those that it shows by half."""
    return 4 * max(pose.margin for pose in poses) + 2


def _differences(earlier: list[F32], later: list[F32], margin: int) -> tuple[float, float]:
    """Return the largest difference of brightness, and of color, beyond what edges have that sway."""
    found = [_remove_lighting(later[0] - earlier[0], earlier[0])]
    for one, two in zip(earlier[1:], later[1:], strict=True):
        found.append(cv2.blur(two - one - np.median(two - one), (2, 2)))
    largest = []
    for difference, one, two in zip(found, earlier, later, strict=True):
        left = np.abs(difference) - _EDGE * _contrast(one, two)
        without_edge(left, margin if one is earlier[0] else margin // 2)
        largest.append(float(left.max()))
    return largest[0], max(largest[1:])


def _shrink(plane: U8, shrink: int, turned: bool) -> U8:
    height, width = plane.shape
    size = max(1, width // shrink), max(1, height // shrink)
    plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.array(plane.T if turned else plane, order="C")


def _warp(plane: U8, pose: Pose) -> F32:
    """Return a later plane as the earlier frame would show it."""
    values: F32 = plane.astype(np.float32)
    if pose.is_still:
        return values
    warped = np.empty_like(values)
    pose.warp(values, warped)
    return warped


def _mean(several: Sequence[list[F32]]) -> list[F32]:
    return [np.mean(planes, axis=0) for planes in zip(*several, strict=True)]


def _sharpness(luma: F32) -> float:
    """Return how much fine detail there is, in grey levels."""
    return float(cv2.mean(cv2.absdiff(luma, cv2.blur(luma, (3, 3))))[0]) + 0.5


def _remove_lighting(difference: F32, luma: F32) -> F32:
    """Return a difference without bands of mains light and what is as wide as light."""
    height, width = difference.shape
    squares = np.einsum("ij,ij->i", luma, luma)[:, None] + np.float32(1)
    for _ in range(_ROW_ROUNDS):
        clipped = np.clip(difference, -_ROW_CLIP, _ROW_CLIP)
        gains = cv2.blur(np.einsum("ij,ij->i", clipped, luma)[:, None] / squares, (1, 9))
        difference = difference - luma * gains
    wide = cv2.resize(
        np.clip(difference, -_ROW_CLIP, _ROW_CLIP), (40, 24), interpolation=cv2.INTER_AREA
    )
    wide = cv2.blur(wide, (round(_WIDE * 40), round(_WIDE * 24)))
    return difference - cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)


def _contrast(one: F32, two: F32) -> F32:
    """Return the range of values in the 5×5 around each pixel that both have."""
    ranges = (cv2.dilate(each, _KERNEL) - cv2.erode(each, _KERNEL) for each in (one, two))
    return np.asarray(np.minimum(*ranges), np.float32)
