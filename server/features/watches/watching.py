"""A session's watches: take frames, make requests to the engine, and send alerts and the list of watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from server.core.aio import Timer, run_in_pool
from server.core.errors import Busy, Draining, EngineError, NotConfirmed, NotFound, QwenCameraError
from server.core.frames import Detail, Frame, JobKind, Region, Role, VoiceCommand
from server.core.metrics import Metrics
from server.features.watches import messages
from server.features.watches.alerts import KeptAlerts
from server.features.watches.detecting import ConditionDetector, Detecting
from server.features.watches.rule import Belief, Firing, LookKind, WatchRequest
from server.features.watches.watch_list import (
    WatchRegistry,
    answer_tokens,
    choose_detail,
    convert_answer,
    crop_region,
    get_box_unit,
    parse_early_answer,
    to_fractions,
)
from server.features.watches.watch_triggers import WatchFrames, WatchTriggers
from server.media.picture.grounding import Box
from server.models.base import Capabilities, Engine, EngineRequest, ShownPicture
from server.models.scheduler.job import Result
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import Arguments, Tool
from server.session.request.parts import Draft, View
from server.shared.attention.attention import Change, make_scene_change
from server.shared.boxes import count_overshoots, overshoot
from server.shared.watch_answers import (
    BEFORE,
    MAX_CONDITION_CHARS,
    SCHEMA,
    WatchAnswer,
    make_question,
    make_second_question,
    read_answers,
)


class ConditionArguments(Arguments):
    """Arguments of the model's tools `watch` and `unwatch`."""

    condition: str = Field(
        min_length=1,
        max_length=MAX_CONDITION_CHARS,
        description='In the person\'s language, such as "the kettle boils"',
    )


class WatchCounters:
    """The counters of all sessions' watches."""

    def __init__(self, metrics: Metrics) -> None:
        self.events = metrics.counter("alerts_total", "Alerts of watches")
        self.alerts_dropped = metrics.counter(
            "alerts_dropped_total", "Alerts of watches dropped before a page showed them"
        )
        self.frames_dropped = metrics.counter(
            "watch_frames_dropped_total", "Frames of watches dropped before they were asked about"
        )
        # result: yes, no, failed
        self.confirmations = metrics.counter(
            "watch_confirmations_total",
            "Verdicts of models on detections of the detector or of the engine that watches",
            "result",
        )


