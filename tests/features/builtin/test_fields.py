"""Reading order and the fields found in rows of text."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.builtin import codes, fields, locate, measures, prices, tables
from server.features.builtin.intents import Intent, understand
from server.features.builtin.lines import Piece, Row, legible, reading_order, row_of, upright
from server.features.builtin.wants import Want
from server.shared.aim import MOST_LINES


def piece(text: str, x: float, y: float, width: float = 100, height: float = 20) -> Piece:
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return Piece(text, 0.95, corners)


def turned(one: Piece, degrees: float) -> Piece:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Piece(
        one.text, one.score, tuple((x * cos - y * sin, x * sin + y * cos) for x, y in one.corners)
    )


RECEIPT = [
    piece("12.40", 500, 101),
    piece("Total", 100, 98),
    piece("Bread", 102, 40),
    piece("3.20", 505, 43),
    piece("CORNER SHOP", 200, 2),
]


@pytest.mark.parametrize("degrees", [0, 8, -8, 20])
def test_rows_read_from_top_to_bottom_and_left_to_right(degrees: float) -> None:
    """In whatever order the pieces came, and also when the text leans."""
    rows = reading_order([turned(one, degrees) for one in RECEIPT])
    assert [row.text for row in rows] == ["CORNER SHOP", "Bread 3.20", "Total 12.40"]


def test_pieces_of_different_height_share_a_row_only_when_level() -> None:
    """A big digit beside two small lines does not swallow both."""
    rows = reading_order(
        [piece("BIG", 0, 0, 100, 60), piece("up", 120, 2, 50, 14), piece("down", 120, 44, 50, 14)]
    )
    assert len(rows) == 3


def column(x: float, *lines: str, y: float = 100) -> list[Piece]:
    return [piece(line, x, y + 30 * n, 12 * len(line)) for n, line in enumerate(lines)]


def read(*pieces: Piece) -> list[str]:
    """The lines in reading order, with an empty one before each paragraph."""
    return [
        line for row in reading_order(pieces) for line in ([""] if row.apart else []) + [row.text]
    ]


STORY = ("The library in the", "old hall opened its", "doors in May. It has", "many books.")
REST = (
    "a room for readers",
    "and a small cafe. The",
    "town paid for it with",
    "some help of others.",
)
LIST = ("Espresso 2.20", "Latte 3.40", "Mocha 3.10", "Cocoa 3.80")
FOOD = ("Bagel 4.50", "Soup of the day 6.80", "Toast 5.20", "Cake 4.90")


@pytest.mark.parametrize("degrees", [0, 6])
@pytest.mark.parametrize(
    ("first", "second"), [(STORY, REST), (LIST, FOOD)], ids=["newspaper", "two lists"]
)
def test_columns_are_read_one_after_the_other(
    first: tuple[str, ...], second: tuple[str, ...], degrees: float
) -> None:
    """A headline across them, and a line below them, stand where they are."""
    whole = [
        piece("Over all columns of it", 100, 50, 500, 36),
        *column(100, *first),
        *column(420, *second),
        piece("Below both of them, and across", 100, 300, 500),
    ]
    lines = read(*(turned(one, degrees) for one in whole))
    assert [line for line in lines if line] == [
        "Over all columns of it",
        *first,
        *second,
        "Below both of them, and across",
    ]
    assert lines[lines.index(second[0]) - 1] == ""


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("Espresso", "Latte", "Mocha", "Cocoa"), ("2.20", "3.40", "3.10", "3.80")),
        (
            ("Name of customer", "Date of the order", "Payment method", "Kind of parcel"),
            ("Marta Kowalska", "20 November 2026", "Credit card 4471", "letter box"),
        ),
        (LIST, ("large 3.20", "large 4.40", "large 4.10", "large 4.80")),
    ],
    ids=["menu", "form", "sizes"],
)
def test_the_columns_of_a_table_are_read_by_row(
    left: tuple[str, ...], right: tuple[str, ...]
) -> None:
    pieces = [*column(100, *left), *column(420, *right)]
    assert read(*pieces) == [f"{a} {b}" for a, b in zip(left, right, strict=True)]


CONES = ("1 scoop", "2 scoops", "3 scoops", "99 with flake", "Waffle cone")
FLAVOURS = ("Flavours today", "Vanilla", "Salted caramel", "Strawberry (vegan)", "Mint")


@pytest.mark.parametrize("degrees", [0, 6])
def test_what_does_not_stand_on_the_same_lines_is_no_table(degrees: float) -> None:
    """Its own column is read after those beside it, between lines that go across."""
    costs = [piece(f"{n}.60", 420, 100 + 30 * n) for n in range(len(CONES))]
    flavours = [piece(one, 620, 105 + 25 * n, 200) for n, one in enumerate(FLAVOURS)]
    whole = [
        piece("Ice cream by the sea", 100, 50, 800, 36),
        *column(100, *CONES),
        *costs,
        *flavours,
        piece("Open daily from 11 to 6", 100, 300, 800),
    ]
    lines = read(*(turned(one, degrees) for one in whole))
    assert [line for line in lines if line] == [
        "Ice cream by the sea",
        *(f"{one} {n}.60" for n, one in enumerate(CONES)),
        *FLAVOURS,
        "Open daily from 11 to 6",
    ]


@pytest.mark.parametrize("slant", [0, 3, -3])
def test_a_table_that_is_seen_from_the_side_is_read_by_row(slant: float) -> None:
    """Its lines may drift against each other by a part of their height."""
    names = ("Guest", "Arrival", "Breakfast", "Reception", "Wi-Fi")
    values = ("Ms Ingrid Falk", "25 November", "first floor", "dial nine", "Seeblick")
    right = [piece(one, 420, 100 + (30 + slant / 4) * n, 160) for n, one in enumerate(values)]
    assert read(*column(100, *names), *right) == [
        f"{name} {value}" for name, value in zip(names, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("row", "weight"),
    [
        ("NET WT 10 1/2 OZ (298 g)", "10 1/2 OZ"),
        ("Net weight 5¾ lb", "5¾ lb"),
        ("3-1/2 OZ", "3-1/2 OZ"),
        ("1/2 lb of butter", "1/2 lb"),
        ("⅔ oz", "⅔ oz"),
        # As it is read of small print
        ("NET WT 153/4 OZ", "15 3/4 OZ"),
        ("NET WT 41/3 OZ", "4 1/3 OZ"),
        # No fractions
        ("100/250 g", "100/250 g"),
        ("2 x 125 g", "2 x 125 g"),
    ],
)
def test_a_weight_has_its_whole_figure(row: str, weight: str) -> None:
    assert [one.text for one in measures.measures([row_of(row)], Want.WEIGHT)][:1] == [weight]


CARD = ("LOST CAT", "Grey tabby tom, shy.", "Last seen on Sunday", "near the allotments.")
NOTE = ("Piano lessons", "Beginners to grade 8", "First lesson is free", "Call us after 5 pm")
DAYS = ("Monday", "Tuesday", "Thursday", "Friday")


def test_cards_and_timetables_side_by_side_are_read_one_after_the_other() -> None:
    """Both stand on the same lines."""
    assert read(*column(100, *CARD), *column(420, *NOTE)) == [*CARD, "", *NOTE]
    tables = [
        piece
        for x, hour in ((100, 7), (500, 9))
        for piece in (*column(x, *DAYS), *column(x + 200, *(f"{hour}-1{n}" for n in range(4))))
    ]
    assert read(*tables) == [
        *(f"{day} 7-1{n}" for n, day in enumerate(DAYS)),
        "",
        *(f"{day} 9-1{n}" for n, day in enumerate(DAYS)),
    ]


def test_a_small_caption_stands_beside_the_value_below_it() -> None:
    """Also where one of them has none."""
    captions = [
        piece(one, x, 100, 80, 18) for x, one in ((100, "From"), (300, "Date"), (500, "Bags"))
    ]
    values = [piece(one, x, 124, 120, 26) for x, one in ((100, "Oban"), (300, "28 Nov"))]
    below = piece("Gates close early.", 100, 190, 500, 18)
    assert read(*captions, *values, below)[:4] == ["Bags", "From Oban", "Date 28 Nov", ""]


def test_the_heads_of_a_table_are_no_captions() -> None:
    heads = [piece(one, x, 100, 80, 18) for x, one in ((100, "Guest"), (300, "Points"))]
    rows = [
        piece(one, x, 130 + 30 * n, 100, 22)
        for n in range(3)
        for x, one in ((100, f"Player {n}"), (300, f"{n}7"))
    ]
    assert read(*heads, *rows) == ["Guest Points", *(f"Player {n} {n}7" for n in range(3))]


def test_a_paragraph_begins_where_more_room_is_above_it() -> None:
    letter = [
        *column(100, "Dear neighbours,", "the water is off", "from 8 to 11."),
        *column(100, "Your house manager", y=240),
    ]
    assert read(*letter) == [*(one.text for one in letter[:3]), "", "Your house manager"]


def test_dots_between_a_thing_and_its_price_are_no_text() -> None:
    assert read(*column(100, "Soup.......4.50", "Wait ... 3 min", "and so on...")) == [
        "Soup 4.50",
        "Wait ... 3 min",
        "and so on...",
    ]


def test_many_pieces_are_put_in_order_in_little_time() -> None:
    """In whatever way they lie, three times as many as are read take no second."""
    rng = random.Random(5)
    for text in ("and so on with 3.40", "m", "soup of the day"):
        spots = [(rng.uniform(0, 4000), rng.uniform(0, 3000)) for _ in range(3 * MOST_LINES)]
        pieces = [piece(text, x, y, 12 * len(text)) for x, y in spots]
        began = time.process_time()
        assert len(reading_order(pieces)) > 10
        assert time.process_time() - began < 1


def test_nothing_gives_no_rows() -> None:
    """An empty picture has no text."""
    assert reading_order([]) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["Packed 01.01.2026", "Best before 12.03.2027"], "12.03.2027"),
        (["Mindestens haltbar bis:", "12.03.2027"], "12.03.2027"),
        (["EXP. 2027-03"], "2027-03"),
        (["Packed 01.01.2026"], None),
    ],
)
def test_the_expiry_date_is_the_one_called_so(rows: list[str], expected: str | None) -> None:
    """In its row or in the next; another date is not taken for it."""
    found = fields.expiry(rows)
    assert (found.text if found else None) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["3,49 EUR"], ["3,49 EUR"]),
        (["€3.49"], ["€3.49"]),
        (["$ 1,299.00 each"], ["$ 1,299.00"]),
        (["Bread 3.20 €", "Total 12.40 €"], ["3.20 €", "12.40 €"]),
        (["Total 12.40"], ["12.40"]),
        (["450 g"], []),
        (["12.03.2027"], []),
        (["Version 3.20"], []),
    ],
)
def test_prices_need_a_currency_or_a_row_that_speaks_of_one(
    rows: list[str], expected: list[str]
) -> None:
    assert prices.prices(rows) == expected


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.234,50 €", "1234.50"),
        ("¥1,200", "1200"),
        ("3,40", "3.40"),
        ("12.50-", "12.50"),
        ("CHF 1'234.50", "1234.50"),
        ("12.-", "12"),
        ("2 490,00 zł", "2490.00"),
    ],
)
def test_the_amount_of_a_price_in_any_notation(text: str, amount: str) -> None:
    assert prices.amount(text) == Decimal(amount)
    assert prices.priced(row_of(f"Thing {text}")) is not None


def test_contacts_are_told_apart() -> None:
    """Phone, mail and address on one card; the barcode's digits are no phone number."""
    rows = ["Call +49 30 1234567", "info@example.org", "www.example.org/jam.", "4006381333931"]
    assert fields.phones(rows) == ["+49 30 1234567"]
    assert fields.emails(rows) == ["info@example.org"]
    assert fields.urls(rows) == ["www.example.org/jam"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Tel. 030/1234567", ["030/1234567"]),
        ("(030) 123 45 67", ["(030) 123 45 67"]),
        ("0900-000 22 18 (8 – 17 uur)", ["0900-000 22 18"]),
        ("Hotline 555-0199-22", ["555-0199-22"]),
        ("Order 20271234567", []),
        ("01.02.2026", []),
    ],
)
def test_phone_numbers_look_like_one_or_are_called_one(row: str, expected: list[str]) -> None:
    """Long digits alone are not dialled."""
    assert fields.phones([row]) == expected


