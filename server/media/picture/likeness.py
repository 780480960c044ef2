"""Find whether two frames show the same in every detail, so that one picture serves for both.

The change gate forgives small things and a shaken hand, which is right for work that nobody asked for. A question may be
about the smallest thing in sight; here a digit that changes on a display is enough. What a tripod has is forgiven: noise,
a few pixels of sway, and light that flickers by a few percent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.planes import (
    F32,
    HEIGHT,
    U8,
    WIDTH,
    BufferPool,
    Planes,
    chroma_planes,
    luma_plane,
)

if TYPE_CHECKING:
    import av


# Most steps; the search ends early at a smaller step (blocks; radians and shares of size).
_STEPS = 7
_SMALL_SHIFT = 0.03
_SMALL_TURN = 0.0005
# With less motion than this the look is read as it is (blocks; radians and shares of size)
_STILL_SHIFT = 0.02
_STILL_TURN = 0.0003
# Points: the steepest of each tile, so that all parts of the picture count; a grid for the light
_TILE = 10
_STEEPEST = 4
_GRID = 8
_MARGIN = 4
# Keeps the solution small if points say little: two of motion, turn and growth, four of light
_DAMPING = np.diag(np.array([0.5, 0.5, 50, 50, 0.02, 0.02, 0.02, 0.02], np.float32))
# The grey level for which gains and slopes of the light are given
_LEVEL = 128
# Half the width in blocks, the unit of coordinates from the middle
_UNIT = WIDTH / 2
_X = ((np.arange(WIDTH, dtype=np.float32) - (WIDTH - 1) / 2) / _UNIT)[None, :]
_Y = ((np.arange(HEIGHT, dtype=np.float32) - (HEIGHT - 1) / 2) / _UNIT)[:, None]


@dataclass(frozen=True, slots=True)
class Pose:
    """The position, turn, size and light of a look relative to the reference."""

    # Blocks to the right and down
    across: float = 0.0
    down: float = 0.0
    # Radians, and share of size
    turn: float = 0.0
    growth: float = 0.0
    # Share of the brightness beyond 1, grey levels, shares of it across and down half a width
    gain: float = 0.0
    offset: float = 0.0
    slope_across: float = 0.0
    slope_down: float = 0.0
    # Height of a block by its width, in the camera's pixels
    ratio: float = 1.0

    @property
    def moved(self) -> float:
        """The motion of the middle, in blocks."""
        return math.hypot(self.across, self.down)

    @property
    def twisted(self) -> float:
        return abs(self.turn) + abs(self.growth)

    @property
    def shift(self) -> float:
        """The approximate motion of any block, in blocks; 1 at most."""
        return min(1.0, self.moved + _UNIT / 2 * self.twisted)

    @property
    def still(self) -> bool:
        return abs(self.across) + abs(self.down) <= _STILL_SHIFT and self.twisted <= _STILL_TURN

    @property
    def margin(self) -> int:
        """The blocks at each edge of the reference that the look may not show; 12 at most."""
        return max(0, math.ceil(min(12.0, self.moved + _UNIT * self.twisted - 0.3)))

    def matrix(self, width: int, height: int) -> NDArray[np.float64]:
        """Return the matrix (2, 3) from points of a reference of that size to the look's."""
        scale = width / WIDTH
        a, b, c = 1 + self.growth, self.turn * self.ratio, self.turn / self.ratio
        x, y = (width - 1) / 2, (height - 1) / 2
        return np.array(
            [
                [a, -b, x + scale * self.across - a * x + b * y],
                [c, a, y + scale * self.down - c * x - a * y],
            ]
        )

    def warp(self, look: U8 | F32, target: U8 | F32, how: int = cv2.INTER_LINEAR) -> None:
        """Write the look into `target` as the reference would show it."""
        height, width = look.shape
        cv2.warpAffine(
            look,
            self.matrix(width, height),
            (width, height),
            dst=target,
            flags=how | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )


