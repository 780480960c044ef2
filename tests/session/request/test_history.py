"""A session's history: its bounds, and that its beginning stays the same for the prefix cache."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from server.models.base import Turn
from server.models.prompts import estimate_tokens
from server.session.request.parts import History


def filled(count: int, *, max_tokens: int = 4096, max_turns: int = 32) -> History:
    history = History(max_tokens=max_tokens, max_turns=max_turns)
    for number in range(count):
        history.add(f"question {number}", f"answer {number}")
    return history


def questions(history: History, budget: int) -> list[str]:
    """Those of the turns within a budget."""
    return [turn.question for turn in history.turns(budget)]


def test_turns_come_back_oldest_first() -> None:
    """Added turns are returned in order, with unchanged texts."""
    assert filled(3).turns(1000) == tuple(
        Turn(f"question {number}", f"answer {number}") for number in range(3)
    )


def test_a_turn_without_an_answer_is_not_kept() -> None:
    """An answer that was stopped before its first word is no turn."""
    history = History()
    history.add("question", " ")
    history.add("", "answer")
    assert len(history) == 0
    assert history.tokens == 0


def test_the_number_of_turns_is_bounded() -> None:
    """At the bound all are kept; one more cuts to half, newest kept."""
    assert len(filled(8, max_turns=8)) == 8
    history = filled(9, max_turns=8)
    assert questions(history, 1000) == [f"question {n}" for n in range(5, 9)]


def test_tokens_are_bounded() -> None:
    """One turn too many for the bound cuts to half of it, so that the next ones cut nothing."""
    cost = filled(1).tokens
    history = filled(10, max_tokens=cost * 10)
    assert len(history) == 10
    history.add("question X", "answer X")
    assert len(history) == 5


def test_what_is_told_survives_a_cut_of_what_is_kept() -> None:
    """The place from which turns are sent moves with the turns."""
    history = filled(10, max_turns=10)
    budget = history.tokens // 10 * 8
    assert len(history.turns(budget)) == 4
    history.add("question 10", "answer 10")
    assert questions(history, budget) == [f"question {number}" for number in range(6, 11)]


def test_a_smaller_budget_tells_fewer_turns() -> None:
    """The newest within half the budget, so that there is room to grow; nothing for a budget of nothing."""
    history = filled(10)
    cost = history.tokens // 10
    assert questions(history, cost * 8) == [f"question {number}" for number in range(6, 10)]
    assert history.turns(0) == ()
    assert history.turns(-5) == ()


def test_the_newest_turn_is_told_when_it_fits_at_all() -> None:
    """A budget of one turn tells one turn."""
    history = filled(3)
    cost = history.tokens // 3
    assert questions(history, cost) == ["question 2"]
    assert history.turns(cost - 1) == ()


def test_the_beginning_stays_the_same_for_several_turns() -> None:
    """A model server's prefix cache gets use out of it: the first turn told changes seldom."""
    history = History()
    firsts = []
    for number in range(30):
        history.add(f"question {number:02}", f"answer {number:02}")
        firsts.append(history.turns(200)[0].question)
    changes = sum(a != b for a, b in pairwise(firsts))
    assert 2 <= changes <= 7


def test_a_wider_engine_gets_the_older_turns_again() -> None:
    """A small budget cuts the turns that are sent, not those that are kept."""
    history = filled(10)
    cost = history.tokens // 10
    assert len(history.turns(cost * 4)) == 2
    assert len(history.turns(cost * 5)) == 2
    assert len(history.turns(cost * 10)) == 10


def test_clear_forgets_everything() -> None:
    """A session that ends leaves nothing."""
    history = filled(5)
    history.turns(30)
    history.clear()
    assert len(history) == 0
    assert history.tokens == 0
    history.add("q", "a")
    assert history.turns(100) == (Turn("q", "a"),)


def test_a_long_text_is_cut_at_its_end() -> None:
    """It begins as it was, says that it goes on, and leaves room for others."""
    history = History(max_tokens=400)
    history.add("7" * 4000, "短い" * 2000)
    (turn,) = history.turns(400)
    assert turn.question == "7" * 92 + "…"
    assert estimate_tokens(turn.question) == (400 - 24) // 4
    assert turn.answer.startswith("短い短い")
    assert turn.answer.endswith("…")
    assert 80 < estimate_tokens(turn.answer) <= 94


@given(
    st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300), st.integers(-10, 900))),
    st.integers(64, 800),
    st.integers(2, 6),
)
def test_bounds_hold_whatever_is_said(
    said: list[tuple[str, str, int]], max_tokens: int, max_turns: int
) -> None:
    """Tokens and turns stay within their bounds, and the turns that are sent are the newest, without a gap, within the budget."""
    history = History(max_tokens=max_tokens, max_turns=max_turns)
    for question, answer, budget in said:
        history.add(question, answer)
        assert history.tokens <= max_tokens
        assert len(history) <= max_turns
        if question.strip() and answer.strip():
            assert len(history) >= 1
        told = history.turns(budget)
        cost = sum(estimate_tokens(t.question) + estimate_tokens(t.answer) + 12 for t in told)
        assert cost <= max(0, budget)
        assert told == tuple(turn for turn, _ in history._turns)[len(history) - len(told) :]


def test_turns_that_an_engine_left_out_stay_out() -> None:
    """They are not told again with the next question, and come back where there is far more room."""
    history = filled(6)
    assert len(history.turns(1000)) == 6
    history.leave_out(4)
    assert questions(history, 1000) == ["question 4", "question 5"]
    history.add("question 6", "answer 6")
    assert len(history.turns(1000)) == 3
    assert len(history.turns(5000)) == 7


def test_the_newest_turn_can_be_removed() -> None:
    """By its number, once; an older one stays."""
    history = filled(2)
    cost = history.tokens
    number = history.add("wrong words", "an answer")
    assert number == history.added == 3
    history.remove(2)
    assert len(history) == 3
    history.remove(number)
    history.remove(number)
    assert questions(history, 1000) == ["question 0", "question 1"]
    assert (history.tokens, history.added) == (cost, 2)
    assert history.add(" ", "answer") is None
