"""The limits on requests and on guesses, of this process or, where a feature shares them, of several."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from server.core.addresses import (
    WRONG_CODE_COST,
    AddressLimiter,
    Limiter,
    RequestLimiter,
    limiter_key,
)

# Wrong ones at once per address, and over all addresses; each limit is refilled within WINDOW
# seconds.
FLOOR, BUDGET, WINDOW = 20, 120, 1200.0
# Addresses that had a right one; the least recently used is dropped.
MAX_KNOWN = 10_000


class SharedCounts(Protocol):
    """Counts that several processes share. `RequestLimiter` says what the first three are.

    Those with a result return the seconds to wait, 0 to pass, and None without an answer: then the
    process's own count decides.
    """

    async def anybody(self, address: str) -> float | None: ...
    async def charge(self, address: str, more: int) -> None: ...
    async def session(self, session_id: str, address: str, *, begun: bool) -> float | None: ...
    async def guess(self, kind: str, most: int, seconds: float, *, count: bool) -> float | None:
        """Count a guess at the secret `kind`, of `most` in so many seconds, or look only."""
        ...


class AccessLimiter:
    """A RequestLimiter whose counts several processes may share.

    The process's own one counts all along, and decides while it has no others.
    """

    def __init__(self, own: RequestLimiter) -> None:
        self._own = own
        # Set by a feature
        self.shared: SharedCounts | None = None

    async def anybody(self, address: str, now: float) -> float | None:
        """See `RequestLimiter.anybody`."""
        wait = await self.shared.anybody(address) if self.shared is not None else None
        if wait:
            return wait
        own = self._own.anybody(address, now)
        return own if wait is None else None

    async def wrong_code(self, address: str, now: float) -> None:
        """See `RequestLimiter.wrong_code`."""
        self._own.wrong_code(address, now)
        if self.shared is not None:
            await self.shared.charge(address, WRONG_CODE_COST - 1)

    async def give_back(self, address: str, now: float) -> None:
        """See `RequestLimiter.give_back`."""
        self._own.give_back(address, now)
        if self.shared is not None:
            await self.shared.charge(address, -1)

    async def session(
        self, session_id: str, address: str, now: float, *, begun: bool
    ) -> float | None:
        """See `RequestLimiter.session`; a session of any process counts as begun."""
        wait = None
        if self.shared is not None:
            wait = await self.shared.session(session_id, address, begun=begun)
        if wait:
            return wait
        own = self._own.session(session_id, address, now, begun=begun)
        return own if wait is None else None


class Guesses:
    """Limits guesses at one secret: per address, and over all addresses.

    The second limit is against attackers with many addresses. While it is exhausted, right codes
    wait like wrong ones, except from an address that had a right one before. RATE_LIMIT_PER_MINUTE
    changes neither limit.

    Bounds of wrong codes and tokens, and addresses with right ones: 20 per address, 120 in all,
    refilled within 20 minutes; 10,000 addresses each, the least recently used is dropped.
    """

    def __init__(
        self, kind: str, *, floor: int = FLOOR, budget: int = BUDGET, window: float = WINDOW
    ) -> None:
        self._kind = kind
        # Of the second limit; set by a feature
        self.shared: SharedCounts | None = None
        self._size = budget, window
        self._addresses = AddressLimiter(floor, window=window)
        self._all = Limiter(budget, window=window)
        self._known: OrderedDict[str, None] = OrderedDict()

    async def judge(self, right: bool, address: str, now: float) -> float | None:
        """Return None when the result of a check may be sent to `address`, else the seconds to
        wait.

        A wrong one counts, unless it has to wait, because then the result is not revealed. A right
        one costs nothing.
        """
        wait = self._addresses.take(address, now, count=not right)
        if wait is not None:
            return wait
        key = limiter_key(address)
        if key not in self._known:
            wait = await self._budget(not right, now)
            if wait is not None:
                if not right:
                    self._addresses.charge(address, now, -1)
                return wait
        if right:
            self._known[key] = None
            self._known.move_to_end(key)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return None

    async def _budget(self, count: bool, now: float) -> float | None:
        own = self._all.take(self._kind, now, count=count)
        if self.shared is None:
            return own
        wait = await self.shared.guess(self._kind, *self._size, count=count)
        return own if wait is None else wait or None


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """The limits for each secret that strangers can guess."""

    codes: Guesses = field(default_factory=lambda: Guesses("codes"))
    pairing: Guesses = field(default_factory=lambda: Guesses("pairing"))
    operator: Guesses = field(default_factory=lambda: Guesses("operator"))
    metrics: Guesses = field(default_factory=lambda: Guesses("metrics"))

    @property
    def all(self) -> tuple[Guesses, ...]:
        return self.codes, self.pairing, self.operator, self.metrics
