"""A session's watches at work: frames in, requests to the engine, rings and the list of watches out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from server.attention.attention import Attention
from server.attention.gate import Change
from server.attention.watch import Ring
from server.attention.watch_answers import BEFORE, SCHEMA, Answer, question, second_question
from server.attention.watches import Ask, Look, Watches
from server.camera.camera import Camera
from server.core import messages as wire
from server.core.aio import in_pool
from server.core.errors import (
    Busy,
    Draining,
    EngineError,
    NotConfirmed,
    NotFound,
    QwenCameraError,
)
from server.core.frames import Detail, Frame, Kind, Region
from server.engines.base import Capabilities, EarlierPicture
from server.inference import Result
from server.session.outbox import Outbox
from server.session.request_builder import Extras, RequestBuilder, SessionTools, View
from server.session.rings import Rings
from server.session.watch_frames import WatchFrames
from server.session.watch_list import WatchList
from server.session.watch_request import (
    WatchSink,
    answer_tokens,
    changed_box,
    crop_region,
    detail_for,
    in_shares,
    unit_of,
)
from server.vision.grounding import Box

# A scene without a change for this long after a request is settled.
_SETTLED_SECONDS = 0.6
# A request that was stopped, or failed in a way that may pass, is made again after this long, so often.
_AGAIN_SECONDS = 0.5
_MOST_ATTEMPTS = 3
_PASSING = (Busy, EngineError)


class Watching:
    """The watches of one session, a part of `Background`. All methods belong to the event loop.

    One request runs at a time; second looks go before the next common request. A frame is kept while
    a request about it waits or runs.
    """

    def __init__(
        self,
        *,
        attention: Attention,
        camera: Camera,
        outbox: Outbox,
        requests: RequestBuilder,
        tools: SessionTools,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        touch: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`spawn` runs a coroutine as a task of the session; `touch` marks activity."""
        self._attention = attention
        self._camera = camera
        self._requests = requests
        self._tools = tools
        self._spawn = spawn
        self._touch = touch
        self._clock = clock
        self._wall = wall
        metrics = tools.metrics
        self._rule = Watches()
        self._frames = WatchFrames(tools, spawn, metrics.watch_frames_dropped.inc)
        self._rings = Rings(outbox, metrics.rings_dropped.inc)
        self._list = WatchList(self._rule, outbox, camera, requests, tools, self._now, wall)
        # Requests in the order in which they run
        self._asks: deque[Ask] = deque()
        self._running: Ask | None = None
        self._attempts = 0
        # The request whose look the gate compares with
        self._compared: Ask | None = None
        # The answers of the last common request
        self._last_answers: dict[str, bool] = {}
        # A ring that went out before its reason was complete
        self._early: Ring | None = None
        self._numbers = 0
        # The capture time of the newest frame that was asked about
        self._asked_at = 0.0
        # The same of the newest frame
        self._seen_at = 0.0
        # The frame of the last look, if it showed no change
        self._last: Frame | None = None
        # The change that waits for the end of the common request
        self._waiting: Change | None = None
        self._again: asyncio.TimerHandle | None = None
        self._listening = False
        self._ended = False
        # Called when `wanted` may have changed
        self.on_wanted: Callable[[], None] = lambda: None

    # Orders of a person

    @property
    def wanted(self) -> bool:
        return self._list.active

    @property
    def working(self) -> bool:
        return True

    @property
    def alert(self) -> bool:
        """True: a ring is worth as much as it is early."""
        return True

    @property
    def unattended(self) -> bool:
        """True: rings wait for the next socket."""
        return True

    def add(self, asked: wire.Watch) -> None:
        """Begin a watch, in place of one with the same id.

        Raises TooLong, BadRequest for one that cannot be watched, and Conflict for a ninth; all
        watches stay as they were.
        """
        self._list.add(asked)
        self._touch()
        self._attention.retry()
        self._update()

    def remove(self, id: str) -> None:
        """End a watch. Raises NotFound for an unknown one."""
        self._list.remove(id)
        self._update()

    def wrong(self, id: str) -> None:
        """Take back a ring, so that the bar of its watch rises. Raises NotFound for an unknown one."""
        event = self._rings.get(id)
        if event is None:
            raise NotFound("There is no ring with this id. It may be too old.")
        ring = event.ring
        if not self._rule.wrong(ring.watch_id, ring.frame_id, self._now()):
            raise NotFound("The watch of this ring was stopped, so nothing is left to correct.")
        self._rings.remove(id)
        self._update()

    def heard(self, id: str) -> None:
        self._rings.heard(id)

    # Events around it

    def listen(self, listening: bool) -> None:
        self._listening = listening
        self._rings.listen(listening)

    def new_stream(self) -> None:
        self._attention.forget()
        self._rule.new_stream()
        self._frames.settle(self._rule.asking, self._rule.compared)
        self._last = None

    def retry(self) -> None:
        self._attention.retry()

    def report(self, *, anew: bool = False) -> None:
        """Send the list of watches, if it has changed; with `anew` in any case."""
        self._list.report(anew=anew)

    def forget(self) -> None:
        self._ended = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._asks.clear()
        self._running = self._compared = self._early = self._last = None
        self._list.forget()
        self._rings.forget()
        self._frames.forget()
        self._attention.forget()

    def frame(self, frame: Frame) -> None:
        self._rings.go_on()
        if self._list.trouble():
            self.report()
            return
        change = self._attention.look(frame)
        if change is None:
            return
        self._seen_at = frame.captured
        now, minute = self._now(), self._list.minute()
        self._rule.places = unit_of(self._capabilities) is not None
        ask: Ask | None = None
        may = self._requests.allowance.left(now)
        if may and self._attention.due(change, now):
            ask = self._woken(frame, change)
        elif may and self._rule.unbegun(now, minute):
            self._frames.keep(frame)
            ask = self._rule.begin(frame.id, now, minute)
        elif may and (calm := self._settled(change, frame)) is not None:
            self._frames.keep(calm)
            ask = self._rule.settled(calm.id, None, now, minute)
        self._last = None if change.changed else frame
        self._begin(ask, frame, change)

    def between(self, frame: Frame) -> None:
        """Look at once at a frame that clearly differs: a ring need not wait for the next sample."""
        change = self._attention.glance(frame)
        if change is None or self._list.trouble():
            return
        self._seen_at = frame.captured
        now = self._now()
        if self._requests.allowance.left(now) and self._attention.due(change, now):
            self._last = None
            self._rule.places = unit_of(self._capabilities) is not None
            self._begin(self._woken(frame, change), frame, change)

    def _woken(self, frame: Frame, change: Change) -> Ask | None:
        """Return the request about a change; None when it waits, or when none is wanted."""
        self._frames.keep(frame)
        now, minute = self._now(), self._list.minute()
        return self._rule.woken(frame.id, changed_box(change, frame), now, minute)

    def _begin(self, ask: Ask | None, frame: Frame, change: Change) -> None:
        if ask is not None:
            self._asked_at = frame.captured
            if ask.look is Look.PLAIN:
                self._compare_with(ask, change)
            self._take([ask])
        elif frame.id in self._rule.asking:
            self._waiting = change
        self._frames.settle(self._rule.asking, self._rule.compared)
        self.report()

    def _settled(self, change: Change, frame: Frame) -> Frame | None:
        """Return the frame of a scene that does not change; None without one.

        It is the frame of the look before: some changes are found in the second look only.
        """
        if change.changed or frame.captured - self._asked_at < _SETTLED_SECONDS:
            return None
        return self._last

    # Requests

    @property
    def _capabilities(self) -> Capabilities:
        return self._tools.current_engine().status.capabilities

    def _update(self) -> None:
        self._frames.settle(self._rule.asking, self._rule.compared)
        self.on_wanted()
        self.report()

    def _compare_with(self, ask: Ask, change: Change) -> None:
        """Compare later frames with that of a common request, from now on and not from its answer."""
        self._attention.asked(change, self._now())
        self._attention.compare_asked()
        self._compared, self._waiting = ask, None

    def _take(self, asks: Sequence[Ask]) -> None:
        """Queue requests, second looks first, and begin one if none runs."""
        seconds = [ask for ask in asks if ask.look is Look.SECOND]
        self._asks.extendleft(reversed(seconds))
        self._asks.extend(ask for ask in asks if ask.look is not Look.SECOND)
        if self._running is None and self._asks:
            self._running = self._asks.popleft()
            self._attempts = 0
            self._submit(self._running)

    def _submit(self, ask: Ask) -> None:
        """Make the request; a failure is taken like an answer."""
        self._attempts += 1
        frame = self._frames.get(ask.frame_id)
        orders = {name: order for name in ask.watch_ids if (order := self._rule.order(name))}
        if frame is None or not orders:
            self._failed(ask, None)
            return
        region = crop_region(ask.crop, frame) if ask.look is Look.SECOND else None
        conditions = {name: order.condition for name, order in orders.items()}
        detail = Detail.HIGH if ask.look is Look.SECOND else detail_for(conditions)
        before = self._frames.before(ask.before)
        if self._capabilities.max_pictures == 1 or self._capabilities.wants_pixels:
            before = None
        if ask.look is Look.SECOND:
            (name,) = conditions
            text = second_question(name, conditions[name], with_before=before is not None)
        else:
            text = question(conditions)

        async def earlier(needs: Capabilities) -> list[EarlierPicture]:
            picture = await self._frames.crop(before, frame, needs, region) if before else None
            return [EarlierPicture(picture, BEFORE)] if picture is not None else []

        self._numbers += 1
        sink = WatchSink(
            f"w{self._numbers}",
            tuple(conditions),
            region or Region(0, 0, frame.width, frame.height),
            on_text=lambda sink: self._heard_of(ask, sink),
            on_answer=lambda sink, answers, result: self._answered(ask, sink, answers, result),
            on_error=lambda sink, error: self._failed(ask, error),
        )
        try:
            self._requests.submit(
                text,
                Kind.WATCH,
                View(frame, detail, self._camera.scene, region=region),
                sink,
                extras=Extras(
                    earlier if before is not None else None,
                    SCHEMA,
                    answer_tokens(len(conditions)),
                    scene_sound=True,
                ),
            )
        except (Draining, NotConfirmed) as error:
            self._failed(ask, error)

    def _heard_of(self, ask: Ask, sink: WatchSink) -> None:
        """Ring for a second look as soon as all but its reason is there."""
        if ask.look is not Look.SECOND or self._running is not ask or self._early is not None:
            return
        answer = sink.early()
        if answer is None or not answer.seen:
            return
        (name,) = ask.watch_ids
        answer = replace(answer, why=self._list.reason(name))
        outcome = self._rule.answered(ask, {name: answer}, self._now(), self._list.minute())
        for ring in outcome.rings:
            self._early = ring
            self._ring(ring, ask)

    def _answered(
        self, ask: Ask, sink: WatchSink, answers: Mapping[str, Answer], result: Result
    ) -> None:
        if self._ended:
            return
        if sink.asked is not None:
            self._requests.learn(*sink.asked, result)
        self._list.failed = ""
        if self._listening:
            self._touch()
        now, minute = self._now(), self._list.minute()
        early, self._early = self._early, None
        if early is not None:
            answer = answers.get(early.watch_id)
            if answer is not None and answer.why:
                self._rings.reword(early, answer.why)
        outcome = self._rule.answered(ask, answers, now, minute)
        if ask is self._compared:
            # A yes says nothing new before its second look.
            doubts = self._rule.doubts
            seen_now = {name: one.seen and not doubts(name) for name, one in answers.items()}
            same = bool(seen_now) and all(
                self._last_answers.get(name) is seen for name, seen in seen_now.items()
            )
            kept = {
                name: seen for name, seen in self._last_answers.items() if self._rule.order(name)
            }
            self._last_answers = kept | seen_now
            self._compared = None
            self._attention.answered(now, same=same)
        elif ask.look is Look.SECOND and any(one.seen for one in answers.values()):
            self._last_answers |= dict.fromkeys(answers, True)
            self._attention.retry()
        for ring in outcome.rings:
            self._ring(ring, ask)
        self._next(outcome.asks)

    def _failed(self, ask: Ask, error: QwenCameraError | None) -> None:
        """Take a request without an answer. `error`: None when it was stopped, or cannot be made."""
        if self._ended or self._running is not ask:
            return
        self._early = None
        self._list.failed = error.visitor_message if error is not None else ""
        passing = error is None or isinstance(error, _PASSING)
        if passing and self._attempts < _MOST_ATTEMPTS and self._frames.get(ask.frame_id):
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(_AGAIN_SECONDS, self._retry, ask)
            self.report()
            return
        now = self._now()
        asks = self._rule.failed(ask, now, self._list.minute())
        if ask is self._compared:
            self._compared = None
            self._attention.failed(now)
        self._next(asks)

    def _retry(self, ask: Ask) -> None:
        self._again = None
        if self._running is ask:
            self._submit(ask)

    def _next(self, asks: Sequence[Ask]) -> None:
        self._running = None
        for ask in asks:
            if ask.look is Look.PLAIN and self._waiting is not None:
                self._compare_with(ask, self._waiting)
        self._take(asks)
        self._update()

    # Rings

    def _ring(self, ring: Ring, ask: Ask) -> None:
        frame = self._frames.get(ring.frame_id)
        self._tools.metrics.watch_events.inc()
        if frame is not None:
            self._spawn(self._send_ring(ring, frame, ring.region or ask.changed))

    def _now(self) -> float:
        """Return the time, which is never before the newest frame."""
        return max(self._clock(), self._seen_at)

    async def _send_ring(self, ring: Ring, frame: Frame, place: Box | None) -> None:
        watch = self._list.id_of(ring.watch_id)
        try:
            jpeg = await in_pool(self._tools.prepare_pool, self._tools.preparer.still, frame)
        except QwenCameraError:
            # A filter withholds the picture; the alarm counts all the same.
            jpeg = None
        if self._ended or watch is None:
            return
        at = frame.captured_sender
        if at is None:
            at = self._wall() - (self._clock() - frame.captured)
        self._rings.add(watch, ring, at=round(at * 1000), jpeg=jpeg, region=in_shares(place, frame))
