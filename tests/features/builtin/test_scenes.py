"""The built-in engine's answers to a table of drawn scenes and questions, one scene a test."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.core.frames import Kind, Picture
from server.features.builtin.engine import BuiltinEngine, rows_of
from server.features.builtin.reader import Reader
from server.models.base import Delta, EngineRequest
from tests.features.builtin import held_out
from tests.features.builtin.scenes import PHOTOS, Bgr, bare, draw, photo
from tests.features.builtin.score import TODAY, Once, pictured
from tests.features.builtin.table import SCENES
from tests.features.builtin.words import ANSWERS
from tests.support.parts import at_night


@pytest.fixture(scope="module")
def engine() -> Iterator[BuiltinEngine]:
    with ThreadPoolExecutor(1, "heavy") as heavy:
        # Its thread is the module's, not the first test's.
        heavy.submit(int).result()
        now = dt.datetime.combine(TODAY, dt.time(9, 30))
        yield BuiltinEngine(heavy=heavy, reader=Once(), now=lambda _: now)


def ask(engine: BuiltinEngine, picture: Picture, question: str) -> str:
    async def whole() -> str:
        request = EngineRequest("session", Kind.CHAT, question, picture, max_tokens=400)
        return "".join(
            [chunk.text async for chunk in engine.answer(request) if isinstance(chunk, Delta)]
        )

    return asyncio.run(whole())


def failures(engine: BuiltinEngine, picture: Picture, questions: Mapping[str, str]) -> list[str]:
    """Answers whose first line is not the one expected, or that have more than one line after it.

    Of what was read, all lines are compared; a table of prices counts as one.
    """
    wrong = []
    for question, expected in questions.items():
        answer = ask(engine, picture, question)
        first, *more = answer.split("\n")
        if first[-1] in ":：":
            first, more = answer, []
        more = [line for line in more if "\t" not in line]
        if re.fullmatch(expected, first, re.S) is None or len(more) > 1:
            wrong.append(f"{question} -> {[first, *more]}")
    return wrong


# Reading one picture takes a second; these stand for the others in everyday work.
QUICK = ("receipt", "timetable", "cyrillic", "turned left", "blurred")
# One of each kind, for every change; the others repeat them at night.
DAILY = (
    *("two discs", "green box", "discs above and below", "red disc"),
    *("clock", "scale", "freezer", "old yogurt", "medicine box", "wifi code", "chinese cafe"),
)
MARKS = {name: [pytest.mark.slow] for name in DAILY} | {name: [] for name in QUICK}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=MARKS.get(name, [pytest.mark.slow, pytest.mark.night]))
        for kind in ("table", "languages")
        for name in ANSWERS[kind]
    ],
)
def test_the_first_line_is_the_answer(engine: BuiltinEngine, kind: str, name: str) -> None:
    """And at most one line comes after it, in six languages and in ten more."""
    assert failures(engine, pictured(draw(SCENES[name])), ANSWERS[kind][name]) == []


def test_the_table_has_a_hundred_questions() -> None:
    """None is lost by and by."""
    asked = ANSWERS["table"]
    assert MARKS.keys() <= asked.keys()
    assert sum(map(len, asked.values())) >= 100
    assert asked.keys() == SCENES.keys()


def misread(pictures: Mapping[str, Bgr]) -> dict[str, list[str]]:
    """The text that is read in each of these, without those in which none is."""
    reader = Reader()
    read = {name: rows_of(reader.text(bgr))[0] for name, bgr in pictures.items()}
    return {name: [row.text for row in rows] for name, rows in read.items() if rows}


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *at_night(1, 2)])
def test_nothing_is_read_in_textures(part: int) -> None:
    """In each third of them."""
    pictures = bare()
    assert len(pictures) >= 20
    assert misread({name: pictures[name] for name in [*pictures][part::3]}) == {}


# Photographs with letters or figures in them
PRINTED = {"barcodes", "hopper", "notebook", "plant", "tape", "volleyball", "wrench2"}


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *at_night(1, 2)])
def test_nothing_is_read_in_photographs_without_text(part: int) -> None:
    """In each third of every other one."""
    names = sorted({path.stem for path in PHOTOS.glob("*.jpg")} - PRINTED)[::2]
    assert len(names) >= 20
    assert misread({name: photo(name) for name in names[part::3]}) == {}


@pytest.mark.slow
def test_held_out_questions_keep_their_score(engine: BuiltinEngine) -> None:
    """Scenes and wordings that nobody tuned to: as many right answers as when they were made, or
    more.
    """
    asked, wrong = 0, []
    for name, questions in ANSWERS["held_out"].items():
        asked += len(questions)
        wrong += failures(engine, pictured(draw(held_out.SCENES[name])), questions)
    assert asked == 40
    assert asked - len(wrong) >= held_out.SCORE, wrong
