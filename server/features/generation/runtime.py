"""A model that makes videos or sound, as the engine manager runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.core.aio import TaskSet, log_failure
from server.core.errors import EngineRefused
from server.features.generation.generator import Generator, LoadingFailed
from server.features.generation.videos_api import VideosApi
from server.features.hosting.catalogue.entry import Model, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.log_progress import LoadProgress
from server.features.hosting.runtime import (
    MakeRuntime,
    OnLine,
    OnProgress,
    Plan,
    Runtime,
    StartFailed,
)
from server.models.base import Capabilities, Chunk, Engine, EngineRequest, EngineState, EngineStatus
from server.shared.processes.usage import TreeMemory
from server.shared.processes.worker_process import environment

_PHASES = {"starting": "starting", "weights": "loading weights"}


class GeneratorRuntime:
    """See `server.features.hosting.runtime.Runtime`. `generator` makes videos and sound while it is loaded.

    One whose process was ended with the work that was cancelled is started again here: that is no
    crash.
    """

    def __init__(
        self, launch: Launch, model: Model, *, on_line: OnLine, on_progress: OnProgress
    ) -> None:
        def phase(name: str) -> None:
            on_progress(LoadProgress(_PHASES.get(name, "loading")))

        self.model = model
        self._launch = launch
        self._on_line = on_line
        self._tasks = TaskSet("generator")
        self.generator = self._new(phase)
        self._memory = TreeMemory()
        self.ended = asyncio.Event()
        self.engine: Engine = Mute(model)

    def _new(self, on_phase: Callable[[str], None]) -> Generator:
        launch = self._launch
        return Generator(
            launch.argv,
            environment(dict(launch.env)),
            Path(launch.cwd or "."),
            on_phase=on_phase,
            on_line=self._on_line,
        )

    async def start(self) -> None:
        try:
            await self.generator.start()
        except LoadingFailed as error:
            raise StartFailed(error.message) from None
        self._tasks.spawn(self._keep(), name="keep")

    async def _keep(self) -> None:
        """Start the worker again after a cancellation ended it; set `ended` after any other end.

        Not under `supervise`: an exception ends the model, and the manager loads it again.
        """
        try:
            await self._restart()
        except Exception as exc:  # noqa: BLE001
            log_failure("generator", exc, "the worker is not started again")
        self.ended.set()

    async def _restart(self) -> None:
        while True:
            before = self.generator
            await before.ended.wait()
            if not before.given_up:
                break
            await before.stop()
            # Requests meanwhile wait in its process until the model is loaded.
            after = self.generator = self._new(lambda _: None)
            self._memory = TreeMemory()
            after.rules, after.backend = before.rules, before.backend
            try:
                await after.start()
            except LoadingFailed:
                break

    async def stop(self) -> None:
        await self._tasks.close()
        await self.generator.stop()
        self.ended.set()

    def memory_bytes(self) -> int | None:
        return self._memory.bytes(self.generator.pid)

    def how_it_ended(self) -> str:
        less = (
            "load it with VAE tiling or offloaded to main memory, or ask for a smaller or shorter video"
            if self.generator.rules.output == "video"
            else "load it in a 16-bit data type, or ask for something shorter"
        )
        return f"{self.generator.how_it_ended()}. Where memory is short, {less}."


class VideosRuntime:
    """Another server's videos, once it has made one for a probe; nothing runs here."""

    def __init__(
        self, launch: Launch, model: Model, pool: ThreadPoolExecutor, *, api_key: str = ""
    ) -> None:
        self.model = model
        self.generator = VideosApi(launch.base_url, api_key, pool=pool)
        self.ended = asyncio.Event()
        self.engine: Engine = Mute(model)

    async def start(self) -> None:
        if why_not := await self.generator.probe():
            raise StartFailed(why_not)

    async def stop(self) -> None:
        await self.generator.close()

    def memory_bytes(self) -> int | None:
        return None

    def how_it_ended(self) -> str:
        return "is gone."


def make_runtime(pool: ThreadPoolExecutor) -> MakeRuntime:
    """Return what makes the runtime of a model that makes videos or sound."""

    def make(plan: Plan, key: str, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        launch, model = plan.launch, plan.model
        assert model is not None
        if plan.choice.mode is RunMode.REMOTE:
            return VideosRuntime(launch, model, pool, api_key=key)
        return GeneratorRuntime(launch, model, on_line=on_line, on_progress=on_progress)

    return make


class Mute:
    """The engine of a model that answers no questions: it is never chosen, and refuses each question."""

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
