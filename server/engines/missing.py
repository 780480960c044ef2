"""The engine that stands for one that the setting ENGINE names and no feature brings."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from server.core.errors import EngineUnavailable
from server.engines.base import Capabilities, Chunk, EngineRequest, EngineState, EngineStatus


class MissingEngine:
    """See `Engine`. It says what is missing, and never answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = EngineStatus(
            EngineState.MISCONFIGURED,
            f"ENGINE is {name}, but no feature that is on brings this engine. Add it to FEATURES, or set ENGINE to auto"
            " or vllm.",
            capabilities=Capabilities(images=False),
        )

    async def probe(self) -> EngineStatus:
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        raise EngineUnavailable(self.status.detail)
        yield

    def forget(self, session_id: str) -> None:
        """It remembers nothing."""

    async def close(self) -> None:
        """It has nothing to give back."""
