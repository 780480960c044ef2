"""Orders that are spoken in place of a question."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from server.core.messages import Transcript
from server.features.builtin.seeking import sought, things_in
from server.models.routing import ORDERS, Order, bare, is_stop, order_in, plain, wants_reading
from tests.support.languages import LANGUAGES
from tests.support.words import CLIENT, say

SPOKEN = tomllib.loads(Path(__file__).with_name("questions.toml").read_text("utf-8"))["orders"]


def test_every_language_has_words_for_each() -> None:
    """The same languages as in the other tables."""
    without = {Order.WATCH, Order.GUIDE_TO, Order.WHERE_WAS, Order.STOP}
    assert ORDERS.keys() == {*Order} - without
    assert all(words.keys() == LANGUAGES for words in ORDERS.values())


def test_no_words_stand_twice() -> None:
    """Of a language, after courtesies, accents and capitals are gone: a second one would never be looked at."""
    for order, words in ORDERS.items():
        for language, phrases in words.items():
            found = [bare(phrase) for phrase in phrases.split(",")]
            assert sorted(found) == sorted(set(found)), (order, language)


def test_the_page_hears_of_each() -> None:
    """By its name in `heard`, "stop" among them."""
    known = {
        name
        for part in get_args(Transcript.model_fields["order"].annotation)
        for name in get_args(part)
    }
    assert known == {"stop", *Order}


def test_no_words_are_those_of_two_orders() -> None:
    """In any language: nobody says in which one he speaks."""
    found: dict[str, Order] = {}
    for order, words in ORDERS.items():
        for phrase in ",".join(words.values()).split(","):
            assert found.setdefault(bare(phrase), order) is order, phrase
            assert not wants_reading(plain(phrase)), phrase


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_no_order_is_what_the_page_says_of_one(language: str) -> None:
    """The microphone may hear it."""
    script = (CLIENT / "features" / "voice_in" / "orders.js").read_text("utf-8")
    said = [say(id, language=language) for id in re.findall(r'"(\w+\.\w+)"', script)]
    assert len(said) == 10
    for words in said:
        assert order_in(words) is None, words
        assert not is_stop(words), words


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("order", sorted(ORDERS))
def test_each_phrase_alone_is_its_order(order: Order, language: str) -> None:
    """And nothing else; also with a mark at its end."""
    for phrase in ORDERS[order][language].split(","):
        assert order_in(phrase) == (order, ""), phrase
        assert order_in(f"{phrase.strip().capitalize()}!") == (order, ""), phrase
        assert not is_stop(phrase)


@pytest.mark.parametrize(("said", "order"), SPOKEN["courteous"])
def test_courtesies_change_no_order(said: str, order: str) -> None:
    """Before, within and after it, also where they are written without a space."""
    assert order_in(said) == (Order(order), "")


@pytest.mark.parametrize(("said", "condition"), SPOKEN["watches"])
def test_a_watch_is_ordered_in_a_persons_own_words(said: str, condition: str) -> None:
    assert order_in(said) == (Order.WATCH, condition)


WAYS = SPOKEN["ways"]


@pytest.mark.parametrize(("language", "said", "words", "thing"), WAYS)
def test_a_way_is_ordered_to_a_thing(language: str, said: str, words: str, thing: str) -> None:
    """And what is sought is the thing, in each language."""
    assert order_in(said) == (Order.GUIDE_TO, words)
    assert sought(words, language).names == (thing,)


def test_each_language_orders_the_way_to_a_thing() -> None:
    assert {language for language, *_ in WAYS} == LANGUAGES
    assert min([one[0] for one in WAYS].count(language) for language in LANGUAGES) >= 2


@pytest.mark.parametrize(
    "said", [*SPOKEN["none"], "", "Guide me to " + "the door " * 30, "again " * 1000]
)
def test_a_question_is_no_order(said: str) -> None:
    """The words of an order within a longer sentence are a part of it."""
    assert order_in(said) is None


PLACES = SPOKEN["places"]


@pytest.mark.parametrize(("language", "said", "words", "thing"), PLACES)
def test_a_thing_that_was_seen_is_asked_for(
    language: str, said: str, words: str, thing: str
) -> None:
    """With the word for the past, in each language: where a thing is now is a question."""
    assert order_in(said) == (Order.WHERE_WAS, words)
    assert things_in(words, language)[:1] == ((thing,) if thing else ())


def test_each_language_asks_for_a_thing_that_was_seen() -> None:
    languages = [language for language, *_ in PLACES]
    assert {*languages} == LANGUAGES
    assert min(map(languages.count, LANGUAGES)) >= 2


@pytest.mark.parametrize(
    "said", ["Where is the cup?", "Where was this made?!" * 12, "Wo ist die Tasse?", "杯子在哪里？"]
)
def test_where_a_thing_is_now_is_a_question(said: str) -> None:
    assert order_in(said) is None


@pytest.mark.parametrize(
    "said", ["What is around me?", "Please look around!", "Was ist um mich herum?", "环顾四周"]
)
def test_what_is_around_is_an_order(said: str) -> None:
    assert order_in(said) == (Order.SCAN, "")