def test_times_and_numbers() -> None:
    """A time is no price; a number keeps what belongs to it."""
    assert fields.times(["Departs 14:35, arrives 9:05 pm"]) == ["14:35", "9:05 pm"]
    assert fields.numbers(["Gate B12, seat 14A.", "LOT 4471-B"]) == ["B12", "14A", "4471-B"]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("gluten free", True),
        ("GLUTEN-FREE", True),
        ("gluten frae", True),
        ("milk", False),
        ("oat", True),
        ("goat", False),
        ("", False),
    ],
)
def test_says_forgives_a_misread_letter_in_long_words_only(target: str, found: bool) -> None:
    """Case, spaces and hyphens do not matter."""
    assert (fields.says(["Oat drink", "Gluten free"], target) is not None) is found


def rows_of(*texts: str) -> list[Row]:
    return [row_of(text) for text in texts]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["total"], "12.40"),
        (["gate"], "B12"),
        (["flugsteig"], "B12"),
        (["serial"], "SN 881-22"),
        (["dog"], None),
    ],
)
def test_a_value_stands_beside_or_below_its_word(words: list[str], expected: str | None) -> None:
    """A row that only names a thing takes the next one with it; a sign's word may be in another
    language.
    """
    rows = rows_of("Total 12.40", "Gate B12", "Serial:", "SN 881-22")
    found = tables.beside(rows, words)
    assert (found.value if found else None) == expected


