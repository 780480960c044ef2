"""Answers from rows of text, as strangers asked for them; no picture is read."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.core.frames import Scene
from server.features.builtin import tables
from server.features.builtin.codes import Code
from server.features.builtin.compose import compose, compose_several
from server.features.builtin.detector import Thing
from server.features.builtin.intents import Intent, understand
from server.features.builtin.language import LANGUAGES, language
from server.features.builtin.lines import Cell, Row, row_of
from server.features.builtin.speaker import Facts
from server.features.builtin.thing_words import thing_words
from server.features.builtin.wants import Want
from server.media.picture.grounding import Box
from tests.features.builtin.test_fields import rows_of
from tests.features.builtin.words import WORDS

TUESDAY = dt.date(2026, 11, 24)
BRIGHT = Scene(0.5, 0.5, None, False, False)
MENU = ("Espresso 2.20", "Cappuccino 3.40", "Latte macchiato 3.90", "Tea 1.80", "Total 11.30")
SHOP = ("Mon-Fri 9:00-18:00", "Sat 10:00-14:00")


UNSURE = language("en").closest("")
NO_ROW = language("en").say("cannot_here")
# Before all of a print of a few words
ALL_READ = "What I read: "
MORE = language("en").say("no_more")


def cells(*rows: tuple[str, ...]) -> tuple[Row, ...]:
    """Return rows of cells that stand below each other, with figures at the right edge of theirs."""
    return tuple(
        Row(
            " ".join(row),
            20,
            tuple(
                Cell(one, 200 * n + (70 if one.isdigit() else 0), 200 * n + 90)
                for n, one in enumerate(row)
            ),
        )
        for row in rows
    )


def said_of(question: str, rows: Sequence[Row]) -> str:
    """Return the whole answer on a page in English, at noon."""
    facts = Facts(BRIGHT, rows=tuple(rows), codes=(), things=())
    return compose(understand(question, page="en"), facts, TUESDAY, clock=dt.time(12))


def first_line(question: str, *rows: str, clock: dt.time = dt.time(12)) -> str:
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=())
    return compose(understand(question), facts, TUESDAY, clock=clock).partition("\n")[0]


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("What is the cheapest?", MENU, "“Tea” costs 1.80."),
        ("Is it still good?", ("Best before 12 December",), "It is good until 12 December."),
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
        ("How many tablets?", ("Ibuprofen", "20 tablets"), "It reads: 20 tablets"),
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


def test_paragraphs_stay_apart() -> None:
    rows = (row_of("Dear all,"), row_of("be here at 8."), replace(row_of("Anna"), apart=True))
    facts = Facts(BRIGHT, rows=rows, codes=())
    answer = compose(understand("Read this"), facts, TUESDAY)
    assert answer == "It reads:\nDear all,\nbe here at 8.\n\nAnna"


def test_a_single_line_stays_in_the_sentence() -> None:
    assert first_line("Read this", "Milk") == "It reads: Milk"


@pytest.mark.parametrize(
    ("question", "rows", "clock", "answer"),
    [
        ("Is it open now?", SHOP, dt.time(12), "Yes, until 18:00 (it is 12:00 now)."),
        ("Is it open?", SHOP, dt.time(8, 59), "No, not now (it is 08:59). It opens at 9:00."),
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
            "Nein, jetzt nicht (es ist 12:30). Es öffnet um 13.",
        ),
        ("Is it open tomorrow?", SHOP, dt.time(12), "For that day it says: Mon-Fri 9:00-18:00."),
        ("Is it closed?", SHOP, dt.time(12), "It is open until 18:00 (it is 12:00 now)."),
        ("Is it closed now?", SHOP, dt.time(20), "It is closed now (it is 20:00)."),
        (
            "When does it close today?",
            SHOP,
            dt.time(12),
            "It is open until 18:00 (it is 12:00 now).",
        ),
        (
            "¿Cuándo cierra?",
            SHOP,
            dt.time(12),
            "Está abierto hasta las 18:00 (ahora son las 12:00).",
        ),
        (
            "When does it close today?",
            SHOP,
            dt.time(20),
            "For that day it says: Mon-Fri 9:00-18:00.",
        ),
        ("Is it still open?", ("Daily 9 - 6",), dt.time(17), "Yes, until 6 (it is 17:00 now)."),
        ("Is it open?", ("Daily 1 - 5 pm",), dt.time(16), "Yes, until 5 pm (it is 16:00 now)."),
        # After midnight the hours of the day before count.
        ("Is it open?", ("Monday 20:00-3:00",), dt.time(2), "Yes, until 3:00 (it is 02:00 now)."),
        (
            "Is it open?",
            ("Tuesday 20:00-3:00",),
            dt.time(2),
            "No, not now (it is 02:00). It opens at 20:00.",
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


COFFEE = ("Coffee house", "Espresso 2.20", "Latte 3.40", "Mocha 3.10")
TILL = ("Milch 1,5 % 1,19 A", "Brot 2,49 A", "2 x Käse 3,98 A", "Pfand 0,25", "Rabatt 0,50-")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How much is it together?", COFFEE, "I added up 3 prices: 8.70. No total is printed."),
        ("What is the total?", (*COFFEE, "Total 9.00"), "The total is 9.00."),
        (
            "Was kostet das zusammen?",
            TILL,
            "4 Preise zusammengezählt: 7,41. Eine Summe steht nicht da.",
        ),
        (
            "合計は？",
            ("Coffee ¥1,200", "Tea ¥900"),
            "2 件の値段を足すと ¥2100 です。合計は書いてありません。",
        ),
        (
            "What is the sum?",
            ("Sofa 1.234,50 €", "Lamp 99,00 €"),
            "I added up 2 prices: 1333,50 €. No total is printed.",
        ),
        (
            "What is the sum?",
            (*COFFEE, "Voucher -2.00"),
            "I added up 4 prices: 6.70. No total is printed.",
        ),
        # A dash before each price is none of them.
        (
            "What is the sum?",
            ("Soup -4.50", "Salad -5.20"),
            "I added up 2 prices: 9.70. No total is printed.",
        ),
        ("What is the sum?", ("Tea 2.00 €", "Cake 3.00 $"), "I find no row that names a total."),
        ("What is the sum?", ("Was 9.99", "Now 7.49"), "I find no row that names a total."),
        ("What is the sum?", ("Tea 2.00 €",), "I find no row that names a total."),
        ("What is the cheapest?", (*COFFEE, "Rueckgeld 1.00"), "“Espresso” costs 2.20."),
        ("Was ist das Teuerste?", TILL, "„2 x Käse“ kostet 3,98."),
        ("What is the cheapest?", ("Bus 2.50-", "Taxi 18.00", "Train 9.00"), "“Train” costs 9.00."),
        ("What is the cheapest?", ("Output 5.00 V 2.40 A", "Weight 0.31 kg"), "I find no price."),
        ("How much is the latte?", COFFEE, "“Latte” costs 3.40."),
        ("How many items are there?", COFFEE, "I count 3: Espresso; Latte; Mocha."),
        ("How many drinks are on the menu?", COFFEE, "I count 3: Espresso; Latte; Mocha."),
        ("Wie viele Käse habe ich gekauft?", TILL, "Ich zähle 2: 2 x Käse."),
        (
            "How many windows are there?",
            COFFEE,
            f"{ALL_READ}Coffee house · Espresso 2.20 · Latte 3.40 · Mocha 3.10. {MORE}",
        ),
    ],
)
def test_sums_and_counts_are_computed(question: str, rows: tuple[str, ...], answer: str) -> None:
    """A total that is printed comes first; else the answer says that it was added up."""
    assert first_line(question, *rows) == answer


def test_prices_of_several_sizes() -> None:
    """The row below the answer says which one is whose."""
    rows = cells(("Tea", "small 1.80", "large 2.40"), ("Mocha", "small 3.10", "large 3.90"))
    facts = Facts(BRIGHT, rows=rows, codes=())
    answers = {
        "How much is the mocha?": "“Mocha” costs 3.10 / 3.90.",
        "What is the cheapest?": "“Tea” costs 1.80.",
        "What is the most expensive?": "“Mocha” costs 3.90.",
    }
    for question, answer in answers.items():
        assert compose(understand(question), facts, TUESDAY).split("\n")[0] == answer


@pytest.mark.slow
def test_a_receipt_of_three_hundred_lines() -> None:
    """All lines count, and are read in little time."""
    rows = tuple(f"Thing number {n} 1.{n % 100:02}" for n in range(300))
    assert "300 prices: 448.50" in first_line("What is the sum?", *rows)
    assert first_line("How much did I pay?", *rows, "TOTAL 448.50") == "The total is 448.50."
    began = time.process_time()
    assert first_line("Does it say thing number 299?", *rows).startswith("Yes")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ("Best before 14 MAR 2027", "It is good until 14 MAR 2027. That day is still to come."),
        ("Use by 14.03.26", "It is good until 14.03.26. That day has passed."),
        ("EXP 2027-03-14", "It is good until 2027-03-14. That day is still to come."),
        # Only one order of day and month is possible.
        ("EXP 03/14/27", "It is good until 03/14/27 (2027-03-14). That day is still to come."),
        (
            "EXP 03/04/27",
            "It is good until 03/04/27. It may mean 2027-03-04 or 2027-04-03. That day is still to come.",
        ),
        ("Scadenza 14 maggio 2027", "It is good until 14 maggio 2027. That day is still to come."),
        ("Use by {today}", "It is good until {today}. That is today."),
        ("Best if used by JAN 02 2027", "It is good until JAN 02 2027. That day is still to come."),
        ("Enjoy by Oct 30, 2026", "It is good until Oct 30, 2026. That day has passed."),
        (
            "Freeze by DEC 12 26 FOR FRESHNESS",
            "It is good until DEC 12 26. That day is still to come.",
        ),
        (
            "Cons. pref. antes de 11/08/28",
            "It is good until 11/08/28. It may mean 2028-08-11 or 2028-11-08. That day is still to come.",
        ),
        (
            "À cons. de préf. avant le 04/2027",
            "It is good until 04/2027. That day is still to come.",
        ),
        ("EXP.30/09/26 LOT 7", "It is good until 30/09/26. That day has passed."),
        ("LOT C7 EXP311228", "It is good until 311228 (2028-12-31). That day is still to come."),
        (
            "賞味期限 27.1.9",
            "It is good until 27.1.9 (2027-01-09). That day is still to come.",
        ),
    ],
)
def test_dates_are_compared_with_the_day(row: str, answer: str) -> None:
    today = TUESDAY.strftime("%d.%m.%Y")
    assert first_line("Is it still good?", row.format(today=today)) == answer.format(today=today)


@pytest.mark.parametrize(
    ("rows", "until"),
    [
        (("Whole milk", "64 FL OZ", "SELL BY 01/02/27"), "01/02/27 (2027-01-02)"),
        (("Cookies", "Made in Ireland", "Best before", "03-11-27"), "03-11-27 (2027-11-03)"),
        (("Ham", "PKD 11/30/26", "USE BY 12/05/26"), "12/05/26 (2026-12-05)"),
        (("味噌", "賞味期限", "28.3.30"), "28.3.30 (2028-03-30)"),
    ],
)
def test_a_package_tells_which_number_of_its_date_is_the_month(
    rows: tuple[str, ...], until: str
) -> None:
    answer = first_line("When does it expire?", *rows)
    assert answer == f"It is good until {until}. That day is still to come."


def test_a_date_that_nobody_calls_an_expiry_date_is_told_as_what_it_is() -> None:
    facts = Facts(BRIGHT, rows=tuple(rows_of("Milk", "14.03.27")), codes=())
    assert compose(understand("Is it still good?"), facts, TUESDAY).split("\n") == [
        "I find no best-before date.",
        "The date is 14.03.27. That day is still to come.",
    ]


# In each language: a sum, a count, and when it closes
COMPUTED = {
    "en": ("How much is it all together?", "How many items are there?", "When does it close?"),
    "de": ("Was kostet das zusammen?", "Wie viele Artikel sind es?", "Wann schließt es?"),
    "fr": (
        "Combien ça coûte en tout ?",
        "Combien d'articles y a-t-il ?",
        "À quelle heure ça ferme ?",
    ),
    "es": ("¿Cuánto es todo junto?", "¿Cuántos artículos hay?", "¿Cuándo cierra?"),
    "it": ("Quanto costa tutto insieme?", "Quanti articoli ci sono?", "Quando chiude?"),
    "pt": ("Quanto custa tudo junto?", "Quantos artigos são?", "Quando fecha?"),
    "nl": ("Hoeveel is het samen?", "Hoeveel artikelen zijn het?", "Hoe laat sluit het?"),
    "pl": ("Ile to kosztuje razem?", "Ile pozycji tu jest?", "Kiedy zamykają?"),
    "tr": ("Hepsi birlikte ne kadar?", "Kaç ürün var?", "Ne zaman kapanıyor?"),
    "ru": ("Сколько всё стоит вместе?", "Сколько товаров?", "Когда закрывается?"),
    "uk": ("Скільки все коштує разом?", "Скільки товарів?", "Коли зачиняється?"),
    "zh": ("加起来多少钱？", "一共有几种？", "几点关门？"),
    "ja": ("全部でいくらですか？", "何品ありますか？", "何時に閉まりますか？"),
    "ko": ("모두 합쳐서 얼마예요?", "몇 가지예요?", "몇 시에 닫나요?"),
    "ar": ("كم السعر معا؟", "كم صنفا هنا؟", "متى يغلق؟"),
    "hi": ("सब मिलाकर कितना हुआ?", "कितनी चीज़ें हैं?", "कब बंद होता है?"),
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_computed_is_asked_for_in_each_language(code: str) -> None:
    summed, counted, closing = COMPUTED[code]
    words = language(code)
    assert first_line(summed, *COFFEE) == words.say("added", count=3, value="8.70")
    things = words.items(["Espresso", "Latte", "Mocha"])
    assert first_line(counted, *COFFEE) == words.say("items", count=3, items=things)
    said = words.say("still_open", value="18:00", now="12:00")
    assert first_line(closing, *SHOP) == said


CUP, LAPTOP, CAT = (
    Thing(name, 0.9, Box(0, 0, 9, 9), sure=name != "cat") for name in ("cup", "laptop", "cat")
)
LINK = Code("https://example.org", "QR Code")
LOCKER = Code("Locker 14, code 5082. Return the key by Friday.", "QR Code")


def test_a_codes_words_are_looked_through_beside_print() -> None:
    facts = Facts(BRIGHT, rows=tuple(rows_of("LOCKER", "Scan me")), codes=(LOCKER,), things=())
    assert "14" in compose(understand("Which locker is mine?"), facts, TUESDAY)
    linked = replace(facts, codes=(LINK,))
    assert "example.org" not in compose(understand("Which locker is mine?"), linked, TUESDAY)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("the cup", "Yes, I see a cup."),
        ("Is it a cup or a dog?", "I see a cup."),
        ("Ist das eine Tasse oder ein Hund?", "Ich sehe: eine Tasse."),
        ("Is there a dog?", "I may miss it, but I do not see that: a dog.\nI see a cup."),
    ],
)
def test_a_thing_alone_and_one_of_two(question: str, answer: str) -> None:
    facts = Facts(BRIGHT, rows=(), codes=(), things=(CUP,))
    assert compose(understand(question), facts, TUESDAY) == answer


def test_he_is_no_name_of_a_thing() -> None:
    facts = Facts(BRIGHT, rows=(), colours={"middle": (("red", 1.0),)}, things=())
    answer = compose(understand("Welche Farbe hat er?"), facts, TUESDAY)
    assert answer.startswith("In der Mitte ist es rot")


def test_a_code_with_the_words_of_the_question_is_the_answer() -> None:
    """Without a refusal below it, which it is where the code has none of them."""
    facts = Facts(BRIGHT, rows=(), codes=(LOCKER,), things=())
    for question, lines in (("Which locker is mine?", 1), ("Where is the lift?", 2)):
        answer = compose(understand(question), facts, TUESDAY)
        assert LOCKER.text in answer
        assert len(answer.splitlines()) == lines, question


def seen(*things: Thing, code: str = "en", **facts: Any) -> str:
    """Return what is told of a picture with these things."""
    facts = {"rows": (), "codes": (), "colours": {"middle": (("red", 1.0),)}, **facts}
    intent = Intent(Want.SUMMARY, code)
    return compose(intent, Facts(BRIGHT, things=things, **facts), TUESDAY)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("What did I pay last year?", ("Amount due £211.52",), "do not find “last year” in what"),
        ("What's the temperature outside?", ("Temperature", "19.5°"), "find “outside” in what"),
        ("Wann ist die Gelbe Tonne?", ("Papier 11. Januar",), "finde ich „Gelbe Tonne“ nicht."),
        ("手术什么时候？", ("复查 2026年11月30日",), "没有“手术”。"),
        # A row of its words without the figure that is asked for, and one whose figures may have it
        (
            "How long does a game take?",
            ("A game for 3 to 6 players",),
            "I find no figure for that.",
        ),
        ("How much does grooming cost?", ("Grooming 01904 772 368",), UNSURE),
        # A row that names a part of it is shown without: "Dogs welcome" of "Can I bring my dog?"
        ("When is the exam?", ("Exam, class 9b", "Held 18 May 2026"), UNSURE),
        # What is asked for in other words than the question's own
        ("Who is the parcel for?", ("To: Mr D. Okafor", "Flat 2"), UNSURE),
    ],
)
def test_the_row_that_comes_closest_is_shown_with_what_no_row_names(
    question: str, rows: tuple[str, ...], answer: str
) -> None:
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=(), things=())
    assert answer in compose(understand(question), facts, TUESDAY)


FUSES = cells(
    ("No.", "Circuit", "Rating"),
    ("4", "Lights", "6A"),
    ("6", "Heater", "16A"),
    ("10", "Spare", "-"),
)
GAUGES = (replace(cells(("87", "Tyres"))[0], height=40), *rows_of("Service in 1 900 km", "140"))
OPEN = rows_of(
    *(
        "Open 7 am - 9 pm (April to September)",
        "Dogs on a lead",
        "Closed for mowing Tuesday 8-10 am",
    )
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # The row that begins with it, and not "6A" of another one
        ("What is number 6?", FUSES, "It reads: 6 Heater 16A"),
        ("Which circuit is spare?", FUSES, "closest: 10 Spare -"),
        (
            "What kind of butter?",
            rows_of("butter (unsalted!)", "coffee beans"),
            "butter (unsalted!)",
        ),
        (
            "Can I bring my 3 month old?",
            rows_of("Maximum 3 dogs each", "No glass"),
            "What I read: Maximum",
        ),
        ("Who is it for?", rows_of("CHECKED BAG", "TO", "LIS"), "I can't tell more."),
        ("Who is it for?", rows_of("A PRESENT", "TO", "Eva Brandt"), "closest: Eva Brandt"),
        ("When does it close in summer?", OPEN, UNSURE),
        (
            "C'est combien pour un enfant ?",
            rows_of("Coupe femme 38 €", "Coupe enfant 16 €"),
            "16 €",
        ),
    ],
)
def test_what_strangers_were_told_wrong_of_print(
    question: str, rows: Sequence[Row], answer: str
) -> None:
    assert answer in told(question, rows)


@pytest.mark.parametrize("find", [tables.crossing, tables.in_column])
def test_a_table_of_many_rows_is_compared_once(
    find: Callable[[Sequence[Row], Sequence[str]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word is looked for once in each row and cell, however many may be heads."""
    looks = []
    names_it = tables.names_it

    def counted(text: str, word: str) -> bool:
        looks.append(word)
        return names_it(text, word)

    monkeypatch.setattr(tables, "names_it", counted)
    rows = cells(*(("circuit", f"circuit {'a' * n} lights", "circuit") for n in range(120)))
    find(rows, ("circuit", "spare", "lights"))
    assert 0 < len(looks) <= 2 * 3 * len(rows) + 9


