"""Choose the engine of each role: the best one that is ready, by readiness and capability only."""

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
# Failed probes in a row after which an engine is left; a failure that was reported counts as one.
_FAILURES = 2
# Seconds between two probes, however many failures are reported
_LEAST_GAP = 0.2
# The text for visitors while the engine of a role is gone
_FALLBACK_NOTICE = "Primary model unavailable; using the fallback."


class _Choice:
    """The engine that does a role's work: the best able one of `order`."""

    def __init__(self, order: Sequence[Engine]) -> None:
        self.order = tuple(order)
        self.now = next((one for one in self.order if _able(one.status)), self.order[0])
        # It has been ready before; one that never was is left at once.
        self.proven = _able(self.now.status)

    def choose(self, failures: Mapping[Engine, int]) -> bool:
        """Choose again; return whether it is another one. `failures`: failed probes in a row."""
        at = self.order.index(self.now)
        best = next((n for n, one in enumerate(self.order) if _able(one.status)), None)
        changed = False
        if best is not None and best != at:
            lost = not _alive(self.now.status) and (
                not self.proven or failures[self.now] >= _FAILURES
            )
            if best < at or lost:
                self.now, self.proven, changed = self.order[best], True, True
        self.proven = self.proven or _able(self.now.status)
        return changed

    def calm(self, failures: Mapping[Engine, int]) -> bool:
        """Return whether it answers, and nothing better is missing."""
        better = self.order[: self.order.index(self.now)]
        well = _alive(self.now.status) and failures[self.now] == 0
        return well and all(_able(one.status) for one in better)


class EngineProber:
    """Probes engines, each in a task of its own, and counts the failed probes in a row.

    An engine is probed every `interval` seconds, every `seeking` seconds while a better one than the current is not
    ready or the current one is in doubt; both are varied by a tenth, so that processes do not probe in step.
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
        # Failed probes in a row; a reported failure counts as one
        self.failures: Counter[Engine] = Counter()
        # Set to probe an engine now
        self._wake: dict[Engine, asyncio.Event] = defaultdict(asyncio.Event)
        # Set once an engine was probed, while none of its reported failures waits for a probe
        self._probed: dict[Engine, asyncio.Event] = defaultdict(asyncio.Event)
        self._tasks = TaskSet("engines")

    async def start(
        self, engines: Sequence[Engine], is_calm: Callable[[], bool], on_probed: Callable[[], None]
    ) -> None:
        """Start to probe; return after the first probe of each, at most after `first_probe` seconds.

        `is_calm()`: nothing better is missing; `on_probed()` is called after each probe.
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
            log.info("an engine is slow to answer its first probe")

    async def close(self) -> None:
        """Stop probing. Safe to call twice."""
        await self._tasks.close()
        for probed in self._probed.values():
            probed.set()

    def report_failure(self, engine: Engine) -> None:
        """Count a failure, and probe now."""
        self.failures[engine] = max(1, self.failures[engine])
        self._probed[engine].clear()
        self.probe_all()

    def probe_all(self, but: Engine | None = None) -> None:
        """Probe all engines now, but this one."""
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
        # A failure that was reported during this probe needs the next one.
        if not wake.is_set():
            self._probed[engine].set()
        calm = self._is_calm()
        if was_calm and not calm:
            # One that can take over may have come up since its last probe.
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
            failed = not _alive(status)
        except Exception as exc:  # noqa: BLE001
            # One engine's mistake must not end the probing of all.
            log.error("probe failed", extra={"engine": engine.name, "error": type(exc).__name__})
        # It may have failed only by what was reported meanwhile: both count once.
        self.failures[engine] = max(before + 1, self.failures[engine]) if failed else 0
        self._on_probed()