def test_a_cell_is_found_by_its_row_and_its_column() -> None:
    """Whatever stands between them."""
    table = [
        *(piece(text, x, 0) for x, text in ((0, "Time"), (300, "To"), (600, "Platform"))),
        *(piece(text, x, 40) for x, text in ((0, "14:35"), (300, "Berlin"), (600, "7"))),
        *(piece(text, x, 80) for x, text in ((0, "14:52"), (300, "Bonn"), (600, "12"))),
    ]
    found = tables.crossing(reading_order(table), ["platform", "bonn"])
    assert found is not None
    assert (found.label, found.column, found.value) == ("Bonn", "Platform", "12")
    assert tables.crossing(reading_order(table), ["platform", "paris"]) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["Milk 1L 1.20", "Bananas 1.2 kg 2.40", "TOTAL EUR 14.35"], "EUR 14.35"),
        (["Subtotal 12.06", "VAT 2.29", "Total 14.35", "Cash 20.00"], "14.35"),
        (["Total HT 12,06", "TVA 2,29", "Total TTC 14,35 €"], "14,35 €"),
        (["Summe", "8,50"], "8,50"),
        (["合计 ¥46.00"], "¥46.00"),
        (["Total items 3"], None),
        (["Bread 3.20"], None),
    ],
)
def test_the_total_is_the_sum_that_is_called_so(rows: list[str], expected: str | None) -> None:
    """Not the subtotal, the tax, the cash or the number of things."""
    found = prices.total(rows_of(*rows))
    assert (found.text if found else None) == expected


