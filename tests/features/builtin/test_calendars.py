"""A month's page and a week's timetable are answered by what stands below each day."""

from __future__ import annotations

import datetime as dt

import pytest

from server.features.builtin.calendars import by_day
from server.features.builtin.fields import open_until, openings
from server.features.builtin.lines import Cell, Row, row_of
from tests.features.builtin.test_compose import said_of

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def below(*columns: tuple[int, str], shift: int = 0) -> Row:
    """Return a row with words at columns that are 100 px wide; 0 is the first day's, -1 is before it."""
    cells = tuple(
        Cell(text, 100 * at + shift, 100 * at + shift + 9 * len(text)) for at, text in columns
    )
    return Row(" ".join(text for _, text in columns), 20, cells)


def week(first: int) -> Row:
    """Return a calendar's row of days, the first one a Monday."""
    return below(*((at, str(first + at)) for at in range(7) if 0 < first + at <= 30))


HEADS = below(*enumerate(DAYS))
# November 2026 begins on a Sunday. Print stands below a number, or in the middle of its column.
MONTH = (
    row_of("November 2026"),
    HEADS,
    week(-5),
    week(2),
    below((3, "Dentist"), (5, "Gran's")),
    below((3, "15:20"), (5, "birthday")),
    week(9),
    week(16),
    below((2, "MOT"), (4, "Pizza"), shift=30),
    week(23),
    week(30),
    below((0, "Rent due")),
)
TIMES = (
    row_of("Autumn timetable"),
    below((-1, "Time"), *enumerate(DAYS[:5])),
    below((-1, "07:00"), (0, "Spin"), (4, "Yoga")),
    below((-1, "18:30"), (1, "Zumba"), (4, "Zumba")),
    row_of("All classes last 45 minutes."),
)


def test_each_day_of_a_month_has_what_stands_below_it() -> None:
    assert [row.text for row in by_day(MONTH)] == [
        "November 2026",
        "Thu 5 November: Dentist 15:20",
        "Sat 7 November: Gran's birthday",
        "Wed 18 November: MOT",
        "Fri 20 November: Pizza",
        "Mon 30 November: Rent due",
    ]


def test_each_cell_of_a_timetable_has_its_day_and_time() -> None:
    assert [row.text for row in by_day(TIMES)] == [
        "Autumn timetable",
        "Mon 07:00 Spin",
        "Fri 07:00 Yoga",
        "Tue 18:30 Zumba",
        "Fri 18:30 Zumba",
        "All classes last 45 minutes.",
    ]


def test_what_goes_on_below_a_cell_belongs_to_it() -> None:
    rows = (
        HEADS,
        below((-1, "First"), (0, "Lentils"), (1, "Soup of"), (2, "Rice with")),
        below((1, "noodles"), (2, "tomato")),
        below((-1, "Second"), (0, "Pie"), (1, "Roast"), (2, "Fish")),
        row_of("Allergies: ask in the kitchen"),
    )
    assert [row.text for row in by_day(rows)] == [
        *("Mon First: Lentils", "Tue First: Soup of noodles", "Wed First: Rice with tomato"),
        *(
            "Mon Second: Pie",
            "Tue Second: Roast",
            "Wed Second: Fish",
            "Allergies: ask in the kitchen",
        ),
    ]


def test_hours_below_their_days_have_no_time_in_front() -> None:
    rows = by_day((HEADS, below(*((at, "9 - 17") for at in range(5)), (6, "closed"))))
    assert [row.text for row in rows] == [*(f"{day}: 9 - 17" for day in DAYS[:5]), "Sun: closed"]


def test_jobs_of_a_rota_have_who_does_them() -> None:
    rota = (HEADS, below((-1, "Bins"), (1, "Tom")), below((-1, "Dishes"), (0, "Ann"), (3, "Tom")))
    assert [row.text for row in by_day(rota)] == [
        "Tue Bins: Tom",
        "Mon Dishes: Ann",
        "Thu Dishes: Tom",
    ]
    assert "“Thu Dishes” it says Tom" in said_of("What do I do on Thursday? I'm Tom.", rota)


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (row_of("Mon"), row_of("1"), row_of("2")),
        # Figures that are no days in order
        (HEADS, below(*enumerate("1234567")), below(*enumerate("7654321"))),
        # A line below the days is none of them.
        (HEADS, row_of("Please ring the bell at the gate and wait for the guide.")),
    ],
)
def test_other_rows_stay_as_they_are(rows: tuple[Row, ...]) -> None:
    assert by_day(rows) == [*rows]


def test_print_below_a_month_stays_as_it_is() -> None:
    assert len(by_day([*MONTH, *map(row_of, ["Please ring the bell"] * 5000)])) == 5006


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("What's on Friday the 20th?", MONTH, "Next to “Fri 20 November” it says Pizza."),
        ("When is the dentist?", MONTH, "Thu 5 November: Dentist 15:20"),
        ("When is Gran's birthday?", MONTH, "Sat 7 November: Gran's birthday"),
        ("When is the rent due?", MONTH, "Mon 30 November: Rent due"),
        ("Is there anything on the 25th?", MONTH, "What I read: "),
        ("When is Zumba?", TIMES, "closest: Tue 18:30 Zumba; Fri 18:30 Zumba"),
        ("What time is zumba?", TIMES, "closest: Tue 18:30 Zumba; Fri 18:30 Zumba"),
        ("What's on on Friday?", TIMES, "closest: Fri 07:00 Yoga; Fri 18:30 Zumba"),
        ("What's on Monday at 07:00?", TIMES, "Mon 07:00 Spin"),
        ("Read it", MONTH[:2], "November 2026\nMon Tue Wed"),
    ],
)
def test_a_question_about_a_day_is_answered_by_its_row(
    question: str, rows: tuple[Row, ...], answer: str
) -> None:
    assert answer in said_of(question, rows)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "Mo-Fr 9-18 Uhr, Sa 9-13 Uhr, So geschlossen",
            {"Mo-Fr 9-18 Uhr": range(5), "Sa 9-13 Uhr": [5], "So geschlossen": [6]},
        ),
        (
            "Aperto tutti i giorni dalle 11 alle 23, chiuso il lunedì",
            {"Aperto tutti i giorni dalle 11 alle 23": range(1, 7), "chiuso il lunedì": [0]},
        ),
        (
            "Open daily 9am-6pm, closed Mondays",
            {"Open daily 9am-6pm": range(1, 7), "closed Mondays": [0]},
        ),
        ("Mon, Tue, Thu 9-12, 14-18", {"Mon, Tue, Thu 9-12, 14-18": [0, 1, 3]}),
    ],
)
def test_each_day_of_one_line_has_its_own_hours(row: str, told: dict[str, list[int]]) -> None:
    assert {one.text: one.days for one in openings([row_of(row)])} == {
        text: frozenset(days) for text, days in told.items()
    }


def test_a_day_is_open_in_its_own_hours_alone() -> None:
    found = openings([row_of("Mo-Fr 9-18 Uhr, Sa 9-13 Uhr, So geschlossen")])
    afternoon = dt.time(15)
    assert [open_until(found, day, afternoon) for day in (4, 5, 6)] == ["18 Uhr", None, None]
    shop = openings([row_of("9 - 6")])
    assert open_until(shop, 4, afternoon) == "6"
    assert open_until(shop, 4, dt.time(20)) is None
