"""Boxes for a model's answers, and cheap checks of its watches, by the detector. Calls block."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2

from server.core.frames import Picture
from server.features.builtin.answers import describe_places
from server.features.builtin.conditions import Condition, Subject, parse_spoken_condition
from server.features.builtin.detector import PERSON, ThingFinder, load_classes, select_things
from server.features.builtin.engine import get_pixels
from server.features.builtin.intents import understand
from server.features.builtin.language import detect_language, get_language
from server.features.builtin.spotting import spot
from server.features.builtin.thing_words import get_thing_words, get_words_for_tag
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.routing import plain, shorten_question
from server.shared.watch_answers import WatchAnswer

log = logging.getLogger(__name__)
# Confidence that an object is absent, 0 to 1
_NOT_SEEN = 0.8
# Objects that the detector recognises well enough to replace a model
_WELL = frozenset(
    {PERSON, "bicycle", "car", "motorcycle", "bus", "train", "cat", "dog", "horse", "cow", "sheep"}
)
_FAILURES = (cv2.error, RuntimeError, ValueError, MemoryError)


class DetectorAid:
    """The detector for other features. Any number of threads may call it."""

    def __init__(self, finder: ThingFinder) -> None:
        self.finder = finder

    def find_boxes(self, picture: Picture, question: str, answer: str) -> list[Box]:
        """Return the boxes of the objects that a question names, in pixels of the picture.

        Return an empty list if a model's answer denies that something is there, and if detection fails, which is
        logged.
        """
        intent = understand(question)
        if not intent.things or is_denied(answer, intent.language):
            return []
        words = get_thing_words(intent.language)
        try:
            found = self.finder.find(get_pixels(picture), intent.things)
        except _FAILURES as exc:
            log.error("object detection failed", extra={"error": type(exc).__name__})
            return []
        seen = select_things(found, intent.things)
        return [
            replace(one.box, label=words.get_singular(one.name))
            for one in seen
            if one.box is not None
        ]

    def find_at(self, bgr: Bgr, x: float, y: float, tag: str) -> list[Box]:
        """Return the boxes of objects around a point, in pixels of the picture.

        The label is a name in the language of the BCP 47 `tag`, or "" for an unknown object. Errors of the
        libraries are passed on.
        """
        words = get_words_for_tag(tag)
        found = self.finder.find_at(bgr, x, y)
        return [
            replace(box, label=words.get_singular(box.label) if box.label else "") for box in found
        ]

    def check_conditions(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int = 0,
        near: Box | None = None,
        reliable_only: bool = False,
    ) -> dict[str, list[WatchAnswer] | None] | None:
        """Check the watches' conditions, keyed by watch name.

        `reliable_only`: skip objects that the detector often misses. `turn`, `near`: see `spot`. Each condition gets its answers, surest first and never empty, with boxes in pixels
        of the picture; an absent object has no box. The value is None if a condition names nothing that the detector
        knows; the result is None if detection fails.
        """
        read = {
            name: parse_detector_condition(condition, reliable_only)
            for name, condition in conditions.items()
        }
        wanted = [found[0] for found in read.values() if found is not None]
        names = {one.target for one in wanted}
        # A part of the picture cannot show that an object is gone.
        whole = any(one.gone for one in wanted)
        boxes: list[Box] = []
        if names:
            try:
                boxes = spot(self.finder, get_pixels(picture), names, turn, near, whole)
            except _FAILURES as exc:
                log.error("object detection failed", extra={"error": type(exc).__name__})
                return None
        if self.finder.broken:
            return None
        size = picture.width, picture.height
        return {
            name: _make_answers(*found, boxes, size) if found is not None else None
            for name, found in read.items()
        }


@lru_cache(256)
def parse_detector_condition(
    condition: str, reliable_only: bool = False
) -> tuple[Condition, str] | None:
    """Return a condition that the detector can check, and the language of its words; None for any other.

    `reliable_only`: accept only objects that it recognises well enough to replace a model.
    """
    found = parse_spoken_condition(condition)
    if found is None or found[0].subject not in (Subject.THING, Subject.PERSON):
        return None
    read = replace(found[0], target=found[0].target or PERSON)
    return (
        (read, found[1])
        if read.target in (_WELL if reliable_only else load_classes().detector)
        else None
    )


def _make_answers(
    condition: Condition, code: str, boxes: Sequence[Box], size: tuple[int, int]
) -> list[WatchAnswer]:
    words, named = get_language(code), get_thing_words(code).get_singular(condition.target)
    seen = [box for box in boxes if box.label == condition.target]
    if condition.gone:
        why = words.say("not_now" if seen else "thing_missed", thing=named)
        return [WatchAnswer(not seen, _NOT_SEEN, None, why)]
    return [
        WatchAnswer(
            True,
            box.confidence or 0.5,
            box,
            describe_places([replace(box, label=named)], code, *size),
        )
        for box in seen
    ] or [WatchAnswer(False, _NOT_SEEN, None, words.say("not_now"))]


def is_denied(answer: str, asked_in: str) -> bool:
    """Return True if an answer has a negating word, in the language of its question or in its own."""
    text = shorten_question(answer)
    codes = {asked_in, detect_language(text) or asked_in}
    return any(
        get_language(code).get_common_pattern("denies").search(plain(text)) for code in codes
    )