RECEIPTS = {
    "de": ["Zwischensumme 10,00", "Zu zahlen 12,00", "Bar 20,00", "Rückgeld 8,00"],
    "fr": ["Sous-total 10,00", "TOTAL TTC 12,00", "Espèces 20,00", "Rendu 8,00"],
    "es": ["Subtotal 10,00", "TOTAL A PAGAR 12,00", "Efectivo 20,00", "Cambio 8,00"],
    "it": ["Subtotale 10,00", "TOTALE COMPLESSIVO 12,00", "Contanti 20,00", "Resto 8,00"],
    "pt": ["Subtotal 10,00", "IVA 2,00", "Total a pagar 12,00", "Dinheiro 20,00", "Troco 8,00"],
    "nl": ["Subtotaal 10,00", "BTW 21% 2,00", "Totaal 12,00", "Contant 20,00", "Wisselgeld 8,00"],
    "pl": ["Suma PTU 2,00", "Do zapłaty 12,00", "Gotówka 20,00", "Reszta 8,00"],
    "tr": ["Ara toplam 10,00", "TOPKDV 2,00", "TOPLAM 12,00", "Nakit 20,00", "Para üstü 8,00"],
    "zh": ["小计 14.00", "优惠 2.00", "应付金额 12.00", "现金 20.00", "找零 8.00"],
    "ja": ["小計 10.00", "消費税 2.00", "合計(税込) 12.00", "お預り 20.00", "お釣り 8.00"],
}


@pytest.mark.parametrize("language", RECEIPTS)
def test_a_receipt_is_understood_in_its_language(language: str) -> None:
    """Its sum and the change, in each language whose letters are read."""
    rows = rows_of("Milk 12,00", *RECEIPTS[language])
    found, back = prices.total(rows), prices.money_back(rows)
    assert found is not None
    assert back is not None
    assert found.text.replace(",", ".") == "12.00"
    assert back.text.replace(",", ".") == "8.00"
    assert [one.label for one in prices.bill(rows)] == ["Milk"]


@pytest.mark.parametrize(
    "row",
    [
        "Preferibilmente entro 12/03/2027",
        "Consumir até 12/03/2027",
        "Houdbaar tot 12/03/2027",
        "Należy spożyć do 12/03/2027",
        "Son kullanma tarihi 12/03/2027",
        "保质期至 12/03/2027",
        "賞味期限 12/03/2027",
    ],
)
def test_a_labels_date_is_understood_in_its_language(row: str) -> None:
    """Behind the words that packages have."""
    found = fields.expiry(["Packed 01.01.2026", row])
    assert found is not None
    assert found.text == "12/03/2027"


@pytest.mark.parametrize(
    ("row", "price", "unit"),
    [
        ("7,98 €/kg", "7,98 €", "kg"),
        ("1 kg = 3,98 €", "3,98 €", "kg"),
        ("0.79 EUR per 100 g", "0.79 EUR", "100 g"),
        ("Grundpreis: 2,49 €/l", "2,49 €", "l"),
        ("3,20 € le kg", "3,20 €", "kg"),
    ],
)
def test_a_price_by_the_kilo_keeps_its_figure_and_unit(row: str, price: str, unit: str) -> None:
    """Nothing is computed."""
    found = prices.unit_prices(rows_of("Tomatoes 1,99 €", row))
    assert [(one.text, one.label) for one in found] == [(price, unit)]


