"""The waiting line: order, turns, bounds, and that nothing is lost or doubled."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.core.frames import Kind
from server.models.scheduler.fairness import (
    LEAST,
    MOST_AT_ONCE,
    Aimd,
    BackgroundShare,
    EngineShare,
    FairQueue,
    Full,
    PictureCache,
    UsualTimes,
)

CHAT, WATCH, DESCRIBE = Kind.CHAT, Kind.WATCH, Kind.DESCRIBE


def filled(room: int, *items: tuple[str, Kind, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(room)
    for session, kind, item in items:
        queue.push(session, kind, item)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return list(iter(queue.pop, None))


def test_classes_are_served_most_urgent_first() -> None:
    """Questions come before watches, watches before descriptions, whatever the order of arrival."""
    queue = filled(8, ("a", DESCRIBE, "describe"), ("b", WATCH, "watch"), ("c", CHAT, "chat"))
    assert drained(queue) == ["chat", "watch", "describe"]


def test_sessions_take_turns_within_a_class() -> None:
    """A session with many questions waits for its turn like one with a single question."""
    queue = filled(8, *[(item[0], CHAT, item) for item in ("a1", "a2", "a3", "b1", "c1")])
    assert drained(queue) == ["a1", "b1", "c1", "a2", "a3"]


def test_a_newer_background_item_takes_the_place_of_the_older() -> None:
    """Replacing keeps the session's turn and hands the older item back."""
    queue = filled(8, ("a", DESCRIBE, "old"), ("b", DESCRIBE, "other"))
    pushed = queue.push("a", DESCRIBE, "new")
    assert (pushed.replaced, pushed.evicted) == ("old", None)
    assert drained(queue) == ["new", "other"]


def test_a_full_queue_still_replaces() -> None:
    """Replacing needs no room, so a full line takes the newer frame."""
    queue = filled(1, ("a", DESCRIBE, "old"))
    assert queue.push("a", DESCRIBE, "new").replaced == "old"
    assert drained(queue) == ["new"]


def test_a_watch_takes_over_from_a_description_but_not_the_other_way() -> None:
    """One background item a session, and the more urgent kind is the one that stays."""
    queue = filled(8, ("a", DESCRIBE, "describe"))
    assert queue.push("a", WATCH, "watch").replaced == "describe"
    assert queue.push("a", DESCRIBE, "late").replaced == "late"
    assert queue.push("a", Kind.PREFILL, "ahead").replaced == "ahead"
    assert queue.depth() == {CHAT: 0, WATCH: 1, DESCRIBE: 0, Kind.PREFILL: 0, Kind.PROGRAM: 0}
    assert drained(queue) == ["watch"]


def test_a_full_queue_refuses_questions_and_drops_background() -> None:
    """One step below the bound is taken; at it a question raises, background work is handed back."""
    queue = filled(2, ("a", CHAT, "a1"))
    assert queue.push("b", CHAT, "b1").evicted is None
    with pytest.raises(Full):
        queue.push("c", CHAT, "c1")
    assert queue.push("c", DESCRIBE, "c2").evicted == "c2"
    assert drained(queue) == ["a1", "b1"]


def test_a_question_evicts_the_newest_description_then_the_newest_watch() -> None:
    """Background work makes room, the least urgent and newest first."""
    queue = filled(3, ("a", DESCRIBE, "first"), ("b", DESCRIBE, "second"), ("c", WATCH, "watch"))
    evicted = [queue.push("d", CHAT, f"d{i}").evicted for i in range(3)]
    assert evicted == ["second", "first", "watch"]
    with pytest.raises(Full):
        queue.push("d", CHAT, "d3")


def test_skipped_sessions_keep_their_turn() -> None:
    """A session that may not be served now is the first once it may."""
    queue = filled(8, ("a", CHAT, "a1"), ("b", CHAT, "b1"), ("c", CHAT, "c1"))
    assert queue.ready_sessions(CHAT, lambda session, _: session == "a") == 2
    assert queue.pop(skip=lambda session, _: session == "a") == "b1"
    assert drained(queue) == ["a1", "c1"]


def test_only_allowed_kinds_are_popped() -> None:
    """Other kinds wait even when they are more urgent."""
    queue = filled(8, ("a", CHAT, "chat"), ("a", WATCH, "watch"))
    assert queue.pop([DESCRIBE]) is None
    assert queue.pop([WATCH]) == "watch"


