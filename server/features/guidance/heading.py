"""The direction of a camera that turns, measured from one small picture to the next. Pure.

The change gate's own alignment follows a few blocks; somebody who turns moves by a third of the picture. So the motion is
that of the strongest peak of a phase correlation, and it is believed where the pictures, laid over each other, agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.planes import F32, U8

# The camera's field of view from left to right in degrees, of a picture that lies, and of an upright one: phones have 60 to
# 70, and 45 to 55. Nobody tells us; a whole turn that comes back to its first view does.
LYING, UPRIGHT = 60.0, 45.0
# Least seconds between two pictures
SECONDS = 0.09
# Another picture is compared with from so much motion on, as a share of the width; more than the second is not believed.
_ANEW, _FARTHEST = 0.12, 0.6
# Least correlation of two pictures that are laid over each other: for one step, and for the first view again
_AGREES, _AGAIN = 0.5, 0.82
# Least grey levels of deviation in what is compared: a bare wall looks alike everywhere.
_PLAIN = 2.5
# For so many seconds without a step that is believed the turn is taken to go on as before.
_BLIND_SECONDS = 0.7
# The first view is looked for again from so many degrees on; it is in the middle again, to this share of the width, and
# two pictures have to agree on the turn to so many degrees.
_COMES_BACK, _IN_MIDDLE, _TWICE = 240.0, 0.3, 4.0


@dataclass(frozen=True, slots=True)
class _Step:
    """The motion from one picture to another: degrees to the right and up, and how alike they are, 0 to 1."""

    right: float
    up: float
    alike: float


@dataclass(frozen=True, slots=True)
class Gaze:
    """The direction of a picture: its middle in degrees to the right and up of the first view."""

    right: float
    up: float
    # The tangent of half the field of view, and the picture's height by its width
    tangent: float
    ratio: float
    # All motion until then
    path: float

    def across(self, x: float) -> float:
        """Return the degrees to the right at a share of the width."""
        return self.right + math.degrees(math.atan((2 * x - 1) * self.tangent))

    def upward(self, y: float) -> float:
        """Return the degrees up at a share of the height."""
        return self.up + math.degrees(math.atan((1 - 2 * y) * self.tangent * self.ratio))

    def x(self, right: float) -> float:
        """Return the share of the width at so many degrees; far outside of 0 to 1 for what lies behind."""
        return 0.5 + _tangent(right - self.right) / (2 * self.tangent)

    def y(self, up: float) -> float:
        return 0.5 - _tangent(up - self.up) / (2 * self.tangent * self.ratio)


def _tangent(degrees: float) -> float:
    return math.tan(math.radians(max(-85.0, min(85.0, degrees))))


class Heading:
    """One camera's direction since its first picture, in degrees to the right and up. `now`: capture time in seconds.

    Bounds of pictures of a turn: three of about 145×90 in grey, the first, the one compared with and the last;
    `forget_first` drops the first.
    """

    def __init__(self) -> None:
        self.right = self.up = 0.0
        # All motion to either side together: the error grows with it.
        self.path = 0.0
        # False after pictures of which nobody knows how the camera turned between them
        self.known = True
        # The whole turn as it was measured, once the first view came again; else None
        self.whole: float | None = None
        # The time of the last picture
        self.at = -math.inf
        # Degrees a second, to the right
        self.speed = 0.0
        self._lens: _Lens | None = None
        self._first: F32 | None = None
        self._key: F32 | None = None
        self._last: F32 | None = None
        # Where the picture that is compared with was
        self._key_right = self._key_up = 0.0
        self._blind_since: float | None = None
        # The whole turn by the last picture alone
        self._guess: float | None = None

    def due(self, now: float) -> bool:
        return now - self.at >= SECONDS

    def see(self, luma: U8, now: float) -> None:
        """Take the next picture's luma, as it stands, at any size."""
        height, width = luma.shape
        lens = self._lens
        if lens is None or lens.upright != (height > width):
            if lens is not None:
                # Somebody has turned the phone in the hand.
                self.known = False
            self._lens = lens = _Lens(height > width)
            self._first = self._key = self._last = None
        seen = lens.unrolled(luma)
        passed, self.at = now - self.at, now
        if self._key is None or self._last is None:
            self._first = self._key = self._last = seen
            self._key_right, self._key_up = self.right, self.up
            return
        before = self.right
        if (step := lens.step(self._key, seen)).alike >= _AGREES:
            self._place(self._key_right + step.right, self._key_up + step.up)
        elif self._last is not self._key and (step := lens.step(self._last, seen)).alike >= _AGREES:
            self._place(before + step.right, self.up + step.up)
            self._anew(seen)
        else:
            self._blind(now, passed)
            self._anew(seen)
        if abs(self.right - self._key_right) > _ANEW * lens.field:
            self._anew(seen)
        moved = self.right - before
        if 0 < passed < 1:
            self.speed += min(1.0, 4 * passed) * (moved / passed - self.speed)
        self._last = seen
        self._compare_with_first(seen)

    def gaze(self, width: int, height: int) -> Gaze:
        """Return what the last picture shows. `width`, `height`: of the frame, in its pixels."""
        field = UPRIGHT if height > width else LYING
        return Gaze(
            self.right, self.up, math.tan(math.radians(field / 2)), height / width, self.path
        )

    def forget_first(self) -> None:
        """Look for the first view no more."""
        self._first = None

    def _place(self, right: float, up: float) -> None:
        self.right, self.up, self._blind_since = right, up, None

    def _anew(self, seen: F32) -> None:
        # Not with each picture: a hand that shakes turns nowhere.
        self.path += abs(self.right - self._key_right)
        self._key, self._key_right, self._key_up = seen, self.right, self.up

    def _blind(self, now: float, passed: float) -> None:
        """Go on as before for a moment; then nobody knows any more."""
        if self._blind_since is None:
            self._blind_since = now - passed
        if now - self._blind_since > _BLIND_SECONDS:
            self.known = False
        self.right += self.speed * min(passed, _BLIND_SECONDS)

    def _compare_with_first(self, seen: F32) -> None:
        lens, first = self._lens, self._first
        if lens is None or first is None or self.whole is not None:
            return
        if abs(self.right) < _COMES_BACK:
            return
        step = lens.step(first, seen)
        again = step.alike >= _AGAIN and abs(step.right) <= _IN_MIDDLE * lens.field
        whole = abs(self.right - step.right) if again else None
        if whole is not None and self._guess is not None and abs(whole - self._guess) <= _TWICE:
            self.whole = (whole + self._guess) / 2
            self._first = None
        self._guess = whole


