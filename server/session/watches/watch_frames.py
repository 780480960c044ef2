"""The frames of a session's watches, by id: while requests need them, and as crops of the past."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from server.core.aio import in_pool
from server.core.errors import QwenCameraError
from server.core.frames import Detail, Frame, Picture, Region
from server.engines.base import Capabilities
from server.session.request.session_tools import SessionTools

# Frames at once: of the request that runs, of the change that waits, of second looks, and of noes
# that are being encoded. More are dropped, the oldest first.
MAX_FRAMES = 6
# A larger picture of a verified no is not kept; second looks do without it.
MAX_BEFORE_BYTES = 2_000_000


class WatchFrames:
    """Owns the frames. Those of verified noes are kept as filtered JPEGs, one a watch at most.

    Bounds of frames of a session's watches: 6 while requests about them wait or run, the oldest
    is dropped; of each watch's last no one filtered JPEG.
    """

    def __init__(
        self,
        tools: SessionTools,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        on_drop: Callable[[], None],
    ) -> None:
        """`spawn` runs a coroutine as a task of the session; `on_drop` counts a frame that was dropped."""
        self._tools = tools
        self._spawn = spawn
        self._on_drop = on_drop
        self._frames: dict[str, Frame] = {}
        # Filtered JPEGs of frames at full resolution; None while one is made
        self._before: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._frames) + len(self._before)

    def keep(self, frame: Frame) -> None:
        self._frames.setdefault(frame.id, frame)
        while len(self._frames) > MAX_FRAMES:
            del self._frames[next(iter(self._frames))]
            self._on_drop()

    def get(self, id: str) -> Frame | None:
        return self._frames.get(id)

    def before(self, id: str | None) -> bytes | None:
        """Return a verified no as a JPEG; None without one."""
        return self._before.get(id) if id is not None else None

    def settle(self, asking: set[str], compared: set[str]) -> None:
        """Free what no request needs. `compared`: the verified noes."""
        for id in self._before.keys() - compared:
            del self._before[id]
        for id in self._frames.keys() & (compared - self._before.keys()):
            self._before[id] = None
            self._spawn(self._encode(self._frames[id]))
        for id in self._frames.keys() - asking:
            del self._frames[id]

    def forget(self) -> None:
        self._frames.clear()
        self._before.clear()

    async def _encode(self, frame: Frame) -> None:
        try:
            jpeg = await in_pool(self._tools.prepare_pool, self._tools.preparer.full, frame)
        except QwenCameraError:
            # A filter withheld it, or it is too large: second looks do without.
            self._before.pop(frame.id, None)
            return
        if len(jpeg) > MAX_BEFORE_BYTES:
            self._before.pop(frame.id, None)
            self._on_drop()
        elif frame.id in self._before:
            self._before[frame.id] = jpeg

    async def crop(
        self, jpeg: bytes, frame: Frame, needs: Capabilities, region: Region | None
    ) -> Picture | None:
        """Make the picture of a verified no that shows the same part as a frame; None for another size."""
        make = self._tools.preparer.again
        pool = self._tools.prepare_pool
        return await in_pool(pool, make, jpeg, frame, needs, Detail.HIGH, region)
