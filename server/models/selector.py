"""Choose the engine of each role: the best engine that is ready, only by readiness and capabilities."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from server.core.aio import TaskSet, log_failure, supervise
from server.core.errors import EngineUnavailable
from server.core.frames import Role
from server.models.base import Capabilities, Chunk, Engine, EngineRequest, EngineState, EngineStatus

log = logging.getLogger(__name__)
OnChange = Callable[[Engine], None]
# Number of consecutive failed probes after which another engine takes over; a reported failure equals a failed probe
_FAILURES = 2
# Minimum seconds between two probes
_LEAST_GAP = 0.2
# The text for visitors while a fallback engine is used
_FALLBACK_NOTICE = "Primary model unavailable; using the fallback."


class _Choice:
    """The engine in use for a role: the best usable one of `order`."""

    def __init__(self, order: Sequence[Engine]) -> None:
        self.order = tuple(order)
        self.now = next((one for one in self.order if _is_able(one.status)), self.order[0])
        # True once the engine was usable; until then it is replaced without waiting for failed probes
        self.proven = _is_able(self.now.status)

    def choose(self, failures: Mapping[Engine, int]) -> bool:
        """Update the choice; return whether it changed. `failures`: consecutive failed probes."""
        at = self.order.index(self.now)
        best = next((n for n, one in enumerate(self.order) if _is_able(one.status)), None)
        changed = False
        if best is not None and best != at:
            lost = not _is_alive(self.now.status) and (
                not self.proven or failures[self.now] >= _FAILURES
            )
            if best < at or lost:
                self.now, self.proven, changed = self.order[best], True, True
        self.proven = self.proven or _is_able(self.now.status)
        return changed

    def calm(self, failures: Mapping[Engine, int]) -> bool:
        """Return whether the engine answers, and no better engine is unavailable."""
        better = self.order[: self.order.index(self.now)]
        well = _is_alive(self.now.status) and failures[self.now] == 0
        return well and all(_is_able(one.status) for one in better)


class EngineProber:
    """Periodic probes of engines, with one task per engine, and the numbers of consecutive failures.

    An engine is probed every `interval` seconds; every `seeking` seconds while a better engine than the current one
    is not ready, or the current one fails. Both vary by a tenth, so that processes do not probe simultaneously.
    """

    def __init__(
        self,
        *,
        interval: float = 10.0,
        seeking: float = 2.0,
        first_probe: float = 1.0,
    ) -> None:
        """`first_probe`: seconds that `start` waits for the first probe of all engines."""
        self._interval = interval
        self._seeking = seeking
        self._first_probe = first_probe
        # Number of consecutive failed probes; a reported failure equals a failed probe
        self.failures: Counter[Engine] = Counter()
        # Set to probe an engine immediately
        self._wake: dict[Engine, asyncio.Event] = defaultdict(asyncio.Event)
        # Set after a probe, cleared by a reported failure
        self._probed: dict[Engine, asyncio.Event] = defaultdict(asyncio.Event)
        self._tasks = TaskSet("engines")

    async def start(
        self, engines: Sequence[Engine], is_calm: Callable[[], bool], on_probed: Callable[[], None]
    ) -> None:
        """Start probing. Return after the first probe of each engine, at most after `first_probe` seconds.

        `is_calm()`: whether to probe at the longer interval. `on_probed()` is called after each probe.
        """
        self._is_calm, self._on_probed = is_calm, on_probed
        for engine in engines:
            step = partial(self._probe_and_wait, engine)
            self._tasks.spawn(supervise(step, name="probe", after_failure=1.0), name="probe")
        try:
            async with asyncio.timeout(self._first_probe):
                for engine in engines:
                    await self._probed[engine].wait()
        except TimeoutError:
            for engine in engines:
                if not self._probed[engine].is_set():
                    log.info("engine not probed in time at start", extra={"engine": engine.name})

    async def close(self) -> None:
        """Stop probing. Safe to call twice."""
        await self._tasks.close()
        for probed in self._probed.values():
            probed.set()

    def report_failure(self, engine: Engine) -> None:
        """Record a failure, and probe all engines now."""
        self.failures[engine] = max(1, self.failures[engine])
        self._probed[engine].clear()
        self.probe_all()

    def probe_all(self, but: Engine | None = None) -> None:
        """Probe all engines except `but` now."""
        for engine, wake in self._wake.items():
            if engine is not but:
                wake.set()

    async def wait_probed(self, engine: Engine) -> None:
        """Wait until an engine's reported failure has been probed."""
        if engine in self._probed:
            await self._probed[engine].wait()

    async def _probe_and_wait(self, engine: Engine) -> float:
        """Probe an engine, then wait until its next probe is due."""
        wake, was_calm = self._wake[engine], self._is_calm()
        wake.clear()
        await self._probe(engine)
        # A failure reported during this probe needs another probe.
        if not wake.is_set():
            self._probed[engine].set()
        calm = self._is_calm()
        if was_calm and not calm:
            # Another engine may have become ready since its last probe.
            self.probe_all(engine)
        delay = (self._interval if calm else self._seeking) * random.uniform(0.9, 1.1)
        with suppress(TimeoutError):
            await asyncio.sleep(min(_LEAST_GAP, delay))
            async with asyncio.timeout(max(0.0, delay - _LEAST_GAP)):
                await wake.wait()
        return 0.0

    async def _probe(self, engine: Engine) -> None:
        before, failed = self.failures[engine], True
        try:
            status = await engine.probe()
            failed = not _is_alive(status)
        except Exception as exc:  # noqa: BLE001
            # An error of one engine must not stop the probes of others.
            log.error("probe failed", extra={"engine": engine.name, "error": type(exc).__name__})
        # Count a failure reported during this probe and the probe's own failure only once.
        self.failures[engine] = max(before + 1, self.failures[engine]) if failed else 0
        self._on_probed()


