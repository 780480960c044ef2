"""JSON in a model's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.picture.grounding import MAX_TEXT_CHARS, number, objects, share


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('Here: ```json\n[{"a": 1}, {"b": {"c": 2}}]\n``` Done.', [{"a": 1}, {"b": {"c": 2}}]),
        ('{"all": [{"a": 1}, {"b": ', [{"a": 1}]),
        ("no {braces} here", []),
        ('{"a": 1}' + " " * MAX_TEXT_CHARS, []),
    ],
)
def test_complete_objects_are_found(text: str, found: list[object]) -> None:
    """Between words, in a list, inside a broken one; nothing of a text that is too long."""
    assert list(objects(text)) == found


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1, 1.0),
        (-2.5, -2.5),
        (True, None),
        ("1", None),
        (None, None),
        (float("nan"), None),
        (10**400, None),
        (1e300, None),
        (float("-inf"), None),
    ],
)
def test_only_sane_numbers_are_numbers(value: object, read: float | None) -> None:
    """No booleans, strings, infinities."""
    assert number(value) == read


@pytest.mark.parametrize(
    ("value", "read"), [(0.5, 0.5), (1, 1.0), (90, 0.9), (-3, 0.0), (500, 1.0), ("high", None)]
)
def test_a_share_may_be_given_in_percent(value: object, read: float | None) -> None:
    """And is brought into its bounds."""
    assert share(value) == read


@given(st.text(alphabet='{}[]",:0123456789.ab \n`\\', max_size=300))
def test_no_text_makes_reading_fail(text: str) -> None:
    """Whatever a model says."""
    assert all(isinstance(one, dict) for one in objects(text))