def test_a_figure_beside_a_larger_one_is_not_the_one_that_is_shown() -> None:
    """Of a dashboard's range, speed and warmth none has its unit beside it."""
    assert "140" in told("How fast am I going?", GAUGES[1:])
    assert told("How fast am I going?", GAUGES).startswith(ALL_READ)


def told(question: str, rows: Sequence[Row]) -> str:
    facts = Facts(BRIGHT, rows=tuple(rows), codes=(), things=())
    return compose(understand(question), facts, TUESDAY).partition("\n")[0]


def test_the_heads_of_columns_are_no_answer() -> None:
    rows = cells(("Subject", "Grade", "Comment"), ("Art", "A", "Neat"))
    facts = Facts(BRIGHT, rows=rows, codes=(), things=())
    said = compose(understand("What's his best subject?"), facts, TUESDAY)
    assert said.startswith(ALL_READ)


def test_how_sure_it_is_shows_in_the_words() -> None:
    """The words tell what both models say from what one says, and from what none does; what is sure stands alone."""
    assert seen(CUP, LAPTOP) == seen(CUP, CAT, LAPTOP) == "I see a cup and a laptop."
    assert seen(CUP, CUP) == "I see cups."
    assert seen(CAT) == "This looks like a cat."
    assert seen().startswith("I do not know this thing: it is red.")
    sky = seen(rim=frozenset({"red", "blue"}))
    assert sky.startswith("I do not know this thing. In the middle: red.")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How much saturated fat?", ("Fat 22 g", "Sugar 3 g"), "closest: Fat 22 g"),
        ("How much fat?", ("Fat 22 g", "Sugar 3 g"), "Next to “Fat” it says 22 g."),
        ("What's the admin password?", ("Wi-Fi password: kaffee2go",), "closest: Wi-Fi password"),
        ("What's the wifi password?", ("Wi-Fi password: kaffee2go",), "The password is kaffee2go"),
        ("When does the bus leave for Hospital?", ("Hospital 06:31",), "It leaves at 06:31."),
        ("How much are two teas?", ("Tea 3,00 €", "Cake 4,00 €"), "closest: Tea 3,00 €"),
        ("How much is the cake?", ("Tea 3,00 € Cake 4,00 €",), "“Cake” costs 4,00 €."),
        ("How many recipes?", ("80 recipes for all",), "It reads: 80 recipes for all"),
        ("How much for 2 hours?", ("1 hour 2.00 €", "2 hours 3.50 €"), "“2 hours” costs 3.50 €"),
        (
            "When can I sow these?",
            ("Sow Feb - April", "Sow by: 12/2028"),
            "closest: Sow Feb - April; ",
        ),
        ("When do I get tomatoes?", ("Tomato", "Sow by: 12/2028"), "closest: Sow by: 12/2028"),
        ("When is the concert?", ("Winter concert", "Fri 22 January 2027"), "is 22 January 2027."),
        ("What percentage is wool?", ("Cotton 80 %",), "closest: Cotton 80 %"),
        ("How warm do I serve it?", ("Merlot", "2021", "Chile"), "I can't tell more."),
        (
            "When is paper collected?",
            ("Calendar May 2026", "Paper 15.12."),
            "closest: Paper 15.12.",
        ),
        ("When is the exam?", ("Exam, class 9b", "Held 18 May 2026"), "closest: Held 18 May 2026"),
        ("When is yoga?", ("Open 6:00 - 23:00", "Yoga 18:00"), "It reads: Yoga 18:00"),
        ("When does it get dark?", ("Sunrise 07:41", "Sunset 16:27"), "I can't tell more."),
        ("Where does the bus go?", ("Riverside 06:10", "Hospital 06:31"), "What I read: Riverside"),
    ],
)
def test_it_is_sure_where_the_rows_name_all_that_was_asked(
    question: str, rows: tuple[str, ...], answer: str
) -> None:
    facts = Facts(BRIGHT, rows=tuple(rows_of(*rows)), codes=(), things=())
    assert answer in compose(understand(question), facts, TUESDAY)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_hours_of_another_time_are_told_without_a_word_about_now(code: str) -> None:
    facts = Facts(BRIGHT, rows=tuple(rows_of("10:00 - 18:00")), codes=())
    words = language(code)
    holds = words.closest("10:00 - 18:00")
    for number, question in enumerate(WORDS["open_at"][code]):
        intent = understand(question)
        assert (intent.want, intent.language) == (Want.HOURS, code), question
        told = compose(intent, facts, TUESDAY, clock=dt.time(15))
        assert told.startswith(holds) is (number > 0), question


