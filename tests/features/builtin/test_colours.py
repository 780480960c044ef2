"""The colours of things, of what stands out, and of clothes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from server.features.builtin.colours import (
    find_clothes_colours,
    find_subject_colours,
    measure_shares,
    select_main_colours,
)
from server.features.builtin.detector import DetectedThing
from server.features.builtin.engine import find_thing_colours
from server.media.picture.grounding import Box
from tests.features.builtin.scenes import photo


@pytest.mark.parametrize(
    ("bgr", "name"),
    [
        *(((0, 0, 255), "red"), ((0, 128, 0), "green"), ((255, 0, 0), "blue")),
        *(((0, 255, 255), "yellow"), ((0, 165, 255), "orange"), ((128, 0, 128), "purple")),
        *(((203, 192, 255), "pink"), ((19, 69, 139), "brown"), ((208, 224, 64), "turquoise")),
        *(((128, 128, 128), "grey"), ((255, 255, 255), "white"), ((0, 0, 0), "black")),
        # Walls in warm light, a black cat, a wall of a pale green, and one that is nearly grey
        *(((142, 162, 177), "beige"), ((170, 197, 205), "beige"), ((50, 32, 28), "black")),
        *(((157, 180, 155), "green"), ((178, 180, 160), "grey")),
    ],
)
def test_colours_have_their_usual_names(bgr: tuple[int, int, int], name: str) -> None:
    """The CSS colours of these names, and some near them."""
    assert measure_shares(np.full((90, 160, 3), bgr, np.uint8))[0][0] == name


def test_the_ground_around_a_thing_is_not_its_colour() -> None:
    """Of a box, grass may be the larger part; a thing of the ground's own colour keeps it."""
    meadow = np.full((400, 600, 3), (40, 150, 60), np.uint8)
    meadow[150:250, 200:400] = (20, 20, 20)
    cow = DetectedThing("cow", 0.9, Box(130, 80, 470, 320), sure=True)
    assert select_main_colours(find_thing_colours(meadow, [cow], ["cow"])) == ("black",)
    frog = DetectedThing("frog", 0.9, Box(0, 0, 600, 400), sure=True)
    assert find_thing_colours(meadow, [frog], ["frog"])[0][0] == "green"
    meadow[::4, :200] = meadow[::4, 400:] = meadow[:150:4] = meadow[250::4] = (60, 220, 230)
    assert select_main_colours(find_thing_colours(meadow, [cow], ["cow"])) == ("black",)


def test_what_is_red_between_dark_parts_is_told() -> None:
    """Of a motorcycle in a brown garage the body, which nothing around it has the colour of."""
    garage = np.full((400, 600, 3), (60, 90, 130), np.uint8)
    garage[240:320, 120:480] = (25, 25, 25)
    garage[200:250, 200:400] = (40, 30, 200)
    garage[:, 60:90] = garage[:260, 510:540] = (140, 140, 140)
    motorcycle = DetectedThing("motorcycle", 0.9, Box(60, 60, 540, 360), sure=True)
    assert set(select_main_colours(find_thing_colours(garage, [motorcycle], ["motorcycle"]))) == {
        "black",
        "red",
    }


def test_a_cup_has_the_colour_around_the_coffee() -> None:
    """Seen from above it is a white ring; a black mug has no other."""
    picture = np.full((400, 400, 3), (235, 235, 235), np.uint8)
    cup = DetectedThing("cup", 0.9, Box(100, 100, 300, 300), sure=True)
    cv2.circle(picture, (200, 200), 75, (20, 30, 40), -1)
    assert find_thing_colours(picture, [cup], ["cup"])[0][0] == "white"
    picture[:] = (60, 140, 60)
    cv2.rectangle(picture, (104, 104), (296, 296), (20, 20, 20), -1)
    assert find_thing_colours(picture, [cup], ["cup"])[0][0] == "black"


def test_the_skys_light_and_shade_are_no_colours_of_a_thing() -> None:
    """A silver car is bluish under the sky, and a golden one brown in the shade; wood is brown."""
    car = DetectedThing("car", 0.9, Box(100, 100, 300, 300), sure=True)

    def seen(*parts: tuple[int, int, int]) -> set[str]:
        picture = np.full((400, 400, 3), (60, 140, 60), np.uint8)
        for at, part in enumerate(parts):
            picture[100 + 200 // len(parts) * at : 300, 100:300] = part
        return {*select_main_colours(find_thing_colours(picture, [car], ["car"]))}

    silver, blue = (230, 210, 190), (200, 120, 60)
    assert seen(silver) == {"white"}
    assert seen(blue) == {"blue"}
    shade, lit, bright = (36, 84, 132), (36, 110, 200), (40, 170, 215)
    assert seen(shade, shade, lit, bright, shade) == {"orange", "yellow"}
    assert seen(shade, shade, shade, lit, lit) == {"brown", "orange"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flower", ("orange",)),
        ("notebook", ("green",)),
        ("goldfish", ("yellow", "orange")),
        ("pencil", ("orange",)),
    ],
)
def test_what_stands_out_in_the_middle_has_its_own_colours(
    name: str, said: tuple[str, ...]
) -> None:
    assert select_main_colours(find_subject_colours(photo(name))) == said


def test_striped_cloth_has_both_colours() -> None:
    """Also where one of them is the table's; a bare wall has nothing that stands out."""
    picture = np.full((360, 640, 3), (60, 90, 150), np.uint8)
    assert find_subject_colours(picture) == []
    picture[80:280, 220:420] = (150, 60, 30)
    for top in range(90, 280, 40):
        picture[top : top + 20, 220:420] = (240, 240, 240)
    assert set(select_main_colours(find_subject_colours(picture))) == {"blue", "white"}


def test_the_colour_of_clothes_is_that_below_the_face() -> None:
    """Of a portrait what is left below it; without room there is none."""
    picture = np.full((400, 400, 3), (200, 200, 200), np.uint8)
    face = Box(160, 40, 240, 140)
    picture[150:, 120:280] = (30, 30, 200)
    assert find_clothes_colours(picture, face)[0][0] == "red"
    portrait = Box(100, 60, 300, 300)
    picture[350:] = (200, 60, 30)
    assert find_clothes_colours(picture, portrait)[0][0] == "blue"
    assert find_clothes_colours(picture, Box(100, 100, 300, 390)) == []
