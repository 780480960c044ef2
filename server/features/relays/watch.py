"""Check the TURN relays at intervals, as clients use them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from server.auth import turn_credentials
from server.core.aio import supervise
from server.media.patches.ice import Gathering, get_own_addresses
from server.shared.turn_check import RelayProblem, RelayResult, check_relay

log = logging.getLogger(__name__)

# Delay of the first check, so that the first page is served before it
START_SECONDS = 1.0
# Interval while all relays work, long because each check takes an allocation. A failing relay is checked
# more often, to notice its return.
CHECK_SECONDS = 600.0
RETRY_SECONDS = 60.0
# Maximum number of simultaneous checks
_AT_ONCE = 8

# Log lines; /health has the details.
_REASONS = {
    RelayProblem.URL: "its URL is malformed",
    RelayProblem.UNREACHABLE: "it cannot be reached",
    RelayProblem.CERTIFICATE: "its TLS certificate is wrong",
    RelayProblem.CREDENTIALS: "it refuses the credentials derived from TURN_SECRET, which must equal its static-auth-secret",
    RelayProblem.QUOTA: "its quota or its ports are exhausted",
    RelayProblem.DENIED_PEER: "it is not allowed to send to this server: see allowed-peer-ip and PUBLIC_ADDRESSES",
    RelayProblem.NO_WAY_BACK: "no packets pass through it to this server and back",
    RelayProblem.NO_SOCKET: "no local UDP port is free for the check",
    RelayProblem.REFUSED: "it refuses",
}


class RelayWatch:
    """Checker of the relays of `urls`, and owner of the results. Run `run` as a task."""

    def __init__(
        self,
        urls: Sequence[str],
        secret: str,
        ttl: int,
        gathering: Gathering,
        *,
        addresses: Callable[[], list[str]] = get_own_addresses,
    ) -> None:
        self._urls = tuple(urls)
        self._secret = secret
        self._ttl = ttl
        self._gathering = gathering
        self._addresses = addresses
        # None before the first check of a relay has ended
        self._results: dict[str, RelayResult | None] = dict.fromkeys(self._urls)

    def report(self) -> list[dict[str, Any]]:
        """Return {url, ok, problem, why} for each relay, for /health; ok is None before its first check."""
        return [
            (
                {"url": url, "ok": None, "problem": "", "why": "not checked yet"}
                if result is None
                else {
                    "url": url,
                    "ok": result.ok,
                    "problem": result.problem.value,
                    "why": result.why,
                }
            )
            for url, result in self._results.items()
        ]

    def count_working(self) -> int:
        return sum(result is not None and result.ok for result in self._results.values())

    def count_failing(self) -> int:
        return sum(result is not None and not result.ok for result in self._results.values())

    async def run(self) -> None:
        """Check the relays until cancelled; return at once if there are none."""
        if self._urls:
            await asyncio.sleep(START_SECONDS)
            await supervise(self._check_all, name="relays", after_failure=RETRY_SECONDS)

    async def _check_all(self) -> float:
        """Check all relays; return the seconds until the next check."""
        await self.check()
        return CHECK_SECONDS if self.count_working() == len(self._urls) else RETRY_SECONDS

    async def check(self) -> None:
        """Check all relays once, each with its own credentials."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(url: str) -> None:
            async with slots:
                self._learn(await self._check(url))

        async with asyncio.TaskGroup() as tasks:
            for url in self._urls:
                tasks.create_task(one(url), name="relay-check")

    async def _check(self, url: str) -> RelayResult:
        username, password = turn_credentials(self._secret, self._ttl, "check", time.time())
        return await check_relay(
            url,
            username,
            password,
            addresses=self._gathering.get_announced_addresses(self._addresses()),
            reflexive=self._gathering.asks_stun,
            bind=self._gathering.bind,
        )

    def _learn(self, result: RelayResult) -> None:
        before, self._results[result.url] = self._results[result.url], result
        # Log only a changed result.
        if before is None or before.problem is not result.problem:
            seconds = round(result.seconds, 3)
            if result.ok:
                log.info("relay check passed", extra={"relay": result.url, "seconds": seconds})
            else:
                log.warning(
                    "relay check failed",
                    extra={"relay": result.url, "reason": _REASONS[result.problem]},
                )
