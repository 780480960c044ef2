"""The languages of the built-in engine: their files, their questions, their plural forms."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.builtin import colours
from server.features.builtin import language as module
from server.features.builtin.answers import answer_small_talk
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES, detect_language, get_language, select_plural
from server.features.builtin.wants import Want
from server.models.routing import plain
from tests.features.builtin.words import WORDS
from tests.support.words import CLIENT, say
from tests.support.words import LANGUAGES as CLIENT_LANGUAGES

FOLDER = Path(module.__file__).with_name("languages")
# The questions of the page's buttons, by the ids of their words
PAGE = {
    "stage.what_is_this": Want.SUMMARY,
    "stage.read_this": Want.READ,
    "stage.what_colour": Want.COLOUR,
    "stage.scan_this": Want.CODE,
    "stage.how_many_people": Want.THING,
}


@pytest.mark.parametrize(
    ("want", "question"), [(want, one) for want, some in WORDS["six"].items() for one in some]
)
def test_questions_are_understood(want: str, question: str) -> None:
    """In six languages."""
    assert understand(question).want is Want(want)


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_answers_about_itself(code: str) -> None:
    """With what it is and can do, and whether the microphone is on."""
    words = get_language(code)
    who, machine, hears = (understand(one, page=code) for one in WORDS["itself"][code])
    for things, does in ((True, "help"), (False, "help_plain")):
        said = {answer_small_talk(one, things) for one in (who, machine)}
        assert said == {words.join_sentence(words.say("self"), words.say(does))}
    assert answer_small_talk(hears, hears=True) == words.say("yes")
    assert answer_small_talk(hears) == words.say("hears_not")


@pytest.mark.parametrize(
    "question",
    [
        *("Who are you looking at?", "Can you hear the music?", "Who made this?", "What is it?"),
        *("Are you open on Sunday?", "Wer ist das?", "Is the light on?", "¿Quién es?"),
    ],
)
def test_what_is_asked_about_the_picture_is_not_about_itself(question: str) -> None:
    assert answer_small_talk(understand(question)) is None


@pytest.mark.parametrize("code", WORDS["first"])
def test_what_somebody_asks_first_is_about_all_that_is_seen(code: str) -> None:
    """No question about the words of a print."""
    asked = {question: understand(question) for question in WORDS["first"][code]}
    assert {one: found.want for one, found in asked.items()} == dict.fromkeys(asked, Want.SUMMARY)


@pytest.mark.parametrize("code", WORDS["ten"])
def test_questions_in_ten_more_are_understood_and_answered_in_them(code: str) -> None:
    """On a page in it; most say by themselves which it is."""
    asked = WORDS["ten"][code]
    found = {text: understand(text, page=code) for text in asked.values()}
    got = {text: (one.want, one.language) for text, one in found.items()}
    assert got == {text: (Want(want), code) for want, text in asked.items()}


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_beyond_it_and_kinds_of_things(code: str) -> None:
    asked = [understand(question) for question in WORDS["beyond"][code]]
    assert [one.want for one in asked] == [Want.BEYOND, Want.BEYOND, Want.SUMMARY]
    assert {one.language for one in asked} == {code}


@pytest.mark.parametrize(
    "question",
    [
        *("What is the recommended dose?", "What voltage does it need?", "How much should I take?"),
        *("Combien dois-je payer ?", "Quelle est la dose recommandée ?", "这个药怎么吃？"),
        *("Из чего состоит сыр?", "材料は何ですか？", "¿Cuál es la dosis recomendada?"),
    ],
)
def test_what_a_label_may_tell_is_not_beyond_it(question: str) -> None:
    assert understand(question).want is not Want.BEYOND


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_pages_own_questions_are_understood(code: str) -> None:
    """Those of the buttons, as the page's translation has them."""
    html = (CLIENT / "index.html").read_text("utf-8")
    assert set(re.findall(r'data-question="([^"]*)"', html)) == set(PAGE)
    for id, want in PAGE.items():
        question = say(id, language=code)
        intent = understand(question)
        wants = {want, Want.FACES} if want is Want.THING else {want}
        assert intent.want in wants, question
        assert intent.language == code, question


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
        ("Che colore c'è a sinistra?", "left", None, None, ()),
        ("È aperto mercoledì?", "", 2, None, ()),
        ("A loja está aberta amanhã?", "", None, 1, ()),
        ("De parede é vermelha ou azul?", "", None, None, ("red", "blue")),
        ("Is het vandaag open?", "", None, 0, ()),
        ("Jaki kolor jest po prawej?", "right", None, None, ()),
        ("Pazar günü açık mı?", "", 6, None, ()),
        ("Який колір унизу?", "bottom", None, None, ()),
        ("ما اللون على اليمين؟", "right", None, None, ()),
        ("बाईं ओर कौन सा रंग है?", "left", None, None, ()),
        ("土曜日は営業していますか？", "", 5, None, ()),
        ("토요일에 영업해요?", "", 5, None, ()),
    ],
)
def test_places_days_and_colours_are_taken_from_the_question(
    question: str, place: str, weekday: int | None, in_days: int | None, named: tuple[str, ...]
) -> None:
    intent = understand(question)
    assert (intent.place, intent.weekday, intent.in_days) == (place, weekday, in_days)
    assert set(intent.colours) == set(named)


@pytest.mark.parametrize(
    ("question", "chosen", "expected"),
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
    question: str, chosen: str | None, expected: str
) -> None:
    """A chosen language that is not spoken here leaves it to the question."""
    assert understand(question, chosen).language == expected


