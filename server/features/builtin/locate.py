"""Find the boxes of text, colours, codes and faces that a question asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from server.features.builtin import colours, fields, prices
from server.features.builtin.intents import Intent, quoted
from server.features.builtin.language import language
from server.features.builtin.lines import LEAST_SCORE, Piece, reading_order, sentences
from server.features.builtin.speaker import PRINTED
from server.features.builtin.tables import count_named, names_any, names_it
from server.features.builtin.thing_words import thing_words
from server.features.builtin.wants import Want
from server.media.picture.encode import Bgr, shrunk
from server.media.picture.grounding import Box
from server.models.routing import plain
from server.shared.dates import dates

MOST = 8
# Longest side to which a picture is shrunk in the search for a colour
_SIDE = 320
# Least share of the picture of a spot of a colour; and of the largest spot, for further ones
_LEAST_SPOT = 0.002
_LEAST_OF_LARGEST = 0.1
_WORD = re.compile(r"\S+")
_TOKEN = re.compile(r"\w+")
# By language: letters at a colour's end that its forms change, and what stands there then
_ENDINGS: dict[str, tuple[int, str]] = {
    "en": (0, "s"),
    "de": (0, "e en er es em"),
    "fr": (0, "e s es he te"),
    "es": (1, "o a os as e es les"),
    "ru": (2, "ыи ии ая яя ое ее ые ие ую юю ого ой ои ым ых ом"),
}
# Subjects that text shows without their words: "Where is the date?"
_SHOWN: dict[Want, Callable[[list[str]], Sequence[object]]] = {
    Want.DATE: lambda rows: dates(rows[0]),
    Want.EXPIRY: lambda rows: dates(rows[0]),
    Want.TIME: fields.times,
    Want.PRICE: prices.prices,
    Want.TOTAL: prices.prices,
    Want.PHONE: fields.phones,
    Want.EMAIL: fields.emails,
    Want.URL: fields.urls,
}
# Words of a question for what is printed, beside the print itself
_KINDS = frozenset(
    plain(
        "sign word text label button line letter schild wort taste knopf zeile panneau mot bouton cartel palabra boton cartello "
        "parola pulsante placa palavra botao bord woord knop znak slowo przycisk знак слово кнопка надпись напис"
    ).split()
)
# Subjects of which any text may be the answer
_ANY_TEXT = {Want.READ, Want.SAYS}


def wants_codes(intent: Intent) -> bool:
    return intent.want is Want.CODE


def wants_faces(intent: Intent) -> bool:
    return intent.want is Want.FACES


def is_print(intent: Intent) -> bool:
    """Find whether a question is about something that its letters show: a date, a price, what it says."""
    return intent.want in _SHOWN or intent.want is Want.SAYS


def wanted_colours(intent: Intent, question: str) -> tuple[str, ...]:
    """Return the names from `colours.NAMES` that a question has, inflected ones ("blaue") too."""
    tokens = _TOKEN.findall(plain(question))
    words = language(intent.language)
    more = (
        name
        for name in colours.NAMES
        if any(_inflected(token, plain(words.colour_name(name)), words.code) for token in tokens)
    )
    return tuple(dict.fromkeys((*intent.colours, *more)))


def _inflected(token: str, word: str, code: str) -> bool:
    cut, ends = _ENDINGS.get(code, (0, ""))
    stem = word[: len(word) - cut] if len(word) > cut + 1 else word
    return token == word or (token.startswith(stem) and token[len(stem) :] in ends.split())


def wants_text(intent: Intent, question: str) -> bool:
    """Return False for a question that codes, faces or colours answer."""
    if quoted(question):
        return True
    return not (wants_codes(intent) or wants_faces(intent) or wanted_colours(intent, question))


def names_something(intent: Intent, question: str) -> bool:
    """Return False for a question that says no more than "where"."""
    named = quoted(question) or intent.words or intent.target or is_print(intent)
    return bool(named) or wants_codes(intent) or wants_faces(intent)


def text_boxes(pieces: Sequence[Piece], intent: Intent, question: str) -> list[Box]:
    """Return the boxes of the words asked for, best first; of all text when a question names none."""
    legible = [piece for piece in pieces if piece.score >= LEAST_SCORE]
    target = quoted(question) or intent.target
    words = [word.strip(".,;:!?") for word in plain(target).split()]
    words = words or list(intent.words)
    words = [word for word in words if word]
    shows = _SHOWN.get(intent.want)
    if not words and shows is not None and not _asks_to_pay(intent):
        return [piece.box for piece in legible if shows([piece.text])][:MOST]
    if not words:
        return [piece.box for piece in legible][:MOST] if intent.want in _ANY_TEXT else []
    hits = [(count_named(piece.text, words), piece) for piece in legible]
    most = max((count for count, _ in hits), default=0)
    if any(
        not any(names_it(piece.text, word) for piece in legible)
        for word in words
        if word not in _KINDS
    ):
        # "Where do I put the soap?" is not "Put".
        return []
    # Half of the words, and as many as in any other line
    if 2 * most < len(words) or most == 0:
        return []
    return [_part(piece, words) for count, piece in hits if count == most][:MOST]


def mentions(pieces: Sequence[Piece], boxes: Sequence[Box]) -> list[str]:
    """Return the lines that several found words are parts of: "parcel" on a card about one is not where it lies.

    Of one text alone, its row, if a figure stands beside it: "3  Eye clinic" of a house's board.
    """
    if len(boxes) < 2:
        return _row_beside(pieces, boxes[0].label) if boxes else []
    lines = [piece.text for piece in pieces if any(box.label in piece.text for box in boxes)]
    if all(box.label in lines for box in boxes):
        return []
    # "Your parcel is with:", and what stands beside it
    rows = [row.text for row in reading_order(pieces)]
    return [
        next((row for row in rows if one in row), one) if one.endswith(":") else one
        for one in lines
    ]


def only_line(pieces: Sequence[Piece], intent: Intent) -> list[str]:
    """Return the only line of print that names the things of a question: "Where can I put my bike?", "Bikes: coach 7"."""
    if len(pieces) < PRINTED:
        return []
    named_in = thing_words(intent.language).named_in
    rows = sentences(reading_order([piece for piece in pieces if piece.score >= LEAST_SCORE]))
    found = [row.text for row in rows if {*intent.things}.intersection(named_in(plain(row.text)))]
    return found if len(found) == 1 else []


def _row_beside(pieces: Sequence[Piece], text: str) -> list[str]:
    for row in reading_order(pieces):
        others = [cell.text for cell in row.cells if text not in cell.text]
        if len(others) == len(row.cells) - 1 and any(any(map(str.isdigit, one)) for one in others):
            return [row.text]
    return []


def _asks_to_pay(intent: Intent) -> bool:
    """Tell "Where do I pay?" from "Where is the total?"."""
    return intent.want is Want.TOTAL and not prices.names_total(intent.asked)


def _part(piece: Piece, words: Sequence[str]) -> Box:
    """Return the box of the words in their line: by their letters, which are about equally wide."""
    spans = [
        match.span() for match in _WORD.finditer(piece.text) if names_any(match.group(), words)
    ]
    if not spans:
        return piece.box
    first, last = spans[0][0], spans[-1][1]
    begin, end = first / len(piece.text), last / len(piece.text)
    top_left, top_right, bottom_right, bottom_left = piece.corners

    def between(a: tuple[float, float], b: tuple[float, float], at: float) -> tuple[float, float]:
        return a[0] + (b[0] - a[0]) * at, a[1] + (b[1] - a[1]) * at

    corners = (
        between(top_left, top_right, begin),
        between(top_left, top_right, end),
        between(bottom_left, bottom_right, end),
        between(bottom_left, bottom_right, begin),
    )
    # "Breakfast: 1st floor" and "Toilets behind the mill" say more of where than the place on the sign.
    rest = piece.text[last:]
    goes_on = piece.text[:last].endswith(":") or rest.startswith(":")
    goes_on = goes_on or (rest[:1] == " " and len(rest.split()) > 1)
    label = piece.text[first : None if goes_on else last]
    return replace(piece, text=label, corners=corners).box


def colour_boxes(bgr: Bgr, names: Iterable[str]) -> list[Box]:
    """Return the largest spots of each colour, largest first; the label is the colour's name."""
    small, _ = shrunk(bgr, _SIDE)
    named = colours.name_pixels(small)
    (height, width), (high, wide) = bgr.shape[:2], small.shape[:2]
    across, down = width / wide, height / high
    found: list[tuple[int, Box, NDArray[np.int32], int]] = []
    for name in dict.fromkeys(names):
        mask = (named == colours.NAMES.index(name)).astype(np.uint8)
        # Single pixels are noise.
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for at, (x, y, w, h, area) in enumerate(stats[1:].tolist(), start=1):
            if area >= _LEAST_SPOT * named.size:
                box = Box(x, y, x + w, y + h, name).scaled(across, down)
                found.append((area, box, np.asarray(labels, np.int32), at))
    found.sort(key=lambda one: -one[0])
    large = [one for one in found if one[0] >= _LEAST_OF_LARGEST * found[0][0]][:MOST]
    return [
        box
        for _, box, labels, at in large
        if not colours.is_shade(small, named, labels == at, box.label)
    ]


def directions(box: Box, width: int, height: int) -> list[str]:
    """Return the thirds in which the middle of a box lies: "left", "top" and the like; "middle" in
    the middle of both.
    """
    x, y = box.middle[0] / width, box.middle[1] / height
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    down = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    return [one for one in (across, down) if one] or ["middle"]


# How far beyond the middle something still lies on a side, as a share of the picture
_OVER = 0.1


def on_side(box: Box, place: str, width: int, height: int) -> bool:
    """Find whether the middle of a box lies on the side that a place names; True where it names none."""
    x, y = box.middle[0] / width, box.middle[1] / height
    far = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}.get(place, 0.0)
    return far < 0.5 + _OVER