@pytest.mark.parametrize(
    ("want", "row", "expected"),
    [
        (Want.TEMPERATURE, "21.7 °C", "21.7 °C"),
        (Want.TEMPERATURE, "21. 7 °C", "21.7 °C"),
        (Want.TEMPERATURE, "-5,2°C", "-5,2°C"),
        (Want.TEMPERATURE, "21.7 C", "21.7 C"),
        (Want.POWER, "1200 W 230 V", "1200 W"),
        (Want.POWER, "1,200 W", "1,200 W"),
        (Want.VOLTAGE, "220-240 V~ 50/60 Hz", "220-240 V"),
        (Want.FREQUENCY, "220-240 V~ 50/60 Hz", "50/60 Hz"),
        (Want.ENERGY, "1850 kJ / 442 kcal", "442 kcal"),
        (Want.WEIGHT, "Net wt. 450 g", "450 g"),
        (Want.PERCENT, "Fat 3,5 %", "3,5 %"),
        (Want.POWER, "Room 12", None),
    ],
)
def test_a_figure_is_whole_and_has_the_unit_asked_for(
    want: Want, row: str, expected: str | None
) -> None:
    """21.7 °C is not 7 °C."""
    found = measures.measures(rows_of(row), want)
    assert (found[0].text if found else None) == expected


@pytest.mark.parametrize(
    ("row", "days"),
    [
        ("mon - fri 9:00 - 18:00", {0, 1, 2, 3, 4}),
        ("sa + so geschlossen", {5, 6}),
        ("lunes a viernes", {0, 1, 2, 3, 4}),
        ("sabado 10:00", {5}),
        ("fri - mon", {4, 5, 6, 0}),
        ("周一至周五", {0, 1, 2, 3, 4}),
        ("daily 8-20", set(range(7))),
        ("price 3.20", set()),
    ],
)
def test_days_of_the_week_are_found_in_any_language(row: str, days: set[int]) -> None:
    """Alone and from one to another."""
    assert fields.weekdays(row) == days


def test_hours_below_their_days_belong_to_them() -> None:
    """A row of days without hours waits for the next one."""
    found = fields.openings(rows_of("Mon - Fri", "9:00 - 18:00", "Sunday closed"))
    assert [one.text for one in found] == ["Mon - Fri 9:00 - 18:00", "Sunday closed"]


@pytest.mark.parametrize(
    ("text", "name", "password"),
    [
        ("WIFI:T:WPA;S:Guest House;P:blue;;", "Guest House", "blue"),
        ("WIFI:S:a\\;b;P:x\\:\\\\y;T:WPA2;;", "a;b", "x:\\y"),
        ("WIFI:T:nopass;S:Open;;", "Open", ""),
    ],
)
def test_a_wifi_code_is_taken_apart(text: str, name: str, password: str) -> None:
    """With what is escaped in it."""
    found = codes.network([codes.Code(text, "QR Code")])
    assert found is not None
    assert (found.name, found.password) == (name, password)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://menu.example.org/table/7", "menu.example.org"),
        ("https://bank.example.com@evil.example.org/login", "evil.example.org"),
        ("www.example.org:8080/x", "www.example.org"),
        ("http://[bad", "http://[bad"),
        # A Cyrillic letter in place of a Latin one
        ("https://www.\u0430pple.com/", "www.xn--pple-43d.com"),
    ],
)
def test_a_link_leads_where_a_browser_would_go(url: str, host: str) -> None:
    """The part before an @ is no address."""
    assert codes.host(url) == host


LONG = "https://example.org/?" + "a" * 1979


@pytest.mark.parametrize(
    ("text", "use", "value"),
    [
        ("https://example.org/menu?table=7", "open", None),
        ("HTTP://EXAMPLE.ORG/7", "open", None),
        ("www.example.org", "open", "https://www.example.org"),
        (LONG, "open", None),
        (LONG + "a", "text", None),
        # None of these is opened.
        ("javascript:alert(document.cookie)", "text", None),
        ("data:text/html,<script>alert(1)</script>", "text", None),
        ("https://bank.example.com@evil.example.org/", "text", None),
        ("https://", "text", None),
        ("http://[bad", "text", None),
        ("https://example.org:99999/", "text", None),
        ("https://example.org/ and more", "text", None),
        ("intent://example.org#Intent;scheme=http;end", "text", None),
        ("WIFI:T:WPA;S:a\\;b;P:x\\:\\\\y\\;;;", "password", "x:\\y;"),
        ("tel:+49 30 1234567", "phone", "+49 30 1234567"),
        ("SMSTO:+49301234567:Hello", "phone", "+49301234567"),
        # A number that dials a service of the network
        ("tel:*#06#", "text", None),
        ("mailto:anna@example.org?subject=Hi", "email", "anna@example.org"),
        ("MATMSG:TO:anna@example.org;SUB:Hi;BODY:Yes;;", "email", "anna@example.org"),
        ("BEGIN:VCARD\nVERSION:3.0\nN:Berger;Anna\nEND:VCARD", "contact", None),
        ("MECARD:N:Berger,Anna;TEL:030;;", "contact", None),
        ("BEGIN:VEVENT\nSUMMARY:Tea\nEND:VEVENT", "event", None),
        ("4006381333931", "text", None),
    ],
)
def test_a_code_offers_what_it_is_for(text: str, use: str, value: str | None) -> None:
    """An address to open, or something to copy; None: all of it."""
    (one,) = codes.offered([codes.Code(text[:9], "QR Code", whole=text)])
    assert (one.use, one.value) == (use, text if value is None else value)


