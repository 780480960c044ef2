"""The bounded queue of waiting jobs: urgent kinds first, sessions in turn.

An item's class is its `JobKind`: questions, then watches, programs' questions, descriptions, prefills.
Within a class sessions take turns: a served one goes to the end. Within a session a class keeps its
order.

Bounds: at most `max_size` items, and at most one background item per session. Every item that leaves
is returned to the caller: replaced, evicted, popped, removed or dropped.
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
    """A queue full of questions; nothing was changed.

    Outside the tree of errors: `Inference` raises Busy for it.
    """


@dataclass(frozen=True, slots=True)
class Pushed(Generic[T]):
    """The item that left the queue by a push, possibly the pushed one. At most one field is set."""

    # A background item replaced by another one of its session
    replaced: T | None = None
    # A background item dropped from a full queue
    evicted: T | None = None


class FairQueue(Generic[T]):
    """A fair queue of items that compare by identity.

    Adding, popping and removing take constant time, apart from skipped sessions.

    Bounds of waiting work: MAX_QUEUE; questions refused with `busy`, background work dropped and
    counted.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # Class to sessions (next turn first) to items (oldest first), without empty sessions
        self._classes: dict[JobKind, OrderedDict[str, OrderedDict[T, None]]] = {
            kind: OrderedDict() for kind in JobKind
        }
        self._where: dict[T, tuple[JobKind, str]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def depth(self) -> dict[JobKind, int]:
        """Return the number of waiting items by class."""
        return {kind: sum(map(len, waiting.values())) for kind, waiting in self._classes.items()}

    def push(self, session_id: str, kind: JobKind, item: T) -> Pushed[T]:
        """Add an item at the end of its class. Push each item once.

        A background item replaces the session's waiting one of the same kind, and takes its place; it
        replaces a less urgent one of the session at the end of its own class, and is dropped if a more
        urgent one waits. A full queue drops a new background item; a question evicts the newest item of
        the least urgent background class instead.

        Raises Full for a question when only questions wait.
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
        """Remove and return the next item of the most urgent of `kinds`; None without one.

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

    def ready_sessions(self, kind: JobKind, skip: Callable[[str, JobKind], bool]) -> int:
        """Return the number of sessions with a waiting item of this class, without those to `skip`."""
        return sum(not skip(session_id, kind) for session_id in self._classes[kind])

    def remove(self, item: T) -> bool:
        """Remove an item; False when it is not waiting."""
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
                # The last session has the newest item: there is one per session, and a replacement
                # keeps its turn.
                newest = next(iter(next(reversed(self._classes[kind].values()))))
                self.remove(newest)
                return newest
        raise Full(f"all {self._max_size} places are taken by questions")
