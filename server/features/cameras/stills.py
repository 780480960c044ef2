"""A filtered still a second of each camera that is another device, for the page."""

from __future__ import annotations

import asyncio
from typing import Any

from server.core.aio import TaskSet, in_pool, supervise
from server.core.errors import BadRequest, FrameWithheld
from server.core.frames import CameraState, Frame
from server.core.metrics import Metrics
from server.features.cameras.messages import Still
from server.media.camera import Camera
from server.media.picture.encode import data_url
from server.session.request.outbox import Outbox
from server.session.request.parts import SessionServices

# Least time between two stills
STILL_SECONDS = 1.0


def counter(metrics: Metrics) -> Any:
    """Return the counter of stills by result."""
    # result: sent, late, withheld, unusable
    return metrics.counter("stills_total", "Stills for pages of another device's camera", "result")


class Stills:
    """One camera's stills, made while the page wants them and a socket is open. None is kept.

    No frame is made into a still twice. A further camera's still gives way to one that waits.
    """

    def __init__(
        self, *, camera: Camera, outbox: Outbox, services: SessionServices, id: str | None = None
    ) -> None:
        """`id`: of a further camera; None for the session's own."""
        self._id = id
        self._camera = camera
        self._outbox = outbox
        self._services = services
        self._wanted = False
        self._listening = True
        self._tasks = TaskSet("stills")
        # The task that makes them; None while they are not needed
        self._task: asyncio.Task[None] | None = None

    def want(self, wanted: bool) -> None:
        self._wanted = wanted
        self._settle()

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open."""
        self._listening = listening
        self._settle()

    def _settle(self) -> None:
        wanted = self._wanted and self._listening
        if wanted and self._task is None:
            self._task = self._tasks.spawn(self._run(), name="stills")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        last: Frame | None = None

        async def step() -> float:
            nonlocal last
            frame = self._camera.newest
            if frame is not None and frame is not last and self._live() and not self._gives_way():
                last = frame
                await self._send(frame)
            # The first one follows the first frame at once.
            return STILL_SECONDS if last is not None else 0.05

        await supervise(step, name="stills", after_failure=STILL_SECONDS)

    def _live(self) -> bool:
        return self._camera.state() is CameraState.LIVE

    def _gives_way(self) -> bool:
        """Find whether a slow client has not taken the last still of any camera."""
        return self._id is not None and self._outbox.waits(Still)

    async def _send(self, frame: Frame) -> None:
        stills = counter(self._services.metrics)
        try:
            jpeg = await in_pool(self._services.prepare_pool, self._services.preparer.still, frame)
        except FrameWithheld:
            stills.labels("withheld").inc()
            self._outbox.put(Still(withheld=True, camera=self._id))
        except BadRequest:
            # An answer to a question about this frame has the reason; here it is only not shown.
            stills.labels("unusable").inc()
        else:
            stills.labels("sent").inc()
            if self._gives_way():
                stills.labels("late").inc()
                return
            image = data_url(jpeg)
            self._outbox.put(
                Still(image=image, width=frame.width, height=frame.height, camera=self._id)
            )

    async def close(self) -> None:
        self.want(False)
        await self._tasks.close()
