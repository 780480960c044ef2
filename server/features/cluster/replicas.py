"""The replicas of an installation: their names, the living ones, their load, and the choice for a
new session.

Each process reports itself to Redis every few seconds and reads the reports of the others in the
same step. A report has a name, two numbers and whether it drains, and expires. Without an answer
each process goes on with what it read last. Redis that comes back may have forgotten the list: then
what was read before counts beside it until the others have had time to report again.
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
from server.features.cluster.shared_limits import SharedEnds, SharedSlots, Store, text_of
from server.session_manager import Replicas, SessionManager

log = logging.getLogger(__name__)

# The process that a session lives in: its name begins the session's id. On several hosts the name
# has two parts, the host's and the process's: h1_8010.
#
# deploy/nginx.conf reads the name from the socket's path or ?session= and maps it to one of its own
# upstreams. A name that is not in its list reaches any process; a process refuses sessions of another
# name, whatever the id says.

# Lower case: nginx's `map` ignores case. The random part has 22 characters, so an id without a name
# is never taken for one with a name.
NAME = r"[a-z0-9]{1,16}(?:_[a-z0-9]{1,16})?"
_NAMED = re.compile(rf"(?P<name>{NAME})-[A-Za-z0-9_-]{{22}}", re.ASCII)


def session_of(name: str) -> str:
    """Make the id of a new session, which leads to the process of that name; "" is any."""
    return f"{name}-{new_session_id()}" if name else new_session_id()


def is_home(name: str, session_id: str) -> bool:
    """Find whether the session began, or may begin, at the process of that name; one without takes every session."""
    if not name:
        return True
    named = _NAMED.fullmatch(session_id)
    return named is not None and named["name"] == name


# The list of replicas

# A replica that reported nothing for this long is gone (seconds): three intervals of
# `redis_store.PROBE_SECONDS`.
REPORT_SECONDS = 15
# The last reports count for this long when Redis is gone (seconds).
KNOWN_SECONDS = 60.0
# A replica that lives has reported again so long after Redis came back (seconds): less than the
# interval of the reports, more than `redis_store.TRY_SECONDS`.
BACK_SECONDS = 4.0
# Reports that are read, the newest; more replicas than this do not know each other.
MOST_REPLICAS = 100
# A newcomer stays at the replica that it reached, until that has so much more of its sessions taken
# than all replicas together (share of the sessions).
UNEVEN = 0.1
# Characters of a report that are read
_MOST_CHARS = 32
_REPORT = re.compile(r"(\d{1,6}) (\d{1,6}) ([01])", re.ASCII)
_NAME = re.compile(NAME, re.ASCII)
# KEYS: names by the time of their last report, reports by name. ARGV: the own name, the own report,
# seconds, the most. The result ends with NEW when the own name was not in the list.
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
    """One replica's report. `most`: the sessions that it takes."""

    name: str
    sessions: int
    most: int
    draining: bool = False

    @property
    def free(self) -> int:
        """Sessions that it can begin."""
        return 0 if self.draining else max(0, self.most - self.sessions)

    def encode(self) -> str:
        return f"{min(self.sessions, 999_999)} {min(self.most, 999_999)} {int(self.draining)}"

    @classmethod
    def read(cls, name: str, report: str) -> Replica | None:
        """Read a report; None for one that no replica writes."""
        found = _REPORT.fullmatch(report)
        if _NAME.fullmatch(name) is None or found is None:
            return None
        return cls(name, int(found[1]), int(found[2]), found[3] == "1")


