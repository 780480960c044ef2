"""One watch: the state of its condition, and the decision to ring. Pure: `now` is an argument.

                 yes                    yes, and the box lies in   what changed
    CLEAR ───────────────▶ DOUBTED ─────────────────────────────────────────▶ HOLDS ─▶ ring
      ▲ ◀──────────────────────┘ no, or elsewhere                               │
      └─────────────────────────────────────────────────────────────────────────┘ three noes, then a cooldown

A condition that holds when the watch begins also leads to HOLDS, without a ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.attention.watch_answers import Answer
from server.vision.grounding import Box

# A change that stays after two noes is asked about again, so many seconds after the last answer.
AGAIN_SECONDS = (2.0, 3.0, 10.0)
# Successive noes after which a condition that held is over
CLEARED_AFTER = 3
# Requests of one watch: this many at once, and as many again within a day
WAKES_A_DAY = 150
_DAY = 86_400.0
# The confidence that an answer needs, and the share of doubt that each "that was wrong" leaves
_BAR = 0.5
_DOUBT_LEFT = 0.6
_MAX_BAR = 0.95
# Most second looks where nobody knows which part changed; two that agree decide.
_VOTES = 3
# Share of the smaller of both by which a box has to overlap the change
_MIN_OVERLAP = 0.2


class WatchState(StrEnum):
    """The state of a watch as clients read it."""

    LOOKING = "looking"
    SEEN = "seen"
    PAUSED = "paused"
    EXPIRED = "expired"


class Belief(StrEnum):
    """The state of a condition, as the answers so far have it."""

    CLEAR = "clear"
    # A yes waits for its second look.
    DOUBTED = "doubted"
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Order:
    """One condition that a person asked to be rung for.

    Raises ValueError for an order that cannot be watched.
    """

    id: str
    condition: str
    # True: ring each time that it begins; False: once
    repeat: bool = False
    # Seconds after the end of a seen event in which nothing rings
    cooldown_s: float = 60.0
    # Seconds until it ends by itself; None: never
    expires_s: float | None = None
    # First and last minute of the day; may go over midnight; None: always
    hours: tuple[int, int] | None = None
    # The bar to begin with, which an earlier session raised; brought into 0.5 to 0.95
    bar: float = _BAR

    def __post_init__(self) -> None:
        if not self.id or not self.condition.strip():
            raise ValueError("a watch needs an id and a condition")
        if not 0 <= self.cooldown_s <= _DAY:
            raise ValueError(f"a cooldown of {self.cooldown_s} s was given; 0 to 86400 is allowed")
        if self.expires_s is not None and not self.expires_s > 0:
            raise ValueError(f"an expiry of {self.expires_s} s was given; more than 0 is allowed")
        if self.hours is not None and not all(0 <= minute < 1440 for minute in self.hours):
            raise ValueError(
                f"hours of {self.hours} were given; minutes from 0 to 1439 are allowed"
            )
        if self.hours is not None and self.hours[0] == self.hours[1]:
            raise ValueError(
                f"hours of {self.hours} were given; they have to end at another minute"
            )


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring of a watch, with the frame that proves it."""

    watch_id: str
    condition: str
    at: float
    sure: float
    reason: str
    frame_id: str
    region: Box | None


def overlaps(found: Box, changed: Box) -> bool:
    """Find whether a box overlaps a change by a fifth of the smaller of both."""
    width = min(found.x2, changed.x2) - max(found.x1, changed.x1)
    height = min(found.y2, changed.y2) - max(found.y1, changed.y1)
    if width <= 0 or height <= 0:
        return False
    smaller = min((box.x2 - box.x1) * (box.y2 - box.y1) for box in (found, changed))
    return width * height >= _MIN_OVERLAP * smaller


