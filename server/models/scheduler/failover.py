"""Answer a job with the current engine, and once more with the one that takes over from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineTimeout,
    EngineUnavailable,
    Internal,
    QwenCameraError,
)
from server.models.base import Engine
from server.models.scheduler.run import JobRun

log = logging.getLogger(__name__)

# Errors of the engine rather than the request: another engine may succeed.
_ENGINE_FAULTS = (EngineUnavailable, EngineLoading, EngineTimeout, EngineFailed)


class Engines(Protocol):
    """The choice of engines."""

    @property
    def current(self) -> Engine: ...

    def report_failure(self, engine: Engine) -> None:
        """Note that this engine did not answer, so that it is probed again."""
        ...

    async def settle(self) -> None:
        """Wait until a reported failure has been probed and `current` is up to date."""
        ...


class Failover:
    """Runs jobs; all errors of a job end in its sink."""

    def __init__(self, engines: Engines, settle_seconds: float) -> None:
        """`settle_seconds`: time that the choice of another engine may take after a failure."""
        self._engines = engines
        self._settle_seconds = settle_seconds

    async def work(self, run: JobRun) -> None:
        """Answer a job to its end."""
        try:
            await self._answer(run)
        except asyncio.CancelledError:
            # Without effect when it was stopped already; otherwise the event loop is ending.
            run.stop("draining")
            raise
        except QwenCameraError as error:
            run.fail(error)
        except Exception as exc:  # noqa: BLE001
            # An error of one job or sink must not end others. Without its text, which may contain
            # what people said.
            log.error("job failed", extra={"kind": str(run.job.kind), "error": type(exc).__name__})
            run.fail(Internal("Something went wrong with this answer on the server. Ask again."))

    async def _answer(self, run: JobRun) -> None:
        engine, spare = self._engines.current, True
        while True:
            try:
                await run.attempt(engine)
                return
            except EngineError as error:
                log.warning(
                    "engine failed",
                    extra={
                        "request": run.id,
                        "engine": engine.name,
                        "code": error.code,
                        "reason": error.message,
                    },
                )
                if not isinstance(error, _ENGINE_FAULTS):
                    raise
                self._engines.report_failure(engine)
                # Never continue an answer with another engine: once text was sent, the error ends
                # it.
                if not spare or run.first_at is not None or run.ended:
                    raise
                other = await self._other(engine)
                if other is None:
                    raise
            engine, spare = other, False

    async def _other(self, failed: Engine) -> Engine | None:
        """Wait for the engine that takes over from a failed one; None when none does in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle_seconds):
                await self._engines.settle()
        other = self._engines.current
        return other if other is not failed and other.status.ready else None
