"""Boxes from a model's words to the camera's pixels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import BoxUnit
from server.media.picture.grounding import Box
from server.media.picture.prepare import smart_resize
from server.models.families import QWEN2_VL, QWEN3_VL
from server.shared.boxes import (
    MAX_BOXES,
    MAX_TEXT_CHARS,
    find_json_objects,
    parse_number,
    read_boxes,
    share,
    to_frame,
)

CUP = Box(10, 20, 30, 40, "cup")


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [10, 20, 30, 40], "label": "cup"}]',
        '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "cup"}\n]\n```',
        'Here: ```\n{"label": "cup", "bbox_2d": [30, 40, 10, 20]}\n``` Done.',
        '[{"bbox_2d": [10, 20, 30, 40], "label": "cup"}, {"bbox_2d": [1, 2',
        '{"objects": 1} {"bbox": [10.0, 20, 30, 40], "label": "cup"}',
        '[{"bbox_2d": [10, 20, 30, 40], "label": "c\x0cup"}]',
        '{"objects": [{"bbox_2d": [10, 20, 30, 40], "label": "cup"}], "count": 1}',
        '```python\nfind("cup")\n```\n```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "cup"}]\n```',
        '```\nnothing in here\n``` {"bbox_2d": [10, 20, 30, 40], "label": "cup"}',
        "<|object_ref_start|>cup<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|><|im_end|>",
        "cup(10, 20), (30, 40)",
        "I see it:\ncup: (10,20),(30,40)",
    ],
)
def test_boxes_are_read_however_they_are_wrapped(text: str) -> None:
    """A list, a code block, loose objects, one that was cut off, control characters within."""
    assert read_boxes(text) == [CUP]


def test_certainty_is_read_where_it_is_given() -> None:
    """As a share or in percent; it goes along to the frame."""
    text = '[{"bbox_2d": [1, 2, 3, 4], "sure": 0.4}, {"bbox_2d": [1, 2, 3, 4], "sure": "very"}]'
    first, second = read_boxes(text)
    assert (first.confidence, second.confidence) == (0.4, None)
    mapped = to_frame(first, BoxUnit.PIXELS, picture=(10, 10), frame=(20, 20))
    assert mapped == Box(2, 4, 6, 8, "", 0.4)


def test_points_are_boxes_without_a_size() -> None:
    assert read_boxes('[{"point_2d": [5, 6], "label": "nose"}]') == [Box(5, 6, 5, 6, "nose")]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"bbox_2d": "10, 20"},
        {"bbox_2d": [1, 2, 3]},
        {"bbox_2d": [1, 2, 3, "4"]},
        {"bbox_2d": [1, 2, 3, True]},
        {"bbox_2d": [1, 2, 3, float("nan")]},
        {"bbox_2d": [1, 2, 3, float("inf")]},
        {"bbox_2d": [1, 2, 3, 10**400]},
        {"point_2d": [1]},
    ],
)
def test_what_is_no_box_is_left_out(entry: dict[str, Any]) -> None:
    text = json.dumps([entry, {"bbox_2d": [10, 20, 30, 40], "label": "cup"}])
    assert read_boxes(text) == [CUP]
    assert read_boxes("There is no cup. [] { nor { this") == []


def test_an_answer_is_bounded() -> None:
    """In boxes, in a label's length, in its own."""
    many = json.dumps([{"bbox_2d": [1, 2, 3, 4], "label": "x" * 500}] * 150)
    boxes = read_boxes(many)
    assert (len(boxes), len(boxes[0].label)) == (MAX_BOXES, 100)
    assert read_boxes(many + " " * 100_000) == []


def test_several_boxes_in_words() -> None:
    """Each has the words before it; a point alone is none."""
    found = read_boxes("cup(1,2),(3,4), red pen(5,6),(7,8)(9,9)")
    assert found == [Box(1, 2, 3, 4, "cup"), Box(5, 6, 7, 8, "red pen")]


def test_pixels_and_thousandths_lead_to_the_frame() -> None:
    """A half is a half, in either unit."""
    half = Box(0, 0, 420, 224, "left upper")
    mapped = to_frame(half, BoxUnit.PIXELS, picture=(840, 448), frame=(1280, 720))
    assert mapped == Box(0, 0, 640, 360, "left upper")
    half = Box(0, 0, 500, 500)
    assert to_frame(half, BoxUnit.THOUSANDTHS, picture=(840, 448), frame=(1280, 720)) == Box(
        0, 0, 640, 360
    )


def test_boxes_are_cut_at_the_edges() -> None:
    size = {"picture": (100, 100), "frame": (200, 200)}
    over = Box(-10, 50, 150, 60)
    assert to_frame(over, BoxUnit.PIXELS, **size) == Box(0, 100, 200, 120)
    for outside in (Box(101, 0, 110, 9), Box(0, -9, 9, -1)):
        assert to_frame(outside, BoxUnit.PIXELS, **size) is None


def test_what_lies_at_an_edge_is_in_the_frame() -> None:
    """However the sizes divide: 49 / 49 times something is not always that."""
    for side in range(28, 3_000, 28):
        edge = Box(side, side, side, side)
        found = to_frame(edge, BoxUnit.PIXELS, picture=(side, side), frame=(1279, 719))
        assert found == Box(1279, 719, 1279, 719)


@given(
    st.integers(32, 4_096),
    st.integers(32, 4_096),
    st.sampled_from([(QWEN2_VL, BoxUnit.PIXELS), (QWEN3_VL, BoxUnit.THOUSANDTHS)]),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_there_and_back(width: int, height: int, model: Any, place: list[float]) -> None:
    """A box returns to its place in the frame, whatever the resize of the picture."""
    geometry, unit = model
    high, wide = smart_resize(height, width, geometry)
    across, down = (wide, high) if unit is BoxUnit.PIXELS else (1000, 1000)
    (x1, x2), (y1, y2) = sorted(place[:2]), sorted(place[2:])
    said = Box(x1 * across, y1 * down, x2 * across, y2 * down)
    found = to_frame(said, unit, picture=(wide, high), frame=(width, height))
    assert found is not None
    expected = (x1 * width, y1 * height, x2 * width, y2 * height)
    assert (found.x1, found.y1, found.x2, found.y2) == pytest.approx(expected, abs=1e-6)


# JSON in a model's words


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
    assert list(find_json_objects(text)) == found


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
    assert parse_number(value) == read


@pytest.mark.parametrize(
    ("value", "read"), [(0.5, 0.5), (1, 1.0), (90, 0.9), (-3, 0.0), (500, 1.0), ("high", None)]
)
def test_a_share_may_be_given_in_percent(value: object, read: float | None) -> None:
    assert share(value) == read
