"""Merge the looks made while a person turns, so that each object around them is listed once, with its direction. Pure.

Degrees are to the right and up of the first view, as measured, until `finish` scales a whole turn to 360. A wrong
object is worse than none: an object is not listed if only one look has seen it, or if most looks at its place have
missed it.

The direction of the camera is measured from one small picture to the next. The change gate's alignment follows a few
blocks, but a person who turns moves the picture by up to a third. Therefore the motion is the strongest peak of a phase
correlation, and is accepted if the aligned pictures correlate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.grounding import Box
from server.media.picture.planes import F32, U8

# Assumed horizontal field of view in degrees, of a landscape and of a portrait picture: phones have 60 to 70, and 45 to 55.
# A whole turn that returns to its first view corrects the scale.
LYING, UPRIGHT = 60.0, 45.0
# Least seconds between two pictures
SECONDS = 0.09
# Motion after which a new reference picture is used, and largest motion accepted, as fractions of the width
_ANEW, _FARTHEST = 0.12, 0.6
# Least correlation of two aligned pictures: for one step, and to recognise the first view
_AGREES, _AGAIN = 0.5, 0.82
# Least standard deviation in grey levels of compared pictures, since a bare wall matches everywhere
_PLAIN = 2.5
# Seconds without an accepted step for which the turn is extrapolated
_BLIND_SECONDS = 0.7
# Degrees after which the first view is searched again; largest distance from the middle at which it is accepted, as a
# fraction of the width; largest difference in degrees between the whole turn as measured by two successive pictures
_COMES_BACK, _IN_MIDDLE, _TWICE = 240.0, 0.3, 4.0


@dataclass(frozen=True, slots=True)
class _Step:
    """The motion from one picture to another: degrees to the right and up, and their correlation, -1 to 1."""

    right: float
    up: float
    alike: float


@dataclass(frozen=True, slots=True)
class Gaze:
    """The direction of a picture: its middle in degrees to the right and up of the first view."""

    right: float
    up: float
    # Tangent of half the field of view, and the picture's height divided by its width
    tangent: float
    ratio: float
    # Total motion until this picture, in degrees
    path: float

    def get_right(self, x: float) -> float:
        """Return the degrees to the right at `x`, a fraction of the width."""
        return self.right + math.degrees(math.atan((2 * x - 1) * self.tangent))

    def get_up(self, y: float) -> float:
        """Return the degrees up at `y`, a fraction of the height."""
        return self.up + math.degrees(math.atan((1 - 2 * y) * self.tangent * self.ratio))

    def get_x(self, right: float) -> float:
        """Return the fraction of the width at these degrees; far outside of 0 to 1 for directions out of view."""
        return 0.5 + _compute_tangent(right - self.right) / (2 * self.tangent)

    def get_y(self, up: float) -> float:
        """Return the fraction of the height at these degrees."""
        return 0.5 - _compute_tangent(up - self.up) / (2 * self.tangent * self.ratio)


def _compute_tangent(degrees: float) -> float:
    return math.tan(math.radians(max(-85.0, min(85.0, degrees))))


class Heading:
    """One camera's direction relative to its first picture, in degrees to the right and up. `now`: capture time in seconds.

    Bounds of pictures of a turn: three of about 145×90 in grey, the first, the reference and the last;
    `forget_first` drops the first.
    """

    def __init__(self) -> None:
        self.right = self.up = 0.0
        # Total motion to either side in degrees; the error grows with it.
        self.path = 0.0
        # False after a motion that could not be measured
        self.known = True
        # The measured degrees of a whole turn; None until the first view comes again
        self.whole: float | None = None
        # The time of the last picture
        self.at = -math.inf
        # Degrees per second, to the right
        self.speed = 0.0
        self._lens: _Lens | None = None
        self._first: F32 | None = None
        self._key: F32 | None = None
        self._last: F32 | None = None
        # Direction of the reference picture
        self._key_right = self._key_up = 0.0
        self._blind_since: float | None = None
        # The whole turn as measured by the last picture alone
        self._guess: float | None = None

    def is_due(self, now: float) -> bool:
        """Return True if the next picture is due."""
        return now - self.at >= SECONDS

    def see(self, luma: U8, now: float) -> None:
        """Update the direction from the next picture: its luma (h, w) uint8, at any size."""
        height, width = luma.shape
        lens = self._lens
        if lens is None or lens.upright != (height > width):
            if lens is not None:
                # The phone was rotated between portrait and landscape.
                self.known = False
            self._lens = lens = _Lens(height > width)
            self._first = self._key = self._last = None
        seen = lens.unroll(luma)
        passed, self.at = now - self.at, now
        if self._key is None or self._last is None:
            self._first = self._key = self._last = seen
            self._key_right, self._key_up = self.right, self.up
            return
        before = self.right
        if (step := lens.measure_step(self._key, seen)).alike >= _AGREES:
            self._place(self._key_right + step.right, self._key_up + step.up)
        elif (
            self._last is not self._key
            and (step := lens.measure_step(self._last, seen)).alike >= _AGREES
        ):
            self._place(before + step.right, self.up + step.up)
            self._set_reference(seen)
        else:
            self._extrapolate(now, passed)
            self._set_reference(seen)
        if abs(self.right - self._key_right) > _ANEW * lens.field:
            self._set_reference(seen)
        moved = self.right - before
        if 0 < passed < 1:
            self.speed += min(1.0, 4 * passed) * (moved / passed - self.speed)
        self._last = seen
        self._compare_with_first(seen)

    def get_gaze(self, width: int, height: int) -> Gaze:
        """Return the direction of the last picture. `width`, `height`: size of the frame in pixels."""
        field = UPRIGHT if height > width else LYING
        return Gaze(
            self.right, self.up, math.tan(math.radians(field / 2)), height / width, self.path
        )

    def forget_first(self) -> None:
        """Stop searching for the first view."""
        self._first = None

    def _place(self, right: float, up: float) -> None:
        self.right, self.up, self._blind_since = right, up, None

    def _set_reference(self, seen: F32) -> None:
        # Count the path here and not with each picture, so that a shaking hand adds nothing.
        self.path += abs(self.right - self._key_right)
        self._key, self._key_right, self._key_up = seen, self.right, self.up

    def _extrapolate(self, now: float, passed: float) -> None:
        """Extrapolate the turn for a moment; after that the direction is unknown."""
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
        step = lens.measure_step(first, seen)
        again = step.alike >= _AGAIN and abs(step.right) <= _IN_MIDDLE * lens.field
        whole = abs(self.right - step.right) if again else None
        if whole is not None and self._guess is not None and abs(whole - self._guess) <= _TWICE:
            self.whole = (whole + self._guess) / 2
            self._first = None
        self._guess = whole


class _Lens:
    """Projects pictures onto a cylinder, on which a turn is a uniform shift."""

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

    def unroll(self, luma: U8) -> F32:
        """Return a picture's luma projected onto the cylinder, about 145×90 or 70×160."""
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

    def measure_step(self, one: F32, other: F32) -> _Step:
        """Return the motion of the camera between two projected pictures; all zeros if it is too large."""
        (across, down), _ = cv2.phaseCorrelate(one, other, self._window)
        height, width = one.shape
        if abs(across) > _FARTHEST * width or abs(down) > _FARTHEST * height:
            return _Step(0.0, 0.0, 0.0)
        alike = _correlate(*_get_overlap(one, other, round(across), round(down)))
        return _Step(-across * self._degrees, down * self._degrees, alike)


