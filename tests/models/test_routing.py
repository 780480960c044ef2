"""The route of a question, by the words of each language: of its time, of reading on, and of safety, too."""

from __future__ import annotations

import math
import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Detail, QuestionMode, VoiceCommand
from server.models import routing
from server.models.routing import (
    Span,
    choose,
    find_span,
    get_route,
    is_stop,
    parse_command,
    plain,
    strip_courtesies,
)
from tests.support.words import CLIENT, say
from tests.support.words import CODES as LANGUAGES

ASKED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("questions.toml").read_text("utf-8"))
PAST, STARTED = ASKED["past"], ASKED["started"]
WAYS: dict[str, dict[str, str]] = tomllib.loads(
    Path(routing.__file__).with_name("ways.toml").read_text("utf-8")
)
SINGLE = [
    (question, QuestionMode(route))
    for routes in ASKED["routes"].values()
    for route, questions in routes.items()
    for question in questions
]
TABLES = {
    "past": {QuestionMode.PAST},
    "where": {QuestionMode.WHERE},
    "search": {QuestionMode.WHERE},
    "detail": {QuestionMode.DETAIL, QuestionMode.TWICE},
    "neither": {QuestionMode.NOW, QuestionMode.DETAIL},
    "twice": {QuestionMode.TWICE},
    "read": {QuestionMode.READ},
}


def every(table: str) -> list[str]:
    """The questions of all languages."""
    return [question for questions in ASKED[table].values() for question in questions]


@pytest.mark.parametrize(("question", "route"), SINGLE)
def test_a_question_has_the_route_of_its_words(question: str, route: QuestionMode) -> None:
    """In every language there are questions of each route, also ones that only look like another's."""
    assert get_route(question) is route


@pytest.mark.parametrize("question", every("twice"))
def test_a_question_of_safety_is_looked_at_twice(question: str) -> None:
    assert choose(question, Detail.AUTO, None) == (QuestionMode.TWICE, Detail.HIGH)


@pytest.mark.parametrize("question", every("near"))
def test_a_question_that_looks_like_one_of_safety_is_none(question: str) -> None:
    assert get_route(question) is not QuestionMode.TWICE


def test_every_language_has_words_and_questions() -> None:
    """No route of any language is left untested."""
    own = {"now", "detail", "past", "where"}
    assert all(routes.keys() == own for routes in ASKED["routes"].values())
    assert all(ASKED[table].keys() == LANGUAGES for table in ASKED if table != "orders")
    for name in (*TABLES, "units", "start"):
        table = routing.WORDS[name]
        assert table["words"].keys() | table["parts"].keys() == LANGUAGES
    assert routing.STOP_WORDS.keys() == LANGUAGES


@pytest.mark.parametrize("name", TABLES)
def test_each_phrase_alone_has_its_route(name: str) -> None:
    """No phrase of a language has another meaning in the table of another one."""
    words, parts = routing.WORDS[name]["words"], routing.WORDS[name]["parts"]
    assert words.keys() | parts.keys() == LANGUAGES
    for language, entries in (*words.items(), *parts.items()):
        for entry in entries.split(","):
            phrase = entry.strip().rstrip("*")
            assert phrase, f"{name} of {language} has an empty entry"
            assert get_route(phrase) in TABLES[name], f"{phrase} ({language})"


@given(st.sampled_from(SINGLE), st.sampled_from(["lower", "upper", "NFD", "quoted"]))
def test_case_accents_and_marks_do_not_matter(case: tuple[str, QuestionMode], how: str) -> None:
    """Upper case, decomposed accents and quotation marks around a question leave its route."""
    question, route = case
    written = {
        "lower": question.lower(),
        "upper": question.upper(),
        "NFD": unicodedata.normalize("NFD", question),
        "quoted": f"«{question}»",
    }[how]
    assert get_route(written) is route


