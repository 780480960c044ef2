"""Read the questions of `questions.jsonl`, and ask the present engine."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from server.core.frames import Picture, QuestionMode
from server.features.builtin.codes import DecodedCode
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.lines import TextPiece
from server.features.builtin.reader import TextReader
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.planes import SceneAnalyser
from server.models.base import Delta
from server.models.routing import get_route
from tests.support.fakes import make_request

ASKED = Path(__file__).parent
# The day on which the questions are asked: it decides what has expired.
TODAY = dt.date(2026, 11, 30)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture, and what is true in it."""

    id: str
    kind: str
    language: str
    # Relative to tests/features/builtin
    picture: str
    question: str
    truth: str

    @property
    def file(self) -> Path:
        return ASKED.parent / self.picture


@cache
def questions() -> tuple[Question, ...]:
    lines = (ASKED / "questions.jsonl").read_text("utf-8").splitlines()
    return tuple(Question(**json.loads(line)) for line in lines)


async def ask(asked: Iterable[Question], heard: Callable[[Question, str], None]) -> None:
    """Ask the present engine, with the models that come with it."""
    with ThreadPoolExecutor(1, "asked") as heavy:
        reader, finder = Once(), ThingFinder()
        pictures: dict[Path, Picture] = {}
        for number, one in enumerate(asked):
            if one.file not in pictures:
                bgr = np.asarray(cv2.imread(str(one.file)), np.uint8)
                pictures = {one.file: pictured(bgr)}
            engine = BuiltinEngine(heavy=heavy, now=now, reader=reader, finder=finder)
            request = make_request(
                one.question,
                pictures[one.file],
                session_id=f"session {number}",
                max_tokens=400,
                page_language=one.language,
                where=get_route(one.question) is QuestionMode.WHERE,
            )
            said = [part.text async for part in engine.answer(request) if isinstance(part, Delta)]
            heard(one, "".join(said))


def now(zone: dt.tzinfo | None) -> dt.datetime:
    """Return noon of the day of the pictures."""
    return dt.datetime.combine(TODAY, dt.time(12), zone)


def pictured(bgr: Bgr) -> Picture:
    """Return a picture as a camera's frame comes to the engine: with its light and sharpness told."""
    height, width = (side // 2 * 2 for side in bgr.shape[:2])
    bgr = bgr[:height, :width]
    frame = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
    scene = SceneAnalyser().read(frame, 1.0)
    whole = (width, height)
    return Picture("f", 1.0, None, *whole, *whole, 0, None, bgr, None, 0.002, scene=scene)


class Once(TextReader):
    """Reads each picture once for all questions about it."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[Bgr, list[TextPiece], list[DecodedCode], list[Box] | None] | None = None

    def _once(self, bgr: Bgr) -> tuple[Bgr, list[TextPiece], list[DecodedCode], list[Box] | None]:
        if self._kept is None or self._kept[0] is not bgr:
            self._kept = (
                bgr,
                super().read_text(bgr),
                super().read_codes(bgr),
                super().find_faces(bgr),
            )
        return self._kept

    def read_text(self, bgr: Bgr) -> list[TextPiece]:
        return self._once(bgr)[1]

    def read_codes(self, bgr: Bgr) -> list[DecodedCode]:
        return self._once(bgr)[2]

    def find_faces(self, bgr: Bgr) -> list[Box] | None:
        return self._once(bgr)[3]