def _get_overlap(one: F32, other: F32, across: int, down: int) -> tuple[F32, F32]:
    """Return the overlapping parts of two pictures. `across`, `down`: pixels by which `other` is shifted."""
    height, width = one.shape
    x, y = max(0, -across), max(0, -down)
    wide, high = width - abs(across), height - abs(down)
    return one[y : y + high, x : x + wide], other[y + down : y + down + high, x + across :][
        :, :wide
    ]


def _correlate(one: F32, other: F32) -> float:
    """Return the correlation of two pictures after each row's mean is removed, -1 to 1; 0 if one of them is plain.

    Structure that is constant along a row, such as the edge of a floor, does not show a turn.
    """
    left: NDArray[np.float32] = one - one.mean(1, keepdims=True)
    right: NDArray[np.float32] = other - other.mean(1, keepdims=True)
    sizes = math.sqrt(float(np.vdot(left, left))), math.sqrt(float(np.vdot(right, right)))
    if min(sizes) < _PLAIN * math.sqrt(one.size):
        return 0.0
    return float(np.vdot(left, right)) / (sizes[0] * sizes[1])


# A scan ends if its first view has not come again after this many degrees (one turn of a camera of 47 degrees), after
# this many seconds, or after this many seconds without motion (less than `_STILL` degrees) once it has turned by
# `_TURNED` degrees.
_WHOLE, LONGEST_SECONDS, REST_SECONDS = 470.0, 40.0, 6.0
_STILL, _TURNED = 4.0, 20.0
# Most objects that are tracked, and most that are listed
_MOST_TRACKS, MOST = 64, 24
# Least number of looks that see an object (one for printed text and codes), and least fraction of the looks at its
# place
_LOOKS, _OFTEN = 2, 0.2
# Largest distance of two sightings of an object: in fractions of its width, plus degrees, plus fractions of the motion
# between them; and these fractions across the seam of a whole turn, if its length is known and if not
_WIDTHS, _APART, _DRIFT = 0.6, 3.0, 0.04
_KNOWN_TURN, _UNKNOWN_TURN = 0.02, 0.06
# Least overlap (intersection over union) at which two tracks with different names are one object; for two with the same
# name, the least fraction of the smaller one inside the other
_SAME, _WITHIN = 0.6, 0.9
# Least similarity of words from two looks that are the same printed text
_ALIKE = 0.7
# Distance from the picture's edge, as a fraction of its width, within which a box may be cut off
_EDGE = 0.02

