"""The route of a question, by the words of each language."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Detail, Route
from server.models import routing
from server.models.routing import choose, route_of, wants_detail
from tests.support.languages import LANGUAGES

# By language and route
QUESTIONS: dict[str, dict[Route, tuple[str, ...]]] = {
    "en": {
        Route.NOW: (
            "What do you see?",
            "What is this?",
            "Is the door open?",
            "Are you ready?",
            "What colour is the car?",
            "Is a person there?",
            "Where am I?",
            "Where was this made?",
            "Is this a dove?",
            "Such a nice dog, isn't it?",
            "Can you find out what this is?",
        ),
        Route.DETAIL: (
            "Read this",
            "What does the label say?",
            "How much does it cost?",
            "What's the serial number?",
            "Is there a TINY scratch?",
            "What time is it?",
            "Find the price",
        ),
        Route.PAST: (
            "What just happened?",
            "Where did I put the keys?",
            "where have I left my phone",
            "What was that noise?",
            "Who was at the door a minute ago?",
            "Have you seen my glasses?",
            "What changed?",
        ),
        Route.WHERE: (
            "Where is the 10 mm spanner?",
            "where's the cat",
            "Point to the red button",
            "Find the scissors",
            "Where does it say the price?",
        ),
    },
    "de": {
        Route.NOW: (
            "Was ist das?",
            "Ist die Tür offen?",
            "Wo bin ich?",
            "Muss das 20 Minuten kochen?",
        ),
        Route.DETAIL: (
            "Lies das vor",
            "Was steht auf dem Schild?",
            "Wie groß ist die Überschrift?",
        ),
        Route.PAST: (
            "Was ist gerade passiert?",
            "Wo habe ich die Schlüssel hingelegt?",
            "Wer war eben noch da?",
        ),
        Route.WHERE: (
            "Wo ist der Schraubenzieher?",
            "Zeig auf den roten Knopf",
            "Suche die Schere",
        ),
    },
    "fr": {
        Route.NOW: (
            "Qu'est-ce que c'est ?",
            "C'est un chat ou un chien ?",
            "Ça vient de France ?",
            "Où suis-je ?",
        ),
        Route.DETAIL: ("Qu’est-ce qui est écrit ?", "Quel est le numéro de série ?"),
        Route.PAST: ("Qu'est-ce qui s'est passé ?", "Où ai-je posé mes clés ?"),
        Route.WHERE: ("Où est le chat ?", "ou est le chat", "Trouve les ciseaux"),
    },
    "es": {
        Route.NOW: ("¿Qué es esto?", "¿De dónde es esto?", "¿Qué paso sigue?"),
        Route.DETAIL: ("¿Qué dice la etiqueta?", "¿Cuánto cuesta?"),
        Route.PAST: ("¿Qué acaba de pasar?", "¿Dónde dejé las llaves?"),
        Route.WHERE: ("¿Dónde está el gato?", "Busca las tijeras"),
    },
    "it": {
        Route.NOW: ("Che cos'è?", "Da dove viene?"),
        Route.DETAIL: ("Cosa c'è scritto?", "Quanto costa?"),
        Route.PAST: ("Cosa è successo?", "Dove ho messo le chiavi?"),
        Route.WHERE: ("Dov'è il gatto?", "Trova le forbici"),
    },
    "pt": {
        Route.NOW: ("O que é isto?", "De onde vem isto?"),
        Route.DETAIL: ("O que está escrito aqui?", "Quanto custa?"),
        Route.PAST: ("O que aconteceu?", "Onde deixei as chaves?"),
        Route.WHERE: ("Onde está o gato?", "Encontra a tesoura"),
    },
    "nl": {
        Route.NOW: ("Wat is dit?", "Is dat waar?", "Waarom is dit rood?"),
        Route.DETAIL: ("Wat staat er op het etiket?", "Hoe laat is het?"),
        Route.PAST: ("Wat is er net gebeurd?", "Waar heb ik mijn sleutels gelegd?"),
        Route.WHERE: ("Waar is de kat?", "Zoek de schaar"),
    },
    "pl": {
        Route.NOW: ("Co to jest?", "Gdzie jestem?"),
        Route.DETAIL: ("Co tu jest napisane? Jaka cena?",),
        Route.PAST: ("Co się stało?", "Gdzie położyłem klucze?"),
        Route.WHERE: ("Gdzie jest kot?", "Znajdź nożyczki"),
    },
    "ru": {
        Route.NOW: ("Что это?", "Где я?"),
        Route.DETAIL: ("Что здесь написано?",),
        Route.PAST: ("Что только что произошло?", "Где я положил ключи?"),
        Route.WHERE: ("Где кот?", "Найди ножницы"),
    },
    "zh": {
        Route.NOW: ("这是什么?", "我在哪里?", "哪里可以买?"),
        Route.DETAIL: ("这上面写着什么?", "多少钱?", "几点了?"),
        Route.PAST: ("刚才发生了什么?", "我把钥匙放在哪里了?"),
        Route.WHERE: ("小狗在哪里?", "帮我找剪刀"),
    },
    "ja": {
        Route.NOW: ("これは何ですか", "ここはどこですか", "誰がいますか"),
        Route.DETAIL: ("何と書いてありますか", "番号は何番?", "いくらですか"),
        Route.PAST: ("今何が起きましたか", "鍵をどこに置いた?"),
        Route.WHERE: ("猫はどこですか", "はさみを探して"),
    },
    "ko": {
        Route.NOW: ("이게 뭐예요?", "여기가 어디예요?"),
        Route.DETAIL: ("가격이 얼마예요?",),
        Route.PAST: ("방금 무슨 일이 있었어?", "열쇠 어디에 뒀지?"),
        Route.WHERE: ("고양이 어디 있어?", "가위 찾아 줘"),
    },
    "tr": {
        Route.NOW: ("Ne görüyorsun?", "Bu ne?", "Kapı açık mı?", "Burası neresi?"),
        Route.DETAIL: ("Bunu oku", "Etikette ne yazıyor?", "Fiyatı nedir?", "Saat kaç?"),
        Route.PAST: ("Az önce ne oldu?", "Anahtarları nereye koydum?", "Ne değişti?"),
        Route.WHERE: ("Kedi nerede?", "Kırmızı düğmeyi işaret et", "Makası bul"),
    },
    "uk": {
        Route.NOW: ("Що ти бачиш?", "Що це?", "Двері відчинено?", "Де я?"),
        Route.DETAIL: ("Прочитай це", "Що написано на етикетці?", "Скільки це коштує?"),
        Route.PAST: ("Що щойно сталося?", "Куди я поклав ключі?", "Що змінилося?"),
        Route.WHERE: ("Де ножиці?", "Покажи де кіт", "Знайди ножиці"),
    },
    "ar": {
        Route.NOW: ("ماذا ترى؟", "ما هذا؟", "هل الباب مفتوح؟", "أين أنا؟"),
        Route.DETAIL: ("اقرأ هذا", "ما المكتوب على الملصق؟", "بكم هذا؟"),
        Route.PAST: ("ماذا حدث قبل قليل؟", "أين وضعت المفاتيح؟"),
        Route.WHERE: ("أين القطة؟", "ابحث عن المقص"),
    },
    "hi": {
        Route.NOW: ("तुम क्या देख रहे हो?", "यह क्या है?", "दरवाज़ा खुला है?", "मैं कहाँ हूँ?"),
        Route.DETAIL: ("यह पढ़ो", "लेबल पर क्या लिखा है?", "इसकी कीमत क्या है?"),
        Route.PAST: ("अभी-अभी क्या हुआ?", "मैंने चाबी कहाँ रखी?"),
        Route.WHERE: ("बिल्ली कहाँ है?", "कैंची ढूँढो"),
    },
}
SINGLE = [
    (question, route)
    for routes in QUESTIONS.values()
    for route, questions in routes.items()
    for question in questions
]
TABLES = {
    "past": (routing.PAST_WORDS, routing.PAST_PARTS, {Route.PAST}),
    "where": (routing.WHERE_WORDS, routing.WHERE_PARTS, {Route.WHERE}),
    "search": (routing.SEARCH_WORDS, routing.SEARCH_PARTS, {Route.WHERE}),
    "detail": (routing.DETAIL_WORDS, routing.DETAIL_PARTS, {Route.DETAIL, Route.TWICE}),
    "neither": (routing.NEITHER_WORDS, routing.NEITHER_PARTS, {Route.NOW, Route.DETAIL}),
}


@pytest.mark.parametrize(("question", "route"), SINGLE)
def test_a_question_has_the_route_of_its_words(question: str, route: Route) -> None:
    """In every language there are questions of each route, also ones that only look like another's."""
    assert route_of(question) is route


