"""The rule: when a session's watches are asked about, and when they alert."""

from __future__ import annotations

import random
from typing import Any

import pytest

from server.features.watches import messages
from server.features.watches.rule import (
    MAX_WATCHES,
    WAKES_A_DAY,
    Firing,
    LookKind,
    WatchRequest,
    WatchRules,
    WatchState,
    WatchTracker,
    has_overlap,
)
from server.media.picture.grounding import Box
from server.shared.watch_answers import WatchAnswer

HERE = Box(0, 0, 100, 100)
INSIDE = Box(10, 10, 60, 60)
AWAY = Box(500, 500, 600, 600)
YES = WatchAnswer(True, 0.9, INSIDE, "It boils.")
NO = WatchAnswer(False, 0.9, None, "It is still.")


def order(id: str = "w1", condition: str = "it boils", **more: Any) -> messages.Watch:
    return messages.Watch(type="watch", id=id, condition=condition, **more)


KETTLE = order(condition="the kettle boils", repeat=True)
ONCE = order(condition="the kettle boils")


class Bench:
    """A session's watches with a clock and frames that are counted."""

    def __init__(self, *orders: messages.Watch, **more: Any) -> None:
        self.rule = WatchRules(**more)
        self.now = 0.0
        self.minute = 600
        self.frame = 0
        for one in orders:
            self.add(one)

    def add(
        self, order: messages.Watch, name: str = "", *, before: WatchTracker | None = None
    ) -> None:
        self.rule.add(name or order.id, order, self.now, before=before)

    def woken(self, changed: Box | None = HERE) -> WatchRequest | None:
        self.now += 600
        self.frame += 1
        return self.rule.on_change(f"f{self.frame}", changed, self.now, self.minute)

    def settled(self, changed: Box | None = None) -> WatchRequest | None:
        self.now += 2
        self.frame += 1
        return self.rule.on_settled(f"f{self.frame}", changed, self.now, self.minute)

    def answer(
        self, ask: WatchRequest | None, answer: WatchAnswer
    ) -> tuple[list[WatchRequest], list[Firing]]:
        assert ask is not None
        answers = dict.fromkeys(ask.watch_ids, answer)
        asks, firing = self.rule.on_answer(ask, answers, self.now, self.minute)
        return asks, [firing] if firing is not None else []

    def fail(self, ask: WatchRequest | None) -> list[WatchRequest]:
        assert ask is not None
        return self.rule.on_answer(ask, {}, self.now, self.minute)[0]

    def twice(
        self, first: WatchAnswer, second: WatchAnswer = YES, changed: Box | None = HERE
    ) -> list[Firing]:
        """A wake with its answer, and the second look where there is one."""
        asks, _ = self.answer(self.woken(changed), first)
        return [alert for ask in asks for alert in self.answer(ask, second)[1]]

    @property
    def watch(self) -> WatchTracker:
        return next(iter(self.rule))

    def state(self) -> WatchState:
        return self.watch.make_state(self.now, self.minute)

    def calm(self) -> Bench:
        """Twice no: from here on it is known not to hold."""
        self.answer(self.woken(), NO)
        self.answer(self.settled(), NO)
        return self


def test_where_no_scene_settles_two_noes_in_a_row_are_a_beginning() -> None:
    """After one the first yes is a status, and alerts nothing."""
    for noes, alerts in ((1, 0), (2, 1)):
        bench = Bench(KETTLE)
        for _ in range(noes):
            bench.answer(bench.woken(), NO)
        assert bench.watch.armed is bool(alerts)
        assert len(bench.twice(YES)) == alerts
    bench = Bench(KETTLE)
    bench.answer(bench.woken(), NO)
    bench.twice(YES, NO)
    bench.answer(bench.woken(), NO)
    assert len(bench.twice(YES)) == 1


