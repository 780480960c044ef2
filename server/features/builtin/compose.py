"""Composes an answer from a question's subject and the picture's facts: one or two lines. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from itertools import dropwhile, pairwise, takewhile

from server.features.builtin import (
    fields,
    figure_answers,
    link_answers,
    locate,
    look_answers,
    measures,
    prices,
    telling,
    text_answers,
    time_answers,
)
from server.features.builtin.intents import Intent
from server.features.builtin.language import WORD, Language, language, without_controls
from server.features.builtin.lines import BOXES, Row
from server.features.builtin.speaker import PAGE, SOME, Answer, Facts, Speaker, unknown_thing
from server.features.builtin.tables import names_all, names_any, names_it, printed
from server.features.builtin.wants import SOCIAL, TEXT_ITSELF, Want
from server.features.builtin.wordings import ARTICLE, FOOD, IS, MEASURED
from server.media.picture.grounding import Box
from server.models.prompts import number_of
from server.models.routing import plain
from server.shared.dates import dates

# Things whose places are in the answer; further ones are only shown.
_SAID = 4

# Wants that need no text
_LOOKS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.CHANGE: look_answers.change,
    Want.MOTION: look_answers.motion,
    Want.FACES: look_answers.faces,
    Want.THING: look_answers.thing,
    Want.COLOUR: look_answers.colour,
    Want.LIGHT: look_answers.light,
    Want.SHARP: look_answers.sharp,
    Want.CODE: link_answers.code,
    Want.SUMMARY: look_answers.summary,
    Want.OTHER: look_answers.cannot,
    Want.BEYOND: look_answers.beyond,
}
# Wants that text answers, or the text of codes
_READS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.SAYS: text_answers.says,
    Want.TRANSLATE: text_answers.read_instead,
    Want.SUMMARISE: text_answers.read_instead,
    Want.PASSWORD: link_answers.password,
    Want.NETWORK: link_answers.network,
    Want.EMAIL: link_answers.contact,
    Want.PHONE: link_answers.contact,
    Want.URL: link_answers.contact,
    Want.LEADS: link_answers.leads,
    Want.READ: text_answers.read,
    Want.NUMBER: figure_answers.number,
    Want.SAFE: link_answers.safe,
}
# Wants that only text answers
_ROWS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.MONEY_BACK: figure_answers.money_back,
    Want.ITEMS: figure_answers.items,
    Want.TOTAL: figure_answers.total,
    Want.PRICE: figure_answers.price,
    Want.CHEAPEST: figure_answers.extreme,
    Want.DEAREST: figure_answers.extreme,
    Want.UNIT_PRICE: figure_answers.unit_price,
    Want.HOURS: time_answers.opening,
    Want.DEPARTURE: time_answers.departure,
    Want.DURATION: time_answers.duration,
    Want.EXPIRY: time_answers.expiry,
    Want.TIME: time_answers.time,
    Want.DATE: time_answers.date,
    Want.NAME: text_answers.name,
    Want.LOOKUP: text_answers.lookup,
    **dict.fromkeys(telling.TOLD_BY, text_answers.told),
    **dict.fromkeys((*measures.UNITS, Want.AMOUNT), figure_answers.measure),
    Want.TEMPERATURE: figure_answers.temperature,
}

# Wants whose answer is about the engine where it is the same for each camera
_ABOUT_ITSELF = frozenset({Want.OTHER, Want.LOOKUP, Want.FOREIGN, Want.BEYOND})


def compose(
    intent: Intent,
    facts: Facts,
    today: dt.date,
    *,
    running: bool = False,
    brief: bool = False,
    past: bool = False,
    clock: dt.time | None = None,
) -> str:
    """Return the answer, mostly in one line, and often a line with details below.

    `running`: the answer is one of a series of descriptions, and short. `brief`: without details.
    `past`: the question is about the recent past; the answer says what has changed since the last look.
    `clock`: the time of day; without one nothing is said about now.
    """
    speaker = Speaker(intent, facts, today, clock)
    first, second = look_answers.overview(speaker, running=True) if running else _answer(speaker)
    if past and first in _refusals(speaker):
        first = speaker.say("no_past")
        second = " ".join(look_answers.change(speaker)) if facts.change is not None else ""
    elif first in _refusals(speaker):
        first, second = speaker.instead(first)
    return _text(first, "" if brief and first else second)


def _refusals(s: Speaker) -> tuple[str, ...]:
    sought = s.intent.sought if s.intent.understood else ""
    unknown = (unknown_thing(s.intent.language, sought),) if sought else ()
    return s.cannot, s.cannot_here, *unknown


def _text(*parts: str) -> str:
    """Join parts as lines with single spaces; tabs stay."""
    lines = (line.split("\t") for part in parts if part for line in part.split("\n"))
    return "\n".join("\t".join(" ".join(cell.split()) for cell in line) for line in lines)


def social(intent: Intent, things: bool = True, *, hears: bool = False) -> str | None:
    """Return the answer to small talk; None for a question about the picture.

    `things`: the engine names them. `hears`: the session's microphone is on.
    """
    if intent.want not in SOCIAL:
        return None
    words = language(intent.language)
    if intent.want is Want.THANKS:
        return words.say("thanks")
    if intent.want is Want.HEARS:
        return words.say("hears" if hears else "hears_not")
    if intent.want is Want.SELF:
        return words.sentence(words.say("self"), words.say_of_itself("help", things))
    return words.say_of_itself(intent.want.value, things)


def compose_several(
    intent: Intent, looks: Sequence[tuple[str, Facts]], today: dt.date, clock: dt.time | None = None
) -> str:
    """Return the answer about cameras with these names, one after the other; what holds for all, once."""
    words = language(intent.language)
    speakers = [Speaker(intent, facts, today, clock) for _, facts in looks]
    firsts = [_answer(speaker)[0] for speaker in speakers]
    names = [_camera(words, name) for name, _ in looks]
    if all(first in _refusals(speaker) for first, speaker in zip(firsts, speakers, strict=True)):
        firsts = [speaker.instead(speakers[0].cannot)[0] for speaker in speakers]
    of_all = firsts[:1] if len(set(firsts)) == 1 else []
    if of_all and intent.want in _ABOUT_ITSELF:
        # The engine says what it cannot do.
        return firsts[0]
    if of_all:
        said, names, of_all = firsts[:1], [words.listed(names)], []
    else:
        said = firsts
    lines = [
        words.sentence(words.say("of_camera", name=name), text)
        for name, text in zip(names, said, strict=True)
        if text
    ]
    return _text(*of_all, *lines)


def _camera(words: Language, name: str) -> str:
    number = number_of(name)
    return without_controls(name) if number is None else words.say("camera", number=number)


def said_of(
    boxes: Sequence[Box],
    code: str,
    width: int,
    height: int,
    things: bool = True,
    *,
    key: str = "found_at",
) -> str:
    """Return the sentences about the places of things in a picture of this size.

    `things`: the engine names them. `key`: "written_at" where they are words of print.
    """
    words = language(code)
    if not boxes:
        return words.say_of_itself("not_found", things)
    sentences = []
    for box in boxes[:_SAID]:
        where = [words.say(f"at_{one}") for one in locate.directions(box, width, height)]
        what = without_controls(box.label[:1].upper() + box.label[1:])
        sentences.append(words.say(key, what=what, where=words.listed(where)))
    return words.sentence(*dict.fromkeys(sentences))


def _answer(s: Speaker) -> Answer:
    want = s.intent.want
    if want is Want.FOREIGN:
        return s.say("foreign"), s.see_things(sure=True) or s.seen()
    if want is Want.NETWORK and s.intent.yes_no and s.words:
        # "Is this network fast?"
        return look_answers.cannot(s)
    if want in _LOOKS:
        return _sure(s, _LOOKS[want](s))
    if not s.all_rows:
        return _without_print(s)
    if want in _READS:
        return _sure(s, _READS[want](s))
    if not s.rows and any(names_any(code.text, s.words) for code in s.codes):
        return s.code_sentence(), ""
    if not s.rows and want is Want.LOOKUP:
        return s.code_sentence(), s.why_not(s.cannot_here)[0]
    if not s.rows:
        # Codes are all that there is.
        return s.code_sentence(), s.say("broken") if s.facts.text_broken else s.no_text()[0]
    if want in _OF_DAYS and _lacks_day(s):
        return s.cannot_here, ""
    if want in (Want.TOTAL, Want.PRICE) and (of_day := _of_day(s)):
        return s.closest_of(of_day)
    return _sure(s, _ROWS[want](s))


# Subjects that a table of days has for each of them
_OF_DAYS = frozenset({Want.ITEMS, Want.AMOUNT, Want.LOOKUP})


def _of_day(s: Speaker) -> list[Row]:
    """Return the rows of the day on which something costs, where no price has one: "Sundays free"."""
    rows = [row for row in s.rows if s.intent.weekday in fields.weekdays(plain(row.text))]
    return [] if any(map(prices.has_money, rows)) else rows


def _lacks_day(s: Speaker) -> bool:
    """Find whether print names days, and not the one that is asked about."""
    named = frozenset[int]().union(*(fields.weekdays(plain(row.text)) for row in s.rows))
    return s.intent.weekday is not None and bool(named) and s.intent.weekday not in named


# Words of a question that is a thing with its article
_ALONE = 2
# A question that may be asked of the page
_OF_PAGE = "what can i do"


def _is_thing_alone(s: Speaker) -> bool:
    """Find whether a question is a thing with its article: "the cup"."""
    words = len(WORD.findall(s.intent.question))
    alone = 0 < len(s.intent.things) == len(s.words) and words <= _ALONE
    return alone and not s.language.unspaced


def _without_print(s: Speaker) -> Answer:
    """Answer a question of print where none was read."""
    want = s.intent.want
    if s.intent.asked == _OF_PAGE and not s.words and " with " not in s.intent.question:
        return s.language.say_of_itself("help", s.facts.names_things), s.see_things()
    if want is Want.LOOKUP and _is_thing_alone(s):
        return look_answers.thing(s)
    if want in (Want.LOOKUP, Want.ITEMS, *telling.TOLD_BY) or (
        want is Want.HOURS and s.intent.yes_no and s.words
    ):
        return look_answers.cannot(s)
    if s.facts.text_broken:
        return s.say("broken"), ""
    if want is Want.SAFE:
        return link_answers.safe(s)
    if s.intent.things and want not in TEXT_ITSELF:
        # "Fährt das Auto?"
        return look_answers.cannot(s)
    if want is Want.NAME and FOOD.search(s.intent.asked):
        return look_answers.summary(s)
    return s.no_text()


# A place of which a display indoors tells nothing unless it names it
_OUTSIDE = frozenset(
    [
        "outside",
        "outdoors",
        "draussen",
        "aussen",
        "dehors",
        "exterieur",
        "fuera",
        "exterior",
        "fuori",
        "esterno",
        "buiten",
    ]
)
# Its kind is enough to tell which figure is asked for.
_BY_KIND = measures.UNITS.keys() - {Want.PERCENT} | {Want.MONEY_BACK}


def _sure(s: Speaker, answer: Answer) -> Answer:
    """Return the answer, or what comes closest where its rows do not name all that was asked."""
    unnamed = [word for word in s.unnamed() if not _says_nothing(s, word)] if s.sources else []
    if s.intent.want in _BY_KIND:
        # "How cold is it in the valley?", where print beside the figure names the valley, and "How hot for a potato gratin?"
        of_page = len(s.rows) >= PAGE and len(unnamed) > 1
        unnamed = [
            word
            for word in unnamed
            if of_page or word in _OUTSIDE or any(names_it(row.text, word) for row in s.rows)
        ]
    lacks = MEASURED.search(plain(s.intent.question)) and not fields.COUNT.search(plain(answer[0]))
    if s.intent.want is Want.LOOKUP and s.sources and (lacks or _only_repeats(s)):
        # "To buy" is no answer to "What do I need to buy?".
        return s.cannot_here, ""
    if s.sources and (lacking := _of_lacking(s, unnamed)) is not None:
        return lacking
    if not unnamed:
        return answer
    _add_equals(s, unnamed)
    closest = s.closest()
    if any(word not in s.unnamed() for word in s.words):
        # "Is there a pool in this hotel?", and of a hotel alone it is told
        missing = _missing_thing(s, unnamed)
    elif answer == closest:
        return closest
    else:
        missing = _missing(s, unnamed)
    why = s.say("not_read", target=without_controls(missing)) if missing else ""
    # Another place's train is of no use.
    return (why, "") if why and s.intent.want is Want.DEPARTURE else s.closest(why)


def _of_lacking(s: Speaker, unnamed: Sequence[str]) -> Answer | None:
    """Return the answer in place of rows that lack what is asked for: a place, a day, a time; None where they have it."""
    others: list[Row] | None = None
    if _tells_weight(s):
        others = telling.addresses(s)
    elif _lacks_named_day(s):
        dated = [row for row in s.rows if _names_day(row.text) and telling.hits_of(row, s.words)]
        others = dated[:SOME]
    if others is not None:
        return s.closest_of(others) if others else (s.cannot_here, "")
    lacks = _asks_itself(s) or _lacks_place(s) or _lacks_time(s) or _names_subject_alone(s, unnamed)
    return (s.say("cannot_here"), "") if lacks else None


_RHYTHM = printed("rhythm")
_WHICH_DAY = re.compile(
    r"^\W*(?:on )?(?:which|what) days?\b|^\W*(?:an )?welche[mn]? tag|^\W*quel jour|^\W*(?:en )?que dia|^\W*(?:in )?che giorno"
)
# A figure that may be a time: no price, weight or temperature
_MAY_BE_TIME = re.compile(r"(?<![\w.,€$£])\d[\d.,:/]*+(?! ?(?:[°€$£%]|[CF]\b|g\b|kg\b|ml\b))", re.I)
_MAY_BE_HOUR = re.compile(r"(?<![\w.,€$£])(?:[01]?\d|2[0-4])(?:[.:h]\d\d)?(?![\d%€$£°]|[.,]\d)")
_TIMED = frozenset({Want.TIME, Want.DATE, Want.EXPIRY, Want.HOURS, Want.DEPARTURE, Want.DURATION})


def _lacks_time(s: Speaker) -> bool:
    """Find whether a question asks when or how long, and no row of its answer has a time."""
    if s.intent.yes_no or s.intent.want not in _TIMED:
        return False
    told = plain(
        " ".join(text_answers.POINT.sub("", one) for one in (*s.sources, *s.sources.values()))
    )
    for number in fields.phones(s.sources):
        told = told.replace(plain(number), " ")
    by_clock = s.intent.want in (Want.TIME, Want.HOURS)
    figure = (_MAY_BE_HOUR if by_clock else _MAY_BE_TIME).search(told)
    return figure is None and not _names_day(told)


# What print calls a place that has a number
_NUMBERED = "gate platform seat room floor terminal"


def _asks_itself(s: Speaker) -> bool:
    """Find whether the only row of an answer names the question's words in what asks itself: in a box of a flow chart."""
    rows = [row for row in s.rows if row.text in s.sources]
    asks = s.intent.want in (Want.LOOKUP, Want.STEPS) and not s.intent.yes_no
    if not asks or len(rows) != 1:
        return False
    named = [cell.text for cell in rows[0].cells if names_any(cell.text, s.words)]
    return bool(named) and all(text.endswith("?") for text in named)


