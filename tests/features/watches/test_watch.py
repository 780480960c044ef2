"""The orders that can be watched, and the overlap of boxes."""

from __future__ import annotations

from typing import Any

import pytest

from server.features.watches.rule import Order, overlaps
from server.media.picture.grounding import Box


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": ""}, "needs an id"),
        ({"condition": " \n"}, "needs an id and a condition"),
        ({"cooldown_s": -1}, "a cooldown of -1 s was given"),
        ({"cooldown_s": float("nan")}, "a cooldown of nan s was given"),
        ({"expires_s": 0}, "an expiry of 0 s was given"),
        ({"hours": (0, 1440)}, "minutes from 0 to 1439"),
        ({"hours": (60, 60)}, "another minute"),
    ],
)
def test_what_cannot_be_watched_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Order(**{"id": "w1", "condition": "it boils", **changes})


def test_a_place_lies_in_what_changed_by_a_fifth_of_the_smaller() -> None:
    changed = Box(0, 0, 100, 100)
    assert overlaps(Box(10, 10, 20, 20), changed)
    assert overlaps(Box(79, 0, 179, 100), changed)
    assert not overlaps(Box(81, 0, 181, 100), changed)
    assert not overlaps(Box(100, 0, 200, 100), changed)
    assert overlaps(Box(0, 0, 1000, 1000), changed)