@pytest.mark.parametrize("code", LANGUAGES)
def test_how_sure_it_is_shows_in_each_language(code: str) -> None:
    words, names = language(code), thing_words(code)
    said = {
        seen(CUP, LAPTOP, code=code): words.say(
            "see_things", things=words.together([names.one("cup"), names.one("laptop")])
        ),
        seen(CAT, code=code): words.say("see_like", thing=names.one("cat")),
        seen(code=code).split("\n")[0]: words.say("see_unknown", colours=words.colour_name("red")),
    }
    assert all(one == other for one, other in said.items())
    assert len(said) == 3


def test_a_summary_has_things_faces_text_and_codes() -> None:
    """A person has a face."""
    rows = tuple(rows_of("Open daily"))
    assert seen(CUP, faces=1, rows=rows, codes=(LINK,)).split("\n") == [
        "I see a cup. I count one face.",
        "It also reads: Open daily. The QR code says: https://example.org",
    ]
    assert seen(CUP, rows=rows) == "I see a cup.\nIt also reads: Open daily"
    person = Thing("person", 0.9, Box(0, 0, 9, 9), sure=True)
    assert seen(CUP, person, faces=1) == "I see a cup and a person."


def test_people_whose_faces_alone_are_seen_are_counted_by_them() -> None:
    person = Thing("person", 0.9, Box(0, 0, 9, 9), sure=True)
    facts = Facts(BRIGHT, rows=(), codes=(), things=(person,), faces=3)
    said = compose(understand("How many people are there?"), facts, TUESDAY)
    assert said == "I count at least 3: people."
    said = compose(understand("How many faces are there?"), facts, TUESDAY)
    assert said.startswith("I count 3 faces.")


