"""Questions about a place: the request, the sentence for people, boxes exact to a pixel, the second look."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import BoxUnit, Region
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.finder import Finder
from server.features.builtin.reader import TextReader
from server.features.pointing import boxes as pointing
from server.features.pointing.boxes import (
    MAX_BOXES,
    GroundedAnswer,
    Sentence,
    combine_looks,
    get_second_look_region,
)
from server.media.picture.grounding import Box
from server.media.picture.prepare import smart_resize
from server.models.families import QWEN2_VL, QWEN3_VL
from tests.features.pointing.labels import LABELS, Label, asked, built, drawn
from tests.support.parts import at_night

FRAME = (1280, 720)
LIST = '[{"bbox_2d": [84, 56, 168, 112], "label": "spanner", "sure": 0.9}]'
SPANNER = Box(128, 90, 256, 180, "spanner", 0.9)
SAID = "It lies on the left, in the upper part."


def read(text: str, unit: BoxUnit = BoxUnit.PIXELS) -> GroundedAnswer:
    return pointing.parse_answer(text, unit, picture=(840, 448), frame=FRAME)


def streamed(*pieces: str) -> str:
    sentence = Sentence()
    shown = "".join(sentence.feed(piece) for piece in pieces)
    return shown + sentence.end()


@pytest.mark.parametrize("unit", list(BoxUnit))
def test_the_request_has_question_form_and_unit(unit: BoxUnit) -> None:
    """The question comes last, so that its language is the answer's."""
    plain, again = (
        pointing.make_question("Wo ist der Schlüssel?", unit, again=again)
        for again in (False, True)
    )
    assert plain.endswith("Question: Wo ist der Schlüssel?")
    y_first = unit is BoxUnit.THOUSANDTHS_Y_FIRST
    box = '"box_2d": [y1, x1, y2, x2]' if y_first else '"bbox_2d": [x1, y1, x2, y2]'
    assert f'[{{{box}, "label": "its name", "sure": 0 to 1}}], coordinates ' in plain
    assert ("1000" in plain) is (unit is not BoxUnit.PIXELS)
    assert again.endswith(plain)
    assert "speaks against" in again


@pytest.mark.parametrize(
    "text",
    [
        f"{SAID}\n{LIST}",
        f"{SAID}\n```json\n{LIST}\n```",
        f"{SAID} {LIST} That is all.",
        f"{SAID}\nThe boxes are:\n{LIST}",
        f"```json\n{LIST}\n```\n{SAID}",
        f"{LIST}\n{SAID}",
        f'{SAID}\n{{"objects": {LIST}}}',
    ],
)
def test_the_sentence_and_the_boxes_are_told_apart(text: str) -> None:
    """Whichever comes first, in code or loose."""
    assert read(text) == GroundedAnswer(SAID, (SPANNER,), False)


def test_an_answer_without_boxes() -> None:
    """An empty list says that there is none; mere words say nothing."""
    assert read("I cannot see a spanner.\n[]") == GroundedAnswer(
        "I cannot see a spanner.", (), True
    )
    assert read("I cannot see a spanner.") == GroundedAnswer("I cannot see a spanner.", (), False)
    assert read("") == GroundedAnswer("", (), False)


THOUSANDTHS = BoxUnit.THOUSANDTHS


@pytest.mark.parametrize(
    ("unit", "box", "right", "clamped", "dropped"),
    [
        (THOUSANDTHS, [100, 200, 1000, 900], 1280, 0, 0),
        (THOUSANDTHS, [100, 200, 1004, 900], 1280, 1, 0),
        (THOUSANDTHS, [-3, 200, 500, 1050], 640, 1, 0),
        (THOUSANDTHS, [100, 200, 1051, 900], None, 0, 1),
        (BoxUnit.PIXELS, [84, 56, 860, 112], 1280, 1, 0),
        (BoxUnit.PIXELS, [84, 56, 1168, 112], None, 0, 1),
    ],
)
def test_boxes_beyond_the_picture_are_cut_and_counted(
    unit: BoxUnit, box: list[int], right: int | None, clamped: int, dropped: int
) -> None:
    """Qwen's thousandths may exceed 1000 a little; far beyond it is another unit, and points at nothing."""
    answer = read(json.dumps([{"bbox_2d": box, "label": "cup"}]), unit)
    assert [one.x2 for one in answer.boxes] == ([] if right is None else [right])
    assert (answer.clamped, answer.dropped) == (clamped, dropped)


