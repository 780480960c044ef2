"""The model on its way, as everybody hears of it: its name, how far it is, and the time left."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Literal
from weakref import WeakSet

from server.features.hosting.catalogue.entry import ModelType, RunMode
from server.features.hosting.messages import ModelComing
from server.features.hosting.model_fetch import FetchState, FetchStatus
from server.features.hosting.status import ManagerState, ManagerStatus
from server.session.part import SessionContext, SessionPart

# Seconds between two looks, and so between two messages to one client
LOOK_SECONDS = 1.0
# Seconds of progress that a time left is told from, at least and at most
_LEAST_SECONDS, _MOST_SECONDS = 3.0, 60.0
# A time left beyond this many seconds is a guess.
_MOST_LEFT = 24 * 3600
# Phases of loading whose share says how far it is; the shorter ones around them have none.
_FETCHES = ("fetching files", "fetching the image")
_MEASURED = "loading weights"
_ANSWERS = (None, ModelType.VISION, ModelType.OMNI)
Step = Literal["fetching", "loading"]


class Pace:
    """The time left of one step, by how its share has grown of late. Pure."""

    def __init__(self) -> None:
        self._step = ""
        # Seconds, and the share then; one a second
        self._seen: deque[tuple[float, float]] = deque(maxlen=int(_MOST_SECONDS))

    def left(self, step: str, share: float | None, now: float) -> int | None:
        """Return the seconds left; None while there is no telling. `share`: 0 to 100."""
        if step != self._step or share is None or (self._seen and share < self._seen[-1][1]):
            self._step = step
            self._seen.clear()
        if share is None:
            return None
        self._seen.append((now, share))
        began, first = self._seen[0]
        passed, grown = now - began, share - first
        if passed < _LEAST_SECONDS or grown <= 0:
            return None
        left = math.ceil((100 - share) * passed / grown)
        return left if left <= _MOST_LEFT else None


def coming(status: ManagerStatus, fetch: FetchStatus, pace: Pace, now: float) -> ModelComing:
    """Build the message. Without a `model`: none is on its way."""
    if status.state is ManagerState.LOADING and _tells(status):
        progress = status.progress
        fetches = progress is not None and progress.phase in _FETCHES
        told = progress is not None and (fetches or progress.phase == _MEASURED)
        share = progress.percent if progress is not None and told else None
        return _message(status.model, "fetching" if fetches else "loading", share, pace, now)
    if fetch.state in (FetchState.FETCHING, FetchState.CHECKING):
        # The share of checking begins anew.
        known = fetch.state is FetchState.FETCHING and fetch.total > 0
        share = 100 * fetch.done / fetch.total if known else None
        return _message(fetch.model, "fetching", share, pace, now)
    return ModelComing()


def _tells(status: ManagerStatus) -> bool:
    """True for a model that answers questions, on this machine: another's name may be its address."""
    return status.model_type in _ANSWERS and status.mode is not RunMode.REMOTE


def _message(model: str, step: Step, share: float | None, pace: Pace, now: float) -> ModelComing:
    share = min(100.0, max(0.0, share)) if share is not None else None
    return ModelComing(
        model=model.rstrip("/").rpartition("/")[2],
        step=step,
        percent=int(share) if share is not None else None,
        seconds_left=pace.left(f"{model} {step}", share, now),
    )


class Visitors:
    """Tells all sessions, on the event loop. `look` builds the message at a time.

    Bounds of a model's progress for visitors: one message a second.
    """

    def __init__(self, look: Callable[[float], ModelComing]) -> None:
        self._look = look
        self._parts: WeakSet[Coming] = WeakSet()
        self._told = ModelComing()
        self._timer: asyncio.TimerHandle | None = None

    def part(self, context: SessionContext) -> Coming:
        """Make a session's part."""
        part = Coming(context, self)
        self._parts.add(part)
        if self._timer is None:
            self._tick()
        return part

    def remove(self, part: Coming) -> None:
        self._parts.discard(part)

    @property
    def told(self) -> ModelComing:
        """The last message."""
        return self._told

    def _tick(self) -> None:
        """Look, and tell what has changed; goes on while there are sessions."""
        self._timer = None
        if not self._parts:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._tick)
        message = self._look(loop.time())
        if message != self._told:
            self._told = message
            for part in self._parts:
                part.tell(message)

    def close(self) -> None:
        self._parts.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Coming(SessionPart):
    """One session's part: tells its client, also a new socket while a model is on its way."""

    def __init__(self, context: SessionContext, visitors: Visitors) -> None:
        self._outbox = context.outbox
        self._visitors = visitors

    def tell(self, message: ModelComing) -> None:
        self._outbox.put(message)

    def greet(self) -> None:
        if self._visitors.told.model:
            self._outbox.put(self._visitors.told)

    def stop(self) -> None:
        self._visitors.remove(self)
