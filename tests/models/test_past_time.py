"""The time that a question about the past names, in every language of the page."""

from __future__ import annotations

import math

import pytest

from server.core.frames import Route
from server.models.routing import (
    PAST_PARTS,
    PAST_WORDS,
    START_PARTS,
    START_WORDS,
    UNIT_PARTS,
    UNIT_WORDS,
    Span,
    route_of,
    span_in,
)

# By language: two minutes ago, in the last minute, ten seconds ago
QUESTIONS = {
    "en": (
        "Who was here two minutes ago?",
        "What happened in the last minute?",
        "What did I show 10 seconds ago?",
    ),
    "de": (
        "Wer war vor zwei Minuten hier?",
        "Was ist in der letzten Minute passiert?",
        "Was war vor 10 Sekunden zu sehen?",
    ),
    "fr": (
        "Qui était là il y a deux minutes ?",
        "Que s'est-il passé la dernière minute ?",
        "Et il y a 10 secondes ?",
    ),
    "es": (
        "¿Quién estaba hace dos minutos?",
        "¿Qué pasó en el último minuto?",
        "¿Qué había hace 10 segundos?",
    ),
    "it": (
        "Chi c'era due minuti fa?",
        "Cosa è successo nell'ultimo minuto?",
        "Cosa c'era dieci secondi fa?",
    ),
    "pt": (
        "Quem estava aqui há dois minutos?",
        "O que aconteceu no último minuto?",
        "E dez segundos atrás?",
    ),
    "nl": (
        "Wie was hier twee minuten geleden?",
        "Wat is er de laatste minuut gebeurd?",
        "En tien seconden geleden?",
    ),
    "pl": (
        "Kto tu był dwie minuty temu?",
        "Co się stało w ostatniej minucie?",
        "Co było 10 sekund temu?",
    ),
    "ru": (
        "Кто был здесь две минуты назад?",
        "Что произошло за последнюю минуту?",
        "А десять секунд назад?",
    ),
    "tr": ("İki dakika önce kim vardı?", "Son dakikada ne oldu?", "On saniye önce ne vardı?"),
    "uk": ("Хто тут був дві хвилини тому?", "Що сталося за останню хвилину?", "А 10 секунд тому?"),
    "ar": ("من كان هنا قبل دقيقتين؟", "ماذا حدث في الدقيقة الأخيرة؟", "ماذا كان قبل 10 ثواني؟"),
    "hi": ("दो मिनट पहले कौन था?", "पिछले एक मिनट में क्या हुआ?", "10 सेकंड पहले क्या था?"),
    "zh": ("两分钟前谁在这里？", "过去一分钟发生了什么？", "10秒前有什么？"),
    "ja": ("2分前に誰がいましたか？", "この1分間に何がありましたか？", "十秒前は何でしたか？"),
    "ko": ("2분 전에 누가 있었어?", "지난 1분 동안 무슨 일이 있었어?", "십초 전에 뭐였어?"),
}
STARTED = {
    "en": "What has changed since I started?",
    "de": "Was ist passiert, seit ich angefangen habe?",
    "fr": "Que s'est-il passé depuis que j'ai commencé ?",
    "es": "¿Qué ha cambiado desde que empecé?",
    "it": "Cosa è cambiato da quando ho iniziato?",
    "pt": "O que mudou desde que comecei?",
    "nl": "Wat is er veranderd sinds het begin?",
    "pl": "Co się zmieniło, odkąd zacząłem?",
    "ru": "Что изменилось с самого начала?",
    "tr": "Başladığımdan beri ne değişti?",
    "uk": "Що змінилося, відколи я почав?",
    "ar": "ماذا تغير منذ البداية؟",
    "hi": "शुरू से क्या बदला?",
    "zh": "从我开始到现在有什么变化？",
    "ja": "始めてから何が変わりましたか？",
    "ko": "처음부터 뭐가 바뀌었어?",
}


def test_every_language_has_its_words() -> None:
    assert {*UNIT_WORDS, *UNIT_PARTS} == {*QUESTIONS} == {*PAST_WORDS, *PAST_PARTS} == {*STARTED}
    assert {*START_WORDS, *START_PARTS} == {*STARTED}


@pytest.mark.parametrize("language", QUESTIONS)
def test_a_time_is_found_in_every_language(language: str) -> None:
    """People guess: "two minutes ago" is at least one and a half to two and a half."""
    two_ago, last_one, ten_ago = map(span_in, QUESTIONS[language])
    assert two_ago is not None
    assert ten_ago is not None
    assert two_ago.since >= 150
    assert 30 <= two_ago.until <= 90
    assert last_one == Span(60, 0)
    assert 13 <= ten_ago.since <= 25
    assert ten_ago.until <= 7
    assert {route_of(question) for question in QUESTIONS[language]} == {Route.PAST}
    assert span_in(STARTED[language]) == Span(math.inf, 0)
    assert route_of(STARTED[language]) is Route.PAST


@pytest.mark.parametrize(
    ("question", "seconds"),
    [
        ("What happened in the last 30 seconds?", 30),
        ("Summarize the past five minutes.", 300),
        ("What was on the table in the last half a minute?", 30),
        ("What happened in the last few minutes?", 240),
        ("Was ist in den letzten Minuten passiert?", 240),
        ("Les deux dernières minutes ?", 120),
        ("Anything in the last hour?", 3600),
        ("Was there a cat one minute ago, or in the last ١٠ minutes?", 600),
    ],
)
def test_the_last_so_much(question: str, seconds: float) -> None:
    assert span_in(question) == Span(seconds, 0)


@pytest.mark.parametrize(
    "question",
    [
        "What is this?",
        "How many minutes does it say?",
        "Boil it for 8 minutes, is that right?",
        "Was kostet die Minute?",
        "What happened an hour ago?",
        "この部分は何ですか？",
        "Take one 30 minutes before meals?",
        "",
    ],
)
def test_no_time(question: str) -> None:
    """A duration is no time in the past; an hour ago is beyond any memory's middle."""
    assert span_in(question) is None
