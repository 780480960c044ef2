"""Replicas of an installation: names, liveness, load, and the choice for a new session.

Each process reports to Redis every few seconds and reads the reports of the others in the same step.
A report has a name, two numbers and a draining flag, and expires. Without an answer each process uses
the reports read last. Redis may have lost the list after a restart: then the earlier reports are used
in addition, until the others have had time to report again.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from server.auth import new_session_id
from server.core.aio import TaskSet
from server.features.cluster.shared_limits import SharedEnds, SharedSlots, Store, get_text
from server.session_manager import Replicas, SessionManager

log = logging.getLogger(__name__)

# A session's id begins with the name of its process. On several hosts the name has two parts, host and
# process: h1_8010.
#
# deploy/nginx.conf reads the name from the socket's path or ?session= and maps it to one of its own
# upstreams. A name that is not in its list reaches any process; a process refuses sessions of another
# name, whatever the id says.

# Lower case: nginx's `map` ignores case. The random part has 22 characters, so that an id without a name
# is never mistaken for one with a name.
NAME = r"[a-z0-9]{1,16}(?:_[a-z0-9]{1,16})?"
_NAMED = re.compile(rf"(?P<name>{NAME})-[A-Za-z0-9_-]{{22}}", re.ASCII)


def make_session_id(name: str) -> str:
    """Return a new session id for the process of that name; "" for any."""
    return f"{name}-{new_session_id()}" if name else new_session_id()


def is_home(name: str, session_id: str) -> bool:
    """Return True if the session belongs to the process of that name; "" accepts every session."""
    if not name:
        return True
    named = _NAMED.fullmatch(session_id)
    return named is not None and named["name"] == name


# The list of replicas

# Time without a report after which a replica counts as gone, seconds: three intervals of
# `redis_store.PROBE_SECONDS`
REPORT_SECONDS = 15
# Validity of the last reports while Redis does not answer, seconds
KNOWN_SECONDS = 60.0
# Time after the return of Redis within which live replicas report again, seconds: less than the interval
# of reports, more than `redis_store.TRY_SECONDS`
BACK_SECONDS = 4.0
# Maximum reports that are read, the newest ones
MOST_REPLICAS = 100
# A new session stays at the replica that it reached, unless that one's load exceeds the overall load by
# this fraction of its sessions.
UNEVEN = 0.1
# Maximum characters of a report
_MOST_CHARS = 32
_REPORT = re.compile(r"(\d{1,6}) (\d{1,6}) ([01])", re.ASCII)
_NAME = re.compile(NAME, re.ASCII)
# KEYS: names by the time of their last report, reports by name. ARGV: the own name, the own report,
# seconds, the maximum number of reports. The result ends with NEW when the own name was not in the list.
NEW = "new"
REPORT = f"""
local time = redis.call('TIME')
local at = tonumber(time[1])
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[1], at, ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at - ARGV[3], 'LIMIT', 0, ARGV[4])
for _, name in ipairs(old) do
  redis.call('ZREM', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
end
while redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[4]) do
  local oldest = redis.call('ZPOPMIN', KEYS[1])
  redis.call('HDEL', KEYS[2], oldest[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
local names = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[4] - 1)
local found = {{}}
for at, name in ipairs(names) do
  found[2 * at - 1] = name
  found[2 * at] = redis.call('HGET', KEYS[2], name) or ''
end
if not known then found[#found + 1] = '{NEW}' end
return found
"""


@dataclass(frozen=True, slots=True)
class Replica:
    """Report of one replica. `most`: its maximum number of sessions."""

    name: str
    sessions: int
    most: int
    draining: bool = False

    @property
    def free(self) -> int:
        """Number of sessions that the replica can still accept."""
        return 0 if self.draining else max(0, self.most - self.sessions)

    def encode(self) -> str:
        return f"{min(self.sessions, 999_999)} {min(self.most, 999_999)} {int(self.draining)}"

    @classmethod
    def read(cls, name: str, report: str) -> Replica | None:
        """Parse a report; None if malformed."""
        found = _REPORT.fullmatch(report)
        if _NAME.fullmatch(name) is None or found is None:
            return None
        return cls(name, int(found[1]), int(found[2]), found[3] == "1")


class ReplicaList:
    """List of the other replicas; empty without a name or without Redis.

    Bounds of the list of replicas: the newest 100 reports, each expiring after 15 s; without an answer
    the last ones are used for 60 s.
    """

    def __init__(self, own: Callable[[], Replica], store: Store) -> None:
        """`own`: returns this process's report."""
        self.own = own
        self._store = store
        # Other replicas by name, with the time when each was last in the list
        self._others: dict[str, tuple[Replica, float]] = {}
        # Time at which Redis returned, perhaps without its list
        self._back_at = float("-inf")
        # True if the last report got no answer
        self._missed = False
        # Number of new sessions assigned to another replica
        self.sent_on = 0
        # True if the last list was full: replicas may be missing, because each report evicts another one
        self.crowded = False

    async def report(self, now: float) -> None:
        """Send this replica's report and read the others; call it several times within REPORT_SECONDS."""
        own = self.own()
        if own.name:
            self._take(await self._run(own.name, own.encode()), now)

    async def leave(self) -> None:
        own = self.own()
        if own.name:
            await self._run(own.name, "")

    async def _run(self, name: str, report: str) -> Any:
        keys = [self._store.name("gateways"), self._store.name("gateway-reports")]
        return await self._store.run(REPORT, keys, name, report, REPORT_SECONDS, MOST_REPLICAS)

    def _take(self, reply: Any, now: float) -> None:
        if reply is None:
            # The list may be lost or outdated when Redis answers again.
            self._missed = True
            return
        own = self.own().name
        crowded = len(reply) >= 2 * MOST_REPLICAS
        if crowded and not self.crowded:
            log.warning(
                "the list of gateways is full: further ones are missing. Split the installation into parts,"
                " each with its own Redis",
                extra={"count": MOST_REPLICAS},
            )
        self.crowded = crowded
        words = [_read_text(word) for word in reply[: 2 * MOST_REPLICAS]]
        forgotten = bool(reply) and _read_text(reply[-1]) == NEW
        if (forgotten or self._missed) and self._others:
            self._back_at = now
        self._missed = False
        read = (Replica.read(*pair) for pair in zip(words[::2], words[1::2], strict=False))
        found = {one.name: (one, now) for one in read if one is not None and one.name != own}
        if now - self._back_at < BACK_SECONDS and not crowded:
            # A replica missing from the list expires after KNOWN_SECONDS, however often Redis restarts.
            known = self._others.items()
            found = {name: one for name, one in known if now - one[1] < KNOWN_SECONDS} | found
        self._others = found

    def list_others(self, now: float) -> tuple[Replica, ...]:
        return tuple(one for one, at in self._others.values() if now - at < KNOWN_SECONDS)

    def count_states(self, now: float) -> dict[str, int]:
        """Return the number of other replicas by state: open, full, draining."""
        counts = dict.fromkeys(("open", "full", "draining"), 0)
        for one in self.list_others(now):
            counts["draining" if one.draining else "open" if one.free else "full"] += 1
        return counts

    def can_take(self, now: float) -> bool:
        return any(one.free for one in self.list_others(now))

    def choose(self, now: float) -> str:
        """Return the name of the replica for a new session: this one, unless it drains, is full, or is
        clearly more loaded than all together.

        The others are chosen at random by free sessions, so that new sessions between two reports do
        not all reach the same replica.
        """
        own = self.own()
        others = [one for one in self.list_others(now) if one.free]
        if own.free:
            share = _share([own])
            if share <= _share([own, *others]) + UNEVEN:
                return own.name
            others = [one for one in others if _share([one]) < share]
        if not others:
            return own.name
        self.sent_on += 1
        drawn = secrets.randbelow(sum(one.free for one in others))
        for one in others:
            drawn -= one.free
            if drawn < 0:
                return one.name
        raise AssertionError("a session beyond all free ones")


def _share(some: Sequence[Replica]) -> float:
    return sum(one.sessions for one in some) / max(1, sum(one.most for one in some))


def _read_text(word: str | bytes) -> str:
    return get_text(word)[:_MOST_CHARS]


# This process within its installation: the place of sessions, and shared state


class Cluster(Replicas):
    def __init__(
        self, name: str, store: Store, sessions: SessionManager, *, here: int, most: int
    ) -> None:
        """`name`: name of this process; `here`: its maximum sessions, of `most` in all."""
        self._name = name
        self.store = store
        self._here = here
        self._sessions = sessions
        self.replicas = ReplicaList(self._report, store)
        self._slots = SharedSlots(store, most, lambda: sessions.capacity.holders)
        self._ends = SharedEnds(store)
        # Callbacks for what was ended at another process, by kind
        self._enders: dict[str, Callable[[str], Awaitable[object]]] = {}

    def _report(self) -> Replica:
        sessions = self._sessions
        return Replica(self._name, len(sessions), self._here, bool(sessions.capacity.closed))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Probe the store once, then keep the shared state up to date."""
        # `probe` has its own time limit.
        await self.store.probe()
        await self._exchange()
        tasks = TaskSet("cluster")
        tasks.spawn(self.store.watch(self._keep), name="redis")
        try:
            yield
        finally:
            await tasks.close()

    async def _keep(self) -> None:
        await self._sessions.capacity.make_room(await self._slots.keep())
        await self._exchange()

    async def _exchange(self) -> None:
        """Report this process, and end sessions that an operator ended at another one."""
        await self.replicas.report(time.monotonic())
        listed = await self._ends.read()
        if listed is None:
            return
        for name in listed.names:
            kind, _, rest = name.rpartition(" ")
            if not kind:
                await self._sessions.revoke(rest)
            elif (end := self._enders.get(kind)) is not None:
                await end(rest)
        await self._sessions.revoke_all(listed.before)

    def on_end(self, kind: str, end: Callable[[str], Awaitable[object]]) -> None:
        """Register `end(name)` for each `kind name` announced by another process."""
        self._enders[kind] = end

    def health(self) -> dict[str, Any]:
        """Return the state of the shared limits and the other replicas' last reports, for /health."""
        others = self.replicas.list_others(time.monotonic())
        return {"limits": self.store.report(), "gateways": [asdict(one) for one in others]}

    # Replicas

    @property
    def named(self) -> bool:
        return bool(self._name)

    def new_id(self) -> str:
        return make_session_id(self._name)

    def choose_id(self) -> str:
        return make_session_id(self.replicas.choose(time.monotonic()))

    def is_home(self, session_id: str) -> bool:
        return is_home(self._name, session_id)

    def can_take(self) -> bool:
        return self.replicas.can_take(time.monotonic())

    async def take(self, name: str) -> bool:
        return await self._slots.take(name)

    async def leave(self, name: str) -> None:
        await self._slots.leave(name)

    def has_peers(self) -> bool:
        return self._ends.heard

    async def announce_end(self, name: str) -> bool:
        return await self._ends.announce_end(name)

    async def announce_end_of_all(self, before: int) -> bool:
        return await self._ends.announce_end_of_all(before)