@pytest.mark.parametrize("things", [(), None])
def test_who_points_at_something_is_not_told_to_ask_what_it_is(things: tuple[()] | None) -> None:
    """An honest word about the part in place of questions to try: this was the right one."""
    facts = Facts(
        BRIGHT, pointed=True, rows=(), codes=(), things=things, names_things=things is not None
    )
    answer = compose(understand("What is this?"), facts, TUESDAY)
    unknown = "I do not know this thing" if things is not None else "I see no text"
    assert answer.startswith(unknown)
    assert "“" not in answer


MEALS = ("The Pot", "Starters", "Soup 6.50", "Trout 9.20", "Mains", "Stew 17.90", "Risotto 14.50")
LABEL = ("Ibuprofen 400 mg.", "Take 1 tablet every 6 hours.", "20 tablets")
TALK = ("Are you coming?", "18:02", "Yes, what time?", "18:04", "Dinner at 8, at the harbour")
# Before rows that do not name all that was asked
CONCERT = ("Winter concert", "Date 12 Dec 2026", "Doors 18:45", "Start 19:30")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # A word inside of a sentence has no value beside it.
        ("Who called?", ("Tom called. Ring him back",), "It reads: Tom called."),
        ("Which floor?", ("2nd floor, turn left",), "It reads: 2nd floor, turn left"),
        ("Will it rain?", ("Light rain", "H: 9"), "It reads: Light rain"),
        ("Which floor?", ("Floor 2",), "Next to “Floor” it says 2."),
        ("How is the DAX?", ("Markets: DAX +0.8 %",), "Next to “DAX” it says +0.8 %."),
        # Headings of a list
        ("What is the cheapest main?", MEALS, "“Risotto” costs 14.50."),
        ("What is the cheapest?", MEALS, "“Soup” costs 6.50."),
        ("Which one is cheapest?", MEALS, "“Soup” costs 6.50."),
        ("What starters do they have?", MEALS, "I read 2 prices:"),
        ("Which is cheapest per kilo?", ("Rice 2.00 €/kg", "Oats 1.50 €/kg"), "It costs 1.50 € per kg."),
        ("Which is cheapest per kilo?", ("Rice 2.00 €", "Oats 1.50 €"), "I find no price."),
        ("How many tablets a day?", LABEL[:2], "It reads: Take 1 tablet every 6 hours."),
        ("How many tablets are in it?", LABEL[2:], "It reads: 20 tablets"),
        ("What time is dinner?", TALK, "It reads: Dinner at 8, at the harbour"),
        ("When do the doors open?", CONCERT, f"{UNSURE}Doors 18:45"),
        ("When is the concert?", CONCERT, "The date is 12 Dec 2026."),
        ("When is it?", ("Dentist 14 Dec 10:30",), "The date is 14 Dec."),
        ("What's the phone number?", ("Desk: 912 555 018",), "I read 912 555 018."),
        ("Whats the network called", ("Free wifi for guests", "Network: Loft"), "The Wi-Fi network is called Loft"),
        ("When is breakfast?", ("Breakfast 7 - 10.30", "Hotel Marlow"), "It reads: Breakfast 7 - 10.30"),
        ("What are the hours?", ("7:00 - 7:30", "7:30 - 8:00", "8:00 - 8:30"), "I read 7:00 - 7:30; 7:30 - 8:00; 8:00 - 8:30."),
        ("What's number 31?", ("30 Mango rice 6.50", "31 Coconut ice cream 5.20"), "It reads: 31 Coconut ice cream 5.20"),
        ("Which brand is the laptop?", ("2500 2,500", "4,567 2,315"), f"{ALL_READ}2500 2,500 · 4,567 2,315. {MORE}"),
        ("A che ora parte il treno?", ("Treno IC 586", "Partenza 08:47"), "Parte alle 08:47."),
        ("When do I arrive in Florence?", ("Naples Florence", "08:47 12:31"), f"{UNSURE}Naples Florence; 08:47 12:31"),
        ("Was kostet das?", ("Das ist kostenlos.", "Der zweite Termin 38,00 Euro"),
         "Am nächsten kommt: Das ist kostenlos.; Der zweite Termin 38,00 Euro"),
        ("How many flat whites did we have?", ("2 Flat white 7.00", "1 Mint tea 2.90"), f"{UNSURE}2 Flat white 7.00"),
        ("Do I need to go to the depot?", ("In your safe place", "back at our depot"), f"{UNSURE}In your safe place; back at our depot"),
        ("Is the depot open on Sunday?", ("Depot Mon - Fri 7.00 to 19.00",), f"{UNSURE}Depot Mon - Fri 7.00 to 19.00"),
        ("Which curry is vegetarian?", ("Green curry, chicken", "(v) vegetarian"), f"{UNSURE}(v) vegetarian"),
        ("Whats the wifi password", ("Wifi: lindgren", "Code: cinnamon7"), f"{UNSURE}Wifi: lindgren; Code: cinnamon7"),
        ("What's the name of the doctor?", ("NOTICE", "Library", "Mon closed"), f"{UNSURE}NOTICE"),
        ("What's the network called?", ("Red curry 12.90", "Rice 2.50"), "I find no network name."),
        ("Is it cheaper online?", ("Extra rice 2.50", "Soup 6.00", "Tea 2.00"), f"{ALL_READ}Extra rice 2.50 · Soup 6.00 · Tea 2.00. {MORE}"),
        ("What do I have to pay?", ("Extra rice 2.50", "Soup 6.00"), "I find no row that names a total."),
        ("What day is it today?", ("Concert 12 December",), f"{UNSURE}Concert 12 December"),
        ("What does it weigh?", ("Omeprazol 20 mg",), "I find no figure for that."),
        ("Whats the phone number for", ("0-450 / 0-1600 rpm", "0800 414 7722"), "The phone number is 0800 414 7722."),
        ("Is it closed today?", ("Seen on 3 May from 09:12 to 09:21",), f"{UNSURE}Seen on 3 May from 09:12 to 09:21"),
        (
            "What are the hours?",
            ("Mon - Fri 9:00 - 18:00", "Questions? Call us Tuesday to Thursday 9 to 4"),
            "It is open: Mon - Fri 9:00 - 18:00.",
        ),
        ("What's on the back?", ("back at our depot",), "It reads: back at our depot"),
        ("What floor is it on?", ("Swiss cheese plant", "Water it", "Low light"), f"{ALL_READ}Swiss cheese plant · Water it · Low light. {MORE}"),
        ("My son is 3, how much can he have?", ("3 - 6 months 2.5 ml", "3 years 7.5 ml"),
         f"{UNSURE}3 - 6 months 2.5 ml; 3 years 7.5 ml"),
        ("What did I spend today?", ("Current account £1,284.07", "Kiosk £5.20"), "I find no row that names a total."),
        ("How much is the rent?", ("Current account £1,284.07", "Rent £870.00"), "“Rent” costs £870.00."),
        ("How many adults?", ("Adults Children", "2 1"), f"{UNSURE}Adults Children; 2 1"),
        ("What time does the boat leave?", ("Booked for 18:30", "Departs 14:05"), "It leaves at 14:05."),
        (
            "What's the cheapest red by the glass?",
            ("White glass", "Soave 6.50", "Red glass", "Rioja 7.90", "Merlot 6.90"),
            "“Merlot” costs 6.90.",
        ),
        ("Where is it made?", ("Stonetop Oats", "Produced in Wales", "500 g"), "It reads: Produced in Wales"),
        ("What's the phone number?", ("Order 912 555 018", "Bill 611 204 77"), "I find no phone number."),
        # What nothing says to be about it is no answer.
        (
            "What time does it start?",
            ("Doors 7.30 pm", "Music 8.15 pm"),
            f"{UNSURE}Doors 7.30 pm; Music 8.15 pm",
        ),
        ("How much is the late fee?", ("Late fee: 20p per book",), "“Late fee: per book” costs 20p."),
        ("How much if I don't come?", ("Your visit", "Friday", "Missed ones: £25"), f"{ALL_READ}Your visit · Friday · Missed ones: £25. {MORE}"),
        ("Do I have to pay on Sunday?", ("1 hour £1.20", "2 hours £2.40", "Sundays free"), "It reads: Sundays free"),
        ("How long does it keep?", ("Lemon cake", "Keeps 3 to 4 days"), f"{UNSURE}Keeps 3 to 4 days"),
        ("Do I have to give my phone number?", ("Full name *", "Phone (optional)"), "It reads: Phone (optional)"),
        ("Can I make phone calls here?", ("Phone calls outside, thank you",), f"{UNSURE}Phone calls outside, thank you"),
        ("Is it safe to eat for vegans?", ("Honey oats", "Best before 14 MAR 2027"), f"{UNSURE}Best before 14 MAR 2027"),
        ("Are there nuts in it?", ("Pecans 9 %", "May contain peanuts"), f"{UNSURE}Pecans 9 %; May contain peanuts"),
        ("What's the title of the red book?", ("THE SALT ROAD", "Night Trains"), f"{UNSURE}THE SALT ROAD"),
        ("What does a blinking red light mean?", ("The lamp blinks red while charging",), f"{UNSURE}The lamp blinks red while charging"),
        ("What is the cheapest red?", ("Riesling 6.50", "Rioja 6.90", "One of them is red"), f"{UNSURE}Riesling 6.50"),
        ("¿Cuándo llega?", ("Entrega: viernes 9:00",), "Muestra 9:00."),
        ("When do they want breakfast?", ("7:00-7:30", "8:00-8:30"), f"{UNSURE}7:00-7:30; 8:00-8:30"),
        ("How many dice are there?", ("Rioja 6.90",), f"{ALL_READ}Rioja 6.90. {MORE}"),
        # Figures
        ("What temperature is wool?", ("Cotton 60 °C", "Eco 40 °C", "Wool cold"), "It reads: Wool cold"),
        ("How warm is it?", ("H: 9° L: 4°",), "I read 9°; 4°."),
        ("How fast does it spin?", ("1200 rpm",), "It says 1200 rpm."),
        ("What's the humidity?", ("Rain 60 %", "Humidity 88 %"), "Next to “Humidity” it says 88 %."),
        ("How heavy is it?", ("per 100 g", "Contents 500 g"), "It says 500 g."),
        ("How heavy is it?", ("Fat 12 g", "Net weight 500 g"), "It says 500 g."),
        ("How much is oil?", ("EUR/USD 1.0842 Oil 71.30",), "“EUR/USD 1.0842 Oil” costs 71.30."),
        ("How much is the rice milk?", ("Oat milk 1.79 €", "Soy milk 2.49 €"), "I find no price for “rice milk”."),
        ("How much is a glass of milk?", ("Milk 1.79", "Tea 2.49"), f"{UNSURE}Milk 1.79"),
        ("Wie viel Mehrwertsteuer ist drauf?", ("TVA 5,5 % 1,27 €",), "Neben „TVA 5,5 %“ steht 1,27 €."),
        ("What's the invoice number?", ("Rechnung Nr. 2026-0817", "Kunde 5"), "Next to “Rechnung” it says 2026-0817."),
        ("Did I pay by card?", ("Bread 2.60", "Milk 1.20", "TOTAL 3.80"), f"{ALL_READ}Bread 2.60 · Milk 1.20 · TOTAL 3.80. {MORE}"),
        ("Which train leaves at 14:20?", ("14:05 ICE 592 Berlin", "14:20 S 4 Leipzig"), "It reads: 14:20 S 4 Leipzig"),
        ("When do I return the books?", ("Return books by Friday", "Book dentist 14 Dec"), "It reads: Return books by Friday"),
        ("Is it closed on holidays?", ("Lunes 9:00 - 14:00", "Domingos y festivos cerrado"), "For that day it says: Domingos y festivos cerrado."),
    ],
)  # fmt: skip
def test_what_is_named_in_the_question_decides(
    question: str, rows: tuple[str, ...], answer: str
) -> None:
    assert first_line(question, *rows) == answer