def test_boxes_are_as_many_as_the_page_follows() -> None:
    """Further ones are left out."""
    assert len(read(json.dumps(json.loads(LIST) * 20)).boxes) == MAX_BOXES


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ((SAID, "\n", LIST), SAID),
        ((f"{SAID}\n``", "`json\n", LIST, "```"), SAID),
        ((SAID, " [", " {", '"bbox_2d"'), SAID),
        ((SAID, " [", "see the label] too."), SAID + " [see the label] too."),
        (("A cup (", "red) and (10", "20,5 cm)"), "A cup (red) and (1020,5 cm)"),
        (("cup", "(10,20),(30,40)"), "cup"),
        ((LIST, SAID), ""),
        (("It is `", "here`."), "It is `here`."),
        (("Left. ", "[", "]"), "Left."),
        (("Left.", "  ", "\n"), "Left."),
    ],
)
def test_people_get_words_only(pieces: tuple[str, ...], shown: str) -> None:
    """However the answer is cut into pieces."""
    assert streamed(*pieces) == shown


@given(
    st.text(alphabet="ab .,:", max_size=40),
    st.sampled_from([LIST, "[]", f"```json\n{LIST}```", '{"a": 1}']),
    st.lists(st.integers(0, 120), max_size=10),
)
def test_no_cut_lets_a_list_through(said: str, data: str, cuts: list[int]) -> None:
    """The same text is shown, whatever the pieces are."""
    whole = f"{said}\n{data}"
    at = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(at)]
    assert streamed(*pieces) == streamed(whole) == said.rstrip()


@given(st.text(alphabet='{}[]()<>|",:0123456789.bx_2d-e \n`', max_size=300))
def test_no_text_makes_reading_fail(text: str) -> None:
    """Whatever a model says, boxes lie in the frame and words without end are shown."""
    for unit in BoxUnit:
        for box in read(text, unit).boxes:
            assert 0 <= box.x1 <= box.x2 <= FRAME[0]
            assert 0 <= box.y1 <= box.y2 <= FRAME[1]
    streamed(*text)


@given(
    st.tuples(st.integers(96, 4096), st.integers(96, 4096)),
    st.sampled_from([QWEN2_VL, QWEN3_VL]),
    st.sampled_from(list(BoxUnit)),
    st.booleans(),
    st.data(),
)
def test_boxes_are_exact_to_a_pixel(
    frame: tuple[int, int], geometry: object, unit: BoxUnit, cut: bool, data: st.DataObject
) -> None:
    """For every size and rotation of the camera, for the whole frame and a region of it."""
    width, height = frame
    region = None
    if cut:
        left, top = data.draw(st.integers(0, width - 64)), data.draw(st.integers(0, height - 64))
        right = data.draw(st.integers(left + 64, width))
        bottom = data.draw(st.integers(top + 64, height))
        region = Region(left, top, right, bottom)
    seen = region or Region(0, 0, width, height)
    try:
        high, wide = smart_resize(seen.height, seen.width, geometry, 4096 * 4096)  # type: ignore[arg-type]
    except ValueError:
        return
    x1, x2 = sorted(data.draw(st.integers(0, seen.width)) for _ in range(2))
    y1, y2 = sorted(data.draw(st.integers(0, seen.height)) for _ in range(2))
    sides = (wide, high) if unit is BoxUnit.PIXELS else (1000, 1000)
    # The model's own coordinates for it, to a hundredth of its unit
    told = [
        round(x1 * sides[0] / seen.width, 2),
        round(y1 * sides[1] / seen.height, 2),
        round(x2 * sides[0] / seen.width, 2),
        round(y2 * sides[1] / seen.height, 2),
    ]
    if unit is BoxUnit.THOUSANDTHS_Y_FIRST:
        told = [told[1], told[0], told[3], told[2]]
    text = json.dumps([{"bbox_2d": told, "label": "it"}])
    (box,) = pointing.parse_answer(
        text, unit, picture=(wide, high), frame=frame, region=region
    ).boxes
    right_edges = (x1 + seen.left, y1 + seen.top, x2 + seen.left, y2 + seen.top)
    for got, expected in zip((box.x1, box.y1, box.x2, box.y2), right_edges, strict=True):
        assert abs(got - expected) < 0.5


