"""Small planes of a frame (160×90) for comparisons, and their working memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.core.frames import Part
from server.media.picture.planes import F32, U8, get_luma_plane, get_pixels

if TYPE_CHECKING:
    import av

# Blocks of a picture: 8×8 px each at 1280×720, so that noise and coding hardly change their mean
WIDTH = 160
HEIGHT = 90
SIZE = WIDTH * HEIGHT
# Bytes of the first and second halving of 1920×1080; larger pictures use temporary arrays.
_HALVED = 960 * 540
_QUARTERED = 480 * 270


class Planes:
    """The small planes of one frame (80 kB), in grey levels; only `read` writes them."""

    def __init__(self) -> None:
        # (180, 320): a quarter of the sides of a picture of 1280×720, for printed text
        self.fine: U8 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
        # (90, 160)
        self.luma: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # (2, 45, 80): U, then V
        self.chroma: U8 = np.zeros((2, HEIGHT // 2, WIDTH // 2), np.uint8)
        # True if rows and columns are exchanged, as for an upright picture
        self.turned = False
        # A block's height by its width, in the camera's pixels: 1 for 16:9
        self.ratio = 1.0

    def read(self, image: av.VideoFrame, scratch: BufferPool) -> None:
        """Read another frame. Raises ValueError as `get_luma_plane` does."""
        luma = get_luma_plane(image)
        height, width = luma.shape
        self.turned = height > width
        longer, shorter = max(width, height), min(width, height)
        self.ratio = (shorter / HEIGHT) / (longer / WIDTH)
        self._shrink(luma, self.fine, scratch)
        _resize(self.fine, self.luma)
        for plane, target in zip(image.planes[1:], self.chroma, strict=True):
            self._shrink(get_pixels(plane), target, scratch)

    def blank(self, parts: Iterable[Part]) -> None:
        """Fill these parts of the upright picture with grey, so that nothing changes there."""
        for left, top, right, bottom in parts:
            if self.turned:
                left, top, right, bottom = top, left, bottom, right
            for plane in (self.fine, self.luma, *self.chroma):
                rows, columns = plane.shape
                plane[
                    int(top * rows) : math.ceil(bottom * rows),
                    int(left * columns) : math.ceil(right * columns),
                ] = 128

    def upright(self) -> U8:
        """Return the luma in the picture's orientation: (90, 160), or (160, 90) for an upright one."""
        return np.ascontiguousarray(self.luma.T) if self.turned else self.luma

    def copy_from(self, other: Planes) -> None:
        """Copy the values of other planes."""
        np.copyto(self.fine, other.fine)
        np.copyto(self.luma, other.luma)
        np.copyto(self.chroma, other.chroma)
        self.turned, self.ratio = other.turned, other.ratio

    def has_same_shape(self, other: Planes) -> bool:
        """Return True if both have the same shape, so that their blocks show the same places."""
        return self.turned == other.turned and abs(self.ratio - other.ratio) < 0.01 * self.ratio

    def _shrink(self, plane: U8, target: U8, scratch: BufferPool) -> None:
        """Halve as often as possible (five times as fast as a single step), then resize to `target`."""
        rows, columns = target.shape[::-1] if self.turned else target.shape
        first = True
        while plane.shape[0] >= 2 * rows and plane.shape[1] >= 2 * columns:
            height, width = plane.shape[0] // 2, plane.shape[1] // 2
            last = (height, width) == (rows, columns) and not self.turned
            halved = target if last else scratch.get_halving_buffer(height, width, first)
            _resize(plane[: 2 * height, : 2 * width], halved)
            plane, first = halved, not first
        if plane is target:
            return
        if not self.turned:
            _resize(plane, target)
            return
        if plane.shape != (rows, columns):
            resized = scratch.get_halving_buffer(rows, columns, first)
            _resize(plane, resized)
            plane = resized
        cv2.transpose(plane, dst=target)


def _resize(source: U8, target: U8) -> None:
    height, width = target.shape
    cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_AREA)


class BufferPool:
    """Working arrays (2 MB) shared by all cameras. Each comparison overwrites them before it reads them.

    A comparison keeps `lock`, so that comparisons in several threads take turns. A new temporary array of
    57 kB costs 32 µs, a shared one 1.5 µs.

    Bounds of working memory of comparisons: 2 MB; a comparison locks it, and other threads wait.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._first: U8 = np.zeros(_HALVED, np.uint8)
        self._second: U8 = np.zeros(_QUARTERED, np.uint8)
        # (90, 160): the frame; blurred; warped onto the reference; its differences; work
        self.luma, self.blurred, self.warped = _make_planes(3, HEIGHT, WIDTH)
        self.difference, self.strength, self.threshold = _make_planes(3, HEIGHT, WIDTH)
        self.a, self.b = _make_planes(2, HEIGHT, WIDTH)
        self.hot: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.bytes_a: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # (2, 45, 80)
        colors = (2, HEIGHT // 2, WIDTH // 2)
        self.chroma, self.chroma_warped, self.chroma_difference = _make_planes(3, *colors)
        self.chroma_strength, self.chroma_threshold = _make_planes(2, *colors)
        self.chroma_a, self.chroma_b = _make_planes(2, *colors)
        # (180, 320)
        self.fine_warped: U8 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
        self.fine_difference, self.fine_square = _make_planes(2, 2 * HEIGHT, 2 * WIDTH)
        # (45, 80)
        self.coarse, self.coarse_blurred, self.mean = _make_planes(3, HEIGHT // 2, WIDTH // 2)
        self.deviation, self.limit, self.half = _make_planes(3, HEIGHT // 2, WIDTH // 2)

    def get_halving_buffer(self, height: int, width: int, first: bool) -> U8:
        """Return an array for a halved plane; the plane to halve is in the other array."""
        flat = self._first if first else self._second
        size = height * width
        if size > flat.size:
            return np.empty((height, width), np.uint8)
        return flat[:size].reshape(height, width)


def _make_planes(count: int, *shape: int) -> Iterator[F32]:
    return (np.zeros(shape, np.float32) for _ in range(count))


# The process's working memory
SCRATCH = BufferPool()