MUSEUM = ("Ouvert du mercredi au dimanche", "de 10 h à 18 h, jeudi jusqu'à 21 h", "Fermé le lundi")
DOCTOR = (
    "Dr. Anna Keller",
    "Mo, Di, Do 8:00 - 12:00",
    "Mi, Fr 8:00 - 13:00",
    "Tel. 0421 / 55 60 71",
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("Is it open on Wednesday?", MUSEUM, f"For that day it says: {MUSEUM[0]} {MUSEUM[1]}."),
        ("Is it open on Monday?", MUSEUM, "For that day it says: Fermé le lundi."),
        ("When is the doctor there on Wednesday?", DOCTOR, f"For that day it says: {DOCTOR[2]}."),
        ("When is she there?", DOCTOR, f"It is open: {DOCTOR[1]}; {DOCTOR[2]}."),
        ("What's the phone number?", DOCTOR, "The phone number is 0421 / 55 60 71."),
        ("What's the password?", ("Wrong password. 2 tries left",), "I find no password."),
        ("How many tries are left?", ("Wrong password. 2 tries left",), "It reads: Wrong password. 2 tries left"),
        ("How much sugar?", ("12 g sugar",), "Next to “sugar” it says 12 g."),
        ("What's the serial number?", ("Model 55-A", "S/N 8842-11"), "Next to “S/N” it says 8842-11."),
    ],
)  # fmt: skip
def test_hours_and_labels_as_signs_have_them(
    question: str, rows: tuple[str, ...], answer: str
) -> None:
    assert first_line(question, *rows) == answer


