"""Answers composed from the facts of a picture: at most two lines, the useful one first. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from server.core.messages import AnswerFact
from server.features.builtin import facts, look_answers, rank
from server.features.builtin.codes import find_network, get_host
from server.features.builtin.intents import Intent
from server.features.builtin.language import Language, get_language, strip_controls
from server.features.builtin.lines import Row, split_sentences
from server.features.builtin.locate import get_directions
from server.features.builtin.speaker import AnswerWriter, ComposedAnswer, PictureFacts
from server.features.builtin.wants import SOCIAL, Want
from server.media.picture.grounding import Box
from server.models.prompts import parse_camera_number
from server.models.routing import plain
from server.shared.dates import find_dates

# Maximum number of rows with a figure of the requested kind that are the answer if no row has a word of the question
_FEW = 3
# Maximum length of printed text that is quoted in full, in characters; and the pattern of a figure on a display
_SHORT = 160
_BARE = re.compile(r"\W{0,3}\d[\d.,:]*+\W{0,3}")
# Maximum number of objects whose places are described; further objects only get a box.
_PLACED = 4
# Days after which a date without a year belongs to the next year; and the maximum number of days counted
_PAST_DAYS, _FAR = 300, 366


def compose(
    intent: Intent,
    view: PictureFacts,
    today: dt.date,
    *,
    running: bool = False,
    brief: bool = False,
    past: bool = False,
) -> ComposedAnswer:
    """Return the answer of one or two lines, all in `text`.

    `running`: a short answer in a series of descriptions. `brief`: without details. `past`: the question is about the
    recent past, of which a picture shows only the changes since the last inspected one.
    """
    s = AnswerWriter(intent, view, today)
    found = look_answers.answer_overview(s, running=True) if running else answer(s)
    if past and not found.known:
        change = look_answers.answer_change(s) if view.change is not None else ComposedAnswer("")
        found = ComposedAnswer(
            s.say("no_past"), s.join_sentence(change.text, change.more), known=False
        )
    text = _join_lines(found.text, "" if brief and found.text else found.more)
    return replace(found, text=text, more="")


def compose_several(
    intent: Intent, looks: Sequence[tuple[str, PictureFacts]], today: dt.date
) -> tuple[str, bool]:
    """Return the answer about each of these cameras in turn; an answer that is the same for all is given once."""
    words = get_language(intent.language)
    found = [answer(AnswerWriter(intent, view, today)) for _, view in looks]
    names, texts = [_format_camera(words, name) for name, _ in looks], [one.text for one in found]
    if len(set(texts)) == 1:
        names, texts = [words.join_words(names)], texts[:1]
    lines = [words.format_name_value(name, text) for name, text in zip(names, texts, strict=True)]
    return _join_lines(*lines), any(one.known for one in found)


def answer_small_talk(intent: Intent, things: bool = True, *, hears: bool = False) -> str | None:
    """Return the answer to small talk; None for a question about the picture.

    `things`: the engine names objects. `hears`: the session's microphone is on.
    """
    words, want = get_language(intent.language), intent.want
    if want not in SOCIAL:
        return None
    if want is Want.HEARS:
        return words.say("yes" if hears else "hears_not")
    if want is Want.THANKS:
        return words.say("thanks")
    first = "" if want is Want.HELP else words.say(want.value)
    return words.join_sentence(first, words.say_of_itself("help", things))


def describe_places(
    boxes: Sequence[Box],
    code: str,
    width: int,
    height: int,
    things: bool = True,
    *,
    of_print: bool = False,
) -> str:
    """Return the sentences about the places of boxes in a picture of this size.

    `things`: the engine names objects. `of_print`: the boxes contain printed words.
    """
    words = get_language(code)
    if not boxes:
        return words.join_sentence(words.say("not_now"), words.say_of_itself("help", things))
    parts = []
    for box in boxes[:_PLACED]:
        where = [words.get_place_name(one) for one in get_directions(box, width, height)]
        what = strip_controls(words.capitalise(box.label))
        parts.append(words.format_pair(f"“{what}”" if of_print else what, words.join_words(where)))
    return words.join_sentence(*dict.fromkeys(parts))


def answer(s: AnswerWriter) -> ComposedAnswer:
    """Answer a question from the facts of its picture."""
    want = s.intent.want
    if want in _LOOKS:
        return _LOOKS[want](s)
    if want in (Want.READ, Want.TRANSLATE):
        return _answer_with_text(s)
    if want is Want.SAFE:
        return _answer_safety(s)
    if want is Want.WIFI and find_network(s.codes):
        return ComposedAnswer(s.say_codes())
    if want is Want.SUMMARY:
        return look_answers.answer_summary(s)
    if not s.rows and s.codes:
        return ComposedAnswer(s.say_codes(), known=want in (Want.URL, Want.LOOKUP))
    if not s.rows:
        of_door = want is Want.HOURS and s.intent.yes_no
        unknown = want in (Want.LOOKUP, Want.BEYOND, Want.AMOUNT) or s.intent.things or of_door
        return look_answers.answer_unknown(s) if unknown else s.answer_no_text()
    if want is Want.EXPIRY and (found := _answer_expiry(s)):
        return found
    is_open = want is Want.LOOKUP and not s.intent.yes_no
    if not (is_open and len(s.join_rows(s.rows)) <= _SHORT) and (rows := _find_rows(s)):
        said = s.say("reads", text=s.join_rows(rows))
        return ComposedAnswer(said, s.say_other_text(rows), fact=_find_fact(want, rows))
    if want is Want.BEYOND:
        return ComposedAnswer(s.join_sentence(s.say("cannot"), s.say_all_text()), known=False)
    if is_open or _may_have_answer(s):
        return ComposedAnswer(s.say_all_text(), s.say_codes(), known=False)
    return ComposedAnswer(
        s.join_sentence(s.say("not_in_text"), s.say_all_text()), s.say_things(), known=False
    )


def _find_fact(want: Want, rows: Sequence[Row]) -> AnswerFact | None:
    """Return the only price or date in the rows that answer a question for one."""
    if want in (Want.PRICE, Want.TOTAL):
        found = [price for row in rows for price in facts.find_prices(row.text)]
    elif want in (Want.DATE, Want.EXPIRY):
        found = [date.text for row in rows for date in find_dates(row.text)]
    else:
        return None
    kind: Literal["date", "price"] = "price" if want in (Want.PRICE, Want.TOTAL) else "date"
    return AnswerFact(kind=kind, text=strip_controls(found[0])) if len(found) == 1 else None


def _may_have_answer(s: AnswerWriter) -> bool:
    """Return True if the text may have the requested figure: in a row with words of the question, or on a display."""
    has, words = facts.FINDERS.get(s.intent.want), s.intent.words
    if has is None:
        return False
    if all(map(_BARE.fullmatch, (row.text for row in s.rows))):
        return True
    named = not words or any(rank.count_words(row.text, words) for row in s.rows)
    return named and any(has(row.text) for row in _select_measured(s, s.rows))


def _select_measured(s: AnswerWriter, rows: list[Row]) -> list[Row]:
    """Return the rows without temperatures that are set, unless the question is about those."""
    if s.intent.want is not Want.TEMPERATURE or facts.SETTING.search(plain(s.intent.question)):
        return rows
    return [row for row in rows if not facts.SETTING.search(plain(row.text))]


def _find_rows(s: AnswerWriter) -> list[Row]:
    """Return the rows that answer a question.

    They have words of the question and a figure of the requested kind, or are the only rows with such a figure.
    """
    want, rows = s.intent.want, _select_measured(s, split_sentences(s.rows))
    has: Callable[[str], object] | None = facts.FINDERS.get(want)
    label = facts.LABELS.get(want)
    if want is Want.HOURS:
        return _select_day(s, [row for row in rows if facts.find_hours(row.text)])
    if want is Want.TOTAL:
        sums = [facts.rank_sum(row.text) if facts.find_prices(row.text) else 0 for row in rows]
        if most := max(sums, default=0):
            return [row for row, one in zip(rows, sums, strict=True) if one == most][: rank.MOST]
    if want in (Want.DATE, Want.TIME) and has and not any(has(row.text) for row in rows):
        # "12 Nordpark 7 min"
        has = facts.FINDERS[Want.DURATION]
    if want is Want.PRICE:
        has = facts.has_piece_price
    least = 0.0 if s.intent.either else 0.5
    found = rank.find_best_rows(rows, s.intent.words, has, least=least)
    if not found and label is not None:
        found = rank.find_best_rows(rows, (), has, label)
    if not found and has is not None and want is not Want.AMOUNT:
        found = [row for row in rows if has(row.text)]
        found = found if len(found) <= _FEW else []
    return found


def _select_day(s: AnswerWriter, rows: list[Row]) -> list[Row]:
    """Return the rows of opening hours for the requested day; the first rows if no row names it."""
    day, ahead = s.intent.weekday, s.intent.in_days
    if day is None and (ahead is not None or s.intent.yes_no):
        day = (s.today.weekday() + (ahead or 0)) % 7
    named = [
        row
        for row in rows
        for days in [facts.find_weekdays(plain(row.text))]
        if day in days or (not days and facts.CLOSED.search(plain(row.text)))
    ]
    return named or rows[: rank.MOST]


def _answer_expiry(s: AnswerWriter) -> ComposedAnswer | None:
    """Answer with the date as printed, and the number of days from today."""
    found = facts.find_expiry([row.text for row in s.rows])
    if found is None:
        return None
    date, text = found.date, found.text
    rest = s.rows[: found.first] + s.rows[found.last + 1 :]
    more = s.say("also", text=s.join_rows(rest)) if rest else ""
    fact = AnswerFact(kind="date", text=strip_controls(date.text))
    if date.day is None or date.either:
        return ComposedAnswer(s.say("reads", text=text), more, fact=fact)
    try:
        day = dt.date(date.year or s.today.year, date.month, date.day)
    except ValueError:
        # February 30
        return ComposedAnswer(s.say("reads", text=text), more, fact=fact)
    days = (day - s.today).days
    if date.year is None and days < -_PAST_DAYS:
        days += 365
    if days > _FAR:
        return ComposedAnswer(s.say("reads", text=text), more, fact=fact)
    when = s.say("days_left" if days > 0 else "days_ago", count=abs(days))
    said = s.language.format_pair(text, when if days else s.language.today)
    return ComposedAnswer(said, more, fact=fact.model_copy(update={"days": days}))


def _answer_with_text(s: AnswerWriter) -> ComposedAnswer:
    """Answer with all lines of printed text."""
    if not s.rows and not s.codes and s.intent.things and s.intent.yes_no:
        # "Steht neben der Tasse ein Glas?"
        return look_answers.answer_thing(s)
    if not s.rows:
        return ComposedAnswer(s.say_codes()) if s.codes else s.answer_no_text()
    lines: list[str] = []
    for row in s.rows:
        lines += [""] if row.apart and lines else []
        lines.append(s.language.isolate(row.text))
    text = ("\n" if len(lines) > 1 else "") + "\n".join(lines)
    only = s.intent.want is Want.TRANSLATE
    return ComposedAnswer(
        s.say("only_read" if only else "reads", text=text), s.say_codes(), not only
    )


def _answer_safety(s: AnswerWriter) -> ComposedAnswer:
    texts = [code.text for code in s.codes] + [row.text for row in s.rows]
    links = [link for text in texts for link in facts.find_urls(text)]
    if not links:
        return ComposedAnswer(s.say("no_code"), s.say_all_text(), known=False)
    return ComposedAnswer(s.say("safe", host=get_host(links[0])))


def _answer_code(s: AnswerWriter) -> ComposedAnswer:
    if s.codes:
        return ComposedAnswer(s.say_codes())
    found = rank.find_best_rows(s.rows, [*s.intent.words, *s.intent.asked.split()])
    if found:
        return ComposedAnswer(s.say("reads", text=s.join_rows(found)), s.say_quality())
    return ComposedAnswer(s.join_sentence(s.say("no_code"), s.say_quality() or s.say("closer")))


_LOOKS: dict[Want, Callable[[AnswerWriter], ComposedAnswer]] = {
    Want.CHANGE: look_answers.answer_change,
    Want.MOTION: look_answers.answer_motion,
    Want.FACES: look_answers.answer_faces,
    Want.THING: look_answers.answer_thing,
    Want.COLOUR: look_answers.answer_colour,
    Want.LIGHT: look_answers.answer_light,
    Want.CODE: _answer_code,
}


def _format_camera(words: Language, name: str) -> str:
    number = parse_camera_number(name)
    return strip_controls(name) if number is None else words.say("camera", number=number)


def _join_lines(*parts: str) -> str:
    """Join parts as lines with single spaces."""
    lines = [line for part in parts if part for line in part.split("\n")]
    return "\n".join(" ".join(line.split()) for line in lines)
