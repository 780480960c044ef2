"""A session's memory of the recent past: keeps filtered pictures when the scene changes, and adds them to questions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import Field

from server.core.aio import TaskSet, Timer, run_in_pool
from server.core.errors import BadRequest, Conflict, FrameWithheld, NotFound
from server.core.frames import FRAME_FACTOR, Detail, Frame, Picture, QuestionMode
from server.core.metrics import Metrics
from server.features.recall import memory as recall
from server.features.recall.memory import DropReason, PastPicture, Recall, read_grid
from server.features.recall.messages import Recalled, RecallSettings
from server.media.picture.encode import MIN_FRAMES
from server.media.picture.prepare import CONTEXT_SHARE, make_stored_picture
from server.models.base import Capabilities, ShownPicture
from server.models.prompts import make_captions
from server.models.routing import Span, find_span, get_span_ago
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import Arguments, Tool
from server.session.request.asking import Asking
from server.session.request.parts import Draft, MakeEarlier, View
from server.session.request.question import Question
from server.shared.attention.attention import Attention, Change

# Pause in seconds after the pictures were cleared
_CLEARED_PAUSE = 1.0
# Pause in seconds after a filter has withheld a frame
_WITHHELD_PAUSE = 2.0
# Most pictures of a question
MOST_PICTURES = 8
# Visual tokens of all past pictures together, and of one of them, relative to a picture of low detail
_ALL_SHARE = 4.0
_ONE_SHARE = 0.5


def register_counter(metrics: Metrics) -> Any:
    """Return the counter of pictures kept and dropped, by result."""
    # result: kept, old, full, same, late, cleared, busy, withheld, unusable
    return metrics.counter(
        "recall_pictures_total",
        "Pictures kept for questions about the past, and dropped",
        "result",
    )


@dataclass(frozen=True, slots=True)
class RecallLimits:
    """Bounds of each session's pictures. Nothing is kept with `seconds` 0."""

    seconds: float
    most_bytes: int
    # Held while a picture is made: one picture at a time in all sessions
    keeping: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


@dataclass(frozen=True, slots=True)
class Past:
    """Some pictures of the past, oldest first, and the memory that they come from, to detect that it was cleared."""

    memory: Recall | None
    pictures: tuple[PastPicture, ...]


class Ago(Arguments):
    """The arguments of the model's tool."""

    seconds_ago: float = Field(ge=0, le=86_400)


