"""What the detector does where a model answers: boxes for its answers, and cheap looks for its watches. Blocking."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2

from server.core.frames import Picture
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import pixels_of, placed
from server.features.builtin.intents import language_of, understand
from server.features.builtin.language import language
from server.features.builtin.thing_words import words_of
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.routing import ends, plain

log = logging.getLogger(__name__)
_FAILURES = (cv2.error, RuntimeError, ValueError, MemoryError)


class Beside:
    """The detector as other features use it. Any number of threads may call."""

    def __init__(self, finder: ThingFinder) -> None:
        self._finder = finder

    def boxes(self, picture: Picture, question: str, answer: str) -> list[Box]:
        """Return the boxes of the things that a question names, in pixels of the picture.

        None where a model's answer says that something is not there. A look that fails is logged, and
        finds nothing.
        """
        intent = understand(question)
        if not intent.things or denied(answer, intent.language):
            return []
        try:
            return placed(self._finder, pixels_of(picture), intent)
        except _FAILURES as exc:
            log.error("the detector failed", extra={"error": type(exc).__name__})
            return []

    def at(self, bgr: Bgr, x: float, y: float, tag: str) -> list[Box]:
        """Return the boxes of things around a point, in pixels of the picture.

        The label is a name in the language of a BCP 47 tag, "" for what cannot be named. Raises what the
        libraries raise.
        """
        words = words_of(tag)
        found = self._finder.at(bgr, x, y)
        return [replace(box, label=words.one(box.label) if box.label else "") for box in found]


def denied(answer: str, asked_in: str) -> bool:
    """Find whether an answer has a word that denies, in the language of its question or in its own."""
    text = ends(answer)
    codes = {asked_in, language_of(text) or asked_in}
    return any(language(code).common("denies").search(plain(text)) for code in codes)
