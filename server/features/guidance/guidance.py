"""A session's guidance: hints on how to move the camera, leading to an object, and scanning the surroundings."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from server.core.frames import Frame, VoiceCommand
from server.core.metrics import Metrics
from server.features.builtin.seeking import is_name
from server.features.guidance.leading import Leading, Seeker
from server.features.guidance.looks import FAILURES, LookScheduler, SerialFinder
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

# One of this many looks that find nothing is thorough, which costs twice as much.
_THOROUGH_EVERY = 3
# Pause after a look that failed, in seconds
_FAILED_PAUSE = 5.0


def get_counter(metrics: Metrics) -> Any:
    """Return the counter of looks for hints, by result."""
    # result: done, busy, failed
    return metrics.counter("guidance_checks_total", "Frames checked for guidance", "result")


class Looker(SerialFinder[[Frame, bool], Found]):
    """Finds text and faces in a frame; if the second argument is True, also small text."""

    async def look(self, frame: Frame) -> Found | None:
        """Return what a frame shows; None after a failure, which is logged."""
        try:
            return await self(frame, False)
        except FAILURES as exc:
            log.error("detection for a hint failed", extra={"error": type(exc).__name__})
            return None


class GuideArguments(Arguments):
    """Arguments of the model's tool `guide_to`."""

    thing: str = Field(
        min_length=1, max_length=80, description='In the person\'s language, such as "the cup"'
    )


_GUIDE_TO = Tool(
    "guide_to",
    "Lead the person to a thing in front of the camera, by sound and words.",
    GuideArguments,
    lambda call: call.thing.strip(),
)


class Guidance(BackgroundPart):
    """One session's hints, goal and scan, as a background part. There are no hints while a scan or a goal is active.

    At most one look for hints runs at a time in all sessions, since the pool's thread also answers questions.
    Frames that come meanwhile are counted as busy.
    """

    def __init__(
        self, context: SessionContext, looker: Looker, seeker: Seeker, scanner: Scanner
    ) -> None:
        self._context = context
        self._camera = context.camera
        self._outbox = context.outbox
        self._looker = looker
        self.looks = LookScheduler(get_counter(context.services.metrics), _FAILED_PAUSE)
        # The person's setting for hints
        self._on = False
        self.leading = Leading(context, seeker)
        self.scanning = Scanning(context, scanner)
        self.commands = {
            VoiceCommand.GUIDE_TO: lambda _: True,
            VoiceCommand.SCAN: lambda _: True,
            VoiceCommand.WHERE_WAS: self.scanning.can_answer,
            VoiceCommand.STOP: lambda _: self.leading.on or self.scanning.running,
        }
        self.handlers = {
            GuidanceSettings: self._set,
            Goal: self._lead,
            TargetLost: lambda _: self.leading.on_target_lost(),
            Scan: self._scan,
            WhereWas: self.scanning.answer_where,
        }
        self._aim = Aim()
        # Successive looks that found no text and no face
        self._empty = 0

    def parse_command(self, text: str) -> tuple[VoiceCommand, str] | None:
        """Take a name alone, such as "the cup", for the thing to guide to, while hints or a goal are on."""
        tag = self._context.requests.preferences.reads
        if not (self._on or self.leading.on) or not is_name(text, tag):
            return None
        return VoiceCommand.GUIDE_TO, text.strip()

    @property
    def tools(self) -> Sequence[Tool]:
        return (_GUIDE_TO,)

    @property
    def wanted(self) -> bool:
        return self._on or self.leading.on or self.scanning.on

    @property
    def working(self) -> bool:
        return True

    @property
    def alert(self) -> bool:
        return self.leading.alert or self.scanning.alert

    def between(self, frame: Frame) -> None:
        self.scanning.on_frame(frame)
        self.leading.on_frame(frame)

    def frame(self, frame: Frame) -> None:
        """Start a look for the goal, or for text and faces, in a sampled frame if one is due."""
        self.scanning.on_frame(frame)
        if self.leading.on:
            self.leading.on_frame(frame)
            return
        if (
            self._on
            and not self.scanning.running
            and self.looks.is_due(frame.captured, self._looker)
        ):
            self.looks.begin(frame, self._look(frame, self._aim), self._aim.pause)

    async def _look(self, frame: Frame, aim: Aim) -> float:
        """Look once. Return 0 CPU seconds, since `aim` sets the pauses."""
        thorough = self._empty % _THOROUGH_EVERY == _THOROUGH_EVERY - 1
        found = await self._looker(frame, thorough)
        self._empty = 0 if found.lines or found.faces else self._empty + 1
        # Ignore the result if a new stream or setting has replaced `self._aim` meanwhile.
        if aim is self._aim and aim.see(found, self._camera.scene):
            self._announce()
        return 0.0

    def set_connected(self, connected: bool) -> None:
        """Repeat the hint to a new socket. When a socket closes, end goal and scan, whose state its page has."""
        if not connected:
            self.leading.end()
            self.scanning.drop()
        elif self._on:
            self._announce()

    def clear(self) -> None:
        self.scanning.drop()

    def new_stream(self) -> None:
        self.leading.new_stream()
        self.scanning.drop()
        self.looks.reset()
        self._aim, self._empty = Aim(), 0

    def _lead(self, message: Goal) -> None:
        """Start a goal in place of a running scan; keep the result of a finished one."""
        if self.scanning.running:
            self.scanning.drop()
        self.leading.set(message)

    def _scan(self, message: Scan) -> None:
        self.leading.end()
        self.scanning.set(message)

    def _set(self, message: GuidanceSettings) -> None:
        """Apply the person's setting: start again, or remove the last hint.

        A running look continues, since its thread cannot be stopped; its result is ignored. Switching
        off and on does not shorten the pause between looks.
        """
        if message.guidance is None or message.guidance == self._on:
            return
        self._on = message.guidance
        self._context.wants_changed()
        self._aim, self._empty = Aim(), 0
        if self._on:
            # The first hint should be about a current frame.
            self._camera.wake()
        else:
            self._outbox.discard(AimHint)

    def stop(self) -> None:
        self.leading.stop()
        self.scanning.stop()
        self._outbox.discard(AimHint)

    def _announce(self) -> None:
        advice = self._aim.advice
        if advice is None:
            return
        at = round(time.time() * 1000)
        self._outbox.put(AimHint(hint=advice.hint, about=advice.about, at=at))

    async def close(self) -> None:
        await self.leading.close()
        await self.scanning.close()
        await self.looks.close()