@pytest.mark.parametrize(
    ("second", "changed", "alerts"),
    [
        (NO, HERE, 0),
        (WatchAnswer(True, 0.9, AWAY, ""), HERE, 0),
        (WatchAnswer(True, 0.9, None, ""), HERE, 0),
        (WatchAnswer(True, 0.4, INSIDE, ""), HERE, 0),
        (YES, AWAY, 0),
        (YES, HERE, 1),
    ],
)
def test_it_alerts_only_for_yes_twice_in_what_changed(
    second: WatchAnswer, changed: Box | None, alerts: int
) -> None:
    """A no, a place elsewhere or none, an unsure yes: nothing."""
    bench = Bench(KETTLE).calm()
    assert len(bench.twice(YES, second, changed)) == alerts
    assert bench.state() is (WatchState.SEEN if alerts else WatchState.LOOKING)


ELSEWHERE = WatchAnswer(True, 0.9, AWAY, "It is there.")


@pytest.mark.parametrize(
    ("answers", "alerts"),
    [
        ([YES, YES], 1),
        ([YES, NO, YES], 1),
        ([YES, NO, NO], 0),
        ([NO], 0),
        ([YES, ELSEWHERE, YES], 1),
        ([YES, ELSEWHERE, NO], 0),
    ],
)
@pytest.mark.parametrize("changed", [None, Box(0, 0, 800, 500)], ids=["unknown", "large"])
def test_where_nobody_knows_what_changed_two_of_three_looks_decide(
    answers: list[WatchAnswer], alerts: int, changed: Box | None
) -> None:
    """Each with another crop, and the two have to see it at one place. A large change says nothing of where."""
    bench = Bench(KETTLE).calm()
    bench.now += 600
    ask = bench.rule.on_change("f9", changed, bench.now, 600, area=1280 * 720)
    (second,), _ = bench.answer(ask, YES)
    crops, found = [], []
    asks = [second]
    for answer in answers:
        (second,) = asks
        crops.append(second.crop)
        asks, alerted = bench.answer(second, answer)
        found += alerted
    assert asks == []
    assert len(found) == alerts
    assert crops == [INSIDE, Box(-15, -15, 85, 85), None][: len(answers)]
    assert bench.state() is (WatchState.SEEN if alerts else WatchState.LOOKING)


@pytest.mark.parametrize("second", [False, True], ids=["two noes", "a yes and a no"])
def test_what_stays_is_asked_about_again(second: bool) -> None:
    """After 2, 5 and 15 seconds, not beside a no that may show it; then no more."""
    bench = Bench(KETTLE).calm()
    if second:
        bench.twice(YES, NO)
    else:
        bench.answer(bench.woken(), NO)
        bench.answer(bench.settled(), NO)
    begun = bench.now
    asked = []
    for tenth in range(300):
        bench.now = begun + tenth / 10
        ask = bench.rule.request_repeat(f"g{tenth}", bench.now, 600)
        if ask is not None:
            assert ask.changed == HERE
            asked.append(tenth / 10)
            bench.answer(ask, NO)
    assert asked == [2.0, 5.0, 15.0]
    bench.rule.cancel_repeats()
    bench.answer(bench.woken(), NO)
    bench.answer(bench.settled(), NO)
    bench.now += 2
    (look,), _ = bench.answer(bench.rule.request_repeat("h", bench.now, 600), YES)
    assert look.before is None
    assert len(bench.answer(look, YES)[1]) == 1


def test_it_is_over_after_three_noes_and_alerts_again_after_the_cooldown() -> None:
    bench = Bench(order(repeat=True, cooldown=1000)).calm()
    assert bench.twice(YES)
    for answers in ((NO, NO, YES), (NO, NO)):
        for answer in answers:
            assert bench.twice(answer) == []
            assert bench.state() is WatchState.SEEN
    bench.twice(NO)
    assert bench.state() is WatchState.PAUSED
    assert bench.woken() is None
    assert bench.watch.pause_reason(bench.now, 0) == "It pauses after its last alert."
    assert len(bench.twice(YES)) == 1


def test_it_expires_or_goes_on_until_it_is_stopped() -> None:
    bench = Bench(order(expires=1500))
    bench.answer(bench.woken(), NO)
    bench.answer(bench.woken(), NO)
    assert bench.woken() is None
    assert bench.state() is WatchState.EXPIRED
    lasting = Bench(KETTLE)
    lasting.now = 1e7
    assert lasting.woken() is not None


