"""The intent of a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.messages import MAX_QUESTION_CHARS
from server.features.builtin.intents import language_of, understand
from server.features.builtin.language import LANGUAGES
from server.features.builtin.wants import Want

QUESTIONS = {
    Want.HELLO: ["hi", "Hello!", "Hallo", "Bonjour !", "¡Hola!", "Привет", "你好"],
    Want.THANKS: [
        "thanks",
        "Thank you so much!",
        "Danke",
        "Merci beaucoup",
        "Gracias",
        "Спасибо!",
        "谢谢",
    ],
    Want.HELP: [
        "What can you do?",
        "help",
        "Was kannst du?",
        "Que peux-tu faire ?",
        "¿Qué puedes hacer?",
    ],
    Want.TRANSLATE: [
        "Translate this",
        "Übersetz das",
        "Traduis ça",
        "Traduce esto",
        "Переведи",
        "翻译一下",
    ],
    Want.SUMMARISE: [
        "Summarise this",
        "Summarize it",
        "Fass das zusammen",
        "Résume ça",
        "Resume esto",
    ],
    Want.SAFE: [
        "Is this link safe?",
        "Ist der Link sicher?",
        "Ce lien est-il sûr ?",
        "¿Es seguro este enlace?",
    ],
    Want.PASSWORD: [
        "What's the Wi-Fi password?",
        "Wie ist das WLAN-Passwort?",
        "Какой пароль?",
        "密码是什么？",
    ],
    Want.NETWORK: ["Which network is it?", "Wie heißt das WLAN?"],
    Want.MONEY_BACK: ["How much change did I get?", "Wie viel Wechselgeld?"],
    Want.TOTAL: [
        "What's the total?",
        "How much did I pay in total?",
        "Was habe ich insgesamt bezahlt?",
        "Quel est le total ?",
        "¿Cuánto es en total?",
        "Сколько всего?",
        "一共多少钱？",
    ],
    Want.UNIT_PRICE: [
        "What is the price per kilo?",
        "Was kostet das Kilo?",
        "Quel est le prix au kilo ?",
    ],
    Want.HOURS: [
        "When does it open?",
        "Is it open on Sunday?",
        "Wann schließt der Laden?",
        "几点关门？",
    ],
    Want.DEPARTURE: ["When does the bus leave?", "Wann fährt der Zug nach Bonn?"],
    Want.POWER: ["How many watts?", "Wie viel Watt hat es?", "Сколько ватт?"],
    Want.TEMPERATURE: ["What's the temperature?", "Wie viel Grad hat es?", "几度？"],
    Want.NAME: ["What medicine is this?", "Welches Medikament ist das?", "这是什么药？"],
    Want.FOREIGN: ["Τι είναι αυτό;", "מה זה?", "นี่คืออะไร", "این چیست؟", "Шта је то љубичасто?"],
    Want.SUMMARY: [
        "What is this?",
        "Was ist das?",
        "Qu'est-ce que c'est ?",
        "¿Qué es esto?",
        "Что это?",
        "这是什么？",
    ],
    Want.READ: [
        "Read this",
        "What does the label say?",
        "Was steht auf dem Schild?",
        "Lies das vor",
        "Qu’est-ce qui est écrit ?",
        "¿Qué dice la etiqueta?",
        "Hello, what does this say?",
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
    ],
    Want.THING: [
        "Is that a dog?",
        "Do you see a cup?",
        "How many bottles are there?",
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
    Want.LOOKUP: ["Which gate?"],
}


@pytest.mark.parametrize(
    ("want", "question"), [(want, one) for want, some in QUESTIONS.items() for one in some]
)
def test_questions_are_understood(want: Want, question: str) -> None:
    """In six languages; those in ten more are in test_language.py."""
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
    """The sought thing is extracted from the question."""
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
