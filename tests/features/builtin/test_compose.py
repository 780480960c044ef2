"""Answers from rows of text, as strangers asked for them; no picture is read."""

from __future__ import annotations

import datetime as dt

import pytest

from server.core.frames import Scene
from server.features.builtin.compose import compose, compose_several
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES
from server.features.builtin.speaker import Facts
from server.features.builtin.wants import Want
from tests.features.builtin.test_fields import rows_of

TUESDAY = dt.date(2026, 11, 24)
BRIGHT = Scene(0.5, 0.5, None, False, False)
MENU = ("Espresso 2.20", "Cappuccino 3.40", "Latte macchiato 3.90", "Tea 1.80", "Total 11.30")
SHOP = ("Mon-Fri 9:00-18:00", "Sat 10:00-14:00")


def first_line(question: str, *rows: str, clock: dt.time = dt.time(12)) -> str:
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=())
    return compose(understand(question), facts, TUESDAY, clock=clock).partition("\n")[0]


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("What is the cheapest?", MENU, "“Tea” costs 1.80."),
        ("Which is cheaper?", ("Milk 1.29 €", "Oat drink 0.99 €"), "“Oat drink” costs 0.99 €."),
        ("What is the cheapest?", ("Milk 1.29 €",), "It costs 1.29 €."),
        ("Was ist am günstigsten?", MENU, "„Tea“ kostet 1.80."),
        ("Which is the most expensive?", MENU, "“Latte macchiato” costs 3.90."),
        ("Which price is lower?", ("5.98 €", "4.99 €"), "It costs 4.99 €."),
        ("What does it cost?", ("was 9.99 €", "now 7.49 €"), "It costs 7.49 €."),
        ("Was kostet das?", ("7,49 €", "statt 9,99 €"), "Es kostet 7,49 €."),
        (
            "Where does the code lead?",
            ("https://example.org/menu",),
            "The web address is https://example.org/menu.",
        ),
        (
            "What is the error code?",
            ("ERROR", "F07", "Call service"),
            "Next to “ERROR” it says F07.",
        ),
        ("How many tablets?", ("Ibuprofen", "20 tablets"), "Next to “tablets” it says 20."),
        (
            "What is the dose?",
            ("Dosage: take one tablet every", "8 hours with water. Keep away", "from children."),
            "It reads: Dosage: take one tablet every 8 hours with water.",
        ),
        (
            "How much should I take?",
            ("Take 2 tablets every 4", "to 6 hours."),
            "It reads: Take 2 tablets every 4 to 6 hours.",
        ),
    ],
)
def test_what_was_read_is_found(question: str, rows: tuple[str, ...], answer: str) -> None:
    assert first_line(question, *rows) == answer


def test_a_list_is_lines_and_prices_are_two_columns() -> None:
    rows = (
        "Shopping",
        "Milk",
        "Bread | rolls",
        "Tea 1.80 €",
        "Cake 3.40 €",
        "and",
        "more",
        "Thanks",
    )
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=())
    assert compose(understand("Read this"), facts, TUESDAY).split("\n") == [
        "It reads:",
        "Shopping",
        "Milk",
        "Bread | rolls",
        "Tea\t1.80 €",
        "Cake\t3.40 €",
        "and",
        "more",
        "Thanks",
    ]
    several = compose_several(understand("Read this"), [("1", facts), ("2", facts)], TUESDAY)
    assert several.count("Tea\t1.80 €") == 1
    asked = compose(understand("How much is the pie?"), facts, TUESDAY)
    assert asked.endswith(":\nTea\t1.80 €\nCake\t3.40 €")


def test_a_single_line_stays_in_the_sentence() -> None:
    assert first_line("Read this", "Milk") == "It reads: Milk"


