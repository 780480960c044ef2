"""Guidance: the hint for what a look found, and that it does not chatter."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Scene
from server.shared.aim import (
    CUT_UNTIL,
    SMALL_BELOW,
    SMALL_UNTIL,
    STEADY_SECONDS,
    UNSURE_SECONDS,
    Advice,
    Aim,
    Found,
    Hint,
    Thing,
    advise,
    advise_reading,
)

CLEAR = Scene(brightness=0.5, sharpness=0.8, motion=0.0, dark=False, blurred=False)
GOOD = Advice(Hint.GOOD, "text")


def page(
    left: float = 0.3,
    top: float = 0.3,
    right: float = 0.7,
    bottom: float = 0.7,
    *,
    lines: int = 6,
    letters: float = 0.02,
) -> Found:
    """Lines of text that fill this part of the picture; what lies outside of it is cut off."""
    step = (bottom - top) / lines
    found = []
    for number in range(lines):
        upper = top + number * step
        lower = upper + 0.7 * step
        if lower > 0.0 and upper < 1.0 and right > 0.0 and left < 1.0:
            found.append(
                Thing(max(0.0, left), max(0.0, upper), min(1.0, right), min(1.0, lower), letters)
            )
    return Found(lines=tuple(found))


def hint(found: Found, now: Advice | None = None) -> Hint:
    advice = advise(found, CLEAR, now)
    assert advice is not None
    return advice.hint


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (page(), Hint.GOOD),
        (page(0.02, 0.02, 0.98, 0.98), Hint.GOOD),
        (page(-0.2, 0.3, 0.4, 0.7), Hint.LEFT_EDGE),
        (page(0.6, 0.3, 1.2, 0.7), Hint.RIGHT_EDGE),
        (page(0.3, -0.03, 0.7, 0.4), Hint.UPPER_EDGE),
        (page(0.3, 0.7, 0.7, 1.03), Hint.LOWER_EDGE),
        (page(-0.2, 0.3, 1.2, 0.7), Hint.BACK),
        (page(0.3, -0.02, 0.7, 1.02, lines=20), Hint.BACK),
        (page(0.05, 0.4, 0.2, 0.6), Hint.LEFT),
        (page(0.8, 0.4, 0.95, 0.6), Hint.RIGHT),
        (page(0.4, 0.05, 0.6, 0.2), Hint.UP),
        (page(0.4, 0.8, 0.6, 0.95), Hint.DOWN),
        (page(letters=0.005), Hint.CLOSER),
        (Found(), Hint.NOTHING),
    ],
)
def test_the_hint_names_what_to_do(found: Found, expected: Hint) -> None:
    """Print that is whole, large enough and about in the middle is good."""
    assert hint(found) is expected


def test_light_and_blur_come_first() -> None:
    """Nothing that was found counts in a picture that shows nothing."""
    for scene, expected in (
        (replace(CLEAR, dark=True), Hint.DARK),
        (replace(CLEAR, black=True), Hint.DARK),
        (replace(CLEAR, blurred=True), Hint.BLURRED),
    ):
        assert advise(page(), scene) == Advice(expected)
    assert advise(page(), None) == GOOD


def test_without_a_reader_only_the_scene_is_judged() -> None:
    assert advise(Found(looked=False), CLEAR) is None
    assert advise(Found(looked=False), replace(CLEAR, dark=True)) == Advice(Hint.DARK)


def test_one_false_end_is_no_cut_page() -> None:
    """One line of many that touches the left border; a short word at the lower one."""
    lines = page().lines
    stray = replace(lines[0], left=0.0)
    assert hint(Found(lines=(stray, *lines[1:]), looked=True)) is Hint.LEFT_EDGE
    narrow = replace(lines[0], left=0.0, right=0.3, bottom=lines[0].top + 0.01)
    assert hint(Found(lines=(narrow, *lines[1:]))) is Hint.GOOD
    word = Thing(0.3, 0.96, 0.35, 1.0, 0.02)
    near = page(0.3, 0.5, 0.7, 0.95).lines
    assert hint(Found(lines=(*near, word))) is Hint.GOOD


def test_print_elsewhere_in_the_picture_does_not_count() -> None:
    """A word on the wall at the border, far from the page in the middle."""
    wall = Thing(0.0, 0.0, 0.08, 0.03, 0.02)
    assert hint(Found(lines=(*page().lines, wall))) is Hint.GOOD


def test_a_face_counts_where_there_is_no_print() -> None:
    face = Thing(0.4, 0.3, 0.6, 0.7, 0.4)
    assert advise(Found(faces=(face,)), CLEAR) == Advice(Hint.GOOD, "face")
    assert hint(Found(faces=(replace(face, top=0.0),))) is Hint.UPPER_EDGE
    assert hint(Found(faces=(Thing(0.48, 0.48, 0.52, 0.53, 0.05),))) is Hint.CLOSER
    assert hint(Found(faces=(Thing(0.0, 0.0, 1.0, 1.0, 1.0),))) is Hint.BACK
    assert advise(Found(lines=page().lines, faces=(face,)), CLEAR) == GOOD
    small = Thing(0.05, 0.05, 0.1, 0.1, 0.05)
    assert advise(Found(faces=(small, face)), CLEAR) == Advice(Hint.GOOD, "face")


@given(letters=st.floats(SMALL_BELOW, SMALL_UNTIL, exclude_max=True), shift=st.floats(-0.05, 0.05))
def test_a_hint_stays_until_its_reason_is_clearly_gone(letters: float, shift: float) -> None:
    """Between the two thresholds, whatever came first stays."""
    found = page(0.3 + shift, 0.3, 0.7 + shift, 0.7, letters=letters)
    assert hint(found, Advice(Hint.CLOSER, "text")) is Hint.CLOSER
    assert hint(found, GOOD) is Hint.GOOD


@given(left=st.floats(0.007, CUT_UNTIL - 0.001))
def test_a_cut_edge_stays_until_there_is_room(left: float) -> None:
    found = page(left, 0.3, 0.6, 0.7)
    assert hint(found, Advice(Hint.LEFT_EDGE, "text")) is Hint.LEFT_EDGE
    assert hint(found, GOOD) is Hint.GOOD


def mirrored(found: Found) -> Found:
    return Found(
        tuple(replace(one, left=1.0 - one.right, right=1.0 - one.left) for one in found.lines)
    )


MIRROR = {
    Hint.LEFT: Hint.RIGHT,
    Hint.RIGHT: Hint.LEFT,
    Hint.LEFT_EDGE: Hint.RIGHT_EDGE,
    Hint.RIGHT_EDGE: Hint.LEFT_EDGE,
}


@given(left=st.integers(-300, 1000), top=st.integers(-300, 1000), wide=st.integers(50, 700))
def test_left_and_right_are_alike(left: int, top: int, wide: int) -> None:
    """A mirrored picture gets the mirrored hint."""
    found = page(left / 1000, top / 1000, (left + wide) / 1000, top / 1000 + 0.2)
    expected = hint(found)
    assert hint(mirrored(found)) is MIRROR.get(expected, expected)


def test_two_looks_in_a_row_make_a_hint() -> None:
    """One other result between changes nothing; the next look comes sooner meanwhile."""
    aim = Aim()
    assert aim.pause == UNSURE_SECONDS
    assert not aim.see(page(), CLEAR)
    assert aim.see(page(), CLEAR)
    assert aim.advice == GOOD
    assert aim.pause == STEADY_SECONDS
    assert not aim.see(Found(), CLEAR)
    assert aim.pause == UNSURE_SECONDS
    assert not aim.see(page(), CLEAR)
    assert not aim.see(Found(), CLEAR)
    assert not aim.see(page(letters=0.005), CLEAR)
    assert not aim.see(Found(), CLEAR)
    assert aim.advice == GOOD
    assert aim.see(Found(), CLEAR)
    assert aim.advice == Advice(Hint.NOTHING)


@given(st.lists(st.sampled_from([page(), Found(), page(letters=0.005)]), max_size=40))
def test_hints_change_at_most_every_second_look(looks: list[Found]) -> None:
    aim, changed = Aim(), []
    for number, found in enumerate(looks):
        if aim.see(found, CLEAR):
            changed.append(number)
    assert all(later - one >= 2 for one, later in itertools.pairwise(changed))


@pytest.mark.parametrize(
    ("found", "begun", "expected"),
    [
        (page(), False, Hint.GOOD),
        (page(), True, Hint.GOOD),
        (page(bottom=1.1), True, Hint.LOWER_EDGE),
        (page(top=-0.05), False, Hint.UPPER_EDGE),
        # Text that is cut off above was read before.
        (page(top=-0.05), True, Hint.GOOD),
        # The middle of a long page
        (page(top=-0.1, bottom=1.1), True, Hint.LOWER_EDGE),
        (page(left=-0.1), True, Hint.LEFT_EDGE),
        (page(right=1.1, bottom=1.1), True, Hint.RIGHT_EDGE),
        (page(left=-0.1, right=1.1), True, Hint.BACK),
        (page(letters=0.005), True, Hint.CLOSER),
        (Found(), True, Hint.NOTHING),
    ],
)
def test_what_helps_to_read_on(found: Found, begun: bool, expected: Hint) -> None:
    """Text goes on below; at the sides a part of each line is missing."""
    assert advise_reading(found, CLEAR, begun=begun) is expected


def test_reading_needs_light_and_a_still_hand() -> None:
    """Without lines a blurred picture is the reason; nobody who could look is no reason."""
    blurred, dark = replace(CLEAR, blurred=True), replace(CLEAR, dark=True)
    assert advise_reading(Found(), blurred, begun=False) is Hint.BLURRED
    assert advise_reading(page(), blurred, begun=False) is Hint.GOOD
    assert advise_reading(page(), dark, begun=False) is Hint.DARK
    assert advise_reading(Found(looked=False), CLEAR, begun=False) is None
