"""All watches of a session, eight at most: requests when the scene changes, and alerts. Pure.

`woken` and `settled` report that the gate saw a change or its end; each gives at most one request
for all conditions. `answered` takes its answers and gives second looks and alerts. No frame is asked
about twice, and while a request runs the newest change waits for its end. Each request has to be
`answered` or `failed`.
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
# A change of more than this share of the picture is one of the whole picture.
_LARGE = 0.25


class LookKind(StrEnum):
    """The way in which a request looks at its frame."""

    # All conditions, the whole picture
    PLAIN = "plain"
    # The same, when the scene is still again after a no
    SETTLED = "settled"
    # One condition, its box in high detail, in other words, beside the last verified no
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """One request to a model."""

    look: LookKind
    frame_id: str
    watch_ids: tuple[str, ...]
    # The region that changed since the last answer; None for the whole picture
    changed: Box | None
    # Second look: the region to cut out, None for the whole picture; and the frame of the last
    # verified no, None without one
    crop: Box | None = None
    before: str | None = None
    # The light went out or came on, or something is gone: a yes needs no box.
    light: bool = False
    # Second look: others may follow, so a yes is no alert yet.
    votes: bool = False
    # It is about the watches that the request before left out, and the same frame.
    rest: bool = False


@dataclass(frozen=True, slots=True)
class _Wake:
    frame_id: str
    changed: Box | None
    light: bool = False
    # Square pixels of the frame
    area: float = math.inf

    @property
    def place(self) -> Box | None:
        """The region that changed; None when it says nothing about where."""
        box = self.changed
        if box is None or box.area > _LARGE * self.area:
            return None
        return box


def _wider(box: Box) -> Box:
    """Return a box of twice the width and height around the same middle."""
    across, down = (box.x2 - box.x1) / 2, (box.y2 - box.y1) / 2
    return Box(box.x1 - across, box.y1 - down, box.x2 + across, box.y2 + down)


def _both(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return None
    return Box(
        min(one.x1, other.x1), min(one.y1, other.y1), max(one.x2, other.x2), max(one.y2, other.y2)
    )


class WatchRules:
    """The watches of one session, oldest first. `boxes`: the engine gives boxes, in the frame's pixels.
    `place`: of the engine that is asked about a condition, in the order in which they are asked, each in a
    request of its own; None: none is now.

    Bounds of watches of a session, and what is asked about them: 8; a ninth is refused; one
    common request and a second look for each on their way, and one change that waits, the newest;
    150 wakes a watch at once and a day.
    """

    def __init__(
        self, *, boxes: bool = True, place: Callable[[str], int | None] = lambda _: 0
    ) -> None:
        self.boxes = boxes
        self.place = place
        self._watches: dict[str, WatchTracker] = {}
        # The running common request; None without one
        self._under_way: WatchRequest | None = None
        # The watches that it leaves to a request of their own, as it is but for them
        self._left: list[str] = []
        # Running second looks, one a watch
        self._seconds: dict[str, WatchRequest] = {}
        # The newest change since the request began
        self._waiting: _Wake | None = None
        # The frame of the newest common request, and the change in it
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
        """Begin a watch under a new name. `before`: the one in whose place it is, whose wakes it goes on with."""
        self._watches[name] = watch = WatchTracker(name, order, now)
        if before is not None:
            self.remove(before.name)
            watch.wakes = before.wakes

    def remove(self, name: str) -> None:
        """Stop a watch, if it is there."""
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
        """Take a change of the scene; return the request about the present watches, or None.

        `light`: the light went out or came on, so a yes needs no box. `area`: of the frame, in pixels.
        """
        if self._under_way is not None:
            before = self._waiting
            whole = _both(before.changed, changed) if before else changed
            self._waiting = _Wake(frame_id, whole, light, area)
            return None
        return self._ask(LookKind.PLAIN, _Wake(frame_id, changed, light, area), now, minute)

    def request_first(self, frame_id: str, now: float, minute: int) -> WatchRequest | None:
        """Return the request about new watches, whose answers are a status; None without any."""
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
        """Take a still scene; return one more request about the watches that need it.

        `changed`: the region that differs from the frame of that answer.
        """
        if self._under_way is not None or self._asked is None:
            return None
        whole = _both(self._asked.changed, changed) if changed else self._asked.changed
        wake = replace(self._asked, frame_id=frame_id, changed=whole)
        return self._ask(LookKind.SETTLED, wake, now, minute)

    def repeat_due(self, now: float) -> bool:
        """Return True when it is time to ask `again` about what came and stays."""
        return self._under_way is None and any(
            watch.again_at is not None and now >= watch.again_at and not watch.detected
            for watch in self._watches.values()
        )

    def request_repeat(self, frame_id: str, now: float, minute: int) -> WatchRequest | None:
        """Return one more request about what came, stays and got a no, once it is due."""
        if self._asked is None or not self.repeat_due(now):
            return None
        # All that wait, in one request
        due = [name for name, watch in self._watches.items() if watch.again_at is not None]
        return self._ask(
            LookKind.SETTLED, replace(self._asked, frame_id=frame_id), now, minute, only=due
        )

    def cancel_repeats(self) -> None:
        """Ask no more about what came, because it went."""
        for watch in self._watches.values():
            watch.again_at = None

    def detect(self, names: Collection[str]) -> None:
        """Leave these watches to the detector, and no others: no common request is about them."""
        for name, watch in self._watches.items():
            watch.detected = name in names

    def on_detected(
        self, frame_id: str, answers: Mapping[str, WatchAnswer], now: float, minute: int
    ) -> list[WatchRequest]:
        """Take what the detector saw; return a second look for each yes, which a model has to confirm.

        A yes without a box is about something that is gone.
        """
        asks = []
        for name, answer in answers.items():
            watch = self._watches.get(name)
            if watch is None or not watch.awake(now, minute):
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
        """Take the answers of a request; a missing one counts as no request.

        Returns the requests to make, and the alert of a second look.
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
                # Once is enough: a model that cannot answer will not about the next frame.
                watch.unsettled = watch.unsettled and not settled
            elif watch.on_plain_answer(answer, ask.frame_id, now, settled=settled):
                self._seconds[name] = second = WatchRequest(
                    LookKind.SECOND,
                    ask.frame_id,
                    (name,),
                    ask.changed,
                    answer.where,
                    # A no about what is asked about again may be a picture of it.
                    None if watch.asked_again else watch.last_no,
                    ask.light,
                    self.boxes and not ask.light and ask.changed is None and watch.armed,
                )
                asks.append(second)
        return asks + self._next(ask.look, now, minute), None

    def active_conditions(self, now: float, minute: int) -> dict[str, str]:
        """Return the conditions of the watches that may be asked about now, by their ids."""
        return {
            name: watch.order.condition
            for name, watch in self._watches.items()
            if watch.awake(now, minute)
        }

    def has_unasked(self, now: float, minute: int) -> bool:
        """Return True while a watch was in no request yet that may be asked about now."""
        return any(
            watch.asked_frame is None
            and not watch.detected
            and watch.awake(now, minute)
            and self.place(watch.order.condition) is not None
            for watch in self._watches.values()
        )

    def new_stream(self) -> None:
        """Forget the verified noes: another camera looks elsewhere."""
        for watch in self._watches.values():
            watch.last_no = None

    @property
    def pending_frames(self) -> set[str]:
        """The frames of the requests that run, and of the change that waits."""
        found = {ask.frame_id for ask in self._seconds.values()}
        for one in (self._under_way, self._waiting):
            if one is not None:
                found.add(one.frame_id)
        return found

    @property
    def compared_frames(self) -> set[str]:
        """The frames of verified noes, which second looks compare with."""
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
            and watch.awake(now, minute)
            and (look is LookKind.PLAIN or watch.unsettled or only is not None)
        )
        found = {name: self.place(self._watches[name].order.condition) for name in names}
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
        # Another crop: wider at first, then the whole picture
        wider = _wider(ask.crop) if len(watch.votes) == 1 and ask.crop is not None else None
        self._seconds[name] = again = replace(ask, crop=wider)
        return [again], None

    def _next(self, look: LookKind, now: float, minute: int) -> list[WatchRequest]:
        left, self._left = self._left, []
        if left and self._asked is not None:
            ask = self._ask(look, self._asked, now, minute, only=left, rest=True)
            if ask is not None:
                return [ask]
        waiting, self._waiting = self._waiting, None
        ask = self._ask(LookKind.PLAIN, waiting, now, minute) if waiting else None
        return [ask] if ask else []


