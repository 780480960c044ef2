"""Decide from successive looks whether a goal is found, lost, near or reached. Pure.

A wrong object is worse than none: a single look does not suffice, and an object that a second look denies gets less
weight for a while.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.features.guidance.scan import LYING, UPRIGHT
from server.media.picture.grounding import Box

# Weight of a sure sighting, and of an unverified one. The sum of the weights has to reach 1 within this many
# seconds.
_SURE, _ALONE = 0.5, 0.3
_TOGETHER_SECONDS = 3.0
# Looks that do not see the object, and seconds, after which it is lost
_LOST_LOOKS, _LOST_SECONDS = 3, 0.7
# The same for a model's looks, which are seconds apart
_MODEL_TOGETHER_SECONDS, _MODEL_LOST_LOOKS = 8.0, 2
# Farthest motion of its middle between two looks, as a fraction of the picture's width
_JUMP = 0.4
# Seconds for which its motion is extrapolated
_AHEAD_SECONDS = 0.6
# Seconds after which the classifier verifies it again, and after which an unverified one is lost
_ANEW_SECONDS, _UNSURE_SECONDS = 1.0, 4.0
# Near: largest distance of its middle from the picture's, as a fraction of a side. Reached: least fraction of a side
# that the object fills.
_NEAR, _THERE = 0.18, 0.5
_THERE_LOOKS = 2
# Seconds between second looks, and number of denials after which it is dropped
_AGAIN_SECONDS, _DENIALS = 0.5, 2
# Seconds for which a denied object gets less weight, and the factor
_DOUBT_SECONDS, _DOUBT = 10.0, 1 / 3


class State(StrEnum):
    """State of a goal, as in the message `target`."""

    LOOKING = "looking"
    MAYBE = "maybe"
    FOUND = "found"
    LOST = "lost"
    THERE = "there"


@dataclass(frozen=True, slots=True)
class GoalSighting:
    """A possible object found by a look.

    `box`: as fractions of the picture's sides; `sure` and `alone`: see `Spotted`.
    """

    box: Box
    sure: bool
    alone: bool = False


class GoalTracker:
    """The state of one goal. `now`: capture time of the frame of a look, monotonic seconds."""

    def __init__(self, *, by_model: bool = False) -> None:
        """Start without a sighting.

        `by_model`: a model looks every few seconds, so the object may move anywhere in between.
        """
        self.by_model = by_model
        self._together = _MODEL_TOGETHER_SECONDS if by_model else _TOGETHER_SECONDS
        self._lost_looks = _MODEL_LOST_LOOKS if by_model else _LOST_LOOKS
        self._jump = math.inf if by_model else _JUMP
        self.state = State.LOOKING
        # The object's current or last place, as fractions of the picture; None before the first sighting
        self.box: Box | None = None
        # True after a second look has seen the object, too
        self.confirmed = False
        # True while the client follows the object between looks; False after the client has reported its loss
        self._followed = True
        self._seen_at = -math.inf
        # Velocity of the object's middle, in fractions of the picture per second
        self._velocity = (0.0, 0.0)
        self._sure_at = -math.inf
        self._missed = 0
        # Sightings before the object counts as found: place, time, weight
        self._evidence: list[tuple[Box, float, float]] = []
        self._asked_at = -math.inf
        self._denials = 0
        self._doubted_until = -math.inf
        self._arrived = 0

    def get_expected_box(self, now: float) -> Box | None:
        """Return the object's extrapolated place; None if unknown."""
        if self.box is None or self.state not in (State.FOUND, State.MAYBE) or self._missed:
            return None
        passed = min(_AHEAD_SECONDS, now - self._seen_at)
        across, down = self._velocity
        return self.box.moved(across * passed, down * passed)

    def get_known_box(self, now: float) -> Box | None:
        """Return the object's extrapolated place if it was verified recently; None if it has to be verified again."""
        fresh = self.state is State.FOUND and now - self._sure_at < _ANEW_SECONDS
        return self.get_expected_box(now) if fresh else None

    @property
    def near(self) -> bool:
        """True if the object is near the middle of the picture."""
        return self.state in (State.FOUND, State.THERE) and self._distance_from_middle <= _NEAR

    @property
    def steady(self) -> bool:
        """True if the object is found, followed by the client and not near, so that the next look can wait."""
        found = self.state is State.FOUND and not self._missed
        return found and self._followed and not self.near

    def unfollow(self) -> bool:
        """Record that the client has lost the object; return False if it is not in view anyway."""
        self._followed = False
        return self.state in (State.FOUND, State.MAYBE)

    def should_look_again(self, now: float) -> bool:
        """Return True if the object is near and not confirmed, and a second look is due."""
        due = now - self._asked_at >= _AGAIN_SECONDS
        return self.near and not self.confirmed and due

    def see(self, sights: Sequence[GoalSighting], now: float, *, proven: bool = True) -> bool:
        """Record a look's sightings, most confident first; return True if the client should be notified.

        `proven`: the sightings are verified, not only assumed to be sure at the place of `get_known_box`.
        """
        before, seen_at = self.state, self._seen_at
        if before is State.THERE:
            return False
        if before is State.FOUND:
            self._follow(sights, now, proven)
        else:
            self._acquire(sights, now)
        return self.state is not before or self._seen_at != seen_at

    def record_second_look(self, seen: bool, now: float, sight: GoalSighting | None = None) -> None:
        """Record the result of a second look. Drop the object after two denials, or after one if it was not found yet.

        `sight`: the sighting that was checked; with `seen`, an object that was not found yet becomes found.
        """
        found = self.state is State.FOUND
        if seen and sight is not None and not found:
            self._accept(sight, now)
        self._asked_at = now
        if seen:
            self.confirmed, self._denials = self.state is State.FOUND, 0
            return
        self._denials += 1
        if self._denials >= _DENIALS or not found:
            self._doubted_until = now + _DOUBT_SECONDS
            self._drop(State.LOST if self.state is State.LOST else State.LOOKING)

    def _follow(self, sights: Sequence[GoalSighting], now: float, proven: bool) -> None:
        assert self.box is not None
        middle = self.box.middle
        same = [one for one in sights if math.dist(one.box.middle, middle) <= self._jump]
        if not same:
            self._missed += 1
            if self._missed >= self._lost_looks and now - self._seen_at >= _LOST_SECONDS:
                self._drop(State.LOST)
            return
        nearest = min(same, key=lambda one: (not one.sure, math.dist(one.box.middle, middle)))
        self._take(nearest, now, proven)
        if now - self._sure_at > _UNSURE_SECONDS:
            self._drop(State.LOST)
            return
        box = nearest.box
        large = max(box.x2 - box.x1, box.y2 - box.y1) >= _THERE
        self._arrived = self._arrived + 1 if self.confirmed and self.near and large else 0
        if self._arrived >= _THERE_LOOKS:
            self.state = State.THERE

    def _take(self, sight: GoalSighting, now: float, proven: bool) -> None:
        passed, self._velocity = now - self._seen_at, (0.0, 0.0)
        if self.box is not None and 0 < passed <= _AHEAD_SECONDS:
            (x, y), (before_x, before_y) = sight.box.middle, self.box.middle
            self._velocity = ((x - before_x) / passed, (y - before_y) / passed)
        self.box, self._seen_at, self._missed = sight.box, now, 0
        self._followed = True
        if (sight.sure and proven) or sight.alone:
            self._sure_at = now

    def _acquire(self, sights: Sequence[GoalSighting], now: float) -> None:
        self._evidence = [one for one in self._evidence if now - one[1] < self._together]
        found = next((one for one in sights if one.sure or one.alone), None)
        if found is None:
            self._missed += 1
            if self.state is State.MAYBE and not self._evidence:
                self._drop(State.LOOKING)
            return
        weight = _SURE if found.sure else _ALONE
        if now < self._doubted_until:
            weight *= _DOUBT
        self._evidence.append((found.box, now, weight))
        if sum(one[2] for one in self._evidence) >= 1 - 1e-6:
            self._accept(found, now)
        elif found.sure and now >= self._doubted_until:
            self.state = State.MAYBE
            self._take(found, now, True)

    def _accept(self, sight: GoalSighting, now: float) -> None:
        self._evidence.clear()
        self.state, self.confirmed, self._denials, self._arrived = State.FOUND, False, 0, 0
        self._asked_at = -math.inf
        self._take(sight, now, True)

    def _drop(self, state: State) -> None:
        self.state = state
        self.confirmed, self._denials, self._missed, self._arrived = False, 0, 0, 0
        self._velocity = (0.0, 0.0)
        self._evidence.clear()

    @property
    def _distance_from_middle(self) -> float:
        if self.box is None:
            return math.inf
        return max(abs(edge - 0.5) for edge in self.box.middle)


