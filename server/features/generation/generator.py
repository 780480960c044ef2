"""Runtime of a model that makes videos or sound in a worker process; one job at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from server.core.aio import TaskSet, log_failure
from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.features.generation.rules import Rules
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Model
from server.features.hosting.runtime import OnLine, OnProgress, StartFailed
from server.models.base import Capabilities, Chunk, Engine, EngineRequest, EngineState, EngineStatus
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import ModelWorker, NotLoaded, WorkerEnded, WorkerJob


class NonAnsweringEngine:
    """Engine of a model that makes videos or sound: it is never selected, and refuses every question."""

    name = "local"

    def __init__(self, model: Model) -> None:
        self._why = (
            f"{model.name} is loaded, a {model.model_type} model, which answers no questions. An operator can start one that "
            "answers questions about pictures in the engine panel."
        )
        # BUSY, because READY would make the engine selectable, and UNREACHABLE would cause a restart.
        self.status = EngineStatus(
            EngineState.BUSY, self._why, model.id, Capabilities(images=False, streaming=False)
        )

    async def probe(self) -> EngineStatus:
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        raise EngineRefused(self._why)
        yield

    async def close(self) -> None:
        """Do nothing."""


log = logging.getLogger(__name__)
_PHASES = {"starting": "starting", "weights": "loading weights"}
# Time limit for loading, seconds: large weights may be on slow disks.
LOAD_SECONDS = 3600.0
# Seconds for a cancelled job to end before its process is killed
CANCEL_SECONDS = 10.0
# Maximum seconds without a message from the worker: a step of a large model on a CPU takes minutes.
SILENT_SECONDS = 3600.0
# Advice after a failure, by kind
_SMALLER = {"video": "a smaller or shorter video", "sound": "something shorter"}
# Codes of errors that refuse the request (EngineRefused); any other code is EngineFailed.
_PUBLIC_CODES = frozenset({"refused", "missing", "broken"})


class GenerationRuntime:
    """Runtime of one model; see `Runtime`. `argv`, `env`, `on_line`: see `ModelWorker`.

    If a cancelled job does not end, its process is killed, and the model is loaded again in a new process. This is not
    treated as a crash.
    """

    def __init__(
        self,
        model: Model,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        on_progress: OnProgress = lambda progress: None,
        on_line: OnLine = lambda line: None,
    ) -> None:
        self._argv, self._env, self._on_line = tuple(argv), dict(env), on_line
        self._on_progress = on_progress
        self._worker = self._new_worker()
        # True if the process was killed to end a cancelled job
        self._killed_by_cancel = False
        self._tasks = TaskSet("generator")
        self._job: WorkerJob | None = None
        self._stopping = False
        # Valid after `start` has returned
        self.rules = Rules("video")
        self.backend = ""
        self.ended = asyncio.Event()
        self.engine: Engine = NonAnsweringEngine(model)

    @property
    def busy(self) -> bool:
        return self._job is not None

    def _new_worker(self) -> ModelWorker:
        return ModelWorker(self._argv, self._env, on_message=self._receive, on_line=self._on_line)

    async def start(self) -> None:
        """Load the model; see `Runtime.start`."""
        await self._load()
        self._tasks.spawn(self._reload_after_cancel(), name="keep")

    async def _load(self) -> None:
        try:
            header = await self._worker.load(LOAD_SECONDS)
        except ProcessFailed as error:
            raise StartFailed(
                f"{error.message} Set ENGINE_PYTHON to a Python that has torch."
            ) from None
        except NotLoaded as error:
            raise StartFailed(error.message) from None
        except TimeoutError:
            raise StartFailed(
                "The model did not load within an hour. Choose a smaller one."
            ) from None
        except WorkerEnded:
            how = self._worker.explain_end()
            raise StartFailed(
                f"The model's process {how} while it loaded. See its log for the cause."
            ) from None
        self.rules = Rules.read(header["rules"])
        self.backend = str(header["backend"])

    async def _reload_after_cancel(self) -> None:
        """Reload the model after a cancellation killed its process; set `ended` after any other end.

        Not under `supervise`: after an exception the manager restarts the model.
        """
        try:
            while True:
                await self._worker.ended.wait()
                if not self._killed_by_cancel:
                    break
                # Replace it at once, so that requests wait until the model is loaded.
                ended = self._worker
                self._worker, self._killed_by_cancel = self._new_worker(), False
                await ended.stop()
                await self._load()
        except StartFailed:
            pass
        except Exception as exc:  # noqa: BLE001
            log_failure("generator", exc, "the worker is not restarted")
        self.ended.set()

    async def make(
        self, request: Mapping[str, Any], picture: bytes = b""
    ) -> AsyncGenerator[WorkerMessage]:
        """Run a job, and yield the worker's messages: `step`, `frame` or `sound`, and finally `end`. One job at a time.

        Closing the generator cancels the job within the time of one layer, or by killing its process. Requesting the
        next message acknowledges a frame. Raises EngineRefused, EngineFailed, EngineUnavailable.
        """
        if self._job is not None:
            raise RuntimeError("one job at a time")
        if self._worker.ended.is_set():
            raise self._make_ended_error()
        worker, now = self._worker, asyncio.get_running_loop().time
        job = self._job = worker.begin({"type": "generate", **request}, picture)
        try:
            while True:
                try:
                    message = await job.next(now() + SILENT_SECONDS)
                except TimeoutError:
                    raise EngineFailed(
                        "The model reported nothing for an hour and was stopped. Load it again, and ask for something smaller."
                    ) from None
                if message is None:
                    raise self._make_ended_error()
                if message.type == "error":
                    text = str(message.header.get("message"))
                    refused = message.header.get("code") in _PUBLIC_CODES
                    raise EngineRefused(text) if refused else EngineFailed(text)
                yield message
                if message.type == "end":
                    return
                if message.type == "frame":
                    worker.send({"type": "took", "id": job.id})
        finally:
            try:
                await self._cancel(worker, job)
            finally:
                self._job = None

    async def _cancel(self, worker: ModelWorker, job: WorkerJob) -> None:
        """Cancel the job and wait for its end; kill the process if it does not end within CANCEL_SECONDS."""
        if job.ended.is_set():
            return
        job.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await job.ended.wait()
        if not job.ended.is_set():
            log.warning("generation process killed after a cancelled job")
            self._killed_by_cancel = True
            worker.kill()
            await worker.ended.wait()

    async def stop(self) -> None:
        """Stop the worker; return when it has ended. Safe to call twice."""
        self._stopping = True
        await self._tasks.close()
        await self._worker.stop()
        self.ended.set()

    def explain_end(self) -> str:
        less = (
            "load it with VAE tiling or offloaded to main memory, or ask for a smaller or shorter video"
            if self.rules.output == "video"
            else "load it in a 16-bit data type, or ask for something shorter"
        )
        return f"{self._worker.explain_end()}. If memory is short, {less}."

    def _make_ended_error(self) -> EngineError:
        if self._stopping:
            return EngineUnavailable(
                "The model was unloaded before the job was done. Load it again."
            )
        how = self._worker.explain_end()
        return EngineUnavailable(
            f"The model's process {how} before the job was done. Ask again when it is loaded again; if memory is short,"
            f" ask for {_SMALLER[self.rules.output]}."
        )

    def _receive(self, message: WorkerMessage) -> None:
        # A reload after a cancellation is not shown as loading.
        if message.type == "loading" and not self.backend:
            phase = _PHASES.get(str(message.header.get("phase")), "loading")
            self._on_progress(LoadProgress(phase))
