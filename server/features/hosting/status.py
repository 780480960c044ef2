"""The manager's status, who hears of it, and the error about a model without an ability."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from server.core.errors import WrongModel
from server.features.hosting.catalogue.entry import Ability, Model, ModelType, RunMode
from server.features.hosting.log_progress import LoadProgress
from server.features.hosting.messages import ReleasedMemory
from server.features.hosting.runtime import Plan

log = logging.getLogger(__name__)
T = TypeVar("T")
# Least time between two progress reports of one phase; the newest report within it is sent at its
# end.
_SHOW_SECONDS = 0.25


class ManagerState(StrEnum):
    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    state: ManagerState = ManagerState.IDLE
    # The model's id; empty when none is loaded or loading
    model: str = ""
    model_type: ModelType | None = None
    mode: RunMode | None = None
    # While it loads
    progress: LoadProgress | None = None
    # Its main memory, and the GPU memory taken since its start; None: unknown
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # The command, secrets masked
    shown: str = ""
    # The last failure, and the remedy
    error: str = ""
    # Memory freed by the previous model
    released: ReleasedMemory | None = None


_CAN = {
    Ability.IMAGES: "answer questions about pictures",
    Ability.VIDEO_IN: "look at videos",
    Ability.AUDIO_IN: "hear",
    Ability.SPEECH_OUT: "speak",
    Ability.GROUNDING: "say where things are",
    Ability.TEXT_TO_SPEECH: "read texts aloud",
    Ability.TEXT_TO_AUDIO: "make sounds",
    Ability.TEXT_TO_VIDEO: "make videos from a text",
    Ability.IMAGE_TO_VIDEO: "make videos from a picture",
}


def loading_status(plan: Plan, released: ReleasedMemory | None) -> ManagerStatus:
    """Return the status at the beginning of loading."""
    return ManagerStatus(
        ManagerState.LOADING,
        plan.shown_id(),
        plan.model.model_type if plan.model is not None else None,
        plan.choice.mode,
        LoadProgress("starting"),
        shown=plan.launch.shown,
        released=released,
    )


def wrong_model(
    status: ManagerStatus, model: Model | None, wanted: Sequence[Ability], known: Iterable[Model]
) -> WrongModel:
    """Build the error: what is loaded, one of `wanted` is needed, examples, how to switch."""
    ready = status.state is ManagerState.READY
    if ready and model is not None:
        can = ", ".join(sorted(_CAN[one] for one in model.abilities))
        loaded = f"{model.name} is loaded, a {model.model_type} model: it can {can}."
    elif ready:
        loaded = (
            "A remote model is loaded, of which no more is known than that it answers questions."
        )
    elif status.state is ManagerState.LOADING:
        loaded = f"{status.model} is being loaded."
    else:
        loaded = "No model is loaded."
    able = [one.name for one in known if not one.abilities.isdisjoint(wanted)][:3]
    needed = " or ".join(_CAN[one] for one in wanted)
    examples = f" ({', '.join(able)})" if able else ""
    return WrongModel(
        f"{loaded} This needs a model that can {needed}{examples}. Start one in the engine panel: it takes the place"
        " of the one that is loaded."
    )


class StatusStore:
    """The manager's status and log lines, and their listeners. Written only by the manager. Listeners are called at once, on the event loop."""

    def __init__(self) -> None:
        self.status = ManagerStatus()
        self._listeners: list[Callable[[ManagerStatus], None]] = []
        self._hearers: list[Callable[[str], None]] = []
        self._shown_at = 0.0
        # Progress that came too soon after the last report, to be sent when the timer fires.
        self._held: LoadProgress | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_change(self, callback: Callable[[ManagerStatus], None]) -> None:
        """Call `callback` with each new status."""
        self._listeners.append(callback)

    def on_line(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each line of the engine's own log, without secrets."""
        self._hearers.append(callback)

    def show(self, status: ManagerStatus) -> None:
        if status == self.status:
            return
        self.status = status
        if status.state is not ManagerState.LOADING:
            # The next loading has its own progress.
            self._held = None
        for listener in self._listeners:
            _call(listener, status)

    def progress(self, progress: LoadProgress) -> None:
        """Report the progress; ignored unless a model loads, and limited in rate."""
        if self.status.state is not ManagerState.LOADING:
            return
        before, loop = self.status.progress, asyncio.get_running_loop()
        same = before is not None and before.phase == progress.phase
        wait = self._shown_at + _SHOW_SECONDS - loop.time()
        if same and progress.percent != 100 and wait > 0:
            self._held = progress
            self._timer = self._timer or loop.call_later(wait, self._show_held)
            return
        self._show_progress(progress)

    def _show_progress(self, progress: LoadProgress) -> None:
        self._held = None
        self._shown_at = asyncio.get_running_loop().time()
        self.show(replace(self.status, progress=progress))

    def _show_held(self) -> None:
        self._timer = None
        if self._held is not None and self.status.state is ManagerState.LOADING:
            self._show_progress(self._held)
        self._held = None

    def line(self, line: str) -> None:
        """Send a line of an engine's or the manager's log."""
        for hear in self._hearers:
            _call(hear, line)


def _call(listener: Callable[[T], None], value: T) -> None:
    try:
        listener(value)
    except Exception as exc:  # noqa: BLE001
        # An error of a listener must affect neither the others nor the model.
        log.error("a listener of the manager failed", extra={"error": type(exc).__name__})