def test_hours_alone_go_on_with_the_days_above() -> None:
    rows = ("Mon - Fri 9:30 - 14:00", "17:00 - 20:30", "Sat 10:00 - 13:00", "Sunday closed")
    said = "For that day it says: Mon - Fri 9:30 - 14:00; 17:00 - 20:30."
    assert first_line("When is it open on Tuesday?", *rows) == said
    assert first_line("Is it open on Sunday?", *rows) == "For that day it says: Sunday closed."


def test_a_display_is_larger_than_the_figures_around_it() -> None:
    rows = (row_of("10 200 V~", 20), row_of("050", 90))
    facts = Facts(BRIGHT, rows=rows, codes=())
    said = compose(understand("What voltage is it?"), facts, TUESDAY)
    assert said.startswith("It says 050;")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many calories per portion?", "It says 113 kcal."),
        (
            "How much protein per portion?",
            "In the row of “Protein”, under “per portion”, it says 3.3 g.",
        ),
        ("What goes to Berlin?", "It reads: 14:05 Berlin Hbf 7"),
        ("What happened in Porto?", "It reads: Bridges closed in Porto"),
    ],
)
def test_a_table_is_read_by_its_row_and_column(question: str, answer: str) -> None:
    columns = (
        ("Per", "per 100 g", "per portion"),
        ("Energy", "375 kcal", "113 kcal"),
        ("Protein", "11 g", "3.3 g"),
        ("14:05", "Berlin Hbf", "7"),
        ("BREAKING", "Bridges closed in Porto"),
    )
    rows = cells(*columns)
    facts = Facts(BRIGHT, rows=rows, codes=())
    assert compose(understand(question), facts, TUESDAY).split("\n")[0] == answer


def test_a_title_may_have_two_lines_and_is_no_row_of_a_bill() -> None:
    title = [row_of("THE SILENT", 60), row_of("HARBOUR", 62), row_of("a novel", 30)]
    bill = [row_of("Bakery Dupain", 44), row_of("Bread 2,60", 42), row_of("TVA 5,5 % 1,27 €", 46)]
    words = language("en")
    for rows, question, name in (
        (title, "What's the title of this book?", "THE SILENT HARBOUR"),
        (bill, "Which shop is this?", "Bakery Dupain"),
    ):
        facts = Facts(BRIGHT, rows=tuple(rows), codes=())
        said = compose(understand(question), facts, TUESDAY)
        assert said.startswith(words.say("name", value=name))


