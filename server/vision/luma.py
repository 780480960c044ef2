"""What a frame's luma plane tells without converting the frame: brightness, sharpness, motion.

The plane is read in place. Nothing of it is kept but a few small pictures (160×90 at most), and those
only here: what leaves this room are numbers.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.frames import Scene

if TYPE_CHECKING:
    import av

Luma = NDArray[np.uint8]

# Neither luma nor chroma of a picture lies all below this (ITU-R BT.601: black is 16 or 0 with both chromas at 128).
_WRITTEN = 16

SMALL_WIDTH = 160
SMALL_HEIGHT = 90
# Formats whose first plane is 8-bit luma.
_FORMATS = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray"})
# FFmpeg's AVCOL_RANGE_JPEG: luma from 0 to 255; else from 16 to 235 (ITU-R BT.601).
_FULL_RANGE = 2

# Brightness below which a frame is called dark unless something in it is lit (a screen, a lamp), and the
# one above which it no longer is.
DARK_BELOW = 0.10
DARK_UNTIL = 0.14
# A pixel this bright is lit, and this share of lit pixels makes a frame not dark. The second number ends it.
_LIT = 0.25
_LIT_SHARE = 0.02
_LIT_SHARE_UNTIL = 0.03

# Sharpness below which a frame is called blurred, and the one above which it no longer is. Pictures smoothed
# by a Gaussian of 1 px were measured at 0.45 to 0.9, of 2 px at 0.3 to 0.5, of 3 px at 0.2 to 0.33, of 4 px at
# 0.17 to 0.3, print at the upper end and soft photographs at the lower.
BLURRED_BELOW = 0.32
BLURRED_UNTIL = 0.40
# Patches of the full-resolution picture that sharpness is read from: side in px, how many of them.
_PATCH = 64
_PATCHES = 8
# Grey levels between a patch's darkest and brightest 5 %; with less there is no edge to measure.
_CONTRAST = 30
# Share of a patch's pixels with a steeper edge than the one that counts: noise stays below, edges reach it.
_STEEPEST = 0.01

# Motion is the difference to a picture of this many seconds before; the pictures kept are so far apart.
_MOTION_SECONDS = 1.0
_KEEP_EVERY = 0.2
_KEPT = 8


def unwritten(image: av.VideoFrame) -> bool:
    """Tell whether all planes are about zero, which shows as plain green: memory of the sender that nobody drew into.

    No camera gives such a picture; black has its chroma in the middle.
    """
    if image.format.name not in ("yuv420p", "yuvj420p"):
        return False
    for plane in reversed(image.planes):
        rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(plane.height, plane.line_size)
        if rows[:, : plane.width].max() >= _WRITTEN:
            return False
    return True


def luma_plane(image: av.VideoFrame) -> Luma:
    """The luma plane as a (height, width) view: no copy, read only, alive as long as the frame is.

    Raises ValueError for a pixel format without a luma plane of bytes.
    """
    if image.format.name not in _FORMATS:
        raise ValueError(f"a frame in {image.format.name} was given; it must be 8-bit planar YUV")
    plane = image.planes[0]
    stride = plane.line_size
    # The stubs of av do not say that a plane is a buffer.
    flat: Luma = np.frombuffer(cast(bytes, plane), np.uint8, stride * image.height)
    luma = flat.reshape(image.height, stride)[:, : image.width]
    luma.flags.writeable = False
    return luma


def small_luma(luma: Luma) -> Luma:
    """A picture of at most 160×90 px in the same ratio: each pixel the mean of a few of the camera's."""
    height, width = luma.shape
    scale = max(width / SMALL_WIDTH, height / SMALL_HEIGHT, 1.0)
    # About two samples of each direction per small pixel are averaged: enough against noise, and cheap.
    step = max(1, int(scale / 2))
    size = max(1, round(width / scale)), max(1, round(height / scale))
    sampled = np.ascontiguousarray(luma[::step, ::step])
    return np.asarray(cv2.resize(sampled, size, interpolation=cv2.INTER_AREA), np.uint8)


