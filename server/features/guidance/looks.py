"""Schedule looks (searches in a session's frames): a few per second, one at a time, at most a tenth of a core."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import cv2

from server.core.aio import TaskSet
from server.core.errors import FrameWithheld, QwenCameraError
from server.core.frames import Detail, Frame, Picture, Region
from server.media.picture.grounding import Box
from server.models.base import Capabilities
from server.session.part import SessionContext
from server.session.request.parts import View

log = logging.getLogger(__name__)

# Seconds of capture time between two looks, and the largest fraction of a core for them: a slower look is followed by a
# longer pause. Preparing their pictures takes about 0.02 more.
LOOK_SECONDS, MOST_CORE = 0.25, 0.1
# Tolerance in seconds for frames that come slightly early
_SLACK = 0.04
_PIXELS = Capabilities(wants_pixels=True)
FAILURES = (cv2.error, RuntimeError, ValueError, MemoryError)
P = ParamSpec("P")
T = TypeVar("T")


class SerialFinder(Generic[P, T]):
    """A finder of objects in pictures that runs one search at a time in all sessions."""

    def __init__(self, find: Callable[P, Awaitable[T]]) -> None:
        self._find = find
        self._lock = asyncio.Semaphore(1)

    @property
    def busy(self) -> bool:
        """True while a search runs."""
        return self._lock.locked()

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the finder. Raise what its libraries raise (`FAILURES`)."""
        async with self._lock:
            return await self._find(*args, **kwargs)


def with_cpu_time(find: Callable[P, T]) -> Callable[P, tuple[T, float]]:
    """Return a function that returns the result of `find` and the CPU seconds that it took."""

    def run(*args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
        began = time.thread_time()
        return find(*args, **kwargs), time.thread_time() - began

    return run


class LookScheduler:
    """The timing of one session's looks for one purpose. Runs on the event loop.

    Bounds of looks: one at a time in all sessions; frames that come meanwhile are counted as busy.
    """

    def __init__(self, counter: Any, failed_pause: float) -> None:
        """Start with a look due. `counter`: of looks, by result; `failed_pause`: seconds after a failed look."""
        self._count = counter.labels
        self._failed_pause = failed_pause
        self._tasks = TaskSet("looks")
        self._task: asyncio.Task[None] | None = None
        # Capture time at which the next look is due
        self._due = 0.0
        # True if the next look need not wait; remaining seconds of a skipped pause, which are added to the next pause
        self._hurries, self._owed = False, 0.0

    @property
    def running(self) -> bool:
        """True while a look runs."""
        return self._task is not None

    def reset(self) -> None:
        """Make a look due at the next frame."""
        self._due, self._hurries, self._owed = 0.0, False, 0.0

    def hurry(self) -> None:
        """Make a look due at the next frame. The next pause is longer by the time saved, and cannot be skipped."""
        self._hurries = self._owed == 0.0

    def is_due(self, captured: float, finder: SerialFinder[..., Any]) -> bool:
        """Return True if a look can start at a frame captured at this time; count it as busy if only a running look,
        or the busy `finder`, prevents it.
        """
        if captured < self._due and not self._hurries:
            return False
        if self._task is not None or finder.busy:
            self._count("busy").inc()
            return False
        return True

    def begin(
        self, frame: Frame, look: Coroutine[Any, Any, float], every: float = LOOK_SECONDS
    ) -> None:
        """Start a look at a frame. `look` returns its CPU seconds; `every`: least seconds until the next one."""
        self._hurries, self._owed = False, max(0.0, self._due - frame.captured)
        self._due = frame.captured + every - _SLACK + self._owed
        self._task = self._tasks.spawn(self._run(frame, look), name="look")

    async def _run(self, frame: Frame, look: Coroutine[Any, Any, float]) -> None:
        pause, result = 0.0, "failed"
        try:
            pause = await look / MOST_CORE - _SLACK + self._owed
            result = "done"
        except FrameWithheld:
            result = "withheld"
        except QwenCameraError:
            # The frame cannot be used; a question about it reports the reason.
            pause = self._failed_pause
        except FAILURES as exc:
            log.error("detection for guidance failed", extra={"error": type(exc).__name__})
            pause = self._failed_pause
        finally:
            self._task = None
            self._count(result).inc()
            self._due = max(self._due, frame.captured + pause)

    async def close(self) -> None:
        await self._tasks.close()


@dataclass(frozen=True, slots=True)
class FramePart:
    """A region of a frame, in the frame's pixels; if it is None, the whole frame."""

    frame: Frame
    region: Region | None = None

    async def prepare(self, context: SessionContext, detail: Detail = Detail.LOW) -> Picture:
        """Return the part's picture after the privacy filters, with `bgr` set."""
        view = View(self.frame, detail, context.camera.scene, region=self.region)
        return await context.requests.prepare(view, _PIXELS, unseen=True)

    def to_pixels(self, box: Box) -> Box:
        """Convert a box from fractions of the frame to pixels of the part."""
        left, top = self._corner
        return box.scaled(self.frame.width, self.frame.height).moved(-left, -top)

    def to_shares(self, box: Box) -> Box:
        """Convert a box from pixels of the part to fractions of the frame."""
        return box.moved(*self._corner).shares(self.frame.width, self.frame.height)

    @property
    def across(self) -> tuple[float, float]:
        """The left and right edge, as fractions of the frame's width."""
        region, wide = self.region, self.frame.width
        return (region.left / wide, region.right / wide) if region is not None else (0.0, 1.0)

    @property
    def _corner(self) -> tuple[int, int]:
        return (self.region.left, self.region.top) if self.region is not None else (0, 0)


def get_square(frame: Frame, x: float, y: float) -> Region | None:
    """Return the square region with the frame's shorter side, centred on a place as far as possible.

    None for a nearly square frame. `x`, `y`: as fractions of the frame. Objects are larger in the square than in the
    whole picture, and not distorted.
    """
    wide, high = frame.width, frame.height
    side = min(wide, high)
    if max(wide, high) < 4 / 3 * side:
        return None
    left = min(max(0, round(x * wide - side / 2)), wide - side)
    top = min(max(0, round(y * high - side / 2)), high - side)
    return Region(left, top, left + side, top + side)
