"""The bounded queue of waiting jobs: urgent kinds go first, and sessions take turns.

An item's class is its `JobKind`: questions, then watches, programs' questions, descriptions, prefills.
Within a class, sessions take turns: after a session was served, it goes to the end. Items of one session
and class keep their order.

Bounds: at most `max_size` items, and at most one background item per session. The caller receives every
item that leaves the queue: replaced, evicted, popped, removed or dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.core.frames import JobKind

T = TypeVar("T", bound=Hashable)
BACKGROUND = (JobKind.WATCH, JobKind.PROGRAM, JobKind.DESCRIBE, JobKind.PREFILL)


class Full(Exception):
    """The queue is full of questions; nothing was changed.

    Not a QwenCameraError: `Inference` raises Busy for it.
    """


@dataclass(frozen=True, slots=True)
class Pushed(Generic[T]):
    """The item that a push removed from the queue, possibly the pushed item itself. At most one field is set."""

    # A background item that another item of its session replaced
    replaced: T | None = None
    # A background item dropped from a full queue
    evicted: T | None = None


class FairQueue(Generic[T]):
    """A fair queue of items that compare by identity.

    Adding, popping and removing items takes constant time, except for the time to skip sessions.

    Bounds of waiting work: MAX_QUEUE; beyond, questions are refused with `busy`, and background work is dropped
    and counted.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # Maps class to sessions (next turn first) to items (oldest first); sessions without items are omitted
        self._classes: dict[JobKind, OrderedDict[str, OrderedDict[T, None]]] = {
            kind: OrderedDict() for kind in JobKind
        }
        self._where: dict[T, tuple[JobKind, str]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def count_waiting(self) -> dict[JobKind, int]:
        """Return the number of waiting items by class."""
        return {kind: sum(map(len, waiting.values())) for kind, waiting in self._classes.items()}

    def push(self, session_id: str, kind: JobKind, item: T) -> Pushed[T]:
        """Add an item at the end of its class. Push each item once.

        A background item takes the place of the session's waiting item of the same kind. It also replaces a
        less urgent item of the session, but goes to the end of its own class, and is dropped if a more urgent
        item waits. A full queue drops a new background item; a new question instead evicts the newest item of
        the least urgent background class.

        Raises Full for a question if only questions wait.
        """
        if kind is JobKind.CHAT:
            evicted = self._make_space() if len(self) >= self._max_size else None
            self._add(session_id, kind, item)
            return Pushed(evicted=evicted)
        older_kind = next((k for k in BACKGROUND if session_id in self._classes[k]), None)
        if older_kind is None:
            if len(self) >= self._max_size:
                return Pushed(evicted=item)
            self._add(session_id, kind, item)
            return Pushed()
        older = next(iter(self._classes[older_kind][session_id]))
        if older_kind is kind:
            # In place, so that the session keeps its turn
            items = self._classes[kind][session_id]
            del items[older], self._where[older]
            items[item] = None
            self._where[item] = (kind, session_id)
        elif BACKGROUND.index(kind) < BACKGROUND.index(older_kind):
            self.remove(older)
            self._add(session_id, kind, item)
        else:
            return Pushed(replaced=item)
        return Pushed(replaced=older)

    def pop(
        self,
        kinds: Collection[JobKind] = tuple(JobKind),
        skip: Callable[[str, JobKind], bool] | None = None,
    ) -> T | None:
        """Remove and return the next item of the most urgent of `kinds`, or None if there is none.

        Sessions for which `skip(session_id, kind)` is true keep their turn.
        """
        for kind in JobKind:
            if kind not in kinds:
                continue
            waiting = self._classes[kind]
            for session_id, items in waiting.items():
                if skip is not None and skip(session_id, kind):
                    continue
                item = next(iter(items))
                self.remove(item)
                if session_id in waiting:
                    waiting.move_to_end(session_id)
                return item
        return None

    def count_ready_sessions(self, kind: JobKind, skip: Callable[[str, JobKind], bool]) -> int:
        """Return the number of sessions with a waiting item of this class, except those for which `skip` is true."""
        return sum(not skip(session_id, kind) for session_id in self._classes[kind])

    def remove(self, item: T) -> bool:
        """Remove an item. Return False if it is not waiting."""
        where = self._where.pop(item, None)
        if where is None:
            return False
        kind, session_id = where
        items = self._classes[kind][session_id]
        del items[item]
        if not items:
            del self._classes[kind][session_id]
        return True

    def _add(self, session_id: str, kind: JobKind, item: T) -> None:
        self._classes[kind].setdefault(session_id, OrderedDict())[item] = None
        self._where[item] = (kind, session_id)

    def _make_space(self) -> T:
        for kind in reversed(BACKGROUND):
            if self._classes[kind]:
                # The last session has the newest item, because each session has one item, and a replacement
                # keeps the turn.
                newest = next(iter(next(reversed(self._classes[kind].values()))))
                self.remove(newest)
                return newest
        raise Full(f"all {self._max_size} places are taken by questions")
