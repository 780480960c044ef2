"""A model in a worker of this program, as the manager runs it."""

from __future__ import annotations

import asyncio

from server.core.errors import EngineError
from server.features.hosting.catalogue.entry import Model
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.runtime import (
    MakeRuntime,
    OnLine,
    OnProgress,
    Plan,
    Runtime,
    StartFailed,
)
from server.features.local_models.engine import LocalEngine
from server.models.base import Engine
from server.models.thinking import ThinkingLimits
from server.shared.processes.usage import TreeMemory


class LocalRuntime:
    """See `runtime.Runtime`. The manager makes another one when it has ended."""

    def __init__(
        self,
        launch: Launch,
        model: Model,
        *,
        on_line: OnLine,
        on_progress: OnProgress,
        thinking: ThinkingLimits | None = None,
    ) -> None:
        if model.folder is None:
            raise ValueError("a model without a folder cannot be loaded")
        self._engine = LocalEngine(
            model.folder,
            launch.argv,
            env=launch.env,
            own_code=model.remote_code,
            on_line=on_line,
            on_progress=on_progress,
            thinking=thinking,
        )
        self._memory = TreeMemory()
        self.engine: Engine = self._engine
        self.ended: asyncio.Event = self._engine.ended

    async def start(self) -> None:
        try:
            await self._engine.start()
        except EngineError as error:
            raise StartFailed(error.message) from None

    async def stop(self) -> None:
        await self._engine.close()

    def memory_bytes(self) -> int | None:
        return self._memory.bytes(self._engine.pid)

    def how_it_ended(self) -> str:
        return f"ended ({self._engine.cause})."


def make_runtime(thinking: ThinkingLimits) -> MakeRuntime:
    """Return what makes the runtime of a model that answers and runs in this server."""

    def make(plan: Plan, key: str, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        assert plan.model is not None
        return LocalRuntime(
            plan.launch, plan.model, on_line=on_line, on_progress=on_progress, thinking=thinking
        )

    return make
