"""Measure the planes of a frame: brightness, sharpness and motion of its luma.

Planes are read in place, without converting the frame. Only small pictures are kept, and only here; results are numbers.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.errors import PictureBlack
from server.core.frames import READABLE, Frame, Scene

if TYPE_CHECKING:
    import av
    from av.video.plane import VideoPlane


Luma = NDArray[np.uint8]
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
# No real picture has all luma and chroma values below this (ITU-R BT.601: black is 16 or 0, with both chromas at 128).
_WRITTEN = 16
SMALL_WIDTH = 160
SMALL_HEIGHT = 90
# FFmpeg's AVCOL_RANGE_JPEG: luma from 0 to 255, else from 16 to 235 (ITU-R BT.601)
_FULL_RANGE = 2
# Brightness below which a frame is dark unless something in it is lit (a screen, a lamp), and above which it is not any
# more (hysteresis)
DARK_BELOW = 0.10
DARK_UNTIL = 0.14
# Brightness of a lit pixel; the fraction of lit pixels that prevents the dark state, and the one that ends it
_LIT = 0.25
_LIT_SHARE = 0.02
_LIT_SHARE_UNTIL = 0.03
# Brightness of a visible pixel; a dark frame with a smaller fraction of them and without an edge is black.
_SEEN = 0.10
_SEEN_SHARE = 0.0005
# Sharpness below which a frame is blurred, and above which it is not any more. Measured with Gaussian blur: 0.45 to 0.9
# for 1 px, 0.3 to 0.5 for 2 px, 0.2 to 0.33 for 3 px, 0.17 to 0.3 for 4 px; printed text is at the upper end, soft
# photographs are at the lower.
BLURRED_BELOW = 0.32
BLURRED_UNTIL = 0.40
# Side (px) and number of the full-resolution patches in which sharpness is measured
_PATCH = 64
_PATCHES = 8
# Minimum grey levels between a patch's darkest and brightest 5 %; below, there is no edge to measure.
_CONTRAST = 30
# Fraction of the steepest gradients that is skipped: large enough for noise, small enough for edges
_STEEPEST = 0.01
# Motion is the difference from a picture of so many seconds before; distance and number of the kept pictures
_MOTION_SECONDS = 1.0
# Longest pause over which motion is measured: at the lowest rate a frame arrives every 10 s.
_MOTION_PAUSE = 12.0
_KEEP_EVERY = 0.2
_KEPT = 8


def is_uninitialised(image: av.VideoFrame) -> bool:
    """Return True if all planes are about zero (plain green), as in uninitialised memory of the sender.

    No camera takes such a picture: even black has medium chroma.
    """
    return all(get_pixels(plane).max() < _WRITTEN for plane in reversed(image.planes))


def get_pixels(plane: VideoPlane) -> U8:
    """Return a view of a plane without its padding."""
    # av's stubs do not declare a plane as a buffer.
    flat = np.frombuffer(cast(bytes, plane), np.uint8, plane.line_size * plane.height)
    return flat.reshape(plane.height, plane.line_size)[:, : plane.width]


def get_luma_plane(image: av.VideoFrame) -> Luma:
    """Return the luma plane as a read-only (height, width) view, without a copy.

    Raises ValueError for a format that no frame has.
    """
    if image.format.name not in READABLE:
        raise ValueError(f"the frame is {image.format.name}; it must be 8-bit planar YUV")
    luma = get_pixels(image.planes[0])
    luma.flags.writeable = False
    return luma


def shrink_luma(luma: Luma) -> Luma:
    """Shrink to at most 160×90 px with the same aspect ratio; each pixel is the mean of a few samples."""
    height, width = luma.shape
    scale = max(width / SMALL_WIDTH, height / SMALL_HEIGHT, 1.0)
    # About two samples per direction and pixel are enough against noise, and cheap.
    step = max(1, int(scale / 2))
    size = max(1, round(width / scale)), max(1, round(height / scale))
    sampled = np.ascontiguousarray(luma[::step, ::step])
    return np.asarray(cv2.resize(sampled, size, interpolation=cv2.INTER_AREA), np.uint8)


def get_levels(image: av.VideoFrame) -> tuple[int, int]:
    """Return the luma of black, and the number of levels from black to white."""
    full = image.color_range == _FULL_RANGE or image.format.name.startswith("yuvj")
    return (0, 255) if full else (16, 219)


def is_dark(small: Luma, low: int, span: int, *, before: bool) -> bool:
    """Return True if a small picture is dark without anything lit. `before`: the result for the picture before it."""
    lit = _share(small, low + _LIT * span)
    if before:
        return _measure_brightness(small, low, span) < DARK_UNTIL and lit < _LIT_SHARE_UNTIL
    return _measure_brightness(small, low, span) < DARK_BELOW and lit < _LIT_SHARE


def _measure_brightness(small: Luma, low: int, span: int) -> float:
    return min(1.0, max(0.0, (cv2.sumElems(small)[0] / small.size - low) / span))


def _share(small: Luma, least: float) -> float:
    """Return the fraction of pixels of at least this level."""
    # Integers are compared twice as fast.
    return int(np.count_nonzero(small >= math.ceil(least))) / small.size


class SceneAnalyser:
    """Measures the frames of one camera in order, for one caller at a time. Keeps at most 8 small pictures (115 kB)."""

    def __init__(self) -> None:
        # (capture time, small picture), oldest first
        self._kept: deque[tuple[float, Luma]] = deque(maxlen=_KEPT)
        self._dark = False
        self._blurred = False

    def read(self, image: av.VideoFrame, captured: float, small: Luma | None = None) -> Scene:
        """Measure a frame captured at this time (seconds). Raises ValueError as `get_luma_plane` does.

        `small`: a small luma picture of the frame, if already available.
        """
        luma = get_luma_plane(image)
        small = shrink_luma(luma) if small is None else small.copy()
        low, span = get_levels(image)
        self._dark = is_dark(small, low, span, before=self._dark)
        sharpness = measure_edge_sharpness(luma, small)
        seen = _share(small, low + _SEEN * span)
        # Blur cannot be measured without an edge.
        self._blurred = sharpness is not None and sharpness < (
            BLURRED_UNTIL if self._blurred else BLURRED_BELOW
        )
        return Scene(
            brightness=_measure_brightness(small, low, span),
            sharpness=sharpness or 0.0,
            motion=self._measure_motion(small, captured, span),
            dark=self._dark,
            blurred=self._blurred,
            black=self._dark and sharpness is None and seen < _SEEN_SHARE,
        )

    def _measure_motion(self, small: Luma, captured: float, span: int) -> float | None:
        """Return the mean difference (0 to 1) from the newest picture at least 1 s old, else from the oldest; None at first."""
        kept = self._kept
        if kept and (
            kept[-1][1].shape != small.shape or not 0 <= captured - kept[-1][0] <= _MOTION_PAUSE
        ):
            # The camera was turned, a new stream began or nothing was measured: older pictures are not comparable.
            kept.clear()
        while len(kept) > 1 and captured - kept[1][0] >= _MOTION_SECONDS:
            kept.popleft()
        motion = None
        if kept:
            motion = min(1.0, cv2.norm(small, kept[0][1], cv2.NORM_L1) / small.size / span)
        if not kept or captured - kept[-1][0] >= _KEEP_EVERY:
            kept.append((captured, small))
        return motion


def measure_edge_sharpness(luma: Luma, small: Luma) -> float | None:
    """Measure the steepness of edges: 1 for a step between neighbouring pixels. Return None if there is no edge.

    In the patches of highest contrast the 99th percentile of the gradient (Sobel) is divided by the patch's contrast. A
    Gaussian blur of s pixels leaves 2/(s·√2π) of an edge's contrast within two pixels, whatever the contrast and the number
    of edges, so small text and a single label give the same result; the variance of the Laplacian would depend on the
    amount of text. The result is the upper quartile over the patches: a sharp object on a blurred background is sharp.
    """
    corners = _find_contrasting_patches(luma.shape, small)
    if not corners:
        return None
    height, width = min(_PATCH, luma.shape[0]), min(_PATCH, luma.shape[1])
    # All patches in one column, so that each step is one call, with OpenCV's border between them.
    column = np.empty((len(corners), height + 2, width), np.uint8)
    for (top, left), room in zip(corners, column, strict=True):
        room[1:-1] = luma[top : top + height, left : left + width]
    column[:, 0], column[:, -1] = column[:, min(2, height)], column[:, max(1, height - 1)]
    flat = column.reshape(-1, width)
    across, down = cv2.spatialGradient(flat)
    np.abs(across, out=across)
    np.abs(down, out=down)
    # A quarter of Sobel's sum is the difference over two pixels, which for a step is its whole contrast.
    steepness = cv2.convertScaleAbs(cv2.max(across, down), alpha=0.25)
    steep = np.asarray(steepness, np.uint8).reshape(column.shape)
    dark, bright = _measure_levels(column[:, 1:-1], 0.05, 0.95)
    (steepest,) = _measure_levels(steep[:, 1:-1], 1 - _STEEPEST)
    contrast = bright - dark
    values = sorted(np.minimum(1.0, steepest / np.maximum(contrast, 1))[contrast >= _CONTRAST])
    return float(values[len(values) * 3 // 4]) if values else None


def _find_contrasting_patches(shape: tuple[int, ...], small: Luma) -> list[tuple[int, int]]:
    """Return the top left corners (camera pixels) of the patches with the highest contrast."""
    height, width = shape
    across, down = width / small.shape[1], height / small.shape[0]
    rows_of, columns_of = (
        max(2, min(round(_PATCH / scale), *small.shape)) for scale in (down, across)
    )
    rows, columns = small.shape[0] // rows_of, small.shape[1] // columns_of
    if not rows or not columns:
        return []
    # In half the time of numpy's reductions: each patch is read at its first pixel.
    patch = np.ones((rows_of, columns_of), np.uint8)
    first = slice(0, rows * rows_of, rows_of), slice(0, columns * columns_of, columns_of)
    most = np.asarray(cv2.dilate(small, patch, anchor=(0, 0)), np.uint8)[first]
    least = np.asarray(cv2.erode(small, patch, anchor=(0, 0)), np.uint8)[first]
    spread = most.astype(np.int16) - least
    corners = []
    for index in np.argsort(spread, axis=None)[::-1][:_PATCHES]:
        row, column = divmod(int(index), columns)
        top = min(int(row * rows_of * down), max(0, height - _PATCH))
        left = min(int(column * columns_of * across), max(0, width - _PATCH))
        corners.append((top, left))
    return corners


def _measure_levels(patches: Luma, *shares: float) -> list[NDArray[np.intp]]:
    """Return, for each share, the quantile of the grey levels in each patch."""
    counts = np.array([cv2.calcHist([patch], [0], None, [256], [0.0, 256.0]) for patch in patches])
    below = counts.reshape(len(patches), 256).cumsum(1)
    size = patches[0].size
    return [(below >= np.float32(share * size)).argmax(1) for share in shares]


def refuse_black(scene: Scene | None, frame: Frame) -> None:
    """Raise PictureBlack if nothing can be seen in a frame, because a model would invent an answer.

    `scene`: of a picture up to a second older; only if it is black the frame itself is measured.
    """
    if scene is None or not scene.black:
        return
    if SceneAnalyser().read(frame.image, frame.captured).black:
        raise PictureBlack(
            "The picture is black: the camera is covered, or there is no light. Uncover it or switch on a light, "
            "then ask again. No model was asked."
        )
