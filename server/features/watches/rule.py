"""The rules of a session's watches: when to ask a model, and when to alert. Pure.

`on_change` and `on_settled` report a change of the scene, or its end; each returns at most one request for
all conditions. `on_answer` takes the answers, and returns second looks and alerts. No frame is used for two
requests; while a request runs, the newest change waits. Call `on_answer` for each request; after a failure, call
it without answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from server.core.aio import Bucket
from server.features.watches import messages
from server.media.picture.grounding import Box
from server.shared.watch_answers import WatchAnswer

MAX_WATCHES = 8
# Fraction of the picture above which a change counts as a change of the whole picture
_LARGE = 0.25


class LookKind(StrEnum):
    """The kind of a request to a model."""

    # About all conditions, with the whole picture
    PLAIN = "plain"
    # The same, after a no, once the scene is still again
    SETTLED = "settled"
    # About one condition: its box in high detail, worded differently, beside the frame of the last verified no
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """One request to a model."""

    look: LookKind
    frame_id: str
    watch_ids: tuple[str, ...]
    # The region that changed since the last answer, in pixels of the frame; None for the whole picture
    changed: Box | None
    # For a second look: the region to crop, None for the whole picture; and the frame of the last
    # verified no, None if there is none
    crop: Box | None = None
    before: str | None = None
    # True if the light went out or came on, or something has disappeared: a yes needs no box.
    light: bool = False
    # True for a second look of a vote: others may follow, so a yes does not alert yet.
    votes: bool = False
    # True if the request is about the same frame as the previous one, and about the watches left out of it
    rest: bool = False


@dataclass(frozen=True, slots=True)
class _Wake:
    """A change of the scene that calls for a request."""

    frame_id: str
    changed: Box | None
    light: bool = False
    # Area of the frame in square pixels
    area: float = math.inf

    @property
    def place(self) -> Box | None:
        """The region that changed; None if it is unknown or nearly the whole picture."""
        box = self.changed
        if box is None or box.area > _LARGE * self.area:
            return None
        return box


def _widen(box: Box) -> Box:
    """Return a box with the same middle and twice the width and height."""
    across, down = (box.x2 - box.x1) / 2, (box.y2 - box.y1) / 2
    return Box(box.x1 - across, box.y1 - down, box.x2 + across, box.y2 + down)


def _join_boxes(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return None
    return Box(
        min(one.x1, other.x1), min(one.y1, other.y1), max(one.x2, other.x2), max(one.y2, other.y2)
    )


class WatchRules:
    """The watches of one session, oldest first.

    `boxes`: the engine gives boxes, in pixels of the frame. `get_engine_rank`: returns the rank of the engine for a
    condition, since each engine gets a separate request, lowest rank first; None if no engine can be asked.

    Bounds of watches of a session, and of requests about them: 8 watches; a ninth is refused; one
    common request and a second look for each at a time, and the newest change that waits; 150 requests
    a watch at once and a day.
    """

    def __init__(
        self, *, boxes: bool = True, place: Callable[[str], int | None] = lambda _: 0
    ) -> None:
        self.boxes = boxes
        self.get_engine_rank = place
        self._watches: dict[str, WatchTracker] = {}
        # The running common request; None if there is none
        self._under_way: WatchRequest | None = None
        # The watches left for a further request about the same frame, to another engine
        self._left: list[str] = []
        # Running second looks, by watch
        self._seconds: dict[str, WatchRequest] = {}
        # The newest change since the request started; None if there is none
        self._waiting: _Wake | None = None
        # Frame and change of the newest common request; None before the first request
        self._asked: _Wake | None = None

    def __len__(self) -> int:
        return len(self._watches)

    def __iter__(self) -> Iterator[WatchTracker]:
        return iter(self._watches.values())

    def get(self, name: str) -> WatchTracker | None:
        return self._watches.get(name)

    def add(
        self, name: str, order: messages.Watch, now: float, *, before: WatchTracker | None = None
    ) -> None:
        """Add a watch under a new name. `before`: the watch that it replaces, whose request budget it continues."""
        self._watches[name] = watch = WatchTracker(name, order, now)
        if before is not None:
            self.remove(before.name)
            watch.wakes = before.wakes

    def remove(self, name: str) -> None:
        """Remove a watch, if it exists."""
        self._seconds.pop(name, None)
        self._watches.pop(name, None)

    def on_change(
        self,
        frame_id: str,
        changed: Box | None,
        now: float,
        minute: int,
        *,
        light: bool = False,
        area: float = math.inf,
    ) -> WatchRequest | None:
        """Handle a change of the scene.

        Return the request to make; None if the change waits or no watch needs a request. `changed`: the region in
        pixels of the frame, None for all of it; `minute`: of the person's day; `light`: the light went out or came on,
        so a yes needs no box; `area`: of the frame in square pixels.
        """
        if self._under_way is not None:
            before = self._waiting
            whole = _join_boxes(before.changed, changed) if before else changed
            self._waiting = _Wake(frame_id, whole, light, area)
            return None
        return self._ask(LookKind.PLAIN, _Wake(frame_id, changed, light, area), now, minute)

    def request_first(self, frame_id: str, now: float, minute: int) -> WatchRequest | None:
        """Return the first request about new watches, whose answers alert nothing; None if there are none."""
        new = [
            name
            for name, watch in self._watches.items()
            if watch.asked_frame is None and not watch.detected
        ]
        if self._under_way is not None or not new:
            return None
        return self._ask(LookKind.PLAIN, _Wake(frame_id, None), now, minute, only=new)

    def on_settled(
        self, frame_id: str, changed: Box | None, now: float, minute: int
    ) -> WatchRequest | None:
        """Handle a scene that is still again; return one more request about the watches that need it, or None.

        `changed`: the region that differs from the frame of the last request.
        """
        if self._under_way is not None or self._asked is None:
            return None
        whole = _join_boxes(self._asked.changed, changed) if changed else self._asked.changed
        wake = replace(self._asked, frame_id=frame_id, changed=whole)
        return self._ask(LookKind.SETTLED, wake, now, minute)

    def repeat_due(self, now: float) -> bool:
        """Return True if a repeated request about a persisting change is due."""
        return self._under_way is None and any(
            watch.again_at is not None and now >= watch.again_at and not watch.detected
            for watch in self._watches.values()
        )

    def request_repeat(self, frame_id: str, now: float, minute: int) -> WatchRequest | None:
        """Return a repeated request about a persisting change that got a no; None if none is due."""
        if self._asked is None or not self.repeat_due(now):
            return None
        # Ask in one request about all watches that wait for a repeated one.
        due = [name for name, watch in self._watches.items() if watch.again_at is not None]
        return self._ask(
            LookKind.SETTLED, replace(self._asked, frame_id=frame_id), now, minute, only=due
        )

    def cancel_repeats(self) -> None:
        """Cancel the repeated requests, because the change has disappeared."""
        for watch in self._watches.values():
            watch.again_at = None

    def detect(self, names: Collection[str]) -> None:
        """Leave exactly these watches to the detector; common requests are about the others."""
        for name, watch in self._watches.items():
            watch.detected = name in names

    def on_detected(
        self, frame_id: str, answers: Mapping[str, WatchAnswer], now: float, minute: int
    ) -> list[WatchRequest]:
        """Handle the detector's answers; return a second look for each yes, which a model has to confirm.

        A yes without a box is about something that has disappeared.
        """
        asks = []
        for name, answer in answers.items():
            watch = self._watches.get(name)
            if watch is None or not watch.is_awake(now, minute):
                continue
            if watch.on_detection(answer, frame_id, now):
                watch.spend(now)
                box = answer.where
                ask = WatchRequest(
                    LookKind.SECOND, frame_id, (name,), box, box, watch.last_no, box is None
                )
                self._seconds[name] = ask
                asks.append(ask)
        return asks

    def on_answer(
        self, ask: WatchRequest, answers: Mapping[str, WatchAnswer], now: float, minute: int
    ) -> tuple[list[WatchRequest], Firing | None]:
        """Handle the answers of a request; a watch without an answer counts as not asked.

        Return the requests to make, and the alert that follows from a second look, or None.
        """
        if ask.look is LookKind.SECOND:
            return self._take_second(ask, answers, now)
        if ask is not self._under_way:
            return [], None
        asks = []
        settled = ask.look is LookKind.SETTLED
        self._under_way = None
        for name in ask.watch_ids:
            watch, answer = self._watches.get(name), answers.get(name)
            if watch is None:
                continue
            if answer is None:
                # Do not repeat a settled request: a model that cannot answer it will not answer about the next frame
                # either.
                watch.unsettled = watch.unsettled and not settled
            elif watch.on_plain_answer(answer, ask.frame_id, now, settled=settled):
                self._seconds[name] = second = WatchRequest(
                    LookKind.SECOND,
                    ask.frame_id,
                    (name,),
                    ask.changed,
                    answer.where,
                    # If asked repeatedly, the frame of the last no may show the object already.
                    None if watch.asked_again else watch.last_no,
                    ask.light,
                    self.boxes and not ask.light and ask.changed is None and watch.armed,
                )
                asks.append(second)
        return asks + self._take_next(ask.look, now, minute), None

    def get_active_conditions(self, now: float, minute: int) -> dict[str, str]:
        """Return the conditions of the watches that can be asked about now, by name."""
        return {
            name: watch.order.condition
            for name, watch in self._watches.items()
            if watch.is_awake(now, minute)
        }

    def has_unasked(self, now: float, minute: int) -> bool:
        """Return True if a watch that can be asked about now has not been in any request."""
        return any(
            watch.asked_frame is None
            and not watch.detected
            and watch.is_awake(now, minute)
            and self.get_engine_rank(watch.order.condition) is not None
            for watch in self._watches.values()
        )

    def new_stream(self) -> None:
        """Forget the frames of verified noes, since a new stream may show another view."""
        for watch in self._watches.values():
            watch.last_no = None

    @property
    def pending_frames(self) -> set[str]:
        """The ids of the frames of running requests, and of the change that waits."""
        found = {ask.frame_id for ask in self._seconds.values()}
        for one in (self._under_way, self._waiting):
            if one is not None:
                found.add(one.frame_id)
        return found

    @property
    def compared_frames(self) -> set[str]:
        """The ids of the frames of verified noes, with which second looks compare."""
        found = {ask.before for ask in self._seconds.values()}
        found |= {watch.last_no for watch in self._watches.values()}
        return {name for name in found if name is not None}

    def _ask(
        self,
        look: LookKind,
        wake: _Wake,
        now: float,
        minute: int,
        only: Collection[str] | None = None,
        rest: bool = False,
    ) -> WatchRequest | None:
        names = tuple(
            name
            for name, watch in self._watches.items()
            if (only is None or name in only)
            and not watch.detected
            and watch.asked_frame != wake.frame_id
            and watch.belief is not Belief.DOUBTED
            and watch.is_awake(now, minute)
            and (look is LookKind.PLAIN or watch.unsettled or only is not None)
        )
        found = {name: self.get_engine_rank(self._watches[name].order.condition) for name in names}
        places = {name: place for name, place in found.items() if place is not None}
        if not places:
            return None
        first = min(places.values())
        self._left = [name for name, place in places.items() if place > first]
        names = tuple(name for name, place in places.items() if place == first)
        for watch in (self._watches[name] for name in names):
            watch.asked_frame = wake.frame_id
            if look is LookKind.PLAIN:
                watch.spend(now)
        self._asked = wake
        self._under_way = WatchRequest(
            look, wake.frame_id, names, wake.place, light=wake.light, rest=rest
        )
        return self._under_way

    def _take_second(
        self, ask: WatchRequest, answers: Mapping[str, WatchAnswer], now: float
    ) -> tuple[list[WatchRequest], Firing | None]:
        (name,) = ask.watch_ids
        if self._seconds.get(name) is not ask:
            return [], None
        del self._seconds[name]
        watch, answer = self._watches[name], answers.get(name)
        if answer is None:
            watch.on_no_answer()
            return [], None
        boxes = self.boxes and not ask.light
        firing = watch.on_second_answer(
            answer, ask.frame_id, ask.changed, now, boxes=boxes, votes=ask.votes
        )
        if watch.belief is not Belief.DOUBTED:
            return [], firing
        # Vote with another crop: first a wider one, then the whole picture.
        wider = _widen(ask.crop) if len(watch.votes) == 1 and ask.crop is not None else None
        self._seconds[name] = again = replace(ask, crop=wider)
        return [again], None

    def _take_next(self, look: LookKind, now: float, minute: int) -> list[WatchRequest]:
        left, self._left = self._left, []
        if left and self._asked is not None:
            ask = self._ask(look, self._asked, now, minute, only=left, rest=True)
            if ask is not None:
                return [ask]
        waiting, self._waiting = self._waiting, None
        ask = self._ask(LookKind.PLAIN, waiting, now, minute) if waiting else None
        return [ask] if ask else []


# One watch: the state of its condition, and the decision to alert
#
# CLEAR ─ yes ─▶ DOUBTED ─ yes, and the box lies in what changed ─▶ HOLDS ─▶ alert
#   ▲ ◀─────────────┘ no, or elsewhere                                │
#   └──────────────────────────────── three noes, then a cooldown ────┘
#
# A condition that holds when the watch is added also leads to HOLDS, without an alert.

# Seconds after the last answer at which a change that persists after two noes is asked about again
AGAIN_SECONDS = (2.0, 3.0, 10.0)
# Successive noes after which a condition no longer holds
CLEARED_AFTER = 3
# Requests of one watch: this many at once, refilled within a day
WAKES_A_DAY = 150
_DAY = 86_400.0
# Seconds after which an unchanged result of the detector is recorded again, with its time and the frame of a no
_NOTED_SECONDS = 30.0
# Least confidence of an answer; factor on the remaining doubt (1 - threshold) for each false alarm; largest threshold
_THRESHOLD = 0.5
_DOUBT_LEFT = 0.6
_MAX_THRESHOLD = 0.95
# Most second looks if the changed region is unknown; two that agree decide.
_VOTES = 3
# Least overlap of a box and the change, as a share of the smaller one
_MIN_OVERLAP = 0.2


class WatchState(StrEnum):
    """State of a watch as sent to clients."""

    LOOKING = "looking"
    SEEN = "seen"
    PAUSED = "paused"
    EXPIRED = "expired"


class Belief(StrEnum):
    """State of a condition according to the answers so far."""

    CLEAR = "clear"
    # A yes waits for its second look.
    DOUBTED = "doubted"
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert of a watch, with the id of the frame that proves it."""

    # The watch's name
    watch_id: str
    condition: str
    at: float
    confidence: float
    reason: str
    frame_id: str
    region: Box | None


