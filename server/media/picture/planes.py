"""Small planes of a frame: means of luma and chroma, 160×90, so that cameras share scratch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.luma import luma_plane

if TYPE_CHECKING:
    import av

# No color: BT.601's middle.
_GRAY = 128


class Planes:
    """One frame's small planes (80 kB), in grey levels. `read` alone writes them."""

    def __init__(self) -> None:
        # (180, 320): a quarter of the side of a picture of 1280×720, for print
        self.fine: U8 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
        # (90, 160)
        self.luma: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # (2, 45, 80): U, then V
        self.chroma: U8 = np.full((2, HEIGHT // 2, WIDTH // 2), _GRAY, np.uint8)
        # True when rows and columns changed sides: an upright picture lies on its side here.
        self.turned = False
        # A block's height by its width, in the camera's pixels: 1 for 16:9
        self.ratio = 1.0

    def read(self, image: av.VideoFrame, scratch: BufferPool) -> None:
        """Read another frame. Raises ValueError for a format without a luma plane of bytes."""
        luma = luma_plane(image)
        height, width = luma.shape
        self.turned = height > width
        longer, shorter = max(width, height), min(width, height)
        self.ratio = (shorter / HEIGHT) / (longer / WIDTH)
        self._shrink(luma, self.fine, scratch)
        _resize(self.fine, self.luma)
        planes = chroma_planes(image)
        if planes is None:
            self.chroma.fill(_GRAY)
            return
        for plane, target in zip(planes, self.chroma, strict=True):
            self._shrink(plane, target, scratch)

    def upright(self) -> U8:
        """Return the luma as the picture stands: (90, 160), or (160, 90) of an upright one."""
        return np.ascontiguousarray(self.luma.T) if self.turned else self.luma

    def copy(self) -> Planes:
        other = Planes()
        other.take(self)
        return other

    def take(self, other: Planes) -> None:
        """Copy the values of other planes."""
        np.copyto(self.fine, other.fine)
        np.copyto(self.luma, other.luma)
        np.copyto(self.chroma, other.chroma)
        self.turned, self.ratio = other.turned, other.ratio

    def alike(self, other: Planes) -> bool:
        """Find whether both have the same shape, so that their blocks show the same places."""
        return self.turned == other.turned and abs(self.ratio - other.ratio) < 0.01 * self.ratio

    def _shrink(self, plane: U8, target: U8, scratch: BufferPool) -> None:
        """Halve as often as possible (five times as fast as one step), then resize to `target`."""
        rows, columns = target.shape[::-1] if self.turned else target.shape
        first = True
        while plane.shape[0] >= 2 * rows and plane.shape[1] >= 2 * columns:
            height, width = plane.shape[0] // 2, plane.shape[1] // 2
            last = (height, width) == (rows, columns) and not self.turned
            halved = target if last else scratch.halved(height, width, first)
            _resize(plane[: 2 * height, : 2 * width], halved)
            plane, first = halved, not first
        if plane is target:
            return
        if not self.turned:
            _resize(plane, target)
            return
        if plane.shape != (rows, columns):
            resized = scratch.halved(rows, columns, first)
            _resize(plane, resized)
            plane = resized
        cv2.transpose(plane, dst=target)


def _resize(source: U8, target: U8) -> None:
    height, width = target.shape
    cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_AREA)


def chroma_planes(image: av.VideoFrame) -> tuple[U8, U8] | None:
    """Return U and V, or None for a picture without color."""
    if len(image.planes) < 2:
        return None
    views = []
    for plane in image.planes[1:]:
        rows: U8 = np.frombuffer(cast(bytes, plane), np.uint8, plane.line_size * plane.height)
        views.append(rows.reshape(plane.height, plane.line_size))
    if image.format.name == "nv12":
        pairs = views[0][:, : image.planes[1].width * 2]
        return np.ascontiguousarray(pairs[:, ::2]), np.ascontiguousarray(pairs[:, 1::2])
    u, v = (view[:, : plane.width] for view, plane in zip(views, image.planes[1:], strict=True))
    return u, v


# Working memory of a look at a frame, shared by all cameras.

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
# Blocks of a picture: 8×8 px each at 1280×720, so many that noise and coding hardly move the mean.
WIDTH = 160
HEIGHT = 90
SIZE = WIDTH * HEIGHT
# Bytes of the first and second halving of 1920×1080; larger pictures get temporaries of their own.
_HALVED = 960 * 540
_QUARTERED = 480 * 270


class BufferPool:
    """Arrays (2 MB) that each look overwrites before reading; nothing in them outlives it.

    A look holds `lock`, so looks of several threads take turns. A new temporary of 57 kB costs
    32 µs, one of these 1.5.

    Bounds of working memory of looks: 2 MB; a look holds its lock, and another thread waits for
    it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._first: U8 = np.zeros(_HALVED, np.uint8)
        self._second: U8 = np.zeros(_QUARTERED, np.uint8)
        # (90, 160): the look, blurred, warped onto the reference; its differences; work
        self.luma, self.blurred, self.warped = _full(), _full(), _full()
        self.difference, self.strength, self.threshold = _full(), _full(), _full()
        self.a, self.b = _full(), _full()
        self.hot: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.bytes_a: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # (2, 45, 80)
        self.chroma, self.chroma_warped = _pair(), _pair()
        self.chroma_difference, self.chroma_strength, self.chroma_threshold = (
            _pair(),
            _pair(),
            _pair(),
        )
        self.chroma_a, self.chroma_b = _pair(), _pair()
        # (180, 320)
        self.fine_warped: U8 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
        self.fine_difference: F32 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.float32)
        self.fine_square: F32 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.float32)
        # (45, 80)
        self.coarse, self.coarse_blurred = _half(), _half()
        self.mean, self.deviation, self.limit, self.half = _half(), _half(), _half(), _half()

    def halved(self, height: int, width: int, first: bool) -> U8:
        """Return an array for a halved plane; the plane to halve is in the other one."""
        flat = self._first if first else self._second
        size = height * width
        if size > flat.size:
            return np.empty((height, width), np.uint8)
        return flat[:size].reshape(height, width)


def clip(values: F32, bound: float, target: F32) -> F32:
    """Limit values to plus and minus a bound; a third of the time of a minimum and a maximum."""
    return np.clip(values, -bound, bound, out=target)


def _full() -> F32:
    return np.zeros((HEIGHT, WIDTH), np.float32)


def _half() -> F32:
    return np.zeros((HEIGHT // 2, WIDTH // 2), np.float32)


def _pair() -> F32:
    return np.zeros((2, HEIGHT // 2, WIDTH // 2), np.float32)
