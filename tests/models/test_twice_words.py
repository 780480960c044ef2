"""Questions of safety and medicine, by the words of each language, and questions that only look like them."""

from __future__ import annotations

import pytest

from server.core.frames import Detail, Route
from server.models import routing
from server.models.routing import choose, route_of
from tests.support.languages import LANGUAGES

# By language: of medicine, food, traffic, fire, electricity, warnings, and doubts
TWICE: dict[str, tuple[str, ...]] = {
    "en": (
        "What is the dose on this bottle?",
        "How many mg does it say?",
        "Does this contain nuts?",
        "Am I allergic to anything in this?",
        "Is this expired?",
        "What's the expiry date?",
        "Is the traffic light green?",
        "Can I cross?",
        "Is the stove off?",
        "Is the oven still on?",
        "What voltage is it?",
        "What does the warning label say?",
        "Is this mushroom safe to eat?",
        "Are you sure?",
    ),
    "de": (
        "Wie hoch ist die Dosis?",
        "Ist das Joghurt abgelaufen?",
        "Ist die Ampel grün?",
        "Ist der Herd aus?",
        "Kann ich das essen?",
        "Was steht im Warnhinweis?",
        "Bist du sicher?",
    ),
    "fr": (
        "Quelle est la posologie ?",
        "Est-ce périmé ?",
        "Le feu pour piétons est-il vert ?",
        "Est-ce que le four est éteint ?",
        "Tu es sûr ?",
    ),
    "es": (
        "¿Cuál es la dosis?",
        "¿Está caducado?",
        "¿Está verde el semáforo?",
        "¿Está apagado el horno?",
        "¿Estás seguro?",
    ),
    "it": (
        "Qual è la posologia?",
        "È scaduto?",
        "Il semaforo è verde?",
        "Il fornello è spento?",
        "Sei sicuro?",
    ),
    "pt": (
        "Qual é a dose?",
        "Está fora do prazo?",
        "O semáforo está verde?",
        "O fogão está desligado?",
        "Tem certeza?",
    ),
    "nl": (
        "Wat is de dosering?",
        "Is dit over de datum?",
        "Is het stoplicht groen?",
        "Is het gas uit?",
        "Weet je het zeker?",
    ),
    "pl": (
        "Jaka jest dawka?",
        "Czy to jest przeterminowane?",
        "Czy mogę przejść?",
        "Czy kuchenka jest wyłączona?",
        "Jesteś pewien?",
    ),
    "ru": (
        "Какая дозировка?",
        "Это просрочено?",
        "На светофоре зелёный?",
        "Выключена ли плита?",
        "Ты уверен?",
    ),
    "uk": (
        "Яке дозування?",
        "Це прострочено?",
        "На світлофорі зелений?",
        "Чи вимкнена плита?",
        "Ти впевнений?",
    ),
    "zh": ("剂量是多少?", "这个过期了吗?", "红绿灯是绿的吗?", "炉子关了吗?", "你确定吗?"),
    "ja": (
        "用量はいくつですか",
        "期限が切れていますか",
        "信号は青ですか",
        "コンロは消えていますか",
        "確かですか",
    ),
    "ko": (
        "복용량이 얼마예요?",
        "유통기한이 언제예요?",
        "신호등이 초록불이야?",
        "가스레인지가 꺼져 있어?",
        "확실해?",
    ),
    "tr": (
        "Doz kaç mg?",
        "Tarihi geçmiş mi?",
        "Trafik ışığı yeşil mi?",
        "Ocak kapalı mı?",
        "Emin misin?",
    ),
    "ar": (
        "ما هي الجرعة؟",
        "هل انتهت صلاحيته؟",
        "هل إشارة المرور خضراء؟",
        "هل الموقد مطفأ؟",
        "هل أنت متأكد؟",
    ),
    "hi": (
        "खुराक कितनी है?",
        "क्या यह एक्सपायर हो गया?",
        "क्या ट्रैफिक लाइट हरी है?",
        "क्या चूल्हा बंद है?",
        "क्या तुम्हें यकीन है?",
    ),
}
NEAR = {
    "en": (
        "Is this a green light bulb?",
        "What is on the stove?",
        "Is the light on?",
        "Is this shirt light green?",
        "Is the iron door open?",
        "What colour is the car?",
        "Read this",
    ),
    "de": (
        "Was ist in der Dose?",
        "Wie viele Dosen sind das?",
        "Ist der Herd neu?",
        "Was kostet das?",
    ),
    "fr": ("C'est un poisson ?", "De quelle couleur est le feu de camp ?"),
    "es": ("¿De qué color es el horno?", "¿Qué dice la etiqueta?"),
    "it": ("Che cosa c'è sul fornello?", "Che colore ha il ferro?"),
    "pt": ("O que está no fogão?", "De que cor é o sinal?"),
    "nl": ("Is er een lek?", "Wat staat er op het fornuis?"),
    "pl": ("Co stoi na kuchence?", "Jaki to kolor?"),
    "ru": ("Что стоит на плите?", "Какого цвета лампа?"),
    "uk": ("Що стоїть на плиті?", "Якого кольору лампа?"),
    "zh": ("灯是什么颜色?", "炉子上有什么?"),
    "ja": ("電気は何色ですか", "コンロの上に何がありますか"),
    "ko": ("전등이 무슨 색이야?", "이 약간 이상한 건 뭐야?"),
    "tr": ("Ocağın üstünde ne var?", "Lamba ne renk?"),
    "ar": ("ما لون المصباح؟", "ماذا يوجد فوق الموقد؟"),
    "hi": ("बल्ब का रंग क्या है?", "चूल्हे पर क्या है?"),
}


def _all(table: dict[str, tuple[str, ...]]) -> list[str]:
    return [question for questions in table.values() for question in questions]


@pytest.mark.parametrize("question", _all(TWICE))
def test_such_a_question_is_looked_at_twice(question: str) -> None:
    assert route_of(question) is Route.TWICE
    assert choose(question, Detail.AUTO, None) == (Route.TWICE, Detail.HIGH)


@pytest.mark.parametrize("question", _all(NEAR))
def test_a_question_that_looks_like_one_is_none(question: str) -> None:
    assert route_of(question) is not Route.TWICE


def test_each_language_has_words_and_questions() -> None:
    assert TWICE.keys() == NEAR.keys() == LANGUAGES
    assert routing.TWICE["words"].keys() | routing.TWICE["parts"].keys() == LANGUAGES


def test_each_phrase_alone_has_its_route() -> None:
    """None is empty, and none has another meaning in another table."""
    for language, entries in (*routing.TWICE["words"].items(), *routing.TWICE["parts"].items()):
        for entry in entries.split(","):
            phrase = entry.strip().rstrip("*")
            assert phrase, f"an empty entry ({language})"
            assert route_of(phrase) is Route.TWICE, f"{phrase} ({language})"


def test_other_routes_come_first_and_a_client_may_choose() -> None:
    assert route_of("Where is my medicine?") is Route.WHERE
    assert route_of("What was the dose a minute ago?") is Route.PAST
    assert route_of("Read the warning to me") is not Route.NOW
    assert choose("Is the stove off?", Detail.AUTO, Route.NOW) == (Route.NOW, Detail.LOW)
    assert choose("What is this?", Detail.AUTO, Route.TWICE) == (Route.TWICE, Detail.HIGH)
    # The first look is as large as the person wants it.
    assert choose("Is the stove off?", Detail.LOW, None) == (Route.TWICE, Detail.LOW)
