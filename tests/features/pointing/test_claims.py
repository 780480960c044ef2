"""Two answers to one question, compared by what they claim."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.pointing import claims
from server.features.pointing.claims import Verdict, compare, find_numbers, format_contradiction
from tests.support.words import CODES as LANGUAGES

ROOT = Path(__file__).parents[3]
DATA = tomllib.loads(Path(claims.__file__).with_name("claims.toml").read_text(encoding="utf-8"))
A, D, U, N = Verdict.AGREES, Verdict.DIFFERS, Verdict.UNSURE, Verdict.UNSEEN
DOSE, LIGHT = "What is the dose?", "Is the traffic light green?"
# By language: an answer about a dose, one that agrees and one that differs; then of yes and no the same; then a date
ANSWERS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "en": (
        ("The dose is 5 mg.", "It says 5 milligrams.", "It says 50 mg."),
        ("Yes, it is off.", "Yes.", "No, it is on."),
        ("It expires on 12 May 2027.", "12.05.2027", "12 May 2026"),
    ),
    "de": (
        ("Die Dosis ist 0,5 g.", "Dosis: 500 Milligramm.", "Die Dosis ist 5 g."),
        ("Ja, der Herd ist aus.", "Ja.", "Nein, der Herd ist an."),
        ("Haltbar bis 12. Mai 2027.", "12.05.27", "12. Mai 2028"),
    ),
    "fr": (
        ("La dose est de 5 mg.", "Dose : 5 mg", "La dose est de 50 mg."),
        ("Oui, il est éteint.", "Oui.", "Non, il est allumé."),
        ("Avant le 3 février 2027.", "03/02/2027", "3 mars 2027"),
    ),
    "es": (
        ("La dosis es de 5 mg.", "Dosis: 5 miligramos.", "La dosis es de 50 mg."),
        ("Sí, está apagado.", "Sí.", "No, está encendido."),
        ("Caduca el 3 de marzo de 2027.", "03/03/2027", "3 de abril de 2027"),
    ),
    "it": (
        ("La dose è di 5 ml.", "Dose: 5 millilitri.", "La dose è di 50 ml."),
        ("Sì, è spento.", "Sì.", "No, è acceso."),
        ("Scade il 3 marzo 2027.", "03/2027", "04/2027"),
    ),
    "pt": (
        ("A dose é de 5 mg.", "Dose: 5 mg", "A dose é de 50 mg."),
        ("Sim, está desligado.", "Sim.", "Não, está ligado."),
        ("Validade: 3 de março de 2027.", "03/03/2027", "13/03/2027"),
    ),
    "nl": (
        ("De dosis is 5 mg.", "Dosis: 5 milligram.", "De dosis is 50 mg."),
        ("Ja, hij staat uit.", "Ja.", "Nee, hij staat aan."),
        ("Houdbaar tot 3 maart 2027.", "03-03-2027", "3 mei 2027"),
    ),
    "pl": (
        ("Dawka to 5 mg.", "Dawka: 5 miligramów.", "Dawka to 50 mg."),
        ("Tak, jest wyłączony.", "Tak.", "Nie, jest włączony."),
        ("Termin ważności: 3 maja 2027.", "03.05.2027", "3 lipca 2027"),
    ),
    "ru": (
        ("Доза 5 мг.", "Доза: 5 миллиграммов.", "Доза 50 мг."),
        ("Да, плита выключена.", "Да.", "Нет, плита включена."),
        ("Годен до 3 мая 2027.", "03.05.2027", "3 июля 2027"),
    ),
    "uk": (
        ("Доза 5 мг.", "Доза: 5 міліграмів.", "Доза 50 мг."),
        ("Так, плиту вимкнено.", "Так.", "Ні, плиту увімкнено."),
        ("Придатний до 3 травня 2027.", "03.05.2027", "3 липня 2027"),
    ),
    "zh": (
        ("剂量是5毫克。", "5 mg", "剂量是50毫克。"),
        ("是的，已关闭。", "是的。", "不，还开着。"),
        ("炉子关了。", "炉子已关闭。", "炉子还没关。"),
        ("保质期至2027年5月12日。", "2027-05-12", "2026年5月12日"),
    ),
    "ja": (
        ("用量は５ミリグラムです。", "5 mg", "用量は50ミリグラムです。"),
        ("はい、消えています。", "はい。", "いいえ、ついています。"),
        ("賞味期限は2027年5月12日です。", "2027.05.12", "2027年6月12日"),
    ),
    "ko": (
        ("복용량은 5밀리그램입니다.", "5 mg", "복용량은 50밀리그램입니다."),
        ("네, 꺼져 있습니다.", "네.", "아니요, 켜져 있습니다."),
        ("유통기한은 2027년 5월 12일입니다.", "2027.05.12", "2027년 6월 12일"),
    ),
    "tr": (
        ("Doz 5 mg.", "Doz: 5 miligram.", "Doz 50 mg."),
        ("Evet, ocak kapalı.", "Evet.", "Hayır, ocak açık."),
        ("Son kullanma: 3 Mayıs 2027.", "03.05.2027", "3 Temmuz 2027"),
    ),
    "ar": (
        ("الجرعة ٥ ملغ.", "5 ملغ", "الجرعة ٥٠ ملغ."),
        ("نعم، الموقد مطفأ.", "نعم.", "لا، الموقد مشتعل."),
        ("صالح حتى 3 مايو 2027.", "03/05/2027", "3 يوليو 2027"),
    ),
    "hi": (
        ("खुराक ५ मिलीग्राम है।", "5 मिलीग्राम", "खुराक 50 मिलीग्राम है।"),
        ("हाँ, चूल्हा बंद है।", "हाँ।", "नहीं, चूल्हा चालू है।"),
        ("3 मई 2027 तक।", "03/05/2027", "3 जून 2027"),
    ),
}


def test_a_second_look_that_finds_nothing_does_not_differ_by_what_it_quotes() -> None:
    first = "BEST BEFORE 12 MAR 2027: 102 days left."
    lost = "I couldn't find that in the text. It says: BEST BEFORE · 4.50 EUR"
    assert compare("When does it expire?", first, lost) is N
    assert compare("When does it expire?", first, "BEST BEFORE 12 MAR 2028: 468 days left.") is D


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_numbers_yes_and_no_and_dates_are_compared_in_each_language(language: str) -> None:
    for told, same, other in ANSWERS[language]:
        assert (compare("", told, same), compare("", told, other)) == (A, D), told
        assert compare("", told, told) is A


def test_each_language_has_all_words() -> None:
    assert ANSWERS.keys() == LANGUAGES
    for name, table in DATA.items():
        assert name == "unit" or table.keys() == LANGUAGES, name


@pytest.mark.parametrize(
    ("question", "first", "second", "verdict"),
    [
        # The first claim counts; what the second one adds does not.
        (DOSE, "Take 400 mg.", "Take 400 mg, at most 1200 mg a day.", A),
        (DOSE, "5-10 mg", "5 to 10 mg", U),
        (DOSE, "5-10 mg", "5–10 mg", A),
        (DOSE, "5 mg. Keep below 25 °C.", "5 mg. Keep below 30 °C.", A),
        # A date that may be read in two ways, and one with the month first
        # Fractions
        ("How heavy is it?", "It says 10 1/2 OZ.", "10.5 oz", A),
        ("How heavy is it?", "1¾ kg", "1750 g", A),
        ("How heavy is it?", "½ kg", "250 g", D),
        ("", "It expires on 02/05/27.", "February 5, 2027", A),
        ("", "It expires on 02/05/27.", "May 2, 2027", A),
        ("", "It expires on 02/05/27.", "July 2, 2027", D),
        ("", "Best by FEB 05 2027.", "2027-02-05", A),
        ("", "Enjoy by Nov 9, 2026.", "11 September 2026", D),
        # A part alone
        (DOSE, "5 mg in the morning, 50 mg at night", "50 mg at night", U),
        (DOSE, "5 mg in the morning, 50 mg at night", "5 mg and 500 mg", D),
        # Other units
        (DOSE, "0.5 g", "500 mg", A),
        (DOSE, "1,000 mg", "1 g", A),
        (DOSE, "1.5 ml", "1,5 ml", A),
        (DOSE, "0.125 mg", "125 µg", A),
        (DOSE, "0.125 mg", "125 mg", D),
        (DOSE, "2 tablets", "2 pills", A),
        (DOSE, "5 mg", "5 ml", U),
        (DOSE, "400mg", "400 mg", A),
        ("What voltage?", "230 V", "0.23 kV", A),
        ("What voltage?", "230 V", "23 V", D),
        # Names
        ("What medicine is this?", "It is Ibuprofen 400 mg.", "It is Paracetamol 400 mg.", U),
        ("What medicine is this?", "It is Ibuprofen 400 mg.", "Ibuprofen 400 mg", A),
        # A light's colour counts only where it was asked for.
        (LIGHT, "It is green.", "The light is red.", D),
        (LIGHT, "It is green.", "Green.", A),
        (DOSE, "The green box says 5 mg.", "The red box says 5 mg.", A),
        ("What is it?", "A green box of pills", "A red box of pills", U),
        # On and off, expired and not
        ("Is the stove off?", "The stove is off.", "The stove is on.", D),
        ("Is it expired?", "It is not expired.", "It has expired.", D),
        ("Is it expired?", "It has expired.", "It is out of date.", A),
        ("Is it safe?", "It is safe to eat.", "It is not safe to eat.", D),
        # Words alone
        ("Any allergens?", "It contains milk and soy.", "Contains milk, soy", A),
        ("Any allergens?", "It contains milk and soy.", "It does not contain milk and soy.", U),
        ("Any allergens?", "It contains milk and soy.", "Contains hazelnuts", U),
        ("Is the door shut?", "I can't tell from here.", "I can't tell from here.", N),
        (DOSE, "5 mg", "NONE", N),
        (DOSE, "5 mg", '"NONE".', N),
        (DOSE, "5 mg", " ", N),
        (DOSE, "5 mg", "The dose is not visible.", N),
        (DOSE, "I cannot read the number.", "5 mg", U),
        (DOSE, "1. Take 5 mg", "Take 5 mg", A),
        (DOSE, "Vitamin B12, 5 mg", "Vitamin B12, 5 mg", A),
        # "No" as another word: "on the label"
        (DOSE, "No rótulo está escrito 5 mg.", "Sim, 5 mg.", A),
    ],
)
def test_what_counts(question: str, first: str, second: str, verdict: Verdict) -> None:
    assert compare(question, first, second) is verdict


def test_two_looks_that_see_nothing_agree_about_nothing() -> None:
    """Also in the words of the built-in engine."""
    for language in LANGUAGES:
        file = ROOT / f"server/features/builtin/languages/{language}.json"
        phrases = json.loads(file.read_text(encoding="utf-8"))["phrases"]
        for name in ("no_text", "cannot"):
            assert compare("", phrases[name], phrases[name]) is N, (language, name)


def test_the_sentence_quotes_what_differs_in_each_language() -> None:
    """The sentence of the second answer that has a claim, without its mark."""
    for language in LANGUAGES:
        said = format_contradiction("I looked again. It says 50 mg. Be careful!", language)
        assert "It says 50 mg" in said
        assert "Be careful" not in said
        assert "{" not in said
    assert format_contradiction("50 mg", "pt-BR") == format_contradiction("50 mg", "pt")
    assert format_contradiction("50 mg", "xx") == format_contradiction("50 mg", "en")
    assert len(format_contradiction("5 " + "very " * 500, "en")) < 400


def test_no_sentence_speaks_of_certainty() -> None:
    assert all(word not in DATA["differs"]["en"].lower() for word in ("certain", "sure"))


def test_print_is_found_by_its_numbers() -> None:
    assert find_numbers("Take 5 mg daily") & find_numbers("DOSE: 5 MG")
    assert not find_numbers("Take 5 mg daily") & find_numbers("LOT 4471")
    assert find_numbers("until 12 May 2027") & find_numbers("EXP 12.05.2027")
    assert (
        find_numbers("May 12, 2027")
        & find_numbers("EXP 05/12/27")
        & find_numbers("5 Dec 2027 12/05/27")
    )


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=60))
def test_any_two_texts_are_compared(first: str, second: str, question: str) -> None:
    assert compare(question, first, second) in Verdict
    assert format_contradiction(second, "en")


def test_it_takes_time_in_proportion_to_the_text() -> None:
    """And looks at a bounded part of it."""
    for text in ("1." * 50_000, "5-" * 50_000, "a" * 100_000, "5 mg " * 30_000, "." * 100_000):
        begun = time.perf_counter()
        compare(text, text, text)
        assert time.perf_counter() - begun < 2
