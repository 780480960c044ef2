"""Access that was taken back, for as long as a token of it could be good. Pure; times are whole seconds since the epoch."""

from __future__ import annotations

import heapq

MAX_REVOKED = 10_000


class Revoked:
    """Names whose tokens open nothing any more, and a time before which no token does.

    A name is kept until the last token of it would be over anyway, `life` seconds after `since`, when its access
    began. Beyond `most` names the one whose access began first goes, and with it all access that began no later:
    a flood of ended names brings no token back, it makes people ask for new ones.
    """

    def __init__(self, life: int, most: int = MAX_REVOKED) -> None:
        self._life = life
        self._most = most
        self._since: dict[str, int] = {}
        # The same, the earliest access first
        self._order: list[tuple[int, str]] = []
        self._before = 0

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, since: int, now: float) -> None:
        """End one."""
        if name not in self._since:
            self._since[name] = since
            heapq.heappush(self._order, (since, name))
        while self._order and self._order[0][0] + self._life <= now:
            self._forget_earliest()
        while len(self._order) > self._most:
            self._before = max(self._before, self._forget_earliest())

    def add_all(self, before: int) -> None:
        """End all access that began at this time or earlier."""
        self._before = max(self._before, before)

    def refuses(self, name: str, since: int) -> bool:
        return name in self._since or since <= self._before

    def begin(self, now: float) -> int:
        """When access that is granted now begins: later than all that was ended, be it in the same second."""
        return max(int(now), self._before + 1)

    def _forget_earliest(self) -> int:
        since, name = heapq.heappop(self._order)
        del self._since[name]
        return since
