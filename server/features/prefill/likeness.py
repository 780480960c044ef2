"""Compare a scene with an earlier one by the means of several frames, precisely enough to find a changed digit.

The change gate (`shared/attention/`) ignores small changes and a shaking hand, which suits background work. A question
may be about the smallest detail in view. This comparison ignores only the changes that a camera on a tripod shows:
noise, a few pixels of sway, and light that flickers by a few percent. Between two single frames noise hides a changed
digit; between means of eight frames it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.media.picture.planes import F32, U8, get_pixels
from server.shared.attention.planes import BufferPool, Planes
from server.shared.attention.registration import Pose, Reference, clear_edge

if TYPE_CHECKING:
    import av

# Number of frames whose mean represents a scene
SAMPLES = 8
# Most grey levels by which a pixel may differ, by the number of newest samples in the mean: a mean of eight shows a faint
# change, a single sample a very recent one. `tests/features/prefill/test_likeness.py` measures what is found and
# ignored.
_LIMITS = {1: 32.0, 4: 22.0, SAMPLES: 16.0}
# In a scene with little noise the limits shrink to this multiple of its noise, but not below this fraction of `_LIMITS`
_TIMES = 2.8
_QUIET = 0.4
# Most chroma levels by which the mean of 2×2 pixels may differ
_COLOR_LIMIT = 8.0
# Tolerance at edges, which sway, as a fraction of the local contrast
_EDGE = 0.2
# Approximate longer side of the reduced planes in pixels
_WIDTH = 640
# Most sway (blocks of 8 px), and most change of the light's gain
_SWAY = 0.6
_LIGHT = 0.09
# A picture sharper by more than this factor may show details that the earlier one lacks.
_SHARPER = 1.25
# Bands caused by mains-powered light are removed by a gain for each row: differences are clipped to this level, in this
# many rounds
_ROW_CLIP = 6.0
_ROW_ROUNDS = 3
# A difference that extends over this fraction of width and height counts as a change of light.
_WIDE = 0.4
_KERNEL = np.ones((5, 5), np.uint8)


class FrameSample:
    """The reduced planes of one frame (430 kB at 1280×720)."""

    def __init__(self, image: av.VideoFrame, scratch: BufferPool) -> None:
        self.planes = Planes()
        with scratch.lock:
            self.planes.read(image, scratch)
        self.size = (image.width, image.height)
        shrink = max(2, round(max(self.size) / _WIDTH))
        full = [get_pixels(plane) for plane in image.planes]
        # Reduced luma, U and V, uint8
        self.fine = [_shrink(plane, shrink, self.planes.turned) for plane in full]


class Likeness:
    """The mean of several samples of one scene, with which later samples are compared (2 MB at 1280×720)."""

    def __init__(self, samples: Sequence[FrameSample], scratch: BufferPool) -> None:
        self._size = samples[0].size
        self._reference = Reference(samples[0].planes)
        aligned = [self._align(sample, scratch) for sample in samples]
        # None if the samples are not of one view and light: nothing matches then.
        self._means: list[F32] | None = None
        if all(aligned):
            poses, planes = zip(*(one for one in aligned if one is not None), strict=True)
            self._means = _mean(planes)
            # The newest sample differs from the others only by noise, so the difference measures the noise.
            noise, _ = _measure_differences(
                _mean(planes[:-1] or planes), planes[-1], _measure_margin(poses)
            )
            self._share = min(1.0, max(_QUIET, _TIMES * noise / _LIMITS[1]))

    def is_match(self, samples: Sequence[FrameSample], scratch: BufferPool) -> bool:
        """Return True if no pixel of later samples, the newest last, differs by more than noise."""
        aligned = [self._align(sample, scratch) for sample in samples]
        if self._means is None or not all(aligned):
            return False
        poses, planes = zip(*(one for one in aligned if one is not None), strict=True)
        margin = _measure_margin(poses)
        for count, limit in _LIMITS.items():
            later = _mean(planes[-count:])
            if _measure_sharpness(later[0]) > _SHARPER * _measure_sharpness(self._means[0]):
                return False
            luma, color = _measure_differences(self._means, later, margin)
            if luma > limit * self._share or color > _COLOR_LIMIT:
                return False
        return True

    def _align(self, sample: FrameSample, scratch: BufferPool) -> tuple[Pose, list[F32]] | None:
        """Return a sample's pose, and its planes aligned to the first sample; None for another view or light."""
        if sample.size != self._size:
            return None
        with scratch.lock:
            np.copyto(scratch.luma, sample.planes.luma)
            pose = self._reference.align(scratch.luma, scratch)
        if pose.shift > _SWAY or abs(pose.gain) > _LIGHT:
            return None
        luma, *chroma = (_warp(plane, pose) for plane in sample.fine)
        height, width = luma.shape
        light = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(pose.slope_across)
        down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(height / width)
        light = light + down * np.float32(pose.slope_down) + np.float32(1 + pose.gain)
        return pose, [(luma - np.float32(pose.offset)) / light, *chroma]


def _measure_margin(poses: Sequence[Pose]) -> int:
    """Return the width in pixels of the margin that at least one sample does not show, or shows in part."""
    return 4 * max(pose.margin for pose in poses) + 2


def _measure_differences(earlier: list[F32], later: list[F32], margin: int) -> tuple[float, float]:
    """Return the largest differences of luma and of chroma, minus the tolerance at edges."""
    found = [_remove_lighting(later[0] - earlier[0], earlier[0])]
    for one, two in zip(earlier[1:], later[1:], strict=True):
        found.append(cv2.blur(two - one - np.median(two - one), (2, 2)))
    largest = []
    for difference, one, two in zip(found, earlier, later, strict=True):
        left = np.abs(difference) - _EDGE * _measure_contrast(one, two)
        clear_edge(left, margin if one is earlier[0] else margin // 2)
        largest.append(float(left.max()))
    return largest[0], max(largest[1:])


def _shrink(plane: U8, shrink: int, turned: bool) -> U8:
    height, width = plane.shape
    size = max(1, width // shrink), max(1, height // shrink)
    plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.array(plane.T if turned else plane, order="C")


def _warp(plane: U8, pose: Pose) -> F32:
    """Return a later plane aligned to the earlier frame."""
    values: F32 = plane.astype(np.float32)
    if pose.is_still:
        return values
    warped = np.empty_like(values)
    pose.warp(values, warped)
    return warped


def _mean(several: Sequence[list[F32]]) -> list[F32]:
    return [np.mean(planes, axis=0) for planes in zip(*several, strict=True)]


def _measure_sharpness(luma: F32) -> float:
    """Return the mean amount of fine detail in grey levels, plus 0.5 so that ratios are defined."""
    return float(cv2.mean(cv2.absdiff(luma, cv2.blur(luma, (3, 3))))[0]) + 0.5


def _remove_lighting(difference: F32, luma: F32) -> F32:
    """Return a difference without bands caused by mains-powered light, and without changes wide enough to be light."""
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


def _measure_contrast(one: F32, two: F32) -> F32:
    """Return the range of values in the 5×5 pixels around each pixel: the smaller range of both pictures."""
    ranges = (cv2.dilate(each, _KERNEL) - cv2.erode(each, _KERNEL) for each in (one, two))
    return np.asarray(np.minimum(*ranges), np.float32)