Kind = Literal["thing", "text", "code"]
THINGS: frozenset[Kind] = frozenset({"thing"})


class End(StrEnum):
    """Reason why a scan ended, as in the message `scanned`."""

    WHOLE = "whole"
    TIME = "time"
    REST = "rest"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ScanSighting:
    """An object found by a look. `name`: of its kind, or its words; `box`: as fractions of the picture."""

    kind: Kind
    name: str
    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class PlacedThing:
    """An object found by a scan: direction to the right of the first view, and width, in degrees of a 360° turn."""

    kind: Kind
    name: str
    label: str
    right: float
    wide: float


@dataclass(slots=True)
class _Track:
    """The sightings of one object, in degrees as measured."""

    kind: Kind
    name: str
    label: str
    # Middle and size of the object
    right: float
    up: float
    wide: float
    high: float
    # Total motion at its last sighting
    path: float
    looks: set[int] = field(default_factory=set)
    # Number of sightings that are not cut off by an edge of the picture
    whole: int = 0

    @property
    def believed(self) -> bool:
        return len(self.looks) >= (_LOOKS if self.kind == "thing" else 1)

    def get_limit(self, wide: float, path: float, drift: float = _DRIFT) -> float:
        return _WIDTHS * max(self.wide, wide) + _APART + drift * abs(path - self.path)


@dataclass(frozen=True, slots=True)
class _LookRange:
    """The range of directions of one look, in degrees, and the kinds of objects that it searched."""

    left: float
    right: float
    kinds: frozenset[Kind]