SALON = cells(
    ("Women",), ("Dry cut", "33"), ("Blow-dry", "24"), ("Men",), ("Cut", "21"), ("Beard", "12")
)
PASS = cells(("Gate", "Seat", "Gate closes"), ("C27", "18F", "13:05"))
DOSES = cells(
    ("Age", "How often"), ("3 months", "up to 4 times"), ("2 years", "up to 6 times"), ("Keep dry",)
)
LETTER = cells(("Drive in six hours. Please bring:",), ("Your glasses",), ("A list of medicines",))
SOUP = cells(
    ("Microwave (800 W)",),
    ("Use half a sachet. Stir, then",),
    ("leave to stand.",),
    ("Stir well.",),
)
ENERGY = cells(("", "100 g", "portion"), ("Energy", "337 kcal", "192 kcal"))


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # A column of whole numbers may be one of prices.
        ("How much is a dry cut?", SALON, "Next to “Dry cut” it says 33."),
        ("How much is a mens cut?", SALON, "closest: Cut 21"),
        ("What is the cheapest?", SALON, "closest: Beard 12"),
        # Two numbers are none.
        ("How much is a dry cut?", SALON[:3], "What comes closest: Dry cut 33"),
        ("When does the gate close?", PASS, "Next to “Gate closes” it says 13:05."),
        ("Which gate is it?", PASS, "Next to “Gate” it says C27."),
        # What a row announces is told with it.
        ("How often can I give it?", DOSES, "up to 4 times; 2 years up to 6 times"),
        ("Bring what?", LETTER, "bring: · Your glasses · A list of medicines"),
        ("How long in the microwave?", SOUP, "Use half a sachet.; Stir, then leave to stand."),
        ("Calories per serving?", ENERGY, "It says 192 kcal."),
        ("Calories per slice?", ENERGY, "closest: Energy 337 kcal 192 kcal"),
        (
            "Is that a fair price?",
            cells(("Wheel", "46.50"), ("Oil", "8.90"), ("Lamp", "9.90")),
            "I can't tell more.",
        ),
    ],
)
def test_a_table_and_a_heading_are_told_with_what_is_below(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_a_short_question_is_answered_in_the_pages_language() -> None:
    assert understand("Calories per portion?", page="en").language == "en"
    assert understand("Calorie per porzione?", page="it").language == "it"


LEAGUE = cells(("Team", "Won", "Lost"), ("Rovers", "10", "2"), ("City", "9", "4"))
TIMER = cells(("Spin", "0:47"), ("Door locked",), ("Quick", "15 min"), ("Cotton", "40"), ("Lock",))
SLIP = cells(("Coat", "14,00"), ("Skirt", "9,50"), ("Total 23,50 €", "Paid 10,00 €"))
BIKES = cells(("Bike", "9 €", "14 €"), ("Helmet", "3 €", "5 €"))
POOL = ("Children 5-15 £3.10", "Adults £5.80", "Open daily 06:30 - 21:00")
BANK = (row_of("£1,284.07", 60), *rows_of("Tram £5.20", "Cash £40.00", "Film £10.99"))
GEL = ("Keep away from children.", "Directions", "Leave for 30 minutes.", "Then rinse.")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        # No headline is the name of who asks.
        ("What's my name?", rows_of("Grand Hotel", "Room 418", "Guest Ingrid"), ALL_READ),
        (
            "What's my name?",
            rows_of("Grand Hotel", "Name: Ingrid"),
            "Next to “Name” it says Ingrid.",
        ),
        # A day is asked for, and no time of day.
        ("What's the date?", rows_of("Gym", "Sunrise 07:41", "Sunset 16:27"), "I find no date."),
        ("When was it made?", rows_of("Sunrise 07:41", "Sunset 16:27", "Rome"), ALL_READ),
        ("When is the next one?", rows_of("Cream", "EXP 08 2027"), "closest: EXP 08 2027"),
        ("What year is it from?", rows_of("Merlot", "2021", "Drink soon"), "closest: 2021"),
        ("What year is it from?", rows_of("Ball", "Friday 5 June", "Hall"), "I can't tell more."),
        # What is left on a display is no time of day, and no thousands.
        ("What time is it?", TIMER, "I find no time"),
        ("How long does the spin take?", TIMER, "“Spin” it says 0:47"),
        ("How hot is it?", rows_of("0:25 200°C"), "It says 200°C."),
        (
            "How hot is it?",
            rows_of("Seat 18F", "Gate", "Name", "Date", "Grade 41 C"),
            "I find no figure",
        ),
        ("How hot should it be?", rows_of("Merlot", "2021"), "I find no figure"),
        # How long: what is named, else all that tell of it.
        (
            "How long is the stay?",
            rows_of("Stay 12 months", "Notice 3 months"),
            "It reads: Stay 12",
        ),
        ("How long does it take?", rows_of("Notice 3 months", "Open"), "closest: Notice 3 months"),
        (
            "Wie lange dauert das?",
            rows_of("Trocken nach 4 Stunden", "Matt"),
            "kommt: Trocken nach 4",
        ),
        ("How long in the microwave?", rows_of(*GEL), "closest: Leave for 30 minutes."),
        ("How long do I leave it?", rows_of("Toilet: leave 30 min", "Rinse"), "leave 30 min"),
        # Each row below a head has a value of its own.
        ("Who won?", LEAGUE, "It reads: Team Won Lost · Rovers 10 2 · City 9 4"),
        ("What does it say about children?", rows_of(*GEL), "It reads: Keep away from children."),
        # A list of prices, and no other figures
        ("How many items?", rows_of("Work from 8.30 am", "Sale 3.50, no card", "End"), ALL_READ),
        ("How much is it?", SLIP, "The total is 23,50 €."),
        ("How much is a helmet?", BIKES, "“Helmet” costs 3 € / 5 €."),
        ("Is it open?", rows_of(*POOL), "\nIt is open: Open daily 06:30 - 21:00."),
        (
            "What's the price?",
            rows_of("The costs of 38.400 euro for the new lift are shared"),
            "It reads",
        ),
        ("What's the price?", BANK, "I read 4 prices"),
        ("What's the price?", rows_of("Täglich 8.30 Uhr", "Zuletzt 16.30 Uhr"), "I find no price"),
        (
            "When do I have to pay by?",
            rows_of("Trip £14.50", "Pay by 4 December"),
            "says 4 December.",
        ),
        ("What's the cat's name?", rows_of("Surgery", "Patient: Biscuit (cat)", "Fee"), "Biscuit"),
        # A sentence of several rows, before a heading with the same word
        (
            "When was the car built?",
            rows_of("The car was built", "in Lyon in 1929.", "Seats"),
            "1929.",
        ),
        (
            "Do I need this card?",
            rows_of("POLL CARD", "You need no card to vote.", "Hall"),
            "no card to",
        ),
        (
            "What if it gets in my eyes?",
            rows_of("May cause eye damage", "Eyes: rinse", "Wash"),
            "rinse",
        ),
        (
            "Is there paper in tray 1?",
            rows_of("Open tray 2, remove paper", "Tray 1: empty"),
            "empty",
        ),
        (
            "What's wrong with it?",
            rows_of("Printer", "Paper jam", "Cyan low"),
            "closest: Paper jam; Cyan",
        ),
        ("What's wrong with it?", rows_of("Printer", "Ready", "Tray 1"), "I can't tell more."),
        (
            "What's wrong with the tyres?",
            rows_of("Oil low", "Tyres worn", "Ok"),
            "closest: Tyres worn",
        ),
        # Of a row over columns, the part that is named
        (
            "Is it to Rome?",
            cells(
                ("IC 577 to Rome", "14:05"),
            ),
            ": IC 577 to Rome 14:05",
        ),
        (
            "Do you smoke?",
            cells(
                ("Do you smoke?", "Yes", "No"),
            ),
            ": Do you smoke? Yes No",
        ),
        (
            "Is it vegan?",
            cells(("Fat 2 g", "Not suitable for"), ("Salt", "vegans")),
            "Not suitable for vegans",
        ),
        (
            "Do I need ID?",
            cells(("Name", "Show your photo ID here"), ("A", "B"), ("C", "D")),
            ": Show your",
        ),
        (
            "Is there paper in tray 1?",
            cells(
                ("2 jobs", "Tray 1: empty", "Tray 2: A4"),
            ),
            ": Tray 1: empty",
        ),
        (
            "Can I get a roll?",
            cells(("Bread £2", "Roll £3"), ("Open daily",), ("A", "B")),
            ": Roll £3",
        ),
        # A word on a sign abroad
        (
            "How much is it for a dog?",
            rows_of("Adulto 9,00 €", "Hund 5,00 €"),
            "“Hund” costs 5,00 €.",
        ),
    ],
)
def test_another_kind_is_no_answer(question: str, rows: Sequence[Row], answer: str) -> None:
    assert answer in said_of(question, rows)


CONES = (
    *rows_of("1 scoop £2.60", "2 scoops £4.20", "3 eggs", "add the eggs"),
    replace(row_of("Flavours today"), apart=True),
    *rows_of("Vanilla", "Mint (vegan)", "Salted caramel", "Pistachio"),
    replace(row_of("Not suitable for"), apart=True),
    *rows_of("nut allergies", "Cash only"),
)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How much is two scoops?", "“2 scoops” costs £4.20."),
        ("How many eggs?", "It reads: 3 eggs"),
        # A number alone names no row.
        ("Can I take two suitcases?", ALL_READ),
        (
            "What flavours are there?",
            "It reads: Flavours today · Vanilla · Mint (vegan) · Salted caramel · Pistachio",
        ),
        ("Are there nuts in it?", "closest: Not suitable for nut allergies; Pistachio"),
        ("Can I pay by card?", "closest: Cash only"),
    ],
)
def test_a_heading_a_number_and_a_payment_find_their_rows(question: str, answer: str) -> None:
    assert answer in said_of(question, CONES)


