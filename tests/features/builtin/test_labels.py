"""A question is answered by the row, the section or the column that it names, and not by a row like it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from server.features.builtin.lines import Cell, Piece, Row, reading_order, row_of
from tests.features.builtin.test_compose import cells, said_of
from tests.features.builtin.test_fields import piece, rows_of

HIRE = cells(
    ("Driver", "Ingrid Solberg"),
    ("Additional driver", "Per Solberg"),
    ("Vehicle", "Skoda Fabia, dark blue"),
    ("Registration", "LK71 VRD"),
    ("Return", "Mon 23 Nov, Bath Station"),
)
WARD = rows_of(
    *("Ward 6B - Rowan", "Orthopaedics · Level 3", "Visiting: 2 pm – 4 pm"),
    *("No more than two visitors per bed", "Meals: 12–1 pm and 5–6 pm (no visitors)"),
)
TRIP = cells(
    ("Monday", "7.15 meeting point school yard"),
    ("Tuesday", "Mudflat walk with Onno, wear boots!"),
    ("Wednesday", "Shell museum, campfire in the evening"),
)
TRAIN = rows_of(
    "16:14 Birkenau Gleis 3", "16:41 Seebruck Gleis 2", "S 2 nach Mühltal 16:33, Gleis 4"
)
STARS = (
    Row("Leo", 30, row_of("Leo").cells, apart=True),
    *rows_of("Your boss notices your work.", "Lucky number 8."),
    Row("Libra", 30, row_of("Libra").cells),
    *rows_of("Somebody near you is jealous.", "Lucky number 21."),
)


WASH = cells(
    ("2 Classic", "£8"),
    ("foam, brushes, dry, 7 min",),
    ("3 Deluxe", "£11"),
    ("Classic + wheels + underbody, 9 min",),
)
TOOLS = cells(
    ("DUGGAN TOOL HIRE",),
    ("Tool", "Half day", "Day", "Weekend"),
    ("Floor sander", "£24", "£38", "£60"),
    ("Hedge trimmer", "£11", "£17", "£27"),
    ("Rotavator", "£45", "£72", "£150"),
    *((text,) for text in ("Over 18s only.", "Bring photo ID.", "Closed Sunday", "Late back: £5")),
)
LIFT = cells(
    ("Type", "Passenger"), ("Maker", "Otterbein & Sons"), ("Inspector", "Lucille Barragan")
)
HEAP = rows_of(
    *("What goes on the heap?", "Yes please", "• Tea leaves", "• Egg shells"),
    *("No thanks", "• Meat, fish and bones", "• Cooked food", "Turn it every three weeks."),
)
BILL = rows_of(
    "X-ray, left front leg 96.00", "TOTAL 239.64", "Paid: 100.00", "Still to pay: 139.64"
)


RAIL = cells(
    ("SEAT RESERVATION",),
    ("TRAIN", "COACH", "SEAT"),
    ("NS 218", "F", "46"),
    ("FROM", "TO", "DEPARTS", "ARRIVES"),
    ("Carlisle", "Crewe", "16:52", "19:07"),
    *((text,) for text in ("Not a ticket", "Quiet zone", "Window", "Table")),
)
BOATS = cells(("Canoe (up to 3)", "$20"), ("Pedal boat (5)", "$25"), ("Late boats pay $10",))
BREAD = rows_of(
    "Roll 0,45 €", "Loaf of the week: walnut, before 5,60 € now 4,50 €", "Shut on Sunday"
)
BIKE = cells(
    ("Brought on Friday 20 November, ready on Tuesday after 3 pm",),
    ("new rear tyre", "£32.50"),
    ("rear lamp", "£14.95"),
    ("total", "£47.45"),
    ("Deposit paid: £20 (card)",),
)
NOTICE = rows_of(
    "The water to all plots will be off from Monday 30",
    "November until 1 March. Please empty your",
    "barrels.",
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("Which seat is mine?", RAIL, "Next to “SEAT” it says 46."),
        ("When do we get to Crewe?", RAIL, "under “ARRIVES”, it says 19:07."),
        ("How many fit in the pedal boat?", BOATS, "Pedal boat (5)"),
        ("How much is the walnut loaf?", BREAD, "now 4,50 €"),
        ("How much is the total?", BIKE, "The total is £47.45.\nThe row reads: total £47.45"),
        ("How much is already paid?", BIKE, "Deposit paid: £20 (card)"),
        ("When is the water off?", NOTICE, "from Monday 30 November until 1 March."),
        (
            "Bis wann gibts was zu essen?",
            rows_of("Küche bis 19.30", "Geöffnet bis 4. Oktober", "Hunde im Stall"),
            "Am nächsten kommt: Küche bis 19.30",
        ),
        (
            "Come si chiama l'autista?",
            rows_of("TAXI", "Vietato fumare", "Conducente: Ivano Belloni"),
            "scritto Ivano Belloni",
        ),
        ("How long does the Classic take?", WASH, "2 Classic £8; foam, brushes, dry, 7 min"),
        ("How much for the floor sander for a day?", TOOLS, "under “Day”, it says £38."),
        ("Do they hire out ladders?", TOOLS, "What I read: "),
        ("Who made it?", LIFT, "Next to “Maker” it says Otterbein & Sons."),
        ("Who inspected it?", LIFT, "Lucille Barragan"),
        ("Can bones go on the heap?", HEAP, "No thanks; • Meat, fish and bones"),
        ("How much is left to pay?", BILL, "The total is 139.64."),
        (
            "What did they get in total?",
            rows_of("Entry £2 a head", "First prize £60 or a hat", "C"),
            "no row",
        ),
        (
            "How many pieces are in it?",
            rows_of("Easy (2 of 5) · 9 pattern pieces · £9.95"),
            "It reads: 9 pattern pieces",
        ),
        (
            "Who wrote this?",
            rows_of("The bag is full.", "Love, Mina x", "PS: ring him back"),
            "Love, Mina",
        ),
        (
            "What can I eat?",
            rows_of("There's half a pie on the shelf,", "eat it by tomorrow!"),
            "half a pie",
        ),
        (
            "What is wrong with the leg?",
            rows_of("X-ray, leg 96.00", "Findings: sprain"),
            "Findings: sprain",
        ),
        (
            "Which channel has the lighthouse film?",
            rows_of("Channel One", "5.30 Pet Rescue", "6.15 News", "9.10 Film: Lighthouse"),
            "9.10 Film: Lighthouse",
        ),
        (
            "What is the cheapest?",
            rows_of("4.50 Scone", "3.20 Tea", "5.10 Pie"),
            "“Tea” costs 3.20.",
        ),
        ("What car is it?", HIRE, "Next to “Vehicle” it says Skoda Fabia, dark blue."),
        ("What's the reg number?", HIRE, "Next to “Registration” it says LK71 VRD."),
        ("Who else can drive?", HIRE, "Driver Ingrid Solberg; Additional driver Per Solberg"),
        ("Which floor is this ward on?", WARD, "closest: Level 3"),
        ("How many visitors are allowed?", WARD, "closest: No more than two visitors per bed"),
        ("When is the mudflat walk?", TRIP, "It reads: Tuesday Mudflat walk with Onno"),
        ("Auf welchem Gleis fährt die S 2 ab?", TRAIN, "kommt: S 2 nach Mühltal 16:33, Gleis 4"),
        ("What's Libra's lucky number?", STARS, "closest: Libra; Lucky number 21."),
        ("How heavy is the hammer?", rows_of("1 claw hammer 450 g", "Net weight 5.8 kg"), "450 g"),
        ("How heavy is it?", rows_of("1 claw hammer 450 g", "Net weight 5.8 kg"), "5.8 kg"),
        (
            "When do we have to leave by?",
            rows_of("Arrive from 2 pm, leave by 11 am"),
            "It reads: Arrive",
        ),
        ("¿En qué año caduca?", rows_of("Revisión: 2026", "Caducidad: 2041"), "Caducidad: 2041"),
        ("How long is the race?", rows_of("HANNAH", "3158", "10 km", "19:45"), "closest: 10 km"),
        ("¿Quién lo revisó?", rows_of("Última revisión: febrero 2026", "A", "B"), "Lo que leo: "),
        ("Who got this certificate?", rows_of("This is to certify that", "Poppy Marlowe"), "Poppy"),
        (
            "Who do I call for help?",
            rows_of("Tips", "Helpline 0800 555 0147", "C"),
            "0800 555 0147",
        ),
        (
            "Where do I go when it's my turn?",
            rows_of("Your number: 207", "20.11.2026 11:42", "C"),
            "What I read: ",
        ),
        (
            "What time does the help desk shut?",
            rows_of(
                "Lost your slip? Ask at the help desk beside platform 3, open 6:00 –", "22:30."
            ),
            "open 6:00 – 22:30.",
        ),
        (
            "How many people are ahead of me?",
            rows_of("Your number", "207", "Waiting: 14"),
            "What I read: ",
        ),
        (
            "A che ora chiude il sabato?",
            rows_of(
                "Orario: martedì-venerdì 9-12.30 e 15.30–19, sabato", "9-13", "Chiuso domenica"
            ),
            "sabato 9-13.",
        ),
        ("What's my number?", rows_of("Your number", "C 207", "Waiting: 14"), "it says C 207"),
        (
            "Was kostet das?",
            rows_of("Taschengeld: 25 Euro", "Kosten: 218 Euro, bitte überweisen", "C"),
            "Es kostet 218 Euro.",
        ),
        (
            "How much was it?",
            rows_of("GLACIER", "Price £148.00 (incl. £5 deposit)", "Not transferable"),
            "It costs £148.00.",
        ),
        (
            "When is the vote?",
            rows_of(
                "Thursday 3 December 2026, polling hours 7 am to 10 pm",
                "To vote by post, apply by 18 November 2026.",
            ),
            "closest: Thursday 3 December 2026",
        ),
    ],
)
def test_what_is_named_is_told(question: str, rows: Sequence[Row], answer: str) -> None:
    assert answer in said_of(question, rows)


def test_each_cell_with_a_colon_has_the_value_behind_it() -> None:
    row = Row(
        "Milk: oat Credit: 2.40",
        20,
        (
            Cell("Milk:", 0, 50),
            Cell("oat", 60, 90),
            Cell("Credit:", 200, 260),
            Cell("2.40", 270, 310),
        ),
    )
    rows = [row, row_of("Empty the drip tray, 12 cups left")]
    assert said_of("Which milk is it?", rows).startswith("Next to “Milk” it says oat.")


def test_prices_below_heads_are_told_with_them() -> None:
    rows = cells(("Size", "4 hours", "24 hours"), ("Small", "€4", "€7"), ("Large", "€9", "€14"))
    assert said_of("How much is it?", rows) == (
        "I read 4 prices:\nSmall, 4 hours\t€4\nSmall, 24 hours\t€7\nLarge, 4 hours\t€9\nLarge, 24 hours\t€14"
    )


def test_things_in_a_grid_have_the_prices_below_them() -> None:
    grid = (
        *(("Espresso", "Latte"), ("0.60", "1.10")),
        *(("Hot chocolate", "Hot water"), ("0.90", "free")),
    )
    pieces = [
        piece(text, 200 * x, 40 * y, 10 * len(text))
        for y, row in enumerate(grid)
        for x, text in enumerate(row)
    ]
    assert [row.text for row in reading_order(pieces)] == [
        *("Espresso 0.60", "Latte 1.10", "Hot chocolate 0.90", "Hot water free"),
    ]


# Each heading with the text below it
LEFT = (
    *("Aries", "A letter on Monday brings good", "news about money. Lucky", "number 8."),
    *("Taurus", "An old friend from school rings", "you. Do not lend out the car."),
    *("Cancer", "You find something that you lost", "in spring. Lucky colour:", "turquoise."),
)
RIGHT = (
    *("Leo", "Your boss notices your work at", "last. Ask for the rise on", "Thursday."),
    *("Virgo", "Rest is the best thing now. A trip", "to the sea does you good."),
    *("Scorpio", "Romance at a bus stop! Wear the", "red scarf.", "On Sunday."),
)


def _side_by_side(left: Sequence[str], right: Sequence[str]) -> list[Piece]:
    columns = ((0, left), (400, right))
    return [
        piece(text, x, 30 * y, 9 * len(text))
        for x, texts in columns
        for y, text in enumerate(texts)
    ]


def test_columns_of_text_with_headings_follow_one_another() -> None:
    rows = [row.text for row in reading_order(_side_by_side(LEFT, RIGHT))]
    assert rows == [*LEFT, *RIGHT]


def test_programmes_and_lists_side_by_side_follow_one_another() -> None:
    left = ("5.45 Antiques", "6.45 Gardens", "7.30 Mastermind", "8.00 Wild Alps", "9.00 Concert")
    right = ("5.00 Cartoons", "6.00 Robots", "7.15 Quiz", "8.45 Escape", "9.45 Night Bus")
    assert [row.text for row in reading_order(_side_by_side(left, right))] == [*left, *right]
    likes = ("• Tea leaves", "• Egg shells", "• Grass", "• Cardboard")
    hates = ("• Meat", "• Cooked food", "• Cat mess", "• Magazines")
    assert [row.text for row in reading_order(_side_by_side(likes, hates))] == [*likes, *hates]


def test_labels_keep_their_values_where_some_of_these_go_on_in_a_line_more() -> None:
    """The lines of both columns are not as far apart."""
    labels = ("Building", "Type", "Maker", "Speed", "Inspector", "Result", "Remark", "Valid until")
    values = ("Granary", "Passenger", "Sons", "0.6 m/s", "Lucille", "Passed", "Replace the", "2027")
    pieces = [piece(text, 0, 60 * y, 9 * len(text)) for y, text in enumerate(labels)]
    pieces += [piece(text, 400, 60 * y + 4.75 * (y % 3), 90) for y, text in enumerate(values)]
    pieces += [piece("40 Wharf Road", 400, 30), piece("seal on floor 3", 400, 395)]
    rows = [row.text for row in reading_order(pieces)]
    assert [f"{label} {value}" in rows for label, value in zip(labels, values, strict=True)] == [
        True
    ] * 8


def test_a_table_of_labels_and_long_values_stays_one() -> None:
    """Most of its labels are one word."""
    labels = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday night", "Saturday", "Sunday")
    rows = [row.text for row in reading_order(_side_by_side(labels, RIGHT[1:8]))]
    assert rows[0] == f"Monday {RIGHT[1]}"
    assert len(rows) == len(labels)