# One watch: the state of its condition, and the decision to alert.
#
# CLEAR ─ yes ─▶ DOUBTED ─ yes, and the box lies in what changed ─▶ HOLDS ─▶ alert
#   ▲ ◀─────────────┘ no, or elsewhere                                │
#   └──────────────────────────────── three noes, then a cooldown ────┘
#
# A condition that holds when the watch begins also leads to HOLDS, without an alert.

# A change that stays after two noes is asked about again, so many seconds after the last answer.
AGAIN_SECONDS = (2.0, 3.0, 10.0)
# Successive noes after which a condition that held is over
CLEARED_AFTER = 3
# Requests of one watch: this many at once, and as many again within a day
WAKES_A_DAY = 150
_DAY = 86_400.0
# Seconds after which a look of the detector that changes nothing is noted again: its time, and a no's frame
_NOTED_SECONDS = 30.0
# The confidence that an answer needs, and the share of doubt that each "that was wrong" leaves
_THRESHOLD = 0.5
_DOUBT_LEFT = 0.6
_MAX_THRESHOLD = 0.95
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
class Firing:
    """One alert of a watch, with the frame that proves it."""

    # The watch's name
    watch_id: str
    condition: str
    at: float
    confidence: float
    reason: str
    frame_id: str
    region: Box | None