@pytest.mark.slow
@given(
    st.text(alphabet="ijkq \n", min_size=1000, max_size=3500),
    st.sampled_from(SINGLE),
    st.booleans(),
)
def test_a_long_text_is_read_at_both_ends(
    text: str, case: tuple[str, QuestionMode], first: bool
) -> None:
    """A question before or after a long quotation has the same route as alone."""
    question, route = case
    assert get_route(f"{question}\n{text}" if first else f"{text}\n{question}") is route


def test_detail_is_wanted_on_other_routes_too() -> None:
    """A question about small print in the past or at a spot still takes the large picture."""
    assert all(
        routing.wants_detail(question) for question, route in SINGLE if route is QuestionMode.DETAIL
    )
    assert routing.wants_detail("Where does it say the price?")
    assert not routing.wants_detail("Where is the cat?")


@pytest.mark.parametrize(
    ("question", "detail", "route", "chosen"),
    [
        ("What is this?", "auto", None, ("now", "low")),
        ("What is this?", "high", None, ("detail", "high")),
        ("Read this", "auto", None, ("detail", "high")),
        ("Read this", "low", None, ("now", "low")),
        ("What just happened?", "auto", None, ("past", "low")),
        ("What just happened?", "high", None, ("past", "high")),
        ("What did the label say a minute ago?", "auto", None, ("past", "high")),
        ("Where is the cat?", "auto", None, ("where", "high")),
        ("Where does it say the price?", "auto", None, ("where", "high")),
        ("Read this", "auto", "now", ("now", "low")),
        ("What is this?", "auto", "detail", ("detail", "high")),
        ("What is this?", "low", "detail", ("detail", "high")),
        ("What is this?", "auto", "past", ("past", "low")),
        ("What is this?", "auto", "where", ("where", "high")),
        ("What just happened?", "auto", "now", ("now", "low")),
        ("Go on", "auto", "read", ("read", "high")),
        ("Read this to me", "auto", "now", ("now", "low")),
        ("Read this to me", "low", None, ("now", "low")),
        ("Is the stove off?", "auto", "now", ("now", "low")),
        ("What is this?", "auto", "twice", ("twice", "high")),
        # The first look is as large as the person wants it.
        ("Is the stove off?", "low", None, ("twice", "low")),
    ],
)
def test_a_client_may_choose(
    question: str, detail: str, route: str | None, chosen: tuple[str, str]
) -> None:
    """A route that the client names wins over the words; its detail fits to it."""
    named = QuestionMode(route) if route is not None else None
    assert choose(question, Detail(detail), named) == chosen


def test_other_routes_come_before_a_second_look() -> None:
    assert get_route("Where is my medicine?") is QuestionMode.WHERE
    assert get_route("What was the dose a minute ago?") is QuestionMode.PAST
    assert get_route("Read the warning to me") is not QuestionMode.NOW


# The time that a question about the past names


@pytest.mark.parametrize("language", PAST)
def test_a_time_is_found_in_every_language(language: str) -> None:
    """People guess: "two minutes ago" is at least one and a half to two and a half."""
    two_ago, last_one, ten_ago = map(find_span, PAST[language])
    assert two_ago is not None
    assert ten_ago is not None
    assert two_ago.since >= 150
    assert 30 <= two_ago.until <= 90
    assert last_one == Span(60, 0)
    assert 13 <= ten_ago.since <= 25
    assert ten_ago.until <= 7
    assert {get_route(question) for question in PAST[language]} == {QuestionMode.PAST}
    assert find_span(STARTED[language]) == Span(math.inf, 0)
    assert get_route(STARTED[language]) is QuestionMode.PAST


@pytest.mark.parametrize(
    ("question", "seconds"),
    [
        ("What happened in the last 30 seconds?", 30),
        ("Summarize the past five minutes.", 300),
        ("What was on the table in the last half a minute?", 30),
        ("What happened in the last few minutes?", 240),
        ("Was ist in den letzten Minuten passiert?", 240),
        ("Les deux dernières minutes ?", 120),
        ("Anything in the last hour?", 3600),
        ("Was there a cat one minute ago, or in the last ١٠ minutes?", 600),
    ],
)
def test_the_last_so_much(question: str, seconds: float) -> None:
    assert find_span(question) == Span(seconds, 0)