class EngineSelector:
    """`first` and the engines of features, which `add` takes in.

    One engine alone is a fixed choice: it is never replaced, only its status changes.

    A role of `roles` has the engine of that name, while it is able; else the one that answers does its
    work.
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
        # The last state of each engine whose troubles are logged here
        self._seen = {first: first.status}
        # Those of roles, and those that are worse
        self._reserve: set[Engine] = set()
        self._last: set[Engine] = set()
        self._preferred: Engine | None = None
        self._take([first])
        # Called with the engine that answers, when it or a status of those in use has changed
        self.on_change: list[OnChange] = []

    def _take(self, engines: Sequence[Engine]) -> None:
        self._usual = tuple(engines)
        answers = _Choice(self._order(Role.ANSWERS))
        # A role without an engine of its own has the choice of the one that answers.
        self._choices = {
            role: _Choice(self._order(role)) if self._own(role) is not None else answers
            for role in Role
        }
        self._announced = self._now()

    def _own(self, role: Role) -> Engine | None:
        """Return the engine that the settings name for a role; None without one."""
        name = self._roles.get(role)
        return next((one for one in self._usual if one.name == name), None)

    def _order(self, role: Role) -> list[Engine]:
        """Return the engines for a role, best first."""

        def rank(engine: Engine) -> int:
            if engine is self._own(role):
                return 0
            if engine is self._preferred and engine not in map(self._own, self._roles):
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
        """Take in a further engine before the start: in place of the missing one of its name, else last.

        `logged_elsewhere`: another part logs why it does not answer. `reserve`: it has a role, and no
        other work while an engine without one is there; `last`: no other one is worse.
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
        """The engine that answers."""
        return self._choices[Role.ANSWERS].now

    def of(self, role: Role = Role.ANSWERS) -> Engine:
        """Return the engine that does a role's work now."""
        return self._choices[role].now

    def uses_fallback(self, role: Role) -> bool:
        """Return whether the engine of a role does not answer, and that of another role stands in for it.

        For answers that is not said of the worst one, which the page names in its own way.
        """
        choice, own = self._choices[role], self._own(role)
        if own is not None:
            return choice.now is not own
        if role is not Role.ANSWERS or choice.now in self._last:
            return False
        others = map(self._own, self._roles)
        return choice.now in others and choice.now is not choice.order[0]

    def fallback_notice(self) -> str:
        """Return a sentence for visitors while an engine does the work of another one; else ""."""
        return _FALLBACK_NOTICE if any(map(self.uses_fallback, Role)) else ""

    def _now(self) -> list[tuple[Engine, EngineStatus]]:
        return [(choice.now, choice.now.status) for choice in self._choices.values()]

    async def start(self) -> None:
        """Start to probe; return after the first probe of each, or soon without it."""
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
        """Report that an engine did not answer: probe it now, and leave it if that fails, too."""
        if engine in self.engines:
            self._prober.report_failure(engine)

    def probe_soon(self) -> None:
        """An engine's status has changed: choose again at once, and probe now."""
        self._choose()
        self._prober.probe_all()

    def lost(self, engine: Engine) -> None:
        """Report that an engine is gone for certain: it is left at once, without a probe."""
        if engine in self.engines:
            self._prober.failures[engine] = max(_FAILURES, self._prober.failures[engine])
            self.probe_soon()

    def prefer(self, engine: Engine | None) -> None:
        """An operator chose this one: it goes before all others while it is able.

        None: the usual order again.
        """
        if engine is not None and engine not in self.engines:
            return
        self._preferred = engine
        for role in Role:
            if role is Role.ANSWERS or self._own(role) is not None:
                self._choices[role].order = tuple(self._order(role))
        self._choose()
        self._prober.probe_all()

    async def wait_probed(self, engine: Engine) -> None:
        """Wait until this engine's reported failure has been probed and `of` is up to date."""
        await self._prober.wait_probed(engine)

    def _is_calm(self) -> bool:
        return all(choice.calm(self._prober.failures) for choice in self._choices.values())

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
                extra={"engine": engine.name, "state": str(status.state), "reason": status.detail},
            )

    def _choose(self) -> None:
        self._log_trouble()
        for role, choice in self._choices.items():
            if choice.choose(self._prober.failures):
                log.info(
                    "another engine answers", extra={"engine": choice.now.name, "kind": str(role)}
                )
        now = self._now()
        if now != self._announced:
            self._announced = now
            self._announce()

    def _announce(self) -> None:
        for callback in list(self.on_change):
            try:
                callback(self.current)
            except Exception as exc:  # noqa: BLE001
                # A listener's mistake must not keep others from hearing.
                log.error("engine listener failed", extra={"error": type(exc).__name__})


def _able(status: EngineStatus) -> bool:
    """Ready, and takes pictures."""
    return status.ready and status.capabilities.images


def _alive(status: EngineStatus) -> bool:
    """Busy is no failure: it will answer again, and it is the better engine."""
    return status.state in (EngineState.READY, EngineState.BUSY) and status.capabilities.images


class MissingEngine:
    """Stands for an engine that the setting ENGINE names and no feature brings: it says so, and never answers."""

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

    async def close(self) -> None:
        """It has nothing to give back."""
