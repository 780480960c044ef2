"""Compare two answers to one question by their claims: numbers with units, dates, yes or no, on or off, names. Pure.

Other words are compared only if there are no such claims; answers in different words are `unsure`, never `differs`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from server.models.prompts import NOTHING_TO_READ
from server.models.routing import make_word_pattern, plain
from server.shared.dates import find_dates

# Characters of an answer that are compared, and of the sentence quoted from the second one
_MOST = 2000
_MOST_QUOTED = 160
# Languages written without spaces, or that attach particles to words
_UNSPACED = ("zh", "ja", "ko")
_WIDE = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
# A number, unless a Latin letter is before it, as in the names "B12" and "E471"
_NUMBER = re.compile(r"(?<![a-z\d])(?<!\d[.,])\d++(?:[.,]\d++)*+")
# "10 1/2", "10¾" and "½"
_FRACTION = re.compile(
    r"(?<![\d/])(?:(\d+)\s?)?([¼½¾⅓⅔⅛⅜⅝⅞])|(?<![\d/])(\d+)\s([1-7])/([23458])(?![\d/])"
)
_TIME = re.compile(r"(?<!\d)\d{1,2}:\d\d(?![\d:])")
_LISTED = re.compile(r"(?m)^[^\S\n]{0,8}\d{1,2}[.)]\s")
_RANGE = re.compile(r"\s?[-–/]\s?")
# "3.5", "12. Mai"
_SENTENCE = re.compile(
    r"(?:[^.!?。！？؟।\n]|[.](?=\S)|(?:(?<=\b\d)|(?<=\b\d\d))[.])++[.!?。！？؟।]*"
)
_HEAD = re.compile(r"[^.,:;!?。、，：；！？؟،।\n–—]{1,24}")
_JOINT = re.compile(rf"([a-z0-9%])(?=[{_WIDE}])")
_WORD = re.compile(rf"[^\W\d_{_WIDE}]{{4,}}|[{_WIDE}]")
# A word that may be a name: four letters or more, or katakana
_NAME = re.compile(r"\b[^\W\d_]{4,}\b|[\u30a0-\u30ff]{3,}")
# Initial letters that two forms of a name have in common; least letters of a name at the beginning of a sentence
_ALIKE, _LEAST_FIRST = 4, 6
# Characters after a number in which its unit is searched
_UNIT_CHARS = 24


class Verdict(StrEnum):
    """The relation of a second answer to the first one."""

    AGREES = "agrees"
    DIFFERS = "differs"
    # They cannot be compared, or the second one has only a part of the first one's claims.
    UNSURE = "unsure"
    # The second one says that it cannot be seen.
    UNSEEN = "unseen"


def compare(question: str, first: str, second: str) -> Verdict:
    """Return how the second answer relates to the first. Of the first, only the first sentence with claims is used."""
    if not second.strip() or second.strip(" .\"'`*") == NOTHING_TO_READ:
        return Verdict.UNSEEN
    one, other = first[:_MOST], second[:_MOST]
    first_claims = _find_main_claims(one)
    second_claims = _find_claims(_fold(_LISTED.sub(" ", other)))
    heads = _find_yes_no(one), _find_yes_no(other)
    if all(heads):
        first_claims = first_claims | {"yes_no": {heads[0]}}
        second_claims = second_claims | {"yes_no": {heads[1]}}
    if not _load_pattern("signal").search(plain(question)):
        first_claims.pop("light", None)
        second_claims.pop("light", None)
    found = [
        _compare_claims(first_claims[kind], second_claims[kind])
        for kind in sorted(first_claims.keys() & second_claims.keys())
    ]
    if Verdict.DIFFERS in found:
        # Such as "I couldn't find that. It says: 4.50 EUR": the second look did not see the thing.
        begins = [
            _load_pattern("unable").search(plain(text))
            for text in _get_first_sentence(one) + _get_first_sentence(other)
        ]
        lost = len(begins) > 1 and begins[1] and not begins[0]
        return Verdict.UNSEEN if lost else Verdict.DIFFERS
    if found:
        alike = Verdict.UNSURE not in found and _has_same_names(one, other)
        return Verdict.AGREES if alike else Verdict.UNSURE
    unable = [_load_pattern("unable").search(plain(text)) is not None for text in (one, other)]
    if any(unable):
        return Verdict.UNSEEN if unable[1] else Verdict.UNSURE
    same = not first_claims and not second_claims and _has_same_words(one, other)
    return Verdict.AGREES if same else Verdict.UNSURE


def format_contradiction(second: str, language: str) -> str:
    """Return the warning that a second look contradicts the answer. `language`: a BCP 47 tag; English for unknown ones."""
    sentences = [text for text in _split_sentences(second[:_MOST]) if _find_claims(_fold(text))]
    other = (sentences or [second])[0].strip().rstrip(".!。।")
    if len(other) > _MOST_QUOTED:
        other = f"{other[:_MOST_QUOTED].rstrip()}…"
    said = _load_data()["differs"]
    form: str = said.get(language.partition("-")[0].lower(), said["en"])
    return form.replace("{other}", " ".join(other.split()))


def find_numbers(text: str) -> frozenset[Hashable]:
    """Return the numbers and parts of dates in an answer, by which its printed text is found in the picture."""
    found = _find_numbers(_fold(text[:_MOST]))
    return frozenset(
        one
        for values in found.values()
        for value in values
        for one in (product(*value) if isinstance(value, tuple) else [value])
    )


def _split_sentences(text: str) -> list[str]:
    found = _SENTENCE.finditer(_LISTED.sub(" ", text))
    return [match[0] for match in found if match[0].strip()]


def _get_first_sentence(text: str) -> list[str]:
    return _split_sentences(text)[:1]


_Found = dict[str, set[Hashable]]


def _find_main_claims(text: str) -> _Found:
    """Return the claims of the first sentence that has any; empty if there are none."""
    claims = (_find_claims(_fold(sentence)) for sentence in _split_sentences(text))
    return next((found for found in claims if found), {})


def _find_claims(text: str) -> _Found:
    """Return the claims of a folded text (see `_fold`), by kind."""
    found = _find_numbers(text)
    for kind in ("light", "power", "expiry", "danger"):
        sides = _find_sides(kind, text)
        # A text that mentions both opposites makes neither claim.
        if len(sides) == 1 or (sides and kind == "light"):
            found[kind] = set(sides)
    return found


def _fold(text: str) -> str:
    """Return a text with ASCII digits, fractions as decimals, and a space where the script changes."""
    text = "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)
    text = _FRACTION.sub(_format_decimal, text)
    return _JOINT.sub(r"\1 ", plain(text))


def _format_decimal(fraction: re.Match[str]) -> str:
    """Return the decimal number of a match of `_FRACTION`, such as "10.5" for "10 1/2"."""
    whole, one, other, over, under = fraction.groups()
    part = unicodedata.numeric(one) if one else int(over) / int(under)
    return f"{int(whole or other or 0) + part:.3f}".rstrip("0")


def _find_numbers(text: str) -> _Found:
    """Return the dates, times and numbers of a folded text, by kind."""
    found: _Found = {}
    for date in find_dates(text):
        either = {date.month, date.day} if date.either else None
        parts = ({date.year}, either or {date.month}, either or {date.day})
        found.setdefault("date", set()).add(tuple(map(frozenset, parts)))
        text = text.replace(date.text, " ", 1)
    for match in _TIME.finditer(text):
        found.setdefault("time", set()).add(match[0])
    text = _TIME.sub(" ", text)
    carried: tuple[str, Decimal] | None = None
    before = len(text)
    for match in reversed(list(_NUMBER.finditer(text))):
        unit = _parse_unit(text[match.end() :][:_UNIT_CHARS])
        if unit is None and _RANGE.fullmatch(text, match.end(), before):
            unit = carried
        carried, before = unit, match.start()
        kind, times = unit or ("number", Decimal(1))
        found.setdefault(kind, set()).add((_parse_value(match[0]) * times).normalize())
    return found


def _parse_value(number: str) -> Decimal:
    """Return the value of a number. Three digits after a single mark are thousands, unless the number begins with 0."""
    last = max(number.rfind("."), number.rfind(","))
    if last < 0:
        return Decimal(number)
    marks = {char for char in number if char in ".,"}
    whole, part = number[:last], number[last + 1 :]
    grouped = len(marks) == 1 and len(part) == 3 and whole[0] != "0"
    if grouped or (len(marks) == 1 and number.count(number[last]) > 1):
        return Decimal(re.sub("[.,]", "", number))
    return Decimal(f"{re.sub('[.,]', '', whole)}.{part}")


def _parse_unit(behind: str) -> tuple[str, Decimal] | None:
    """Return the kind of the unit at the start of a text, and its factor to the base unit; None if there is none."""
    behind = behind.removeprefix(" ").removeprefix("-")
    found = [
        (match.end(), unit) for pattern, unit in _load_units() if (match := pattern.match(behind))
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def _compare_claims(first: Iterable[Hashable], second: Iterable[Hashable]) -> Verdict:
    """Return the relation of two answers' claims of one kind."""
    first, second = list(first), list(second)
    borne = [any(_is_same_claim(one, other) for other in second) for one in first]
    if all(borne):
        return Verdict.AGREES
    known = [any(_is_same_claim(one, other) for one in first) for other in second]
    return Verdict.UNSURE if all(known) else Verdict.DIFFERS


