"""The held frame of a session: the sharpest frame since the hold began, or the last new frame of a frozen camera."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.core.errors import CameraError, CameraFrozen
from server.core.frames import Frame
from server.media.camera import FRAME_NOTICE_SECONDS
from server.session.part import SessionContext


class HeldFrame:
    """One held frame, or the search for a frame to hold; a new hold replaces it.

    Call all methods on the event loop; the search is a task of the session.
    """

    def __init__(self, context: SessionContext) -> None:
        self._camera = context.camera
        self._tasks = context.tasks
        self._send_error = context.send_error
        self._report = context.report
        # The held frame; None if there is none
        self.frame: Frame | None = None
        # The search for a sharp frame; None if none is running
        self._search: asyncio.Task[None] | None = None

    @property
    def empty(self) -> bool:
        """True if no frame is held and no search is running."""
        return self.frame is None and self._search is None

    def begin(self) -> None:
        """Start the search for the sharpest frame."""
        self._stop()
        self._search = self._tasks.spawn(self._choose(), name="hold")

    def release(self) -> None:
        """Release the held frame."""
        self._stop()
        self.frame = None
        self._report()

    async def wait(self, waits: Callable[[], None]) -> bool:
        """Wait until the search ends. Return True if a search was running.

        `waits()` is called if the search takes longer than `FRAME_NOTICE_SECONDS`.
        """
        search = self._search
        if search is None or search.done():
            return False
        await asyncio.wait([search], timeout=FRAME_NOTICE_SECONDS)
        if not search.done():
            waits()
            await asyncio.wait([search])
        return True

    def _stop(self) -> None:
        if self._search is not None:
            self._search.cancel()
            self._search = None

    async def _choose(self) -> None:
        try:
            self._camera.wake()
            self.frame = await self._camera.wait_for_sharpest()
        except CameraFrozen:
            self.frame = self._camera.last_new
        except CameraError as error:
            self._send_error(error, None)
        self._report()