class Watching(BackgroundPart):
    """The watches of one session, a background part.

    One request runs at a time; second looks precede the next common request. A frame is kept while a
    request about it waits or runs.
    """

    def __init__(
        self,
        context: SessionContext,
        *,
        detector: ConditionDetector | None = None,
        confirm: bool = False,
        away_seconds: float = 0.0,
    ) -> None:
        """Start without watches. `detector`: checks the conditions that it knows; None: a model checks all of them.
        `confirm`: the answering engine makes the second looks. `away_seconds`: seconds without a page for which watches
        of another device's camera go on.
        """
        self._context = context
        self._outbox = context.outbox
        self._requests = context.requests
        self._services = services = context.services
        self._changes = False
        self._counters = WatchCounters(services.metrics)
        self._confirm = confirm
        self._away_seconds = away_seconds
        # Monotonic time until which they go on without a page
        self._away_until = 0.0
        self._list = WatchRegistry(context)
        self.rule = self._list.rule
        self.frames = WatchFrames(context, self._counters.frames_dropped.inc)
        self.alerts = KeptAlerts(context.outbox, self._counters.alerts_dropped.inc)
        self.triggers = WatchTriggers(context, self._list, self.frames)
        self.queue = WatchQueue(self, context)
        self.commands = {VoiceCommand.WATCH_OFF: lambda _: True}
        self.handlers = {
            messages.Watch: self._begin,
            messages.Unwatch: lambda message: self.remove(message.id),
            messages.Ack: lambda message: self.alerts.acknowledge(message.id),
            messages.FalseAlarm: lambda message: self.false_alarm(message.id),
            messages.WatchSettings: self._set,
        }
        self._begin_tool = Tool(
            "watch",
            "Tell the person as soon as the camera shows something that they wait for.",
            ConditionArguments,
            lambda call: self._list.check_condition(call.condition.strip()),
        )
        self._end_tool = Tool(
            "unwatch", "End such a watch.", ConditionArguments, self._find_condition
        )
        self._detecting: Detecting | None = None
        if detector is not None:
            self._detecting = Detecting(context, self._list, detector, self._on_detected)
        # An alert that was sent before its reason was complete; None if there is none
        self._early: Firing | None = None
        self._listening = False
        self._ended = False

    # Changes by the person

    @property
    def wanted(self) -> bool:
        return self._list.active

    @property
    def away_seconds(self) -> float:
        return self._away_seconds

    # Watches run without a socket, too, and use the frames between samples so that alerts are early.
    working = alert = unattended = True

    def become_fixed(self) -> bool:
        return True

    def _begin(self, asked: messages.Watch) -> None:
        self.add(asked)
        self._context.camera.wake()

    def watch_for(self, id: str, condition: str, *, repeat: bool) -> None:
        """Add a watch for a program or an operator. Raise what `add` raises."""
        self.add(messages.Watch(type="watch", id=id, condition=condition, repeat=repeat))

    def add(self, asked: messages.Watch) -> None:
        """Add a watch, in place of one with the same id.

        Raise TooLong, BadRequest for an unsupported condition, and Conflict beyond the limit; nothing
        changes then.
        """
        self._list.add(asked)
        self._context.touch()
        self.triggers.retry()
        self._update()

    @property
    def tools(self) -> Sequence[Tool]:
        return self._begin_tool, self._end_tool

    def _find_condition(self, call: ConditionArguments) -> str:
        """Return the condition of the watch that a model means; a single watch matches any words.

        Raise NotFound if there is none.
        """
        running = [one.condition for one in self.watches() if not one.ended]
        meant = call.condition.strip().casefold()
        alike = [one for one in running if meant in one.casefold() or one.casefold() in meant]
        same = [one for one in alike if one.casefold() == meant]
        only = running if len(running) == 1 else []
        if not (found := same or alike or only):
            raise NotFound("No watch has such a condition.")
        return found[0]

    def remove(self, id: str) -> None:
        """Remove a watch. Raise NotFound for an unknown id."""
        self._list.remove(id)
        self._update()

    def watches(self) -> list[messages.WatchInfo]:
        """Return all watches for clients, oldest first."""
        return self._list.list_infos()

    def false_alarm(self, id: str) -> None:
        """Remove a false alert, and raise the threshold of its watch. Raise NotFound for an unknown alert or watch."""
        event = self.alerts.get(id)
        if event is None:
            raise NotFound("Alert not found. Only the newest 16 alerts are kept.")
        watch = self._list.find(event.watch)
        if watch is None:
            raise NotFound("The watch of this alert was removed, so its threshold cannot change.")
        watch.mark_false(event.firing.frame_id, self._list.get_time())
        self.alerts.remove(id)
        self._update()

    def _set(self, message: messages.WatchSettings) -> None:
        if message.watch_changes is not None:
            self._changes = message.watch_changes
        if message.sensitivity is not None:
            self.triggers.attention.set_sensitivity(message.sensitivity)

    # Events of the session

    def greet(self) -> None:
        self._list.report(force=True)

    def on_reported(self) -> None:
        self._list.report()

    def set_connected(self, connected: bool) -> None:
        self._listening = connected
        self._away_until = time.monotonic() + self._away_seconds
        self.alerts.set_connected(connected)

    def new_stream(self) -> None:
        self.triggers.new_stream()
        self.rule.new_stream()
        self._settle()

    def retry(self) -> None:
        self.triggers.retry()

    def stop(self) -> None:
        self._ended = True
        self._early = None
        for part in (self.queue, self._list, self.alerts, self.frames, self.triggers):
            part.forget()
        if self._detecting is not None:
            self._detecting.forget()

    def frame(self, frame: Frame) -> None:
        self.alerts.go_on()
        if not self._context.camera.sender_controlled and time.monotonic() < self._away_until:
            # Another device sends: the session lasts although nobody is at the page.
            self._context.touch()
        trouble = self._list.get_obstacle()
        if trouble:
            self._list.report()
        if self._list.get_block_reason():
            return
        if self._detecting is not None:
            self._detecting.on_frame(frame, useful=not trouble)
        change = self.triggers.look(frame)
        if change is not None:
            self._on_look_end(change, self.triggers.ask(frame, change))

    def between(self, frame: Frame) -> None:
        """Check a frame between samples at once if it clearly differs, so that alerts come earlier."""
        change = self.triggers.check_early(frame)
        if self._detecting is not None and self._detecting.is_due(frame):
            self._detecting.on_frame(frame, useful=not self._list.get_obstacle())
        if change is not None and not self._list.get_block_reason():
            self._on_look_end(change, self.triggers.ask_early(frame, change))

    def on_sound_event(self, at: float) -> None:
        """Record that a sound began; an engine that supports sound is asked about it without a visible change."""
        self.triggers.on_sound_event(at)

    def _on_look_end(self, change: Change, ask: WatchRequest | None) -> None:
        if self._listening and self._changes:
            self._outbox.put(make_scene_change(change, "watches", asks=ask is not None))
        if ask is not None:
            self.queue.put([ask])
        self._settle()
        self._list.report()

    def _on_detected(self, frame: Frame, answers: Mapping[str, WatchAnswer]) -> None:
        """Handle the detector's answers about a frame: ask a model to confirm each yes."""
        if self._ended or self._list.get_block_reason():
            return
        self.frames.keep(frame)
        now, minute = self._list.get_time(), self._list.get_minute()
        self.queue.put(self.rule.on_detected(frame.id, answers, now, minute))
        self._settle()
        self._list.report()

    # Requests

    def _settle(self) -> None:
        self.frames.settle(self.rule.pending_frames, self.rule.compared_frames)

    def _update(self) -> None:
        self._settle()
        self._context.wants_changed()
        self._list.report()

    def on_partial_answer(self, sink: WatchObserver) -> None:
        """Alert as soon as the answer of a second look lacks only the reason."""
        ask = sink.ask
        if ask.look is not LookKind.SECOND or ask.votes or self._early is not None:
            return
        (name,) = ask.watch_ids
        answer, watch = sink.find_early(name), self.rule.get(name)
        if answer is None or not answer.seen or watch is None:
            return
        self._note_boxes(sink.engine)
        self._early = self._apply_answers(sink, {name: replace(answer, why=watch.reason)})[1]

    def on_answer(
        self, sink: WatchObserver, answers: Mapping[str, WatchAnswer], result: Result
    ) -> None:
        if self._ended:
            return
        ask = sink.ask
        self._list.failed = ""
        if self._listening:
            self._context.touch()
        early, self._early = self._early, None
        if early is not None:
            answer = answers.get(early.watch_id)
            if answer is not None and answer.why:
                self.alerts.replace_reason(early, answer.why)
        if ask.look is LookKind.SECOND:
            self._note_boxes(sink.engine)
        else:
            self._note_boxes(self._services.current_engine(self.get_role(ask, LookKind.SECOND)))
        asks, _ = self._apply_answers(sink, answers)
        self.triggers.on_answer(ask, answers)
        self._record_verdict(ask, answered=bool(answers))
        self._start_next(asks)

    def _apply_answers(
        self, sink: WatchObserver, answers: Mapping[str, WatchAnswer]
    ) -> tuple[list[WatchRequest], Firing | None]:
        """Pass the answers to the rule, and send the alert that it returns. Return the next requests, too."""
        ask = sink.ask
        asks, firing = self.rule.on_answer(
            ask, answers, self._list.get_time(), self._list.get_minute()
        )
        if firing is not None:
            self._counters.events.inc()
            frame, model = self.frames.get(firing.frame_id), sink.engine.status.model_name
            if frame is not None:
                sending = self._send(firing, frame, firing.region or ask.changed, model)
                self._context.tasks.spawn(sending, name="watch")
        return asks, firing

    def on_failure(self, ask: WatchRequest, error: QwenCameraError | None, again: bool) -> None:
        """Handle a request without an answer. `again`: the request will be tried again."""
        self._early = None
        self._list.failed = error.visitor_message if error is not None else ""
        if again:
            self._list.report()
            return
        asks, _ = self.rule.on_answer(ask, {}, self._list.get_time(), self._list.get_minute())
        self.triggers.on_failure(ask)
        self._record_verdict(ask, answered=False)
        self._start_next(asks)

    def _record_verdict(self, ask: WatchRequest, *, answered: bool) -> None:
        """Pass a model's verdict on a sighting to the detector's results, and count it."""
        if ask.look is not LookKind.SECOND:
            return
        (name,) = ask.watch_ids
        watch = self.rule.get(name)
        seen = watch is not None and watch.belief is Belief.HOLDS if answered else None
        detecting = self._detecting
        detected = detecting is not None and detecting.on_verdict(name, ask.crop, seen)
        if detected or self._confirm:
            said = "failed" if seen is None else "yes" if seen else "no"
            self._counters.confirmations.labels(said).inc()

    def get_role(self, ask: WatchRequest, look: LookKind | None = None) -> Role:
        """Return the role whose engine gets a request.

        `look`: the kind of request about the same watch; None: that of `ask`.
        """
        watch = self.rule.get(ask.watch_ids[0])
        if watch is not None and self._list.needs_answering_engine(watch.order.condition):
            return Role.ANSWERS
        if (look or ask.look) is not LookKind.SECOND:
            return Role.WATCHES
        engine = self._services.current_engine(Role.ANSWERS)
        able = engine.status.ready and engine.status.capabilities.cannot_watch is None
        confirms = self._confirm and able and self._requests.consent.given_to(engine)
        return Role.ANSWERS if confirms else Role.WATCHES

    def _note_boxes(self, engine: Engine) -> None:
        """Tell the rule whether this engine's second looks return boxes."""
        self.rule.boxes = get_box_unit(engine.status.capabilities) is not None

    def _start_next(self, asks: Sequence[WatchRequest]) -> None:
        self.triggers.follow(asks)
        self.queue.go_on(asks)
        self._update()

    # Alerts

    async def _send(self, firing: Firing, frame: Frame, box: Box | None, model: str) -> None:
        watch = self.rule.get(firing.watch_id)
        try:
            jpeg = await run_in_pool(
                self._services.prepare_pool, self._services.preparer.make_still, frame
            )
        except QwenCameraError:
            # A filter withholds the picture: send the alert without it.
            jpeg = None
        if self._ended or watch is None:
            return
        at = frame.captured_sender
        if at is None:
            at = time.time() - (time.monotonic() - frame.captured)
        region = to_fractions(box, frame)
        at = round(at * 1000)
        event = self.alerts.add(
            watch.order.id, firing, at=at, jpeg=jpeg, region=region, model=model
        )
        self._context.publish_alert(event.make_alert(self._context.source))