class Sweep:
    """The looks of one scan. `now`: capture time in seconds.

    Bounds of things seen in a scan: 64, of which the least seen is dropped first, and the ranges of 160 looks.
    """

    def __init__(self) -> None:
        # None before the first picture
        self._began: float | None = None
        self._moved_at = self._rest = 0.0
        self._least = self._most = 0.0
        self._tracks: list[_Track] = []
        self._looks: list[_LookRange] = []

    @property
    def count(self) -> int:
        """Number of objects that enough looks have seen so far."""
        return sum(one.believed for one in self._tracks)

    def update(self, heading: Heading, now: float) -> End | None:
        """Record how far the camera has turned; return why the scan ends, or None if it continues."""
        right = heading.right
        if self._began is None:
            self._began = self._moved_at = now
        self._least, self._most = min(self._least, right), max(self._most, right)
        if abs(right - self._rest) > _STILL:
            self._rest, self._moved_at = right, now
        if not heading.known:
            return End.LOST
        if heading.whole is not None or abs(right) >= _WHOLE:
            return End.WHOLE
        if now - self._began >= LONGEST_SECONDS:
            return End.TIME
        rests = now - self._moved_at >= REST_SECONDS
        return End.REST if rests and self._most - self._least >= _TURNED else None

    def get_expected_sightings(self, gaze: Gaze) -> list[ScanSighting]:
        """Return the expected places in a picture of the objects that enough looks have seen."""
        found = []
        for one in self._tracks:
            if one.kind != "thing" or not one.believed or abs(one.right - gaze.right) > 45:
                continue
            box = Box(
                gaze.get_x(one.right - one.wide / 2),
                gaze.get_y(one.up + one.high / 2),
                gaze.get_x(one.right + one.wide / 2),
                gaze.get_y(one.up - one.high / 2),
            )
            found.append(ScanSighting(one.kind, one.name, one.label, box))
        return found

    def look(
        self,
        sights: Sequence[ScanSighting],
        gaze: Gaze,
        shown: tuple[float, float] = (0.0, 1.0),
        kinds: frozenset[Kind] = THINGS,
    ) -> None:
        """Record the sightings of a look.

        `shown`: range of the picture's width that was searched; `kinds`: searched kinds.
        """
        number = len(self._looks)
        self._looks.append(_LookRange(gaze.get_right(shown[0]), gaze.get_right(shown[1]), kinds))
        seen = [_make_track(one, gaze, shown, number) for one in sights]
        # Match the closest pairs first, each object once per look.
        pairs = sorted(
            (abs(track.right - new.right), at, n)
            for at, track in enumerate(self._tracks)
            for n, new in enumerate(seen)
            if _is_match(track, new)
        )
        joined: set[int] = set()
        for _, at, n in pairs:
            if n not in joined and number not in self._tracks[at].looks:
                joined.add(n)
                _join(self._tracks[at], seen[n])
        self._tracks += [new for n, new in enumerate(seen) if n not in joined]
        if len(self._tracks) > _MOST_TRACKS:
            self._tracks.sort(key=lambda one: -len(one.looks))
            del self._tracks[_MOST_TRACKS:]

    def finish(self, heading: Heading) -> list[PlacedThing]:
        """Return the objects found, in the order in which to name them to a person who faces `heading`.

        After a whole turn, order them by the turn's direction, beginning in front; else from left to right.
        """
        whole = heading.whole or 360.0
        scale = 360.0 / whole
        tracks = self._remove_duplicates(self._merge_tracks(heading.whole))
        believed = [one for one in tracks if self._is_believed(one, whole)]
        believed.sort(key=lambda one: -len(one.looks))
        placed = [
            PlacedThing(one.kind, one.name, one.label, one.right * scale, one.wide * scale)
            for one in believed[:MOST]
        ]
        ahead = heading.right * scale
        if self._most - self._least < whole - 60:
            return sorted(placed, key=lambda one: one.right)
        sense = -1 if self._most < -self._least else 1
        # Objects slightly before the heading still count as in front.
        return sorted(placed, key=lambda one: (sense * (one.right - ahead) + 22.5) % 360)

    def _merge_tracks(self, whole: float | None) -> list[_Track]:
        """Return the tracks after merging those of the same object, also across the seam of a whole turn."""
        turn = whole or 360.0
        drift = _KNOWN_TURN if whole is not None else _UNKNOWN_TURN
        tracks = [replace(one, looks={*one.looks}) for one in self._tracks]

        def distance(one: _Track, other: _Track) -> float:
            return abs((one.right - other.right + turn / 2) % turn - turn / 2)

        while True:
            pairs = [
                (distance(one, other), n, m)
                for n, one in enumerate(tracks)
                for m, other in enumerate(tracks[:n])
                if not one.looks & other.looks
                and distance(one, other) <= other.get_limit(one.wide, one.path, drift)
                and abs(one.up - other.up) <= _WIDTHS * max(one.high, other.high) + 2 * _APART
                # Comparing words takes the longest, so it comes last.
                and _is_same_name(one, other)
            ]
            if not pairs:
                return tracks
            _, n, m = min(pairs)
            _merge(tracks[m], tracks.pop(n), turn)

    def _remove_duplicates(self, tracks: list[_Track]) -> list[_Track]:
        """Return the tracks except those at the place of a track that more looks have seen."""
        kept: list[_Track] = []
        for one in sorted(tracks, key=lambda track: -len(track.looks)):
            if not any(_is_duplicate(one, other) for other in kept):
                kept.append(one)
        return kept

    def _is_believed(self, one: _Track, turn: float) -> bool:
        if not one.believed:
            return False
        left, right = one.right - one.wide / 2, one.right + one.wide / 2
        chances = sum(
            look.left <= left + shift and right + shift <= look.right
            for look in self._looks
            if one.kind in look.kinds
            for shift in (-turn, 0.0, turn)
        )
        return len(one.looks) >= _OFTEN * chances