def test_remove() -> None:
    """Taking out tells whether the item waited, and leaves the others."""
    queue = filled(8, ("a", WATCH, "aw"), ("a", CHAT, "a1"), ("a", CHAT, "a2"), ("b", CHAT, "b1"))
    assert queue.remove("a1")
    assert not queue.remove("a1")
    assert drained(queue) == ["a2", "b1", "aw"]


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


# A share that grows by addition and halves


def test_it_begins_at_its_most_and_stays_in_its_bounds() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    assert share.value(0.0) == 8.0
    share.grow(1.0, 0.0)
    assert share.value(0.0) == 8.0
    for second in range(9):
        assert share.halve(float(second), pause=0.0)
    assert share.value(9.0) == 1.0


def test_it_halves_once_within_the_pause() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    assert share.halve(0.0, pause=1.0)
    assert not share.halve(0.9, pause=1.0)
    assert share.value(0.9) == 4.0
    assert share.halve(1.0, pause=1.0)


def test_it_grows_by_itself_ten_seconds_after_the_last_event() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    share.halve(0.0, pause=0.0)
    share.grow(0.25, 5.0)
    assert share.value(15.0) == 4.25
    assert share.value(17.0) == pytest.approx(5.25)
    share.grow(0.25, 17.0)
    assert share.value(27.0) == pytest.approx(5.5)


# The share of background work: halves when questions slow down, grows back


def slowed(times: int, share: BackgroundShare | None = None) -> BackgroundShare:
    """A share after so many slow questions, a second apart, the last at that second."""
    share = share or BackgroundShare()
    share.answered("low", 0.1, -1.0)
    for second in range(1, times + 1):
        share.answered("low", 0.2, float(second))
    return share


def test_slow_first_tokens_halve_it() -> None:
    assert slowed(1).share(1.0) == pytest.approx(0.5)
    assert slowed(2).share(2.0) == pytest.approx(0.25)
    assert LEAST <= slowed(20).share(20.0) < 0.1


def test_slow_ones_within_a_second_count_once() -> None:
    share = slowed(1)
    for moment in range(9):
        share.answered("low", 0.2, 1.0 + moment / 10)
    assert share.share(1.9) == pytest.approx(0.5)


def test_it_grows_back_with_quick_questions_and_while_nobody_asks() -> None:
    """By 1/400 with each question, and within half a minute when there is none."""
    share = slowed(1)
    share.answered("low", 0.1, 1.0)
    assert share.share(1.0) == pytest.approx(0.5 + 1 / 400)
    assert share.share(10.0) == pytest.approx(0.5 + 1 / 400)
    assert share.share(15.0) == pytest.approx(0.5 + 1 / 400 + 4 / 16)
    assert share.share(30.0) == 1.0


def test_it_settles_where_few_questions_are_slow() -> None:
    """If background work of a tenth makes questions slow, one in twenty or so is."""
    share, slow = BackgroundShare(), 0
    for moment in range(4000):
        now = float(moment)
        late = share.share(now) > 0.1 and moment % 4 == 0
        share.answered("low", 0.2 if late else 0.1, now)
        slow += late and moment > 1000
    assert 0.01 < slow / 3000 < 0.08


def test_kinds_are_compared_with_their_own() -> None:
    """High detail takes longer than low, and an unchanged picture less."""
    share = BackgroundShare()
    for moment in range(20):
        share.answered("low", 0.1, float(moment))
        share.answered("high", 0.4, float(moment))
        share.answered("reused", 0.02, float(moment))
    assert share.share(20.0) == 1.0


def test_what_is_always_slower_becomes_usual() -> None:
    """Another model was loaded, say."""
    share = slowed(0)
    for moment in range(600):
        share.answered("low", 0.3, float(moment))
    assert share.share(600.0) == 1.0


def test_it_bounds_the_slots_of_background_work() -> None:
    """With a half of 8 slots four run; with all of them eight, and the first may always begin."""
    whole, half = BackgroundShare(), slowed(1)
    assert [running for running in range(9) if whole.wait(running, 8, 1.0) == 0] == [*range(8)]
    assert [running for running in range(9) if half.wait(running, 8, 1.0) == 0] == [*range(4)]
    assert half.wait(4, 8, 1.0) == math.inf


