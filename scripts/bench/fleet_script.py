"""The faults of a fleet's measurement: how each begins, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

from scripts.bench.fleet import Fleet

FAULTS = ("drain", "kill", "engine", "slow", "redis", "redis-kill", "partition")
# Without hosts of their own
NOT_APART = FAULTS[:-1]
SLOW_FACTOR = 10.0
# A drained gateway has DRAIN_SECONDS of 10, and some for its end.
DRAINED_SECONDS = 40.0
# The shortest time of a fault (seconds): a Redis that is gone for less is nothing to notice.
LEAST = {"redis": 30.0, "redis-kill": 30.0, "partition": 15.0}

Step = Callable[[], Awaitable[None]]


class Script:
    """Breaks a part, and mends it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # The host that a partition cuts off, with its gateways
        self._far = fleet.size.gateway_names()[-1][0]
        last = fleet.engines[-1]
        self._steps: dict[str, tuple[Step, Step]] = {
            "drain": (self._drain, self._drained),
            "kill": (self._kill, lambda: fleet.restart(1)),
            "engine": (fleet.engines[0].kill, lambda: fleet.revive(0)),
            "slow": (lambda: last.slow(SLOW_FACTOR), lambda: last.slow(1)),
            "redis": (self._hang_redis, self._go_on_redis),
            "redis-kill": (fleet.redis.kill, fleet.redis.start),
            "partition": (
                lambda: fleet.hosts.cut(self._far),
                lambda: fleet.hosts.mend(self._far),
            ),
        }

    async def begin(self, fault: str) -> None:
        await self._steps[fault][0]()

    async def end(self, fault: str) -> None:
        await self._steps[fault][1]()

    async def _drain(self) -> None:
        self._fleet.gateways[0].signal(signal.SIGTERM)

    async def _drained(self) -> None:
        await self._fleet.gateways[0].ended(DRAINED_SECONDS)
        await self._fleet.restart(0)

    async def _kill(self) -> None:
        self._fleet.gateways[1].signal(signal.SIGKILL)

    async def _hang_redis(self) -> None:
        self._fleet.redis.signal(signal.SIGSTOP)

    async def _go_on_redis(self) -> None:
        self._fleet.redis.signal(signal.SIGCONT)