def get_relative_degrees(right: float, ahead: float) -> float:
    """Return the degrees to turn from `ahead` to `right`: -180 (left) to 180."""
    return (right - ahead + 180) % 360 - 180


def _make_track(one: ScanSighting, gaze: Gaze, shown: tuple[float, float], number: int) -> _Track:
    box = one.box
    left, right = gaze.get_right(box.x1), gaze.get_right(box.x2)
    top, bottom = gaze.get_up(box.y1), gaze.get_up(box.y2)
    whole = box.x1 > shown[0] + _EDGE and box.x2 < shown[1] - _EDGE
    return _Track(
        one.kind,
        one.name,
        one.label,
        (left + right) / 2,
        (top + bottom) / 2,
        right - left,
        top - bottom,
        gaze.path,
        {number},
        int(whole),
    )


def _is_match(one: _Track, other: _Track) -> bool:
    limit = one.get_limit(other.wide, other.path)
    if not one.whole or not other.whole:
        # The middle of a cut-off box is shifted towards the visible side.
        limit += abs(one.wide - other.wide) / 2
    high = _WIDTHS * max(one.high, other.high) + limit
    return (
        _is_same_name(one, other)
        and abs(one.right - other.right) <= limit
        and abs(one.up - other.up) <= high
    )


def _is_same_name(one: _Track, other: _Track) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind != "text":
        return one.name == other.name
    return SequenceMatcher(None, one.name, other.name, autojunk=False).ratio() >= _ALIKE


def _join(one: _Track, new: _Track) -> None:
    """Add a sighting to a track.

    Its place is the mean of the sightings that are not cut off, else that of the widest one.
    """
    if new.whole or not one.whole:
        share = 1 / (one.whole + 1) if new.whole else float(new.wide > one.wide)
        one.right += share * (new.right - one.right)
        one.up += share * (new.up - one.up)
        one.wide += share * (new.wide - one.wide)
        one.high += share * (new.high - one.high)
    one.whole += new.whole
    one.path = new.path
    one.looks |= new.looks


def _merge(one: _Track, other: _Track, turn: float) -> None:
    """Add another track of the same object, possibly from across the seam of a whole turn of `turn` degrees."""
    right = one.right + (other.right - one.right + turn / 2) % turn - turn / 2
    share = len(other.looks) / (len(one.looks) + len(other.looks))
    if not (one.whole and other.whole):
        share = 1.0 if other.whole > one.whole else 0.0
    one.right += share * (right - one.right)
    one.wide += share * (other.wide - one.wide)
    one.whole += other.whole
    one.path = max(one.path, other.path)
    one.looks |= other.looks


def _is_duplicate(one: _Track, other: _Track) -> bool:
    """Return True if two tracks are one object: one look may see both a cup and its saucer as cups."""
    wide = min(one.right + one.wide / 2, other.right + other.wide / 2) - max(
        one.right - one.wide / 2, other.right - other.wide / 2
    )
    high = min(one.up + one.high / 2, other.up + other.high / 2) - max(
        one.up - one.high / 2, other.up - other.high / 2
    )
    if wide <= 0 or high <= 0:
        return False
    both = wide * high
    sizes = one.wide * one.high, other.wide * other.high
    if _is_same_name(one, other) and both >= _WITHIN * min(sizes):
        return True
    return not one.looks & other.looks and both >= _SAME * (sum(sizes) - both)
