"""Find orders in what somebody says in place of a question. Pure.

An order is all that somebody says, with courtesies; in a longer sentence the same words are a
question. "Stop" and "read this to me" are in `read_words.py`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from server.engines.matching import plain
from server.engines.read_words import bare

# No order but that of a watch is longer.
_MOST_CHARS = 80


class Order(StrEnum):
    """An order that the page carries out."""

    # The last answer once more
    AGAIN = "again"
    # A running description
    DESCRIBE = "describe"
    # A watch, with its condition
    WATCH = "watch"


# By language
AGAIN_WORDS: dict[str, str] = {
    "en": "again, once more, repeat, repeat that, repeat it, say again, say that again, say it again, louder, speak up, "
    "pardon, come again, what did you say",
    "de": "noch einmal, nochmal, noch mal, wiederhole, wiederholen, wiederhole das, sag das noch einmal, sag das nochmal, "
    "lauter, wie war das, was hast du gesagt",
    "fr": "encore, encore une fois, répète, répétez, répète ça, redis-le, plus fort, qu'as-tu dit, qu'est-ce que tu as dit",
    "es": "otra vez, de nuevo, repite, repita, repítelo, repite eso, dilo otra vez, más alto, más fuerte, qué has dicho",
    "it": "ancora, ancora una volta, di nuovo, ripeti, ripetilo, ripeti per favore, più forte, cosa hai detto",
    "pt": "outra vez, de novo, mais uma vez, repete, repita, repete isso, mais alto, o que disseste, o que você disse",
    "nl": "nog een keer, nog eens, opnieuw, herhaal, herhaal dat, zeg dat nog eens, harder, wat zei je",
    "pl": "jeszcze raz, powtórz, powtórz to, powiedz jeszcze raz, głośniej, co powiedziałeś",
    "ru": "еще раз, ещё раз, повтори, повторите, повтори это, скажи еще раз, громче, что ты сказал",
    "zh": "再说一遍, 再說一遍, 再说一次, 再說一次, 重复, 重複, 再来一次, 大声点, 大聲點, 大声一点",
    "ja": "もう一度, もう一回, もう一度言って, 繰り返して, 大きな声で",
    "ko": "다시, 다시 한번, 한 번 더, 다시 말해, 다시 말해 줘, 더 크게, 크게 말해 줘",
    "tr": "tekrar, tekrar et, tekrarla, bir daha, bir daha söyle, yeniden söyle, daha yüksek sesle, ne dedin",
    "uk": "ще раз, повтори, повторіть, повтори це, скажи ще раз, голосніше, що ти сказав",
    "ar": "مرة أخرى, كرر, أعد, أعد ذلك, كرر ذلك, قلها مرة أخرى, بصوت أعلى, ماذا قلت",
    "hi": "फिर से, एक बार फिर, दोहराओ, दोहराइए, फिर से कहो, ज़ोर से बोलो, क्या कहा",
}
DESCRIBE_WORDS: dict[str, str] = {
    "en": "describe, start describing, keep describing, describe continuously, go on describing, start the description, "
    "begin to describe",
    "de": "beschreibe, beschreiben, beschreib, beschreibe laufend, beschreibe ständig, fang an zu beschreiben, "
    "beschreibung starten, starte die beschreibung",
    "fr": "décris, décrire, décrivez, commence à décrire, décris en continu, lance la description",
    "es": "describe, describir, empieza a describir, describe continuamente, inicia la descripción",
    "it": "descrivi, descrivere, inizia a descrivere, descrivi continuamente, avvia la descrizione",
    "pt": "descreve, descreva, descrever, começa a descrever, comece a descrever, inicia a descrição",
    "nl": "beschrijf, beschrijven, begin met beschrijven, blijf beschrijven, start de beschrijving",
    "pl": "opisuj, opisz, zacznij opisywać, opisuj dalej, zacznij opis",
    "ru": "описывай, опиши, описывать, начни описывать, продолжай описывать, начни описание",
    "zh": "描述, 开始描述, 開始描述, 持续描述, 持續描述, 一直描述",
    "ja": "説明, 説明を始めて, 説明し続けて, 描写して",
    "ko": "설명, 설명 시작, 설명을 시작해, 계속 설명해, 묘사해",
    "tr": "betimle, anlat, anlatmaya başla, betimlemeye başla, anlatmaya devam et, sürekli anlat",
    "uk": "описуй, опиши, описувати, почни описувати, продовжуй описувати, почни опис",
    "ar": "صف, صف لي, ابدأ الوصف, استمر في الوصف, ابدأ بالوصف",
    "hi": "वर्णन करो, वर्णन कीजिए, वर्णन शुरू करो, बताते रहो, वर्णन करते रहो",
}
# The beginning of "tell me when ...", up to its condition
_WATCH = [
    re.compile(begin, re.IGNORECASE)
    for begin in (
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
]

# "Tell me if this is ..." asks about now.
_ASKS = [
    re.compile(ask, re.IGNORECASE)
    for ask in (
        r"(?:please[, ]+)?tell (?:me|us) if (?:(?:this|that|these|those)(?: \S+){0,2}|it|they)(?:'s|’s| is| are| looks?| seems?)(?=\W)",
        r"(?:dis|dites)-moi si (?:c['’]est|(?:ceci|cela|ça|(?:ce|cet|cette|ces) \S+) (?:est|sont))(?=\s)",
        r"dime si (?:(?:est[eoa]s?|es[eoa]s?)(?: \S+){0,2} )?(?:es|está|son|están)(?=\s)",
        r"dimmi se (?:quest[oaie](?: \S+){0,2} )?(?:è|sono)(?=\s)",
        r"(?:me diga|diga-me) se (?:(?:ist[oa]|iss[oa]|est[ea]s?|ess[ea]s?)(?: \S+){0,2} )?(?:é|está|são|estão)(?=\s)",
        r"(?:أخبرني|اخبرني) إذا (?:كان |كانت )?(?:هذا|هذه)(?=\s)",
    )
]

# An order of a watch where the condition comes first
_WATCH_AFTER = [
    re.compile(rf"{whole}[ .!。！]*$", re.IGNORECASE)
    for whole in (
        r"(?P<condition>\S.{0,300}?(?:[ıiuü]nca|[ıiuü]nce|d[ıiuü]ğ[ıiuü]nda|d[ıiuü]ğ[ıiuü]nde|t[ıiuü]ğ[ıiuü]nda|t[ıiuü]ğ[ıiuü]nde"
        r"|rs[ae]|olursa))[ ,]+(?:bana )?(?:haber ver|söyle|uyar|bildir)(?:ir misin)?",
        r"(?:जब|अगर|यदि) (?P<condition>\S.{0,300}?),? (?:तब|तो) (?:मुझे )?(?:बताना|बताओ|बताइए|बता देना|सूचित करो)",
        r"(?P<condition>\S.{0,300}?(?:たら|だら|とき|時))(?:に|は)?[、, ]*(?:教えて|知らせて|言って)(?:ください|下さい|ね)?",
        r"(?:当|當|如果|一旦|要是|等)(?P<condition>\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就|[,，])*(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?",
        r"(?P<condition>\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就)[,，]?(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?",
        r"(?P<condition>\S.{0,300}?(?:면|때))[ ,]*(?:나에게 |나한테 |저에게 )?(?:알려|말해)[ ]?(?:줘|줘요|주세요|줄래)",
    )
]


def _phrases(words: dict[str, str]) -> set[str]:
    return {plain(one.strip()) for each in words.values() for one in each.split(",")}


_ORDERS = {
    **dict.fromkeys(_phrases(AGAIN_WORDS), Order.AGAIN),
    **dict.fromkeys(_phrases(DESCRIBE_WORDS), Order.DESCRIBE),
}


def order_in(said: str) -> tuple[Order, str] | None:
    """Return the order that somebody says, and a watch's condition, else ""; None for a question."""
    text = said.strip()
    if any(ask.match(text) for ask in _ASKS):
        return None
    for begin in _WATCH:
        if found := begin.match(text):
            condition = text[found.end() :].rstrip(" .!。！")
            return (Order.WATCH, condition) if condition else None
    for whole in _WATCH_AFTER:
        if after := whole.match(text):
            return Order.WATCH, after["condition"]
    order = _ORDERS.get(bare(text)) if len(text) <= _MOST_CHARS else None
    return (order, "") if order is not None else None
