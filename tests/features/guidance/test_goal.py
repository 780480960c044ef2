"""A goal is found, lost, near and reached by looks, in a test's own time."""

from __future__ import annotations

import math

import pytest

from server.features.guidance.goal import GoalSighting, GoalTracker, State, estimate_distance
from server.media.picture.grounding import Box

SIDE = Box(0.1, 0.4, 0.2, 0.6)
ELSEWHERE = Box(0.8, 0.1, 0.95, 0.3)


def sure(box: Box) -> list[GoalSighting]:
    return [GoalSighting(box, sure=True)]


def unsure(box: Box) -> list[GoalSighting]:
    return [GoalSighting(box, sure=False)]


def now_is(goal: GoalTracker, state: State) -> bool:
    return goal.state is state


def found(box: Box = SIDE) -> GoalTracker:
    """A goal that was found at 1.0."""
    goal = GoalTracker()
    goal.see(sure(box), 0.75)
    assert goal.see(sure(box), 1.0)
    assert now_is(goal, State.FOUND)
    return goal


def test_one_look_is_not_believed() -> None:
    """Two sure ones soon after each other are; what both models do not say is never."""
    goal = GoalTracker()
    assert goal.see(sure(SIDE), 0.0)
    assert now_is(goal, State.MAYBE)
    goal.see([], 3.5)
    assert now_is(goal, State.LOOKING)
    goal.see(sure(SIDE), 4.0)
    assert now_is(goal, State.MAYBE)
    assert not goal.near
    assert goal.see(sure(SIDE), 4.25)
    assert (goal.state, goal.box) == (State.FOUND, SIDE)
    other = GoalTracker()
    for number in range(40):
        assert not other.see(unsure(SIDE), number / 4)
    assert other.state is State.LOOKING


def test_what_nothing_can_contradict_takes_more_looks() -> None:
    goal = GoalTracker()
    alone = [GoalSighting(SIDE, sure=False, alone=True)]
    assert [goal.see(alone, number / 4) for number in range(4)] == [False, False, False, True]


def test_it_is_followed_by_less_sure_looks_for_a_while() -> None:
    """Then both models have to say it again, or it is lost."""
    goal = found()
    assert goal.get_known_box(1.5) == SIDE
    assert goal.get_known_box(2.1) is None
    now = 1.0
    while goal.state is State.FOUND and now < 9:
        now += 0.25
        goal.see(unsure(SIDE), now)
    assert now_is(goal, State.LOST)
    assert now == pytest.approx(5.25)


def test_it_is_lost_after_three_looks_without_it_and_found_again() -> None:
    """Not before a part of a second: a hand passes. The last place says on which side it left."""
    goal = found()
    # It is not where it was seen last: nobody hears of that place again.
    assert not goal.see([], 1.25)
    assert not goal.see([], 1.5)
    assert now_is(goal, State.FOUND)
    assert goal.see([], 1.75)
    assert (goal.state, goal.box) == (State.LOST, SIDE)
    goal.see(sure(ELSEWHERE), 2.0)
    assert now_is(goal, State.MAYBE)
    assert goal.see(sure(ELSEWHERE), 2.25)
    assert now_is(goal, State.FOUND)


def test_it_is_expected_where_it_moves() -> None:
    """So that a look closer at it does not miss it; not for long, and not once it was missed."""
    goal = found(Box(0.5, 0.4, 0.6, 0.6))
    goal.see(sure(Box(0.45, 0.4, 0.55, 0.6)), 1.25)
    for now, left in ((1.5, 0.4), (9.0, 0.33)):
        expected = goal.get_expected_box(now)
        assert expected is not None
        assert expected.edges == pytest.approx((left, 0.4, left + 0.1, 0.6))
    goal.see([], 1.5)
    assert goal.get_expected_box(1.75) is None


def test_another_of_its_kind_far_away_is_not_it() -> None:
    """Neither while it is in sight, nor the moment after."""
    goal = found()
    goal.see([*sure(ELSEWHERE), *unsure(SIDE)], 1.25)
    assert goal.box == SIDE
    goal.see(sure(ELSEWHERE), 1.5)
    assert goal.box == SIDE