def test_every_language_has_questions_of_every_route() -> None:
    """The table above leaves no route of any language untested; test_read_words.py and test_twice_words.py have two."""
    assert QUESTIONS.keys() == LANGUAGES
    assert all(
        routes.keys() == set(Route) - {Route.READ, Route.TWICE} for routes in QUESTIONS.values()
    )


@pytest.mark.parametrize("name", TABLES)
def test_each_phrase_alone_has_its_route(name: str) -> None:
    """No phrase of a language has another meaning in the table of another one."""
    words, parts, routes = TABLES[name]
    assert words.keys() | parts.keys() == LANGUAGES
    for language, entries in (*words.items(), *parts.items()):
        for entry in entries.split(","):
            phrase = entry.strip().rstrip("*")
            assert phrase, f"{name} of {language} has an empty entry"
            assert route_of(phrase) in routes, f"{phrase} ({language})"


@given(st.sampled_from(SINGLE), st.sampled_from(["lower", "upper", "NFD", "quoted"]))
def test_case_accents_and_marks_do_not_matter(case: tuple[str, Route], how: str) -> None:
    """Upper case, decomposed accents and quotation marks around a question leave its route."""
    question, route = case
    written = {
        "lower": question.lower(),
        "upper": question.upper(),
        "NFD": unicodedata.normalize("NFD", question),
        "quoted": f"«{question}»",
    }[how]
    assert route_of(written) is route


