"""The course of a text that is read over several pictures: hints, and its end."""

from __future__ import annotations

from server.features.reading.text import (
    AGAIN_SECONDS,
    HEARING_SECONDS,
    HINT_AFTER_SECONDS,
    QUIET_SECONDS,
    WHOLE_SECONDS,
    ReadPace,
)
from server.shared.aim import Hint


def test_it_ends_soon_when_all_of_it_is_in_view_and_later_when_it_may_go_on() -> None:
    """With its lower edge in view nothing can follow."""
    pace = ReadPace(0)
    pace.note_new_line(1)
    assert not pace.is_complete(1 + WHOLE_SECONDS)
    assert pace.is_complete(1 + QUIET_SECONDS)
    pace.choose_hint(Hint.GOOD, 2)
    assert not pace.is_complete(1 + WHOLE_SECONDS), "one look is no proof"
    pace.choose_hint(Hint.GOOD, 3)
    assert pace.is_complete(1 + WHOLE_SECONDS)


def test_a_hint_needs_two_looks_and_a_moment_without_news() -> None:
    """A person who is moving on already needs none."""
    pace = ReadPace(0)
    pace.note_new_line(5)
    assert pace.choose_hint(Hint.LOWER_EDGE, 5.1) is None
    assert pace.choose_hint(Hint.LOWER_EDGE, 5.2) is None, "too soon"
    assert pace.choose_hint(Hint.LOWER_EDGE, 5 + HINT_AFTER_SECONDS) is Hint.LOWER_EDGE
    assert pace.choose_hint(Hint.DARK, 7) is None, "one look"
    assert pace.choose_hint(Hint.DARK, 8) is Hint.DARK


def test_a_hint_that_still_holds_comes_again_later() -> None:
    """Not at each look; at once after something new was read."""
    pace = ReadPace(0)
    pace.choose_hint(Hint.NOTHING, 1)
    assert pace.choose_hint(Hint.NOTHING, 2) is Hint.NOTHING
    assert pace.choose_hint(Hint.NOTHING, 3) is None
    assert pace.choose_hint(Hint.NOTHING, 2 + AGAIN_SECONDS) is Hint.NOTHING
    pace.note_new_line(9)
    assert pace.choose_hint(Hint.NOTHING, 9 + HINT_AFTER_SECONDS) is Hint.NOTHING


def test_a_page_that_never_ends_its_reading_holds_nothing_open() -> None:
    """It may have gone silent, or say what it likes: the camera and the model are not its own."""
    pace = ReadPace(0)
    pace.note_new_line(1)
    for second in range(1, round(HEARING_SECONDS) + 1):
        pace.note_speaking(second)
        assert not pace.is_complete(second)
    for second in range(round(HEARING_SECONDS), round(HEARING_SECONDS) + 20):
        pace.note_speaking(second)
    assert pace.is_complete(1 + HEARING_SECONDS + QUIET_SECONDS)