@pytest.mark.parametrize(
    ("question", "rows", "clock", "answer"),
    [
        ("Is it open now?", SHOP, dt.time(12), "Yes, until 18:00 (it is 12:00 now)."),
        ("Is it open?", SHOP, dt.time(8, 59), "No, not now (it is 08:59)."),
        ("Is it open now?", SHOP, dt.time(18), "No, not now (it is 18:00)."),
        (
            "Is the shop open?",
            ("Daily 9 am - 5:30 pm",),
            dt.time(17),
            "Yes, until 5:30 pm (it is 17:00 now).",
        ),
        (
            "Is it open now?",
            ("Daily 18:00-2:00",),
            dt.time(1),
            "Yes, until 2:00 (it is 01:00 now).",
        ),
        (
            "Ist jetzt geöffnet?",
            ("Mo-Fr 9-12, 13-18 Uhr",),
            dt.time(13, 30),
            "Ja, bis 18 Uhr (jetzt ist es 13:30).",
        ),
        (
            "Hat es jetzt offen?",
            ("Mo-Fr 9-12, 13-18 Uhr",),
            dt.time(12, 30),
            "Nein, jetzt nicht (es ist 12:30).",
        ),
        ("Is it open tomorrow?", SHOP, dt.time(12), "For that day it says: Mon-Fri 9:00-18:00."),
        (
            "Is it closed?",
            SHOP,
            dt.time(12),
            "It is open: Mon-Fri 9:00-18:00; Sat 10:00-14:00.",
        ),
    ],
)
def test_whether_it_is_open_now(
    question: str, rows: tuple[str, ...], clock: dt.time, answer: str
) -> None:
    assert first_line(question, *rows, clock=clock) == answer


# In each language: the cheapest, the dearest, and where a code leads
ASKED = {
    "en": ("Which is the cheapest?", "Which is the most expensive?", "Where does this link go?"),
    "de": ("Welches ist am billigsten?", "Welches ist am teuersten?", "Wohin führt der Code?"),
    "fr": ("Quel est le moins cher ?", "Quel est le plus cher ?", "Où mène ce code ?"),
    "es": ("¿Cuál es el más barato?", "¿Cuál es el más caro?", "¿A dónde lleva el código?"),
    "it": ("Qual è il più economico?", "Qual è il più caro?", "Dove porta il codice?"),
    "pt": ("Qual é o mais barato?", "Qual é o mais caro?", "Para onde leva o código?"),
    "nl": ("Wat is het goedkoopste?", "Wat is het duurste?", "Waarheen leidt de code?"),
    "pl": ("Co jest najtańsze?", "Co jest najdroższe?", "Dokąd prowadzi ten kod?"),
    "ru": ("Какой самый дешёвый?", "Какой самый дорогой?", "Куда ведёт код?"),
    "uk": ("Що найдешевше?", "Що найдорожче?", "Куди веде код?"),
    "tr": ("En ucuzu hangisi?", "En pahalısı hangisi?", "Bu kod nereye gidiyor?"),
    "ar": ("ما هو الأرخص؟", "ما هو الأغلى؟", "إلى أين يؤدي الرمز؟"),
    "hi": ("सबसे सस्ता क्या है?", "सबसे महँगा क्या है?", "कोड कहाँ ले जाता है?"),
    "ja": ("一番安いのは何ですか？", "一番高いのは何ですか？", "コードのリンク先は？"),
    "ko": (
        "가장 싼 것은 무엇인가요?",
        "가장 비싼 것은 무엇인가요?",
        "이 코드는 어디로 연결되나요?",
    ),
    "zh": ("哪个最便宜？", "哪个最贵？", "这个码指向哪里？"),
}


def test_questions_are_understood_in_each_language() -> None:
    assert ASKED.keys() == set(LANGUAGES)
    found = {
        code: tuple((one.want, one.language) for one in map(understand, asked))
        for code, asked in ASKED.items()
    }
    wants = (Want.CHEAPEST, Want.DEAREST, Want.LEADS)
    assert found == {code: tuple((want, code) for want in wants) for code in ASKED}
