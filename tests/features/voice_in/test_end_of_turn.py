"""A model's word about a pause: when it is asked, and when the turn ends by it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk
from server.features.voice_in.foreground import Voice
from server.features.voice_in.turns import (
    CHECKS,
    MOST_TURN_SECONDS,
    MOST_WAIT_SECONDS,
    Asked,
    Began,
    Dropped,
    Ended,
    EndOfTurn,
    Paused,
    Resumed,
    TurnEvent,
    Turns,
    reached,
)

CHUNK = CHUNK_SECONDS


class Person:
    """Speaks in chunks; a model answers each check after so many chunks, or never."""

    def __init__(self, *answers: bool | None, silence: float = 0.5, after: int = 3) -> None:
        self.turns = Turns(EndOfTurn())
        self.turns.set_silence(silence)
        self.answers = iter(answers)
        self.after = after
        self.number = 0
        # The end of the last speech
        self.spoke = 0.0
        # What came how long after it
        self.found: list[tuple[TurnEvent, float]] = []
        self._due: list[tuple[int, int, bool | None]] = []

    def hear(self, pattern: str) -> Person:
        for one in pattern:
            chunk = Chunk(self.number * CHUNK, float(one == "#"), -20)
            self.number += 1
            if one == "#":
                self.spoke = chunk.end
            self._take(self.turns.hear(chunk, Voice.PERSON if one == "#" else Voice.NOBODY))
            for due in [due for due in self._due if due[0] <= self.number]:
                self._due.remove(due)
                self._take(self.turns.answer(due[1], due[2])[1])
        return self

    def _take(self, events: list[TurnEvent]) -> None:
        for event in events:
            self.found.append((event, self.number * CHUNK - self.spoke))
            if isinstance(event, Asked):
                answer = next(self.answers, None)
                self._due.append((self.number + self.after, event.number, answer))

    def kinds(self) -> list[type]:
        return [type(event) for event, _ in self.found]

    def times(self, kind: type) -> list[float]:
        return [at for event, at in self.found if isinstance(event, kind)]


def near(*times: float) -> object:
    return pytest.approx(list(times), abs=CHUNK / 2 + 1e-9)


@pytest.mark.parametrize("silence", [0.3, 0.5, 1.0, 1.9])
def test_a_complete_turn_ends_as_without_a_model(silence: float) -> None:
    """After the person's own silence; the pause is known at 200 ms, as ever."""
    person = Person(True, silence=silence).hear("#" * 10 + "." * 90)
    assert person.kinds() == [Began, Paused, Asked, Ended]
    assert person.times(Paused) == near(0.2)
    assert person.times(Ended) == near(silence)


def test_with_the_shortest_silence_the_answer_ends_it() -> None:
    """200 ms are over before the model has answered: its answer ends the turn, not the next chunk."""
    person = Person(True, silence=0.2).hear("#" * 10 + "." * 90)
    assert person.kinds() == [Began, Paused, Asked, Ended]
    assert person.times(Ended) == near(0.2 + 3 * CHUNK)
    (ended,) = [event for event, _ in person.found if isinstance(event, Ended)]
    assert ended.said == pytest.approx(10 * CHUNK)


def test_an_unfinished_turn_waits() -> None:
    """Asked at 200, 400 and 800 ms and no more; two seconds of silence end it anyway."""
    person = Person(False, False, False, False, silence=0.2).hear("#" * 10 + "." * 90)
    assert person.kinds() == [Began, Paused, Asked, Asked, Asked, Ended]
    assert person.times(Asked) == near(*CHECKS)
    assert person.times(Ended) == near(MOST_WAIT_SECONDS)


@pytest.mark.parametrize(("answers", "at"), [((False, True), 0.5), ((False, False, True), 0.9)])
def test_a_later_check_ends_it(answers: tuple[bool, ...], at: float) -> None:
    """Complete after all: not before the person's silence."""
    person = Person(*answers).hear("#" * 10 + "." * 90)
    assert person.times(Ended) == near(at)
    assert len(person.times(Asked)) == len(answers)


