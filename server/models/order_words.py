"""Find orders in what somebody says in place of a question. Pure.

An order is all that somebody says, with courtesies; in a longer sentence the same words are a
question. "Stop" and "read this to me" are in `routing.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path

from server.models.routing import bare

# No order but that of a watch is longer.
_MOST_CHARS = 80
# "Camera off?" asks whether it is.
_QUESTION = re.compile("[?？؟]")


class Order(StrEnum):
    """An order that the page carries out."""

    # The last answer once more
    AGAIN = "again"
    # A running description, and its end
    DESCRIBE = "describe"
    DESCRIBE_OFF = "describe_off"
    # What somebody who carries the camera would want to know, again and again
    NOTABLE = "notable"
    # A watch, with its condition, and the end of all
    WATCH = "watch"
    WATCH_OFF = "watch_off"
    # The picture of now is kept for the next questions, and let go
    HOLD = "hold"
    RELEASE = "release"
    # Hints how to move the camera
    GUIDE = "guide"
    GUIDE_OFF = "guide_off"
    # The way to a thing, which is its condition
    GUIDE_TO = "guide_to"
    # What is around somebody who turns, and the direction of a thing that was
    SCAN = "scan"
    WHERE_WAS = "where_was"
    # The end of what runs; its words are in `routing.py`
    STOP = "stop"
    # One step of the length of answers
    SHORTER = "shorter"
    LONGER = "longer"
    # The end of the visit: nothing is heard any more
    CAMERA_OFF = "camera_off"


# Orders that are questions where no feature takes them
OF_FEATURES = frozenset(
    {Order.GUIDE_TO, Order.NOTABLE, Order.SCAN, Order.WATCH_OFF, Order.WHERE_WAS}
)


class _Forms:
    """Forms of an order in all languages; their patterns are made when they are first needed."""

    def __init__(self, forms: Sequence[str], *, end: str = "") -> None:
        self._forms = forms
        self._end = end

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(form + self._end, re.IGNORECASE) for form in self._forms]

    def match(self, text: str) -> re.Match[str] | None:
        """Return the match of the first that a text begins with."""
        return next((found for one in self._patterns if (found := one.match(text))), None)


# The beginning of "tell me when ...", up to its condition
_WATCH = _Forms(
    (
        r"(?:please[, ]+)?(?:tell|let|alert|notify|warn|ring|ping)(?: (?:me|us))(?: know)?,? "
        r"(?:when(?:ever)?|if|once|as soon as)\s+(?=\S)",
        r"(?:bitte )?(?:sag|sage|gib|melde|warn|warne) (?:mir|dich|mich)(?: bitte)?(?: bescheid)?,? "
        r"(?:wenn|falls|sobald)\s+(?=\S)",
        r"(?:dis-moi|préviens-moi|avertis-moi|prévenez-moi|dites-moi),? (?:quand|si|dès que|lorsque)\s+(?=\S)",
        r"(?:avísame|dime|avisa|avíseme),? (?:cuando|si|en cuanto)\s+(?=\S)",
        r"(?:dimmi|avvisami|avvertimi),? (?:quando|se|appena)\s+(?=\S)",
        r"(?:me avise|avise-me|avisa-me|diga-me|me diga),? (?:quando|se|assim que)\s+(?=\S)",
        r"(?:zeg|waarschuw|meld)(?: het)?(?: me| mij)?,? (?:wanneer|als|zodra)\s+(?=\S)",
        r"(?:powiedz|daj znać|ostrzeż)(?: mi| mnie)?,? (?:kiedy|gdy|jeśli|jak)\s+(?=\S)",
        r"(?:скажи|сообщи|предупреди)(?: мне)?,? (?:когда|если)\s+(?=\S)",
        r"(?:скажи|повідом|попередь)(?: мені| мене)?,? (?:коли|якщо|щойно)\s+(?=\S)",
        r"(?:أخبرني|اخبرني|نبهني|نبّهني|أعلمني) (?:عندما|إذا|حين|متى)\s+(?=\S)",
        # Without a word for "when" it is a question: "tell me what this is".
        r"(?:请)?(?:告诉|告訴|通知|提醒)我[,，]?(?:当|當|如果|一旦|要是)\s*(?=\S)",
    )
)

# "Tell me if this is ..." asks about now.
_ASKS = _Forms(
    (
        r"(?:please[, ]+)?tell (?:me|us) if (?:(?:this|that|these|those)(?: \S+){0,2}|it|they)(?:'s|’s| is| are| looks?| seems?)(?=\W)",
        r"(?:dis|dites)-moi si (?:c['’]est|(?:ceci|cela|ça|(?:ce|cet|cette|ces) \S+) (?:est|sont))(?=\s)",
        r"dime si (?:(?:est[eoa]s?|es[eoa]s?)(?: \S+){0,2} )?(?:es|está|son|están)(?=\s)",
        r"dimmi se (?:quest[oaie](?: \S+){0,2} )?(?:è|sono)(?=\s)",
        r"(?:me diga|diga-me) se (?:(?:ist[oa]|iss[oa]|est[ea]s?|ess[ea]s?)(?: \S+){0,2} )?(?:é|está|são|estão)(?=\s)",
        r"(?:أخبرني|اخبرني) إذا (?:كان |كانت )?(?:هذا|هذه)(?=\s)",
    )
)

# An order of a watch where the condition comes first
_WATCH_AFTER = _Forms(
    (
        r"(?P<condition>\S.{0,300}?(?:[ıiuü]nca|[ıiuü]nce|d[ıiuü]ğ[ıiuü]nda|d[ıiuü]ğ[ıiuü]nde|t[ıiuü]ğ[ıiuü]nda|t[ıiuü]ğ[ıiuü]nde"
        r"|rs[ae]|olursa))[ ,]+(?:bana )?(?:haber ver|söyle|uyar|bildir)(?:ir misin)?",
        r"(?:जब|अगर|यदि) (?P<condition>\S.{0,300}?),? (?:तब|तो) (?:मुझे )?(?:बताना|बताओ|बताइए|बता देना|सूचित करो)",
        r"(?P<condition>\S.{0,300}?(?:たら|だら|とき|時))(?:に|は)?[、, ]*(?:教えて|知らせて|言って)(?:ください|下さい|ね)?",
        r"(?:当|當|如果|一旦|要是|等)(?P<condition>\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就|[,，])*(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?",
        r"(?P<condition>\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就)[,，]?(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?",
        r"(?P<condition>\S.{0,300}?(?:면|때))[ ,]*(?:나에게 |나한테 |저에게 )?(?:알려|말해)[ ]?(?:줘|줘요|주세요|줄래)",
    ),
    end=r"[ .!。！]*$",
)

# The beginning of "guide me to ...", up to the thing
_LEAD = _Forms(
    (
        r"(?:please[, ]+)?(?:(?:can|could|would) you (?:please )?)?(?:guide|lead|take|bring|direct|steer) (?:me|us) (?:over )?"
        r"to(?:wards?)?\s+(?=\S)",
        r"(?:bitte )?(?:führ|führe|bring|bringe|leite|lotse|lenke|lenk)(?: sie)? mich (?:bitte )?"
        r"(?:zu(?: der| dem| den| einer| einem| meiner| meinem)?|zum|zur)\s+(?=\S)",
        r"(?:guide|mène|conduis|amène|emmène|dirige|guidez|menez|conduisez|amenez|emmenez|dirigez)-moi "
        r"(?:jusqu['’]|vers |)(?:à l['’]|au |aux |à la |à |la |le |les |l['’])(?=\S)",
        r"¡?(?:por favor,? )?(?:guíame|guíeme|llévame|lléveme|condúceme|dirígeme) (?:al|a|hacia|hasta)(?: el| la| los| las| mi)?\s+(?=\S)",
        r"(?:guidami|portami|conducimi|accompagnami|mi guidi|mi porti) (?:(?:verso|fino) )?"
        r"(?:(?:al|allo|alla|ai|agli|alle|a|il|lo|la|i|gli|le)\s+|all['’]|l['’])(?=\S)",
        r"(?:guia-me|guie-me|me guie|me guia|leva-me|leve-me|me leve|me leva|conduz-me|conduza-me) "
        r"(?:até |para )?(?:ao|aos|à|às|a|o|os|as)\s+(?=\S)",
        r"(?:leid|leidt|breng|begeleid|gids|loods) (?:me|mij) naar(?: de| het| een| mijn)?\s+(?=\S)",
        r"(?:zaprowadź|prowadź|doprowadź|pokieruj|naprowadź) mnie (?:do|na|w stronę)\s+(?=\S)",
        r"(?:отведи|веди|приведи|проведи|направь|доведи|отведите|ведите|проведите|направьте) меня (?:к|ко|до|на)\s+(?=\S)",
        r"(?:відведи|веди|проведи|доведи|приведи|скеруй|спрямуй|проведіть|відведіть) мене (?:до|к|на)\s+(?=\S)",
        r"(?:أرشدني|ارشدني|وجهني|وجّهني|خذني|قدني|دلني|دلّني) (?:إلى|الى|نحو|على)\s+(?=\S)",
        r"(?:请|請)?(?:带|帶|引导|引導|领|領|指引)我(?:去|到|找|走到|走向)(?=\S)",
    )
)

# An order of the way to a thing where the thing comes first
_LEAD_AFTER = _Forms(
    (
        r"(?:मुझे |कृपया )?(?P<thing>\S.{0,80}?) (?:तक|की ओर|की तरफ|के पास) (?:ले चलो|ले जाओ|ले चलिए|ले जाइए|पहुँचाओ|पहुंचाओ|गाइड करो|मार्गदर्शन करो)",
        r"(?P<thing>\S.{0,80}?)(?:のところ|の方)?(?:まで|へ|に)(?:私を)?(?:案内|誘導|ガイド|連れて行)(?:して|って)(?:ください|下さい|くれ)?",
        r"(?:나를 |저를 )?(?P<thing>\S.{0,80}?)(?:이 있는 곳|가 있는 곳)?(?:까지|으로|쪽으로|로|에게|한테) ?(?:안내해|데려가|인도해|이끌어)(?: ?줘요| ?줘| ?주세요| ?줄래)?",
        r"(?:lütfen )?(?:beni |bizi )(?P<thing>\S.{0,80}?) (?:doğru )?(?:götür|yönlendir|yönelt|ulaştır|götürün|yönlendirin)(?:ür müsün|ir misin)?",
    ),
    end=r"[ .!。！?？]*$",
)
# The beginning of "where was ...", up to the thing
_WHERE = _Forms(
    (
        r"(?:(?:and|so|but) )?(?:where|which way|in (?:which|what) direction) (?:was|were)\s+(?=\S)",
        r"(?:(?:und|also) )?(?:wo|in welcher richtung) (?:war|waren)(?: (?:noch mal|nochmal|noch|denn|gleich))?\s+(?=\S)",
        r"(?:et )?(?:où|dans quelle direction) (?:était|étaient)\s+(?=\S)",
        r"¿?(?:y )?(?:dónde|donde|en qué dirección) (?:estaba|estaban)\s+(?=\S)",
        r"(?:e )?(?:dov['’]era|dov['’]erano|dove era|dove erano|in che direzione era|in che direzione erano)\s+(?=\S)",
        r"(?:e )?(?:onde|em que direção) (?:estava|estavam|ficava|ficavam)\s+(?=\S)",
        r"(?:en )?(?:waar|in welke richting) (?:was|waren|stond|stonden|lag|lagen)\s+(?=\S)",
        r"(?:a )?(?:gdzie|w której stronie|w którym kierunku) (?:był|była|było|były|byli)\s+(?=\S)",
        r"(?:а |и )?(?:где|в какой стороне) (?:был|была|было|были)\s+(?=\S)",
        r"(?:а |і )?(?:де|в якому боці|з якого боку) (?:був|була|було|були)\s+(?=\S)",
        r"(?:و)?(?:أين|اين|في أي اتجاه|في أي جهة) (?:كان|كانت)\s+(?=\S)",
    )
)

# The same where the thing comes first
_WHERE_AFTER = _Forms(
    (
        r"(?P<thing>\S.{0,80}?) (?:कहाँ|कहां|किस तरफ|किस ओर|किधर) (?:था|थी|थे)",
        r"(?P<thing>\S.{0,80}?)は(?:どこ|どっち|どちら)(?:だった|でした|にあった|にありました|にいた|にいました)(?:か|っけ|かな)?",
        r"(?P<thing>\S.{0,80}?)(?:은|는|이|가) ?(?:어디|어느 쪽)(?:에)? ?(?:있었|였)(?:어요|어|나요|지요|지|죠|습니까|더라)",
        r"(?P<thing>\S.{0,80}?) (?:neredeydi|nerdeydi|ne taraftaydı|hangi taraftaydı|hangi yöndeydi)",
        # Without a word for the past it is a question about now.
        r"(?:请问|請問)?(?:刚才|剛才|刚刚|剛剛)(?:的)?(?P<thing>\S.{0,80}?)在(?:哪里|哪裡|哪儿|哪边|哪邊|什么方向|什麼方向)",
        r"(?P<thing>\S.{0,80}?)(?:刚才|剛才|刚刚|剛剛)在(?:哪里|哪裡|哪儿|哪边|哪邊|什么方向|什麼方向)",
    ),
    end=r"[ .!。！?？]*$",
)
_OF_THINGS = ((Order.GUIDE_TO, _LEAD, _LEAD_AFTER), (Order.WHERE_WAS, _WHERE, _WHERE_AFTER))
# Longest name of a thing
_MOST_THING = 80

# The words of each order that has no condition, but "stop", by language
WORDS: dict[Order, dict[str, str]] = {
    Order(name): words
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}


@cache
def _orders() -> dict[str, Order]:
    return {
        bare(phrase): order
        for order, words in WORDS.items()
        for phrases in words.values()
        for phrase in phrases.split(",")
    }


def order_in(said: str) -> tuple[Order, str] | None:
    """Return the order that somebody says, and a watch's condition or the thing that it is about, else ""; None for a question."""
    text = said.strip()
    if _ASKS.match(text):
        return None
    if found := _WATCH.match(text):
        condition = text[found.end() :].rstrip(" .!。！")
        return (Order.WATCH, condition) if condition else None
    if after := _WATCH_AFTER.match(text):
        return Order.WATCH, after["condition"]
    for of_thing, begins, wholes in _OF_THINGS:
        if (thing := _thing_in(text, begins, wholes)) and bare(text) not in _orders():
            return of_thing, thing
    order = _orders().get(bare(text)) if len(text) <= _MOST_CHARS else None
    if order is Order.CAMERA_OFF and _QUESTION.search(text):
        return None
    return (order, "") if order is not None else None


def _thing_in(text: str, begins: _Forms, wholes: _Forms) -> str:
    """Return the thing of "guide me to ..." and the like; "" for other words."""
    if len(text) > 2 * _MOST_THING:
        return ""
    if found := begins.match(text):
        thing = text[found.end() :].rstrip(" .!。！?？؟")
        return thing if len(thing) <= _MOST_THING else ""
    after = wholes.match(text)
    return after["thing"] if after else ""


def load() -> None:
    """Make all patterns, which takes some 20 ms."""
    order_in("")
