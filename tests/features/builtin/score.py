"""The built-in engine's score: what it answers about photographs and drawn scenes, judged by rules.

`photos/questions.toml` has the questions with their accepted answers. An answer is right (an accepted one),
an honest no (it says that it does not know or see), misleading (it says something wrong, or answers another
question as though it were this one) or useless (nothing in it helps). Half of the pictures are for tuning,
the others are held out: a hash of the file, or of a drawn scene's description, tells which.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import av
import cv2
import numpy as np
import onnxruntime

from scripts.bench.processes import Usage
from server.core.frames import Kind, Picture, Route
from server.features.builtin.codes import Code
from server.features.builtin.detector import ThingFinder, classes
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.language import language
from server.features.builtin.lines import Piece
from server.features.builtin.reader import Reader
from server.features.builtin.thing_words import thing_words
from server.media.picture.grounding import Box
from server.media.picture.planes import SceneReader
from server.models.base import Delta, EngineRequest
from server.models.routing import route_of
from tests.features.builtin import drawn
from tests.features.builtin.scenes import PHOTOS, Bgr, draw, photo

QUESTIONS = PHOTOS / "questions.toml"
GROUPS = {
    "name": "photographs named",
    "present": "things that are there",
    "absent": "things that are not",
    "people": "people",
    "colour": "colours",
    "where": "where",
    "text": "text",
    "code": "codes",
    "nothing": "nothing may be named",
    "beyond": "beyond it",
}
TODAY = dt.date(2026, 11, 20)

# Phrases of an honest no, and in which groups else than those that follow they help
_UNKNOWN = {
    "cannot",
    "cannot_here",
    "closest",
    "no_more",
    "kind",
    "not_read",
    "see_unknown",
    "unknown_here",
    "foreign",
    "no_past",
    "unknown_thing",
}
_HONEST: dict[str, set[str]] = {
    "name": {"unread"},
    "present": {"thing_missed", "not_found"},
    "absent": {"thing_missed", "not_found"},
    "people": {"thing_missed", "faces_none", "faces_missing"},
    "colour": {"colour_none", "thing_missed", "not_found"},
    "where": {"not_found", "thing_missed"},
    "text": {"unread", "no_says", "translate", "summarise", "no_item", "no_total", "no_day"},
    "code": {"no_code", "not_found"},
    "nothing": {"thing_missed", "faces_none", "unread", "see_colour", "light"},
    "beyond": {"only_read", "safe", "safe_none", "translate", "summarise", "motion_unknown"},
}
# Phrases that say no to "Is there ...?", and yes
_NO = {"thing_missed", "faces_none", "colour_none", "colour_no", "no_says", "closed_now"}
_YES = {"thing_here", "colour_yes", "yes_says", "thing_count", "faces", "open_now"}
# Phrases that say nothing about any question but their own
_IDLE = {"see_colour", "see_around", "light", "sharp", "help", "change_first", "motion_none"}
_NAMING = {"see_things", "see_like", "thing_here", "thing_count", "thing_colour"}


class Verdict(StrEnum):
    RIGHT = "right"
    HONEST = "honest no"
    MISLEADING = "misleading"
    USELESS = "useless"


@dataclass(frozen=True, slots=True)
class Case:
    """A question about a picture. `accepted`: any of these; `shows`: what may be named there."""

    picture: str
    group: str
    question: str
    language: str
    accepted: tuple[str, ...]
    shows: frozenset[str]


@dataclass(frozen=True, slots=True)
class Judged:
    case: Case
    answer: str
    verdict: Verdict
    # Things that it names and that are not there
    wrong: tuple[str, ...]


def cases() -> list[Case]:
    """Every question of the set. Raises ValueError for a group that there is not."""
    found = []
    for picture, table in tomllib.loads(QUESTIONS.read_text("utf-8")).items():
        shows = frozenset(_parts(table.pop("shows", "")))
        for group, asked in table.items():
            if group not in GROUPS:
                raise ValueError(f"{picture} has a group {group}")
            for question, accepted in asked.items():
                code, _, rest = question.rpartition(": ")
                one = Case(picture, group, rest, code or "en", tuple(_parts(accepted)), shows)
                found.append(one)
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@cache
def tuned(picture: str) -> bool:
    """True for a picture of the half that rules and thresholds may be fitted to."""
    if picture.endswith(".jpg"):
        content = (PHOTOS / picture).read_bytes()
    else:
        content = repr(drawn.SCENES[picture]).encode()
    return hashlib.sha256(content).digest()[0] % 2 == 0


def pictured(bgr: Bgr) -> Picture:
    """A picture as a camera's frame comes to the engine: with its light and sharpness told."""
    height, width = (side // 2 * 2 for side in bgr.shape[:2])
    bgr = bgr[:height, :width]
    frame = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
    scene = SceneReader().read(frame, 1.0)
    whole = (width, height)
    return Picture("f", 1.0, None, *whole, *whole, 0, None, bgr, None, 0.002, scene=scene)


def seen(name: str) -> Picture:
    """A photograph's file or a drawn scene."""
    return pictured(photo(name[:-4]) if name.endswith(".jpg") else draw(drawn.SCENES[name]))


class Once(Reader):
    """Reads each picture once for all questions about it."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[Bgr, list[Piece], list[Code], list[Box] | None] | None = None

    def _once(self, bgr: Bgr) -> tuple[Bgr, list[Piece], list[Code], list[Box] | None]:
        if self._kept is None or self._kept[0] is not bgr:
            self._kept = bgr, super().text(bgr), super().codes(bgr), super().face_boxes(bgr)
        return self._kept

    def text(self, bgr: Bgr) -> list[Piece]:
        return self._once(bgr)[1]

    def codes(self, bgr: Bgr) -> list[Code]:
        return self._once(bgr)[2]

    def face_boxes(self, bgr: Bgr) -> list[Box] | None:
        return self._once(bgr)[3]


def now(zone: dt.tzinfo | None) -> dt.datetime:
    """Return the time of day on the day of the pictures."""
    return dt.datetime.combine(TODAY, dt.datetime.now().time(), zone)


async def answers(asked: Iterable[Case]) -> list[Judged]:
    """Ask the engine, with the models that come with it, and judge what it says."""
    found = []
    with ThreadPoolExecutor(1, "score") as heavy:
        reader, finder = Once(), ThingFinder()
        pictures: dict[str, Picture] = {}
        for number, case in enumerate(asked):
            if case.picture not in pictures:
                pictures = {case.picture: seen(case.picture)}
            engine = BuiltinEngine(heavy=heavy, now=now, reader=reader, finder=finder)
            request = EngineRequest(
                f"session {number}",
                Kind.CHAT,
                case.question,
                pictures[case.picture],
                max_tokens=400,
                where=route_of(case.question) is Route.WHERE,
            )
            said = [one.text async for one in engine.answer(request) if isinstance(one, Delta)]
            found.append(judged(case, "".join(said)))
    return found


def judged(case: Case, answer: str) -> Judged:
    """Judge an answer by rules."""
    wrong = tuple(sorted(_named(answer, case.language) - case.shows))
    return Judged(case, answer, Verdict.MISLEADING if wrong else _verdict(case, answer), wrong)


def _verdict(case: Case, answer: str) -> Verdict:
    first = answer.split("\n")[0]
    key = _key(first, case.language)
    said = {key, *(_key(one, case.language) for one in re.split(r"(?<=[.。।!؟?]) *", first))}
    honest = bool(said & (_UNKNOWN | _HONEST[case.group]))
    if case.accepted == ("nothing",):
        return Verdict.RIGHT
    words = [one for one in case.accepted if one not in ("yes", "no", "unknown")]
    right = (
        any(_has(answer, one) for one in words)
        or ("yes" in case.accepted and key in _YES)
        or ("no" in case.accepted and key in _NO)
    )
    if right:
        return Verdict.RIGHT
    if honest:
        return Verdict.HONEST
    return Verdict.USELESS if key in _IDLE or _says_no(key) else Verdict.MISLEADING


def _has(text: str, words: str) -> bool:
    """Find whole words; of a script without spaces, these letters."""
    if ord(words[0]) > 0x2E80:
        return words in text
    return _whole_words(words).search(text) is not None


@cache
def _whole_words(words: str) -> re.Pattern[str]:
    """Kept, since an answer is looked through for more of them than `re` keeps."""
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.I)


def _says_no(key: str) -> bool:
    return key.startswith(("no", "cannot", "unread", "faces_none", "faces_missing", "thing_not"))


@cache
def _patterns(code: str) -> list[tuple[str, re.Pattern[str]]]:
    """The phrases of a language as patterns, those with the longest texts of their own first."""
    found = []
    for key, phrase in language(code).phrases.items():
        for form in phrase.values() if isinstance(phrase, dict) else [phrase]:
            parts = re.split(r"\{\w+\}", form)
            pattern = "(.+?)".join(map(re.escape, parts))
            found.append((len("".join(parts)), key, re.compile(pattern)))
    return [(key, pattern) for _, key, pattern in sorted(found, key=lambda one: -one[0])]


def _key(line: str, code: str) -> str:
    """The phrase that a line begins with; "" for none of the language."""
    return next((key for key, pattern in _patterns(code) if pattern.match(line)), "")


@cache
def _ids(code: str) -> dict[str, str]:
    words = thing_words(code)
    return {text: name for name in classes().names for text in (words.many(name), words.one(name))}


def _named(answer: str, code: str) -> set[str]:
    """The things that an answer says are there."""
    found: set[str] = set()
    ids = _ids(code)
    denied = next(pattern for key, pattern in _patterns(code) if key == "thing_missed")
    for line in denied.sub("", answer).split("\n"):
        for key, pattern in _patterns(code):
            if key in _NAMING and (match := pattern.search(line)):
                told = " ".join(match.groups())
                for text in sorted(ids, key=len, reverse=True):
                    if _has(told, text):
                        found.add(ids[text])
                        told = told.replace(text, "")
    return found


def cost() -> tuple[list[float], float]:
    """Return the seconds of one core that it takes to name things in each photograph, and the MiB that this adds.

    In a process that has named nothing before; what libraries take is not counted.
    """
    onnxruntime.get_available_providers()
    names = sorted(path.stem for path in PHOTOS.glob("*.jpg"))
    before, finder = Usage.of(os.getpid()), ThingFinder()
    finder.find(as_camera(names[0]))
    took = []
    for name in names:
        view = as_camera(name)
        began = time.thread_time()
        finder.find(view)
        took.append(time.thread_time() - began)
    return took, Usage.of(os.getpid()).rss - before.rss


def as_camera(name: str) -> Bgr:
    """A photograph of a camera's size."""
    return np.asarray(cv2.resize(photo(name), (1280, 720)), np.uint8)


def table(judgements: Sequence[Judged]) -> str:
    """The score by group, and below it the share of pictures named and of wrong names."""
    rows = [f"{'':24}{'right':>7}{'honest':>8}{'mislead':>9}{'useless':>9}{'asked':>7}"]
    for group, title in GROUPS.items():
        rows.append(_row(title, [one for one in judgements if one.case.group == group]))
    rows.append(_row("all", judgements))
    nameable = [one for one in judgements if is_nameable(one.case)]
    right = sum(one.verdict is Verdict.RIGHT for one in nameable)
    wrong = sum(bool(one.wrong) for one in judgements)
    rows.append(f"named right, where a thing can be named: {right} of {len(nameable)}")
    rows.append(f"answers with a wrong name: {wrong} of {len(judgements)}")
    return "\n".join(rows)


def is_nameable(case: Case) -> bool:
    """True for the question what a photograph shows, where that has a name."""
    return case.group == "name" and case.picture.endswith(".jpg") and "unknown" not in case.accepted


def _row(title: str, judgements: Sequence[Judged]) -> str:
    counts = Counter(one.verdict for one in judgements)
    figures = (counts[one] for one in Verdict)
    right, honest, misleading, useless = figures
    return f"{title:24}{right:7}{honest:8}{misleading:9}{useless:9}{len(judgements):7}"