def test_an_open_network_offers_nothing_and_two_same_codes_offer_one_thing() -> None:
    assert codes.offered([codes.Code("WIFI:T:nopass;S:Cafe;;", "QR Code")]) == ()
    assert len(codes.offered([codes.Code("12", "EAN-8"), codes.Code("12", "QR Code")])) == 1


@pytest.mark.parametrize(
    ("text", "width", "height", "kept"),
    [
        ("O", 330, 330, False),
        ("0", 330, 330, False),
        ("●", 330, 330, False),
        ("0", 60, 110, True),
        ("OO", 660, 330, False),
        ("OK", 60, 40, True),
        ("800", 100, 50, True),
        ("—", 90, 10, False),
    ],
)
def test_round_things_are_no_letters(text: str, width: int, height: int, kept: bool) -> None:
    """A letter is narrower than it is high; a disc is not."""
    pieces, unread = legible([piece(text, 100, 100, width, height)])
    assert (pieces != []) is kept
    assert not unread


@pytest.mark.parametrize(
    ("text", "score", "kept"),
    [
        ("Best before 12.03.2027", 0.85, True),
        # Of what was drawn and blurred, nothing so unsure was right.
        ("Strauberry jam 45e g", 0.78, False),
        ("Salad ..... 5.20", 0.74, True),
        ("wwwmwwwmm", 0.99, False),
        ("++++ +++", 0.99, False),
        ("***", 0.99, False),
        ("mama", 0.99, True),
        ("0000", 0.99, True),
    ],
)
def test_print_that_is_read_with_doubt_is_left_out(text: str, score: float, kept: bool) -> None:
    pieces, unread = legible([replace(piece(text, 0, 0, 12 * len(text)), score=score)])
    assert (pieces != []) is kept
    assert unread is (not kept and score < 0.8)


@pytest.mark.parametrize("text", ["600600", "000日", "日0一日日0", "日000日0"])
def test_a_row_of_coins_is_no_print(text: str) -> None:
    row = replace(piece(text, 0, 0, 40 * len(text)), score=0.45)
    assert legible([row]) == ([], False)


def test_a_letter_is_not_many_times_wider_than_high() -> None:
    assert legible([piece("w", 0, 0, 900, 40)]) == ([], False)


@pytest.mark.parametrize(
    ("read", "printed"),
    [("Pie I5.95", "Pie 15.95"), ("+ 12 zt", "+ 12 zł"), ("I5 or l2.5", "I5 or l2.5")],
)
def test_signs_of_prices_are_mended(read: str, printed: str) -> None:
    assert [one.text for one in legible([piece(read, 0, 0)])[0]] == [printed]


@pytest.mark.parametrize("text", ["J", "88", "–1"])
def test_noise_is_no_word(text: str) -> None:
    """Of a sign or two alone the reader has to be sure; beside a figure they are its unit."""
    doubtful = replace(piece(text, 400, 300, 12 * len(text)), score=0.9)
    assert legible([doubtful])[0] == []
    assert legible([replace(doubtful, score=0.95)])[0] != []
    figure = piece("21.7", 300, 300)
    beside = replace(piece(text, 300 + figure.width + 3, 300, 12 * len(text)), score=0.75)
    assert len(legible([figure, beside])[0]) == 2


@pytest.mark.parametrize("text", ["ΠpuBeT", "αλρα"])
def test_words_in_letters_that_are_not_known_are_left_out(text: str) -> None:
    """A mixture of Greek and Latin letters is Cyrillic, misread; and the answer says that."""
    assert legible([piece(text, 0, 0)]) == ([], True)