class Watch:
    """The state of one order. `Watches` asks for it and passes the answers on."""

    def __init__(self, order: Order, now: float) -> None:
        self.order = order
        self.belief = Belief.CLEAR
        self.bar = min(_MAX_BAR, max(_BAR, order.bar))
        self.reason = ""
        # The time of the last request about it; None before the first one.
        self.looked_at: float | None = None
        # The frame of the last no that a second picture confirmed, for comparison; None before one.
        self.last_no: str | None = None
        # The frame of the last request about it; None before the first one.
        self.asked_frame: str | None = None
        # False until the state at its beginning is known; a yes before that rings nothing.
        self.begun = False
        self._first_noes = 0
        # An answer waits for one look at the settled scene: a first no, and each answer about a
        # condition that held, since nothing may change again once it is over.
        self.unsettled = False
        # The time of the next look at a change that stays, None without one; and the number of such looks
        self.again_at: float | None = None
        self._again = 0
        # The second looks at this frame, where nobody knows what changed: the boxes of those that saw
        # it, else None
        self.votes: list[Box | None] = []
        self.since = now
        self._noes = 0
        self._quiet_until = now
        self._wakes = float(WAKES_A_DAY)
        self._wakes_at = now
        self._rung = False

    @property
    def asked_again(self) -> bool:
        """True when the last wake's change got two noes already."""
        return self._again > 0

    def expired(self, now: float) -> bool:
        expires = self.order.expires_s
        return expires is not None and now - self.since >= expires

    def finished(self, now: float) -> bool:
        """Return True when it has rung and was to ring once, or has expired."""
        return (self._rung and not self.order.repeat) or self.expired(now)

    def paused(self, now: float, minute: int) -> str:
        """Return the reason for not asking about it now; "" when there is none.

        `minute` is the minute of the day.
        """
        if self.order.hours is not None:
            begin, end = self.order.hours
            inside = begin <= minute < end if begin <= end else minute >= begin or minute < end
            if not inside:
                return "It is outside its hours."
        if now < self._quiet_until:
            return "It pauses after what it has seen."
        if self._refilled(now) < 1:
            return "It has looked as often as it may for now."
        return ""

    def state(self, now: float, minute: int) -> WatchState:
        if self.expired(now):
            return WatchState.EXPIRED
        if self._rung and not self.order.repeat:
            return WatchState.SEEN
        if self.belief is Belief.HOLDS:
            return WatchState.SEEN
        return WatchState.PAUSED if self.paused(now, minute) else WatchState.LOOKING

    def spend(self, now: float) -> None:
        """Count one wake, with which all looks after it begin anew."""
        self._again, self.again_at = 0, None
        self._wakes = self._refilled(now) - 1
        self._wakes_at = now

    def take_wakes(self, before: Watch, now: float) -> None:
        """Go on with the wakes that are left of the watch that this one replaces."""
        self._wakes, self._wakes_at = before._refilled(now), now

    def plain(self, answer: Answer, frame_id: str, now: float, *, settled: bool) -> bool:
        """Take the answer of the common request; return True when a second look is needed."""
        self.looked_at, self.reason = now, answer.why
        self.again_at = None
        yes = self._yes(answer)
        if self.belief is Belief.HOLDS:
            self._holds_still(yes, now, settled=settled)
            return False
        if yes:
            self.unsettled = False
            self.belief = Belief.DOUBTED
            self.votes = []
            return True
        # Two noes about different frames are enough, since a busy scene never settles.
        self._first_noes += 1
        self.begun = self.begun or settled or self._first_noes > 1
        # Only a second no is compared with later pictures.
        self.unsettled = not settled
        if settled:
            self.last_no = frame_id
            self._ask_again(now)
        return False

    def second(
        self,
        answer: Answer,
        frame_id: str,
        changed: Box | None,
        now: float,
        *,
        boxes: bool,
        votes: bool,
    ) -> Ring | None:
        """Take the answer of a second look. While it stays DOUBTED, another one is needed.

        `boxes`: the answer has to name a box, in what changed where that is known (`changed`); else
        nothing rings. `votes`: two of three looks with different crops decide.
        """
        if self.belief is not Belief.DOUBTED:
            return None
        self.looked_at, self.reason = now, answer.why
        yes = self._yes(answer)
        if votes and self.begun:
            self.votes.append(answer.where if yes else None)
            if self._undecided():
                return None
            yes = self._agreed()
        self.belief = Belief.CLEAR
        first, self.begun = not self.begun, True
        if not yes:
            self.last_no = frame_id
            self._ask_again(now)
            return None
        if first:
            self._begin()
            return None
        if boxes and (
            answer.where is None or (changed is not None and not overlaps(answer.where, changed))
        ):
            return None
        self._begin()
        self._rung = True
        return Ring(
            self.order.id,
            self.order.condition,
            now,
            answer.sure,
            answer.why,
            frame_id,
            answer.where,
        )

    def _undecided(self) -> bool:
        """Find whether another second look is needed."""
        # A no of the first one ends it.
        return self.votes[0] is not None and len(self.votes) < _VOTES and not self._agreed()

    def _agreed(self) -> bool:
        """Find whether two looks saw it at one place, the newest among them."""
        *before, newest = self.votes
        return newest is not None and any(one and overlaps(one, newest) for one in before)

    def _ask_again(self, now: float) -> None:
        """Set the time of the next look at what stays, unless there were enough."""
        if self._again < len(AGAIN_SECONDS):
            self.again_at = now + AGAIN_SECONDS[self._again]
            self._again += 1

    def unanswered(self) -> None:
        """Note that no answer came, which counts as no request."""
        if self.belief is Belief.DOUBTED:
            self.belief = Belief.CLEAR

    def wrong(self, frame_id: str, now: float) -> None:
        """Take a person's word that the last ring was false: raise the bar, and note a no."""
        self.bar = min(_MAX_BAR, 1 - (1 - self.bar) * _DOUBT_LEFT)
        self.last_no = frame_id
        self._rung = False
        self._clear(now)

    def _yes(self, answer: Answer) -> bool:
        return answer.seen and answer.sure >= self.bar

    def _begin(self) -> None:
        self.belief, self._noes = Belief.HOLDS, 0

    def _holds_still(self, yes: bool, now: float, *, settled: bool) -> None:
        self._noes = 0 if yes else self._noes + 1
        self.unsettled = not (yes and settled)
        if self._noes >= CLEARED_AFTER:
            self._clear(now)

    def _clear(self, now: float) -> None:
        self.belief, self._noes, self.unsettled = Belief.CLEAR, 0, False
        self._quiet_until = now + self.order.cooldown_s

    def _refilled(self, now: float) -> float:
        gained = max(0.0, now - self._wakes_at) * WAKES_A_DAY / _DAY
        return min(float(WAKES_A_DAY), self._wakes + gained)
