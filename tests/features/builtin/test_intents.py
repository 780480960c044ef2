"""The intent of a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.messages import MAX_QUESTION_CHARS
from server.features.builtin.answers import social
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES, language, language_of
from server.features.builtin.wants import Want
from tests.features.builtin.words import WORDS


@pytest.mark.parametrize(
    ("want", "question"), [(want, one) for want, some in WORDS["six"].items() for one in some]
)
def test_questions_are_understood(want: str, question: str) -> None:
    """In six languages; those in ten more are in test_language.py."""
    assert understand(question).want is Want(want)


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_answers_about_itself(code: str) -> None:
    """With what it is and can do, and whether the microphone is on."""
    words = language(code)
    who, machine, hears = (understand(one, page=code) for one in WORDS["itself"][code])
    for things, does in ((True, "help"), (False, "help_plain")):
        said = {social(one, things) for one in (who, machine)}
        assert said == {words.sentence(words.say("self"), words.say(does))}
    assert social(hears, hears=True) == words.say("yes")
    assert social(hears) == words.say("hears_not")


@pytest.mark.parametrize(
    "question",
    [
        *("Who are you looking at?", "Can you hear the music?", "Who made this?", "What is it?"),
        *("Are you open on Sunday?", "Wer ist das?", "Is the light on?", "¿Quién es?"),
    ],
)
def test_what_is_asked_about_the_picture_is_not_about_itself(question: str) -> None:
    assert social(understand(question)) is None


def test_what_does_it_say_asks_for_everything() -> None:
    """An open question names no words to look for."""
    assert understand("What does it say?").want is Want.READ


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("What is this?", None, "en"),
        ("Was ist das?", None, "de"),
        ("Où est le prix ?", None, "fr"),
        ("¿Qué color es?", None, "es"),
        ("What is this?", "de-AT", "de"),
        ("Was ist das?", "el", "de"),
        ("Was ist das?", "ja", "ja"),
        ("", None, "en"),
        ("Сколько это стоит?", None, "ru"),
        ("多少钱？", None, "zh"),
        ("이게 뭐예요?", None, "ko"),
        ("Τι είναι αυτό;", None, "en"),
        ("Τι είναι αυτό;", "ar", "ar"),
        ("What is this?", "zh-CN", "zh"),
    ],
)
def test_the_answer_is_in_the_language_asked_for_or_the_questions(
    question: str, language: str | None, expected: str
) -> None:
    """A chosen language that is not spoken here leaves it to the question."""
    assert understand(question, language).language == expected


@given(st.text(max_size=200))
def test_any_question_is_understood_somehow(text: str) -> None:
    """Nothing a person types breaks it."""
    assert understand(text).language in LANGUAGES


@pytest.mark.parametrize(
    "piece", ["does it say ", "is the word ", '"', "a ", "'x", "dice ", "123 "]
)
def test_the_longest_question_is_understood_quickly(piece: str) -> None:
    """No pattern takes long over a question of the largest allowed size."""
    import time

    begin = time.thread_time()
    understand((piece * MAX_QUESTION_CHARS)[:MAX_QUESTION_CHARS])
    assert time.thread_time() - begin < 0.5


@pytest.mark.parametrize(
    ("question", "place", "weekday", "in_days", "named"),
    [
        ("What colour is on the left?", "left", None, None, ()),
        ("Welche Farbe ist unten?", "bottom", None, None, ()),
        ("Какой цвет справа?", "right", None, None, ()),
        ("Is it red or green?", "", None, None, ("red", "green")),
        ("When does it open on Saturdays?", "", 5, None, ()),
        ("¿Está abierto el miércoles?", "", 2, None, ()),
        ("Is it open today?", "", None, 0, ()),
        ("Ist morgen geöffnet?", "", None, 1, ()),
    ],
)
def test_places_days_and_colours_are_taken_from_the_question(
    question: str, place: str, weekday: int | None, in_days: int | None, named: tuple[str, ...]
) -> None:
    """The part of the picture, the day of the week, today and tomorrow."""
    intent = understand(question)
    assert (intent.place, intent.weekday, intent.in_days) == (place, weekday, in_days)
    assert set(intent.colours) == set(named)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cup is red, and there is a spoon in it.", "en"),
        ("Die Tasse ist rot, und da liegt ein Löffel.", "de"),
        ("La tasse est rouge, et il y a une cuillère.", "fr"),
        ("La taza es roja y hay una cuchara.", "es"),
        ("Чашка красная, а на столе есть ложка.", "ru"),
        ("カップは赤いです。", "ja"),
        ("杯子是红色的。", "zh"),
        ("컵은 빨간색입니다.", "ko"),
        ("42", None),
        ("OK.", None),
        ("Το φλιτζάνι είναι κόκκινο.", None),
    ],
)
def test_the_language_of_an_answer(text: str, code: str | None) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize("page", ["", "fr", "it"])
def test_a_question_with_inverted_words_is_french(page: str) -> None:
    """Its "il" and "un" are Italian, too."""
    intent = understand("Y a-t-il un chat ?", page=page)
    assert (intent.language, intent.things) == ("fr", ("cat",))
    assert understand("C'è un gatto?", page=page).language == "it"
