"""Revoked access, kept until all its tokens have expired.

Pure; times are whole seconds since the epoch.
"""

from __future__ import annotations

import heapq

MAX_REVOKED = 10_000


class Revoked:
    """Names whose tokens are revoked, and a time before which all tokens are.

    A name is kept until its last token has expired, `life` seconds after `since`, the beginning of
    its access. Beyond `most` names the one with the earliest access is dropped, and all access that
    began no later is revoked: so a flood of ended names revives no token, but requires new ones.

    Bounds of ids of ended sessions: until all their tokens have expired, 10,000; beyond, the one
    with the oldest code is dropped, and all tokens of that age become invalid.
    """

    def __init__(self, life: int, most: int = MAX_REVOKED) -> None:
        self._life = life
        self._most = most
        self._since: dict[str, int] = {}
        # The same, earliest access first
        self._order: list[tuple[int, str]] = []
        self._before = 0

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, since: int, now: float) -> None:
        """Revoke one name's access."""
        if name not in self._since:
            self._since[name] = since
            heapq.heappush(self._order, (since, name))
        while self._order and self._order[0][0] + self._life <= now:
            self._forget_earliest()
        while len(self._order) > self._most:
            self._before = max(self._before, self._forget_earliest())

    def add_all(self, before: int, now: float) -> None:
        """Revoke all access that began at this time or earlier; none that begins after `now`."""
        self._before = max(self._before, min(before, int(now)))

    def refuses(self, name: str, since: int) -> bool:
        return name in self._since or since <= self._before

    def begin(self, now: float) -> int:
        """Return the beginning of access granted now, which is later than all revoked ones, also
        within the same second.
        """
        return max(int(now), self._before + 1)

    def _forget_earliest(self) -> int:
        since, name = heapq.heappop(self._order)
        del self._since[name]
        return since
