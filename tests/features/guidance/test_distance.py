"""The distance of a thing, by its size in the picture: of things with one size alone, and seen as a whole."""

from __future__ import annotations

import math

import pytest

from server.features.builtin.detector import classes
from server.features.guidance.goal import Edges, metres

LYING, UPRIGHT = 9 / 16, 16 / 9


def around(wide: float, high: float) -> Edges:
    return 0.5 - wide / 2, 0.5 - high / 2, 0.5 + wide / 2, 0.5 + high / 2


def seen(size: float, far: float, field: float, ratio: float) -> Edges:
    """The box of a thing as high as wide, by a camera with such a field of view from left to right."""
    share = size / far / (2 * math.tan(math.radians(field / 2)))
    return around(share, share / ratio)


@pytest.mark.parametrize("far", [0.3, 0.7, 2.0, 5.0])
@pytest.mark.parametrize(("field", "ratio"), [(60, LYING), (45, UPRIGHT)])
def test_it_is_as_far_as_it_looks_small(far: float, field: float, ratio: float) -> None:
    """The phone lies or stands; other cameras see 50 to 70 degrees, which is a third more or less."""
    assert metres("cup", seen(0.1, far, field, ratio), ratio) == pytest.approx(far, rel=0.05)
    for other in (field - 10, field + 10):
        told = metres("cup", seen(0.1, far, other, ratio), ratio)
        assert told == pytest.approx(far, rel=0.35)


def test_a_large_thing_is_farther_away_than_a_small_one_that_looks_alike() -> None:
    box = around(0.1, 0.2)
    found = [metres(name, box, LYING) or 0 for name in ("cup", "bottle", "chair", "refrigerator")]
    assert found == sorted(found)
    assert found[-1] > 10 * found[0]


def test_the_longest_side_counts() -> None:
    """A bottle stands or lies."""
    assert metres("bottle", around(0.3, 0.1), LYING) == metres(
        "bottle", around(0.1, 0.3 / LYING), LYING
    )


@pytest.mark.parametrize("name", ["dog", "car", "person", "book", "dining table", "", "the key"])
def test_of_other_things_nobody_knows(name: str) -> None:
    """They differ in size, or look longer from one side than from another."""
    assert metres(name, around(0.2, 0.2), LYING) is None


@pytest.mark.parametrize("cut", [(0.0, 0.4), (0.4, 0.0), (0.8, 0.4), (0.4, 0.8)])
def test_what_an_edge_cuts_off_has_no_distance(cut: tuple[float, float]) -> None:
    left, top = cut
    assert metres("cup", (left, top, left + 0.2, top + 0.2), LYING) is None


def test_cups_bottles_and_chairs_are_among_them() -> None:
    known = {name for name in classes().detector if metres(name, around(0.2, 0.2), 1.0)}
    assert {"cup", "bottle", "chair"} <= known