@given(st.text(max_size=4000))
def test_every_text_has_a_route(question: str) -> None:
    """Whatever was typed, a route is found and nothing raises."""
    assert route_of(question) in Route


@given(
    st.text(alphabet="ijkq \n", min_size=1000, max_size=3500),
    st.sampled_from(SINGLE),
    st.booleans(),
)
def test_a_long_text_is_read_at_both_ends(text: str, case: tuple[str, Route], first: bool) -> None:
    """A question before or after a long quotation has the same route as alone."""
    question, route = case
    assert route_of(f"{question}\n{text}" if first else f"{text}\n{question}") is route


def test_detail_is_wanted_on_other_routes_too() -> None:
    """A question about small print in the past or at a spot still takes the large picture."""
    assert all(wants_detail(question) for question, route in SINGLE if route is Route.DETAIL)
    assert wants_detail("Where does it say the price?")
    assert not wants_detail("Where is the cat?")


@pytest.mark.parametrize(
    ("question", "detail", "route", "chosen"),
    [
        ("What is this?", "auto", None, ("now", "low")),
        ("What is this?", "high", None, ("detail", "high")),
        ("Read this", "auto", None, ("detail", "high")),
        ("Read this", "low", None, ("now", "low")),
        ("What just happened?", "auto", None, ("past", "low")),
        ("What just happened?", "high", None, ("past", "high")),
        ("What did the label say a minute ago?", "auto", None, ("past", "high")),
        ("Where is the cat?", "auto", None, ("where", "high")),
        ("Where does it say the price?", "auto", None, ("where", "high")),
        ("Read this", "auto", "now", ("now", "low")),
        ("What is this?", "auto", "detail", ("detail", "high")),
        ("What is this?", "low", "detail", ("detail", "high")),
        ("What is this?", "auto", "past", ("past", "low")),
        ("What is this?", "auto", "where", ("where", "high")),
        ("What just happened?", "auto", "now", ("now", "low")),
    ],
)
def test_a_client_may_choose(
    question: str, detail: str, route: str | None, chosen: tuple[str, str]
) -> None:
    """A route that the client names wins over the words; its detail fits to it."""
    named = Route(route) if route is not None else None
    assert choose(question, Detail(detail), named) == chosen
