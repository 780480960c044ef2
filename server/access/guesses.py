"""Limit the checks of wrong codes and tokens: per address, and over all addresses.

The second limit is against attackers with many addresses. While it is exhausted, right codes wait
like wrong ones, except from an address that had a right one before. RATE_LIMIT_PER_MINUTE changes
neither limit.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from server.access.shared_limits import GUESS, Store
from server.core.addresses import AddressLimiter, Limiter, limiter_key

# Wrong ones at once per address, and over all addresses; each limit is refilled within WINDOW
# seconds.
FLOOR, BUDGET, WINDOW = 20, 120, 1200.0
# Addresses that had a right one; the least recently used is dropped.
MAX_KNOWN = 10_000


class Guesses:
    """Limits guesses at one secret, over several processes while a store answers, else for this
    one.

    Bounds of wrong codes and tokens, and addresses with right ones: 20 per address, 120 in all,
    refilled within 20 minutes; 10,000 addresses each, the least recently used is dropped.
    """

    def __init__(
        self,
        kind: str,
        store: Store | None = None,
        *,
        floor: int = FLOOR,
        budget: int = BUDGET,
        window: float = WINDOW,
    ) -> None:
        self._kind = kind
        self._store = store
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
        if self._store is None:
            return own
        reply = await self._store.run(
            GUESS, [self._store.name("guesses", self._kind)], *self._size, int(count)
        )
        if reply is None:
            return own
        return float(reply) if reply else None


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """The limits for each secret that strangers can guess."""

    codes: Guesses
    pairing: Guesses
    operator: Guesses
    metrics: Guesses

    @classmethod
    def over(cls, store: Store | None) -> GuessLimits:
        """Create the limits. `store`: shared by several processes; None for this one."""
        return cls(*(Guesses(kind, store) for kind in ("codes", "pairing", "operator", "metrics")))
