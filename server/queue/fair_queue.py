"""The waiting line of inference work: urgent kinds first, sessions in turn, never longer than its bound.

Order: the class of a piece of work is its `Kind` (questions, then watches, then descriptions). Within a class the
sessions take turns: one that was served goes behind all that wait. Within a session a class keeps its order.

Bounds: the line holds at most `max_size` items, and at most one background item (a watch or a description) a
session. Nothing leaves without being handed back to the caller: replaced, evicted, popped, removed or dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.core.frames import Kind

T = TypeVar("T", bound=Hashable)

BACKGROUND = (Kind.WATCH, Kind.DESCRIBE)


class Full(Exception):
    """The line is full of questions; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pushed(Generic[T]):
    """Which item left the line because of a push; it may be the pushed one itself. At most one is there."""

    # The background item that gave way to another one of its session.
    replaced: T | None = None
    # The background item for which there is no room.
    evicted: T | None = None


class FairQueue(Generic[T]):
    """Items are told apart as dictionary keys are: use ones that compare by identity.

    Every operation takes constant time, save for what is stepped over because of `skip`.
    """

    def __init__(self, max_size: int) -> None:
        if max_size < 1:
            raise ValueError(f"max_size is {max_size}; it must be at least 1")
        self._max_size = max_size
        # Class -> session whose turn comes next first -> its items, oldest first; no session without an item.
        self._classes: dict[Kind, OrderedDict[str, OrderedDict[T, None]]] = {
            kind: OrderedDict() for kind in Kind
        }
        self._where: dict[T, tuple[Kind, str]] = {}
        self._depth: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, item: T) -> bool:
        return item in self._where

    def depth(self) -> dict[Kind, int]:
        """Waiting items of each class."""
        return dict(self._depth)

    def push(self, session_id: str, kind: Kind, item: T) -> Pushed[T]:
        """Put an item behind those of its class.

        A background item takes the place, and the turn, of the session's waiting one of the same kind. Where the kinds
        differ a watch takes over from a description (behind the watches that wait), and a description gives way while a
        watch of its session waits. A full line evicts a further background item at once; a question evicts the newest of
        the least urgent background class instead.

        Raises Full for a question when only questions wait, and ValueError for an item that waits already.
        """
        if item in self._where:
            raise ValueError("this item waits already")
        if kind is Kind.CHAT:
            evicted = self._make_room() if len(self) >= self._max_size else None
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
            # In place: the session's entry, and with it its turn, stays where it is.
            items = self._classes[kind][session_id]
            del items[older], self._where[older]
            items[item] = None
            self._where[item] = (kind, session_id)
        elif kind is Kind.WATCH:
            self.remove(older)
            self._add(session_id, kind, item)
        else:
            return Pushed(replaced=item)
        return Pushed(replaced=older)

    def pop(
        self,
        kinds: Collection[Kind] = tuple(Kind),
        skip: Callable[[str, Kind], bool] | None = None,
    ) -> T | None:
        """Take the next item of the most urgent of `kinds`; None when there is none.

        Sessions for which `skip(session_id, kind)` is true are stepped over and keep their turn.
        """
        for kind in Kind:
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

    def ready_sessions(self, kind: Kind, skip: Callable[[str, Kind], bool]) -> int:
        """Sessions with an item of this class waiting that `skip` does not hold back."""
        return sum(not skip(session_id, kind) for session_id in self._classes[kind])

    def remove(self, item: T) -> bool:
        """Take one item out; False when it does not wait here."""
        where = self._where.pop(item, None)
        if where is None:
            return False
        kind, session_id = where
        items = self._classes[kind][session_id]
        del items[item]
        if not items:
            del self._classes[kind][session_id]
        self._depth[kind] -= 1
        return True

    def _add(self, session_id: str, kind: Kind, item: T) -> None:
        self._classes[kind].setdefault(session_id, OrderedDict())[item] = None
        self._where[item] = (kind, session_id)
        self._depth[kind] += 1

    def _make_room(self) -> T:
        for kind in reversed(BACKGROUND):
            if self._classes[kind]:
                # One item a session, and places are kept on replacement: the last session is the newest.
                newest = next(iter(next(reversed(self._classes[kind].values()))))
                self.remove(newest)
                return newest
        raise Full(f"all {self._max_size} places are taken by questions")