def test_who_goes_on_within_a_sentence_has_one_turn() -> None:
    """A pause of 1 s that is called unfinished: one turn, with the pause told and taken back."""
    pattern = "#" * 10 + "." * 31 + "#" * 10 + "." * 70
    person = Person(False, False, False, True).hear(pattern)
    assert person.kinds() == [
        *(Began, Paused, Asked, Asked, Asked),
        *(Resumed, Paused, Asked, Ended),
    ]
    plain = Turns()
    events = [
        type(event)
        for number, one in enumerate(pattern)
        for event in plain.hear(Chunk(number * CHUNK, 0.0, -20), Voice(2 * (one == "#")))
    ]
    assert events == [Began, Paused, Ended, Began, Paused, Ended]


@pytest.mark.parametrize("silence", [0.2, 0.5, 1.0])
def test_without_an_answer_silence_decides(silence: float) -> None:
    """Each check fails: the turn ends with the person's silence, or with the failure after it."""
    person = Person(None, None, None, silence=silence).hear("#" * 10 + "." * 90)
    assert person.times(Ended) == near(max(silence, 0.2 + 3 * CHUNK))


def test_a_failure_takes_back_what_was_said_before() -> None:
    """Unfinished at 200 ms, and no answer at 400: silence alone decides from then on."""
    person = Person(False, None, silence=0.2).hear("#" * 10 + "." * 90)
    assert person.times(Ended) == near(0.4 + 3 * CHUNK)


def test_an_answer_that_comes_too_late_is_of_no_use() -> None:
    """The person went on, or it is answered already."""
    person = Person(after=1000).hear("#" * 10 + "." * 8)
    (asked,) = [event for event, _ in person.found if isinstance(event, Asked)]
    person.hear("##")
    assert person.turns.answer(asked.number, True) == (False, [])
    person.hear("." * 8)
    assert len(person.times(Asked)) == 2
    assert person.turns.answer(asked.number, True) == (False, [])
    assert person.turns.answer(asked.number + 1, False) == (True, [])
    assert person.turns.answer(asked.number + 1, True) == (False, [])


def test_the_longest_silence_asks_nothing() -> None:
    """The person waits for two seconds in any case: no answer would change that."""
    person = Person(True, silence=2.0).hear("#" * 10 + "." * 90)
    assert person.kinds() == [Began, Paused, Ended]
    assert person.times(Ended) == near(2.0)


def test_too_little_speech_asks_nothing() -> None:
    """A cough is dropped with the person's silence."""
    person = Person().hear("###" + "." * 40)
    assert person.kinds() == [Began, Dropped]
    assert person.times(Dropped) == near(0.5)


def test_a_held_button_asks_nothing() -> None:
    """It says itself when the turn ends."""
    person = Person()
    person.turns.press(0.0)
    person.hear("#" * 10 + "." * 40)
    assert person.kinds() == [Paused]
    person.turns.release(50 * CHUNK)
    assert person.hear("." * 10).kinds() == [Paused, Ended]


def test_a_turn_has_its_longest_length_all_the_same() -> None:
    """Half a sentence at the bound: it ends there, and no check is begun with it."""
    person = Person(*[False] * 400, silence=0.2)
    person.hear(("#" * 6 + "." * 7) * 90)
    ended = [event for event, _ in person.found if isinstance(event, Ended)]
    assert ended[0].until - ended[0].since <= MOST_TURN_SECONDS + CHUNK
    for (event, at), (after, later) in itertools.pairwise(person.found):
        assert not (isinstance(event, Asked) and isinstance(after, Ended) and at == later)


@given(
    st.lists(st.integers(1, 80), max_size=12),
    st.lists(st.sampled_from([True, False, None]), max_size=20),
    st.sampled_from([0.2, 0.3, 0.5, 0.8, 1.4, 2.0]),
    st.integers(0, 9),
)
def test_whatever_it_says_the_bounds_hold(
    runs: list[int], answers: list[bool | None], silence: float, after: int
) -> None:
    """No turn ends before the person's silence, nor later than two seconds; three checks a pause, one
    at a time; the pause is known when it is without a model.
    """
    pattern = "".join(("#" if at % 2 == 0 else ".") * length for at, length in enumerate(runs))
    person = Person(*answers, silence=silence, after=after).hear(pattern + "." * 80)
    checks = 0
    for event, at in person.found:
        if isinstance(event, Began | Resumed):
            checks = 0
        checks += isinstance(event, Asked)
        assert checks <= len(CHECKS)
        if isinstance(event, Paused):
            assert [at] == near(0.2)
        if isinstance(event, Ended) and event.until - event.since < MOST_TURN_SECONDS - CHUNK:
            assert reached(at, silence)
            assert at <= MOST_WAIT_SECONDS + CHUNK