def overlaps(found: Box, changed: Box) -> bool:
    """Return whether a box overlaps a change by a fifth of the smaller of both."""
    width = min(found.x2, changed.x2) - max(found.x1, changed.x1)
    height = min(found.y2, changed.y2) - max(found.y1, changed.y1)
    if width <= 0 or height <= 0:
        return False
    smaller = min(found.area, changed.area)
    return width * height >= _MIN_OVERLAP * smaller


class WatchTracker:
    """The state of one order. `WatchRules` asks for it and passes the answers on."""

    def __init__(self, name: str, order: messages.Watch, now: float) -> None:
        """`name`: a short one in place of the order's id, since models repeat it."""
        self.name = name
        self.order = order
        self.belief = Belief.CLEAR
        # The confidence that an answer needs, which each false alarm raises
        self.threshold = min(_MAX_THRESHOLD, max(_THRESHOLD, order.threshold or 0.0))
        self.reason = ""
        # The time of the last request about it; None before the first one.
        self.looked_at: float | None = None
        # The frame of the last no that a second picture confirmed, for comparison; None before one.
        self.last_no: str | None = None
        # The frame of the last request about it; None before the first one.
        self.asked_frame: str | None = None
        # False until the state at its beginning is known; a yes before that alerts nothing.
        self.armed = False
        self._first_noes = 0
        # An answer waits for one look at the settled scene: a first no, and each answer about a
        # condition that held, since nothing may change again once it is over.
        self.unsettled = False
        # The time of the next look at a change that stays, None without one; and the number of such looks
        self.again_at: float | None = None
        self._again = 0
        # The detector looks for it, and no common request is about it.
        self.detected = False
        # The second looks at this frame, where nobody knows what changed: the boxes of those that saw
        # it, else None
        self.votes: list[Box | None] = []
        self.since = now
        self._noes = 0
        self._quiet_until = now
        self.wakes = Bucket(WAKES_A_DAY / _DAY, WAKES_A_DAY, now)
        self._alerted = False

    @property
    def asked_again(self) -> bool:
        """True when the last wake's change got two noes already."""
        return self._again > 0

    def expired(self, now: float) -> bool:
        expires = self.order.expires
        return expires is not None and now - self.since >= expires

    def finished(self, now: float) -> bool:
        """Return True when it has alerted and was to alert once, or has expired."""
        return (self._alerted and not self.order.repeat) or self.expired(now)

    def awake(self, now: float, minute: int) -> bool:
        """Return True while it may be asked about."""
        return not self.finished(now) and not self.pause_reason(now, minute)

    def pause_reason(self, now: float, minute: int) -> str:
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
        if not self.wakes.ready(now):
            return "It has looked as often as it may for now."
        return ""

    def state(self, now: float, minute: int) -> WatchState:
        if self.expired(now):
            return WatchState.EXPIRED
        if self.belief is Belief.HOLDS or self.finished(now):
            return WatchState.SEEN
        return WatchState.PAUSED if self.pause_reason(now, minute) else WatchState.LOOKING

    def spend(self, now: float) -> None:
        """Count one wake, with which all looks after it begin anew."""
        self._again, self.again_at = 0, None
        self.wakes.take(now)

    def on_plain_answer(
        self, answer: WatchAnswer, frame_id: str, now: float, *, settled: bool
    ) -> bool:
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
        self.armed = self.armed or settled or self._first_noes > 1
        # Only a second no is compared with later pictures.
        self.unsettled = not settled
        if settled:
            self.last_no = frame_id
            self._ask_again(now)
        return False

    def on_detection(self, answer: WatchAnswer, frame_id: str, now: float) -> bool:
        """Take what the detector saw; return True when a second look is needed."""
        before, yes = self.belief, self._yes(answer)
        if before is Belief.HOLDS:
            self._holds_still(yes, now, settled=True)
        elif before is Belief.CLEAR and yes:
            self.belief = Belief.DOUBTED
            self.votes = []
        noted = self.looked_at is not None and now - self.looked_at < _NOTED_SECONDS
        if self.belief is not before or not noted:
            # Not each look is told to clients, nor kept as a picture.
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
        """Take the answer of a second look. While it stays DOUBTED, another one is needed.

        `boxes`: the answer has to name a box, in what changed where that is known (`changed`); else
        nothing alerts. `votes`: two of three looks with different crops decide.
        """
        if self.belief is not Belief.DOUBTED:
            return None
        self.looked_at, self.reason = now, answer.why
        yes = self._yes(answer)
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
            answer.where is None or (changed is not None and not overlaps(answer.where, changed))
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
        """Return whether another second look is needed."""
        # A no of the first one ends it.
        return self.votes[0] is not None and len(self.votes) < _VOTES and not self._votes_agree()

    def _votes_agree(self) -> bool:
        """Return whether two looks saw it at one place, the newest among them."""
        *before, newest = self.votes
        return newest is not None and any(one and overlaps(one, newest) for one in before)

    def _ask_again(self, now: float) -> None:
        """Set the time of the next look at what stays, unless there were enough."""
        if not self.detected and self._again < len(AGAIN_SECONDS):
            self.again_at = now + AGAIN_SECONDS[self._again]
            self._again += 1

    def on_no_answer(self) -> None:
        """Note that no answer came, which counts as no request."""
        if self.belief is Belief.DOUBTED:
            self.belief = Belief.CLEAR

    def false_alarm(self, frame_id: str, now: float) -> None:
        """Take a person's word that the last alert was false: raise the threshold, and note a no."""
        self.threshold = min(_MAX_THRESHOLD, 1 - (1 - self.threshold) * _DOUBT_LEFT)
        self.last_no = frame_id
        self._alerted = False
        self._clear(now)

    def _yes(self, answer: WatchAnswer) -> bool:
        return answer.seen and answer.confidence >= self.threshold

    def _begin(self) -> None:
        self.belief, self._noes = Belief.HOLDS, 0

    def _holds_still(self, yes: bool, now: float, *, settled: bool) -> None:
        self._noes = 0 if yes else self._noes + 1
        self.unsettled = not (yes and settled)
        if self._noes >= CLEARED_AFTER:
            self._clear(now)

    def _clear(self, now: float) -> None:
        self.belief, self._noes, self.unsettled = Belief.CLEAR, 0, False
        self._quiet_until = now + self.order.cooldown