HEATER = (
    *cells(("Outside", "Room"), ("3.5 °C", "20.8 °C")),
    *rows_of("Target room 21.0 °C", "Mode: eco"),
)
PUMP = rows_of("cashier 12", "Price per litre 1.459", "Fuel 56.05", "Paid: VISA DEBIT")
SYRUP = cells(("6 to 11 years", "5 ml"), ("2 - 5 years", "2 ml"), ("Under 2", "none"))
TIN = rows_of(
    *("Best before 14.05.2027", "Use within 6 weeks of opening", "Wool"),
    "Tickets can be sent back before May for £3",
)
BINS = (
    *cells(("Tue 1", "Green bin"), ("Tue 8", "Black bin"), ("Tue 15", "Blue bin")),
    row_of("Bags: 11 January"),
)
POST = rows_of("To open, press", "for 7 days", "To: Mrs Wu", "From Potter Ltd", "From 1 May on")
STAY = rows_of("Total £402.00", "Deposit £80.00", "Due at hotel £322.00", "WiFi: guest / teapot88")
METER = rows_of("Day units 294 kWh 77.62", "Night units 112 kWh 15.79", "Total 93.41")
BOARD = rows_of(
    *("Laptop Aero", "Fault", "Screen flickers", "Double room", "No smokers", "Moving day 1 May"),
    *("Next service at 70,000 miles", "Machine takes coins only", "Fine £35 if paid now"),
    *("RESERVED", "for Ms Wu", "Piano lessons", "Up to grade 8", "The end"),
)
RECEIPT = rows_of("PAINT 24.99", "TAPE 2 @ 2.25 4.50", "TOTAL 29.49", "CASH 30.00", "Served by: Al")


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How warm is the room?", HEATER, "It says 20.8 °C."),
        ("How warm is the target room?", HEATER, "Next to “Target” it says 21.0 °C."),
        ("How did I pay?", RECEIPT, "closest: CASH 30.00"),
        ("Wie habe ich bezahlt?", RECEIPT, "CASH 30.00"),
        ("Who served me?", RECEIPT, "Next to “Served by” it says Al."),
        ("Is 2.25 right?", RECEIPT, "closest: TAPE 2 @ 2.25 4.50"),
        ("What do the things cost?", RECEIPT, "TAPE 2 @ 2.25\t4.50"),
        ("Who is this parcel for?", rows_of("EXPRESS PARCEL 24", "To: Jo"), "closest: To: Jo"),
        (
            "When is my appointment?",
            rows_of(
                "Your appointment on 1 May", "is off. Your new appointment is", "9 May", "J. Doe"
            ),
            "closest: Your appointment on 1 May is off. Your new appointment is; 9 May",
        ),
        (
            "What's Fran's number?",
            rows_of("Out by 10.30", "Questions? Text Fran", "07700 900 455"),
            "closest: Questions? Text Fran; 07700 900 455",
        ),
        ("How much was a litre?", PUMP, "It costs 1.459 per litre."),
        ("Did I pay cash?", PUMP, "closest: Paid: VISA DEBIT"),
        ("Can I pay by card?", BOARD, "closest: Machine takes coins only"),
        ("How many units did I use at night?", METER, "closest: Night units 112 kWh 15.79"),
        (
            "When is boxing?",
            rows_of("18:00 Boxing", "19:30 Boxing"),
            "closest: 18:00 Boxing; 19:30",
        ),
        ("When is the next service?", BOARD, "It reads: Next service at 70,000 miles"),
        ("When can I move in?", BOARD, "closest: Moving day 1 May"),
        ("What's wrong with the laptop?", BOARD, "closest: Laptop Aero; Fault; Screen flickers"),
        ("Can I smoke in the room?", BOARD, "closest: Double room; No smokers"),
        ("Who is the table reserved for?", BOARD, "closest: RESERVED; for Ms Wu"),
        ("What's the number for piano lessons?", BOARD, "closest: Piano lessons; Up to grade 8"),
        ("How much does a 7 year old take?", DOSES[:1] + SYRUP, "closest: 6 to 11 years 5 ml"),
        ("Can a 4 year old take it?", SYRUP, "closest: 2 - 5 years 2 ml"),
        ("How long does it keep once open?", TIN, "closest: Use within 6 weeks of opening"),
        ("How much was the ticket?", TIN, "It reads: Tickets can be sent back before May for £3"),
        ("What's the cheapest?", rows_of("Camera £35", "Wallet £4", "Scissors 50p"), "“Scissors”"),
        ("Which bin is it on the 15th?", BINS, "closest: Tue 15 Blue bin"),
        ("When is the black bin?", BINS, "It reads: Tue 8 Black bin"),
        ("When does it finish?", rows_of("Start 19:30", "Ends 21:50", "Row F"), "says 21:50"),
        (
            "When does the Carlisle train leave?",
            cells(("14:29", "Carlisle", "14:38"), ("14:35", "Leeds", "On time")),
            "It reads: 14:29 Carlisle 14:38",
        ),
        (
            "When do they close on the 29th?",
            rows_of("Monday 9-5", "Tuesday 9-5", "29 December 10-4"),
            "It reads: 29 December 10-4",
        ),
        ("How much do I still have to pay?", STAY, "closest: Due at hotel £322.00"),
        ("What's the wifi password?", STAY, "closest: WiFi: guest / teapot88"),
        (
            "When does the Saturday ferry leave?",
            cells(("Saturday", "09.00", "10:15"), ("Sunday", "11:00"), ("Saturday", "16:10")),
            "closest: Saturday 09.00 10:15; Saturday 16:10",
        ),
        ("Who is it for?", POST, "closest: To: Mrs Wu"),
        ("Who sent it?", POST, "closest: From Potter Ltd"),
        ("Qui l'a envoyé ?", POST, "From Potter Ltd"),
        ("How many litres did I get?", rows_of("Wash 5 L 6.50", "Litres 38.42", "P"), "38.42."),
        (
            "Is there anything vegetarian?",
            rows_of("Soup (v) 4.50", "Pie 5.00"),
            "closest: Soup (v)",
        ),
        ("Puedo pagar con tarjeta?", rows_of("Reservas", "No admitimos tarjetas"), "No admitimos"),
        ("How high can my van be?", rows_of("Maximum height 2.1 m", "No fires", "P"), "2.1 m"),
        (
            "When is it closed for cleaning?",
            rows_of("Thursday 10-18", "Friday 10-18"),
            "closest: Thursday 10-18; Friday 10-18",
        ),
        ("What does it say?", rows_of("1"), "closest: 1"),
        (
            "Are they open on Christmas Eve?",
            rows_of("Thursday 10-18", "Friday 10-18", "On holiday 21 December to 4 January"),
            "closest: On holiday 21 December to 4 January; Thursday 10-18; Friday 10-18",
        ),
    ],
)
def test_what_is_named_best_answers(question: str, rows: Sequence[Row], answer: str) -> None:
    assert answer in said_of(question, rows)
