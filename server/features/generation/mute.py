"""The engine of a model that answers no questions."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from server.core.errors import EngineRefused
from server.features.hosting.catalogue.entry import Model
from server.models.base import Capabilities, Chunk, EngineRequest, EngineState, EngineStatus


class Mute:
    """The engine of a model that makes videos or sound: it is never chosen, and refuses each question."""

    name = "local"

    def __init__(self, model: Model) -> None:
        self._why = (
            f"{model.name} is loaded, a {model.model_type} model, which answers no questions. That needs a model that answers "
            "questions about pictures: an operator can start one in the engine panel, and it takes the place of this one."
        )
        # Ready would say that it can be asked, unreachable that it is to be started again.
        self.status = EngineStatus(
            EngineState.BUSY, self._why, model.id, Capabilities(images=False, streaming=False)
        )

    async def probe(self) -> EngineStatus:
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        raise EngineRefused(self._why)
        yield

    def forget(self, session_id: str) -> None:
        """It remembers nothing."""

    async def close(self) -> None:
        """It has nothing to give back."""