# Seconds until a stopped or failed request is tried again, and most attempts, for temporary errors
_AGAIN_SECONDS = 0.5
_MOST_ATTEMPTS = 3
_PASSING = (Busy, EngineError)


class WatchObserver:
    """Observes one request, and parses its answer. `region`: the part of the frame in its picture."""

    # Set before the first piece of the answer
    engine: Engine
    request: EngineRequest

    def __init__(self, queue: WatchQueue, ask: WatchRequest, id: str, region: Region) -> None:
        self.id, self.ask = id, ask
        self._queue, self._region = queue, region
        self._text = ""

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self.engine, self.request, self._text = engine, request, ""

    def on_delta(self, text: str) -> None:
        self._text += text
        self._queue.on_partial_answer(self)

    def on_thought(self, text: str) -> None:
        """Ignore thoughts, which are not part of the answer."""

    def on_result(self, result: Result) -> None:
        if result.finish_reason not in ("stop", "length"):
            self._queue.on_failure(self.ask, None)
            return
        found = read_answers(result.text, self.ask.watch_ids)
        answers = {name: self._convert_answer(one) for name, one in found.items()}
        cut = [answers[name].where for name, one in found.items() if self._is_beyond(one.where)]
        gone = cut.count(None)
        count_overshoots(self._queue.context.services.metrics, len(cut) - gone, gone)
        self._queue.owner.on_answer(self, answers, result)

    def on_failure(self, error: QwenCameraError) -> None:
        self._queue.on_failure(self.ask, error)

    def find_early(self, name: str) -> WatchAnswer | None:
        """Return the answer about a condition if only its reason is missing, else None."""
        found = parse_early_answer(self._text, name)
        return self._convert_answer(found) if found is not None else None

    def _is_beyond(self, box: Box | None) -> bool:
        unit = get_box_unit(self.engine.status.capabilities)
        picture = self.request.picture
        if box is None or unit is None:
            return False
        return overshoot(box, unit, (picture.width, picture.height)) > 0

    def _convert_answer(self, answer: WatchAnswer) -> WatchAnswer:
        unit = get_box_unit(self.engine.status.capabilities)
        return convert_answer(answer, self.request, unit, self._region)


