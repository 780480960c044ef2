"""The plan of a model to start, and the interface of a runtime, which the manager uses for every mode."""

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
    """A checked choice with its command."""

    choice: Choice
    launch: Launch
    # None for any model of a remote server
    model: Model | None = None

    @property
    def model_id(self) -> str:
        """The model's id; "" for the first model of a remote server."""
        return self.model.id if self.model is not None else self.choice.model

    def get_display_id(self, found: str = "") -> str:
        """Return the id for display. `found`: the name that the server reports, used if none was chosen."""
        where = urlsplit(self.choice.url).netloc
        return self.model_id or found or f"the first model at {where}"

    @property
    def name(self) -> str:
        """Name for display."""
        return (
            self.model.name if self.model is not None else self.choice.model or "The remote model"
        )


class StartFailed(OperatorError):
    """A model could not be loaded; `message` is for operators. `port_taken`: another port may work."""

    def __init__(self, message: str, *, port_taken: bool = False) -> None:
        super().__init__(message)
        self.port_taken = port_taken


class Runtime(Protocol):
    """A model that is started and stopped: a process, a container or a remote server."""

    engine: Engine
    # Set when the model has ended, by itself or because it was stopped
    ended: asyncio.Event

    async def start(self) -> None:
        """Start the model, and return when it answers. Raises StartFailed; call `stop` in any case."""
        ...

    async def stop(self) -> None:
        """Stop the model, and return when its processes have ended. Safe to call twice, and after a cancellation."""
        ...

    def explain_end(self) -> str:
        """Return how it ended, and the reason from its log; the text follows the model's name."""
        ...


def complete_capabilities(
    capabilities: Capabilities, choice: Choice, model: Model | None
) -> Capabilities:
    """Return the capabilities that the server reports, completed from the catalogue and the choice."""
    context = capabilities.context_length or choice.context
    if model is None:
        return dataclasses.replace(capabilities, context_length=context)
    sizes = capabilities.geometry
    if model.library is Library.LLAMA_CPP:
        # llama.cpp's server does not report a folder from which the engine could read the sizes.
        sizes = model.geometry or sizes
    return dataclasses.replace(
        capabilities,
        geometry=sizes,
        images=Ability.IMAGES in model.abilities,
        grounding=capabilities.grounding or Ability.GROUNDING in model.abilities,
        boxes=model.boxes or capabilities.boxes,
        context_length=context or model.context_length,
    )


# Make the runtime of a plan; the string is the API key of a remote server.
MakeRuntime = Callable[[Plan, str, OnLine, OnProgress], Runtime]
