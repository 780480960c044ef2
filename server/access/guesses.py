"""Limit the wrong codes and tokens that are looked at: of one address, and of all addresses together.

The second bound is for who has many addresses. While it is reached, codes are looked at as slowly as it fills again,
also right ones; an address that brought a right one before is not held up. RATE_LIMIT_PER_MINUTE lifts neither.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from server.access.shared_limits import GUESS, Store
from server.core.addresses import AddressLimiter, Limiter, limiter_key

# Wrong ones that an address may bring at once, and all addresses together; each is full again after WINDOW seconds.
FLOOR, BUDGET, WINDOW = 20, 120, 1200.0
# Addresses that brought a right one; the one unheard of longest goes.
MAX_KNOWN = 10_000


class Guesses:
    """Guesses at one secret. Over several processes where there is a store that answers; else for this one alone."""

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
        """Decide whether somebody at `address` may hear if what they brought is right: None, or the seconds to wait.

        A wrong one counts, unless it has to wait: then nothing was said of it. A right one costs nothing.
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
        told = await self._store.run(
            GUESS, [self._store.name("guesses", self._kind)], *self._size, int(count)
        )
        if told is None:
            return own
        return float(told) if told else None


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """Guesses at each secret that strangers may try."""

    codes: Guesses
    pairing: Guesses
    operator: Guesses
    metrics: Guesses

    @classmethod
    def over(cls, store: Store | None) -> GuessLimits:
        """`store`: where several processes count together; None for this one alone."""
        return cls(*(Guesses(kind, store) for kind in ("codes", "pairing", "operator", "metrics")))