@pytest.mark.parametrize(
    ("hours", "minute", "asked"),
    [
        ((480, 600), 479, False),
        ((480, 600), 480, True),
        ((480, 600), 600, False),
        ((1320, 360), 1400, True),
        ((1320, 360), 100, True),
        ((1320, 360), 700, False),
    ],
)
def test_hours_may_go_over_midnight(hours: tuple[int, int], minute: int, asked: bool) -> None:
    bench = Bench(order(hours=hours))
    bench.minute = minute
    assert (bench.woken() is not None) is asked
    assert bench.state() is (WatchState.LOOKING if asked else WatchState.PAUSED)


def test_wrong_raises_the_bar_and_makes_the_frame_a_no() -> None:
    bench = Bench(ONCE).calm()
    (alert,) = bench.twice(WatchAnswer(True, 0.6, INSIDE, ""), WatchAnswer(True, 0.6, INSIDE, ""))
    bench.watch.mark_false(alert.frame_id, bench.now)
    assert bench.state() is WatchState.PAUSED
    assert bench.twice(WatchAnswer(True, 0.65, INSIDE, "")) == []
    (second,), _ = bench.answer(bench.woken(), YES)
    assert second.before == alert.frame_id
    assert bench.answer(second, YES)[1]


@pytest.mark.parametrize(("brought", "expected"), [(0.7, 0.7), (0.0, 0.5), (1.0, 0.95)])
def test_a_watch_begins_with_the_bar_that_it_had(brought: float, expected: float) -> None:
    """A raised bar comes along from an earlier session; nobody lowers a new watch's, or shuts it."""
    bench = Bench(order(threshold=brought)).calm()
    assert bench.watch.threshold == expected
    below, above = (WatchAnswer(True, expected + more, INSIDE, "") for more in (-0.01, 0.01))
    assert bench.twice(below, below) == []
    assert bench.twice(above, above)


def test_wakes_are_bounded_by_a_budget_a_day() -> None:
    """At once as many as a day's, and then as many again within a day."""
    bench = Bench(KETTLE)
    asked = 0
    for n in range(2_000):
        ask = bench.rule.on_change(f"f{n}", HERE, n * 10, 0)
        if ask is not None:
            asked += 1
            bench.answer(ask, NO)
    assert asked == 150 + int(20_000 / 86_400 * 150)
    assert bench.watch.make_state(20_000, 0) is WatchState.PAUSED


def test_a_watch_in_place_of_another_has_no_new_wakes() -> None:
    bench = Bench(KETTLE)
    for n in range(WAKES_A_DAY):
        bench.answer(bench.rule.on_change(f"f{n}", HERE, 0, 0), NO)
    bench.add(ONCE, "w2", before=bench.watch)
    assert len(bench.rule) == 1
    assert bench.rule.on_change("g", HERE, 0, 0) is None


def test_all_conditions_are_asked_in_one_request_each_with_its_own_second_look() -> None:
    bench = Bench(*(order(f"w{n}") for n in range(MAX_WATCHES))).calm()
    ask = bench.woken()
    assert ask is not None
    assert len(ask.watch_ids) == MAX_WATCHES
    asks, _ = bench.rule.on_answer(ask, {"w1": YES, "w2": YES, "w3": NO}, bench.now, 0)
    assert [second.watch_ids for second in asks] == [("w1",), ("w2",)]
    # While second looks are on their way the others are asked about.
    later = bench.woken()
    assert later is not None
    assert set(later.watch_ids) == {f"w{n}" for n in range(MAX_WATCHES)} - {"w1", "w2"}
    assert bench.answer(asks[0], YES)[1]


def test_changes_that_come_meanwhile_wait_as_one_and_the_newest_frame_is_asked_about() -> None:
    bench = Bench(KETTLE).calm()
    ask = bench.woken()
    assert ask is not None
    assert bench.woken(Box(0, 0, 10, 10)) is None
    assert bench.woken(Box(90, 90, 200, 200)) is None
    assert bench.settled() is None
    (following,), _ = bench.answer(ask, NO)
    assert (following.look, following.changed) == (LookKind.PLAIN, Box(0, 0, 200, 200))
    assert following.frame_id == "f5"
    assert bench.answer(ask, YES) == ([], [])


