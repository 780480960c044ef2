"""The watches that programs begin in a session, and the alerts that they may hear of."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from server.core.alert import PROGRAMS
from server.core.errors import Conflict, NotFound
from server.features.grants.grants import Grant, ended

if TYPE_CHECKING:
    from server.features.watches.alerts import KeptAlert
    from server.features.watches.messages import WatchInfo
    from server.features.watches.watching import Watching

# Watches of one program; the session has room for eight of all.
MAX_WATCHES = 3
# Seconds for which a program may wait for an alert
MOST_WAIT = 25.0


class ProgramWatches:
    """Each program sees and ends its own watches alone. Those of a program without access end."""

    def __init__(self, watching: Watching | None) -> None:
        """`watching`: None where watches are off."""
        self._found = watching
        self._numbers = itertools.count(1)
        # The ids of its watches, by grant
        self._own: dict[str, list[str]] = {}
        # The calls that wait for an alert, by grant
        self._waits: dict[str, set[asyncio.Task[list[KeptAlert]]]] = {}

    @property
    def _watching(self) -> Watching:
        if self._found is None:
            raise Conflict("This server has no watches. Look again from time to time.")
        return self._found

    def add(self, grant: Grant, condition: str, *, repeat: bool = False) -> str:
        """Begin a watch, and return its id. Raises BadRequest, TooLong and Conflict."""
        own = self._living(grant)
        if len(own) >= MAX_WATCHES:
            raise Conflict(
                f"This program has {MAX_WATCHES} watches, which is the most. Remove one, then add this one."
            )
        id = f"{PROGRAMS}{grant.id}:{next(self._numbers)}"
        self._watching.watch_for(id, condition, repeat=repeat)
        self._own.setdefault(grant.id, []).append(id)
        return id

    def listed(self, grant: Grant) -> list[WatchInfo]:
        """Return the program's own watches, oldest first."""
        watching, own = self._watching, self._living(grant)
        return [one for one in watching.watches() if one.id in own]

    def remove(self, grant: Grant, id: str) -> None:
        """End a watch. Raises NotFound for one that is not the program's own."""
        if id not in self._living(grant):
            raise NotFound("There is no watch of this program with this id. watch_list has them.")
        self._watching.remove(id)

    def forget(self, grant: Grant) -> None:
        """End all watches of a program, and its waits."""
        for wait in self._waits.pop(grant.id, ()):
            wait.cancel()
        for id in self._living(grant):
            self._watching.remove(id)
        self._own.pop(grant.id, None)

    async def alerts(self, grant: Grant, after: int, wait: float) -> list[KeptAlert]:
        """Return the kept alerts with a higher number, from since the program has access, oldest first.

        Without any it waits for the next one, for `wait` seconds at most. Raises Unauthorized when the access ends
        meanwhile, and Conflict without watches.
        """
        watching = self._watching
        task = asyncio.create_task(self._next(watching, grant, after, wait), name="program/events")
        waits = self._waits.setdefault(grant.id, set())
        waits.add(task)
        try:
            await asyncio.wait((task,))
        finally:
            # Here it is done, unless the program itself has left.
            task.cancel()
            waits.discard(task)
        if task.cancelled():
            raise ended()
        return task.result()

    async def _next(
        self, watching: Watching, grant: Grant, after: int, wait: float
    ) -> list[KeptAlert]:
        deadline = asyncio.get_running_loop().time() + min(max(0.0, wait), MOST_WAIT)
        while True:
            found = [
                one
                for one in watching.alerts.kept()
                if one.number > after and one.at >= grant.made_at * 1000
            ]
            if found or not await watching.alerts.next(deadline):
                return found

    def _living(self, grant: Grant) -> list[str]:
        """Return the watches of a program that are still there: a person may have ended some."""
        there = {one.id for one in self._found.watches()} if self._found is not None else ()
        own = [id for id in self._own.get(grant.id, ()) if id in there]
        self._own[grant.id] = own
        return own
