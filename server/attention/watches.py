"""All watches of a session, eight at most: requests when the scene changes, and rings. Pure.

`woken` and `settled` report that the gate saw a change or its end; each gives at most one request
for all conditions. `answered` takes its answers and gives second looks and rings. No frame is asked
about twice, and while a request runs the newest change waits for its end. Each request has to be
`answered` or `failed`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.attention.watch import Belief, Order, Ring, Watch, WatchState
from server.attention.watch_answers import Answer
from server.vision.grounding import Box

MAX_WATCHES = 8
# A change of more than this share of the picture is one of the whole picture.
_LARGE = 0.25
# Most rings that a person can call wrong; the oldest is dropped.
_MAX_RINGS = 64


class Look(StrEnum):
    """The way in which a request looks at its frame."""

    # All conditions, the whole picture
    PLAIN = "plain"
    # The same, when the scene is still again after a no
    SETTLED = "settled"
    # One condition, its box in high detail, in other words, beside the last verified no
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a model."""

    look: Look
    frame_id: str
    watch_ids: tuple[str, ...]
    # The region that changed since the last answer; None for the whole picture
    changed: Box | None
    # Second look: the region to cut out, None for the whole picture; and the frame of the last
    # verified no, None without one
    crop: Box | None = None
    before: str | None = None
    # The light went out or came on: a yes needs no box.
    light: bool = False
    # Second look: others may follow, so a yes is no ring yet.
    votes: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """One watch as a person reads it."""

    id: str
    condition: str
    state: WatchState
    reason: str
    looked_at: float | None
    # It knows how things are at its beginning: a change from now on rings.
    begun: bool
    # It never rings again.
    finished: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The requests to make and the rings to send after an event."""

    asks: list[Ask] = field(default_factory=list)
    rings: list[Ring] = field(default_factory=list)


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
        if box is None or (box.x2 - box.x1) * (box.y2 - box.y1) > _LARGE * self.area:
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
        min(one.x1, other.x1),
        min(one.y1, other.y1),
        max(one.x2, other.x2),
        max(one.y2, other.y2),
    )


class Watches:
    """The watches of one session. `boxes`: the engine gives boxes, in the frame's pixels.

    Bounds of watches of a session, and what is asked about them: 8; a ninth is refused; one
    common request and a second look for each on their way, and one change that waits, the newest;
    150 wakes a watch at once and a day; 64 rings that can be called wrong, the oldest is dropped.
    """

    def __init__(self, *, boxes: bool = True) -> None:
        self.boxes = boxes
        self._watches: dict[str, Watch] = {}
        # The running common request; None without one
        self._under_way: Ask | None = None
        # Its watches: one that was replaced meanwhile is another one.
        self._asked_about: dict[str, Watch] = {}
        # Running second looks, one a watch
        self._seconds: dict[str, Ask] = {}
        # The newest change since the request began
        self._waiting: _Wake | None = None
        # The frame of the newest common request, and the change in it
        self._asked: _Wake | None = None
        self._rings: dict[str, Ring] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, order: Order, now: float) -> None:
        """Begin a watch, in place of one with the same id. Raises ValueError for a ninth."""
        if order.id not in self._watches and len(self._watches) >= MAX_WATCHES:
            raise ValueError(f"{MAX_WATCHES} watches are set, which is the most; stop one first")
        before = self._watches.get(order.id)
        self.remove(order.id)
        self._watches[order.id] = watch = Watch(order, now)
        if before is not None:
            watch.take_wakes(before, now)

    def remove(self, watch_id: str) -> bool:
        """Stop a watch; return False when there is none."""
        self._seconds.pop(watch_id, None)
        return self._watches.pop(watch_id, None) is not None

    def woken(
        self,
        frame_id: str,
        changed: Box | None,
        now: float,
        minute: int,
        *,
        light: bool = False,
        area: float = math.inf,
    ) -> Ask | None:
        """Take a change of the scene; return the request about the present watches, or None.

        `light`: the light went out or came on, so a yes needs no box. `area`: of the frame, in pixels.
        """
        if self._under_way is not None:
            before = self._waiting
            whole = _both(before.changed, changed) if before else changed
            self._waiting = _Wake(frame_id, whole, light, area)
            return None
        return self._ask(Look.PLAIN, _Wake(frame_id, changed, light, area), now, minute)

    def begin(self, frame_id: str, now: float, minute: int) -> Ask | None:
        """Return the request about new watches, whose answers are a status; None without any."""
        new = [name for name, watch in self._watches.items() if watch.asked_frame is None]
        if self._under_way is not None or not new:
            return None
        return self._ask(Look.PLAIN, _Wake(frame_id, None), now, minute, only=new)

    def settled(self, frame_id: str, changed: Box | None, now: float, minute: int) -> Ask | None:
        """Take a still scene; return one more request about the watches that need it.

        `changed`: the region that differs from the frame of that answer.
        """
        if self._under_way is not None or self._asked is None:
            return None
        whole = _both(self._asked.changed, changed) if changed else self._asked.changed
        wake = replace(self._asked, frame_id=frame_id, changed=whole)
        return self._ask(Look.SETTLED, wake, now, minute)

    def again_due(self, now: float) -> bool:
        """Return True when it is time to ask `again` about what came and stays."""
        return self._under_way is None and any(
            watch.again_at is not None and now >= watch.again_at for watch in self._watches.values()
        )

    def again(self, frame_id: str, now: float, minute: int) -> Ask | None:
        """Return one more request about what came, stays and got a no, once it is due."""
        if self._asked is None or not self.again_due(now):
            return None
        # All that wait, in one request
        due = [name for name, watch in self._watches.items() if watch.again_at is not None]
        return self._ask(
            Look.SETTLED, replace(self._asked, frame_id=frame_id), now, minute, only=due
        )

    def over_again(self) -> None:
        """Ask no more about what came, because it went."""
        for watch in self._watches.values():
            watch.again_at = None

    def answered(self, ask: Ask, answers: Mapping[str, Answer], now: float, minute: int) -> Outcome:
        """Take the answers of a request; a missing one counts as no request."""
        outcome = Outcome()
        if ask.look is Look.SECOND:
            self._take_second(ask, answers, now, outcome)
        elif ask is self._under_way:
            self._under_way = None
            asked_about, self._asked_about = self._asked_about, {}
            for name, watch in asked_about.items():
                answer = answers.get(name)
                if self._watches.get(name) is not watch:
                    continue
                if answer is None:
                    if ask.look is Look.SETTLED:
                        # Once is enough: a model that cannot answer will not about the next frame.
                        watch.unsettled = False
                    continue
                if watch.plain(answer, ask.frame_id, now, settled=ask.look is Look.SETTLED):
                    second = Ask(
                        Look.SECOND,
                        ask.frame_id,
                        (name,),
                        ask.changed,
                        answer.where,
                        # A no about what is asked about again may be a picture of it.
                        None if watch.asked_again else watch.last_no,
                        ask.light,
                        self.boxes and not ask.light and ask.changed is None and watch.begun,
                    )
                    self._seconds[name] = second
                    outcome.asks.append(second)
            outcome.asks.extend(self._next(now, minute))
        return outcome

    def failed(self, ask: Ask, now: float, minute: int) -> list[Ask]:
        """Take a request without an answer; return the requests that waited for its end."""
        return self.answered(ask, {}, now, minute).asks

    def bar(self, watch_id: str) -> float:
        """Return the confidence that an answer about a watch needs, which each `wrong` raises."""
        return self._watches[watch_id].bar

    def over(self, watch_id: str, now: float) -> bool:
        """Return True when a watch rings no more."""
        return self._watches[watch_id].finished(now)

    def began(self, watch_id: str) -> float:
        """Return the time at which a watch began."""
        return self._watches[watch_id].since

    def doubts(self, watch_id: str) -> bool:
        """Return True while a yes about a watch waits for its second look."""
        watch = self._watches.get(watch_id)
        return watch is not None and watch.belief is Belief.DOUBTED

    def order(self, watch_id: str) -> Order | None:
        """Return the order of a watch; None for an unknown one."""
        watch = self._watches.get(watch_id)
        return watch.order if watch is not None else None

    def unbegun(self, now: float, minute: int) -> bool:
        """Return True while a watch was in no request yet that may be asked about now."""
        return any(
            watch.asked_frame is None and not watch.finished(now) and not watch.paused(now, minute)
            for watch in self._watches.values()
        )

    def new_stream(self) -> None:
        """Forget the verified noes: another camera looks elsewhere."""
        for watch in self._watches.values():
            watch.last_no = None

    @property
    def asking(self) -> set[str]:
        """The frames of the requests that run, and of the change that waits."""
        found = {ask.frame_id for ask in self._seconds.values()}
        for one in (self._under_way, self._waiting):
            if one is not None:
                found.add(one.frame_id)
        return found

    @property
    def compared(self) -> set[str]:
        """The frames of verified noes, which second looks compare with."""
        found = {ask.before for ask in self._seconds.values()}
        found |= {watch.last_no for watch in self._watches.values()}
        return {name for name in found if name is not None}

    def wrong(self, watch_id: str, frame_id: str, now: float) -> bool:
        """Take back a ring; return False for an unknown one."""
        ring = self._rings.pop(f"{watch_id} {frame_id}", None)
        watch = self._watches.get(watch_id)
        if ring is None or watch is None:
            return False
        watch.wrong(frame_id, now)
        return True

    def status(self, now: float, minute: int) -> list[Status]:
        """Return all watches in the order of their beginning."""
        return [
            Status(
                name,
                watch.order.condition,
                watch.state(now, minute),
                watch.paused(now, minute) or watch.reason,
                watch.looked_at,
                watch.begun,
                watch.finished(now),
            )
            for name, watch in self._watches.items()
        ]

    def _ask(
        self,
        look: Look,
        wake: _Wake,
        now: float,
        minute: int,
        only: Collection[str] | None = None,
    ) -> Ask | None:
        names = tuple(
            name
            for name, watch in self._watches.items()
            if (only is None or name in only)
            and watch.asked_frame != wake.frame_id
            and not watch.finished(now)
            and watch.belief is not Belief.DOUBTED
            and not watch.paused(now, minute)
            and (look is Look.PLAIN or watch.unsettled or only is not None)
        )
        if not names:
            return None
        self._asked_about = {name: self._watches[name] for name in names}
        for watch in self._asked_about.values():
            watch.asked_frame = wake.frame_id
            if look is Look.PLAIN:
                watch.spend(now)
        self._asked = wake
        self._under_way = Ask(look, wake.frame_id, names, wake.place, light=wake.light)
        return self._under_way

    def _take_second(
        self, ask: Ask, answers: Mapping[str, Answer], now: float, outcome: Outcome
    ) -> None:
        (name,) = ask.watch_ids
        if self._seconds.get(name) is not ask:
            return
        del self._seconds[name]
        watch, answer = self._watches[name], answers.get(name)
        if answer is None:
            watch.unanswered()
            return
        boxes = self.boxes and not ask.light
        ring = watch.second(answer, ask.frame_id, ask.changed, now, boxes=boxes, votes=ask.votes)
        if watch.belief is Belief.DOUBTED:
            # Another crop: wider at first, then the whole picture
            wider = _wider(ask.crop) if len(watch.votes) == 1 and ask.crop is not None else None
            self._seconds[name] = again = replace(ask, crop=wider)
            outcome.asks.append(again)
        if ring is not None:
            outcome.rings.append(ring)
            self._rings[f"{name} {ask.frame_id}"] = ring
            if len(self._rings) > _MAX_RINGS:
                del self._rings[next(iter(self._rings))]

    def _next(self, now: float, minute: int) -> list[Ask]:
        waiting, self._waiting = self._waiting, None
        ask = self._ask(Look.PLAIN, waiting, now, minute) if waiting else None
        return [ask] if ask else []