def test_less_than_one_slot_pauses_between_two_jobs() -> None:
    """With a quarter of one slot a job of 1 s is followed by about 3 s of rest."""
    share = slowed(2)
    share.ended(1.0, 2.0)
    assert 2.0 < share.wait(0, 1, 2.0) < 3.1
    assert share.wait(0, 1, 6.0) == 0
    assert slowed(0).wait(0, 1, 0.0) == 0


def test_a_rest_ends_early_when_the_share_has_grown() -> None:
    """A long job at a small share is followed by 10 s at most, and by none when nobody asks any more."""
    share = slowed(5)
    share.ended(60.0, 5.0)
    assert 9.0 < share.wait(0, 1, 5.0) <= 10.0
    assert share.wait(0, 1, 15.1) == 0
    share.ended(60.0, 100.0)
    assert share.wait(0, 1, 100.0) == 0


def test_one_session_alone_slows_nobody_down() -> None:
    """Its slow questions count once in half a minute; those of two sessions each second."""
    alone, both = BackgroundShare(), BackgroundShare()
    for share in (alone, both):
        share.answered("low", 0.1, -1.0)
    for second in range(1, 9):
        alone.answered("low", 0.3, float(second), "a")
        both.answered("low", 0.3, float(second), "ab"[second % 2])
    assert alone.share(8.0) > 0.45
    assert both.share(8.0) < 0.1


def test_two_speeds_in_equal_parts_are_both_usual() -> None:
    """Short and long prompts of one kind, as people ask them."""
    share = BackgroundShare()
    for moment in range(400):
        share.answered("low", 0.12 if moment % 2 else 0.15, float(moment), moment % 7)
    assert share.share(400.0) > 0.8


def test_while_people_ask_prompts_take_a_twentieth_of_the_time() -> None:
    """After three at once; a minute after the last question they take what they want."""
    share, now, begun = BackgroundShare(), 0.0, []
    share.answered("low", 0.1, 0.0)
    while now < 30:
        if share.prompt_wait(now) == 0:
            now += 0.1
            share.begun(0.1, now)
            begun.append(now)
        now += 0.01
    assert begun[2] < 0.5
    assert begun[3] - begun[2] == pytest.approx(1.9, abs=0.2)
    assert len(begun) == pytest.approx(3 + 30 * 0.05 / 0.1, abs=1)
    assert share.prompt_wait(59.0) >= 0
    for _ in range(9):
        share.begun(0.1, 61.0)
    assert share.prompt_wait(61.0) == 0


def test_what_was_done_while_nobody_asked_is_not_made_up_for() -> None:
    """The next prompt after a question waits for one prompt's time, however many there were."""
    share = BackgroundShare()
    assert share.prompt_wait(0.0) == 0
    for moment in range(100):
        share.begun(0.1, moment / 10)
    share.answered("low", 0.1, 10.0)
    assert 0 < share.prompt_wait(10.0) <= 0.1 / 0.05


def test_a_slow_engine_holds_background_work_for_seconds_not_minutes() -> None:
    share = BackgroundShare()
    share.answered("low", 3.0, 0.0)
    for moment in range(3):
        share.begun(3.0, 3.0 * moment)
    assert share.prompt_wait(6.0) == pytest.approx(10.0)
    assert share.prompt_wait(16.1) == 0


# A process's share of a model server: fair with others, everything alone

MOST = 8
PROMPT, ANSWER = 0.2, 2.0


@dataclass
class Gateway:
    """One that always has more questions than it may send, while it is `open`."""

    share: EngineShare = field(default_factory=lambda: EngineShare(MOST))
    open: bool = True
    # Requests at the engine, and those of them without a first token
    running: int = 0
    unread: int = 0
    # A refused question waits for its repeat.
    held: bool = False
    answered: int = 0
    slots: list[int] = field(default_factory=list)