class RecallPart(BackgroundPart):
    """One session's pictures of the recent past, while the person wants them. A background part.

    At most one picture is made at a time in all sessions, since the pool's threads also serve questions.
    Frames that come meanwhile are counted as busy.
    """

    prepares = True

    def __init__(self, context: SessionContext, limits: RecallLimits) -> None:
        self._context, self._limits = context, limits
        self._requests, self._services = context.requests, context.services
        self._pool = context.services.prepare_pool
        self._counter = register_counter(context.services.metrics)
        # The person's setting
        self._on = False
        self.handlers = {RecallSettings: self._set}
        self.routes = {QuestionMode.PAST: self}
        self._tool = Tool(
            "recall",
            "See pictures of some time ago, before you answer, when the question is about what was then.",
            Ago,
            again=self._recall_question,
        )
        # None while nothing is kept
        self._attention: Attention | None = None
        self._recall: Recall | None = None
        # The task that makes a picture; None if there is none
        self._task: asyncio.Task[None] | None = None
        self._tasks = TaskSet("recall")
        # End of the pause (monotonic seconds), and the timer for the next picture to expire
        self._until = 0.0
        self._timer = Timer()
        # True if the pictures are from the page's own camera, False if from another device's
        self._steered = True

    @property
    def wanted(self) -> bool:
        return self._limits.seconds > 0 and self._on

    @property
    def tools(self) -> Sequence[Tool]:
        return (self._tool,) if self.wanted else ()

    def _recall_question(self, question: Question, call: Ago) -> Question:
        """Return the question about a time that a model has chosen. Raise NotFound if there are no pictures."""
        if self._recall is None or not len(self._recall):
            raise NotFound("No pictures of the past are kept. Answer from the present picture.")
        return replace(question, route=QuestionMode.PAST, span=get_span_ago(call.seconds_ago))

    @property
    def size(self) -> int:
        """Bytes of all pictures."""
        return self._recall.size if self._recall is not None else 0

    def frame(self, frame: Frame) -> None:
        """Compare a sampled frame with the newest picture, and keep the frame if it differs."""
        if self._attention is None or self._recall is None:
            self._attention = Attention()
            self._recall = Recall(self._limits.seconds, self._limits.most_bytes)
        change = self._attention.look(frame)
        now = time.monotonic()
        if (
            change is None
            or now < self._until
            or not self._recall.is_due(change.changed, frame.captured)
        ):
            return
        if self._task is not None or self._limits.keeping.locked():
            self._counter.labels("busy").inc()
            return
        self._attention.request_sent(change, now)
        self._task = self._tasks.spawn(self._keep(frame, change, self._recall), name="keep")

    async def _keep(self, frame: Frame, change: Change, memory: Recall) -> None:
        count = self._counter.labels

        def make() -> PastPicture:
            jpeg = self._services.preparer.make_still(frame)
            return PastPicture(
                id=frame.id,
                captured=frame.captured,
                captured_sender=frame.captured_sender,
                source_width=frame.width,
                source_height=frame.height,
                jpeg=jpeg,
                since=frame.captured,
                grid=read_grid(jpeg),
            )

        try:
            async with self._limits.keeping:
                picture = await run_in_pool(self._pool, make)
        except (FrameWithheld, BadRequest) as error:
            # A question about this frame reports the reason.
            count("withheld" if isinstance(error, FrameWithheld) else "unusable").inc()
            self._until = time.monotonic() + _WITHHELD_PAUSE
        else:
            if memory is not self._recall or self._attention is None:
                count("cleared").inc()
                return
            now = time.monotonic()
            count("kept").inc()
            self._count(memory.keep(picture, now, changed=change.changed))
            self._attention.answer_received(now, same=False)
            self._on_change()
        finally:
            self._task = None

    def ready(self) -> dict[str, Any]:
        seconds, most = self._limits.seconds, self._limits.most_bytes
        return {"seconds": round(seconds), "bytes": most if seconds else 0}

    def set_connected(self, connected: bool) -> None:
        """Send the state of the memory to a new socket."""
        if connected and self.wanted:
            self._report()

    def new_stream(self) -> None:
        """Compare no frames across streams; drop all pictures if another device's camera takes over."""
        if self._attention is not None:
            self._attention.forget()
        if self._context.camera.sender_controlled != self._steered:
            self._steered = not self._steered
            # Pictures of one camera are not the past of another one.
            self.clear()

    def _set(self, message: RecallSettings) -> None:
        """Apply the person's setting; drop all pictures if it is off."""
        if message.recall is None or message.recall == self._on:
            return
        self._on = message.recall
        self._context.wants_changed()
        if self.wanted:
            self._report()
        else:
            self.clear()

    def clear(self) -> None:
        """Drop all pictures, including one that is being made."""
        if self._recall is None:
            return
        self._count(self._recall.clear())
        self._attention = self._recall = None
        # Pause, so that repeated clearing does not occupy the pool of all sessions.
        self._until = time.monotonic() + _CLEARED_PAUSE
        self._on_change()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.clear()

    async def close(self) -> None:
        await self._tasks.close()

    # Questions

    async def run(self, asking: Asking, draft: Draft) -> None:
        """Queue a question about the recent past, with pictures from that time."""
        assert asking.publisher is not None
        question = asking.question
        draft = replace(
            draft,
            earlier=self.earlier(draft.view, question.text, question.since, question.span),
            video=True,
            scene_sound=not draft.program,
            extras=(*draft.extras, QuestionMode.PAST),
        )
        asking.on_submitted(self._requests.submit(draft, asking.publisher))

    def earlier(
        self, view: View, question: str, since: float = 0.0, span: Span | None = None
    ) -> MakeEarlier:
        """Return the function that makes the pictures before a view, or before now if the view is held.

        The pictures are from `span`, else from the time that the question names, else from any time. `since`: use none
        from before this time, monotonic seconds.
        """
        captured = time.monotonic() if view.held else view.frame.captured

        async def make(needs: Capabilities) -> Sequence[ShownPicture]:
            about = span or find_span(question)
            return await self._make_earlier(captured, view.detail, needs, about, since)

        return make

    async def _make_earlier(
        self, captured: float, detail: Detail, needs: Capabilities, span: Span | None, since: float
    ) -> Sequence[ShownPicture]:
        memory = self._recall
        if memory is None:
            return ()
        low = self._services.preparer.budget(needs, Detail.LOW)
        own = self._services.preparer.budget(needs, detail)
        tokens = min(_ALL_SHARE * low, CONTEXT_SHARE * self._requests.context(needs) - own)
        most = min(MOST_PICTURES, (needs.max_pictures or MOST_PICTURES + 1) - 1)
        choose = partial(self._choose, captured, span, since)
        chosen = await choose(MOST_PICTURES if needs.video else most)
        film = needs.video and len(chosen) >= MIN_FRAMES
        count = len(chosen) // FRAME_FACTOR * FRAME_FACTOR if film else most
        if count < len(chosen):
            chosen = await choose(count)
        if not chosen:
            return ()
        make = partial(
            make_stored_picture,
            geometry=needs.geometry,
            tokens=self._count_tokens(needs),
            thumbnail=self._requests.preferences.thumbnails,
        )
        first = await run_in_pool(self._pool, make, chosen[-1])
        fitting = int(tokens // first.visual_tokens) if first.visual_tokens else most
        if film and fitting * FRAME_FACTOR >= MIN_FRAMES:
            # This many frames of a video cost as much as one picture.
            fitting *= FRAME_FACTOR
        elif film:
            fitting = min(fitting, most)
        if fitting < len(chosen):
            chosen = await choose(fitting)
        pictures = [await run_in_pool(self._pool, make, one) for one in chosen]
        if memory is not self._recall:
            return ()  # cleared meanwhile
        ages = [(captured - one.captured, captured - one.since) for one in chosen]
        return [
            ShownPicture(picture, caption, number=number)
            for number, (picture, caption) in enumerate(
                zip(pictures, make_captions(ages), strict=True), 1
            )
        ]

    def _count_tokens(self, needs: Capabilities) -> int | None:
        """Return the visual tokens of one past picture; None for an engine that does not count tokens."""
        low = self._services.preparer.budget(needs, Detail.LOW)
        return None if needs.wants_pixels else max(1, int(_ONE_SHARE * low))

    async def _choose(
        self, captured: float, span: Span | None, since: float, most: int
    ) -> tuple[PastPicture, ...]:
        """Return at most `most` pictures captured before a time, oldest first; none if they were cleared."""
        pictures = self._list_pictures(captured, since)
        if span is not None:
            begin, end = captured - span.since, captured - span.until
            if found := await run_in_pool(
                self._pool, recall.select_during, pictures, begin, end, most
            ):
                return found
            # Nothing is kept of that time: use the other pictures.
        return await run_in_pool(self._pool, recall.select_before, pictures, captured, most)

    def _list_pictures(self, now: float, since: float) -> Sequence[PastPicture]:
        """Return the pictures that are neither too old nor from before `since` (monotonic seconds)."""
        if self._recall is None:
            return ()
        since = max(since, now - self._limits.seconds)
        return [one for one in self._recall.list_pictures() if one.captured >= since]

    async def during(self, seconds: float, count: int, since: float) -> Past:
        """Return at most `count` pictures of the last `seconds`, none from before `since` (monotonic seconds)."""
        memory, now = self._recall, time.monotonic()
        pictures = self._list_pictures(now, since)
        found = await run_in_pool(
            self._pool, recall.select_during, pictures, now - seconds, now, count
        )
        return Past(memory, found)

    async def small(self, past: Past, at: int, needs: Capabilities) -> Picture:
        """Convert a picture returned by `during` for an engine. Raise Conflict if the pictures were cleared."""
        make = partial(
            make_stored_picture, geometry=needs.geometry, tokens=self._count_tokens(needs)
        )
        picture = await run_in_pool(self._pool, make, past.pictures[at])
        if past.memory is not self._recall:
            raise Conflict(
                "The pictures of the recent past were cleared meanwhile. Ask again, or name camera://now for the present picture."
            )
        return picture

    # Messages and time

    def _count(self, dropped: Counter[DropReason]) -> None:
        for reason, number in dropped.items():
            self._counter.labels(reason).inc(number)

    def _on_change(self) -> None:
        """Report the state to the client, and set the timer for the next picture to expire."""
        self._timer.cancel()
        oldest = self._recall.get_oldest() if self._recall is not None else None
        if oldest is not None:
            wait = oldest.captured + self._limits.seconds - time.monotonic()
            self._timer.set(max(0.05, wait), self._expire)
        self._report()

    def _expire(self) -> None:
        if self._recall is not None:
            self._count(self._recall.expire(time.monotonic()))
        self._on_change()

    def _report(self) -> None:
        oldest = self._recall.get_oldest() if self._recall is not None else None
        at = time.time() - (time.monotonic() - oldest.captured) if oldest is not None else 0.0
        self._context.outbox.put(
            Recalled(
                pictures=len(self._recall) if self._recall is not None else 0,
                bytes=self.size,
                oldest_at=round(at * 1000) if oldest is not None else None,
            )
        )