def test_looks_of_a_model_are_seconds_apart() -> None:
    """It may be anywhere by then; two misses in a row lose it."""
    goal = GoalTracker(by_model=True)
    goal.see(sure(SIDE), 0.0)
    assert now_is(goal, State.MAYBE)
    goal.see(sure(ELSEWHERE), 5.0)
    assert (goal.state, goal.box) == (State.FOUND, ELSEWHERE)
    assert goal.steady
    goal.see(sure(SIDE), 9.0)
    assert goal.box == SIDE
    assert goal.unfollow()
    assert not goal.steady
    goal.see(sure(SIDE), 11.0)
    assert goal.steady
    goal.see([], 13.0)
    assert now_is(goal, State.FOUND)
    assert not goal.steady
    goal.see([], 15.0)
    assert now_is(goal, State.LOST)
    assert not goal.unfollow()


def test_a_second_look_decides_about_what_was_not_found_yet() -> None:
    """Denied, it is not heard of for a while; seen again twice all the same, it is found."""
    goal, sight = GoalTracker(by_model=True), GoalSighting(SIDE, sure=True)
    goal.see([sight], 0.0)
    goal.record_second_look(False, 0.0, sight)
    assert now_is(goal, State.LOOKING)
    goal.see([sight], 4.0)
    assert now_is(goal, State.LOOKING)
    goal.record_second_look(True, 4.0, sight)
    assert (goal.state, goal.box, goal.confirmed) == (State.FOUND, SIDE, True)
    # Of what was lost meanwhile nothing is confirmed.
    other = found()
    for number in range(1, 4):
        other.see([], 1.0 + number / 2)
    assert now_is(other, State.LOST)
    other.record_second_look(True, 3.0)
    assert (other.state, other.confirmed) == (State.LOST, False)


LYING, UPRIGHT = 9 / 16, 16 / 9


def around(wide: float, high: float) -> Box:
    return Box(0.5 - wide / 2, 0.5 - high / 2, 0.5 + wide / 2, 0.5 + high / 2)


def seen(size: float, far: float, field: float, ratio: float) -> Box:
    """The box of a thing as high as wide, by a camera with such a field of view from left to right."""
    share = size / far / (2 * math.tan(math.radians(field / 2)))
    return around(share, share / ratio)


@pytest.mark.parametrize("far", [0.3, 0.7, 2.0, 5.0])
@pytest.mark.parametrize(("field", "ratio"), [(60, LYING), (45, UPRIGHT)])
def test_it_is_as_far_as_it_looks_small(far: float, field: float, ratio: float) -> None:
    """The phone lies or stands; other cameras see 50 to 70 degrees, which is a third more or less."""
    assert estimate_distance("cup", seen(0.1, far, field, ratio), ratio) == pytest.approx(
        far, rel=0.05
    )
    for other in (field - 10, field + 10):
        told = estimate_distance("cup", seen(0.1, far, other, ratio), ratio)
        assert told == pytest.approx(far, rel=0.35)


def test_the_longest_side_counts() -> None:
    """A bottle stands or lies."""
    assert estimate_distance("bottle", around(0.3, 0.1), LYING) == estimate_distance(
        "bottle", around(0.1, 0.3 / LYING), LYING
    )


@pytest.mark.parametrize("name", ["dog", "car", "person", "book", "dining table", "", "the key"])
def test_of_other_things_nobody_knows(name: str) -> None:
    """They differ in size, or look longer from one side than from another."""
    assert estimate_distance(name, around(0.2, 0.2), LYING) is None


@pytest.mark.parametrize("cut", [(0.0, 0.4), (0.4, 0.0), (0.8, 0.4), (0.4, 0.8)])
def test_what_an_edge_cuts_off_has_no_distance(cut: tuple[float, float]) -> None:
    left, top = cut
    assert estimate_distance("cup", Box(left, top, left + 0.2, top + 0.2), LYING) is None