class _Lens:
    """Lays pictures onto a cylinder, on which a turn moves all of them alike."""

    def __init__(self, upright: bool) -> None:
        self.upright = upright
        self.field = UPRIGHT if upright else LYING
        self._size = (90, 160) if upright else (160, 90)
        width, height = self._size
        focal = width / 2 / math.tan(math.radians(self.field / 2))
        self._columns = round(focal * math.radians(self.field))
        self._degrees = self.field / self._columns
        angles = np.radians((np.arange(self._columns) + 0.5) * self._degrees - self.field / 2)
        rows = np.arange(height) - (height - 1) / 2
        self._x = np.broadcast_to(
            (width - 1) / 2 + focal * np.tan(angles), (height, self._columns)
        ).astype(np.float32)
        self._y = ((height - 1) / 2 + rows[:, None] / np.cos(angles)[None, :]).astype(np.float32)
        self._window = cv2.createHanningWindow((self._columns, height), cv2.CV_32F)

    def unrolled(self, luma: U8) -> F32:
        small = cv2.resize(luma, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(
            cv2.remap(
                small.astype(np.float32),
                self._x,
                self._y,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )

    def step(self, one: F32, other: F32) -> _Step:
        """Return how far the camera has turned from one picture to the other."""
        (across, down), _ = cv2.phaseCorrelate(one, other, self._window)
        height, width = one.shape
        if abs(across) > _FARTHEST * width or abs(down) > _FARTHEST * height:
            return _Step(0.0, 0.0, 0.0)
        alike = _correlation(*_overlap(one, other, round(across), round(down)))
        return _Step(-across * self._degrees, down * self._degrees, alike)


def _overlap(one: F32, other: F32, across: int, down: int) -> tuple[F32, F32]:
    """Return the parts of two pictures that show the same, if the other one moved by so much."""
    height, width = one.shape
    x, y = max(0, -across), max(0, -down)
    wide, high = width - abs(across), height - abs(down)
    return one[y : y + high, x : x + wide], other[y + down : y + down + high, x + across :][
        :, :wide
    ]


def _correlation(one: F32, other: F32) -> float:
    """Return how alike two pictures are, whatever their light: -1 to 1; 0 where one of them is plain.

    What is the same all along a row, as the edge of a floor, tells nothing of a turn.
    """
    left: NDArray[np.float32] = one - one.mean(1, keepdims=True)
    right: NDArray[np.float32] = other - other.mean(1, keepdims=True)
    sizes = math.sqrt(float(np.vdot(left, left))), math.sqrt(float(np.vdot(right, right)))
    if min(sizes) < _PLAIN * math.sqrt(one.size):
        return 0.0
    return float(np.vdot(left, right)) / (sizes[0] * sizes[1])
