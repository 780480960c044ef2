"""Boxes of the text, colours, codes and faces that a question asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from server.features.builtin import colours, facts, rank
from server.features.builtin.intents import Intent, find_quoted_text
from server.features.builtin.lines import LEAST_SCORE, TextPiece
from server.features.builtin.wants import Want
from server.media.picture.encode import Bgr, shrink
from server.media.picture.grounding import Box
from server.models.routing import plain

MOST = 8
# Longest side of the shrunk picture in the search for a colour, in pixels
_SIDE = 320
# Minimum size of a spot of a colour, as a fraction of the picture; and of further spots, as a fraction of the largest
_LEAST_SPOT = 0.002
_LEAST_OF_LARGEST = 0.1
_WORD = re.compile(r"\S+")
# Subjects that printed text shows without naming them: "Where is the date?"
_SHOWN = frozenset(
    {Want.DATE, Want.EXPIRY, Want.TIME, Want.PRICE, Want.TOTAL, Want.PHONE, Want.EMAIL, Want.URL}
)
# Words of a question for kinds of printed text, which are not in the text itself
_KINDS = frozenset(
    plain(
        "sign word text label button line letter schild wort taste knopf zeile panneau mot bouton cartel palabra boton cartello "
        "parola pulsante placa palavra botao bord woord knop znak slowo przycisk знак слово кнопка надпись напис"
    ).split()
)


def is_print(intent: Intent) -> bool:
    """Return True if a question is about text in a recognisable format, such as a date or a price."""
    return intent.want in _SHOWN


def has_named_target(intent: Intent, question: str) -> bool:
    """Return True if a question names its object; False for a bare "where"."""
    named = find_quoted_text(question) or intent.words or is_print(intent)
    return bool(named) or intent.want in (Want.CODE, Want.FACES)


def find_text_boxes(pieces: Sequence[TextPiece], intent: Intent, question: str) -> list[Box]:
    """Return the boxes of the requested words, best first; of all text if a question to read names no words."""
    legible = [piece for piece in pieces if piece.score >= LEAST_SCORE]
    words = [word.strip(".,;:!?") for word in plain(find_quoted_text(question)).split()]
    words = [word for word in words or intent.words if word and word not in _KINDS]
    if not words and intent.want in _SHOWN:
        finds = facts.FINDERS[intent.want]
        return [piece.box for piece in legible if finds(piece.text)][:MOST]
    if not words:
        return [piece.box for piece in legible][:MOST] if intent.want is Want.READ else []
    if not all(any(rank.has_word(piece.text, word) for piece in legible) for word in words):
        # "Where do I put the soap?" does not ask for a line with "Put".
        return []
    hits = [(rank.count_words(piece.text, words), piece) for piece in legible]
    most = max(count for count, _ in hits)
    # A line needs half of the words, and as many as any other line.
    if 2 * most < len(words):
        return []
    return [_estimate_box(piece, words) for count, piece in hits if count == most][:MOST]


def _estimate_box(piece: TextPiece, words: Sequence[str]) -> Box:
    """Estimate the box of words in their line; letters are about equally wide."""
    spans = [
        match.span()
        for match in _WORD.finditer(piece.text)
        if rank.count_words(match.group(), words)
    ]
    if not spans:
        return piece.box
    first, last = spans[0][0], spans[-1][1]
    size = len(piece.text)
    corners = piece.get_part_corners(first / size, last / size)
    return replace(piece, text=piece.text[first:last], corners=corners).box


def find_colour_boxes(bgr: Bgr, names: Iterable[str]) -> list[Box]:
    """Return the largest spots of each colour, largest first; the label is the colour's name."""
    small, _ = shrink(bgr, _SIDE)
    named = colours.name_pixels(small)
    (height, width), (high, wide) = bgr.shape[:2], small.shape[:2]
    across, down = width / wide, height / high
    found: list[tuple[int, Box]] = []
    for name in dict.fromkeys(names):
        mask = (named == colours.NAMES.index(name)).astype(np.uint8)
        # Single pixels are noise.
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for x, y, w, h, area in stats[1:].tolist():
            if area >= _LEAST_SPOT * named.size:
                found.append((area, Box(x, y, x + w, y + h, name).scaled(across, down)))
    found.sort(key=lambda one: -one[0])
    return [box for area, box in found if area >= _LEAST_OF_LARGEST * found[0][0]][:MOST]


def get_directions(box: Box, width: int, height: int) -> list[str]:
    """Return the thirds in which the middle of a box lies, such as "left" and "top"; else "middle"."""
    x, y = box.middle[0] / width, box.middle[1] / height
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    down = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    return [one for one in (across, down) if one] or ["middle"]


# Fraction of the picture by which a side extends beyond the middle
_OVER = 0.1


def is_on_side(box: Box, place: str, width: int, height: int) -> bool:
    """Return True if the middle of a box lies on a side of the picture, or if `place` is not a side."""
    x, y = box.middle[0] / width, box.middle[1] / height
    far = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}.get(place, 0.0)
    return far < 0.5 + _OVER
