"""Captions of pictures of the past, and the numbers that an answer names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models.prompts import captions, cited


def test_each_picture_has_its_number_and_age() -> None:
    """The last caption also says what they are: the oldest pictures are the ones that are left out."""
    first, second, third = captions([(250, 250), (99.6, 220), (1.2, 1.2)])
    assert first == "[1] 4 min 10 s ago:"
    assert second == "[2] from 3 min 40 s to 1 min 40 s ago:"
    assert third.endswith("\n[3] 1 s ago:")
    assert "no number and is of now" in third
    assert "like [1]" in third
    assert captions([]) == []


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("You put them on the shelf [2].", {2}),
        ("First [1], then [3].", {1, 3}),
        ("It moved [1, 3].", {1, 3}),
        ("It moved [1-3].", {1, 2, 3}),
        ("Er kam [1 und 2].", {1, 2}),
        ("Nothing [9] of these [0].", set()),
        ("A list [like 2] or 2 is no number.", set()),
        ("", set()),
    ],
)
def test_named_numbers(answer: str, numbers: set[int]) -> None:
    """In brackets, alone or several, and only of pictures that there were."""
    assert cited(answer, 4) == numbers


@given(st.text(alphabet="[]0123456789,- ;und", max_size=500), st.integers(0, 8))
def test_any_answer_names_only_what_there_is(answer: str, count: int) -> None:
    """Whatever a model writes."""
    assert cited(answer, count) <= set(range(1, count + 1))
