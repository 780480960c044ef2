"""The direction of a camera, by its pictures alone."""

from __future__ import annotations

import numpy as np
import pytest

from server.features.guidance.scan import Heading
from tests.features.guidance.panorama import HEIGHT, WIDTH, Panorama


def turned(
    room: Panorama, heading: Heading, start: float, end: float, step: float, now: float
) -> float:
    """Turn from one direction to another, so many degrees a picture, ten pictures a second."""
    count = max(1, round(abs(end - start) / step))
    for number in range(count + 1):
        heading.see(room.view(start + (end - start) * number / count), now)
        now += 0.1
    return now


@pytest.mark.parametrize("step", [2.5, 4, 6, 15])
def test_a_turn_is_followed(step: float) -> None:
    """At 25 to 60 degrees a second, to both sides, and where only four pictures a second come."""
    room, heading = Panorama(3), Heading()
    now = turned(room, heading, 0, 150, step, 1.0)
    assert heading.right == pytest.approx(150, abs=3)
    turned(room, heading, 150, -40, step, now)
    assert heading.right == pytest.approx(-40, abs=5)
    assert heading.known
    assert abs(heading.up) < 2


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
