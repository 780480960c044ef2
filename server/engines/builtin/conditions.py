"""The conditions that the built-in engine can watch for, read from a person's words. Pure.

It knows text, codes, colours, faces, motion and light, and nothing else. So a condition counts only when
all of its words are known: "a red car" would else ring for anything red, and "she leaves" for a
face.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from server.engines.builtin.colours import NAMES
from server.engines.builtin.languages import COLOURS, UNSPACED
from server.engines.builtin.light_words import read_han_light, read_light
from server.engines.matching import plain

# The words for visitors about a condition that is none of these
ABLE = (
    "The built-in engine watches for a word (“when you see the word EXIT”), any text, a QR code or barcode,"
    " a colour, a face, motion, or the light going on or out, in words as simple as these. For anything else a vision-language model is needed."
)


class Subject(StrEnum):
    WORD = "word"
    TEXT = "text"
    CODE = "code"
    COLOUR = "colour"
    FACE = "face"
    MOTION = "motion"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Condition:
    subject: Subject
    # The word to read, `plain`, or the colour's name
    target: str = ""


def _words(text: str) -> frozenset[str]:
    return frozenset(plain(text).split())


# Words without a meaning of their own here
_FILLERS = _words(
    # English
    "a an the is are was be it its this that there here of on in at to into you i we see sees seen can any some one"
    " something anything thing appears appear appeared shows show up comes come visible turns turn becomes become gets get"
    " when if once as soon camera picture image view front sight color colour colored coloured me us hold held holding"
    # German
    " ein eine einen einem einer der die das den dem ist sind es du ihr man siehst sieht seht ich sehe zu sehen etwas"
    " irgendetwas was wird werden erscheint erscheinen auftaucht kommt kommen ins im in bild vor die kamera sichtbar wenn"
    " falls sobald farbe ist da"
    # French
    " un une des le la les l est sont il elle tu vous vois voit voyez quelque chose apparait apparaissent devient devant"
    " dans l'image image quand si des que couleur y a qui se on"
    # Spanish
    " un una unos unas el la los las es son hay ves ve veas algo aparece aparecen aparezca se vuelve pone cuando si color"
    " imagen en de camara delante"
    # Russian
    " появится появляется видно видишь вижу что-то что-нибудь на в картинке камере когда если станет становится цвет"
)
_FACE_FILLERS = _words(
    "door doorway room at by tur zur zu an der tuer porte a la puerta al habitacion у двери в комнату"
)
_FACES = _words(
    "face faces person persons people somebody someone anybody anyone human humans"
    " gesicht gesichter person personen mensch menschen jemand jemanden leute"
    " visage visages personne personnes quelqu'un gens cara caras rostro persona personas alguien gente"
    " лицо лица человек люди кто-то кто-нибудь"
)
_CODES = _words(
    "qr code codes qr-code qrcode barcode barcodes bar qr-codes strichcode strichcodes code-barres codigo barras barra"
    " barres код qr-код штрихкод штрих-код"
)
_MOTIONS = _words(
    "moves move moving moved motion movement changes change changed happens happen"
    " bewegt bewegung sich verandert aendert andert passiert bouge bougent mouvement change changent"
    " mueve mueven movimiento cambia cambian движется движение двигается меняется шевелится"
)
_TEXTS = _words(
    "text writing words letters schrift text buchstaben texte mots ecriture texto letras palabras текст надпись буквы"
)
# Words that name the text after them
_NAMED = re.compile(
    r"^(.*)\b(?:the |das |dem |den |le |la |el |слово )?(?:words?|texts?|names?|letters?|numbers?|says?|reads?|written|wort|worter|steht|zahl|nummer|name|mot|texte"
    r"|ecrit|nombre|numero|palabra|texto|dice|слово|написано)\b\s*:?\s+(?P<target>\S.*)$"
)
_QUOTED = re.compile(r"[\"“”„«»‘]\s*(?P<target>.{1,80}?)\s*[\"“”«»’]")
_TAILS = re.compile(
    r"(?:\s+(?:appears?|is seen|siehst|sieht|liest|shows? up|comes? up|is (?:there|visible|shown)|erscheint|auftaucht|apparait|aparece|появится|появляется))+$"
)
_TRIM = " .!?,;:'\"…"
_TOKEN = re.compile(r"[\w'’+-]+")
_COLOUR_NAMES = {
    plain(word): NAMES[at]
    for language, words in COLOURS.items()
    if language not in UNSPACED
    for at, word in enumerate(words)
} | {"gray": "grey"}
# German and Romance endings of colours
_ENDINGS = ("e", "er", "es", "en", "em", "s", "a", "o", "as", "os", "ы", "ое", "ая", "ый")
# Chinese is written without spaces: its parts are taken out one by one.
_HAN = re.compile(r"[\u3400-\u9fff]")
_HAN_FILLERS = (
    "当",
    "当你",
    "你",
    "我",
    "看到",
    "看见",
    "出现",
    "有",
    "的",
    "时",
    "时候",
    "一个",
    "画面",
    "里",
    "变成",
    "变",
    "东西",
    "了",
    "颜色",
    "色",
    "如果",
)
_HAN_SUBJECTS = {
    Subject.FACE: ("人脸", "脸", "有人", "人"),
    Subject.CODE: ("二维码", "条形码", "条码"),
    Subject.MOTION: ("移动", "动", "运动", "变化"),
    Subject.TEXT: ("文字", "字"),
}


def read_condition(text: str) -> Condition | None:
    """Return what to watch for; None for a condition that needs a model."""
    quoted = _QUOTED.search(text)
    if quoted is not None:
        # Around the quoted text only words that say nothing more
        around = (text[: quoted.start()] + " " + text[quoted.end() :]).strip()
        rest = _rest(plain(around), _FILLERS | _TEXTS | _NAMING)
        return _word(quoted["target"]) if not rest else None
    low = plain(text).strip(_TRIM)
    if _HAN.search(low):
        return _han(low)
    named = _NAMED.match(low)
    if named is not None and not _rest(named[1], _FILLERS | _TEXTS | _NAMING):
        found = _word(_TAILS.sub("", named["target"]))
        # "Text is visible" names no text.
        if found is not None and _rest(found.target, _FILLERS):
            return found
    light = read_light(low)
    if light is not None:
        return _light(light)
    rest = _rest(low, _FILLERS)
    if not rest:
        return None
    for subject, words in (
        (Subject.FACE, _FACES | _FACE_FILLERS),
        (Subject.CODE, _CODES),
        (Subject.MOTION, _MOTIONS),
        (Subject.TEXT, _TEXTS),
    ):
        if rest <= words and not rest <= _FACE_FILLERS:
            return Condition(subject)
    colours = {_colour(word) for word in rest}
    if len(colours) == 1 and (colour := colours.pop()):
        return Condition(Subject.COLOUR, colour)
    # "EXIT appears": a word in capitals is one to read.
    capitals = [word for word in _TOKEN.findall(text) if plain(word) in rest]
    if capitals and all(word.isupper() and len(word) > 1 for word in capitals):
        return _word(" ".join(capitals))
    return None


_NAMING = _words(
    "word words name says say reads read written sign label wort worter steht schild mot ecrit palabra dice слово написано"
)


def _rest(low: str, fillers: frozenset[str]) -> frozenset[str]:
    """Return the words of a `plain` text that are no fillers."""
    tokens = (word.strip("'’-") for word in _TOKEN.findall(low))
    return frozenset(word for word in tokens if word and word not in fillers)


def _word(target: str) -> Condition | None:
    words = " ".join(plain(target).strip(_TRIM).split())
    return Condition(Subject.WORD, words) if words else None


def _light(light: bool) -> Condition:
    return Condition(Subject.LIGHT if light else Subject.DARK)


def _colour(word: str) -> str:
    for end in ("", *_ENDINGS):
        if word.endswith(end) and (name := _COLOUR_NAMES.get(word[: len(word) - len(end)])):
            return name
    return ""


def _han(low: str) -> Condition | None:
    def without(parts: tuple[str, ...], text: str) -> str:
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "")
        return text.strip(_TRIM + "。，！？")

    light = read_han_light(low)
    if light is not None:
        return _light(light)
    for subject, words in _HAN_SUBJECTS.items():
        if any(word in low for word in words) and not without((*words, *_HAN_FILLERS), low):
            return Condition(subject)
    for language in UNSPACED:
        for at, word in enumerate(COLOURS[language]):
            if plain(word) in low and not without((plain(word), *_HAN_FILLERS), low):
                return Condition(Subject.COLOUR, NAMES[at])
    return None