def test_a_small_unit_belongs_to_the_figure_beside_it() -> None:
    """Though it stands higher than the figure's middle, and its decimals, too."""
    rows = reading_order(
        [
            piece("21", 100, 100, 200, 160),
            piece(".7", 310, 180, 60, 80),
            piece("°C", 390, 100, 60, 60),
            piece("Indoor", 100, 300, 100, 30),
        ]
    )
    assert [row.text for row in rows] == ["21.7 °C", "Indoor"]


@pytest.mark.parametrize("quarters", [0, 1])
def test_print_that_runs_down_is_turned(quarters: int) -> None:
    """A picture held sideways reads in the same order."""
    pieces = [turned(one, 90 * quarters) for one in RECEIPT]
    if quarters:
        # The reader names corners by where they are, not by where the print begins.
        pieces = [Piece(one.text, one.score, one.corners[3:] + one.corners[:3]) for one in pieces]
    rows = [row.text for row in reading_order(upright(pieces))]
    assert rows == ["CORNER SHOP", "Bread 3.20", "Total 12.40"]


@given(st.text(max_size=120))
def test_no_text_breaks_the_finders(text: str) -> None:
    """Whatever the reader makes of a scene, the finders answer with pieces of it."""
    rows = [text]
    for find in (
        prices.prices,
        fields.emails,
        fields.urls,
        fields.phones,
        fields.times,
        fields.numbers,
    ):
        assert isinstance(find(rows), list)
    fields.expiry(rows)
    fields.says(rows, text)
    made = [row_of(text)]
    prices.total(made)
    prices.unit_prices(made)
    prices.item(made, text.split())
    tables.beside(made, text.split())
    fields.openings(made)
    for want in Want:
        measures.measures(made, want)
    codes.network([codes.Code(text, "QR Code")])
    codes.host(text)
    legible([piece(text, 0, 0)])


def test_a_value_stands_in_larger_print_below_its_caption() -> None:
    """Not the next caption; in print of one size, a label's value stands beside it."""
    form = [("Name", 100, 100, 20), ("Blood group", 500, 100, 20), ("Farida", 100, 135, 30)]
    card = [piece(text, x, y, 120, high) for text, x, y, high in form]
    card.append(piece("O neg", 500, 180, 200, 40))
    found = tables.beside(reading_order(card), ["blood", "group"])
    assert found is not None
    assert (found.label, found.value) == ("Blood group", "O neg")
    pairs = [("Name", 100, 100), ("Ann", 500, 100), ("Town", 100, 130), ("York", 500, 130)]
    found = tables.beside(reading_order([piece(*one) for one in pairs]), ["name"])
    assert found is not None
    assert found.value == "Ann"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "BEGIN:VCARD\nN:Petrov;Nadia\nFN:Nadia Petrov\nitem1.TEL;TYPE=CELL:0770 090\nEND:VCARD",
            "Nadia Petrov; 0770 090",
        ),
        ("MECARD:N:Petrov,Nadia;TEL:07700900318;;", "Petrov,Nadia; 07700900318"),
        (
            "BEGIN:VEVENT\nDTSTART:20261201T193000\nSUMMARY:Jazz\\, late\nEND:VEVENT",
            "Jazz, late; 2026-12-01 19:30",
        ),
        ("BEGIN:VCARD\nX-A:1", "BEGIN:VCARD\nX-A:1"),
        ("tel:5", "tel:5"),
    ],
)
def test_a_contact_and_an_event_are_told_by_their_values(text: str, shown: str) -> None:
    assert codes.told(text) == shown


def test_days_side_by_side_are_the_heads_of_a_table() -> None:
    """They have no hours of their own."""
    heads = [piece("Hour", 100, 100), piece("Saturday", 300, 100), piece("Sunday", 500, 100)]
    table = reading_order([*heads, piece("12 - 18", 100, 150), piece("every 30 min", 300, 150)])
    assert all(not one.days for one in fields.openings(table))


def test_a_word_of_several_lines_is_only_mentioned() -> None:
    """A card about a parcel does not show where it lies; two signs of one word are what they say."""
    card = [piece("Your parcel is", 100, 100), piece("We keep parcels", 100, 150)]
    intent = Intent(Want.LOOKUP, "en", words=("parcel",))
    found = locate.text_boxes(card, intent, "Where is my parcel?")
    assert locate.mentions(card, found) == ["Your parcel is", "We keep parcels"]
    named = [piece("Your parcel is with:", 100, 100), piece("Mr Ash", 400, 100), *card[1:]]
    told = locate.mentions(named, locate.text_boxes(named, intent, "Where is my parcel?"))
    assert told == ["Your parcel is with: Mr Ash", "We keep parcels"]
    assert locate.mentions(card[:1], found[:1]) == []
    signs = [piece("Exit", 100, 100), piece("Exit", 500, 100)]
    intent = Intent(Want.LOOKUP, "en", words=("exit",))
    assert locate.mentions(signs, locate.text_boxes(signs, intent, "Where is the exit?")) == []
    # Beside a figure it is told as a row: the floor, the gate or the price.
    board = [piece("3", 50, 100, 20), piece("Eye clinic", 300, 100), piece("Offices", 300, 150)]
    for question, told in (
        ("Where is the eye clinic?", ["3 Eye clinic"]),
        ("Where are the offices?", []),
    ):
        found = locate.text_boxes(board, understand(question), question)
        assert locate.mentions(board, found) == told
    # What says more of where than its place on the sign is told as a whole.
    way = [piece("Exit behind the mill", 100, 100, 300)]
    (box,) = locate.text_boxes(way, intent, "Where is the exit?")
    assert box.label == "Exit behind the mill"