class WatchQueue:
    """Makes the requests one at a time, second looks first. Runs on the event loop.

    Each request ends with the owner's `on_answer`, or its `on_failure` with `again` false; the owner then has to call
    `go_on`.

    Bounds of requests of watches: one at a time; a stopped or failed one is tried three times, then the
    next change is awaited.
    """

    def __init__(self, owner: Watching, context: SessionContext) -> None:
        self.owner = owner
        self.context = context
        self._frames = owner.frames
        # Requests in the order in which they run
        self._asks: deque[WatchRequest] = deque()
        self._running: WatchRequest | None = None
        self._attempts = 0
        self.again = Timer()
        self._numbers = 0

    def __len__(self) -> int:
        """Return the number of requests that wait or run."""
        return len(self._asks) + (self._running is not None)

    def put(self, asks: Sequence[WatchRequest]) -> None:
        """Queue requests, second looks first, and start one if none runs."""
        seconds = [ask for ask in asks if ask.look is LookKind.SECOND]
        self._asks.extendleft(reversed(seconds))
        self._asks.extend(ask for ask in asks if ask.look is not LookKind.SECOND)
        if self._running is None and self._asks:
            self._running = self._asks.popleft()
            self._attempts = 0
            self._submit(self._running)

    def go_on(self, asks: Sequence[WatchRequest]) -> None:
        """End the request that ran, and queue those that follow from it."""
        self._running = None
        self.put(asks)

    def forget(self) -> None:
        self.again.cancel()
        self._asks.clear()
        self._running = None

    def _submit(self, ask: WatchRequest) -> None:
        """Make a request; a failure is reported to the owner."""
        self._attempts += 1
        frame = self._frames.get(ask.frame_id)
        conditions = {
            name: watch.order.condition
            for name in ask.watch_ids
            if (watch := self.owner.rule.get(name)) is not None
        }
        if frame is None or not conditions:
            self.on_failure(ask, None)
            return
        region = crop_region(ask.crop, frame) if ask.look is LookKind.SECOND else None
        detail = Detail.HIGH if ask.look is LookKind.SECOND else choose_detail(conditions)
        before = self._frames.get_before(ask.before)
        role = self.owner.get_role(ask)
        capabilities = self.context.services.current_engine(role).status.capabilities
        if capabilities.max_pictures == 1 or capabilities.wants_pixels:
            before = None

        def wording(_: str, needs: Capabilities) -> str:
            """Return the question, with the unit of boxes of the engine that gets it."""
            if ask.look is not LookKind.SECOND:
                return make_question(conditions, get_box_unit(needs))
            (name,) = conditions
            return make_second_question(
                name, conditions[name], get_box_unit(needs), with_before=before is not None
            )

        async def earlier(needs: Capabilities) -> list[ShownPicture]:
            picture = await self._frames.crop(before, frame, needs, region) if before else None
            return [ShownPicture(picture, BEFORE)] if picture is not None else []

        self._numbers += 1
        shown = region or Region(0, 0, frame.width, frame.height)
        sink = WatchObserver(self, ask, f"w{self._numbers}", shown)
        try:
            draft = Draft(
                question="\n".join(conditions.values()),
                view=View(frame, detail, self.context.camera.scene, region=region),
                kind=JobKind.WATCH,
                role=role,
                earlier=earlier if before is not None else None,
                wording=wording,
                schema=SCHEMA,
                max_tokens=answer_tokens(len(conditions)),
                scene_sound=True,
            )
            self.context.requests.submit(draft, sink)
        except (Draining, NotConfirmed) as error:
            self.on_failure(ask, error)

    def on_partial_answer(self, sink: WatchObserver) -> None:
        if self._running is sink.ask:
            self.owner.on_partial_answer(sink)

    def on_failure(self, ask: WatchRequest, error: QwenCameraError | None) -> None:
        """Handle a request without an answer. `error`: None if it was stopped or cannot be made."""
        if self._running is not ask:
            return
        passing = error is None or isinstance(error, _PASSING)
        again = bool(passing and self._attempts < _MOST_ATTEMPTS and self._frames.get(ask.frame_id))
        if again:
            self.again.set(_AGAIN_SECONDS, self._submit, ask)
        self.owner.on_failure(ask, error, again)