def _names_day(text: str) -> bool:
    return bool(fields.weekdays(plain(text)) or dates(plain(text)) or _RHYTHM.search(plain(text)))


def _lacks_named_day(s: Speaker) -> bool:
    """Find whether "Which day do they come?" is answered by rows that name none."""
    asks = s.intent.want is Want.LOOKUP and _WHICH_DAY.search(plain(s.intent.question))
    return bool(asks) and not _names_day(" ".join((*s.sources, *s.sources.values())))


def _tells_weight(s: Speaker) -> bool:
    """Find whether the rows of an answer tell how heavy something is, where one asks for a place."""
    rows = [row for row in s.rows if row.text in s.sources]
    weighs = (measures.measures([row], Want.WEIGHT, ()) for row in rows)
    return s.intent.where and s.intent.want is Want.LOOKUP and bool(rows) and all(weighs)


def _lacks_place(s: Speaker) -> bool:
    """Find whether "Which platform?" is asked of print that has no word for one."""
    asked = [word for word in s.words[:1] if names_it(_NUMBERED, word)]
    return s.intent.want in (Want.LOOKUP, Want.DEPARTURE) and bool(_nowhere(s, asked))


def _names_subject_alone(s: Speaker, unnamed: Sequence[str]) -> bool:
    """Find whether rows have but the subject of "Is the bus full?", which several rows of a print about buses name."""
    named = [word for word in s.words if word not in unnamed]
    asks = s.intent.want is Want.LOOKUP and IS.search(plain(s.intent.question))
    if not asks or not _nowhere(s, unnamed) or not named:
        return False
    return all(sum(names_it(row.text, word) for row in s.rows) > 1 for word in named)


