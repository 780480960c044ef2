"""Register a frame on a reference: motion, rotation, scale and light by least squares on small planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.planes import F32, U8
from server.shared.attention.planes import HEIGHT, WIDTH, BufferPool, Planes

_KERNEL = np.ones((3, 3), np.uint8)
# Maximum steps; the search ends early at a smaller step (blocks; radians and fractions of size).
_STEPS = 7
_SMALL_SHIFT = 0.03
_SMALL_TURN = 0.0005
# Motion below which the frame is not warped (blocks; radians and fractions of size)
_STILL_SHIFT = 0.02
_STILL_TURN = 0.0003
# Points: the steepest of each tile, so that all parts of the picture contribute; a grid for the light
_TILE = 10
_STEEPEST = 4
_GRID = 8
_MARGIN = 4
# Damping for points with little information: two of motion, rotation and scale, four of light
_DAMPING = np.diag(np.array([0.5, 0.5, 50, 50, 0.02, 0.02, 0.02, 0.02], np.float32))
# Grey level for which gains and slopes of the light are given
_LEVEL = 128
# Half the width in blocks, the unit of coordinates from the middle
_UNIT = WIDTH / 2
_X = ((np.arange(WIDTH, dtype=np.float32) - (WIDTH - 1) / 2) / _UNIT)[None, :]
_Y = ((np.arange(HEIGHT, dtype=np.float32) - (HEIGHT - 1) / 2) / _UNIT)[:, None]


@dataclass(frozen=True, slots=True)
class Pose:
    """The position, rotation, size and light of a frame relative to the reference."""

    # Blocks to the right and down
    across: float = 0.0
    down: float = 0.0
    # Radians, and fraction of size
    turn: float = 0.0
    growth: float = 0.0
    # Fraction of the brightness beyond 1, grey levels, fractions of it across and down half a width
    gain: float = 0.0
    offset: float = 0.0
    slope_across: float = 0.0
    slope_down: float = 0.0
    # Ratio of a block's height to its width, in the camera's pixels
    ratio: float = 1.0

    @property
    def middle_shift(self) -> float:
        """Motion of the middle, in blocks."""
        return math.hypot(self.across, self.down)

    @property
    def distortion(self) -> float:
        return abs(self.turn) + abs(self.growth)

    @property
    def shift(self) -> float:
        """Approximate motion of any block, in blocks, at most 1."""
        return min(1.0, self.middle_shift + _UNIT / 2 * self.distortion)

    @property
    def is_still(self) -> bool:
        return abs(self.across) + abs(self.down) <= _STILL_SHIFT and self.distortion <= _STILL_TURN

    @property
    def margin(self) -> int:
        """Blocks at each edge of the reference that the frame possibly does not show, at most 12."""
        return max(0, math.ceil(min(12.0, self.middle_shift + _UNIT * self.distortion - 0.3)))

    def matrix(self, width: int, height: int) -> NDArray[np.float64]:
        """Return the matrix (2, 3) from points of a reference of this size to those of the frame."""
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
        """Write the frame's plane into `target`, warped onto the reference."""
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
    """The planes with which frames are compared, and derived values (0.5 MB)."""

    def __init__(self, planes: Planes) -> None:
        self.luma: F32 = planes.luma.astype(np.float32)
        self.chroma: F32 = planes.chroma.astype(np.float32)
        self.fine: U8 = planes.fine.copy()
        self._planes = planes
        self.range: F32 = np.zeros_like(self.luma)
        self.chroma_range: F32 = np.zeros_like(self.chroma)
        self._derive()

    def has_same_shape(self, planes: Planes) -> bool:
        return self._planes.has_same_shape(planes)

    def average(self, luma: F32, chroma: F32, weight: float) -> None:
        """Average with a frame of the same scene, to reduce noise."""
        self.luma += weight * (luma - self.luma)
        self.chroma += weight * (chroma - self.chroma)
        self._derive()

    def _derive(self) -> None:
        luma = self.luma
        write_local_range(luma, self.range)
        for plane, target in zip(self.chroma, self.chroma_range, strict=True):
            write_local_range(plane, target)
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
        clear_edge(steep, _MARGIN)
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
        """Return the pose of a frame by robust least squares against this reference."""
        blurred = scratch.blurred
        _blur(luma, blurred)
        ratio = self._planes.ratio
        pose = Pose(ratio=ratio)
        light: F32 | None = None
        for step in range(_STEPS):
            difference = self._sample(blurred, pose) if step else blurred.ravel()[self._points]
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

    def _sample(self, blurred: F32, pose: Pose) -> F32:
        """Return the frame's values at the reference's points."""
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

    def apply_light(self, pose: Pose, target: F32, work: F32) -> None:
        """Write the reference's luma in the light of a frame to `target`."""
        across = _X * np.float32(pose.slope_across) + np.float32(1 + pose.gain)
        np.add(across, _Y * np.float32(pose.slope_down), out=work)
        np.multiply(work, self.luma, out=target)
        target += np.float32(pose.offset)


def write_local_range(plane: F32, target: F32) -> None:
    """Write the range of values in the 3×3 blocks around each block to `target`."""
    cv2.dilate(plane, _KERNEL, dst=target)
    target -= cv2.erode(plane, _KERNEL)


def clear_edge(planes: F32, margin: int) -> None:
    """Set `margin` rows and columns at each edge of one or several planes to 0."""
    if margin:
        planes[..., :margin, :] = planes[..., -margin:, :] = 0
        planes[..., :margin] = planes[..., -margin:] = 0


def _blur(plane: F32, target: F32) -> None:
    cv2.GaussianBlur(plane, (3, 3), 0.8, dst=target)