class Simulation:
    """Gateways before one engine that works on `seats` requests at a time, and queues `queue` more.

    An answer takes `PROMPT` to its first token and `ANSWER` from there.
    """

    def __init__(self, gateways: list[Gateway], *, seats: int, queue: int = 1000) -> None:
        self.gateways, self.seats, self.queue = gateways, seats, queue
        self.now = 0.0
        self.waiting: deque[tuple[Gateway, float, int]] = deque()
        self.busy = self.refused = 0
        self._events: list[tuple[float, int, str, Gateway, float, int]] = []
        self._count = 0
        self._random = random.Random(7)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        self._send()
        while self._events and self._events[0][0] <= until:
            self.now, _, what, gateway, asked_at, before = heapq.heappop(self._events)
            if what == "token":
                gateway.unread -= 1
                gateway.share.answered(
                    "low", self.now - asked_at, before=before, asked_at=asked_at, now=self.now
                )
                self._later(
                    ANSWER * self._random.uniform(0.5, 1.5), "end", gateway, asked_at, before
                )
            elif what == "again":
                gateway.held = False
            elif what == "end":
                self.busy -= 1
                gateway.running -= 1
                gateway.answered += 1
                while self.waiting and self.busy < self.seats:
                    self._begin(*self.waiting.popleft())
            self._send()
            for one in self.gateways:
                one.slots.append(one.share.slots(self.now))
        self.now = until

    def _later(self, seconds: float, what: str, one: Gateway, asked_at: float, n: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, what, one, asked_at, n))

    def _begin(self, gateway: Gateway, asked_at: float, before: int) -> None:
        self.busy += 1
        self._later(PROMPT, "token", gateway, asked_at, before)

    def _send(self) -> None:
        """Let each gateway in turn send what it may."""
        sent = True
        while sent:
            sent = False
            for one in self.gateways:
                if one.open and not one.held and one.running < one.share.slots(self.now):
                    if self.busy >= self.seats and len(self.waiting) >= self.queue:
                        self.refused += 1
                        one.share.refused(self.now)
                        one.held = True
                        self._later(0.25, "again", one, 0.0, 0)
                        continue
                    before, one.unread, one.running = one.unread, one.unread + 1, one.running + 1
                    if self.busy < self.seats:
                        self._begin(one, self.now, before)
                    else:
                        self.waiting.append((one, self.now, before))
                    sent = True


