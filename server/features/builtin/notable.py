"""Notices for a person who carries the camera, from successive inspections."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from server.features.builtin.detector import LARGE_ANIMALS, PERSON, ThingFinder
from server.features.builtin.impressions import SessionStore
from server.features.builtin.language import get_language, strip_controls
from server.features.builtin.lines import Row
from server.features.builtin.rank import get_letters, is_similar
from server.features.builtin.thing_words import get_thing_words
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.shared.notices import NoticeContext

# Objects that move by themselves
_VEHICLES = ("bicycle", "car", "motorcycle", "bus", "train", "truck", "boat")
_COMING = frozenset((PERSON, *LARGE_ANIMALS, *_VEHICLES))
# Largest count of a kind that is compared; more are "many"
_MANY = 3
# Closeness: middle part of the picture's width, and minimum height of a close object there. A lower one, of at least
# `_LEAST_HIGH`, is close if it grows by the factor `_GROWS` within so many seconds. Heights: fractions of the picture.
_MIDDLE, _HIGH = (0.25, 0.75), 1 / 3
_LEAST_HIGH, _GROWS, _GROWS_SECONDS = 0.15, 1.5, 2.0
# Stored inspections to compare with: an object that one inspection misses is not gone
_LOOKS = 3
# Maximum rows of large text, maximum words and minimum letters of a row
_ROWS, _WORDS, _LEAST_LETTERS = 3, 5, 2


@dataclass(frozen=True, slots=True)
class SeenThing:
    """An object in a picture. `box`: fractions of its sides. `sure`: it may be reported; otherwise only its growth is observed."""

    name: str
    box: Box
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """The objects and the printed text of one picture. `at`: its capture time, monotonic seconds."""

    at: float
    sights: tuple[SeenThing, ...] = ()
    # Rows of large text
    rows: tuple[str, ...] = ()
    # Names of objects reported as close
    close: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class News:
    """New names of close objects, largest first; names of new objects, repeated by count; and rows of text."""

    close: tuple[str, ...] = ()
    came: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


def select_large_rows(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the largest rows of few words, from top to bottom."""
    short = [
        row
        for row in rows
        if len(row.text.split()) <= _WORDS and len(get_letters(row.text)) >= _LEAST_LETTERS
    ]
    largest = sorted(short, key=lambda row: -row.height)[:_ROWS]
    return tuple(strip_controls(row.text) for row in short if row in largest)


def is_in_middle(box: Box) -> bool:
    return _MIDDLE[0] <= box.middle[0] <= _MIDDLE[1]


def is_close(sight: SeenThing, at: float, before: Iterable[Look]) -> bool:
    """Return True if an object is close: large in the middle, or growing there."""
    if not is_in_middle(sight.box):
        return False
    if sight.box.height >= _HIGH:
        return True
    return sight.box.height >= _LEAST_HIGH and any(
        one.name == sight.name
        and sight.box.height >= _GROWS * one.box.height
        and sight.box.encloses(*one.box.middle)
        for look in before
        if at - look.at <= _GROWS_SECONDS
        for one in look.sights
    )


def find_news(look: Look, before: Sequence[Look], said: Sequence[str]) -> News:
    """Compare an inspection with earlier ones. `before`: the last reported ones; `said`: texts of the last minute."""
    sure = sorted((one for one in look.sights if one.sure), key=lambda one: -one.box.height)
    close = [one.name for one in sure if is_close(one, look.at, before)]
    known = frozenset[str]().union(*(one.close for one in before))
    new_close = tuple(dict.fromkeys(name for name in close if name not in known))
    counts = [_count_coming(one) for one in (look, *before)]
    came = [
        name
        for name, count in counts[0].items()
        for _ in range(count - max((one[name] for one in counts[1:]), default=0))
        if name not in new_close
    ]
    old_rows = [row for one in before for row in one.rows]
    rows = [
        row
        for row in look.rows
        if not any(is_similar(row, old) for old in old_rows) and not any(row in one for one in said)
    ]
    return News(new_close, tuple(came), tuple(rows))


def _count_coming(look: Look) -> Counter[str]:
    found = Counter(one.name for one in look.sights if one.sure and one.name in _COMING)
    return Counter({name: min(count, _MANY) for name, count in found.items()})


def make_sentences(found: News, code: str, *, first: bool, things: bool) -> list[str]:
    """Return the news as at most two sentences, most urgent first; at `first` also the limits of notices."""
    words = get_language(code)
    said = []
    if found.close:
        said.append(words.say("close", things=_join_names(found.close, code)))
    if found.came:
        said.append(
            words.say("see_things" if first else "came", things=_join_names(found.came, code))
        )
    if found.rows:
        said.append(words.say("reads", text=" · ".join(map(words.isolate, found.rows))))
    return said[:2] + ([words.say_of_itself("notices", things)] if first else [])


def _join_names(names: Sequence[str], code: str) -> str:
    return get_language(code).join_with_and(get_thing_words(code).format_names(names))


class Noticer:
    """Notices by session, from the last inspections stored for it.

    Bounds of the built-in engine's stored inspections: 3 in each of 128 sessions, names and boxes only; the least
    recently used session is dropped.
    """

    def __init__(self, finder: ThingFinder | None, sessions: int = 128) -> None:
        self._finder = finder
        self._looks = SessionStore[deque[Look]](sessions)

    def __len__(self) -> int:
        return len(self._looks)

    def look(self, bgr: Bgr) -> list[SeenThing]:
        """Return the objects in a picture; the classifier checks those that may be reported. Blocking."""
        if self._finder is None:
            return []
        height, width = bgr.shape[:2]

        def to_shares(box: Box) -> Box:
            return box.scaled(1 / width, 1 / height)

        boxes = self._finder.find_boxes(bgr)
        reportable = [
            box
            for box in boxes
            if box.label in _COMING
            or (is_in_middle(to_shares(box)) and box.height >= _LEAST_HIGH * height)
        ]
        named = self._finder.name_boxes(bgr, reportable) if reportable else []
        sure = [
            SeenThing(one.name, to_shares(one.box), sure=True)
            for one in named
            if one.sure and one.box
        ]
        sure_boxes = [one.box for one in sure]
        rest = [
            SeenThing(box.label, to_shares(box))
            for box in boxes
            if to_shares(box) not in sure_boxes
        ]
        return sure + rest

    def find_news(self, session_id: str, look: Look, context: NoticeContext, code: str) -> str:
        """Return the news of an inspection in the language `code`; "" if there are none."""
        kept = self._looks.take(session_id) or ()
        known = [] if context.until is None else [one for one in kept if one.at <= context.until]
        found = find_news(look, known, context.said)
        said = make_sentences(found, code, first=context.first, things=self._finder is not None)
        if found.rows and found.close and found.came:
            # Only two sentences are returned: the text is news next time.
            look = replace(look, rows=tuple(row for row in look.rows if row not in found.rows))
        # A close object stays close while it is visible, as it cannot grow for ever.
        were = frozenset[str]().union(*(one.close for one in known))
        near = frozenset(
            one.name
            for one in look.sights
            if one.sure and (one.name in were or is_close(one, look.at, known))
        )
        self._looks.put(deque([*known, replace(look, close=near)], maxlen=_LOOKS), session_id)
        return get_language(code).join_sentence(*said)

    def forget(self, session_id: str) -> None:
        self._looks.forget(session_id)