@given(
    st.tuples(st.integers(32, 4096), st.integers(32, 4096)),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=8),
)
def test_the_part_lies_in_the_frame(
    frame: tuple[int, int], edges: list[tuple[float, float, float, float]]
) -> None:
    """Whatever the boxes are."""
    boxes = [
        Box(min(a, c) * frame[0], min(b, d) * frame[1], max(a, c) * frame[0], max(b, d) * frame[1])
        for a, b, c, d in edges
    ]
    region = get_second_look_region(boxes, frame)
    if region is not None:
        assert 0 <= region.left < region.right <= frame[0]
        assert 0 <= region.top < region.bottom <= frame[1]


def test_the_second_look_counts_in_its_part() -> None:
    """It corrects, it takes back, it says nothing; boxes elsewhere stay."""
    weak, sure = Box(100, 100, 140, 140, "a", 0.3), Box(600, 100, 1000, 500, "b", 0.9)
    first = GroundedAnswer("Two.", (weak, sure), False)
    region = get_second_look_region([weak], FRAME)
    assert region is not None
    better = Box(110, 104, 150, 150, "a", 0.9)
    corrected = combine_looks(first, GroundedAnswer("Here.", (better,), False), region, FRAME)
    assert corrected == GroundedAnswer("Two.", (better, sure), False)
    none = GroundedAnswer("It is a shadow.", (), True)
    assert combine_looks(first, none, region, FRAME).boxes == (sure,)
    alone = GroundedAnswer("There.", (weak,), False)
    assert combine_looks(alone, none, region, FRAME) == none
    silent = GroundedAnswer("Hm.", (), False)
    assert combine_looks(alone, silent, region, FRAME) == alone


Built = tuple[BuiltinEngine, Finder]


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader()


@pytest.fixture
def engine(reader: TextReader) -> Iterator[Built]:
    with built(reader) as (engine, _):
        yield engine, Finder(reader)


def label(number: int, height: int) -> Label:
    question, value, lines = LABELS[number]
    return Label(question, value, height, drawn(lines, height, seed=number))


@pytest.mark.parametrize("number", [4, *at_night(0, 7)])
async def test_small_print_is_read_twice(engine: Built, number: int) -> None:
    """Letters of 12 px: both looks read the same, the second one around that line."""
    one = label(number, 12)
    response = await asked(*engine, one)
    assert one.value.replace(" ", "") in response["text"].replace(" ", "")
    assert response["second_look"] | {"text": ""} == {
        "result": "agrees",
        "text": "",
        "agreed": 1,
        "compared": 1,
    }
    left, top, right, bottom = response["closer"]["crop"]
    assert (right - left) * (bottom - top) < 1280 * 720 / 2


async def test_nothing_to_read_is_no_agreement(engine: Built) -> None:
    one = label(4, 12)
    blurred = np.asarray(cv2.GaussianBlur(one.bgr, (0, 0), 30), np.uint8)
    response = await asked(*engine, replace(one, bgr=blurred))
    assert response["second_look"]["result"] == "unseen"