def mean(values: list[int]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(("seats", "queue"), [(5, 1000), (8, 1000), (12, 1000), (8, 2), (6, 0)])
def test_two_processes_come_to_fair_shares_of_one_engine(seats: int, queue: int) -> None:
    """Neither knows of the other; the second never saw it idle. It lets them wait, or refuses."""
    first, second = Gateway(), Gateway(open=False)
    simulation = Simulation([first, second], seats=seats, queue=queue)
    simulation.run(60)
    second.open = True
    simulation.run(120)
    for one in (first, second):
        one.answered, one.slots = 0, []
    simulation.run(600)
    total = first.answered + second.answered
    assert 0.4 < first.answered / total < 0.6
    for one in (first, second):
        assert 0.3 * seats < mean(one.slots) < 0.7 * seats
    # The engine is not left idle for it.
    assert total > 0.85 * 600 * seats / (PROMPT + ANSWER)


def test_one_that_is_alone_has_all_again() -> None:
    """Within seconds of questions, and as fast while nobody asks."""
    first, second = Gateway(), Gateway()
    simulation = Simulation([first, second], seats=8)
    simulation.run(300)
    assert mean(first.slots[-200:]) < MOST
    second.open = False
    simulation.run(60)
    assert first.share.slots(simulation.now) == MOST
    assert mean(first.slots[-20:]) == MOST


def test_one_that_was_never_crowded_keeps_all() -> None:
    """Its own prompts, which wait for each other, are no sign of others."""
    alone = Gateway()
    Simulation([alone], seats=MOST).run(300)
    assert set(alone.slots) == {MOST}


def test_more_than_the_engine_works_on_waits_here() -> None:
    """MAX_CONCURRENT_INFERENCES is the upper bound; a smaller engine has its queue here, in turn."""
    alone = Gateway()
    simulation = Simulation([alone], seats=3)
    simulation.run(600)
    assert 2 <= mean(alone.slots[-500:]) <= 5
    assert alone.answered > 0.8 * 600 * 3 / (PROMPT + ANSWER)


def answered(
    share: EngineShare, seconds: float, asked_at: float, session: str | None = None
) -> None:
    """Note a question with nothing before it."""
    now = asked_at + seconds
    share.answered("low", seconds, before=0, asked_at=asked_at, now=now, session=session)


def test_it_never_falls_below_one_nor_rises_above_the_setting() -> None:
    share = EngineShare(4)
    for second in range(50):
        share.refused(float(second))
    assert share.slots(50.0) == 1
    for second in range(500):
        answered(share, 0.1, 50.0 + second)
    assert share.slots(550.0) == 4


def test_refusals_within_a_second_count_once() -> None:
    share = EngineShare(8)
    for moment in range(9):
        share.refused(moment / 10)
    assert share.slots(1.0) == 4


def test_one_slow_question_in_between_changes_nothing() -> None:
    """A long prompt of somebody, say: only when most are slow the engine is full."""
    share = EngineShare(8)
    for moment in range(100):
        answered(share, 2.0 if moment % 4 == 0 else 0.1, float(moment))
    assert share.slots(100.0) == 8


def test_what_was_asked_before_a_decrease_does_not_count_again() -> None:
    share = EngineShare(8)
    answered(share, 0.1, 0.0)
    for moment in range(8):
        share.answered("low", 3.0, before=0, asked_at=1.0, now=4.0 + moment / 100)
    assert share.slots(5.0) == 4


def test_one_sessions_slow_questions_take_no_slots_from_all() -> None:
    """Whatever makes them slow, such as much sound: the engine is full when others wait, too."""
    share = EngineShare(8)
    answered(share, 0.1, 0.0, "a")
    for second in range(1, 100):
        answered(share, 0.9, float(second), "a")
    assert share.slots(100.0) == 8
    for second in range(100, 103):
        answered(share, 0.9, float(second), str(second))
    assert share.slots(103.0) == 4


def test_without_a_setting_a_small_engine_gets_no_more_than_it_takes() -> None:
    """It begins with 64 at a time; a large engine gets about as many as it works on."""
    for seats, low, high in ((3, 2, 5), (48, 30, MOST_AT_ONCE)):
        alone = Gateway(share=EngineShare(MOST_AT_ONCE))
        Simulation([alone], seats=seats).run(600)
        assert low <= mean(alone.slots[-500:]) <= high


# Usual times, learned from the times themselves


def test_the_first_time_of_a_kind_is_usual() -> None:
    usual = UsualTimes()
    assert usual.ratio("low", 0.2) == 1.0
    assert 2.0 <= usual.ratio("low", 0.4) < 2.1
    assert usual.ratio("high", 0.4) == 1.0


def test_it_follows_the_quantile() -> None:
    """A low one stays with the quick ones, where the median follows most."""
    low, middle = UsualTimes(0.1), UsualTimes()
    rng = random.Random(4)
    for _ in range(3000):
        seconds = 0.1 if rng.random() < 0.3 else 1.0
        low.ratio("a", seconds)
        middle.ratio("a", seconds)
    assert low.ratio("a", 1.0) > 6
    assert middle.ratio("a", 1.0) < 1.5


def test_kinds_are_bounded() -> None:
    """Of themselves, and of a share that learns them."""
    usual, share = UsualTimes(), BackgroundShare()
    for kind in range(1000):
        usual.ratio(kind, 0.1)
        share.answered(kind, 0.1, 0.0)
    assert len(usual) <= 64
    assert len(share._usual) <= 64


def test_a_time_of_nothing_divides_by_nothing() -> None:
    usual = UsualTimes()
    assert usual.ratio("a", 0.0) == 0.0
    assert usual.ratio("a", 0.1) > 1


def tell(
    cache: PictureCache, *cached: int, model: str = "qwen3.8", visual: int = 480
) -> list[bool]:
    return [cache.note(model, visual, one) for one in cached]


def test_four_pictures_in_a_row_without_reuse_settle_it() -> None:
    """Once, and the system's prompt alone is no reuse of a picture."""
    cache = PictureCache()
    assert tell(cache, 0, 128, 0) == [False] * 3
    assert not cache.useless("qwen3.8")
    assert tell(cache, 0, 0) == [True, False]
    assert cache.useless("qwen3.8")


def test_a_picture_that_was_reused_begins_anew() -> None:
    """Before and after it was settled: the questions go on telling."""
    cache = PictureCache()
    assert not any(tell(cache, 0, 0, 0, 600, 0, 0, 0))
    assert not cache.useless("qwen3.8")
    assert tell(cache, 0) == [True]
    assert tell(cache, 784, visual=1196) == [False]
    assert not cache.useless("qwen3.8")


def test_another_model_is_another_cache() -> None:
    cache = PictureCache()
    tell(cache, 0, 0, 0, 0)
    assert not cache.useless("qwen3-vl")
    assert tell(cache, 0, model="qwen3-vl") == [False]
    assert not cache.useless("qwen3.8")
