"""Orders that are spoken in place of a question."""

from __future__ import annotations

import pytest

from server.engines.order_words import AGAIN_WORDS, DESCRIBE_WORDS, Order, order_in
from server.engines.read_words import is_stop
from tests.support.languages import LANGUAGES

WORDS = {Order.AGAIN: AGAIN_WORDS, Order.DESCRIBE: DESCRIBE_WORDS}


def test_every_language_has_words_for_each() -> None:
    """The same languages as in the other tables."""
    assert all(words.keys() == LANGUAGES for words in WORDS.values())


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("order", sorted(WORDS))
def test_each_phrase_alone_is_its_order(order: Order, language: str) -> None:
    """And nothing else; also with a mark at its end."""
    for phrase in WORDS[order][language].split(","):
        assert order_in(phrase) == (order, ""), phrase
        assert order_in(f"{phrase.strip().capitalize()}!") == (order, ""), phrase
        assert not is_stop(phrase)


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ("Tell me when the kettle boils.", "the kettle boils"),
        ("Please, let me know if somebody comes to the door", "somebody comes to the door"),
        ("Tell me if it rains", "it rains"),
        ("Sag mir Bescheid, wenn das Wasser kocht.", "das Wasser kocht"),
        ("Préviens-moi quand l'eau bout.", "l'eau bout"),
        ("Avísame cuando hierva el agua", "hierva el agua"),
        ("Avvisami quando bolle", "bolle"),
        ("Avise-me quando ferver", "ferver"),
        ("Waarschuw me als het kookt", "het kookt"),
        ("Powiedz mi, kiedy się zagotuje", "się zagotuje"),
        ("Скажи мне, когда закипит", "закипит"),
        ("告诉我当水开了。", "水开了"),
        ("水开的时候告诉我", "水开"),
        ("如果有人来，请告诉我。", "有人来"),
        ("Скажи мені, коли закипить", "закипить"),
        ("أخبرني عندما يغلي الماء", "يغلي الماء"),
        ("Su kaynayınca bana haber ver!", "Su kaynayınca"),
        ("जब पानी उबले तो मुझे बताना", "पानी उबले"),
        ("お湯が沸いたら教えてください。", "お湯が沸いたら"),
        ("물이 끓으면 알려 줘", "물이 끓으면"),
    ],
)
def test_a_watch_is_ordered_in_a_persons_own_words(said: str, condition: str) -> None:
    assert order_in(said) == (Order.WATCH, condition)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "What is this?",
        "告诉我这是什么",
        "现在几点了，告诉我",
        "Describe the cup.",
        "Is the kettle on again?",
        "Can you repeat the number on the label?",
        "Tell me what this is.",
        "Tell me when",
        "Tell me if this is safe to eat",
        "Tell me if this old milk is still good",
        "Dis-moi si c'est rouge",
        "Dime si esto es rojo",
        "Dimmi se questo è rosso",
        "Diga-me se isto é vermelho",
        "أخبرني إذا كان هذا أحمر",
        "stop",
        "again " * 1000,
    ],
)
def test_a_question_is_no_order(said: str) -> None:
    """The words of an order within a longer sentence are a part of it."""
    assert order_in(said) is None
