"""The built-in engine reads small print on drawn labels, and looks at it twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.lines import Piece
from server.features.builtin.reader import Finder, Reader
from tests.features.pointing.labels import LABELS, Label, asked, built, drawn

pytestmark = pytest.mark.asyncio
Built = tuple[BuiltinEngine, Finder]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture
def engine(reader: Reader) -> Iterator[Built]:
    with built(reader) as (engine, _):
        yield engine, Finder(reader)


def label(number: int, height: int) -> Label:
    question, value, lines = LABELS[number]
    return Label(question, value, height, drawn(lines, height, seed=number))


@pytest.mark.parametrize("number", [0, 4, 7])
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


class Misreading(Reader):
    """Stands in for a first look that goes wrong: a digit of the whole picture is read as another."""

    def text(self, bgr: NDArray[np.uint8]) -> list[Piece]:
        pieces = super().text(bgr)
        if bgr.shape[0] < 720:
            return pieces
        return [replace(one, text=one.text.replace("2027", "2029")) for one in pieces]


async def test_print_that_is_read_otherwise_is_said() -> None:
    """The second look reads truly: its date stands in the sentence at the end."""
    with built(Misreading()) as (engine, finder):
        response = await asked(engine, finder, label(4, 14))
    assert response["second_look"]["result"] == "differs"
    told, _, warning = response["text"].partition("\n\n")
    assert "2029" in told
    assert "12.05.2027" in warning
    assert warning.endswith("ask somebody.")


async def test_nothing_to_read_is_no_agreement(engine: Built) -> None:
    one = label(4, 12)
    blurred = np.asarray(cv2.GaussianBlur(one.bgr, (0, 0), 30), np.uint8)
    response = await asked(*engine, replace(one, bgr=blurred))
    assert response["second_look"]["result"] == "unseen"