class Reference:
    """The planes that looks are compared with, and values derived from them alone (0.5 MB)."""

    def __init__(self, planes: Planes) -> None:
        self.luma: F32 = planes.luma.astype(np.float32)
        self.chroma: F32 = planes.chroma.astype(np.float32)
        self.fine: U8 = planes.fine.copy()
        self._planes = planes
        self.range: F32 = np.zeros_like(self.luma)
        self.chroma_range: F32 = np.zeros_like(self.chroma)
        self._derive()

    def alike(self, planes: Planes) -> bool:
        return self._planes.alike(planes)

    def average(self, luma: F32, chroma: F32, weight: float) -> None:
        """Average in a look at the same scene, for less noise."""
        self.luma += weight * (luma - self.luma)
        self.chroma += weight * (chroma - self.chroma)
        self._derive()

    def _derive(self) -> None:
        luma = self.luma
        local_range(luma, self.range)
        for plane, target in zip(self.chroma, self.chroma_range, strict=True):
            local_range(plane, target)
        # Squares by row, and of chroma without its mean, by which gains are divided
        self.row_squares: F32 = np.einsum("ij,ij->i", luma, luma)[:, None] + np.float32(1)
        self.chroma_deviation: F32 = self.chroma - self.chroma.mean((1, 2), keepdims=True)
        squares = np.einsum("pij,pij->p", self.chroma_deviation, self.chroma_deviation)
        self.chroma_squares: F32 = squares + np.float32(25 * luma.size // 4)
        self._choose_points()

    def _choose_points(self) -> None:
        blurred = np.empty_like(self.luma)
        _blur(self.luma, blurred)
        right = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=0.125)
        down = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, scale=0.125)
        steep = right * right + down * down
        without_edge(steep, _MARGIN)
        rows, columns = HEIGHT // _TILE, WIDTH // _TILE
        tiles = steep.reshape(rows, _TILE, columns, _TILE).transpose(0, 2, 1, 3)
        flat = tiles.reshape(rows * columns, _TILE * _TILE)
        best = np.argpartition(flat, _TILE * _TILE - _STEEPEST, 1)[:, -_STEEPEST:]
        tile_row, tile_column = np.divmod(np.arange(rows * columns)[:, None], columns)
        steepest = (tile_row * _TILE + best // _TILE) * WIDTH + tile_column * _TILE + best % _TILE
        at_rows = np.arange(_MARGIN + 1, HEIGHT - _MARGIN, _GRID)[:, None]
        grid = at_rows * WIDTH + np.arange(_MARGIN + 1, WIDTH - _MARGIN, _GRID)
        points = np.unique(np.concatenate([steepest.ravel(), grid.ravel()]))
        self._points = points
        y, x = np.divmod(points, WIDTH)
        self._x: F32 = x.astype(np.float32)[None, :]
        self._y: F32 = y.astype(np.float32)[None, :]
        from_left, from_top = _X[0, x], _Y[y, 0]
        gx, gy = right.ravel()[points], down.ravel()[points]
        self._values: F32 = blurred.ravel()[points]
        level = self._values / _LEVEL
        ratio = self._planes.ratio
        # (8, points): the effect of each of the eight unknowns on a point
        self._slopes: F32 = np.ascontiguousarray(
            [
                gx,
                gy,
                (from_left / ratio * gy - from_top * ratio * gx) * _UNIT,
                (from_left * gx + from_top * gy) * _UNIT,
                level,
                np.ones_like(level),
                from_left * level,
                from_top * level,
            ],
            np.float32,
        )
        self._weighted = np.empty_like(self._slopes)

    def align(self, luma: F32, scratch: BufferPool) -> Pose:
        """Find motion and light of a look by robust least squares against this reference."""
        blurred = scratch.blurred
        _blur(luma, blurred)
        ratio = self._planes.ratio
        pose = Pose(ratio=ratio)
        light: F32 | None = None
        for step in range(_STEPS):
            difference = self._sampled(blurred, pose) if step else blurred.ravel()[self._points]
            difference -= self._values
            left = difference - light @ self._slopes[4:] if light is not None else difference.copy()
            # The median of every third; half the points weigh more than a quarter.
            sizes = np.abs(left[::3])
            median = float(np.partition(sizes, sizes.size // 2)[sizes.size // 2])
            left *= 1 / (2.0 * max(1.0, 1.5 * median))
            left *= left
            left += 1
            np.reciprocal(left, out=left)
            left *= left
            np.multiply(self._slopes, left, out=self._weighted)
            solved = cv2.solve(
                self._weighted @ self._slopes.T + _DAMPING,
                (self._weighted @ difference)[:, None],
                flags=cv2.DECOMP_CHOLESKY,
            )[1][:, 0]
            light = np.asarray(solved[4:], np.float32)
            steps: list[float] = solved[:4].tolist()
            pose = Pose(
                pose.across - steps[0],
                pose.down - steps[1],
                pose.turn - steps[2],
                pose.growth - steps[3],
                float(light[0]) / _LEVEL,
                float(light[1]),
                float(light[2]) / _LEVEL,
                float(light[3]) / _LEVEL,
                ratio,
            )
            small = abs(steps[0]) < _SMALL_SHIFT and abs(steps[1]) < _SMALL_SHIFT
            if small and abs(steps[2]) + abs(steps[3]) < _SMALL_TURN:
                break
        return pose

    def _sampled(self, blurred: F32, pose: Pose) -> F32:
        """Return the look's values at the reference's points."""
        (a, b, c), (d, e, f) = pose.matrix(WIDTH, HEIGHT).astype(np.float32)
        x = self._x * a
        x += self._y * b
        x += c
        y = self._x * d
        y += self._y * e
        y += f
        sampled: F32 = np.empty_like(x)
        cv2.remap(blurred, x, y, cv2.INTER_LINEAR, dst=sampled, borderMode=cv2.BORDER_REPLICATE)
        row: F32 = sampled[0]
        return row

    def lit(self, pose: Pose, target: F32, work: F32) -> None:
        """Write the reference's luma in the light of a look into `target`."""
        across = _X * np.float32(pose.slope_across) + np.float32(1 + pose.gain)
        np.add(across, _Y * np.float32(pose.slope_down), out=work)
        np.multiply(work, self.luma, out=target)
        target += np.float32(pose.offset)


def local_range(plane: F32, target: F32) -> None:
    """Write the range of values in the 3×3 around each block into `target`."""
    cv2.dilate(plane, _KERNEL, dst=target)
    target -= cv2.erode(plane, _KERNEL)


def without_edge(planes: F32, margin: int) -> None:
    """Set so many rows and columns at each edge of a plane, or of several, to 0."""
    if margin:
        planes[..., :margin, :] = planes[..., -margin:, :] = 0
        planes[..., :margin] = planes[..., -margin:] = 0


def _blur(plane: F32, target: F32) -> None:
    cv2.GaussianBlur(plane, (3, 3), 0.8, dst=target)


# Pixels of a frame that become one of what is kept, in each direction. It is compared at half of that, in blocks of two:
# laid over each other at twice the size, an edge that swayed by half a pixel leaves a third of the difference.
_SHRINK = 2
# A block of 8 px differs when its mean does by more grey levels than this; where the camera sways, also by more than this
# share of the contrast around it. A digit of an LCD with a contrast of 30 has 7.7 on a tripod, and 7.0 where it sways.
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

    def __init__(self, image: av.VideoFrame, scratch: BufferPool, *, detail: bool = False) -> None:
        """`detail`: blocks of half the size, for questions about small print; noise then counts as a difference more often."""
        self._planes = Planes()
        with scratch.lock:
            self._planes.read(image, scratch)
        shrink = _SHRINK // 2 if detail else _SHRINK
        turned = self._planes.turned
        self._size = (image.width, image.height)
        self._luma = _shrunk(luma_plane(image), shrink, turned)
        self._chroma = tuple(_shrunk(plane, 2 * shrink, turned) for plane in chroma_planes(image))

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks that are compared."""
        rows, columns = self._luma.shape
        return rows // 2, columns // 2

    def alike(self, later: Likeness, scratch: BufferPool) -> bool:
        """Return True when a later frame shows no more than this one: no block of 8 px differs by more than noise does."""
        if self._size != later._size or self._luma.shape != later._luma.shape:
            return False
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
    values: F32 = plane.astype(np.float32)
    if pose.still:
        return values
    laid = np.empty_like(values)
    pose.warp(values, laid, cv2.INTER_CUBIC)
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
    without_edge(means, margin)
    return means, usual


def _contrast(one: F32, two: F32) -> F32:
    """Return the range of values in the 3×3 around each pixel that both have."""
    ranges = (cv2.dilate(each, _KERNEL) - cv2.erode(each, _KERNEL) for each in (one, two))
    return np.asarray(np.minimum(*ranges), np.float32)
