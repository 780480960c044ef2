"""The waiting line: order, turns, bounds, and that nothing is lost or doubled."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.core.frames import JobKind
from server.models.scheduler.fairness import FairQueue, Full

CHAT, WATCH, DESCRIBE = JobKind.CHAT, JobKind.WATCH, JobKind.DESCRIBE


def filled(room: int, *items: tuple[str, JobKind, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(room)
    for session, kind, item in items:
        queue.push(session, kind, item)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return list(iter(queue.pop, None))


def test_a_newer_background_item_takes_the_place_of_the_older() -> None:
    """Replacing keeps the session's turn and hands the older item back."""
    queue = filled(8, ("a", DESCRIBE, "old"), ("b", DESCRIBE, "other"))
    pushed = queue.push("a", DESCRIBE, "new")
    assert (pushed.replaced, pushed.evicted) == ("old", None)
    assert drained(queue) == ["new", "other"]


def test_a_question_evicts_the_newest_description_then_the_newest_watch() -> None:
    """Background work makes room, the least urgent and newest first."""
    queue = filled(3, ("a", DESCRIBE, "first"), ("b", DESCRIBE, "second"), ("c", WATCH, "watch"))
    evicted = [queue.push("d", CHAT, f"d{i}").evicted for i in range(3)]
    assert evicted == ["second", "first", "watch"]


def test_skipped_sessions_keep_their_turn() -> None:
    """A session that may not be served now is the first once it may."""
    queue = filled(8, ("a", CHAT, "a1"), ("b", CHAT, "b1"), ("c", CHAT, "c1"))
    assert queue.count_ready_sessions(CHAT, lambda session, _: session == "a") == 2
    assert queue.pop(skip=lambda session, _: session == "a") == "b1"
    assert drained(queue) == ["a1", "c1"]


@dataclass(eq=False)
class Item:
    number: int
    session: str
    kind: JobKind


SESSIONS = st.sampled_from(["a", "b", "c"])
# Of questions alone a session may have several.
KINDS = st.sampled_from([CHAT] * 5 + list(JobKind))
MAX = 6


class Line(RuleBasedStateMachine):
    """Anything may be done in any order; a plain list of waiting items is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[Item] = FairQueue(MAX)
        self.waiting: list[Item] = []
        self.gone: list[Item] = []
        self.numbers = 0
        # (session, kind) last served -> sessions of that class that waited then and were not served
        # since
        self.owed: dict[tuple[str, JobKind], set[str]] = {}

    def leave(self, item: Item | None) -> None:
        if item is not None:
            assert item not in self.gone
            self.waiting.remove(item)
            self.gone.append(item)

    def sessions(self, kind: JobKind) -> set[str]:
        return {item.session for item in self.waiting if item.kind is kind}

    def settle(self) -> None:
        """Whoever waits no longer is owed nothing."""
        for (_, kind), owed in self.owed.items():
            owed &= self.sessions(kind)

    @rule(session=SESSIONS, kind=KINDS)
    def push(self, session: str, kind: JobKind) -> None:
        self.numbers += 1
        item = Item(self.numbers, session, kind)
        full = len(self.waiting) == MAX
        background = [i for i in self.waiting if i.kind is not CHAT]
        try:
            pushed = self.queue.push(session, kind, item)
        except Full:
            assert kind is CHAT
            assert full
            assert not background
            return
        self.waiting.append(item)
        own = [i for i in background if i.session == session]
        if kind is CHAT:
            assert pushed.replaced is None
            assert (pushed.evicted is not None) == full
            if pushed.evicted is not None:
                least = max((i.kind for i in background), key=list(JobKind).index)
                assert pushed.evicted is not item
                assert pushed.evicted.kind is least
        elif own:
            yields = list(JobKind).index(own[0].kind) < list(JobKind).index(kind)
            assert pushed.evicted is None
            assert pushed.replaced is (item if yields else own[0])
        else:
            assert pushed.replaced is None
            assert pushed.evicted is (item if full else None)
        self.leave(pushed.replaced)
        self.leave(pushed.evicted)
        self.settle()

    @rule(kinds=st.sets(KINDS, min_size=1), skipped=st.sets(st.tuples(SESSIONS, KINDS)))
    def pop(self, kinds: set[JobKind], skipped: set[tuple[str, JobKind]]) -> None:
        def may(item: Item) -> bool:
            return item.kind in kinds and (item.session, item.kind) not in skipped

        item = self.queue.pop(kinds, lambda session, kind: (session, kind) in skipped)
        allowed = [i for i in self.waiting if may(i)]
        if item is None:
            assert not allowed
            return
        assert item in allowed
        assert all(list(JobKind).index(i.kind) >= list(JobKind).index(item.kind) for i in allowed)
        own = [i for i in allowed if i.session == item.session and i.kind is item.kind]
        assert item.number == min(i.number for i in own), "order within a session"
        key = (item.session, item.kind)
        unserved = {s for s in self.owed.get(key, set()) if (s, item.kind) not in skipped}
        assert not unserved, "served twice while others waited"
        self.leave(item)
        for (_, kind), owed in self.owed.items():
            if kind is item.kind:
                owed.discard(item.session)
        self.owed[key] = self.sessions(item.kind) - {item.session}
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(item)
        self.leave(item)
        self.settle()

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def remove_what_is_gone(self, data: st.DataObject) -> None:
        assert not self.queue.remove(data.draw(st.sampled_from(self.gone)))

    @invariant()
    def bounds_and_counts_hold(self) -> None:
        assert len(self.queue) == len(self.waiting) <= MAX
        for kind, depth in self.queue.count_waiting().items():
            assert depth == sum(item.kind is kind for item in self.waiting)
        background = [item.session for item in self.waiting if item.kind is not CHAT]
        assert len(background) == len(set(background))

    def teardown(self) -> None:
        while (item := self.queue.pop()) is not None:
            self.leave(item)
        assert not self.waiting, "lost"


Line.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLine = Line.TestCase
