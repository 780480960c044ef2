"""The waiting line: order, turns, bounds, and that nothing is lost or doubled."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.core.frames import Kind
from server.models.scheduler.fairness import FairQueue, Full

CHAT, WATCH, DESCRIBE = Kind.CHAT, Kind.WATCH, Kind.DESCRIBE


def drained(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.pop()) is not None:
        items.append(item)
    return items


def test_classes_are_served_most_urgent_first() -> None:
    """Questions come before watches, watches before descriptions, whatever the order of arrival."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", DESCRIBE, "describe")
    queue.push("b", WATCH, "watch")
    queue.push("c", CHAT, "chat")
    assert drained(queue) == ["chat", "watch", "describe"]


def test_sessions_take_turns_within_a_class() -> None:
    """A session with many questions waits for its turn like one with a single question."""
    queue: FairQueue[str] = FairQueue(8)
    for session, item in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")]:
        queue.push(session, CHAT, item)
    assert drained(queue) == ["a1", "b1", "c1", "a2", "a3"]


def test_a_newer_background_item_takes_the_place_of_the_older() -> None:
    """Replacing keeps the session's turn and hands the older item back."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", DESCRIBE, "old")
    queue.push("b", DESCRIBE, "other")
    pushed = queue.push("a", DESCRIBE, "new")
    assert (pushed.replaced, pushed.evicted) == ("old", None)
    assert drained(queue) == ["new", "other"]


def test_a_full_queue_still_replaces() -> None:
    """Replacing needs no room, so a full line takes the newer frame."""
    queue: FairQueue[str] = FairQueue(1)
    queue.push("a", DESCRIBE, "old")
    assert queue.push("a", DESCRIBE, "new").replaced == "old"
    assert drained(queue) == ["new"]


def test_a_watch_takes_over_from_a_description_but_not_the_other_way() -> None:
    """One background item a session, and the more urgent kind is the one that stays."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", DESCRIBE, "describe")
    assert queue.push("a", WATCH, "watch").replaced == "describe"
    assert queue.push("a", DESCRIBE, "late").replaced == "late"
    assert queue.push("a", Kind.PREFILL, "ahead").replaced == "ahead"
    assert queue.depth() == {CHAT: 0, WATCH: 1, DESCRIBE: 0, Kind.PREFILL: 0, Kind.PROGRAM: 0}
    assert drained(queue) == ["watch"]


def test_a_full_queue_refuses_questions_and_drops_background() -> None:
    """One step below the bound is taken; at the bound a question raises and background work is
    handed back.
    """
    queue: FairQueue[str] = FairQueue(2)
    queue.push("a", CHAT, "a1")
    assert queue.push("b", CHAT, "b1").evicted is None
    with pytest.raises(Full):
        queue.push("c", CHAT, "c1")
    assert queue.push("c", DESCRIBE, "c2").evicted == "c2"
    assert drained(queue) == ["a1", "b1"]


def test_a_question_evicts_the_newest_description_then_the_newest_watch() -> None:
    """Background work makes room, the least urgent and newest first."""
    queue: FairQueue[str] = FairQueue(3)
    queue.push("a", DESCRIBE, "first")
    queue.push("b", DESCRIBE, "second")
    queue.push("c", WATCH, "watch")
    evicted = [queue.push("d", CHAT, f"d{i}").evicted for i in range(3)]
    assert evicted == ["second", "first", "watch"]
    with pytest.raises(Full):
        queue.push("d", CHAT, "d3")


def test_skipped_sessions_keep_their_turn() -> None:
    """A session that may not be served now is the first once it may."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", CHAT, "a1")
    queue.push("b", CHAT, "b1")
    queue.push("c", CHAT, "c1")
    assert queue.ready_sessions(CHAT, lambda session, _: session == "a") == 2
    assert queue.pop(skip=lambda session, _: session == "a") == "b1"
    assert drained(queue) == ["a1", "c1"]


def test_only_allowed_kinds_are_popped() -> None:
    """Other kinds wait even when they are more urgent."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", CHAT, "chat")
    queue.push("a", WATCH, "watch")
    assert queue.pop([DESCRIBE]) is None
    assert queue.pop([WATCH]) == "watch"


def test_remove() -> None:
    """Taking out tells whether the item waited, and leaves the others."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", WATCH, "aw")
    queue.push("a", CHAT, "a1")
    queue.push("a", CHAT, "a2")
    queue.push("b", CHAT, "b1")
    assert queue.remove("a1")
    assert not queue.remove("a1")
    assert drained(queue) == ["a2", "b1", "aw"]


def test_an_item_waits_only_once() -> None:
    """Pushing a waiting item again is the caller's mistake, and raises."""
    queue: FairQueue[str] = FairQueue(8)
    queue.push("a", CHAT, "a1")
    with pytest.raises(ValueError, match="already"):
        queue.push("a", CHAT, "a1")


def test_a_queue_without_room_can_not_be_made() -> None:
    """The bound is at least one."""
    with pytest.raises(ValueError, match="0"):
        FairQueue(0)


@dataclass(eq=False)
class Item:
    number: int
    session: str
    kind: Kind


SESSIONS = st.sampled_from(["a", "b", "c", "d", "e"])
KINDS = st.sampled_from(list(Kind))
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
        self.owed: dict[tuple[str, Kind], set[str]] = {}

    def leave(self, item: Item | None) -> None:
        if item is not None:
            assert item not in self.gone
            self.waiting.remove(item)
            self.gone.append(item)

    def sessions(self, kind: Kind) -> set[str]:
        return {item.session for item in self.waiting if item.kind is kind}

    def settle(self) -> None:
        """Whoever waits no longer is owed nothing."""
        for (_, kind), owed in self.owed.items():
            owed &= self.sessions(kind)

    @rule(session=SESSIONS, kind=KINDS)
    def push(self, session: str, kind: Kind) -> None:
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
                least = max((i.kind for i in background), key=list(Kind).index)
                assert pushed.evicted is not item
                assert pushed.evicted.kind is least
        elif own:
            yields = list(Kind).index(own[0].kind) < list(Kind).index(kind)
            assert pushed.evicted is None
            assert pushed.replaced is (item if yields else own[0])
        else:
            assert pushed.replaced is None
            assert pushed.evicted is (item if full else None)
        self.leave(pushed.replaced)
        self.leave(pushed.evicted)
        self.settle()

    @rule(kinds=st.sets(KINDS, min_size=1), skipped=st.sets(st.tuples(SESSIONS, KINDS)))
    def pop(self, kinds: set[Kind], skipped: set[tuple[str, Kind]]) -> None:
        def may(item: Item) -> bool:
            return item.kind in kinds and (item.session, item.kind) not in skipped

        item = self.queue.pop(kinds, lambda session, kind: (session, kind) in skipped)
        allowed = [i for i in self.waiting if may(i)]
        if item is None:
            assert not allowed
            return
        assert item in allowed
        assert all(list(Kind).index(i.kind) >= list(Kind).index(item.kind) for i in allowed)
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
        assert all(item in self.queue for item in self.waiting)
        for kind, depth in self.queue.depth().items():
            assert depth == sum(item.kind is kind for item in self.waiting)
        background = [item.session for item in self.waiting if item.kind is not CHAT]
        assert len(background) == len(set(background))

    def teardown(self) -> None:
        while (item := self.queue.pop()) is not None:
            self.leave(item)
        assert not self.waiting, "lost"


Line.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLine = pytest.mark.slow(Line.TestCase)