class EngineSelector:
    """Chooses an engine for each role, among `first` and the engines of features, see `add`.

    If there is only one engine, it is never replaced; only its status changes.

    A role in `roles` uses the engine with that name while it is usable, else the engine for answers.
    """

    def __init__(
        self,
        first: Engine,
        *,
        roles: Mapping[Role, str] | None = None,
        prober: EngineProber | None = None,
    ) -> None:
        self._roles = dict(roles or {})
        self._prober = prober or EngineProber()
        # Last status of each engine whose problems are logged here
        self._seen = {first: first.status}
        # Engines of roles, and engines of last resort
        self._reserve: set[Engine] = set()
        self._last: set[Engine] = set()
        self._preferred: Engine | None = None
        self._take([first])
        # Called with the engine for answers after a change of an engine in use or of its status
        self.on_change: list[OnChange] = []

    def _take(self, engines: Sequence[Engine]) -> None:
        self._usual = tuple(engines)
        answers = _Choice(self._get_order(Role.ANSWERS))
        # A role that has no engine of its own shares the choice for answers.
        self._choices = {
            role: _Choice(self._get_order(role)) if self._get_own(role) is not None else answers
            for role in Role
        }
        self._announced = self._get_current()

    def _get_own(self, role: Role) -> Engine | None:
        """Return the configured engine of a role, or None if there is none."""
        name = self._roles.get(role)
        return next((one for one in self._usual if one.name == name), None)

    def _get_order(self, role: Role) -> list[Engine]:
        """Return the engines for a role, best first."""

        def rank(engine: Engine) -> int:
            if engine is self._get_own(role):
                return 0
            if engine is self._preferred and engine not in map(self._get_own, self._roles):
                return 1
            if engine is self._usual[0]:
                return 2
            return 4 if engine in self._last else 3 if engine in self._reserve else 2

        return sorted(self._usual, key=rank)

    def add(
        self,
        engine: Engine,
        *,
        logged_elsewhere: bool = False,
        reserve: bool = False,
        last: bool = False,
    ) -> None:
        """Add an engine before the start: in place of the missing one of its name, else at the end.

        `logged_elsewhere`: another part logs its problems. `reserve`: it has a role, and for other work only engines of
        last resort rank below it. `last`: it is the engine of last resort.
        """
        known = [*self._usual, engine]
        if isinstance(known[0], MissingEngine) and known[0].name == engine.name:
            del self._seen[known[0]]
            known[0] = known.pop()
        if not logged_elsewhere:
            self._seen[engine] = engine.status
        self._reserve |= {engine} if reserve else set()
        self._last |= {engine} if last else set()
        self._take(known)

    @property
    def engines(self) -> Sequence[Engine]:
        """All engines, best first for answers."""
        return self._choices[Role.ANSWERS].order

    @property
    def current(self) -> Engine:
        """The engine for answers."""
        return self._choices[Role.ANSWERS].now

    def of(self, role: Role = Role.ANSWERS) -> Engine:
        """Return the engine in use for a role."""
        return self._choices[role].now

    def uses_fallback(self, role: Role) -> bool:
        """Return whether a role uses an engine other than its own.

        For answers, only an engine of another role is a fallback: the page itself reports the engine of last resort.
        """
        choice, own = self._choices[role], self._get_own(role)
        if own is not None:
            return choice.now is not own
        if role is not Role.ANSWERS or choice.now in self._last:
            return False
        others = map(self._get_own, self._roles)
        return choice.now in others and choice.now is not choice.order[0]

    def get_fallback_notice(self) -> str:
        """Return a sentence for visitors while a role uses a fallback; else ""."""
        return _FALLBACK_NOTICE if any(map(self.uses_fallback, Role)) else ""

    def _get_current(self) -> list[tuple[Engine, EngineStatus]]:
        return [(choice.now, choice.now.status) for choice in self._choices.values()]

    async def start(self) -> None:
        """Start probing. Return after the first probe of each engine, or soon if a probe takes longer."""
        await self._prober.start(self.engines, self._is_calm, self._choose)

    async def close(self) -> None:
        """Stop probing and close all engines. Safe to call twice."""
        await self._prober.close()
        ends = await asyncio.gather(
            *(engine.close() for engine in self.engines), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, Exception):
                log_failure("engine", end, "closing failed")

    def report_failure(self, engine: Engine) -> None:
        """Report a failed request: probe the engine now, and replace it if the probe also fails."""
        if engine in self.engines:
            self._prober.report_failure(engine)

    def reprobe(self) -> None:
        """Choose each role's engine again, and probe all engines at once. Called when an engine's status changes."""
        self._choose()
        self._prober.probe_all()

    def mark_lost(self, engine: Engine) -> None:
        """Replace an engine without a probe, because it has certainly stopped."""
        if engine in self.engines:
            self._prober.failures[engine] = max(_FAILURES, self._prober.failures[engine])
            self.reprobe()

    def prefer(self, engine: Engine | None) -> None:
        """Prefer the engine that an operator chose while it is usable; None: use the default order."""
        if engine is not None and engine not in self.engines:
            return
        self._preferred = engine
        for role in Role:
            if role is Role.ANSWERS or self._get_own(role) is not None:
                self._choices[role].order = tuple(self._get_order(role))
        self._choose()
        self._prober.probe_all()

    async def wait_probed(self, engine: Engine) -> None:
        """Wait until the engine was probed after a reported failure, so that `of` is up to date."""
        await self._prober.wait_probed(engine)

    def _is_calm(self) -> bool:
        return all(choice.calm(self._prober.failures) for choice in self._choices.values())

    def _log_trouble(self) -> None:
        """Log why an engine is unavailable, once per reason."""
        for engine, before in self._seen.items():
            status = self._seen[engine] = engine.status
            if (status.state, status.detail) == (before.state, before.detail):
                continue
            if status.state not in (EngineState.UNREACHABLE, EngineState.MISCONFIGURED):
                continue
            # Info for an engine that was never ready: ENGINE=auto probes vLLM on any machine.
            lost = before.ready or status.state is EngineState.MISCONFIGURED
            log.log(
                logging.WARNING if lost else logging.INFO,
                "engine unavailable",
                extra={"engine": engine.name, "state": str(status.state), "reason": status.detail},
            )

    def _choose(self) -> None:
        self._log_trouble()
        for role, choice in self._choices.items():
            if choice.choose(self._prober.failures):
                log.info(
                    "engine of a role changed", extra={"role": str(role), "engine": choice.now.name}
                )
        now = self._get_current()
        if now != self._announced:
            self._announced = now
            self._announce()

    def _announce(self) -> None:
        for callback in list(self.on_change):
            try:
                callback(self.current)
            except Exception as exc:  # noqa: BLE001
                # An error of one listener must not affect others.
                log.error("engine listener failed", extra={"error": type(exc).__name__})


def _is_able(status: EngineStatus) -> bool:
    """Return whether an engine is ready and accepts pictures."""
    return status.ready and status.capabilities.images


def _is_alive(status: EngineStatus) -> bool:
    """Return whether an engine accepts pictures, and is ready or busy (which is not a failure)."""
    return status.state in (EngineState.READY, EngineState.BUSY) and status.capabilities.images


class MissingEngine:
    """Placeholder for the engine named by the setting ENGINE if no feature provides it; it never answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = EngineStatus(
            EngineState.MISCONFIGURED,
            f"ENGINE is {name}, but no enabled feature provides this engine. Add the feature to FEATURES, or set ENGINE"
            " to auto or vllm.",
            capabilities=Capabilities(images=False),
        )

    async def probe(self) -> EngineStatus:
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        raise EngineUnavailable(self.status.detail)
        yield

    async def close(self) -> None:
        """Do nothing."""