@given(st.text(max_size=200))
def test_any_question_is_understood_somehow(text: str) -> None:
    """Nothing a person types breaks it."""
    assert understand(text).language in LANGUAGES


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
    assert detect_language(text) == code


@pytest.mark.parametrize("page", ["", "fr", "it"])
def test_a_question_with_inverted_words_is_french(page: str) -> None:
    """Its "il" and "un" are Italian, too."""
    intent = understand("Y a-t-il un chat ?", page=page)
    assert (intent.language, intent.things) == ("fr", ("cat",))
    assert understand("C'è un gatto?", page=page).language == "it"


@pytest.mark.parametrize(
    ("code", "forms"),
    [
        ("en", {1: 0, 2: 1}),
        ("pl", {1: 0, 2: 1, 5: 2, 12: 2, 21: 2, 22: 1}),
        ("uk", {1: 0, 3: 1, 11: 2, 21: 0, 112: 2}),
        ("ar", {1: 0, 2: 1, 3: 2, 11: 3, 100: 4, 103: 2}),
    ],
)
def test_plural_forms_are_those_of_cldr(code: str, forms: dict[int, int]) -> None:
    assert {count: select_plural(code, count) for count in forms} == forms


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_is_a_file_for_each_language_of_the_page() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(LANGUAGES)
    assert {path.stem for path in CLIENT_LANGUAGES.iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_says_everything(code: str) -> None:
    """The same keys with the same fields in each language, every plural form, and a name for each
    colour, place, day and want.
    """
    one, english = get_language(code), get_language("en")
    assert one.phrases.keys() == english.phrases.keys()
    for key, phrase in one.phrases.items():
        wanted = names(english.phrases[key].split(" | ")[-1])
        forms = phrase.split(" | ")
        # "One day" needs no figure.
        for text in forms:
            assert names(text) | {"count"} == wanted | {"count"}, key
            assert names(text) <= wanted, key
        if len(forms) > 1:
            found = {select_plural(code, count) for count in range(1, 200)}
            assert found == set(range(len(forms))), key
    assert len(one.colours) == len(colours.NAMES)
    assert len(one.days) == 7
    assert one.questions.keys() == english.questions.keys()
    assert set(one.questions) <= set(Want)


# Words that are the same in English, or a name
_ALIKE = {"Wi", "Fi", "QR", "O", "l"}


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_no_english_is_left(code: str) -> None:
    """No phrase is the English one, and outside the Latin script none has a Latin word."""
    one, english = get_language(code), get_language("en")
    for key, phrase in one.phrases.items():
        if key in {"camera", "no"}:
            continue
        assert phrase != english.phrases[key], key
        if code not in module.LATIN:
            found = set(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", phrase)))
            assert found <= _ALIKE, (key, found)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_phrase_names_a_command_or_a_setting(code: str) -> None:
    """Visitors read them; an operator's remedies stand in the log and in the operator's panel."""
    text = " ".join(get_language(code).phrases.values())
    for word in ("bash", "run.sh", "VLLM", ".env", "--with", "`"):
        assert word not in text


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_questions_that_help_proposes_are_understood(code: str) -> None:
    """The questions that the help proposes are understood in its own language."""
    proposed = re.findall(r"[“„«「]\s?(.+?)\s?[”“»」]", get_language(code).say("help"))
    found = [understand(question) for question in proposed]
    assert [intent.want for intent in found] == [Want.SUMMARY, Want.READ, Want.EXPIRY], proposed
    assert {intent.language for intent in found} == {code}


@pytest.mark.parametrize("code", LANGUAGES)
def test_colours_shown_are_words(code: str) -> None:
    for name in colours.NAMES:
        shown = get_language(code).get_colour_name(name)
        assert shown.strip("*") == shown
        assert get_language(code).get_colour_pattern(colours.NAMES.index(name)).search(plain(shown))


def test_found_text_of_the_other_direction_is_isolated() -> None:
    """In Arabic, Latin text and figures; in other languages, Arabic text. A list's parts are
    isolated one by one.
    """
    arabic, english = get_language("ar"), get_language("en")
    assert "\u2068MILK 3.50\u2069" in arabic.say("reads", text="MILK 3.50")
    assert "\u2068" not in arabic.say("reads", text="حليب")
    assert "\u2068حليب\u2069" in english.say("reads", text="حليب")
    assert "\u2068" not in english.say("reads", text="MILK 3.50")
    listed = arabic.say("came", things=arabic.join_items(["A 1", "B 2"]))
    assert "\u2068A 1\u2069؛ \u2068B 2\u2069" in listed
    assert arabic.say("days_ago", count=2) == "قبل يومين"


def test_found_text_cannot_turn_a_sentence_round() -> None:
    """A code's text may have any characters, overrides and an isolate's end too."""
    from server.features.builtin.language import strip_controls

    assert strip_controls("a\u202eb\u2069c\u200fd") == "abcd"


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_safe_to_eat_drink_or_touch_is_no_question_about_a_link(code: str) -> None:
    *others, link = (understand(question) for question in WORDS["safe"][code])
    assert Want.SAFE not in {one.want for one in others}
    assert (link.want, link.language) == (Want.SAFE, code)


def test_no_line_breaks_in_a_share() -> None:
    """A number stays with its sign."""
    shares = {code: get_language(code).format_percent(0.16) for code in LANGUAGES}
    assert shares["en"] == "16\u00a0%"
    assert [share for share in shares.values() if " " in share] == []
