"""This process among those of its installation: where sessions live, and what all of them share."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from server.auth import new_session_id
from server.core.aio import TaskSet
from server.features.cluster.replicas import HomeProcess, Replica, ReplicaList
from server.features.cluster.shared_limits import END_SECONDS, SharedEnds, SharedSlots
from server.session_manager import Replicas, SessionManager

if TYPE_CHECKING:
    from server.features.cluster.redis_store import RedisStore

log = logging.getLogger(__name__)


class Cluster(Replicas):
    """This process, and its way to the others. Without `store` it has its name alone."""

    def __init__(
        self,
        home: HomeProcess,
        store: RedisStore | None,
        sessions: SessionManager,
        *,
        here: int,
        most: int,
    ) -> None:
        """`here`: sessions of this process, at most, of `most` in all."""
        self.home = home
        self.store = store
        self._here = here
        self._sessions = sessions
        self.replicas = ReplicaList(self._report, store)
        self._slots = self._ends = None
        # What ends something here that has ended at another process, by the kind before its name
        self._enders: dict[str, Callable[[str], Awaitable[None]]] = {}
        if store is not None:
            self._slots = SharedSlots(store, most, lambda: sessions.holders)
            self._ends = SharedEnds(store, END_SECONDS)

    def _report(self) -> Replica:
        sessions = self._sessions
        return Replica(self.home.name, len(sessions), self._here, bool(sessions.closed))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Ask the store once before anybody else does, then keep what is shared up to date."""
        if self.store is None:
            log.info("limits hold for this process alone: REDIS_URL is empty")
            yield
            return
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
        if self._slots is not None:
            await self._sessions.make_room(await self._slots.keep())
        await self._exchange()

    async def _exchange(self) -> None:
        """Report this process, and end here what an operator ended at another one."""
        await self.replicas.report(time.monotonic())
        listed = await self._ends.read() if self._ends is not None else None
        if listed is None:
            return
        for name in listed.names:
            kind, _, rest = name.rpartition(" ")
            if not kind:
                await self._sessions.take_back(rest)
            elif (end := self._enders.get(kind)) is not None:
                await end(rest)
        await self._sessions.take_all_back(listed.before)

    def on_end(self, kind: str, end: Callable[[str], Awaitable[None]]) -> None:
        """Have `end(name)` called for each `kind name` that another process announces."""
        self._enders[kind] = end

    def health(self) -> dict[str, Any]:
        """Return what is shared, and the others as they last reported, for /health."""
        limits: dict[str, str | bool] = {
            "shared": False,
            "reason": "REDIS_URL is empty: limits hold for each process alone",
        }
        if self.store is not None:
            limits = self.store.report()
        others = self.replicas.others(time.monotonic())
        return {"limits": limits, "gateways": [one.seen() for one in others]}

    # Replicas

    @property
    def named(self) -> bool:
        return bool(self.home.name)

    def new_id(self) -> str:
        return self.home.name_session(new_session_id)

    def choose_id(self) -> str:
        return self.home.name_session(new_session_id, self.replicas.choose(time.monotonic()))

    def is_home(self, session_id: str) -> bool:
        return self.home.is_home(session_id)

    def can_take(self) -> bool:
        return self.replicas.can_take(time.monotonic())

    async def take(self, name: str) -> bool:
        return self._slots is None or await self._slots.take(name)

    async def leave(self, name: str) -> None:
        if self._slots is not None:
            await self._slots.leave(name)

    def hear(self) -> bool:
        return self._ends is not None and self._ends.heard

    async def announce_end(self, name: str) -> bool:
        return self._ends is not None and await self._ends.announce_end(name)

    async def announce_end_of_all(self, before: int) -> bool:
        return self._ends is not None and await self._ends.announce_end_of_all(before)
