"""A session's watches at work: frames in, requests to the engine, rings and the list of watches out."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from server.attention.attention import Attention
from server.attention.gate import Change
from server.attention.watch import Ring
from server.attention.watch_answers import Answer
from server.attention.watches import Ask, Look, Watches
from server.camera.camera import Camera
from server.core import messages as wire
from server.core.aio import in_pool
from server.core.errors import NotFound, QwenCameraError
from server.core.frames import Frame
from server.queue.job import Result
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.scene_change import scene_change
from server.session.request.session_tools import SessionTools
from server.session.watches.rings import Event, Rings
from server.session.watches.watch_frames import WatchFrames
from server.session.watches.watch_list import WatchList
from server.session.watches.watch_queue import WatchQueue
from server.session.watches.watch_request import WatchSink, in_shares
from server.session.watches.watch_wakes import WatchWakes
from server.vision.grounding import Box


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
        self._outbox = outbox
        self._requests = requests
        self._tools = tools
        self._spawn = spawn
        self._touch = touch
        self._clock = clock
        self._wall = wall
        metrics = tools.metrics
        self._rule = Watches()
        self._frames = WatchFrames(tools, spawn, metrics.watch_frames_dropped.inc)
        self.rings = Rings(outbox, metrics.rings_dropped.inc)
        self._list = WatchList(self._rule, outbox, camera, requests, tools, self._now, wall)
        self._wakes = WatchWakes(
            attention=attention,
            rule=self._rule,
            frames=self._frames,
            allowance=requests.allowance,
            tools=tools,
            minute=self._list.minute,
            clock=clock,
        )
        self._queue = WatchQueue(
            camera=camera,
            requests=requests,
            tools=tools,
            frames=self._frames,
            order=self._rule.order,
            on_text=self._heard_of,
            on_answer=self._answered,
            on_error=self._failed,
        )
        # A ring that went out before its reason was complete
        self._early: Ring | None = None
        self._listening = False
        self._ended = False
        # Called when `wanted` may have changed
        self.on_wanted: Callable[[], None] = lambda: None
        # Called with each ring that is kept
        self.on_event: Callable[[Event], None] = lambda event: None

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
        self._wakes.retry()
        self._update()

    def remove(self, id: str) -> None:
        """End a watch. Raises NotFound for an unknown one."""
        self._list.remove(id)
        self._update()

    def watches(self) -> list[wire.WatchInfo]:
        """Return all watches as a person reads them, oldest first."""
        return self._list.infos()

    def wrong(self, id: str) -> None:
        """Take back a ring, so that the bar of its watch rises. Raises NotFound for an unknown one."""
        event = self.rings.get(id)
        if event is None:
            raise NotFound("There is no ring with this id. It may be too old.")
        ring = event.ring
        if not self._rule.wrong(ring.watch_id, ring.frame_id, self._now()):
            raise NotFound("The watch of this ring was stopped, so nothing is left to correct.")
        self.rings.remove(id)
        self._update()

    def sensitive(self, sensitivity: float) -> None:
        """Set the sensitivity of the change gate, 0.25 to 4."""
        self._wakes.sensitive(sensitivity)

    def heard(self, id: str) -> None:
        self.rings.heard(id)

    # Events around it

    def listen(self, listening: bool) -> None:
        self._listening = listening
        self.rings.listen(listening)

    def new_stream(self) -> None:
        self._wakes.new_stream()
        self._rule.new_stream()
        self._frames.settle(self._rule.asking, self._rule.compared)

    def retry(self) -> None:
        self._wakes.retry()

    def report(self, *, anew: bool = False) -> None:
        """Send the list of watches, if it has changed; with `anew` in any case."""
        self._list.report(anew=anew)

    def forget(self) -> None:
        self._ended = True
        self._queue.forget()
        self._early = None
        self._list.forget()
        self.rings.forget()
        self._frames.forget()
        self._wakes.forget()

    def frame(self, frame: Frame) -> None:
        self.rings.go_on()
        if self._list.trouble():
            self.report()
        if self._list.blocked():
            return
        change = self._wakes.look(frame)
        if change is not None:
            self._looked(change, self._wakes.ask(frame, change))

    def between(self, frame: Frame) -> None:
        """Look at once at a frame that clearly differs: a ring need not wait for the next sample."""
        change = self._wakes.glance(frame)
        if change is not None and not self._list.blocked():
            self._looked(change, self._wakes.ask_early(frame, change))

    def sounded(self, at: float) -> None:
        """Note that a sound began: an engine that hears is asked about it, though nothing is seen."""
        self._wakes.sounded(at)

    def _looked(self, change: Change, ask: Ask | None) -> None:
        if self._listening and self._requests.preferences.watch_changes:
            self._outbox.put(scene_change(change, "watches", asks=ask is not None))
        if ask is not None:
            self._queue.put([ask])
        self._frames.settle(self._rule.asking, self._rule.compared)
        self.report()

    # Requests

    def _update(self) -> None:
        self._frames.settle(self._rule.asking, self._rule.compared)
        self.on_wanted()
        self.report()

    def _heard_of(self, ask: Ask, sink: WatchSink) -> None:
        """Ring for a second look as soon as all but its reason is there."""
        if ask.look is not Look.SECOND or ask.votes or self._early is not None:
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
        early, self._early = self._early, None
        if early is not None:
            answer = answers.get(early.watch_id)
            if answer is not None and answer.why:
                self.rings.reword(early, answer.why)
        outcome = self._rule.answered(ask, answers, self._now(), self._list.minute())
        self._wakes.answered(ask, answers)
        for ring in outcome.rings:
            self._ring(ring, ask)
        self._next(outcome.asks)

    def _failed(self, ask: Ask, error: QwenCameraError | None, again: bool) -> None:
        """Take a request without an answer. `again`: it is made once more."""
        self._early = None
        self._list.failed = error.visitor_message if error is not None else ""
        if again:
            self.report()
            return
        asks = self._rule.failed(ask, self._now(), self._list.minute())
        self._wakes.failed(ask)
        self._next(asks)

    def _next(self, asks: Sequence[Ask]) -> None:
        self._wakes.follow(asks)
        self._queue.go_on(asks)
        self._update()

    def _now(self) -> float:
        return self._wakes.now()

    # Rings

    def _ring(self, ring: Ring, ask: Ask) -> None:
        frame = self._frames.get(ring.frame_id)
        self._tools.metrics.watch_events.inc()
        if frame is not None:
            self._spawn(self._send_ring(ring, frame, ring.region or ask.changed))

    async def _send_ring(self, ring: Ring, frame: Frame, box: Box | None) -> None:
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
        region = in_shares(box, frame)
        self.on_event(self.rings.add(watch, ring, at=round(at * 1000), jpeg=jpeg, region=region))