def test_price_tags_side_by_side_are_read_one_after_the_other() -> None:
    """A table's heads with a row of figures below them stay rows."""
    tags = [
        piece(text, 100 + 400 * n, y, 200)
        for y, texts in (
            (100, ("Oat milk", "Soy milk", "Rice milk")),
            (150, ("1.79 €", "2.49 €", "2.10 €")),
            (200, ("1.79 €/l", "2.49 €/l", "1.40 €/l")),
        )
        for n, text in enumerate(texts)
    ]
    assert [row.text for row in reading_order(tags)] == [
        *("Oat milk 1.79 €", "1.79 €/l", "Soy milk 2.49 €", "2.49 €/l", "Rice milk 2.10 €", "1.40 €/l"),
    ]  # fmt: skip
    table = [piece("Tea", 100, 100), piece("small", 500, 100), piece("Mocha", 100, 150)]
    table.append(piece("3.10", 500, 150))
    assert [row.text for row in reading_order(table)] == ["Tea small", "Mocha 3.10"]
    # Offers: their prices are larger, and not right below; those of a menu in two columns are not.
    for size, rows in (
        (40, ["Gouda 2.49", "400 g", "1 kg = 6.23", "Bananas 1.19", "1 kg", "Ecuador"]),
        (20, ["Gouda Bananas", "400 g 1 kg", "1 kg = 6.23 2.49 Ecuador 1.19"]),
    ):
        offers = [
            *(piece("offer", 100, 60, 80, 14), piece("offer", 600, 60, 80, 14)),
            *(piece("Gouda", 100, 100, 200), piece("Bananas", 600, 100, 200)),
            *(piece("400 g", 100, 150), piece("1 kg", 600, 150)),
            *(piece("1 kg = 6.23", 100, 200), piece("2.49", 350, 200, height=size)),
            *(piece("Ecuador", 600, 200), piece("1.19", 850, 200, height=size)),
        ]
        assert [row.text for row in reading_order(offers)] == ["offer offer", *rows]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("Départs avant 11 h", ["11 h"]),
        ("Piscine : 10 h - 20 h", ["10 h", "20 h"]),
        ("Arrivées de 14 h à 19 h", ["14 h", "19 h"]),
        ("Beginn 16.30 Uhr, Einlass ab 16 Uhr", ["16.30 Uhr", "16 Uhr"]),
        ("Stationnement limité à 2 h", []),
        ("Lessive 12 h", []),
    ],
)
def test_an_hour_alone_is_a_time_where_it_is_written_as_one(row: str, found: list[str]) -> None:
    """It may be a duration."""
    assert fields.times([row]) == found


@pytest.mark.parametrize(
    ("box", "dose"),
    [
        (
            ("Ibuprofen 200 mg", "24 tablets", "Take 1 tablet every 6 hours", "Keep out of reach"),
            "Take 1 tablet every 6 hours",
        ),
        (
            ("Hustensaft", "100 ml", "Dreimal täglich 5 ml einnehmen", "Apothekenpflichtig"),
            "Dreimal täglich 5 ml einnehmen",
        ),
        (
            ("Vitamin D", "60 capsules", "Adults: one capsule", "a day with food", "Batch 7"),
            "Adults: one capsule a day with food",
        ),
    ],
)
def test_the_dose_is_its_sentence_and_not_the_whole_box(box: tuple[str, ...], dose: str) -> None:
    assert fields.dose([row_of(one) for one in box]) == dose


@pytest.mark.parametrize("label", ["Allergens", "Colour", "Room"])
def test_what_begins_a_paragraph_is_no_value_of_the_label_above(label: str) -> None:
    below = replace(row_of("Thank you for your visit"), apart=True)
    assert tables.beside([row_of(label), below], [label.lower()]) is None
    near = tables.beside([row_of(label), row_of("none")], [label.lower()])
    assert near is not None
    assert near.value == "none"
