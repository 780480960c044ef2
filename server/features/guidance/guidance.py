"""A session's guidance: hints how to move the camera, without a model, and the way to a thing, while the person wants them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from server.core.aio import TaskSet
from server.core.frames import Frame, Order
from server.core.metrics import Metrics
from server.features.guidance.leading import Leading, Seeker
from server.features.guidance.looks import FAILURES, InTurn
from server.features.guidance.messages import (
    AimHint,
    Goal,
    GuidanceSettings,
    Scan,
    TargetLost,
    WhereWas,
)
from server.features.guidance.scanning import Scanner, Scanning
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import Arguments, Tool
from server.shared.aim import Aim, Found

log = logging.getLogger(__name__)

# Sampled frames come this much (seconds) before or after their time.
_SLACK = 0.05
# Of the looks that find nothing, one of so many is thorough: it costs twice as much.
_THOROUGH_EVERY = 3
# Pause after a look that failed, in seconds
_FAILED_PAUSE = 5.0


def counter(metrics: Metrics) -> Any:
    """Return the counter of looks by result."""
    # result: done, busy, failed
    return metrics.counter("guidance_checks_total", "Frames checked for guidance", "result")


class Looker(InTurn[[Frame, bool], Found]):
    """Finds text and faces in a frame; small print, too, where it is to be thorough."""

    async def look(self, frame: Frame, *, thorough: bool = False) -> Found | None:
        """Return what is found; None after a failure, which is logged."""
        try:
            return await self(frame, thorough)
        except FAILURES as exc:
            log.error("a look for guidance failed", extra={"error": type(exc).__name__})
            return None


class Thing(Arguments):
    """The arguments of the model's tool."""

    thing: str = Field(
        min_length=1, max_length=80, description='In the person\'s language, such as "the cup"'
    )


_GUIDE_TO = Tool(
    "guide_to",
    "Lead the person to a thing in front of the camera, by sound and words.",
    Thing,
    lambda call: call.thing.strip(),
)


class Guidance(BackgroundPart):
    """One session's hints, its goal, and its scan, beside which there are no hints. A background part.

    At most one frame is looked at at a time in all sessions: the pool's thread answers questions,
    too. Frames that come meanwhile are counted as busy.
    """

    def __init__(
        self, context: SessionContext, looker: Looker, seeker: Seeker, scanner: Scanner
    ) -> None:
        self._context = context
        self._camera = context.camera
        self._outbox = context.outbox
        self._looker = looker
        self._counter = counter(context.services.metrics)
        # The person's wish
        self._on = False
        self._leading = Leading(context, seeker)
        self._scanning = Scanning(context, scanner)
        self.handlers = {
            GuidanceSettings: self._set,
            Goal: self._lead,
            TargetLost: lambda _: self._leading.lost(),
            Scan: self._scan,
            WhereWas: self._scanning.where,
        }
        self._aim = Aim()
        # The frame that is looked at; None without one
        self._task: asyncio.Task[None] | None = None
        self._tasks = TaskSet("aim")
        # Capture time before which nothing is looked at
        self._due = 0.0
        # Looks in a row without text or a face
        self._empty = 0

    @property
    def tools(self) -> Sequence[Tool]:
        return (_GUIDE_TO,)

    @property
    def wanted(self) -> bool:
        return self._on or self._leading.on or self._scanning.on

    @property
    def working(self) -> bool:
        return True

    @property
    def alert(self) -> bool:
        return self._leading.alert or self._scanning.alert

    def takes(self, order: Order, condition: str) -> bool:
        """Find whether it is the way to a thing, a scan, what the last one saw, or the end of what runs."""
        if order is Order.WHERE_WAS:
            return self._scanning.answers(condition)
        if order is Order.STOP:
            return self._leading.on or self._scanning.running
        return order in (Order.GUIDE_TO, Order.SCAN)

    def between(self, frame: Frame) -> None:
        self._scanning.frame(frame)
        self._leading.frame(frame)

    def frame(self, frame: Frame) -> None:
        """Look for text and faces in a sampled frame, or for the goal, when a look is due."""
        self._scanning.frame(frame)
        if self._leading.on:
            self._leading.frame(frame)
            return
        if not self._on or self._scanning.running or frame.captured < self._due:
            return
        if self._task is not None or self._looker.busy:
            self._counter.labels("busy").inc()
            return
        self._due = frame.captured + self._aim.pause - _SLACK
        self._task = self._tasks.spawn(self._look(frame), name="look")

    async def _look(self, frame: Frame) -> None:
        count, aim = self._counter.labels, self._aim
        thorough = self._empty % _THOROUGH_EVERY == _THOROUGH_EVERY - 1
        try:
            found = await self._looker.look(frame, thorough=thorough)
        finally:
            self._task = None
        if found is None:
            count("failed").inc()
            self._due = frame.captured + _FAILED_PAUSE
            return
        count("done").inc()
        self._empty = 0 if found.lines or found.faces else self._empty + 1
        # Another stream, or a switch off and on, has replaced `self._aim` meanwhile.
        if aim is self._aim and aim.see(found, self._camera.scene):
            self._announce()

    def set_connected(self, connected: bool) -> None:
        """Repeat the hint to a new socket; the goal and the scan end with the old one, whose page knows of them."""
        if not connected:
            self._leading.end()
            self._scanning.drop()
        elif self._on:
            self._announce()

    def clear(self) -> None:
        self._scanning.drop()

    def new_stream(self) -> None:
        self._leading.cut()
        self._scanning.drop()
        self._aim, self._due, self._empty = Aim(), 0.0, 0

    def _lead(self, message: Goal) -> None:
        """Begin with a goal, in place of a scan that runs; what an earlier one found is kept."""
        if self._scanning.running:
            self._scanning.drop()
        self._leading.set(message)

    def _scan(self, message: Scan) -> None:
        self._leading.end()
        self._scanning.set(message)

    def _set(self, message: GuidanceSettings) -> None:
        """Apply the person's wish: start again, or remove the last hint.

        A look in work goes on, and its result is not used: its thread cannot be stopped, and
        switching off and on must not bring looks closer together.
        """
        if message.guidance is None or message.guidance == self._on:
            return
        self._on = message.guidance
        self._context.wants_changed()
        self._aim, self._empty = Aim(), 0
        if self._on:
            # The first hint is about the present view.
            self._camera.wake()
        else:
            self._outbox.discard(AimHint)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._leading.stop()
        self._scanning.stop()
        self._outbox.discard(AimHint)

    def _announce(self) -> None:
        advice = self._aim.advice
        if advice is None:
            return
        at = round(time.time() * 1000)
        self._outbox.put(AimHint(hint=advice.hint, about=advice.about, at=at))

    async def close(self) -> None:
        await self._leading.close()
        await self._scanning.close()
        await self._tasks.close()