class SceneReader:
    """Reads one camera's frames in order; one caller at a time. Holds at most 8 small pictures (115 kB)."""

    def __init__(self) -> None:
        # (captured, small picture), oldest first; the oldest goes when there are too many.
        self._kept: deque[tuple[float, Luma]] = deque(maxlen=_KEPT)
        self._dark = False
        self._blurred = False

    def read(self, image: av.VideoFrame, captured: float) -> Scene:
        """Raises ValueError as `luma_plane` does."""
        luma = luma_plane(image)
        small = small_luma(luma)
        full = image.color_range == _FULL_RANGE or image.format.name.startswith("yuvj")
        low, span = (0, 255) if full else (16, 219)
        brightness = min(1.0, max(0.0, (float(small.mean()) - low) / span))
        lit = int(np.count_nonzero(small >= low + _LIT * span)) / small.size
        if self._dark:
            self._dark = brightness < DARK_UNTIL and lit < _LIT_SHARE_UNTIL
        else:
            self._dark = brightness < DARK_BELOW and lit < _LIT_SHARE
        sharpness = edge_sharpness(luma, small)
        # Without an edge there is no telling: not blurred.
        self._blurred = sharpness is not None and sharpness < (
            BLURRED_UNTIL if self._blurred else BLURRED_BELOW
        )
        return Scene(
            brightness=brightness,
            sharpness=sharpness or 0.0,
            motion=self._motion(small, captured, span),
            dark=self._dark,
            blurred=self._blurred,
        )

    def _motion(self, small: Luma, captured: float, span: int) -> float | None:
        """Against the newest picture that is a second old or more; else the oldest there is."""
        kept = self._kept
        if kept and (kept[-1][1].shape != small.shape or captured < kept[-1][0]):
            # The camera turned, or a new stream began: there is nothing to compare with.
            kept.clear()
        while len(kept) > 1 and captured - kept[1][0] >= _MOTION_SECONDS:
            kept.popleft()
        motion = None
        if kept:
            motion = min(1.0, float(cv2.absdiff(small, kept[0][1]).mean()) / span)
        if not kept or captured - kept[-1][0] >= _KEEP_EVERY:
            kept.append((captured, small))
        return motion


def edge_sharpness(luma: Luma, small: Luma) -> float | None:
    """How steep the edges are: 1 for a step from one pixel to the next, 0 for none. None without any edge.

    In the patches of highest contrast the steep end of the gradient (Sobel, 99th percentile) is divided by
    the patch's own contrast. A Gaussian blur of s pixels leaves 2/(s·√2π) of an edge's contrast in two pixels,
    whatever the contrast and however many edges there are, so small print and a single label read alike;
    the variance of the Laplacian would follow the amount of print. The upper quartile over the patches
    counts: a sharp object before a blurred background is sharp.
    """
    values = []
    for top, left in _contrasting_patches(luma.shape, small):
        patch = luma[top : top + _PATCH, left : left + _PATCH]
        contrast = _level(patch, 0.95) - _level(patch, 0.05)
        if contrast < _CONTRAST:
            continue
        across = cv2.convertScaleAbs(cv2.Sobel(patch, cv2.CV_16S, 1, 0), alpha=0.25)
        down = cv2.convertScaleAbs(cv2.Sobel(patch, cv2.CV_16S, 0, 1), alpha=0.25)
        # A quarter of Sobel's sum is the difference over two pixels; a step shows its whole contrast there.
        steepest = _level(np.asarray(cv2.max(across, down), np.uint8), 1 - _STEEPEST)
        values.append(min(1.0, steepest / contrast))
    if not values:
        return None
    return sorted(values)[len(values) * 3 // 4]


def _contrasting_patches(shape: tuple[int, ...], small: Luma) -> list[tuple[int, int]]:
    """Top left corners, in camera pixels, of the patches whose small pictures differ most."""
    height, width = shape
    scale = width / small.shape[1]
    cell = max(2, min(round(_PATCH / scale), *small.shape))
    rows, columns = small.shape[0] // cell, small.shape[1] // cell
    cells = small[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    spread = cells.max(axis=(1, 3)).astype(np.int16) - cells.min(axis=(1, 3))
    corners = []
    for index in np.argsort(spread, axis=None)[::-1][:_PATCHES]:
        row, column = divmod(int(index), columns)
        top = min(int(row * cell * scale), max(0, height - _PATCH))
        left = min(int(column * cell * scale), max(0, width - _PATCH))
        corners.append((top, left))
    return corners


def _level(pixels: Luma, share: float) -> int:
    """The grey level that this share of the pixels does not exceed."""
    counts = cv2.calcHist([pixels], [0], None, [256], [0.0, 256.0]).cumsum()
    return int(np.searchsorted(counts, share * pixels.size))
