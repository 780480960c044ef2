"""A process's share of a model server: fair with others, everything alone."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from server.models.scheduler.fairness import MOST_AT_ONCE, EngineShare

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
    """Neither knows of the other, and the second one never saw the engine idle.

    The engine lets requests wait, or refuses them.
    """
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


def test_it_never_falls_below_one_nor_rises_above_the_setting() -> None:
    share = EngineShare(4)
    for second in range(50):
        share.refused(float(second))
    assert share.slots(50.0) == 1
    for second in range(500):
        share.answered("low", 0.1, before=0, asked_at=50.0 + second, now=50.1 + second)
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
        seconds = 2.0 if moment % 4 == 0 else 0.1
        share.answered("low", seconds, before=0, asked_at=float(moment), now=moment + seconds)
    assert share.slots(100.0) == 8


def test_what_was_asked_before_a_decrease_does_not_count_again() -> None:
    share = EngineShare(8)
    share.answered("low", 0.1, before=0, asked_at=0.0, now=0.1)
    for moment in range(8):
        share.answered("low", 3.0, before=0, asked_at=1.0, now=4.0 + moment / 100)
    assert share.slots(5.0) == 4


def test_one_sessions_slow_questions_take_no_slots_from_all() -> None:
    """Whatever makes them slow, such as much sound: the engine is full when others wait, too."""
    share = EngineShare(8)
    share.answered("low", 0.1, before=0, asked_at=0.0, now=0.1, session="a")
    for second in range(1, 100):
        asked_at, now = float(second), second + 0.9
        share.answered("low", 0.9, before=0, asked_at=asked_at, now=now, session="a")
    assert share.slots(100.0) == 8
    for second in range(100, 103):
        share.answered(
            "low", 0.9, before=0, asked_at=float(second), now=second + 0.9, session=str(second)
        )
    assert share.slots(103.0) == 4


def test_without_a_setting_a_small_engine_gets_no_more_than_it_takes() -> None:
    """It begins with 64 at a time; a large engine gets about as many as it works on."""
    for seats, low, high in ((3, 2, 5), (48, 30, MOST_AT_ONCE)):
        alone = Gateway(share=EngineShare(MOST_AT_ONCE))
        Simulation([alone], seats=seats).run(600)
        assert low <= mean(alone.slots[-500:]) <= high
