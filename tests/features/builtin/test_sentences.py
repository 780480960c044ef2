"""Running text is answered by its sentences, and a form by its boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from server.features.builtin.compose import compose
from server.features.builtin.detector import Thing
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES, language
from server.features.builtin.lines import (
    EMPTY,
    TICKED,
    Cell,
    Piece,
    Row,
    reading_order,
    row_of,
    sentences,
)
from server.features.builtin.reader import Reader
from server.features.builtin.shapes import looked_at
from server.features.builtin.speaker import Facts
from server.features.builtin.wants import Want
from server.media.picture.grounding import Box
from tests.features.builtin.scenes import Bgr
from tests.features.builtin.test_compose import BRIGHT, TUESDAY, cells, first_line, said_of
from tests.features.builtin.test_fields import rows_of

STOP = (
    "Monday to Friday",
    "Station 06:22 08:41 12:53 16:20",
    "Harbour 06:58 09:26 13:31 17:03",
    "No service on Sundays. Dogs travel free. Contactless payment only.",
    "Single £2.40· Return £4.10·Day ticket £6.00",
)


def texts(*rows: str) -> list[str]:
    return [row.text for row in sentences(rows_of(*rows))]


def test_each_sentence_of_a_line_is_a_row() -> None:
    assert texts(*STOP[3:]) == [
        *("No service on Sundays.", "Dogs travel free.", "Contactless payment only."),
        *("Single £2.40", "Return £4.10", "Day ticket £6.00"),
    ]


def test_what_begins_in_a_line_goes_on_in_the_next() -> None:
    assert texts(
        "It is closed in summer. Please write to", "us instead. Dogs wait", "outside."
    ) == [
        *("It is closed in summer.", "Please write to us instead.", "Dogs wait outside."),
    ]


def test_a_long_line_goes_on_where_the_next_begins_small() -> None:
    assert texts(
        "Open from Tuesday to Friday from 9 to 18, Saturday from 8:30", "to 16.", "Closed on Monday"
    ) == [
        *(
            "Open from Tuesday to Friday from 9 to 18, Saturday from 8:30 to 16.",
            "Closed on Monday",
        ),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Dr. Jo Lee and Mrs. Wu",
        "Am 21. Dezember und 3. Januar",
        "Im 2. Stock",
        "Open 9.30 to 17.00",
        "0800·220 042",
        "Moving house? Call us",
    ],
)
def test_what_is_no_end_of_a_sentence_stays_in_its_line(line: str) -> None:
    assert texts(line) == [line]


def test_a_long_line_is_split_in_time_that_grows_with_it() -> None:
    assert len(texts("word. Word " * 20_000)) > 10_000


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("Can I take my dog?", rows_of(*STOP), "It reads: Dogs travel free."),
        ("How much is a return?", rows_of(*STOP), "“Return” costs £4.10."),
        (
            "What number do I call in a power cut?",
            rows_of("Moving house? Call 0330 123 600. Power cut? Call 105, free", "P", "Q"),
            "Next to “Power cut? Call” it says 105",
        ),
        ("Who served me?", rows_of("Served by: Maria", "P", "Q"), "Next to “Served by” it says Maria"),
        ("What's the driver's name?", rows_of("Sorry", "8am to 7pm. Driver: Lee", "Q"), "“Driver” it says Lee"),
        ("How much is a table?", rows_of("Want a table? Tables cost $10", "Tea $1"), "“Tables cost” costs $10"),
        ("How many tablets can I take a day?", rows_of("Xo 10 mg tablets", "take one tablet a day."), "reads: "),
        ("Where is it?", rows_of("Yard sale", "118 Maple Street", "Toys"), "It reads: 118 Maple Street"),
        ("Où est-ce ?", rows_of("Fête", "12 rue des Lilas, no 3", "Vide-grenier"), "12 rue des Lilas"),
        ("Wo ist das?", rows_of("Flohmarkt", "Lindenstraße 4", "Samstag"), "Lindenstraße 4"),
        ("When should we be there?", rows_of("14:02", "Hi", "14:05", "14:08", "14:10", "14:12"), "What I read: 14:02 · Hi"),
        ("When do we land?", cells(("DATE", "4 DEC 2026"), ("ARRIVAL", "14:50")), "“ARRIVAL” it says 14:50"),
        ("Is it day or night?", (), "I cannot tell that"),
        ("¿Cuánto cuesta la entrada para niños?", rows_of("Entrada general 5,50 €", "Niños 2,75 €"), "«Niños» cuesta 2,75 €"),
        (
            "What comes with the full English?",
            rows_of("Full English £9.50", "bacon, egg and toast", "Tea £2.30"),
            "Full English £9.50; bacon, egg and toast",
        ),
        ("Do they have fish?", rows_of(*"ABCDEFG", "Fish fingers £8.25"), "It reads: Fish fingers £8.25"),
        ("Is there a fish?", rows_of("A", "Fish fingers £8.25"), "I may miss it"),
        ("Who is this letter from?", rows_of("Bright Dental", "Dear Mrs Wu,", "Your check-up"), "closest: Bright Dental"),
        ("Who is this letter from?", rows_of("Bright Dental", "Mrs Wu", "Your check-up"), "What I read: "),
        (
            "What happens if I pay late?",
            rows_of("Please pay by Monday. A late fee of £15 applies.", "P", "Q"),
            "Please pay by Monday.; A late fee of £15 applies.",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_the_sentence_that_has_it(
    question: str, rows: Sequence[Row], answer: str
) -> None:
    assert answer in said_of(question, rows)


MENU = ("Oat porridge (V) £4", "Lentil soup (VG) £5", "Toast (VG) £3", "Pie £7")


@pytest.mark.parametrize(
    ("question", "rows", "told"),
    [
        ("Is there anything vegan?", MENU, "Lentil soup (VG) £5; Toast (VG) £3"),
        ("Is there anything vegetarian?", MENU, "Oat porridge (V) £4; Lentil soup (VG) £5; Toast"),
        ("Is the soup vegan?", MENU, "closest: Lentil soup (VG) £5"),
        ("Is there anything vegan?", (MENU[0], MENU[3]), "closest: Oat porridge (V) £4"),
    ],
)
def test_a_sign_for_what_is_vegan_is_another_than_that_for_vegetarian(
    question: str, rows: tuple[str, ...], told: str
) -> None:
    answer = first_line(question, *rows)
    assert told in answer
    assert "Pie" not in answer


def lines() -> tuple[Row, ...]:
    """Two stops of a bus line, whose first row tells the days."""
    return (*rows_of(STOP[0]), *cells(*(tuple(line.split()) for line in STOP[1:3])))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        # It is noon on a Tuesday.
        ("When is the next bus from the station?", "It leaves at 12:53."),
        ("When does the first bus leave the station?", "It leaves at 06:22."),
        ("When is the last bus from the station?", "It leaves at 16:20."),
        ("Wann fährt der letzte Bus ab Station?", "Abfahrt ist um 16:20."),
        ("When is the next bus to the harbour?", "It reads: Harbour 06:58 09:26 13:31 17:03"),
        ("When is the next bus from the station on Sunday?", "Station 06:22 08:41 12:53 16:20"),
    ],
)
def test_the_next_the_first_and_the_last_of_a_line_are_told(question: str, answer: str) -> None:
    assert answer in said_of(question, lines())


def test_no_next_bus_is_told_for_other_days_than_the_timetable_names() -> None:
    weekend = (*rows_of("Saturday, Sunday"), *lines()[1:])
    assert "It leaves" not in said_of("When is the next bus from the station?", weekend)


FORM = ("We left it with a neighbour", "It is in a safe place", "Collect it from the depot")


def form(*signs: str, side: int = 26) -> Bgr:
    """A form: each line has a box in front, which is empty, has a tick or a cross, or is a ring."""
    paper = np.full((360, 900, 3), 225, np.uint8)
    for at, (line, sign) in enumerate(zip(FORM, signs, strict=True)):
        left, top = 60, 60 + 90 * at
        inside = (left + 5, top + 5), (left + side - 5, top + side - 5)
        if sign == "ring":
            cv2.circle(paper, (left + side // 2, top + side // 2), side // 2, (20, 20, 20), 2)
        elif sign:
            cv2.rectangle(paper, (left, top), (left + side, top + side), (20, 20, 20), 2)
        if sign == "cross":
            cv2.line(paper, *inside, (90, 20, 20), 3)
            cv2.line(
                paper, (inside[0][0], inside[1][1]), (inside[1][0], inside[0][1]), (90, 20, 20), 3
            )
        if sign == "tick":
            hook = np.array([(left + 5, top + 12), (left + 11, top + 22), (left + 30, top - 4)])
            cv2.polylines(paper, [hook], False, (90, 20, 20), 3)
        cv2.putText(
            paper,
            line,
            (left + 44, top + 25),
            cv2.FONT_HERSHEY_SIMPLEX,
            1,
            (30, 30, 30),
            2,
            cv2.LINE_AA,
        )
    return paper


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        (("tick", "box", "box"), (TICKED, EMPTY, EMPTY)),
        (("box", "cross", "box"), (EMPTY, TICKED, EMPTY)),
        (("ring", "ring", "ring"), ("", "", "")),
        # One square alone may be anything.
        (("", "box", ""), ("", "", "")),
        (("", "", ""), ("", "", "")),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "upside down"])
def test_boxes_in_front_of_lines_are_read_with_what_is_in_them(
    reader: Reader, signs: tuple[str, ...], told: tuple[str, ...], turned: bool
) -> None:
    picture = form(*signs)
    if turned:
        picture = np.asarray(cv2.rotate(picture, cv2.ROTATE_180), np.uint8)
    rows = [row.text for row in reading_order(reader.text(picture))]
    assert len(rows) == 3
    for row, sign, line in zip(rows, told, FORM, strict=True):
        assert row[:1] == (sign or row[:1])
        assert (row[0] in EMPTY + TICKED) == bool(sign)
        assert line.split()[-1] in row


def test_a_box_may_be_typed() -> None:
    around = ((20.0, 40.0), (300.0, 40.0), (300.0, 70.0), (20.0, 70.0))
    texts = ["[x] With a neighbour", "[ ] At the depot", "[] Tomorrow", "[X]", "[a] Note"]
    pieces = [Piece(text, 0.95, around) for text in texts]
    read = [piece.text for piece in looked_at(np.full((90, 400, 3), 200, np.uint8), pieces)]
    assert read == ["☑ With a neighbour", "☐ At the depot", "☐ Tomorrow", "[X]", "[a] Note"]


def test_a_form_has_no_boxes_where_there_is_no_print() -> None:
    assert looked_at(np.full((90, 160, 3), 200, np.uint8), []) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "Do I have to go to the depot?",
            "It reads: ☐ Collect it from the depot\nThe box in front of it is not ticked.",
        ),
        ("Is it with a neighbour?", "It reads: ☑ We left it with a neighbour"),
        ("Which one is ticked?", "closest: ☑ We left it with a neighbour"),
    ],
)
def test_an_answer_tells_that_a_box_is_not_ticked(question: str, answer: str) -> None:
    rows = rows_of(f"☑ {FORM[0]}", f"☐ {FORM[1]}", f"☐ {FORM[2]}")
    assert answer in said_of(question, rows)


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_is_said_in_each_language(code: str) -> None:
    said = language(code).say("not_ticked")
    assert said
    assert (said == language("en").say("not_ticked")) == (code == "en")


def test_wide_gaps_part_a_line_that_was_read_as_one(reader: Reader) -> None:
    """The heads of a table stand over its columns; words of a sentence stay together."""
    paper = np.full((260, 900, 3), 225, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    for at, head in enumerate(("Block", "Row", "Seat", "Entrance")):
        cv2.putText(paper, head, (60 + 140 * at, 80), font, 1, (30, 30, 30), 2, cv2.LINE_AA)
    cv2.putText(
        paper, "No dogs and no food in here", (60, 180), font, 1, (30, 30, 30), 2, cv2.LINE_AA
    )
    found = reader.text(paper)
    heads = [piece for piece in found if piece.corners[0][1] < 120]
    assert [piece.text for piece in heads] == ["Block", "Row", "Seat", "Entrance"]
    for at, piece in enumerate(heads):
        assert abs(piece.corners[0][0] - (60 + 140 * at)) < 25
    assert [piece.text for piece in found if piece.corners[0][1] >= 120] == [
        "No dogs and no food in here"
    ]


TYPED = (
    "Work order no 3391",
    "Change of oil and filter      79",
    "New wipers on the front       28",
    "Two hours of work on it      105",
    "Ready on Monday from 5 pm on",
)


def test_equally_wide_letters_keep_their_words_together() -> None:
    """As on a receipt: their words stand as far apart as columns do in other print."""
    paper = np.full((400, 800, 3), 225, np.uint8)
    pieces = []
    for line, text in enumerate(TYPED):
        top = 40 + 60 * line
        for at, letter in enumerate(text):
            place = 40 + 20 * at, top + 26
            cv2.putText(paper, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2)
        right, bottom = 40 + 20 * len(text), top + 36
        around = ((40.0, top), (right, top), (right, bottom), (40.0, bottom))
        pieces.append(Piece(" ".join(text.split()), 0.95, around))
    found = [piece.text for piece in looked_at(paper, pieces)]
    assert found == [part.strip() for text in TYPED for part in text.split("     ")]


RECEIPT = cells(
    *(("MILK", "4.29"), ("EGGS", "3.79"), ("BREAD", "2.99"), ("SUBTOTAL", "24.35")),
    *(("TAX 6%", "0.52"), ("TOTAL", "24.87"), ("ITEMS SOLD: 8", "")),
)
OVEN = cells(("Dish", "°C", "Minutes"), ("Pizza", "250", "12-15"), ("Fish fillets", "180", "15-20"))
BOARD = cells(
    ("Time", "Flight", "To"), ("14:50", "KL 12", "Paris"), ("15:55", "SK 46", "Oslo Cancelled")
)


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How many items did I buy?", RECEIPT, "closest: ITEMS SOLD: 8"),
        ("How much tax did I pay?", RECEIPT, "Next to “TAX” it says 6% 0.52."),
        ("How much did I pay?", RECEIPT, "The total is 24.87."),
        ("Le service est compris ?", rows_of("Total TTC 53,90", "Service compris", "Merci et à bientôt !"), "Il est écrit : Service compris"),
        ("When should it be repeated?", rows_of("Born: 02.03.1981", "Collected: 17 Nov 2026", "Repeat in 3 months."), "It reads: Repeat in 3 months."),
        ("Who wrote this?", rows_of("Dear Margaret,", "the parrot comes along.", "With love from us all,", "Edith"), "from us all, Edith"),
        ("Who wrote this?", rows_of("Dear Anna,", "Thanks for 2 books.", "Best wishes"), "closest: Dear Anna,"),
        ("What is the manual?", rows_of("Model B2", "Manual: see https://example.org/b2", "Class 2"), "Next to “Manual” it says see https://example.org/b2"),
        ("Which coach?", rows_of("Train FR 9412", "Coach: 6 Seat: 14D", "Class 2"), "Next to “Coach” it says 6."),
        ("What room am I in?", (Row("ROOM Bar 9 - 11", 20, (Cell("ROOM", 0, 50), Cell("Bar 9 - 11", 200, 300))), Row("317 Pool", 60, (Cell("317", 0, 90), Cell("Pool", 200, 240)))), "“ROOM” it says 317"),
        ("What's the temperature outside?", rows_of("19.5 °C", "Heating on", "P"), "closest: 19.5 °C"),
        ("How many people does it serve?", rows_of("Cake", "Serves 10", "Flour"), "It reads: Serves 10"),
        ("How many lemons do I need?", rows_of("Lemon cake", "Juice of 2 lemons", "Flour"), "Juice of 2 lemons"),
        ("Until when is the pool open?", rows_of("Arrival 18 Nov 2026", "Pool 8:00 - 21:00", "P"), "Pool 8:00 - 21:00"),
        ("What's the email address?", rows_of("Address 22 Quarry Road", "Email", "P"), "I find no e-mail address"),
        ("Who is the headteacher?", rows_of("Linda Okafor", "Headteacher", "Reply slip"), "closest: Linda Okafor; Headteacher"),
        ("Where is the concert?", rows_of("The Lanterns", "Corn Exchange, Harbour Street, Bristol", "P"), "closest: Corn"),
        ("Where does the money go?", rows_of("Yard sale", "118 Maple Street", "P"), "What I read: "),
        ("What does a family membership cost?", cells(("☐ Junior £15", "☑ Adult £32", "☐ Family £58"),), "£58"),
        ("Does he want to play tennis?", cells(("☑ Swimming", "☐ Tennis"),), "closest: ☐ Tennis\nThe box in front"),
        ("When is the trip?", rows_of("The cost of the trip is to be paid by 27 November 2026", "P", "Q"), "It reads: The cost"),
        ("Wann kommt der Gelbe Sack?", rows_of("Gelber Sack Do 12., Do 26.", "Papier Fr 27.", "P"), "Gelber Sack Do 12."),
        ("Is the flight to Oslo on time?", BOARD, "closest: 15:55 SK 46 Oslo Cancelled"),
        ("Is there a flight to Rome?", BOARD, "What I read: "),
        ("What's on Friday?", rows_of("Thu 10 June Biology", "Fri 11 June Music", "P"), "“Fri” it says 11 June Music"),
        ("Is my car insured?", rows_of("Head of Customer Care", "Tom", "P"), "What I read: "),
        ("Who signed the letter?", rows_of("Dear Ms Wu,", "Yours sincerely,", "Tom Ashworth"), "closest: Tom Ashworth"),
        ("Who owns the dog?", rows_of("Species: Dog", "Born: 2022", "Owner: Mr Lee"), "Owner: Mr Lee"),
        ("How many seeds are in it?", rows_of("Lot 7 Thornbury Seeds", "Approx. 300 seeds", "P"), "It reads: Approx. 300 seeds"),
        ("What's the price per litre?", rows_of("LITRES", "33.82", "PENCE PER LITRE", "143.0"), "It costs 143.0 per LITRE."),
        ("What's the cheapest day?", rows_of("Popcorn £4.20", "Adult £11.50", "Child £7.00"), "What I read: Popcorn £4.20"),
        ("When is story time?", rows_of("Closed until 5 January 2027", "Story time", "Wednesdays 10.30 am"), "“Story time” it says Wednesdays 10.30 am"),
        ("Is it OK for a six year old?", rows_of("2-5 players, age 10+", "Not for children under 3 years", "P"), "age 10+; Not for children"),
        ("What's the cheapest dish?", rows_of("Popcorn £4.20", "Adult £11.50", "Child £7.00"), "“Popcorn” costs £4.20."),
        ("Where do I pay?", rows_of("Amount 48.36", "Pay at the kiosk", "P"), "Pay at the kiosk"),
        ("How much is a colour print?", rows_of("Prints", "black 15p, colour 50p a page", "P"), "colour 50p"),
        ("What plant is this?", rows_of("Lavender", "Plant 40 cm apart", "P"), "closest: Lavender"),
        ("What's the game called?", (row_of("Magpie", 60), *rows_of("A game for 3 to 6 players", "P")), "The largest line reads “Magpie”."),
        ("How much is a child ticket?", rows_of("Adult £11.50 Child £7 Student £9", "P", "Q"), "“Child” costs £7."),
        ("How much does 5 litres cost?", rows_of("2.5 litres £31 5 litres £54 Tester £4", "P", "Q"), "“5 litres” costs £54."),
        ("How much is a bottle of Rioja?", cells(("Wine", "Glass", "Bottle"), ("Malbec", "8.00", "31"), ("Rioja", "7.90", "30")), "under “Bottle”, it says 30."),
        ("How much is the rent?", rows_of("02 Oct Rent 695.00 117.40", "Overdraft limit £500.00", "P"), "closest: 02 Oct Rent 695.00"),
        ("How much do I pay for the gym?", rows_of("23 Oct Gym 34.99 53.73", "Closing balance £1,753.23", "P"), "closest: 23 Oct Gym 34.99"),
        ("Do I have to pay on Sundays?", rows_of("Paid £3.20", "64p per 20 minutes", "P"), "What I read: "),
        ("Does it give change?", rows_of("Coins or card. No change given.", "P", "Q"), "It reads: No change given."),
        ("Can two people play?", rows_of("A game for 3 to 6 players", "2. Play one card", "P"), "closest: A game for 3 to 6 players"),
        ("Whose report is this?", rows_of("Report 2025/26", "Pupil: Noah Berg", "P"), "closest: Pupil: Noah Berg"),
        ("Is she allergic to anything?", rows_of("Ward 7B", "ALLERGY: LATEX", "P"), "closest: ALLERGY: LATEX"),
        ("How old is she?", rows_of("Ward 7B", "Female Age 75", "P"), "closest: Female Age 75"),
        ("How old is she?", rows_of("Ward 7B", "Bed 12", "P"), "What I read: Ward 7B"),
        ("When does my ticket run out?", rows_of("20 NOV 2026 10:42", "Expires: 12:22", "P"), "Expires: 12:22"),
        ("How long is left?", (*cells(("Eco", "Time left")), replace(cells(("Wool", "1:48"))[0], height=50)), "“Time left” it says 1:48"),
        ("Hat die Apotheke am Mittwochnachmittag offen?", (row_of("Löwen-Apotheke", 60), *rows_of("Mittwoch 8:30 - 13:00", "Brunnen-Apotheke 21", "P")), "kommt: Mittwoch 8:30"),
        ("À quelle heure l'eau revient-elle ?", rows_of("AVIS", "Au retour de l'eau, laissez couler 5 minutes", "de 8 h 30 à 16 h 00"), "de 8 h 30 à 16 h 00"),
        ("Quelles rues sont concernées ?", rows_of("Rues concernées : rue du Lac, allée du Lavoir et", "place Carnot.", "P"), "rue du Lac, allée du Lavoir et place Carnot."),
        ("¿Qué hay de postre?", rows_of("Menú", "Ensalada mixta", "Pollo", "Postre", "Flan o café", "P", "Q", "R"), "«Postre» dice Flan o café"),
        ("What's on the second floor?", cells(("3", "Offices"), ("2", "Children's ward"), ("Press for 3 seconds", "")), "closest: 2 Children's ward"),
        ("Was ist im dritten Stock?", cells(("3", "Büros"), ("2", "Station"), ("1", "Labor")), "kommt: 3 Büros"),
        ("What song is playing?", (*rows_of("NOW PLAYING"), row_of("Paper Lanterns", 60), *rows_of("Ann Lee")), "The largest line reads “Paper Lanterns”."),
        ("What temperature for fish?", OVEN, "under “°C”, it says 180."),
        ("How long does a pizza take?", OVEN, "under “Minutes”, it says 12-15."),
        ("How hot for a potato gratin?", rows_of("For fan, lower by 20°C.", *"ABCDEFG"), "closest: For fan"),
        ("When is it closed?", rows_of("Mo-Fr 9-18", "Sunday closed", "P"), "It reads: Sunday closed"),
        ("What's the wifi called?", cells(("Wi-Fi name (5 GHz)", "HUB-7"), ("Wi-Fi password", "otter")), "called HUB-7"),
        ("Which wifi am I on?", rows_of("Wi-Fi", "Bluetooth", *"ABCDEF"), "I find no network name"),
        ("Can I bring the kids?", rows_of("Dress: smart", "Children are very welcome.", "P"), "Children are very welcome"),
        ("When does it expire?", rows_of("Best before 18 08 2027 Lot H2291", "P", "Q"), "good until 18 08 2027"),
        ("Is there anything without alcohol?", rows_of("Lager 4.2% £3", "Goat - alcohol free 0.5% £4", "P"), "alcohol free 0.5%"),
        ("What number is on the boat?", rows_of("74"), "closest: 74"),
        ("Are there seats for Night Ferry?", rows_of("Night Ferry 21:45", "NIGHT FERRY: sold out", "P"), "sold out"),
    ],
)  # fmt: skip
def test_a_caption_a_box_or_the_rarer_word_leads_to_its_value(
    question: str, rows: Sequence[Row], answer: str
) -> None:
    assert answer in said_of(question, rows)


def test_people_in_a_thing_are_not_the_thing() -> None:
    boats = Facts(
        BRIGHT, rows=(), codes=(), things=(Thing("boat", 0.9, Box(0, 0, 9, 9), sure=True),)
    )
    answer = compose(understand("Are there people in the boats?"), boats, TUESDAY)
    assert answer.startswith("I may miss it, but I do not see that: a person.")
    assert understand("What colour is the number plate?").things == ()


def test_what_is_not_known_gets_its_colour() -> None:
    facts = Facts(
        BRIGHT, rows=(), codes=(), faces=0, things=(), colours={"middle": (("blue", 0.9),)}
    )
    assert "blue" in compose(understand("What is this?"), facts, TUESDAY)
    answer = compose(understand("What instruments do you see?"), facts, TUESDAY)
    assert answer.startswith("I do not know this thing: it is blue.")


@pytest.mark.parametrize("question", ["How many women are there?", "Wie viele Kinder siehst du?"])
def test_people_of_one_kind_are_not_counted(question: str) -> None:
    assert understand(question).want is Want.OTHER
    assert understand("How many people are there?").want is not Want.OTHER


def test_a_word_of_the_title_finds_no_row_beside_another_word() -> None:
    title = Row("Exam timetable", 60, (Cell("Exam timetable", 0, 300),))
    rows = (title, *rows_of(*"ABCDEF", "Ill on the day? Call the exam office", "History 13:30"))
    assert "History 13:30" in said_of("Which room is the history exam in?", rows)
    assert "What I read: " in said_of("Is there a chemistry exam?", rows)