@pytest.mark.parametrize(
    "question",
    [
        "What is this?",
        "How many minutes does it say?",
        "Boil it for 8 minutes, is that right?",
        "Was kostet die Minute?",
        "What happened an hour ago?",
        "この部分は何ですか？",
        "Take one 30 minutes before meals?",
        "",
    ],
)
def test_no_time(question: str) -> None:
    """A duration is no time in the past; an hour ago is beyond any memory's middle."""
    assert find_span(question) is None


# Reading on, and its end


@pytest.mark.parametrize(
    "question",
    [
        "Read this to me",
        "Can you read this to me, please?",
        "READ IT TO ME!",
        "Lies mir das vor",
        "Kannst du mir das vorlesen?",
        "Lis-moi ça, s'il te plaît",
        "Léeme esto por favor",
        "Прочитай мне это",
        "读给我听",
    ],
)
def test_a_request_to_be_read_to_is_read_on(question: str) -> None:
    """In each language of the built-in engine."""
    assert routing.wants_reading(plain(question))
    assert choose(question, Detail.AUTO, None) == (QuestionMode.READ, Detail.HIGH)


@pytest.mark.parametrize(
    "question",
    ["Read this", "Read me the price", "Lies das vor", "Lis-moi le prix", "What does it say?"],
)
def test_a_question_about_one_picture_stays_one(question: str) -> None:
    """Questions that were answered from one picture before still are."""
    assert get_route(question) is QuestionMode.DETAIL


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_word_alone_ends_it(language: str) -> None:
    """Also in upper case and with a mark behind it."""
    for word in routing.STOP_WORDS[language].split(","):
        assert is_stop(word.strip()), word
        assert is_stop(f" {word.strip().upper()}!")


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("Stop, please.", True),
        ("Okay, stop", True),
        ("Danke, das reicht", True),
        ("Stop sign?", False),
        ("Where is the bus stop", False),
        ("Para qué sirve esto", False),
        ("", False),
        ("stop " * 30, False),
    ],
)
def test_only_a_whole_command_ends_it(text: str, ends: bool) -> None:
    """A question with such a word in it is a question."""
    assert is_stop(text) is ends


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_what_a_button_says_may_be_typed(language: str) -> None:
    """The names of the ways to look, on the buttons of an answer."""
    for way in ("detail", "twice", "past", "where"):
        assert routing.repeat_mode(say(f"page.way_{way}", language=language)) is QuestionMode(way)
    assert get_route(say("page.way_read", language=language)) is QuestionMode.READ


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_phrase_for_a_way_to_look_has_one(language: str) -> None:
    """And is neither an order nor the end of something."""
    seen: dict[str, str] = {}
    for way, words in WAYS.items():
        assert words.keys() == LANGUAGES
        for phrase in words[language].split(","):
            assert routing.repeat_mode(f"{phrase.strip().upper()}?") is QuestionMode(way), phrase
            assert seen.setdefault(plain(phrase.strip()), way) == way
            assert not is_stop(phrase)
            assert parse_command(phrase) is None, phrase


@pytest.mark.parametrize(
    "question",
    ["", "please", "Where is the cup?", "Look closer at the label", "Is it twice?", "where " * 30],
)
def test_a_question_of_its_own_is_no_way_to_look(question: str) -> None:
    assert routing.repeat_mode(question) is None


def test_an_order_to_show_a_thing_asks_where_it_is() -> None:
    """Not one to show what is written, what it can, or how."""
    assert get_route("Show me the cup") is QuestionMode.WHERE
    others = ("Show me how", "Show me the price", "O que mostra a câmera?", "Show me the way")
    for question in others:
        assert get_route(question) is not QuestionMode.WHERE


SPOKEN = ASKED["orders"]


