"""Hindrances of sight, and the words for them."""

from __future__ import annotations

import pytest

from server.core.frames import Scene
from server.media.picture.luma import WORDS, Hindrance, hindrance


@pytest.mark.parametrize(
    ("dark", "blurred", "black", "found"),
    [
        (False, False, False, None),
        (True, False, True, Hindrance.BLACK),
        (True, True, False, Hindrance.DARK),
        (False, True, False, Hindrance.BLURRED),
    ],
)
def test_the_worst_counts(dark: bool, blurred: bool, black: bool, found: Hindrance | None) -> None:
    """Black before dark before blurred, each with words that say what to do."""
    assert hindrance(Scene(0.5, 0.5, None, dark, blurred, black)) is found
    assert found is None or "." in WORDS[found]


def test_an_unknown_scene_hinders_nothing() -> None:
    """Without a measurement the model decides."""
    assert hindrance(None) is None
    assert WORDS.keys() == set(Hindrance)
