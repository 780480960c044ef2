"""The share of background work: halves when questions slow down, grows back."""

from __future__ import annotations

import math

import pytest

from server.models.scheduler.fairness import LEAST, BackgroundShare


def slowed(times: int, share: BackgroundShare | None = None) -> BackgroundShare:
    """A share after so many slow questions, a second apart, the last at that second."""
    share = share or BackgroundShare()
    share.answered("low", 0.1, -1.0)
    for second in range(1, times + 1):
        share.answered("low", 0.2, float(second))
    return share


def test_slow_first_tokens_halve_it() -> None:
    """Down to 1/32."""
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


def test_many_kinds_are_bounded() -> None:
    share = BackgroundShare()
    for kind in range(1000):
        share.answered(kind, 0.1, 0.0)
    assert len(share._usual) <= 64


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
