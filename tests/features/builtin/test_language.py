"""The languages of the built-in engine: their files, their questions, their plural forms."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from server.core.messages import MAX_QUESTION_CHARS
from server.features.builtin import colours
from server.features.builtin import language as module
from server.features.builtin.intents import languages_of, understand
from server.features.builtin.language import LANGUAGES, language, plural
from server.features.builtin.wants import Want
from server.models.routing import plain
from tests.support.words import CLIENT, say
from tests.support.words import LANGUAGES as CLIENT_LANGUAGES

FOLDER = Path(module.__file__).with_name("languages")
# The questions of the page's buttons, by the ids of their words
PAGE = {
    "stage.what_is_this": Want.SUMMARY,
    "stage.read_this": Want.READ,
    "stage.scan_this": Want.CODE,
    "stage.how_many_people": Want.THING,
}
# Questions of each subject in the ten languages that test_intents.py has none of
QUESTIONS: dict[str, dict[Want, str]] = {
    "it": {
        Want.HELLO: "Buongiorno!",
        Want.THANKS: "Grazie mille!",
        Want.HELP: "Cosa sai fare?",
        Want.SAFE: "Questo link è sicuro?",
        Want.TRANSLATE: "Traduci questo",
        Want.SUMMARISE: "Fammi un riassunto",
        Want.PASSWORD: "Qual è la password del Wi-Fi?",
        Want.MONEY_BACK: "Quanto è il resto?",
        Want.CHANGE: "Che cosa è cambiato?",
        Want.MOTION: "Si muove qualcosa?",
        Want.THING: "Quante persone ci sono?",
        Want.FACES: "Vedi un viso?",
        Want.COLOUR: "Di che colore è?",
        Want.LIGHT: "È buio?",
        Want.EXPIRY: "Quando scade?",
        Want.PHONE: "Qual è il numero di telefono?",
        Want.CODE: "Scansiona il codice a barre",
        Want.TOTAL: "Quanto è in totale?",
        Want.UNIT_PRICE: "Quanto costa al chilo?",
        Want.HOURS: "A che ora chiude?",
        Want.DEPARTURE: "Quando parte il treno per Roma?",
        Want.WEIGHT: "Quanto pesa?",
        Want.PRICE: "Quanto costa?",
        Want.TIME: "Che ora è?",
        Want.DATE: "Che data c'è scritta?",
        Want.NAME: "Che medicina è questa?",
        Want.READ: "Cosa c'è scritto?",
        Want.SUMMARY: "Che cos'è questo?",
    },
    "pt": {
        Want.HELLO: "Bom dia!",
        Want.THANKS: "Muito obrigado!",
        Want.HELP: "O que você pode fazer?",
        Want.SAFE: "Este link é seguro?",
        Want.TRANSLATE: "Traduz isto",
        Want.PASSWORD: "Qual é a senha?",
        Want.CHANGE: "O que mudou?",
        Want.MOTION: "Alguma coisa está a mexer?",
        Want.THING: "Quantas pessoas há aqui?",
        Want.FACES: "Vês um rosto?",
        Want.COLOUR: "De que cor é isto?",
        Want.LIGHT: "Está escuro?",
        Want.EXPIRY: "Qual é a validade?",
        Want.PHONE: "Qual é o número de telefone?",
        Want.CODE: "Lê o código de barras",
        Want.TOTAL: "Quanto é no total?",
        Want.HOURS: "A que horas fecha?",
        Want.DEPARTURE: "Quando parte o comboio?",
        Want.PRICE: "Quanto custa isto?",
        Want.TIME: "Que horas são?",
        Want.DATE: "Que data é?",
        Want.NAME: "Que medicamento é este?",
        Want.READ: "O que está escrito aqui?",
        Want.SUMMARY: "O que é isto?",
    },
    "nl": {
        Want.HELLO: "Goedemorgen!",
        Want.THANKS: "Dank je wel!",
        Want.HELP: "Wat kun je?",
        Want.SAFE: "Is deze link veilig?",
        Want.TRANSLATE: "Vertaal dit",
        Want.PASSWORD: "Wat is het wachtwoord?",
        Want.CHANGE: "Wat is er veranderd?",
        Want.MOTION: "Beweegt er iets?",
        Want.THING: "Hoeveel mensen zijn er?",
        Want.FACES: "Zie je een gezicht?",
        Want.COLOUR: "Welke kleur heeft het?",
        Want.LIGHT: "Is het donker?",
        Want.EXPIRY: "Tot wanneer is het houdbaar?",
        Want.PHONE: "Wat is het telefoonnummer?",
        Want.CODE: "Scan de streepjescode",
        Want.TOTAL: "Hoeveel is het totaal?",
        Want.HOURS: "Wat zijn de openingstijden?",
        Want.DEPARTURE: "Wanneer vertrekt de trein?",
        Want.WEIGHT: "Hoe zwaar is het?",
        Want.PRICE: "Hoe duur is het?",
        Want.TIME: "Hoe laat is het?",
        Want.DATE: "Welke datum staat er?",
        Want.NAME: "Welk medicijn is dit?",
        Want.READ: "Wat staat er op het etiket?",
        Want.SUMMARY: "Wat is dit?",
    },
    "pl": {
        Want.HELLO: "Dzień dobry!",
        Want.THANKS: "Dziękuję bardzo!",
        Want.HELP: "Co potrafisz?",
        Want.SAFE: "Czy ten link jest bezpieczny?",
        Want.TRANSLATE: "Przetłumacz to",
        Want.PASSWORD: "Jakie jest hasło?",
        Want.CHANGE: "Co się zmieniło?",
        Want.MOTION: "Czy coś się rusza?",
        Want.THING: "Ile osób tu jest?",
        Want.FACES: "Widzisz twarz?",
        Want.COLOUR: "Jaki to kolor?",
        Want.LIGHT: "Czy jest ciemno?",
        Want.EXPIRY: "Jaki jest termin ważności?",
        Want.PHONE: "Jaki jest numer telefonu?",
        Want.CODE: "Zeskanuj kod kreskowy",
        Want.TOTAL: "Ile to razem?",
        Want.HOURS: "O której zamykają sklep?",
        Want.DEPARTURE: "Kiedy odjeżdża pociąg?",
        Want.WEIGHT: "Ile to waży?",
        Want.PRICE: "Ile to kosztuje?",
        Want.TIME: "Która jest godzina?",
        Want.DATE: "Jaka jest data?",
        Want.NAME: "Co to za lek?",
        Want.READ: "Co tu jest napisane?",
        Want.SUMMARY: "Co to jest?",
    },
    "tr": {
        Want.HELLO: "Merhaba!",
        Want.THANKS: "Teşekkür ederim!",
        Want.HELP: "Neler yapabilirsin?",
        Want.SAFE: "Bu bağlantı güvenli mi?",
        Want.TRANSLATE: "Bunu çevir",
        Want.PASSWORD: "Wi-Fi şifresi ne?",
        Want.CHANGE: "Ne değişti?",
        Want.MOTION: "Hareket eden bir şey var mı?",
        Want.THING: "Kaç kişi var?",
        Want.FACES: "Bir yüz görüyor musun?",
        Want.COLOUR: "Bu ne renk?",
        Want.LIGHT: "IŞIK AÇIK MI?",
        Want.EXPIRY: "Son kullanma tarihi ne?",
        Want.PHONE: "Telefon numarası ne?",
        Want.CODE: "Barkodu tara",
        Want.TOTAL: "Toplam ne kadar?",
        Want.HOURS: "Saat kaçta kapanıyor?",
        Want.DEPARTURE: "Tren ne zaman kalkıyor?",
        Want.WEIGHT: "Kaç gram?",
        Want.PRICE: "Fiyatı ne kadar?",
        Want.TIME: "Saat kaç?",
        Want.DATE: "Tarih ne?",
        Want.NAME: "Bu hangi ilaç?",
        Want.READ: "Burada ne yazıyor?",
        Want.SUMMARY: "Bu nedir?",
    },
    "uk": {
        Want.HELLO: "Добрий день!",
        Want.THANKS: "Дякую!",
        Want.HELP: "Що ти вмієш?",
        Want.SAFE: "Чи безпечне це посилання?",
        Want.TRANSLATE: "Переклади це",
        Want.PASSWORD: "Який пароль?",
        Want.CHANGE: "Що змінилося?",
        Want.MOTION: "Чи щось рухається?",
        Want.THING: "Скільки людей тут є?",
        Want.FACES: "Бачиш обличчя?",
        Want.COLOUR: "Який це колір?",
        Want.EXPIRY: "Який термін придатності?",
        Want.PHONE: "Який номер телефону?",
        Want.TOTAL: "Скільки разом?",
        Want.HOURS: "Коли зачиняється крамниця?",
        Want.PRICE: "Скільки це коштує?",
        Want.TIME: "Котра година?",
        Want.NAME: "Що це за ліки, як називається?",
        Want.READ: "Що тут написано?",
        Want.SUMMARY: "Що це таке, бабусю Їжачко?",
    },
    "ar": {
        Want.HELLO: "السلام عليكم",
        Want.THANKS: "شكرًا جزيلًا!",
        Want.HELP: "ماذا يمكنك أن تفعل؟",
        Want.SAFE: "هل هذا الرابط آمن؟",
        Want.TRANSLATE: "ترجم هذا",
        Want.PASSWORD: "ما كلمة المرور؟",
        Want.CHANGE: "ما الذي تغيّر؟",
        Want.MOTION: "هل يتحرك شيء؟",
        Want.THING: "كم شخصًا هنا؟",
        Want.FACES: "هل ترى وجهًا؟",
        Want.COLOUR: "ما لون هذا؟",
        Want.LIGHT: "هل المكان مظلم؟",
        Want.EXPIRY: "متى تنتهي الصلاحية؟",
        Want.PHONE: "ما رقم الهاتف؟",
        Want.CODE: "امسح الباركود",
        Want.TOTAL: "كم المجموع؟",
        Want.HOURS: "متى يغلق المحل؟",
        Want.PRICE: "كم السعر؟",
        Want.TIME: "كم الساعة؟",
        Want.DATE: "ما التاريخ؟",
        Want.NAME: "ما هذا الدواء؟",
        Want.READ: "ماذا كُتب هنا؟",
        Want.SUMMARY: "ما هذا؟",
    },
    "hi": {
        Want.HELLO: "नमस्ते!",
        Want.THANKS: "बहुत धन्यवाद!",
        Want.HELP: "आप क्या कर सकते हैं?",
        Want.SAFE: "क्या यह लिंक सुरक्षित है?",
        Want.TRANSLATE: "इसका अनुवाद करो",
        Want.PASSWORD: "पासवर्ड क्या है?",
        Want.CHANGE: "क्या बदला?",
        Want.MOTION: "क्या कुछ हिल रहा है?",
        Want.THING: "यहाँ कितने लोग हैं?",
        Want.FACES: "क्या चेहरा दिखता है?",
        Want.COLOUR: "यह कौन सा रंग है?",
        Want.LIGHT: "क्या अंधेरा है?",
        Want.PHONE: "फ़ोन नंबर क्या है?",
        Want.TOTAL: "कुल कितना हुआ?",
        Want.HOURS: "दुकान कब खुलती है?",
        Want.WEIGHT: "इसका वज़न क्या है?",
        Want.PRICE: "इसकी कीमत कितनी है?",
        Want.TIME: "कितने बजे हैं?",
        Want.DATE: "तारीख क्या है?",
        Want.NAME: "यह कौन सी दवा है?",
        Want.READ: "यहाँ क्या लिखा है?",
        Want.SUMMARY: "यह क्या है?",
    },
    "ja": {
        Want.HELLO: "こんにちは！",
        Want.THANKS: "ありがとうございます！",
        Want.HELP: "何ができますか？",
        Want.SAFE: "このリンクは安全ですか？",
        Want.TRANSLATE: "これを翻訳して",
        Want.PASSWORD: "パスワードは何ですか？",
        Want.CHANGE: "何か変わった？",
        Want.MOTION: "何か動いている？",
        Want.THING: "何人いますか？",
        Want.FACES: "顔が見えますか？",
        Want.COLOUR: "これは何色ですか？",
        Want.LIGHT: "暗いですか？",
        Want.EXPIRY: "賞味期限はいつですか？",
        Want.PHONE: "電話番号は何ですか？",
        Want.CODE: "バーコードを読み取って",
        Want.TOTAL: "合計はいくらですか？",
        Want.HOURS: "何時に閉まりますか、営業時間は？",
        Want.DEPARTURE: "次の電車は何時ですか？",
        Want.WEIGHT: "重さはどのくらい？",
        Want.PRICE: "これはいくらですか？",
        Want.TIME: "今何時ですか？",
        Want.NAME: "これは何という薬ですか？",
        Want.READ: "何と書いてありますか？",
        Want.SUMMARY: "これは何ですか？",
    },
    "ko": {
        Want.HELLO: "안녕하세요!",
        Want.THANKS: "감사합니다!",
        Want.HELP: "뭘 할 수 있어?",
        Want.SAFE: "이 링크는 안전해?",
        Want.TRANSLATE: "이거 번역해 줘",
        Want.PASSWORD: "비밀번호가 뭐예요?",
        Want.CHANGE: "뭐가 바뀌었어?",
        Want.MOTION: "움직이는 게 있어?",
        Want.THING: "사람이 몇 명 있어요?",
        Want.FACES: "얼굴이 보여요?",
        Want.COLOUR: "이건 무슨 색이에요?",
        Want.LIGHT: "어두워요?",
        Want.EXPIRY: "유통기한이 언제까지예요?",
        Want.PHONE: "전화번호가 뭐예요?",
        Want.CODE: "바코드 스캔해 줘",
        Want.TOTAL: "합계가 얼마예요?",
        Want.HOURS: "몇 시에 닫아요?",
        Want.DEPARTURE: "다음 기차는 언제 출발해요?",
        Want.WEIGHT: "무게가 얼마예요?",
        Want.PRICE: "이거 얼마예요?",
        Want.TIME: "지금 몇 시예요?",
        Want.NAME: "이거 무슨 약이에요?",
        Want.READ: "여기 뭐라고 쓰여 있어요?",
        Want.SUMMARY: "이게 뭐예요?",
    },
}


@pytest.mark.parametrize("code", QUESTIONS)
def test_questions_are_understood_and_answered_in_their_language(code: str) -> None:
    """Without a language chosen on the page."""
    got = {
        (want, text): (understand(text).want, understand(text).language)
        for want, text in QUESTIONS[code].items()
    }
    assert got == {(want, text): (want, code) for want, text in QUESTIONS[code].items()}


# In each language: why, how it is done, and what kind of a thing it is
BEYOND_AND_KINDS = {
    "en": ("Why is it red?", "How do I cook this?", "What animal is this?"),
    "de": ("Warum ist das rot?", "Wie koche ich das?", "Was für ein Tier ist das?"),
    "fr": ("Pourquoi est-il rouge ?", "Comment cuisiner cela ?", "Quel animal est-ce ?"),
    "es": ("¿Por qué es rojo?", "¿Cómo se cocina esto?", "¿Qué animal es este?"),
    "ru": ("Почему это красное?", "Как это приготовить?", "Какое это животное?"),
    "zh": ("为什么是红色的？", "这个怎么煮？", "这是什么动物？"),
    "it": ("Perché è rosso?", "Come si cucina questo?", "Che animale è questo?"),
    "pt": ("Por que é vermelho?", "Como se prepara isto?", "Que animal é este?"),
    "nl": ("Waarom is het rood?", "Hoe kook ik dit?", "Welk dier is dit?"),
    "pl": ("Dlaczego jest czerwony?", "Jak to ugotować?", "Jakie to zwierzę?"),
    "tr": ("Neden kırmızı?", "Bu nasıl pişirilir?", "Bu hangi hayvan?"),
    "uk": ("Чому воно червоне?", "Як приготувати це?", "Яка це тварина?"),
    "ar": ("لماذا هو أحمر؟", "كيف أطبخ هذا؟", "ما هذا الحيوان؟"),
    "hi": ("यह लाल क्यों है?", "इसे कैसे पकाएं?", "यह कौन सा जानवर है?"),
    "ja": ("なぜ赤いのですか？", "どうやって作りますか？", "これは何の動物ですか？"),
    "ko": ("왜 빨간색이에요?", "이거 어떻게 요리해요?", "이게 무슨 동물이에요?"),
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_beyond_it_and_kinds_of_things(code: str) -> None:
    asked = [understand(question) for question in BEYOND_AND_KINDS[code]]
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
        assert (intent.want, intent.language) == (want, code), question


@pytest.mark.parametrize(
    ("question", "target"),
    [
        ("C'è scritto latte?", "latte"),
        ("Está escrito leite aqui?", "leite"),
        ("Staat er melk op?", "melk"),
        ("Czy jest tu napisane mleko?", "mleko"),
        ("Burada süt yazıyor mu?", "sut"),
        ("Чи написано тут «MILK»?", "MILK"),
        ("هل مكتوب MILK هنا؟", "milk"),
        ("「MILK」と書いてありますか？", "MILK"),
        ("여기 MILK라고 쓰여 있어?", "milk"),
    ],
)
def test_does_it_say(question: str, target: str) -> None:
    intent = understand(question)
    assert (intent.want, intent.target) == (Want.SAYS, target)


@pytest.mark.parametrize(
    ("question", "place", "weekday", "in_days", "named"),
    [
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
    ("piece", "code"),
    [
        (piece, code)
        for piece in ("A ", "yazıyor mu ", "と書いて", "쓰여 ", "लिखा ", "هل ", "「x", "1 ")
        for code in languages_of(piece)
    ],
)
def test_the_longest_question_is_understood_quickly(piece: str, code: str) -> None:
    """No pattern takes long over a question of the largest allowed size.

    A chosen language that does not have these letters changes no pattern.
    """
    import time

    language(code).warm()
    begin = time.thread_time()
    understand((piece * MAX_QUESTION_CHARS)[:MAX_QUESTION_CHARS], code)
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize(
    ("code", "forms"),
    [
        ("en", {0: "other", 1: "one", 2: "other"}),
        ("fr", {0: "one", 1: "one", 2: "other"}),
        ("pl", {1: "one", 2: "few", 5: "many", 12: "many", 21: "many", 22: "few"}),
        ("uk", {1: "one", 3: "few", 11: "many", 21: "one", 112: "many"}),
        ("ar", {0: "zero", 1: "one", 2: "two", 3: "few", 11: "many", 100: "other", 103: "few"}),
        ("ja", {1: "other"}),
    ],
)
def test_plural_forms_are_those_of_cldr(code: str, forms: dict[int, str]) -> None:
    assert {count: plural(code, count) for count in forms} == forms


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def shapes(phrase: str | dict[str, str]) -> list[str]:
    return list(phrase.values()) if isinstance(phrase, dict) else [phrase]


def test_there_is_a_file_for_each_language_of_the_page() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(LANGUAGES)
    assert {path.stem for path in CLIENT_LANGUAGES.iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_says_everything(code: str) -> None:
    """The same keys with the same fields in each language, every plural form, and a name for each
    colour, place, day and want.
    """
    one, english = language(code), language("en")
    assert one.phrases.keys() == english.phrases.keys()
    for key, phrase in one.phrases.items():
        wanted = names(shapes(english.phrases[key])[-1])
        # "One face" needs no figure; one thing has its own phrase, several have their plural.
        for text in shapes(phrase):
            if isinstance(phrase, dict) and text == phrase.get("one"):
                text = text.replace("{thing}", "{things}")
            assert names(text) | {"count"} == wanted | {"count"}, key
            assert names(text) <= wanted, key
        if isinstance(phrase, dict):
            assert phrase.keys() >= {plural(code, count) for count in range(200)}, key
        assert isinstance(phrase, dict) == isinstance(english.phrases[key], dict), key
    assert len(one.colours) == len(colours.NAMES)
    assert one.places.keys() == english.places.keys()
    assert len(one.days) == 7
    assert one.questions.keys() == english.questions.keys()
    assert set(one.questions) <= set(Want)


# Words that are the same in English, or a name
_ALIKE = {"Wi", "Fi", "QR", "O", "l"}


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_no_english_is_left(code: str) -> None:
    """No phrase is the English one, and outside the Latin script none has a Latin word."""
    one, english = language(code), language("en")
    for key, phrase in one.phrases.items():
        if key in {"percent", "found_at", "camera", "of_camera"}:
            continue
        for text, other in zip(shapes(phrase), shapes(english.phrases[key]) * 6, strict=False):
            assert text != other, key
            if code not in module.LATIN:
                found = set(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", text)))
                assert found <= _ALIKE, (key, found)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_phrase_names_a_command_or_a_setting(code: str) -> None:
    """Visitors read them; an operator's remedies stand in the log and in the operator's panel."""
    text = " ".join(shape for phrase in language(code).phrases.values() for shape in shapes(phrase))
    for word in ("bash", "run.sh", "VLLM", ".env", "--with", "`"):
        assert word not in text


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_questions_that_help_proposes_are_understood(code: str) -> None:
    """The questions that the help proposes are understood in its own language."""
    proposed = re.findall(r"[“„«「]\s?(.+?)\s?[”“»」]", language(code).say("help"))
    found = [understand(question) for question in proposed]
    assert [intent.want for intent in found] == [Want.SUMMARY, Want.READ, Want.TOTAL], proposed
    assert {intent.language for intent in found} == {code}


@pytest.mark.parametrize("code", LANGUAGES)
def test_colours_shown_are_words(code: str) -> None:
    for name in colours.NAMES:
        shown = language(code).colour_name(name)
        assert shown.strip("*") == shown
        assert language(code).colour(colours.NAMES.index(name)).search(plain(shown))


def test_found_text_of_the_other_direction_is_isolated() -> None:
    """In Arabic, Latin text and figures; in other languages, Arabic text. A list's parts are
    isolated one by one.
    """
    arabic, english = language("ar"), language("en")
    assert "\u2068MILK 3.50\u2069" in arabic.say("reads", text="MILK 3.50")
    assert "\u2068" not in arabic.say("reads", text="حليب")
    assert "\u2068حليب\u2069" in english.say("reads", text="حليب")
    assert "\u2068" not in english.say("reads", text="MILK 3.50")
    listed = arabic.say("values", items=arabic.items(["A 1", "B 2"]))
    assert "\u2068A 1\u2069؛ \u2068B 2\u2069" in listed
    assert arabic.say("faces", count=2) == "أرى وجهين."


def test_found_text_cannot_turn_a_sentence_round() -> None:
    """A code's text may have any characters, overrides and an isolate's end too."""
    from server.features.builtin.language import without_controls

    assert without_controls("a\u202eb\u2069c\u200fd") == "abcd"


# In each language: whether something is safe to eat, to drink and to touch, and whether a link is
SAFE = {
    "en": (
        "Is it safe to eat?",
        "Is it safe to drink?",
        "Is it safe to touch?",
        "Is this link safe?",
    ),
    "de": (
        "Ist es sicher, das zu essen?",
        "Ist es sicher, das zu trinken?",
        "Ist es sicher, das anzufassen?",
        "Ist dieser Link sicher?",
    ),
    "fr": (
        "Est-il sûr de manger ça ?",
        "Est-ce sûr à boire ?",
        "Est-il sûr de toucher ça ?",
        "Ce lien est-il sûr ?",
    ),
    "es": (
        "¿Es seguro comer esto?",
        "¿Es seguro beber esto?",
        "¿Es seguro tocar esto?",
        "¿Es seguro este enlace?",
    ),
    "ru": (
        "Это безопасно есть?",
        "Это безопасно пить?",
        "Безопасно ли это трогать?",
        "Эта ссылка безопасна?",
    ),
    "zh": ("这个吃安全吗？", "这水喝安全吗？", "摸这个安全吗？", "这个链接安全吗？"),
    "it": (
        "È sicuro mangiarlo?",
        "È sicuro da bere?",
        "È sicuro toccarlo?",
        "Questo link è sicuro?",
    ),
    "pt": (
        "É seguro comer isto?",
        "É seguro beber isto?",
        "É seguro tocar nisto?",
        "Este link é seguro?",
    ),
    "nl": (
        "Is het veilig om te eten?",
        "Is het veilig om te drinken?",
        "Is het veilig om aan te raken?",
        "Is deze link veilig?",
    ),
    "pl": (
        "Czy to jest bezpieczne do jedzenia?",
        "Czy to jest bezpieczne do picia?",
        "Czy można to bezpiecznie dotknąć?",
        "Czy ten link jest bezpieczny?",
    ),
    "tr": (
        "Bunu yemek güvenli mi?",
        "Bunu içmek güvenli mi?",
        "Buna dokunmak güvenli mi?",
        "Bu bağlantı güvenli mi?",
    ),
    "uk": (
        "Це безпечно їсти?",
        "Чи безпечно це пити?",
        "Чи безпечно це чіпати?",
        "Чи безпечне це посилання?",
    ),
    "ar": ("هل هذا آمن للأكل؟", "هل هذا آمن للشرب؟", "هل لمس هذا آمن؟", "هل هذا الرابط آمن؟"),
    "hi": (
        "क्या यह खाना सुरक्षित है?",
        "क्या यह पीना सुरक्षित है?",
        "क्या इसे छूना सुरक्षित है?",
        "क्या यह लिंक सुरक्षित है?",
    ),
    "ja": (
        "これは食べても安全ですか？",
        "これは飲んでも安全ですか？",
        "触っても安全ですか？",
        "このリンクは安全ですか？",
    ),
    "ko": (
        "이거 먹어도 안전해요?",
        "이거 마셔도 안전해요?",
        "만져도 안전해요?",
        "이 링크는 안전해요?",
    ),
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_safe_to_eat_drink_or_touch_is_no_question_about_a_link(code: str) -> None:
    *others, link = (understand(question) for question in SAFE[code])
    assert Want.SAFE not in {one.want for one in others}
    assert (link.want, link.language) == (Want.SAFE, code)
