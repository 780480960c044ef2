"""Choose the engine that answers: the best one that is ready, by readiness and capability only."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import suppress

from server.core.aio import TaskSet, log_failure, supervise
from server.core.errors import EngineUnavailable
from server.models.base import Capabilities, Chunk, Engine, EngineRequest, EngineState, EngineStatus

log = logging.getLogger(__name__)

OnChange = Callable[[Engine], None]

# Failed probes in a row after which an engine is left; a failure that was reported counts as one.
_FAILURES = 2
# Seconds between two probes, however many failures are reported
_LEAST_GAP = 0.2


class EngineSelector:
    """`engines`, best first; `add` takes in those of features.

    One engine alone is a fixed choice: it is never replaced, only its status changes.

    Every `interval` seconds all are probed, every `seeking` seconds while a better one than the
    current is not ready or the current one is in doubt; both are varied by a tenth, so that
    processes do not probe in step.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        interval: float = 10.0,
        seeking: float = 2.0,
        first_probe: float = 1.0,
        jitter: Callable[[], float] = random.random,
        logged_elsewhere: Collection[Engine] = (),
    ) -> None:
        """`logged_elsewhere`: engines of which another part logs why they do not answer."""
        if not engines:
            raise ValueError("There is no engine to choose from; at least one is needed.")
        self._interval = interval
        self._seeking = seeking
        self._first_probe = first_probe
        self._jitter = jitter
        # The last state of each engine whose troubles are logged here
        self._seen = {one: one.status for one in engines if one not in logged_elsewhere}
        self._take(engines)
        self._listeners: list[OnChange] = []
        self._tasks = TaskSet("engines")
        self._wake = asyncio.Event()
        # Set while no reported failure waits to be looked into.
        self._settled = asyncio.Event()
        self._settled.set()
        self._probed = asyncio.Event()

    def _take(self, engines: Sequence[Engine]) -> None:
        # Best first: as given, but for the one that is preferred.
        self._usual = tuple(engines)
        self.engines = self._usual
        self._current = next((one for one in self.engines if _able(one.status)), self.engines[0])
        # Failed probes in a row
        self._failures: dict[Engine, int] = dict.fromkeys(self.engines, 0)
        # The current engine has been ready before; one that never was is left at once.
        self._proven = _able(self._current.status)
        self._announced = (self._current, self._current.status)

    def add(self, engine: Engine, *, logged_elsewhere: bool = False) -> None:
        """Take in a further engine before the start: in place of the missing one of its name, else last."""
        known = list(self._usual)
        missing = next(
            (one for one in known if isinstance(one, MissingEngine) and one.name == engine.name),
            None,
        )
        if missing is None:
            known.append(engine)
        else:
            known[known.index(missing)] = engine
            del self._seen[missing]
        if not logged_elsewhere:
            self._seen[engine] = engine.status
        self._take(known)

    @property
    def current(self) -> Engine:
        return self._current

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Subscribe to changes of the engine in use and of its status. The result unsubscribes."""
        self._listeners.append(callback)

        def stop() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return stop

    async def start(self) -> None:
        """Begin to probe; returns after the first round, or after `first_probe` seconds when that
        takes longer.
        """
        self._tasks.spawn(self._run(), name="probe")
        try:
            async with asyncio.timeout(self._first_probe):
                await self._probed.wait()
        except TimeoutError:
            log.info("an engine is slow to answer its first probe")

    async def close(self) -> None:
        """Stop probing and close all engines. Safe to call twice."""
        await self._tasks.close()
        self._settled.set()
        ends = await asyncio.gather(
            *(engine.close() for engine in self.engines), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, Exception):
                log_failure("engine", end, "closing failed")

    def report_failure(self, engine: Engine) -> None:
        """Report that an engine did not answer: probe it at once, and leave it when that fails,
        too.
        """
        if engine not in self.engines:
            return
        self._failures[engine] = max(1, self._failures[engine])
        self._settled.clear()
        self._wake.set()

    def probe_soon(self) -> None:
        """An engine's status has changed: choose again at once, and probe now rather than when it is
        time.
        """
        self._choose()
        self._wake.set()

    def lost(self, engine: Engine) -> None:
        """Report that an engine is gone for certain: it is left at once, without a probe."""
        if engine in self.engines:
            self._failures[engine] = max(_FAILURES, self._failures[engine])
            self.probe_soon()

    def prefer(self, engine: Engine | None) -> None:
        """An operator chose this one: it goes before all others while it is able.

        None: the usual order again.
        """
        if engine is not None and engine not in self.engines:
            return
        first = () if engine is None else (engine,)
        self.engines = (*first, *(one for one in self._usual if one is not engine))
        self._choose()
        self._wake.set()

    async def settle(self) -> None:
        """Wait until reported failures have been looked into and `current` is right again."""
        await self._settled.wait()

    # Probing

    async def _run(self) -> None:
        await supervise(self._round, name="probe", after_failure=1.0)

    async def _round(self) -> float:
        """Probe all engines, then wait until the next probe is due."""
        self._wake.clear()
        await asyncio.gather(*(self._probe(engine) for engine in self.engines))
        self._choose()
        self._probed.set()
        # A failure that was reported during this round is looked into by the next one.
        if not self._wake.is_set():
            self._settled.set()
        delay = self._delay()
        with suppress(TimeoutError):
            await asyncio.sleep(min(_LEAST_GAP, delay))
            async with asyncio.timeout(max(0.0, delay - _LEAST_GAP)):
                await self._wake.wait()
        return 0.0

    async def _probe(self, engine: Engine) -> None:
        try:
            status = await engine.probe()
        except Exception as exc:  # noqa: BLE001
            # One engine's mistake must not end the probing of all.
            log.error("probe failed", extra={"engine": engine.name, "error": type(exc).__name__})
            self._failures[engine] += 1
        else:
            self._failures[engine] = 0 if _alive(status) else self._failures[engine] + 1
        # Without waiting for the slower ones: the first to be ready may answer.
        self._choose()

    def _log_trouble(self) -> None:
        """Log why an engine does not answer, once for each reason."""
        for engine, before in self._seen.items():
            status = self._seen[engine] = engine.status
            if (status.state, status.detail) == (before.state, before.detail):
                continue
            if status.state not in (EngineState.UNREACHABLE, EngineState.MISCONFIGURED):
                continue
            # One that was never there is often none: ENGINE=auto asks for vLLM wherever it runs.
            lost = before.ready or status.state is EngineState.MISCONFIGURED
            log.log(
                logging.WARNING if lost else logging.INFO,
                "an engine cannot answer",
                extra={
                    "engine": engine.name,
                    "state": str(status.state),
                    "reason": status.detail,
                },
            )

    def _choose(self) -> None:
        self._log_trouble()
        at = self.engines.index(self._current)
        best = next((n for n, one in enumerate(self.engines) if _able(one.status)), None)
        if best is not None and best != at:
            lost = not _alive(self._current.status) and (
                not self._proven or self._failures[self._current] >= _FAILURES
            )
            if best < at or lost:
                self._current, self._proven = self.engines[best], True
                log.info("another engine answers", extra={"engine": self._current.name})
        self._proven = self._proven or _able(self._current.status)
        now = (self._current, self._current.status)
        if now != self._announced:
            self._announced = now
            self._announce()

    def _announce(self) -> None:
        for callback in list(self._listeners):
            try:
                callback(self._current)
            except Exception as exc:  # noqa: BLE001
                # A listener's mistake must not keep others from hearing.
                log.error("engine listener failed", extra={"error": type(exc).__name__})

    def _delay(self) -> float:
        at = self.engines.index(self._current)
        better = self.engines[:at]
        calm = _alive(self._current.status) and self._failures[self._current] == 0
        calm = calm and all(_able(one.status) for one in better)
        return (self._interval if calm else self._seeking) * (0.9 + 0.2 * self._jitter())


def _able(status: EngineStatus) -> bool:
    """Ready, and takes pictures."""
    return status.ready and status.capabilities.images


def _alive(status: EngineStatus) -> bool:
    """Busy is no failure: it will answer again, and it is the better engine."""
    return status.state in (EngineState.READY, EngineState.BUSY) and status.capabilities.images


# The engine that stands for one that the setting ENGINE names and no feature brings.


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
