"""Conditions in the languages of the page: what is understood in each, and what is left to a model."""

from __future__ import annotations

import pytest

from server.features.builtin.colours import NAMES
from server.features.builtin.conditions import Condition, Subject, spoken_condition, watch_words
from server.features.builtin.language import LANGUAGES, language

WORD, TEXT, CODE = Subject.WORD, Subject.TEXT, Subject.CODE
COLOUR, FACE, MOTION = Subject.COLOUR, Subject.FACE, Subject.MOTION
LIGHT, DARK = Subject.LIGHT, Subject.DARK

# By language: a condition, and its subject with what it names behind a colon
UNDERSTOOD: dict[str, dict[str, str]] = {
    "en": {
        "you see something red": "colour:red",
        "it turns green": "colour:green",
        "a QR code appears": "code",
        "somebody comes to the door": "person",
        "something moves": "motion",
        "text appears": "text",
        "you see the word exit": "word:exit",
        "EXIT appears": "word:exit",
        "the light goes out": "dark",
        "it gets dark": "dark",
        "the light comes on": "light",
    },
    "de": {
        "du etwas Rotes siehst": "colour:red",
        "es grün wird": "colour:green",
        "ein Strichcode erscheint": "code",
        "jemand an der Tür ist": "person",
        "sich etwas bewegt": "motion",
        "Text erscheint": "text",
        "du das Wort Ausgang siehst": "word:ausgang",
        "AUSGANG erscheint": "word:ausgang",
        "das Licht ausgeht": "dark",
        "es dunkel wird": "dark",
        "das Licht angeht": "light",
    },
    "fr": {
        "tu vois quelque chose de rouge": "colour:red",
        "il devient vert": "colour:green",
        "un code-barres apparaît": "code",
        "quelqu'un est à la porte": "person",
        "quelque chose bouge": "motion",
        "du texte apparaît": "text",
        "tu vois le mot sortie": "word:sortie",
        "SORTIE apparaît": "word:sortie",
        "la lumière s’éteint": "dark",
        "il fait nuit": "dark",
        "la lumière s'allume": "light",
    },
    "es": {
        "ves algo rojo": "colour:red",
        "se vuelve verde": "colour:green",
        "aparece un código de barras": "code",
        "alguien en la puerta": "person",
        "algo se mueve": "motion",
        "aparece texto": "text",
        "ves la palabra salida": "word:salida",
        "SALIDA aparece": "word:salida",
        "se apaga la luz": "dark",
        "oscurece": "dark",
        "se enciende la luz": "light",
    },
    "ru": {
        "появится что-то красное": "colour:red",
        "станет зелёным": "colour:green",
        "появится штрихкод": "code",
        "кто-то у двери": "person",
        "что-то движется": "motion",
        "появится текст": "text",
        "появится слово выход": "word:выход",
        "появится ВЫХОД": "word:выход",
        "погаснет свет": "dark",
        "станет темно": "dark",
        "включится свет": "light",
        "станет светло": "light",
        "что-то синее": "colour:blue",
    },
    "zh": {
        "看到红色的东西": "colour:red",
        "变成绿色": "colour:green",
        "出现二维码": "code",
        "门口有人": "person",
        "有东西动": "motion",
        "出现文字": "text",
        "看到“出口”": "word:出口",
        "出现EXIT": "word:exit",
        "灯灭了": "dark",
        "天黑了": "dark",
        "灯亮了": "light",
    },
    "it": {
        "vedi qualcosa di rosso": "colour:red",
        "diventa verde": "colour:green",
        "appare un codice a barre": "code",
        "qualcuno è alla porta": "person",
        "si muove qualcosa": "motion",
        "appare del testo": "text",
        "vedi la parola uscita": "word:uscita",
        "appare USCITA": "word:uscita",
        "si spegne la luce": "dark",
        "diventa buio": "dark",
        "la luce si accende": "light",
        "non c'è luce": "dark",
    },
    "pt": {
        "vires algo vermelho": "colour:red",
        "ficar verde": "colour:green",
        "aparecer um código de barras": "code",
        "alguém chegar à porta": "person",
        "alguma coisa se mexer": "motion",
        "aparecer texto": "text",
        "vires a palavra saída": "word:saida",
        "aparecer SAÍDA": "word:saida",
        "a luz se apagar": "dark",
        "ficar escuro": "dark",
        "a luz acender": "light",
        "não houver luz": "dark",
    },
    "nl": {
        "je iets roods ziet": "colour:red",
        "het groen wordt": "colour:green",
        "er een streepjescode verschijnt": "code",
        "er iemand aan de deur is": "person",
        "er iets beweegt": "motion",
        "er tekst verschijnt": "text",
        "je het woord uitgang ziet": "word:uitgang",
        "UITGANG verschijnt": "word:uitgang",
        "het licht uitgaat": "dark",
        "het donker wordt": "dark",
        "het licht aangaat": "light",
        "het licht wordt": "light",
    },
    "pl": {
        "zobaczysz coś czerwonego": "colour:red",
        "zrobi się zielone": "colour:green",
        "pojawi się kod kreskowy": "code",
        "ktoś przyjdzie do drzwi": "person",
        "coś się rusza": "motion",
        "pojawi się tekst": "text",
        "zobaczysz słowo wyjście": "word:wyjscie",
        "pojawi się WYJŚCIE": "word:wyjscie",
        "zgaśnie światło": "dark",
        "zrobi się ciemno": "dark",
        "światło się zapali": "light",
        "nie ma światła": "dark",
    },
    "tr": {
        "kırmızı bir şey görünce": "colour:red",
        "yeşile dönerse": "colour:green",
        "barkod görünürse": "code",
        "kapıya biri gelirse": "person",
        "bir şey hareket ederse": "motion",
        "yazı görünürse": "text",
        "çıkış kelimesini görürsen": "word:cikis",
        "ÇIKIŞ görünürse": "word:cikis",
        "ışık sönünce": "dark",
        "hava kararırsa": "dark",
        "ışık yanarsa": "light",
        "ışık yoksa": "dark",
    },
    "uk": {
        "побачиш щось червоне": "colour:red",
        "стане зелене": "colour:green",
        "з'явиться штрихкод": "code",
        "хтось прийде до дверей": "person",
        "щось рухається": "motion",
        "з’явиться текст": "text",
        "побачиш слово вихід": "word:вихід",
        "з'явиться ВИХІД": "word:вихід",
        "згасне світло": "dark",
        "стане темно": "dark",
        "увімкнеться світло": "light",
        "стане світло": "light",
    },
    "ar": {
        "ترى شيئا أحمر": "colour:red",
        "يصبح أخضر": "colour:green",
        "يظهر رمز شريطي": "code",
        "يظهر شخص عند الباب": "person",
        "يتحرك شيء": "motion",
        "يظهر نص": "text",
        "ترى كلمة خروج": "word:خروج",
        "يظهر EXIT": "word:exit",
        "ينطفئ الضوء": "dark",
        "يصبح المكان مظلما": "dark",
        "يضيء المصباح": "light",
        "لا يوجد ضوء": "dark",
    },
    "hi": {
        "कुछ लाल दिखे": "colour:red",
        "हरा रंग दिखाई दे": "colour:green",
        "क्यूआर कोड दिखे": "code",
        "दरवाज़े पर कोई आए": "person",
        "कुछ हिले": "motion",
        "कुछ लिखा दिखे": "text",
        "निकास लिखा हो": "word:निकास",
        "EXIT दिखे": "word:exit",
        "बत्ती बुझ जाए": "dark",
        "अंधेरा हो जाए": "dark",
        "लाइट जले": "light",
        "उजाला हो": "light",
    },
    "ja": {
        "赤いものが見えたら": "colour:red",
        "緑になったら": "colour:green",
        "QRコードが見えたら": "code",
        "ドアの前に人が来たら": "person",
        "何かが動いたら": "motion",
        "文字が見えたら": "text",
        "「出口」が見えたら": "word:出口",
        "出口という文字が見えたら": "word:出口",
        "EXITが見えたら": "word:exit",
        "電気が消えたら": "dark",
        "暗くなったら": "dark",
        "明かりがついたら": "light",
    },
    "ko": {
        "빨간색이 보이면": "colour:red",
        "초록색으로 변하면": "colour:green",
        "QR코드가 보이면": "code",
        "문 앞에 사람이 오면": "person",
        "뭔가 움직이면": "motion",
        "글자가 보이면": "text",
        "출구라는 단어가 보이면": "word:출구",
        "EXIT가 보이면": "word:exit",
        "불이 꺼지면": "dark",
        "어두워지면": "dark",
        "불이 켜지면": "light",
        "뭔가 변하면": "motion",
    },
}
# A face, a dog that comes, and one that goes
SEEN_OR_GONE: dict[str, tuple[str, str, str]] = {
    "en": ("you see a face", "a dog comes", "the dog leaves"),
    "de": ("du ein Gesicht siehst", "ein Hund kommt", "der Hund weg ist"),
    "fr": ("tu vois un visage", "un chien apparaît", "le chien part"),
    "es": ("ves una cara", "aparece un perro", "el perro se va"),
    "ru": ("появится лицо", "появится собака", "собака уходит"),
    "zh": ("看到人脸", "出现狗", "狗离开"),
    "it": ("vedi un viso", "appare un cane", "il cane va via"),
    "pt": ("vires um rosto", "aparecer um cão", "o cão sai"),
    "nl": ("je een gezicht ziet", "er een hond is", "de hond weg is"),
    "pl": ("zobaczysz twarz", "pojawi się pies", "pies odchodzi"),
    "tr": ("bir yüz görürsen", "bir köpek gelirse", "köpek giderse"),
    "uk": ("побачиш обличчя", "з’явиться собака", "собака піде"),
    "ar": ("يظهر وجه", "يظهر كلب", "يختفي كلب"),
    "hi": ("चेहरा दिखे", "कुत्ता आए", "कुत्ता जाए"),
    "ja": ("顔が見えたら", "犬が見えたら", "犬がいなくなったら"),
    "ko": ("얼굴이 보이면", "개가 보이면", "개가 사라지면"),
}
# A thing of a colour; a leaving person, or one with something; a light of a colour, or an animal; no
# face; words that begin with a colour's
REFUSED: dict[str, tuple[str, ...]] = {
    "en": ("a red car", "she leaves", "a green light", "nobody is there", "a blackbird"),
    "de": ("ein rotes Auto", "sie geht", "ein grünes Licht", "niemand da ist", "ein Schwarzbrot"),
    "fr": (
        "une voiture rouge",
        "elle part",
        "une lumière verte",
        "personne ne part",
        "un rougegorge",
    ),
    "es": ("un coche rojo", "ella se va", "una luz verde", "no hay nadie", "un negrito"),
    "ru": (
        "красная машина",
        "она уходит",
        "зелёный свет",
        "никого нет",
        "чернила",
        "красный и синий",
    ),
    "zh": ("一辆红色的车", "她走了", "绿灯", "没有人", "红茶", "动物", "有粉", "一只狗"),
    "it": (
        "un'auto rossa",
        "lei esce",
        "luce verde",
        "non c'è nessuno",
        "la luce non si spegne",
    ),
    "pt": ("um carro vermelho", "ela sair", "luz verde", "não houver ninguém", "um branqueador"),
    "nl": (
        "een rode auto",
        "zij vertrekt",
        "groen licht",
        "er niemand is",
        "witlof",
        "het niet donker is",
    ),
    "pl": (
        "czerwony samochód",
        "ona wyjdzie",
        "zielone światło",
        "nie ma nikogo",
        "białko",
        "szarlotka",
    ),
    "tr": (
        "kırmızı araba",
        "o giderse",
        "yeşil ışık",
        "kimse yoksa",
        "sarımsak",
        "morali",
        "gribi",
    ),
    "uk": (
        "червона машина",
        "вона піде",
        "зелене світло",
        "нікого немає",
        "сина",
        "синиця",
    ),
    "ar": ("سيارة حمراء", "تغادر", "ضوء أخضر", "لا يوجد أحد", "والد", "أحمر وأزرق", "وجه ويد"),
    "hi": ("लाल गाड़ी", "वह चली जाए", "हरी बत्ती", "कोई नहीं है", "लालटेन", "दरवाज़ा बंद हो"),
    "ja": (
        "赤い車",
        "彼女が出たら",
        "青信号",
        "誰もいない",
        "人形",
        "動物が見えたら",
        "お茶が出たら",
        "白人",
    ),
    "ko": ("빨간 차", "그녀가 나가면", "초록불", "아무도 없으면", "노란 새가 보이면", "불이 나면"),
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_conditions_are_understood_in_every_language(code: str) -> None:
    """Ten or more in each: every subject, with what it names."""
    found: dict[str, str] = {}
    for text in UNDERSTOOD[code]:
        read = spoken_condition(text)
        condition = read[0] if read else None
        found[text] = f"{condition.subject}:{condition.target}".rstrip(":") if condition else ""
    assert found == UNDERSTOOD[code]
    subjects = {one.partition(":")[0] for one in found.values()} - {""}
    assert subjects == set(Subject) - {Subject.FACE, Subject.THING}
    assert len(found) >= 11


@pytest.mark.parametrize("code", LANGUAGES)
def test_faces_and_things_that_come_and_go(code: str) -> None:
    read = [spoken_condition(text) for text in SEEN_OR_GONE[code]]
    assert [one and one[0] for one in read] == [
        Condition(FACE),
        Condition(Subject.THING, "dog"),
        Condition(Subject.THING, "dog", gone=True),
    ]


@pytest.mark.parametrize("code", LANGUAGES)
def test_near_misses_are_left_to_a_model(code: str) -> None:
    """A watch for a part of a condition would ring for something else."""
    found = {text: spoken_condition(text) for text in REFUSED[code]}
    assert found == dict.fromkeys(REFUSED[code])


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_colour_is_a_condition(code: str) -> None:
    """By its name alone, as answers call it."""
    words = watch_words(code)
    for name in NAMES:
        said = language(code).colour_name(name)
        assert spoken_condition(said) is not None, (code, name, said)
        assert words.words(said.casefold()) is not None


def test_a_condition_made_to_be_slow_is_read_at_once() -> None:
    """Parts that overlap have many ways to be put together; the number of looks stays small."""
    assert spoken_condition("当你" * 99 + "龘") is None
    assert spoken_condition("という" * 66 + "x" * 2) is None
    assert spoken_condition("the word " * 22) == spoken_condition("the word " * 22)
    assert spoken_condition("看到" * 99 + "红色") == (Condition(COLOUR, "red"), "zh")
