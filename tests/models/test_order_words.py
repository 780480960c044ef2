"""Orders that are spoken in place of a question."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from server.core.messages import Transcript
from server.features.builtin.seeking import sought, things_in
from server.models.order_words import WORDS, Order, order_in
from server.models.routing import bare, is_stop, plain, wants_reading
from tests.support.languages import LANGUAGES
from tests.support.words import CLIENT, say


def test_every_language_has_words_for_each() -> None:
    """The same languages as in the other tables."""
    without = {Order.WATCH, Order.GUIDE_TO, Order.WHERE_WAS, Order.STOP}
    assert WORDS.keys() == {*Order} - without
    assert all(words.keys() == LANGUAGES for words in WORDS.values())


def test_no_words_stand_twice() -> None:
    """Of a language, after courtesies, accents and capitals are gone: a second one would never be looked at."""
    for order, words in WORDS.items():
        for language, phrases in words.items():
            found = [bare(phrase) for phrase in phrases.split(",")]
            assert sorted(found) == sorted(set(found)), (order, language)


def test_the_page_hears_of_each() -> None:
    """By its name in `heard`, "stop" among them."""
    known = {
        name
        for part in get_args(Transcript.model_fields["order"].annotation)
        for name in get_args(part)
    }
    assert known == {"stop", *Order}


def test_no_words_are_those_of_two_orders() -> None:
    """In any language: nobody says in which one he speaks."""
    found: dict[str, Order] = {}
    for order, words in WORDS.items():
        for phrase in ",".join(words.values()).split(","):
            assert found.setdefault(bare(phrase), order) is order, phrase
            assert not wants_reading(plain(phrase)), phrase


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_no_order_is_what_the_page_says_of_one(language: str) -> None:
    """The microphone may hear it."""
    script = (CLIENT / "features" / "voice_in" / "orders.js").read_text("utf-8")
    said = [say(id, language=language) for id in re.findall(r'"(\w+\.\w+)"', script)]
    assert len(said) == 10
    for words in said:
        assert order_in(words) is None, words
        assert not is_stop(words), words


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("order", sorted(WORDS))
def test_each_phrase_alone_is_its_order(order: Order, language: str) -> None:
    """And nothing else; also with a mark at its end."""
    for phrase in WORDS[order][language].split(","):
        assert order_in(phrase) == (order, ""), phrase
        assert order_in(f"{phrase.strip().capitalize()}!") == (order, ""), phrase
        assert not is_stop(phrase)


@pytest.mark.parametrize(
    ("said", "order"),
    [
        ("Please hold the picture.", Order.HOLD),
        ("Okay, let go now.", Order.RELEASE),
        ("Guide me, please!", Order.GUIDE),
        ("No more hints, thank you.", Order.GUIDE_OFF),
        ("Stop describing.", Order.DESCRIBE_OFF),
        ("Shorter answers, please.", Order.SHORTER),
        ("Longer answers.", Order.LONGER),
        ("Please turn the camera off.", Order.CAMERA_OFF),
        ("Halte bitte das Bild fest.", Order.HOLD),
        ("Hilf mir, die Kamera auszurichten.", Order.GUIDE),
        ("Éteins la caméra, s’il te plaît.", Order.CAMERA_OFF),
        ("请定格画面。", Order.HOLD),
        ("カメラをオフにしてください。", Order.CAMERA_OFF),
        ("もう一度言ってください。", Order.AGAIN),
        ("화면을 고정해 주세요.", Order.HOLD),
        ("카메라 꺼줘", Order.CAMERA_OFF),
    ],
)
def test_courtesies_change_no_order(said: str, order: Order) -> None:
    """Before, within and after it, also where they are written without a space."""
    assert order_in(said) == (order, "")


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ("Tell me when the kettle boils.", "the kettle boils"),
        ("Please, let me know if somebody comes to the door", "somebody comes to the door"),
        ("Tell me if it rains", "it rains"),
        ("Sag mir Bescheid, wenn das Wasser kocht.", "das Wasser kocht"),
        ("Préviens-moi quand l'eau bout.", "l'eau bout"),
        ("Avísame cuando hierva el agua", "hierva el agua"),
        ("Avvisami quando bolle", "bolle"),
        ("Avise-me quando ferver", "ferver"),
        ("Waarschuw me als het kookt", "het kookt"),
        ("Powiedz mi, kiedy się zagotuje", "się zagotuje"),
        ("Скажи мне, когда закипит", "закипит"),
        ("告诉我当水开了。", "水开了"),
        ("水开的时候告诉我", "水开"),
        ("如果有人来，请告诉我。", "有人来"),
        ("Скажи мені, коли закипить", "закипить"),
        ("أخبرني عندما يغلي الماء", "يغلي الماء"),
        ("Su kaynayınca bana haber ver!", "Su kaynayınca"),
        ("जब पानी उबले तो मुझे बताना", "पानी उबले"),
        ("お湯が沸いたら教えてください。", "お湯が沸いたら"),
        ("물이 끓으면 알려 줘", "물이 끓으면"),
    ],
)
def test_a_watch_is_ordered_in_a_persons_own_words(said: str, condition: str) -> None:
    assert order_in(said) == (Order.WATCH, condition)


WAYS = [
    ("en", "Guide me to the cup.", "the cup", "cup"),
    ("en", "Please take me to the red cup", "the red cup", "cup"),
    ("en", "Could you lead me to my backpack?", "my backpack", "backpack"),
    ("de", "Bring mich zur Tasse", "Tasse", "cup"),
    ("de", "Führe mich bitte zum Stuhl.", "Stuhl", "chair"),
    ("es", "Llévame a la taza", "taza", "cup"),
    ("es", "¡Guíame hasta la silla!", "silla", "chair"),
    ("fr", "Guide-moi vers la tasse", "tasse", "cup"),
    ("fr", "Conduisez-moi jusqu’à la bouteille", "bouteille", "bottle"),
    ("it", "Portami alla tazza", "tazza", "cup"),
    ("it", "Guidami verso la sedia", "sedia", "chair"),
    ("pt", "Leva-me à chávena", "chávena", "cup"),
    ("pt", "Me leve até a cadeira", "cadeira", "chair"),
    ("nl", "Breng me naar het kopje", "kopje", "cup"),
    ("nl", "Leid mij naar de stoel", "stoel", "chair"),
    ("pl", "Zaprowadź mnie do kubka", "kubka", "cup"),
    ("pl", "Prowadź mnie do krzesła", "krzesła", "chair"),
    ("ru", "Отведи меня к чашке", "чашке", "cup"),
    ("ru", "Веди меня к стулу", "стулу", "chair"),
    ("uk", "Проведи мене до чашки", "чашки", "cup"),
    ("uk", "Веди мене до стільця", "стільця", "chair"),
    ("ar", "أرشدني إلى الكوب", "الكوب", "cup"),
    ("ar", "خذني إلى الكرسي", "الكرسي", "chair"),
    ("hi", "मुझे कप तक ले चलो", "कप", "cup"),
    ("hi", "मुझे कुर्सी की ओर ले जाइए", "कुर्सी", "chair"),
    ("zh", "带我去杯子", "杯子", "cup"),
    ("zh", "请引导我到椅子。", "椅子", "chair"),
    ("ja", "カップまで案内して", "カップ", "cup"),
    ("ja", "椅子に案内してください", "椅子", "chair"),
    ("ko", "컵으로 안내해 줘", "컵", "cup"),
    ("ko", "의자까지 안내해 주세요", "의자", "chair"),
    ("tr", "Beni fincana götür", "fincana", "cup"),
    ("tr", "Beni sandalyeye yönlendir", "sandalyeye", "chair"),
]


@pytest.mark.parametrize(("language", "said", "words", "thing"), WAYS)
def test_a_way_is_ordered_to_a_thing(language: str, said: str, words: str, thing: str) -> None:
    """And what is sought is the thing, in each language."""
    assert order_in(said) == (Order.GUIDE_TO, words)
    assert sought(words, language).names == (thing,)


def test_each_language_orders_the_way_to_a_thing() -> None:
    """Twice, with different verbs."""
    assert {language for language, *_ in WAYS} == LANGUAGES
    assert min([one[0] for one in WAYS].count(language) for language in LANGUAGES) >= 2


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Bring me a cup of tea",
        "Take me through the steps",
        "What would take me to the station?",
        "Was bringt mich zum Lachen?",
        "Guide me to " + "the door " * 30,
        "What is this?",
        "告诉我这是什么",
        "现在几点了，告诉我",
        "Describe the cup.",
        "Is the kettle on again?",
        "Can you repeat the number on the label?",
        "Tell me what this is.",
        "Tell me when",
        "Tell me if this is safe to eat",
        "Tell me if this old milk is still good",
        "Dis-moi si c'est rouge",
        "Dime si esto es rojo",
        "Dimmi se questo è rosso",
        "Diga-me se isto é vermelho",
        "أخبرني إذا كان هذا أحمر",
        "stop",
        "again " * 1000,
        "Can you hold the camera still?",
        "What does it hold?",
        "What am I holding?",
        "Is the picture frozen?",
        "Hold on",
        "Can I let go of the handle?",
        "Is there a guide dog?",
        "Which answer is longer?",
        "shorter",
        "longer",
        "Camera off?",
        "Is the camera off?",
        "How do I turn the camera off?",
        "off",
        "Halte ich das Bild richtig herum?",
        "Ist die Kamera aus?",
        "La caméra est-elle éteinte ?",
        "¿Está apagada la cámara?",
        "Камера выключена?",
        "摄像头关了吗？",
        "カメラオフ？",
        "카메라 꺼졌어?",
        "هل الكاميرا متوقفة؟",
        "क्या कैमरा बंद है?",
    ],
)
def test_a_question_is_no_order(said: str) -> None:
    """The words of an order within a longer sentence are a part of it."""
    assert order_in(said) is None


PLACES = [
    ("en", "Where was the cup?", "the cup", "cup"),
    ("en", "And which way was the door?", "the door", ""),
    ("de", "Wo war noch mal die Tasse?", "die Tasse", "cup"),
    ("de", "In welcher Richtung waren die Stühle?", "die Stühle", "chair"),
    ("es", "¿Dónde estaba la taza?", "la taza", "cup"),
    ("es", "¿En qué dirección estaba la silla?", "la silla", "chair"),
    ("fr", "Où était la tasse ?", "la tasse", "cup"),
    ("fr", "Dans quelle direction était la chaise ?", "la chaise", "chair"),
    ("it", "Dov'era la tazza?", "la tazza", "cup"),
    ("it", "Dove era la sedia?", "la sedia", "chair"),
    ("pt", "Onde estava a chávena?", "a chávena", "cup"),
    ("pt", "Onde ficava a cadeira?", "a cadeira", "chair"),
    ("nl", "Waar was het kopje?", "het kopje", "cup"),
    ("nl", "Waar stond de stoel?", "de stoel", "chair"),
    ("pl", "Gdzie był kubek?", "kubek", "cup"),
    ("pl", "Gdzie było krzesło?", "krzesło", "chair"),
    ("ru", "Где была чашка?", "чашка", "cup"),
    ("ru", "А где был стул?", "стул", "chair"),
    ("uk", "Де була чашка?", "чашка", "cup"),
    ("uk", "Де був стілець?", "стілець", "chair"),
    ("ar", "أين كان الكوب؟", "الكوب", "cup"),
    ("ar", "في أي اتجاه كان الكرسي؟", "الكرسي", "chair"),
    ("hi", "कप कहाँ था?", "कप", "cup"),
    ("hi", "कुर्सी किस तरफ थी?", "कुर्सी", "chair"),
    ("zh", "刚才杯子在哪里？", "杯子", "cup"),
    ("zh", "椅子刚才在哪里？", "椅子", "chair"),
    ("ja", "カップはどこでしたか？", "カップ", "cup"),
    ("ja", "椅子はどこにあった？", "椅子", "chair"),
    ("ko", "컵은 어디 있었어?", "컵", "cup"),
    ("ko", "의자가 어디에 있었나요?", "의자", "chair"),
    ("tr", "Fincan neredeydi?", "Fincan", "cup"),
    ("tr", "Sandalye hangi taraftaydı?", "Sandalye", "chair"),
]


@pytest.mark.parametrize(("language", "said", "words", "thing"), PLACES)
def test_a_thing_that_was_seen_is_asked_for(
    language: str, said: str, words: str, thing: str
) -> None:
    """With the word for the past, in each language: where a thing is now is a question."""
    assert order_in(said) == (Order.WHERE_WAS, words)
    assert things_in(words, language)[:1] == ((thing,) if thing else ())


def test_each_language_asks_for_a_thing_that_was_seen() -> None:
    """Twice, in different words."""
    languages = [language for language, *_ in PLACES]
    assert {*languages} == LANGUAGES
    assert min(map(languages.count, LANGUAGES)) >= 2


@pytest.mark.parametrize(
    "said",
    ["Where is the cup?", "Where was this made?!" * 12, "Wo ist die Tasse?", "杯子在哪里？"],
)
def test_where_a_thing_is_now_is_a_question(said: str) -> None:
    assert order_in(said) is None


@pytest.mark.parametrize(
    "said", ["What is around me?", "Please look around!", "Was ist um mich herum?", "环顾四周"]
)
def test_what_is_around_is_an_order(said: str) -> None:
    assert order_in(said) == (Order.SCAN, "")
