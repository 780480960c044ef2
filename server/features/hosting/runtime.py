"""A plan of a model to start, and the interface of a loaded one, wherever it runs: the manager knows no more of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from server.core.errors import OperatorError
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Ability, Library, Model
from server.features.hosting.catalogue.launch import Launch
from server.models.base import Capabilities, Engine

OnLine = Callable[[str], None]
OnProgress = Callable[[LoadProgress], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A choice that can be started."""

    choice: Choice
    launch: Launch
    # None: a remote server with any model
    model: Model | None = None

    @property
    def model_id(self) -> str:
        """The model's id; "" for the first model of a remote server."""
        return self.model.id if self.model is not None else self.choice.model

    def display_id(self, found: str = "") -> str:
        """Return the id for display. `found`: the server's name for it, when none was chosen."""
        where = urlsplit(self.choice.url).netloc
        return self.model_id or found or f"the first model at {where}"

    @property
    def name(self) -> str:
        """Name for display."""
        return (
            self.model.name if self.model is not None else self.choice.model or "The remote model"
        )


class StartFailed(OperatorError):
    """A model could not be loaded; `message` is for people. `port_taken`: another may do."""

    def __init__(self, message: str, *, port_taken: bool = False) -> None:
        super().__init__(message)
        self.port_taken = port_taken


class Runtime(Protocol):
    engine: Engine
    # Set when it is gone, by itself or stopped.
    ended: asyncio.Event

    async def start(self) -> None:
        """Return when it answers. Raises StartFailed; `stop` is due in any case."""
        ...

    async def stop(self) -> None:
        """Return when nothing of it is left. Safe to call twice, and after a cancellation."""
        ...

    def how_it_ended(self) -> str:
        """Return the end of a sentence that begins with its name, and the reason in its log."""
        ...


def complete_capabilities(
    capabilities: Capabilities, choice: Choice, model: Model | None
) -> Capabilities:
    """Complete the server's capabilities with what is known about the model."""
    context = capabilities.context_length or choice.context
    if model is None:
        return dataclasses.replace(capabilities, context_length=context)
    sizes = capabilities.geometry
    if model.library is Library.LLAMA_CPP:
        # Its server names no folder from which the engine could read them.
        sizes = model.geometry or sizes
    return dataclasses.replace(
        capabilities,
        geometry=sizes,
        images=Ability.IMAGES in model.abilities,
        grounding=capabilities.grounding or Ability.GROUNDING in model.abilities,
        boxes=model.boxes or capabilities.boxes,
        context_length=context or model.context_length,
    )


# Makes the runtime of a plan, with the key of a remote server
MakeRuntime = Callable[[Plan, str, OnLine, OnProgress], Runtime]
