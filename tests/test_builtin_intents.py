"""What a question asks for."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engines.builtin import colours
from server.engines.builtin.intents import LANGUAGES, Want, understand
from server.engines.builtin.phrases import COLOURS, PHRASES
from server.messages import MAX_QUESTION_CHARS

QUESTIONS = {
    Want.SUMMARY: ["What is this?", "Was ist das?", "Qu'est-ce que c'est ?", "¿Qué es esto?"],
    Want.READ: [
        "Read this",
        "What does the label say?",
        "Was steht auf dem Schild?",
        "Lies das vor",
        "Qu’est-ce qui est écrit ?",
        "¿Qué dice la etiqueta?",
    ],
    Want.PRICE: [
        "How much does it cost?",
        "Was kostet das?",
        "Combien ça coûte ?",
        "¿Cuánto cuesta?",
    ],
    Want.EXPIRY: [
        "When does it expire?",
        "Wann läuft es ab?",
        "Quelle est la date de péremption ?",
        "¿Cuándo caduca?",
    ],
    Want.PHONE: ["What's the phone number?", "Wie lautet die Telefonnummer?"],
    Want.EMAIL: ["What is the e-mail address?", "Wie ist die E-Mail-Adresse?"],
    Want.URL: ["Which website is it?", "¿Cuál es el sitio web?"],
    Want.CODE: ["Scan the QR code", "Was sagt der Strichcode?"],
    Want.WEIGHT: ["How heavy is it?", "Combien de grammes ?"],
    Want.PERCENT: ["How much alcohol is in it?", "Wie viel Prozent?"],
    Want.COLOUR: ["What colour is it?", "Welche Farbe hat es?", "¿De qué color es?"],
    Want.FACES: [
        "How many faces are there?",
        "Is anybody there?",
        "Wie viele Leute sind da?",
        "Combien de personnes y a-t-il ?",
        "¿Cuántas personas hay?",
    ],
    Want.LIGHT: ["Is it dark?", "Ist es dunkel?", "Est-ce qu'il fait sombre ?", "¿Está oscuro?"],
    Want.SHARP: ["Is it blurry?", "Ist es scharf?"],
    Want.MOTION: ["Did anything move?", "Bewegt sich etwas?"],
    Want.CHANGE: ["What changed?", "Hat sich etwas verändert?", "¿Ha cambiado algo?"],
    Want.NUMBER: ["What number is it?", "Quel est le numéro ?"],
    Want.TIME: ["What time is it?", "Wie spät ist es?", "Quelle heure est-il ?"],
    Want.DATE: ["What date is it?", "Welches Datum?"],
    Want.LOOKUP: ["What's the total?", "Which gate?", "Is that a dog?"],
}


@pytest.mark.parametrize(
    ("want", "question"), [(want, one) for want, some in QUESTIONS.items() for one in some]
)
def test_questions_are_understood(want: Want, question: str) -> None:
    """In four languages."""
    assert understand(question).want is want


@pytest.mark.parametrize(
    ("question", "target"),
    [
        ("Does it say gluten free?", "gluten free"),
        ('Does it say "Exit"?', "Exit"),
        ("Is the word MILK there?", "milk"),
        ("Steht da Milch drauf?", "milch"),
        ("Est-il écrit « sortie » ?", "sortie"),
        ("¿Dice salida?", "salida"),
    ],
)
def test_does_it_say(question: str, target: str) -> None:
    """What is asked after is taken out of the question."""
    intent = understand(question)
    assert intent.want is Want.SAYS
    assert intent.target == target


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
        ("Was ist das?", "ja", "de"),
        ("", None, "en"),
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

    begin = time.perf_counter()
    understand((piece * MAX_QUESTION_CHARS)[:MAX_QUESTION_CHARS])
    assert time.perf_counter() - begin < 0.5


def test_every_language_says_everything() -> None:
    """The same keys with the same fields in each language, and a name for each colour."""

    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for language in LANGUAGES:
        assert PHRASES[language].keys() == PHRASES["en"].keys()
        for key, text in PHRASES[language].items():
            assert names(text) == names(PHRASES["en"][key]), (language, key)
        assert len(COLOURS[language].split()) == len(colours.NAMES)
