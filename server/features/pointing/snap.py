"""Finds what is at a place that the person points at, with the detector of another feature."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.aio import TaskSet
from server.core.errors import QwenCameraError
from server.core.frames import Detail, Frame
from server.features.pointing.messages import Point, Pointed, PointedBox
from server.models.base import Capabilities
from server.session.part import SessionContext
from server.session.request.answers import make_frame_info
from server.session.request.parts import View
from server.shared.boxes import MAX_LABEL_CHARS
from server.shared.services import Finding

log = logging.getLogger(__name__)

MOST_BOXES = 4
PIXELS = Capabilities(wants_pixels=True)
FAILURES = (cv2.error, RuntimeError, ValueError, MemoryError)


# Finds the objects around a place in a picture. Arguments: BGR pixels (h, w, 3), x and y in pixels, the language of
# names
FindAt = Callable[[NDArray[np.uint8], float, float, str], Awaitable[Sequence[Finding]]]


class PointLookup:
    """One session's searches for what is at a place, one at a time.

    Bounds of places that wait for a search: one; the newest replaces it.
    """

    def __init__(self, context: SessionContext, find: FindAt | None) -> None:
        """`find`: the detector; None if there is none: `point` then does nothing."""
        self._context = context
        self._find = find
        self._tasks = TaskSet("snap")
        self._task: asyncio.Task[None] | None = None
        self._waiting: Point | None = None

    def point(self, message: Point) -> None:
        """Search at a place now, or after the running search."""
        self._waiting = message
        if self._task is None and self._find is not None:
            self._task = self._tasks.spawn(self._look(self._find), name="snap")

    async def close(self) -> None:
        self._waiting = None
        await self._tasks.close()

    async def _look(self, find: FindAt) -> None:
        try:
            while (message := self._waiting) is not None:
                self._waiting = None
                pointed = await self._find_at(message, find)
                if self._waiting is None:
                    self._context.outbox.put(pointed)
        finally:
            self._task = None

    async def _find_at(self, message: Point, find: FindAt) -> Pointed:
        nothing = Pointed(x=message.x, y=message.y, boxes=[])
        held = self._context.held_frame
        frame = held or self._context.camera.newest
        if frame is None:
            return nothing
        requests = self._context.requests
        try:
            view = View(frame, Detail.LOW, self._context.camera.scene, held is not None)
            picture = await requests.prepare(view, PIXELS, unseen=True)
            x, y = message.x * frame.width, message.y * frame.height
            assert picture.bgr is not None
            found = await find(picture.bgr, x, y, requests.preferences.reads)
        except QwenCameraError:
            # The frame is withheld or cannot be used; a question about it reports the reason.
            return nothing
        except FAILURES as exc:
            log.error("object detection failed", extra={"error": type(exc).__name__})
            return nothing
        info = make_frame_info(picture, time.monotonic(), time.time())
        return Pointed(
            x=message.x,
            y=message.y,
            boxes=[_to_pointed_box(one, frame) for one in found[:MOST_BOXES]],
            captured_at=info.captured_at,
            age_ms=info.age_ms,
        )


def _to_pointed_box(found: Finding, frame: Frame) -> PointedBox:
    box = found.box
    return PointedBox(
        kind=found.kind,
        box=box.shares(frame.width, frame.height).edges,
        label=box.label[:MAX_LABEL_CHARS] or None,
        confidence=round(box.confidence, 2) if box.confidence is not None else None,
    )