def has_overlap(found: Box, changed: Box) -> bool:
    """Return True if the overlap of a box and a change is at least a fifth of the smaller one."""
    width = min(found.x2, changed.x2) - max(found.x1, changed.x1)
    height = min(found.y2, changed.y2) - max(found.y1, changed.y1)
    if width <= 0 or height <= 0:
        return False
    smaller = min(found.area, changed.area)
    return width * height >= _MIN_OVERLAP * smaller


class WatchTracker:
    """The state of one watch. `WatchRules` makes its requests and passes the answers on."""

    def __init__(self, name: str, order: messages.Watch, now: float) -> None:
        """Start at `now`. `name`: short name used instead of the client's id, since models have to repeat it."""
        self.name = name
        self.order = order
        self.belief = Belief.CLEAR
        # Least confidence of an answer; each false alarm raises it
        self.threshold = min(_MAX_THRESHOLD, max(_THRESHOLD, order.threshold or 0.0))
        self.reason = ""
        # Time of the last answer; None before the first
        self.looked_at: float | None = None
        # Id of the frame of the last verified no, for comparison; None if there is none
        self.last_no: str | None = None
        # Id of the frame of the last common request; None before the first
        self.asked_frame: str | None = None
        # False until the state at the start is known; a yes before that does not alert.
        self.armed = False
        self._first_noes = 0
        # True if one more look at the settled scene is needed: after a first no, and after each answer about a
        # condition that held, since its end may be the last change.
        self.unsettled = False
        # Time of the next repeated look at a persisting change, None if there is none; and the number of such looks
        self.again_at: float | None = None
        self._again = 0
        # True if the detector looks for it, so that common requests leave it out
        self.detected = False
        # Votes of the second looks at this frame if the changed region is unknown: the box of a yes, else None
        self.votes: list[Box | None] = []
        self.since = now
        self._noes = 0
        self._quiet_until = now
        self.wakes = Bucket(WAKES_A_DAY / _DAY, WAKES_A_DAY, now)
        self._alerted = False

    @property
    def asked_again(self) -> bool:
        """True if the last change got two noes already."""
        return self._again > 0

    def is_expired(self, now: float) -> bool:
        """Return True if the watch has expired."""
        expires = self.order.expires
        return expires is not None and now - self.since >= expires

    def is_finished(self, now: float) -> bool:
        """Return True if the watch can alert no more: it has expired, or has alerted and does not repeat."""
        return (self._alerted and not self.order.repeat) or self.is_expired(now)

    def is_awake(self, now: float, minute: int) -> bool:
        """Return True if a model can be asked about the watch now."""
        return not self.is_finished(now) and not self.pause_reason(now, minute)

    def pause_reason(self, now: float, minute: int) -> str:
        """Return why the watch is paused now, as a sentence for the person; "" if it is not.

        `minute`: of the person's day.
        """
        if self.order.hours is not None:
            begin, end = self.order.hours
            inside = begin <= minute < end if begin <= end else minute >= begin or minute < end
            if not inside:
                return "It is outside its hours."
        if now < self._quiet_until:
            return "It pauses after its last alert."
        if not self.wakes.ready(now):
            return "It has used its looks for now, and goes on by itself."
        return ""

    def make_state(self, now: float, minute: int) -> WatchState:
        """Return the state as sent to clients."""
        if self.is_expired(now):
            return WatchState.EXPIRED
        if self.belief is Belief.HOLDS or self.is_finished(now):
            return WatchState.SEEN
        return WatchState.PAUSED if self.pause_reason(now, minute) else WatchState.LOOKING

    def spend(self, now: float) -> None:
        """Take one request from the watch's budget, and reset the repeated looks."""
        self._again, self.again_at = 0, None
        self.wakes.take(now)

    def on_plain_answer(
        self, answer: WatchAnswer, frame_id: str, now: float, *, settled: bool
    ) -> bool:
        """Record the answer of a common request; return True if a second look is needed."""
        self.looked_at, self.reason = now, answer.why
        self.again_at = None
        yes = self._is_yes(answer)
        if self.belief is Belief.HOLDS:
            self._update_hold(yes, now, settled=settled)
            return False
        if yes:
            self.unsettled = False
            self.belief = Belief.DOUBTED
            self.votes = []
            return True
        # Two noes about different frames also arm the watch, since a busy scene never settles.
        self._first_noes += 1
        self.armed = self.armed or settled or self._first_noes > 1
        # Only a second, verified no is used for comparison.
        self.unsettled = not settled
        if settled:
            self.last_no = frame_id
            self._ask_again(now)
        return False

    def on_detection(self, answer: WatchAnswer, frame_id: str, now: float) -> bool:
        """Record an answer of the detector; return True if a second look is needed."""
        before, yes = self.belief, self._is_yes(answer)
        if before is Belief.HOLDS:
            self._update_hold(yes, now, settled=True)
        elif before is Belief.CLEAR and yes:
            self.belief = Belief.DOUBTED
            self.votes = []
        noted = self.looked_at is not None and now - self.looked_at < _NOTED_SECONDS
        if self.belief is not before or not noted:
            # Do not report each look to clients, and do not keep a picture of each.
            self.looked_at, self.reason = now, answer.why
            self.last_no = self.last_no if yes else frame_id
        self.armed = self.armed or not yes
        return self.belief is Belief.DOUBTED and before is Belief.CLEAR

    def on_second_answer(
        self,
        answer: WatchAnswer,
        frame_id: str,
        changed: Box | None,
        now: float,
        *,
        boxes: bool,
        votes: bool,
    ) -> Firing | None:
        """Record the answer of a second look; return the alert, or None.

        While `belief` is DOUBTED, another look is needed. `boxes`: to alert, the answer needs a box, which must overlap
        `changed` if that is known. `votes`: two of three looks with different crops decide.
        """
        if self.belief is not Belief.DOUBTED:
            return None
        self.looked_at, self.reason = now, answer.why
        yes = self._is_yes(answer)
        if votes and self.armed:
            self.votes.append(answer.where if yes else None)
            if self._needs_another_vote():
                return None
            yes = self._votes_agree()
        self.belief = Belief.CLEAR
        first, self.armed = not self.armed, True
        if not yes:
            self.last_no = frame_id
            self._ask_again(now)
            return None
        if first:
            self._begin()
            return None
        if boxes and (
            answer.where is None or (changed is not None and not has_overlap(answer.where, changed))
        ):
            return None
        self._begin()
        self._alerted = True
        return Firing(
            self.name,
            self.order.condition,
            now,
            answer.confidence,
            answer.why,
            frame_id,
            answer.where,
        )

    def _needs_another_vote(self) -> bool:
        """Return True if another second look is needed."""
        # A no of the first look ends the vote.
        return self.votes[0] is not None and len(self.votes) < _VOTES and not self._votes_agree()

    def _votes_agree(self) -> bool:
        """Return True if the newest look and an earlier one saw the object at the same place."""
        *before, newest = self.votes
        return newest is not None and any(one and has_overlap(one, newest) for one in before)

    def _ask_again(self, now: float) -> None:
        """Set the time of the next repeated look, unless the most were made."""
        if not self.detected and self._again < len(AGAIN_SECONDS):
            self.again_at = now + AGAIN_SECONDS[self._again]
            self._again += 1

    def on_no_answer(self) -> None:
        """Record that no answer came: treat the watch as not asked about."""
        if self.belief is Belief.DOUBTED:
            self.belief = Belief.CLEAR

    def mark_false(self, frame_id: str, now: float) -> None:
        """Record that the person called the last alert false: raise the threshold, and count its frame as a no."""
        self.threshold = min(_MAX_THRESHOLD, 1 - (1 - self.threshold) * _DOUBT_LEFT)
        self.last_no = frame_id
        self._alerted = False
        self._clear(now)

    def _is_yes(self, answer: WatchAnswer) -> bool:
        return answer.seen and answer.confidence >= self.threshold

    def _begin(self) -> None:
        self.belief, self._noes = Belief.HOLDS, 0

    def _update_hold(self, yes: bool, now: float, *, settled: bool) -> None:
        self._noes = 0 if yes else self._noes + 1
        self.unsettled = not (yes and settled)
        if self._noes >= CLEARED_AFTER:
            self._clear(now)

    def _clear(self, now: float) -> None:
        self.belief, self._noes, self.unsettled = Belief.CLEAR, 0, False
        self._quiet_until = now + self.order.cooldown