def _only_repeats(s: Speaker) -> bool:
    """Find whether the rows of an answer have words of the question alone."""
    asked = {*WORD.findall(plain(s.intent.question))}
    told = WORD.findall(plain(" ".join(s.sources)))
    if s.intent.yes_no:
        # "Messages" is no answer to "Is there a message from Mum?".
        same = (names_any(word, s.words) for word in told)
        first = [row for row in s.rows[:SOME] if not row.text.startswith(BOXES)]
        heads = {row.text for row in (*first, *filter(s.is_large, s.rows))}
        return 0 < len(told) < len(s.words) and all(same) and heads.issuperset(s.sources)
    return bool(told) and asked.issuperset(told)


def _add_equals(s: Speaker, unnamed: Sequence[str]) -> None:
    """Add the rows that name as much as the answer's only one: "Additional driver" beside "Driver"."""
    named = [word for word in s.words if word not in unnamed]
    if any(map(str.isdecimal, s.words)):
        # "A 4 year old" is of one row's years.
        return
    if s.intent.want is Want.LOOKUP and named and len(s.sources) == 1:
        rows = [row for row in s.rows if names_all(row.text, named)]
        if len(rows) <= SOME and {row.text for row in rows}.issuperset(s.sources):
            s.sources = {row.text: "" for row in rows}


