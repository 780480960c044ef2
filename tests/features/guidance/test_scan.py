"""The things around somebody, joined from looks: once each, in the right direction, and nothing that one look alone makes up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from server.features.guidance.scan import (
    End,
    Gaze,
    Heading,
    PlacedThing,
    ScanSighting,
    Sweep,
    get_relative_degrees,
)
from server.media.picture.grounding import Box
from tests.features.guidance.panorama import HEIGHT, WIDTH, Panorama

TANGENT = math.tan(math.radians(30))


def gaze(right: float, path: float | None = None) -> Gaze:
    return Gaze(right, 0.0, TANGENT, 9 / 16, abs(right) if path is None else path)


def at(
    look: Gaze, degrees: float, *, name: str = "cup", wide: float = 8.0, **more: str
) -> ScanSighting:
    """The picture of a look at so many degrees."""
    left, right = look.get_x(degrees - wide / 2), look.get_x(degrees + wide / 2)
    label = more.get("label", "")
    return ScanSighting(more.get("kind", "thing"), name, label, Box(left, 0.4, right, 0.6))  # type: ignore[arg-type]


def in_view(look: Gaze, degrees: float) -> bool:
    return abs(get_relative_degrees(degrees, look.right)) < 25


def scanned(
    *things: tuple[str, float],
    drift: float = 1.0,
    step: float = 12.0,
    whole: float | None = None,
    end: float = 360.0,
) -> list[PlacedThing]:
    """Turn once around a room with these things. `drift`: measured degrees for each true one."""
    turn, heading = Sweep(), Heading()
    for number in range(round(end / step) + 1):
        true = number * step
        heading.right = true * drift
        look = gaze(heading.right)
        seen = [
            at(look, heading.right + get_relative_degrees(place, true) * drift, name=name)
            for name, place in things
            if abs(get_relative_degrees(place, true)) < 25
        ]
        turn.update(heading, number * 0.4)
        turn.look(seen, look)
    heading.whole = whole
    return turn.finish(heading)


def places(found: list[PlacedThing]) -> list[tuple[str, int]]:
    return [(one.name, round(get_relative_degrees(one.right, 0))) for one in found]


def test_each_thing_is_named_once_in_the_order_of_the_turn() -> None:
    found = scanned(("dog", 100), ("cup", 10), ("chair", 190), ("tv", 270))
    assert places(found) == [("cup", 10), ("dog", 100), ("chair", -170), ("tv", -90)]


def test_less_than_a_turn_is_told_from_left_to_right() -> None:
    found = scanned(("dog", 100), ("cup", -10), ("chair", 40), end=120)
    assert [one.name for one in found] == ["cup", "chair", "dog"]


def test_two_of_a_kind_at_two_places_are_two() -> None:
    """Far from each other, and side by side in one look."""
    assert places(scanned(("cup", 20), ("cup", 140))) == [("cup", 20), ("cup", 140)]
    assert places(scanned(("cup", 20), ("cup", 30))) == [("cup", 20), ("cup", 30)]


@pytest.mark.parametrize("drift", [0.83, 0.95, 1.0, 1.08, 1.2])
def test_a_thing_at_the_seam_is_one(drift: float) -> None:
    """Seen at the beginning and at the end of the turn, whatever it measured, where the first view came again."""
    found = scanned(("cup", 3), ("dog", 120), ("cat", 260), drift=drift, whole=360 * drift)
    assert sorted(one.name for one in found) == ["cat", "cup", "dog"]
    truth = {"cup": 3, "dog": 120, "cat": -100}
    assert all(abs(get_relative_degrees(one.right, truth[one.name])) < 3 for one in found)


@pytest.mark.parametrize("drift", [0.96, 1.0, 1.04])
def test_a_seam_without_the_first_view_forgives_some_drift(drift: float) -> None:
    assert len(scanned(("cup", 3), ("dog", 120), drift=drift)) == 2


def test_a_thing_seen_twice_while_turning_back_is_one() -> None:
    turn, heading = Sweep(), Heading()
    way = [*range(0, 100, 10), *range(90, -1, -10)]
    for number, right in enumerate(way):
        heading.right, error = float(right), 0.02 * number
        look = gaze(right, path=10.0 * number)
        turn.update(heading, number * 0.4)
        turn.look([at(look, 60 + error)] if in_view(look, 60) else [], look)
    assert places(turn.finish(heading)) == [("cup", 60)]


def test_a_thing_that_one_look_names_is_not_believed() -> None:
    """Two are, unless most others that saw its place missed it."""
    for count, missed, believed in ((1, 0, False), (2, 0, True), (2, 8, True), (2, 9, False)):
        turn, heading = Sweep(), Heading()
        look = gaze(0)
        for _ in range(count):
            turn.look([at(look, 5)], look)
        for _ in range(missed):
            turn.look([], look)
        assert bool(turn.finish(heading)) is believed, (count, missed)


def test_things_of_two_names_at_one_place_are_one() -> None:
    """That which more looks have seen; side by side in one look they are two."""
    turn = Sweep()
    look = gaze(0)
    for name in ("cup", "cup", "bowl", "cup"):
        turn.look([at(look, 5, name=name)], look)
    assert [one.name for one in turn.finish(Heading())] == ["cup"]
    turn = Sweep()
    for _ in range(2):
        turn.look([at(look, 5, name="cup"), at(look, 5, name="bowl")], look)
    assert sorted(one.name for one in turn.finish(Heading())) == ["bowl", "cup"]


def test_a_thing_within_another_of_its_name_is_one() -> None:
    """One look sees a cup, and a cup in which it lies: one is told, that which more looks have seen. Beside it is another."""
    turn, look = Sweep(), gaze(0)
    for large in (False, True, True):
        turn.look([at(look, 5)] + [at(look, 6, wide=24)] * large, look)
    assert [(one.name, round(one.wide)) for one in turn.finish(Heading())] == [("cup", 8)]
    turn = Sweep()
    for _ in range(2):
        turn.look([at(look, 5), at(look, 13)], look)
    assert len(turn.finish(Heading())) == 2


def test_print_is_the_same_with_a_letter_read_wrong() -> None:
    turn = Sweep()
    look = gaze(0)
    kinds = frozenset({"thing", "text"})
    for words in ("emergency exit", "emergency ex1t", "push"):
        place = -10 if words == "push" else 5
        sight = at(look, place, name=words, kind="text", label=words.upper())
        turn.look([sight], look, kinds=kinds)  # type: ignore[arg-type]
    for _ in range(9):
        # They were not there to be read.
        turn.look([], look)
    assert {one.label for one in turn.finish(Heading())} == {"EMERGENCY EXIT", "PUSH"}


def test_what_is_believed_is_known_to_the_next_looks() -> None:
    turn = Sweep()
    look = gaze(0)
    turn.look([at(look, 5)], look)
    assert turn.get_expected_sightings(gaze(10)) == []
    turn.look([at(look, 5)], look)
    (known,) = turn.get_expected_sightings(gaze(10))
    assert known.name == "cup"
    assert gaze(10).get_right(known.box.middle[0]) == pytest.approx(5, abs=0.1)
    assert turn.get_expected_sightings(gaze(120)) == []


def ends(*steps: tuple[float, float]) -> End | None:
    """Why a scan of these headings, at these seconds, has ended."""
    turn, heading = Sweep(), Heading()
    for now, right in steps:
        heading.right = right
        if (end := turn.update(heading, now)) is not None:
            return end
    return None


def test_it_ends_by_itself() -> None:
    assert ends((0, 0), (39, 0)) is None
    assert ends((0, 0), (40, 0)) is End.TIME
    assert ends((0, 0), (2, 30), (7.9, 31)) is None
    assert ends((0, 0), (2, 30), (8, 31)) is End.REST
    # Somebody who has not begun to turn has time.
    assert ends((0, 0), (20, 5)) is None
    assert ends((0, 0), (20, -480)) is End.WHOLE
    turn, heading = Sweep(), Heading()
    heading.whole = 355.0
    assert turn.update(heading, 0) is End.WHOLE
    heading = Heading()
    heading.known = False
    assert Sweep().update(heading, 0) is End.LOST


def test_bounds_hold() -> None:
    """The least seen of many goes."""
    turn = Sweep()
    look = gaze(0)
    for _ in range(2):
        turn.look([at(look, 0)], look)
    look = gaze(90)
    for number in range(100):
        turn.look([at(look, 95, name=f"thing {number}")], look)
    assert turn.count == 1
    assert [one.name for one in turn.finish(Heading())] == ["cup"]


def turned(
    room: Panorama, heading: Heading, start: float, end: float, step: float, now: float
) -> float:
    """Turn from one direction to another, so many degrees a picture, ten pictures a second."""
    count = max(1, round(abs(end - start) / step))
    for number in range(count + 1):
        heading.see(room.view(start + (end - start) * number / count), now)
        now += 0.1
    return now


def test_a_tilt_is_no_turn() -> None:
    room, heading = Panorama(4), Heading()
    for number in range(20):
        heading.see(room.view(0, up=number / 2), 1 + number / 10)
    assert abs(heading.right) < 1
    assert heading.up == pytest.approx(9.5, abs=1.5)


def test_a_hand_that_shakes_turns_nowhere() -> None:
    """Its motion is none that an error grows with."""
    room, heading = Panorama(5), Heading()
    for number in range(200):
        heading.see(room.view(0.8 * np.sin(number)), 1 + number / 10)
    assert abs(heading.right) < 1.5
    assert heading.path < 3


def test_a_whole_turn_comes_back_to_its_first_view() -> None:
    """Its length as measured tells the camera's field of view, which is another than the one that was taken."""
    for field, whole in ((60.0, 360), (70.0, 297), (52.0, 426)):
        room, heading = Panorama(6), Heading()
        for number in range(180):
            heading.see(room.view(number * 2.5, field=field), 1 + number / 10)
            if heading.whole is not None:
                break
        assert heading.whole == pytest.approx(whole, rel=0.03), field
        assert number * 2.5 == pytest.approx(350, abs=25)


def test_another_scene_is_no_turn() -> None:
    """After a moment nobody knows any more; a picture or two that tell nothing are bridged."""
    room, heading = Panorama(7), Heading()
    now = turned(room, heading, 0, 60, 3, 1.0)
    blank = np.full((HEIGHT, WIDTH), 90, np.uint8)
    for number in range(3):
        heading.see(blank, now + number / 10)
    assert heading.known
    turned(room, heading, 72, 90, 3, now + 0.3)
    assert heading.known
    assert heading.right == pytest.approx(90, abs=8)
    other = Panorama(8)
    for number in range(10):
        heading.see(other.view(7 * number), now + 2 + number)
    assert not heading.known


def test_a_bare_wall_tells_nothing() -> None:
    room, heading = Panorama(1, plain=True), Heading()
    turned(room, heading, 0, 60, 3, 1.0)
    assert not heading.known


def test_a_camera_that_rests_is_known_while_it_sees_the_same() -> None:
    room, heading = Panorama(9), Heading()
    now = turned(room, heading, 0, 30, 3, 1.0)
    heading.see(room.view(31), now + 20)
    assert heading.known
    heading.see(room.view(160), now + 40)
    assert not heading.known
