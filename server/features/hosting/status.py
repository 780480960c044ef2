"""The manager's status and its listeners; the error for a missing ability; the progress that visitors see."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from weakref import WeakSet

from server.core.aio import Timer
from server.core.errors import WrongModel
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Ability, Model, ModelType, RunMode
from server.features.hosting.messages import ModelComing
from server.features.hosting.model_fetch import FetchState, FetchStatus
from server.features.hosting.runtime import Plan
from server.session.part import SessionContext, SessionPart


class ManagerState(StrEnum):
    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    """State of the model that an operator chose."""

    state: ManagerState = ManagerState.IDLE
    # The model's id; empty if no model is loaded or loading
    model: str = ""
    model_type: ModelType | None = None
    mode: RunMode | None = None
    # None unless a model is loading
    progress: LoadProgress | None = None
    # The command, secrets masked
    shown: str = ""
    # The last failure, and the remedy
    error: str = ""


def make_loading_status(plan: Plan) -> ManagerStatus:
    return ManagerStatus(
        ManagerState.LOADING,
        plan.get_display_id(),
        plan.model.model_type if plan.model is not None else None,
        plan.choice.mode,
        LoadProgress("starting"),
        shown=plan.launch.shown,
    )


def make_wrong_model_error(
    status: ManagerStatus, model: Model | None, wanted: Sequence[Ability]
) -> WrongModel:
    """Return the error, which states the loaded model, the `wanted` abilities, and how to switch."""
    loaded = "No model is loaded."
    if status.state is ManagerState.READY:
        loaded = (
            f"{model.name} is loaded, a {model.model_type} model."
            if model
            else "A remote model is loaded."
        )
    elif status.state is ManagerState.LOADING:
        loaded = f"{status.model} is being loaded."
    needed = " or ".join(one.replace("_", " ") for one in wanted)
    return WrongModel(
        f"{loaded} This needs a model for {needed}. Start one in the engine panel; it replaces the loaded one."
    )


class StatusStore:
    """The manager's status. Calls its listeners at each change, on the event loop. Only the manager writes it."""

    def __init__(self) -> None:
        self.status = ManagerStatus()
        self.on_change: list[Callable[[ManagerStatus], None]] = []
        # Called with each redacted line of the engine's log
        self.on_line: list[Callable[[str], None]] = []

    def show(self, status: ManagerStatus) -> None:
        if status != self.status:
            self.status = status
            for listener in self.on_change:
                listener(status)

    def set_progress(self, progress: LoadProgress) -> None:
        """Set the progress. Ignored unless a model is loading."""
        if self.status.state is ManagerState.LOADING:
            self.show(replace(self.status, progress=progress))

    def add_line(self, line: str) -> None:
        for listener in self.on_line:
            listener(line)


# Progress of a model that is fetched or loaded, for all visitors: its name, the percentage, the time left

# Seconds between two messages
BROADCAST_SECONDS = 1.0
# Minimum and maximum seconds of progress from which the time left is estimated
_MIN_SECONDS, _MAX_SECONDS = 3.0, 60.0
# Longest time left that is reported, in seconds
_MAX_LEFT = 24 * 3600
# Phases whose percentage is reported; with the shorter phases around them, the percentage would decrease.
_FETCH_PHASES = ("fetching files", "fetching the image")
_MEASURED_PHASE = "loading weights"
_ANSWERING_TYPES = (None, ModelType.VISION, ModelType.OMNI)


class TimeLeft:
    """Estimates the time left of a step from the growth of its share in the last minute. Pure."""

    def __init__(self) -> None:
        self._step = ""
        # (time in s, share), one a second
        self._samples: deque[tuple[float, float]] = deque(maxlen=int(_MAX_SECONDS))

    def estimate(self, step: str, share: float | None, now: float) -> int | None:
        """Return the seconds left; None if unknown. `share`: 0 to 100, None if unknown. `now`: monotonic seconds."""
        if step != self._step or share is None or (self._samples and share < self._samples[-1][1]):
            self._step = step
            self._samples.clear()
        if share is None:
            return None
        self._samples.append((now, share))
        began, first = self._samples[0]
        passed, grown = now - began, share - first
        if passed < _MIN_SECONDS or grown <= 0:
            return None
        left = math.ceil((100 - share) * passed / grown)
        return left if left <= _MAX_LEFT else None


def make_progress_message(
    status: ManagerStatus, fetch: FetchStatus, time_left: TimeLeft, now: float
) -> ModelComing:
    """Return the message for visitors, with an empty `model` if no model is fetched or loaded."""
    share: float | None = None
    step: Literal["fetching", "loading"] = "fetching"
    # Only local models that answer questions: the name of a remote model may contain its server's address.
    here = status.model_type in _ANSWERING_TYPES and status.mode is not RunMode.REMOTE
    if status.state is ManagerState.LOADING and here:
        model, progress = status.model, status.progress or LoadProgress("")
        if progress.phase not in _FETCH_PHASES:
            step = "loading"
        if progress.phase in (*_FETCH_PHASES, _MEASURED_PHASE):
            share = progress.percent
    elif fetch.state in (FetchState.FETCHING, FetchState.CHECKING):
        model = fetch.model
        # The share starts again at 0 while checking, so it is reported only while fetching.
        if fetch.state is FetchState.FETCHING and fetch.total_bytes > 0:
            share = 100 * fetch.done_bytes / fetch.total_bytes
    else:
        return ModelComing()
    share = min(100.0, max(0.0, share)) if share is not None else None
    return ModelComing(
        model=model.rstrip("/").rpartition("/")[2],
        step=step,
        percent=int(share) if share is not None else None,
        seconds_left=time_left.estimate(f"{model} {step}", share, now),
    )


class ProgressBroadcast:
    """Sends the progress to all sessions when it changes, on the event loop. `build(now)` returns the message.

    Bounds of a model's progress for visitors: one message a second.
    """

    def __init__(self, build: Callable[[float], ModelComing]) -> None:
        self._build = build
        self.parts: WeakSet[ModelProgressPart] = WeakSet()
        self.last_sent = ModelComing()
        self._next_tick = Timer()

    def make_part(self, context: SessionContext) -> ModelProgressPart:
        part = ModelProgressPart(context, self)
        self.parts.add(part)
        if not self._next_tick:
            self._tick()
        return part

    def _tick(self) -> None:
        """Send a changed message, and set the next tick while there are sessions."""
        if not self.parts:
            return
        self._next_tick.set(BROADCAST_SECONDS, self._tick)
        message = self._build(asyncio.get_running_loop().time())
        if message != self.last_sent:
            self.last_sent = message
            for part in self.parts:
                part.outbox.put(message)

    def close(self) -> None:
        self.parts.clear()
        self._next_tick.cancel()


class ModelProgressPart(SessionPart):
    """Part of one session: sends the progress, also to each new socket of the session."""

    def __init__(self, context: SessionContext, broadcast: ProgressBroadcast) -> None:
        self.outbox = context.outbox
        self._broadcast = broadcast

    def greet(self) -> None:
        if self._broadcast.last_sent.model:
            self.outbox.put(self._broadcast.last_sent)

    def stop(self) -> None:
        self._broadcast.parts.discard(self)