def test_every_language_has_words_for_each() -> None:
    """The same languages as in the other tables."""
    without = {VoiceCommand.WATCH, VoiceCommand.GUIDE_TO, VoiceCommand.WHERE_WAS, VoiceCommand.STOP}
    assert routing.COMMANDS.keys() == {*VoiceCommand} - without
    assert all(words.keys() == LANGUAGES for words in routing.COMMANDS.values())


def test_no_words_stand_twice() -> None:
    """Of a language, after courtesies, accents and capitals are gone: a second one would never be looked at."""
    for order, words in routing.COMMANDS.items():
        for language, phrases in words.items():
            found = [strip_courtesies(phrase) for phrase in phrases.split(",")]
            assert sorted(found) == sorted(set(found)), (order, language)


def test_no_words_are_those_of_two_orders() -> None:
    """In any language: nobody says in which one he speaks."""
    found: dict[str, VoiceCommand] = {}
    for order, words in routing.COMMANDS.items():
        for phrase in ",".join(words.values()).split(","):
            assert found.setdefault(strip_courtesies(phrase), order) is order, phrase
            assert not routing.wants_reading(plain(phrase)), phrase


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_no_order_is_what_the_page_says_of_one(language: str) -> None:
    """The microphone may hear it."""
    script = (CLIENT / "features" / "voice_in" / "orders.js").read_text("utf-8")
    said = [say(id, language=language) for id in re.findall(r'"(\w+\.\w+)"', script)]
    assert len(said) == 10
    for words in said:
        assert parse_command(words) is None, words
        assert not is_stop(words), words


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("order", sorted(routing.COMMANDS))
def test_each_phrase_alone_is_its_order(order: VoiceCommand, language: str) -> None:
    """And nothing else; also with a mark at its end."""
    for phrase in routing.COMMANDS[order][language].split(","):
        assert parse_command(phrase) == (order, ""), phrase
        assert parse_command(f"{phrase.strip().capitalize()}!") == (order, ""), phrase
        assert not is_stop(phrase)


@pytest.mark.parametrize(("said", "order"), SPOKEN["courteous"])
def test_courtesies_change_no_order(said: str, order: str) -> None:
    """Before, within and after it, also where they are written without a space."""
    assert parse_command(said) == (VoiceCommand(order), "")


@pytest.mark.parametrize(("said", "condition"), SPOKEN["watches"])
def test_a_watch_is_ordered_in_a_persons_own_words(said: str, condition: str) -> None:
    assert parse_command(said) == (VoiceCommand.WATCH, condition)


PLACES_TO_GO = SPOKEN["ways"]


@pytest.mark.parametrize(("said", "words"), [(said, words) for _, said, words, _ in PLACES_TO_GO])
def test_a_way_is_ordered_to_a_thing(said: str, words: str) -> None:
    assert parse_command(said) == (VoiceCommand.GUIDE_TO, words)


@pytest.mark.parametrize(
    "said",
    [
        *(*SPOKEN["none"], "", "Guide me to " + "the door " * 30, "again " * 1000),
        # Where a thing is now
        *("Where is the cup?", "Where was this made?!" * 12, "Wo ist die Tasse?", "杯子在哪里？"),
    ],
)
def test_a_question_is_no_order(said: str) -> None:
    """The words of an order within a longer sentence are a part of it."""
    assert parse_command(said) is None


PLACES = SPOKEN["places"]


@pytest.mark.parametrize(("said", "words"), [(said, words) for _, said, words, _ in PLACES])
def test_a_thing_once_seen_is_asked_for(said: str, words: str) -> None:
    """With the word for the past, in each language: where a thing is now is a question."""
    assert parse_command(said) == (VoiceCommand.WHERE_WAS, words)


@pytest.mark.parametrize("places", [PLACES, PLACES_TO_GO])
def test_each_language_has_orders_about_things(places: list[list[str]]) -> None:
    languages = [language for language, *_ in places]
    assert {*languages} == LANGUAGES
    assert min(map(languages.count, LANGUAGES)) >= 2