def test_a_watch_that_was_replaced_does_not_hear_the_old_ones_answers() -> None:
    bench = Bench(KETTLE).calm()
    ask = bench.woken()
    bench.add(order(condition="it freezes"), "w2", before=bench.watch)
    assert bench.answer(ask, YES) == ([], [])
    begin = bench.rule.request_first("f9", bench.now, 0)
    (second,), _ = bench.answer(begin, YES)
    bench.add(order(condition="it melts"), "w3", before=bench.watch)
    assert bench.answer(second, YES) == ([], [])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_promises_hold(seed: int) -> None:
    """No frame is asked about twice in the same way, no alert without two yeses of a frame, never more than the bounds."""
    chance = random.Random(seed)
    rule = WatchRules()
    waiting: list[WatchRequest] = []
    asked: set[tuple[str, str]] = set()
    yes: dict[tuple[str, str], int] = {}
    now = 0.0
    for n in range(600):
        now += chance.choice([0.5, 5, 60, 600])
        minute = int(now / 60) % 1440
        asks: list[WatchRequest] = []
        act = chance.randrange(8)
        if act == 0 and len(rule) < MAX_WATCHES:
            hours, repeat = chance.choice([None, (60, 1200)]), chance.random() < 0.7
            rule.add(f"v{n}", order(repeat=repeat, hours=hours), now)
        elif act == 1 and chance.random() < 0.1:
            rule.remove(f"v{chance.randrange(n + 1)}")
        elif act < 4:
            frame = f"f{n - chance.randrange(2)}"
            ask = chance.choice([rule.on_change, rule.on_settled])(frame, HERE, now, minute)
            asks = [ask] if ask else []
        elif waiting:
            ask = waiting.pop(chance.randrange(len(waiting)))
            answers = {
                name: WatchAnswer(chance.random() < 0.5, chance.random(), INSIDE, "")
                for name in ask.watch_ids
                if chance.random() < 0.9
            }
            for name, answer in answers.items():
                yes[name, ask.frame_id] = yes.get((name, ask.frame_id), 0) + answer.seen
            asks, alert = rule.on_answer(ask, answers, now, minute)
            assert alert is None or yes[alert.watch_id, alert.frame_id] == 2
        for ask in asks:
            kind = "second" if ask.look is LookKind.SECOND else "common"
            for name in ask.watch_ids:
                assert (kind, name + ask.frame_id) not in asked
                asked.add((kind, name + ask.frame_id))
            waiting.append(ask)
        assert len(waiting) <= MAX_WATCHES + 1 + n // 50
        assert len(rule) <= MAX_WATCHES


def test_a_watch_outside_its_hours_does_not_keep_others_from_beginning() -> None:
    """The settled look of the others goes out, and their first event alerts."""
    bench = Bench(KETTLE, order("w2", "the light is on", hours=(0, 1)))
    bench.answer(bench.rule.request_first("f0", bench.now, bench.minute), NO)
    assert not bench.rule.has_unasked(bench.now, bench.minute)
    bench.answer(bench.settled(), NO)
    assert len(bench.twice(YES)) == 1


def test_a_condition_that_no_engine_is_asked_about_keeps_no_other_waiting() -> None:
    bench = Bench(order("r", "red"), order("k", "a kettle"), place={"red": 0}.get)
    rule = bench.rule
    assert rule.has_unasked(0.5, 600)
    begun = rule.request_first("f1", 1.0, 600)
    assert begun is not None
    assert begun.watch_ids == ("r",)
    bench.answer(begun, NO)
    assert not rule.has_unasked(1.3, 600)
    assert rule.request_first("f2", 1.4, 600) is None
    settled = rule.on_settled("f3", None, 3.0, 600)
    assert settled is not None
    assert settled.watch_ids == ("r",)


def test_a_place_lies_in_what_changed_by_a_fifth_of_the_smaller() -> None:
    changed = Box(0, 0, 100, 100)
    assert has_overlap(Box(10, 10, 20, 20), changed)
    assert has_overlap(Box(79, 0, 179, 100), changed)
    assert not has_overlap(Box(81, 0, 181, 100), changed)
    assert not has_overlap(Box(100, 0, 200, 100), changed)
    assert has_overlap(Box(0, 0, 1000, 1000), changed)
