"""The engine of the model that an operator chose: passes questions to the loaded engine, or says why none is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineUnavailable,
)
from server.models.base import Capabilities, Chunk, Engine, EngineRequest, EngineState, EngineStatus

NO_MODEL_DETAIL = "No model is loaded here. An operator can start one in the engine panel, or LOCAL_MODEL can name one."
NO_MODEL = EngineStatus(EngineState.UNREACHABLE, NO_MODEL_DETAIL, unused=True)
# Remedies if a model does not answer
RESTART_REMEDY = "It is restarted if that lasts; an operator can start another model."
REMOTE_REMEDY = (
    "It is a remote server, used again when it answers; an operator can start another model."
)
# Maximum seconds by which a broken connection may precede the end of the process
_NOTICE_SECONDS = 0.5
# `retry_after` for questions while a model is loading, seconds
_RETRY_SECONDS = 5.0
Refine = Callable[[Capabilities], Capabilities]


@dataclass(slots=True, eq=False)
class _ActiveModel:
    """The loaded engine and its running answers."""

    engine: Engine
    # Set to end the answers immediately, with `message` as their error
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    message: str = ""
    # Timeouts of the answers that wait for a chunk; `end` sets their deadline
    waits: set[asyncio.Timeout] = field(default_factory=set)

    def end(self, message: str) -> None:
        self.message = message
        self.ended.set()
        now = asyncio.get_running_loop().time()
        for wait in self.waits:
            if not wait.expired():
                wait.reschedule(now)


class ActiveEngine:
    """Proxy for the loaded engine; see `Engine`. Only the manager, which owns the engines, calls `activate` and
    `deactivate`.
    """

    name = "local"

    def __init__(self) -> None:
        self._current: _ActiveModel | None = None
        self._model = self._silence = ""
        self._refine: Refine = lambda found: found
        self._absent = NO_MODEL
        # Loop time of the first of the consecutive failed probes; None while the engine answers
        self._silent_since: float | None = None

    @property
    def inner(self) -> Engine | None:
        """The loaded engine, or None if there is none."""
        return self._current.engine if self._current is not None else None

    @property
    def status(self) -> EngineStatus:
        if self.inner is None:
            return self._absent
        inner = self.inner.status
        model = self._model or inner.model
        if inner.state is EngineState.UNREACHABLE:
            detail = f"{model or 'The model'} does not answer. {self._silence}"
        elif inner.state is EngineState.MISCONFIGURED:
            detail = (
                f"The server at that address no longer has {model or 'the model'}, or refuses the key. An operator can start it again"
                " in the engine panel, with the right address, name and key."
            )
        else:
            detail = inner.detail
        return dataclasses.replace(
            inner, detail=detail, model=model, capabilities=self._refine(inner.capabilities)
        )

    def get_silent_seconds(self) -> float:
        """Return the number of seconds for which its probes have failed."""
        if self._silent_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._silent_since

    def activate(
        self,
        engine: Engine,
        model: str,
        refine: Refine = lambda found: found,
        silence: str = RESTART_REMEDY,
    ) -> None:
        """Put `engine` into service under this model name ("": the engine's own).

        `refine` completes its capabilities; `silence`: the remedy while it does not answer.
        """
        self._current = _ActiveModel(engine)
        self._model, self._refine, self._silence = model, refine, silence
        self._silent_since = None

    def deactivate(self, state: EngineState, detail: str, message: str = "") -> None:
        """Take the engine out of service; running answers end with `message`, or with `detail` if it is empty."""
        self._absent = NO_MODEL if detail == NO_MODEL_DETAIL else EngineStatus(state, detail)
        current, self._current = self._current, None
        if current is not None:
            current.end(message or detail)

    async def probe(self) -> EngineStatus:
        engine = self.inner
        if engine is not None:
            found = await engine.probe()
            if engine is not self.inner:
                # Replaced during the probe
                return self.status
            if found.state is not EngineState.UNREACHABLE:
                self._silent_since = None
            elif self._silent_since is None:
                self._silent_since = asyncio.get_running_loop().time()
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of an answer; see `Engine.answer`.

        Raises EngineFailed if the engine is taken out of service during the answer, EngineUnavailable before the first
        chunk.
        """
        current = self._current
        if current is None:
            if self._absent.state is EngineState.LOADING:
                raise EngineLoading(self._absent.detail, retry_after=_RETRY_SECONDS)
            raise EngineUnavailable(self._absent.detail)
        began = False
        async with contextlib.aclosing(current.engine.answer(request)) as chunks:
            while True:
                try:
                    chunk = await self._read_next(chunks, current)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise self._end_error(began, current) from None
                except (EngineUnavailable, EngineFailed) as error:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_NOTICE_SECONDS):
                            await current.ended.wait()
                    if current.ended.is_set():
                        raise self._end_error(began, current) from None
                    if isinstance(error, EngineUnavailable) and not self.status.ready:
                        raise EngineUnavailable(
                            self.status.detail, retry_after=error.retry_after
                        ) from None
                    raise
                began = True
                # A chunk proves that the engine works, even if its probes time out.
                self._silent_since = None
                yield chunk

    async def _read_next(self, chunks: AsyncGenerator[Chunk, None], current: _ActiveModel) -> Chunk:
        """Return the next chunk.

        Raises TimeoutError if the engine is taken out of service, StopAsyncIteration at the end.
        """
        if current.ended.is_set():
            raise TimeoutError
        # `end` sets the deadline. The block ends before the consumer runs, because the timeout must not cancel it.
        async with asyncio.timeout(None) as wait:
            current.waits.add(wait)
            try:
                return await anext(chunks)
            finally:
                current.waits.discard(wait)

    def _end_error(self, began: bool, current: _ActiveModel) -> EngineError:
        return EngineFailed(current.message) if began else EngineUnavailable(self._absent.detail)

    async def close(self) -> None:
        """Do nothing: the manager closes its engines."""