class ReplicaList:
    """The replicas that this one knows. One without a name, or without Redis, knows none.

    Bounds of the list of replicas: names, loads, which one drains: the newest 100 reports, each
    gone after 15 s; without an answer what was read last holds for 60 s.
    """

    def __init__(self, own: Callable[[], Replica], store: Store) -> None:
        """`own` returns this process's report."""
        self.own = own
        self._store = store
        # The others by name, and when each was in the list last
        self._others: dict[str, tuple[Replica, float]] = {}
        # When Redis came back, perhaps without its list
        self._back_at = float("-inf")
        # The last report got no answer.
        self._missed = False
        # New sessions that got the name of another replica
        self.sent_on = 0
        # The last list was full: replicas may be missing in it, and each report drives another one out.
        self.crowded = False

    async def report(self, now: float) -> None:
        """Report this replica, and read the others; call it several times in REPORT_SECONDS."""
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
            # Its list may be gone, or old, when Redis answers again.
            self._missed = True
            return
        own = self.own().name
        crowded = len(reply) >= 2 * MOST_REPLICAS
        if crowded and not self.crowded:
            log.warning(
                "the list of gateways is full: further ones are not in it. Split the installation into parts,"
                " each with a Redis of its own",
                extra={"count": MOST_REPLICAS},
            )
        self.crowded = crowded
        words = [_text(word) for word in reply[: 2 * MOST_REPLICAS]]
        forgotten = bool(reply) and _text(reply[-1]) == NEW
        if (forgotten or self._missed) and self._others:
            self._back_at = now
        self._missed = False
        read = (Replica.read(*pair) for pair in zip(words[::2], words[1::2], strict=False))
        found = {one.name: (one, now) for one in read if one is not None and one.name != own}
        if now - self._back_at < BACK_SECONDS and not crowded:
            # Who is in no list any more is gone after KNOWN_SECONDS, however often Redis comes back.
            known = self._others.items()
            found = {name: one for name, one in known if now - one[1] < KNOWN_SECONDS} | found
        self._others = found

    def others(self, now: float) -> tuple[Replica, ...]:
        return tuple(one for one, at in self._others.values() if now - at < KNOWN_SECONDS)

    def states(self, now: float) -> dict[str, int]:
        """Count the other replicas: open, full, draining."""
        counts = dict.fromkeys(("open", "full", "draining"), 0)
        for one in self.others(now):
            counts["draining" if one.draining else "open" if one.free else "full"] += 1
        return counts

    def can_take(self, now: float) -> bool:
        return any(one.free for one in self.others(now))

    def choose(self, now: float) -> str:
        """Return the name of the replica for a new session: this one, unless it drains, is full, or
        has clearly more of its sessions taken than all together.

        Among the others each free session is as likely as any other, so that newcomers between two
        reports do not all meet at one replica.
        """
        own = self.own()
        others = [one for one in self.others(now) if one.free]
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


def _text(word: str | bytes) -> str:
    return text_of(word)[:_MOST_CHARS]


# This process among those of its installation: where sessions live, and what all of them share


class Cluster(Replicas):
    def __init__(
        self, name: str, store: Store, sessions: SessionManager, *, here: int, most: int
    ) -> None:
        """`name`: of this process; `here`: its sessions, at most, of `most` in all."""
        self._name = name
        self.store = store
        self._here = here
        self._sessions = sessions
        self.replicas = ReplicaList(self._report, store)
        self._slots = SharedSlots(store, most, lambda: sessions.capacity.holders)
        self._ends = SharedEnds(store)
        # What ends something here that has ended at another process, by the kind before its name
        self._enders: dict[str, Callable[[str], Awaitable[object]]] = {}

    def _report(self) -> Replica:
        sessions = self._sessions
        return Replica(self._name, len(sessions), self._here, bool(sessions.capacity.closed))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Ask the store once before anybody else does, then keep what is shared up to date."""
        # It has its own time limit.
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
        """Report this process, and end here what an operator ended at another one."""
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
        """Have `end(name)` called for each `kind name` that another process announces."""
        self._enders[kind] = end

    def health(self) -> dict[str, Any]:
        """Return what is shared, and the others as they last reported, for /health."""
        others = self.replicas.others(time.monotonic())
        return {"limits": self.store.report(), "gateways": [asdict(one) for one in others]}

    # Replicas

    @property
    def named(self) -> bool:
        return bool(self._name)

    def new_id(self) -> str:
        return session_of(self._name)

    def choose_id(self) -> str:
        return session_of(self.replicas.choose(time.monotonic()))

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
