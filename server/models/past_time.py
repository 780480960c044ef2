"""Find the time that a question about the past names: "two minutes ago", "in the last minute", "since I started". Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from server.models.matching import ends, plain, word_pattern

_SECOND, _MINUTE, _HOUR = 1.0, 60.0, 3600.0
# Words of these lengths of time, by language; see `word_pattern`. Where words stand without spaces, as parts
UNIT_WORDS: dict[str, tuple[str, str, str]] = {
    "en": ("second, seconds, sec, secs", "minute, minutes, min, mins", "hour, hours"),
    "de": ("sekunde, sekunden", "minute, minuten", "stunde, stunden"),
    "fr": ("seconde, secondes", "minute, minutes", "heure, heures"),
    "es": ("segundo, segundos", "minuto, minutos", "hora, horas"),
    "it": ("secondo, secondi", "minuto, minuti", "ora, ore"),
    "pt": ("segundo, segundos", "minuto, minutos", "hora, horas"),
    "nl": ("seconde, seconden", "minuut, minuten", "uur, uren"),
    "pl": ("sekund*", "minut*, minuci*", "godzin*"),
    "ru": ("секунд*", "минут*", "час, часа, часов"),
    "tr": ("saniye*", "dakika*", "saat, saatte"),
    "uk": ("секунд*", "хвилин*", "годин*"),
    "ar": ("ثانية, ثواني, ثوان, الثواني", "دقيقة, دقائق, الدقيقة, الدقائق", "ساعة, ساعات, الساعة"),
    "hi": ("सेकंड*, सेकेंड*", "मिनट*", "घंटे, घंटा, घंटों"),
}
UNIT_PARTS: dict[str, tuple[str, str, str]] = {
    "zh": ("秒钟, 秒鐘, 秒", "分钟, 分鐘", "小时, 小時"),
    "ja": ("秒間, 秒", "分間, 分", "時間"),
    "ko": ("초", "분", "시간"),
}
# Of them, those of several without a number: about so many
_SOME = 4.0
MANY_WORDS = (
    "seconds, minutes, hours, sekunden, minuten, stunden, secondes, heures, segundos, minutos, horas, secondi, minuti, ore, "
    "seconden, uren, sekundy, minuty, godziny, секунды, минуты, часы, секунди, хвилини, години, ثواني, دقائق, الثواني, الدقائق"
)
# Two of them in one word
TWO_WORDS: tuple[str, str, str] = ("ثانيتين", "دقيقتين", "ساعتين")
# Words of numbers
NUMBER_WORDS: dict[float, str] = {
    0.5: "half, half a, halbe, halben, demi, demie, une demi, medio, media, mezzo, mezza, meio, meia, halve, pół, пол, пів, "
    "yarım, نصف, आधा, आधे",
    1: "a, an, one, ein, eine, einer, einem, einen, un, une, una, um, uma, een, één, jedną, jedna, одну, одна, bir, एक, واحدة",
    2: "two, a couple of, couple of, couple, zwei, deux, dos, due, dois, duas, twee, dwie, две, пару, iki, дві, दो",
    3: "three, drei, trois, tres, tre, três, drie, trzy, три, üç, तीन, ثلاث",
    4: "four, a few, few, several, some, vier, ein paar, paar, einige, einigen, wenigen, quatre, quelques, cuatro, unos, unas, "
    "pocos, quattro, qualche, pochi, alcuni, quatro, alguns, poucos, enkele, cztery, kilka, четыре, несколько, dört, "
    "birkaç, чотири, кілька, декілька, चार, कुछ, أربع, بضع",
    5: "five, fünf, cinq, cinco, cinque, vijf, pięć, пять, beş, п'ять, पाँच, पांच, خمس",
    6: "six, sechs, seis, sei, zes, sześć, шесть, altı, шість, छह, छः, ست",
    7: "seven, sieben, sept, siete, sette, sete, zeven, siedem, семь, yedi, сім, सात, سبع",
    8: "eight, acht, huit, ocho, otto, oito, osiem, восемь, sekiz, вісім, आठ, ثماني, ثمان",
    9: "nine, neun, neuf, nueve, nove, negen, dziewięć, девять, dokuz, дев'ять, नौ, تسع",
    10: "ten, zehn, dix, diez, dieci, dez, tien, dziesięć, десять, on, десять, दस, عشر",
    15: "fifteen, fünfzehn, quinze, quince, quindici, vijftien, piętnaście, пятнадцать, on beş, п'ятнадцять, पंद्रह, خمس عشرة",
    20: "twenty, zwanzig, vingt, veinte, venti, vinte, twintig, dwadzieścia, двадцать, yirmi, двадцять, बीस, عشرين",
    30: "thirty, dreißig, trente, treinta, trenta, trinta, dertig, trzydzieści, тридцать, otuz, тридцять, तीस, ثلاثين",
}
NUMBER_PARTS: dict[float, str] = {
    0.5: "半",
    1: "一, 일, 한",
    2: "两, 兩, 二, 이, 두",
    3: "三, 삼, 세",
    4: "四, 几, 幾, 数, 사, 네, 몇",
    5: "五, 오",
    6: "六, 육",
    7: "七, 칠",
    8: "八, 팔",
    9: "九, 구",
    10: "十, 십",
    15: "十五, 십오",
    20: "二十, 이십",
    30: "三十, 삼십",
}
# So long ago: these stand right before the number, or right behind the length of time
AGO_BEFORE = "vor, il y a, hace, há, faz, قبل, منذ"
AGO_AFTER = "ago, earlier, back, fa, atrás, geleden, eerder, terug, temu, wcześniej, назад, önce, evvel, тому, पहले"
AGO_AFTER_PARTS = "前, 之前, 以前, くらい前, ぐらい前, ほど前, 전, 쯤 전, 정도 전"
# In the last so much time
LAST_WORDS = (
    "last, past, previous, letzte, letzten, letzter, vergangenen, vergangene, dernier*, dernièr*, último*, última*, ultim*, "
    "laatste, afgelopen, ostatni*, последн*, за, son, останн*, الأخيرة, الماضية, آخر, पिछले, पिछली, आखिरी"
)
LAST_PARTS = "过去, 過去, 最近, 最后, 最後, この, 直近, 지난, 최근"
# Since the beginning
START_WORDS: dict[str, str] = {
    "en": "since i started, since we started, since you started, since i began, since the start, since the beginning, so far, "
    "all this time, the whole time",
    "de": "seit ich angefangen, seit ich gestartet, seit ich begonnen, seit dem start, seit beginn, seit anfang, von anfang an, "
    "bisher, die ganze zeit",
    "fr": "depuis que j'ai commencé, depuis le début, depuis le départ, jusqu'ici, jusqu'à présent, tout le temps",
    "es": "desde que empecé, desde que comencé, desde el principio, desde el inicio, hasta ahora, todo el tiempo",
    "it": "da quando ho iniziato, da quando ho cominciato, dall'inizio, finora, fino a ora, tutto il tempo",
    "pt": "desde que comecei, desde o início, desde o começo, até agora, o tempo todo",
    "nl": "sinds ik begon, sinds ik ben begonnen, sinds het begin, vanaf het begin, tot nu toe, de hele tijd",
    "pl": "odkąd zacząłem, odkąd zaczęłam, od początku, od startu, do tej pory, do teraz, cały czas",
    "ru": "с тех пор как я начал*, с самого начала, с начала, до сих пор, всё это время, всё время",
    "tr": "başladığımdan beri, başından beri, baştan beri, şimdiye kadar, bunca zaman",
    "uk": "відколи я почав*, відтоді як я почав*, від початку, з самого початку, дотепер, досі, весь час",
    "ar": "منذ أن بدأت, منذ البداية, من البداية, حتى الآن, طوال الوقت",
    "hi": "जब से मैंने शुरू, शुरू से, शुरुआत से, अब तक, पूरे समय",
}
START_PARTS: dict[str, str] = {
    "zh": "自从我开始, 自從我開始, 从我开始, 從我開始, 从开始, 從開始, 一开始, 一開始, 到目前为止, 到目前為止, 迄今",
    "ja": "始めてから, 開始してから, 最初から, 今まで, これまで",
    "ko": "시작한 후, 시작한 뒤, 시작한 이후, 시작하고 나서, 처음부터, 지금까지",
}
# People guess: a time ago may be half of its unit more or less, and this share of it, and some seconds.
_GUESSED, _MARGIN = 0.35, 5.0
# Characters before a length of time, and behind it, in which its number and "last" and "ago" stand
_BEFORE, _BEHIND = 28, 12


@dataclass(frozen=True, slots=True)
class Span:
    """A time in the past, in seconds before the question. `since` may be infinite, `until` is less and at least 0."""

    since: float
    until: float


def span_in(question: str) -> Span | None:
    """Find the time that a question names; None without one. The last one counts."""
    return span_of(plain(ends(question)))


def span_of(text: str) -> Span | None:
    """Find the time that a `plain` text of bounded length names."""
    for match in reversed(list(_UNIT.finditer(text))):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        behind = text[match.end() : match.end() + _BEHIND]
        seconds, unit = _length(match[0], before)
        if seconds and _LAST.search(f"{before}{match[0]}{behind}"):
            return Span(seconds, 0.0)
        ago = _AGO_AFTER.match(behind.lstrip()) or _AGO_BEFORE.search(before)
        if seconds and ago and unit < _HOUR:
            margin = max(unit / 2, _GUESSED * seconds) + _MARGIN
            return Span(seconds + margin, max(0.0, seconds - margin))
    return Span(math.inf, 0.0) if _START.search(text) else None


def _length(word: str, before: str) -> tuple[float, float]:
    """Return the seconds of a length of time, 0 when it is none, and those of its unit."""
    if (unit := _TWO.get(word)) is not None:
        return 2 * unit, unit
    unit = next(unit for unit, pattern in _UNITS.items() if pattern.fullmatch(word))
    numbers = list(_NUMBER.finditer(before))
    if numbers:
        number = numbers[-1][0]
        return (float(number) if number.isdecimal() else _NUMBERS[number]) * unit, unit
    if _PARTS.fullmatch(word):
        # A character with other meanings
        return 0.0, unit
    return (_SOME if _MANY.fullmatch(word) else 1.0) * unit, unit


def _joined(tables: dict[str, tuple[str, str, str]], at: int) -> str:
    return ",".join(words[at] for words in tables.values())


def _choices(tables: dict[float, str]) -> str:
    return ",".join(tables.values())


_UNITS = {
    unit: word_pattern(_joined(UNIT_WORDS, at), _joined(UNIT_PARTS, at))
    for at, unit in enumerate((_SECOND, _MINUTE, _HOUR))
}
_ALL_PARTS = ",".join(_joined(UNIT_PARTS, at) for at in range(3))
_UNIT = word_pattern(
    ",".join([*(_joined(UNIT_WORDS, at) for at in range(3)), *TWO_WORDS]), _ALL_PARTS
)
_PARTS = word_pattern(_ALL_PARTS)
_TWO = {plain(word): unit for word, unit in zip(TWO_WORDS, _UNITS, strict=True)}
_MANY = word_pattern(MANY_WORDS)
_NUMBERS = {
    plain(word.strip()): value
    for tables in (NUMBER_WORDS, NUMBER_PARTS)
    for value, words in tables.items()
    for word in words.split(",")
}
_NUMBER = re.compile(
    rf"\d{{1,4}}|{word_pattern(_choices(NUMBER_WORDS), _choices(NUMBER_PARTS)).pattern}"
)
_AGO_BEFORE = word_pattern(AGO_BEFORE)
_AGO_AFTER = word_pattern(AGO_AFTER, AGO_AFTER_PARTS)
_LAST = word_pattern(LAST_WORDS, LAST_PARTS)
_START = word_pattern(",".join(START_WORDS.values()), ",".join(START_PARTS.values()))
