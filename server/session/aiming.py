"""A session's guidance: hints how to move the camera, without a model, while the person wants them."""

from __future__ import annotations

import asyncio
import logging
import time

import cv2

from server.camera.camera import Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.frames import Frame
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.session_tools import SessionTools
from server.vision.aim import Aim

log = logging.getLogger(__name__)

# Sampled frames come this much (seconds) before or after their time.
_SLACK = 0.05
# Of the looks that find nothing, one of so many is thorough: it costs twice as much.
_THOROUGH_EVERY = 3
# Pause after a look that failed, in seconds
_FAILED_PAUSE = 5.0


class Aiming:
    """One session's hints. A background part.

    At most one frame is looked at at a time in all sessions: the pool's thread answers questions,
    too. Frames that come meanwhile are counted as busy.
    """

    def __init__(
        self, *, camera: Camera, outbox: Outbox, requests: RequestBuilder, tools: SessionTools
    ) -> None:
        self._camera = camera
        self._outbox = outbox
        self._requests = requests
        self._tools = tools
        self._aim = Aim()
        # The frame that is looked at; None without one
        self._task: asyncio.Task[None] | None = None
        self._tasks = TaskSet("aim")
        # Capture time before which nothing is looked at
        self._due = 0.0
        # Looks in a row without text or a face
        self._empty = 0

    @property
    def wanted(self) -> bool:
        return self._requests.preferences.guidance and self._tools.find is not None

    @property
    def working(self) -> bool:
        return self.wanted

    @property
    def unattended(self) -> bool:
        return False

    def frame(self, frame: Frame) -> None:
        """Look for text and faces in a sampled frame, when a look is due."""
        if frame.captured < self._due:
            return
        if self._task is not None or self._tools.aiming.locked():
            self._tools.metrics.aim_looks.labels("busy").inc()
            return
        self._due = frame.captured + self._aim.pause - _SLACK
        self._task = self._tasks.spawn(self._look(frame), name="look")

    async def _look(self, frame: Frame) -> None:
        count = self._tools.metrics.aim_looks.labels
        find, aim = self._tools.find, self._aim
        assert find is not None
        try:
            async with self._tools.aiming:
                found = await find(frame, self._empty % _THOROUGH_EVERY == _THOROUGH_EVERY - 1)
        except (cv2.error, RuntimeError, ValueError, MemoryError) as exc:
            log.error("a look for guidance failed", extra={"error": type(exc).__name__})
            count("failed").inc()
            self._due = frame.captured + _FAILED_PAUSE
            return
        finally:
            self._task = None
        count("done").inc()
        self._empty = 0 if found.lines or found.faces else self._empty + 1
        # Another stream, or a switch off and on, has replaced `self._aim` meanwhile.
        if aim is self._aim and aim.see(found, self._camera.scene):
            self._announce()

    def listen(self, listening: bool) -> None:
        """Repeat the hint to a new socket."""
        if listening and self.wanted:
            self._announce()

    def new_stream(self) -> None:
        self._aim, self._due, self._empty = Aim(), 0.0, 0

    def retry(self) -> None:
        pass

    def switched(self) -> None:
        """Apply the person's wish: start again, or remove the last hint.

        A look in work goes on, and its result is not used: its thread cannot be stopped, and
        switching off and on must not bring looks closer together.
        """
        self._aim, self._empty = Aim(), 0
        if self.wanted:
            # The first hint is about the present view.
            self._camera.wake()
        else:
            self._outbox.discard(wire.AimHint)

    def forget(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._outbox.discard(wire.AimHint)

    def _announce(self) -> None:
        advice = self._aim.advice
        if advice is None:
            return
        at = round(time.time() * 1000)
        self._outbox.put(wire.AimHint(hint=advice.hint, about=advice.about, at=at))

    async def close(self) -> None:
        await self._tasks.close()