# Usual length of the longest side in metres, by the detector's names
_SIZES = {
    "apple": 0.08,
    "backpack": 0.45,
    "bottle": 0.25,
    "bowl": 0.16,
    "chair": 0.9,
    "cup": 0.1,
    "donut": 0.09,
    "fire hydrant": 0.75,
    "microwave": 0.5,
    "orange": 0.08,
    "oven": 0.7,
    "refrigerator": 1.7,
    "stop sign": 0.75,
    "suitcase": 0.65,
    "toaster": 0.3,
    "toilet": 0.75,
    "wine glass": 0.2,
}
# Distance from an edge, as a fraction of the side, within which a box may be cut off
_EDGE = 0.01


def estimate_distance(name: str, box: Box, ratio: float) -> float | None:
    """Return the estimated distance in metres; None if the usual size is unknown, or the box may be cut off.

    `box`: as fractions of the picture; `ratio`: height divided by width of the picture. Assumes the field of view of a
    scan.
    """
    size = _SIZES.get(name)
    if size is None or min(box.x1, box.y1) < _EDGE or max(box.x2, box.y2) > 1 - _EDGE:
        return None
    share = max(box.x2 - box.x1, (box.y2 - box.y1) * ratio)
    field = UPRIGHT if ratio > 1 else LYING
    return round(size / (2 * math.tan(math.radians(field / 2)) * max(share, 1e-3)), 2)
