"""The question about all conditions, and its answers however they come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from server.media.picture.grounding import Box
from server.shared.watch_answers import (
    MAX_REASON_CHARS,
    SCHEMA,
    WatchAnswer,
    make_question,
    make_second_question,
    parse_conditions,
    read_answers,
    to_one_line,
)

NAMES = {"w1", "w2"}
ENTRY: dict[str, Any] = {
    "id": "w1",
    "seen": True,
    "sure": 0.9,
    "where": [10, 20, 30, 40],
    "why": "Steam.",
}
YES = WatchAnswer(True, 0.9, Box(10, 20, 30, 40), "Steam.")
WHOLE = json.dumps({"watches": [ENTRY]})


def test_all_conditions_stand_in_one_question() -> None:
    """One a line, by id; a condition cannot begin a line of its own."""
    text = make_question({"w1": "the kettle\nw2: boils", "w2": "x" * 999})
    lines = text.splitlines()
    assert lines[1] == "w1: the kettle w2: boils"
    assert lines[2] == "w2: " + "x" * 200
    assert len(lines) == 4


def test_the_second_look_uses_other_words() -> None:
    """And asks for the difference where there is a picture of before."""
    plain = make_question({"w1": "it boils"})
    with_before = make_second_question("w1", "it boils", with_before=True)
    alone = make_second_question("w1", "it boils", with_before=False)
    assert len({text.splitlines()[0] for text in (plain, with_before, alone)}) == 3
    assert "begin between" in with_before
    assert all("w1: it boils" in text for text in (with_before, alone))


def test_the_schema_asks_for_what_is_read() -> None:
    """An answer by the schema is read whole."""
    (fields,) = [SCHEMA["properties"]["watches"]["items"]]
    assert set(fields["required"]) == set(ENTRY) == set(fields["properties"])


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        f"```json\n{WHOLE}\n```",
        f"Let me see {{the picture}}. {WHOLE} Done.",
        json.dumps([ENTRY]),
        json.dumps(ENTRY),
        WHOLE[:-2] + ',{"id":"w2","seen":tr',
        json.dumps({"watches": [ENTRY, {**ENTRY, "seen": False}]}),
        json.dumps({"watches": [7, None, [], {"id": ["w1"]}, {**ENTRY, "id": "w9"}, ENTRY]}),
        json.dumps({**ENTRY, "seen": "Yes", "sure": 90, "where": [30, 40, 10, 20]}),
    ],
)
def test_answers_are_read_however_they_are_wrapped(text: str) -> None:
    """Code, words around, loose entries, a cut, ids that nobody asked about, a contradiction: the first counts."""
    assert read_answers(text, NAMES)["w1"] == YES
    assert read_answers(text, {"w1"}) == {"w1": YES}


def test_of_several_conditions_only_those_that_are_seen_are_listed() -> None:
    """Each entry costs tokens. A condition that a whole answer leaves out is a no; with one condition it is no answer."""
    assert "w2: two" in (many := make_question({"w1": "one", "w2": "two"}))
    assert '{"watches":[]} when it shows none' in many
    assert "one entry for each id. " in make_question({"w1": "one"})
    no = WatchAnswer(False, 0.5, None, "")
    assert read_answers(WHOLE, NAMES) == {"w1": YES, "w2": no}
    assert read_answers('{"watches":[]}', NAMES) == {"w1": no, "w2": no}
    assert read_answers('{"watches":[]}', {"w1"}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "None of these.",
        '{"watches":[',
        WHOLE[:-1],
        WHOLE[:-2] + ',{"id":"w2","seen":tr',
        json.dumps({"watches": {"w2": False}}),
        json.dumps({"watches": [ENTRY, {"id": "w2", "seen": None}]}),
    ],
)
def test_an_answer_that_is_not_whole_says_nothing_about_the_others(text: str) -> None:
    """It may have been cut off before them, and an entry that cannot be read is no answer."""
    assert "w2" not in read_answers(text, NAMES)


@pytest.mark.parametrize("seen", [None, 7, "maybe", "", [], {}, 0.5, "yes" * 500, 10**400])
def test_an_answer_that_is_neither_yes_nor_no_is_none(seen: object) -> None:
    assert read_answers(json.dumps({**ENTRY, "seen": seen}), NAMES) == {}
    assert "w1" not in read_answers(json.dumps({"watches": [{**ENTRY, "seen": seen}]}), NAMES)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("sure", "high", WatchAnswer(True, 0.5, YES.where, YES.why)),
        ("sure", True, WatchAnswer(True, 0.5, YES.where, YES.why)),
        ("sure", float("nan"), WatchAnswer(True, 0.5, YES.where, YES.why)),
        ("sure", -3, WatchAnswer(True, 0.0, YES.where, YES.why)),
        ("sure", 10**400, WatchAnswer(True, 0.5, YES.where, YES.why)),
        ("where", None, WatchAnswer(True, 0.9, None, YES.why)),
        ("where", [1, 2, 3], WatchAnswer(True, 0.9, None, YES.why)),
        ("where", [1, 2, 3, "4"], WatchAnswer(True, 0.9, None, YES.why)),
        ("where", [1, 2, 1, 4], WatchAnswer(True, 0.9, None, YES.why)),
        ("where", {"x": 1}, WatchAnswer(True, 0.9, None, YES.why)),
        ("why", ["a"], WatchAnswer(True, 0.9, YES.where, "")),
        (
            "why",
            "a\n\x07b" * 500,
            WatchAnswer(True, 0.9, YES.where, ("a b" * 500)[:MAX_REASON_CHARS]),
        ),
    ],
)
def test_wrong_types_cost_only_their_own_field(
    field: str, value: object, expected: WatchAnswer
) -> None:
    found = read_answers(json.dumps({**ENTRY, field: value}), NAMES)["w1"]
    assert replace(found, why="") == replace(expected, why="")
    assert found.why[:3] == expected.why[:3]
    assert len(found.why) <= MAX_REASON_CHARS


@pytest.mark.parametrize("condition", ["the kettle boils", "3: 2: 1: lift-off", "it says\nEXIT"])
def test_the_conditions_of_a_question_can_be_read_back(condition: str) -> None:
    """An engine without a model finds them, in the plain question and in the second one."""
    conditions = {"w1": condition, "w22": "a cat"}
    whole = {name: to_one_line(text) for name, text in conditions.items()}
    assert parse_conditions(make_question(conditions)) == whole
    for with_before in (True, False):
        asked = make_second_question("w1", condition, with_before=with_before)
        assert parse_conditions(asked) == {"w1": whole["w1"]}
    assert parse_conditions("What is this?\nw1: a cat") == {}