def _is_same_claim(one: Hashable, other: Hashable) -> bool:
    """Return True if two claims agree. Dates agree if each part that both give is equal."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(None in a | b or a & b for a, b in zip(one, other, strict=True))
    return one == other


def _find_yes_no(text: str) -> str:
    """Return "0" for an answer that begins with yes, "1" for one that begins with no, else ""."""
    head = _HEAD.match(text.lstrip(" \"'*¡¿"))
    word = plain(head[0]).strip() if head else ""
    return next(
        (str(side) for side, words in enumerate(_load_word_sets("yes_no")) if word in words), ""
    )


def _find_sides(kind: str, text: str) -> list[int]:
    """Return the indexes of the opposites that a text claims; of overlapping phrases the longest one is used."""
    whole, *sides = _load_opposites(kind)
    said = {match[0] for match in whole.finditer(text)}
    return [at for at, side in enumerate(sides) if any(side.fullmatch(one) for one in said)]


def _has_same_names(first: str, second: str) -> bool:
    """Return False if each text contains a name that the other one lacks."""
    pairs = (first, second), (second, first)
    return not all(
        any(not _has_name(name, other) for name in _find_names(one)) for one, other in pairs
    )


def _find_names(text: str) -> list[str]:
    found = []
    for sentence in _split_sentences(text):
        begin = len(sentence) - len(sentence.lstrip())
        found += [
            match[0]
            for match in _NAME.finditer(sentence)
            if (match[0][0].isupper() or match[0][0] >= "\u30a0")
            and (match.start() > begin or len(match[0]) >= _LEAST_FIRST)
        ]
    return found


def _has_name(name: str, text: str) -> bool:
    return plain(name)[:_ALIKE] in plain(text)


def _has_same_words(first: str, second: str) -> bool:
    """Return True if one text has all words of the other, and both texts or neither contain a negation."""
    one, other = (set(_WORD.findall(plain(text))) for text in (first, second))
    few, many = sorted((one, other), key=len)
    denies = {_load_pattern("negation").search(plain(text)) is not None for text in (first, second)}
    return len(few) > 1 and few <= many and len(denies) == 1


@cache
def _load_data() -> Mapping[str, Any]:
    file = Path(__file__).with_name("claims.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _make_pattern(entries: Mapping[str, str]) -> re.Pattern[str]:
    words = ",".join(text for code, text in entries.items() if code not in _UNSPACED)
    return make_word_pattern(words, ",".join(entries[code] for code in _UNSPACED))


@cache
def _load_pattern(name: str) -> re.Pattern[str]:
    return _make_pattern(_load_data()[name])


@cache
def _load_word_sets(name: str) -> list[frozenset[str]]:
    """Return the sets of words of several opposites, one set for each."""
    sides = zip(*_load_data()[name].values(), strict=True)
    return [
        frozenset(plain(word).strip() for entry in side for word in entry.split(","))
        for side in sides
    ]


@cache
def _load_opposites(name: str) -> list[re.Pattern[str]]:
    """Return a pattern that matches any of several opposites, followed by a pattern for each of them."""
    entries: Mapping[str, list[str]] = _load_data()[name]
    count = len(next(iter(entries.values())))
    sides = [{code: texts[at] for code, texts in entries.items()} for at in range(count)]
    return [
        _make_pattern({code: ",".join(texts) for code, texts in entries.items()}),
        *map(_make_pattern, sides),
    ]


@cache
def _load_units() -> list[tuple[re.Pattern[str], tuple[str, Decimal]]]:
    return [
        (make_word_pattern(one["words"], one.get("parts", "")), (one["of"], Decimal(one["times"])))
        for one in _load_data()["unit"]
    ]
