"""The interface of one loaded model, wherever it runs; the manager knows no more of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Protocol

from server.catalogue.choice import Choice
from server.catalogue.entry import Ability, Model
from server.core.errors import OperatorError
from server.engines.base import Capabilities, Engine
from server.hosting.status import Plan
from server.processes.log_progress import LoadProgress

OnLine = Callable[[str], None]
OnProgress = Callable[[LoadProgress], None]


class StartFailed(OperatorError):
    """A model could not be loaded; `message` is sentences for people.

    `port_taken`: another port may do.
    """

    def __init__(self, message: str, *, port_taken: bool = False) -> None:
        super().__init__(message)
        self.port_taken = port_taken


class Runtime(Protocol):
    engine: Engine
    # Set when it is gone, by itself or stopped.
    ended: asyncio.Event

    async def start(self) -> None:
        """Return when it answers.

        Raises StartFailed; `stop` is due in any case, also when cancelled.
        """
        ...

    async def stop(self) -> None:
        """Return when nothing of it is left.

        Safe to call twice, and again after it was cancelled.
        """
        ...

    def memory_bytes(self) -> int | None:
        """Return the main memory that it takes here, after its end the rest of it; None when not
        known. Blocking.
        """
        ...

    def how_it_ended(self) -> str:
        """Return the end of a sentence that begins with its name, and the reason in its log."""
        ...


def refined(capabilities: Capabilities, choice: Choice, model: Model | None) -> Capabilities:
    """Complete the server's capabilities with what is known about the model."""
    context = capabilities.context_length or choice.context
    if model is None:
        return dataclasses.replace(capabilities, context_length=context)
    return dataclasses.replace(
        capabilities,
        images=Ability.IMAGES in model.abilities,
        grounding=capabilities.grounding or Ability.GROUNDING in model.abilities,
        boxes=model.boxes or capabilities.boxes,
        context_length=context or model.context_length,
    )


# Makes the runtime of a plan, with the key of a remote server; None for a plan that it knows nothing of
MakeRuntime = Callable[[Plan, str, OnLine, OnProgress], Runtime | None]