# Letters from which a word is worth telling
_SMALL_WORD = 4


def _nowhere(s: Speaker, words: Sequence[str]) -> set[str]:
    return {word for word in words if not any(names_it(row.text, word) for row in s.all_rows)}


def _missing_thing(s: Speaker, unnamed: Sequence[str]) -> str:
    """Return what a question that yes or no answers names with an article and no row does, as written; "" for none."""
    if not s.intent.yes_no or s.intent.want is not Want.LOOKUP:
        return ""
    nowhere, tokens = _nowhere(s, unnamed), WORD.findall(s.intent.question)
    for at, (before, word) in enumerate(pairwise(tokens), start=1):
        if ARTICLE.fullmatch(plain(before)) and plain(word) in nowhere:
            missing = [*takewhile(lambda one: plain(one) in nowhere, tokens[at:])]
            follows = tokens[at + len(missing) :][:1]
            if not follows or plain(follows[0]) not in s.words:
                # In "a nice terrace" print lacks but "nice".
                return " ".join(missing)
    return ""


def _missing(s: Speaker, unnamed: Sequence[str]) -> str:
    """Return the last of these words of the question that stand together and in no row, as written."""
    nowhere = _nowhere(s, unnamed)
    if s.language.unspaced:
        return next((word for word in reversed(unnamed) if word in nowhere), "")
    tokens = [
        one if plain(one) in nowhere else "" for one in reversed(WORD.findall(s.intent.question))
    ]
    # A small word at the end tells little: "after 7 pm".
    last = takewhile(bool, dropwhile(lambda one: len(one) < _SMALL_WORD, tokens))
    return " ".join(reversed([*last]))


def _says_nothing(s: Speaker, word: str) -> bool:
    """Find whether a word of a question only repeats what it is about: "kilo" of a price, "train" of a departure."""
    want = s.intent.want
    if word in text_answers.KNOWN_OF_ALL or word in text_answers.KNOWN.get(want, ()):
        return True
    asks = (s.language.asks(one, word) for one in (want, Want.PRICE, Want.AMOUNT))
    return prices.is_unit(word) or any(asks)
