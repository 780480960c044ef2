"""One request of a session's watches: the crop, places in the frame, the early answer."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import BoxUnit, Region
from server.features.watches.watch_list import (
    answer_tokens,
    crop_region,
    early_answer,
    in_frame,
    unit_of,
)
from server.media.picture.grounding import Box
from server.models.base import Capabilities, EngineRequest
from server.shared.watch_answers import Answer
from tests.support.fakes import make_picture, make_request
from tests.support.rooms import make_frame

FRAME = make_frame(width=1280, height=720)


def request(width: int, height: int) -> EngineRequest:
    picture = dataclasses.replace(make_picture(), width=width, height=height)
    return dataclasses.replace(make_request(), picture=picture)


@given(st.floats(0, 1279), st.floats(0, 719), st.floats(1, 1280), st.floats(1, 720))
def test_a_crop_shows_its_place_and_lies_in_the_frame(
    x: float, y: float, wide: float, high: float
) -> None:
    """With something around it, and at least 224 pixels a side."""
    box = Box(x, y, min(1280.0, x + wide), min(720.0, y + high))
    region = crop_region(box, FRAME)
    if region is None:
        return
    assert 0 <= region.left <= box.x1 <= box.x2 <= region.right <= 1280
    assert 0 <= region.top <= box.y1 <= box.y2 <= region.bottom <= 720
    assert min(region.width, region.height) >= 224


def test_the_whole_frame_needs_no_crop() -> None:
    assert crop_region(None, FRAME) is None
    assert crop_region(Box(0, 0, 1280, 720), FRAME) is None


@pytest.mark.parametrize(
    ("unit", "box"),
    [
        (BoxUnit.THOUSANDTHS, Box(250, 500, 500, 1000)),
        (BoxUnit.THOUSANDTHS_Y_FIRST, Box(500, 250, 1000, 500)),
        (BoxUnit.PIXELS, Box(56, 112, 112, 224)),
    ],
)
def test_a_place_in_a_crop_is_one_in_the_frame(unit: BoxUnit, box: Box) -> None:
    """Exact in each unit."""
    region = Region(400, 200, 800, 600)
    answer = Answer(True, 0.9, box, "")
    found = in_frame(answer, request(224, 224), unit, region)
    assert found.where == Box(500, 400, 600, 600)
    assert in_frame(answer, request(224, 224), None, region).where is None


def test_units_by_the_engines_abilities() -> None:
    assert unit_of(Capabilities(boxes=BoxUnit.THOUSANDTHS)) is BoxUnit.THOUSANDTHS
    assert unit_of(Capabilities(wants_pixels=True)) is BoxUnit.PIXELS
    assert unit_of(Capabilities(grounding=True)) is None


WHOLE = (
    '{"watches": [{"id": "w1", "seen": true, "sure": 0.8, "where": [1, 2, 3, 4], "why": "So."}]}'
)


def test_an_answer_is_known_before_its_reason() -> None:
    """And not before anything else of it; with a wrong id never."""
    early = WHOLE.index('"why"')
    for end in range(len(WHOLE)):
        found = early_answer(WHOLE[:end], "w1")
        assert (found is not None) == (end >= early + len('"why"')), end
        if found is not None:
            assert (found.seen, found.confidence, found.where) == (True, 0.8, Box(1, 2, 3, 4))
    assert early_answer(WHOLE, "w2") is None
    assert early_answer('"why"', "w1") is None
    assert early_answer('{"id": "w1", "seen": tr, "why"', "w1") is None


def test_an_answer_has_tokens_for_each_condition() -> None:
    assert answer_tokens(8) - answer_tokens(1) >= 7 * 60
