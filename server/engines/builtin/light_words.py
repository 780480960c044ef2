"""Conditions about light and darkness, read from a person's words in six languages. Pure.

As for other conditions all words have to be known: "the light turns green" is none of these.
"""

from __future__ import annotations

import re

from server.engines.matching import plain

_TOKEN = re.compile(r"[\w'-]+")
# "Il fait noir" is no color.
_PHRASES = ((re.compile(r"\bfai(?:t|sse) (?:tout )?(?:noir|nuit)\b"), "sombre"),)


def _words(text: str) -> frozenset[str]:
    return frozenset(plain(text).split())


_LIGHTS = _words(
    "light lights licht lichter lumiere lumieres luz luces свет света"
    " lamp lamps lampe lampen lampes lampara lamparas bombilla лампа лампы лампу"
)
_DARK = _words(
    "dark darkness dunkel dunkle dunkler finster dunkelheit finsternis sombre obscur obscurite s'assombrit oscuro oscura oscuridad"
    " oscurece oscurezca anochece темно темнота темноту стемнеет темнеет потемнеет"
)
_BRIGHT = _words(
    "bright brightness hell helle heller helligkeit lumineux eclaire iluminado iluminada ilumina ilumine светло светлее рассветет"
)
# With a light, or with a verb alone ("s'éteint")
_OFF = _words(
    "off out aus ausgeht ausgegangen ausgeschaltet ausgemacht ausschaltet ausmacht erlischt erloschen"
    " s'eteint s'eteignent s'eteigne eteint eteinte eteintes eteignent coupe apaga apagan apague apaguen apagada apagado apagadas"
    " погаснет погас погасла гаснет выключится выключат выключен выключена выключат выключит выключили пропадет исчезнет"
)
_ON = _words(
    "on an angeht angegangen eingeschaltet angeschaltet angemacht anschaltet einschaltet anmacht brennt leuchtet"
    " s'allume s'allument allume allumee allumees allument enciende encienden encienda enciendan encendida encendido prende prenda"
    " включится включат включен включена включит включили загорится зажжется горит появится есть"
)
# These may be a preposition or an article as well, so "off" beside them counts.
_WEAK = _words("on an hay есть")
_NO = _words("no kein keine pas plus sin нет")
# Words between them
_FILLERS = _words(
    "the a it its is are was be gets get becomes become turns turn turned switches switch switched goes go going went gone comes come"
    " there here in room when if once as soon all again suddenly too very somebody someone anybody anyone"
    " das die der es ist sind wird werden war im hier da zimmer raum wenn sobald falls geht kommt gehen wieder jemand dir"
    " le la les l il elle on est sont fait fasse devient y a d de du dans piece quand lorsque si des que n'y ne c'est quelqu'un"
    " el los las es esta estan se vuelve pone hace haga hay haya en cuarto cuando si alguien queda quede va vaya"
    " станет становится в комнате когда если будет здесь кто-то кто-нибудь"
)
_HAN_DARK = ("灯灭", "灯熄", "灯关", "关灯", "熄灯", "灭灯", "天黑", "变暗", "很暗", "黑暗", "暗")
_HAN_BRIGHT = ("灯亮", "灯开", "开灯", "天亮", "变亮", "很亮", "亮")
_HAN_FILLERS = (
    *("当", "你", "我", "看到", "看见", "时候", "时", "如果", "房间", "屋里", "屋子"),
    *("里", "变", "了", "被", "掉", "起来", "下来", "的", "有人", "把"),
)


def read_light(low: str) -> bool | None:
    """Return True for a condition that light holds, False for darkness, and None for any other.

    `low` is `plain`.
    """
    for pattern, word in _PHRASES:
        low = pattern.sub(word, low)
    words = frozenset(word.strip("'-") for word in _TOKEN.findall(low)) - {""}
    known = _LIGHTS | _DARK | _BRIGHT | _OFF | _ON | _NO | _FILLERS
    if not words or not words <= known:
        return None
    dark, bright = bool(words & _DARK), bool(words & _BRIGHT)
    if dark or bright:
        # "It is not dark" needs a model.
        return bright if dark is not bright and not words & (_NO | _OFF) else None
    if not words & _LIGHTS:
        return None
    off, no = bool(words & _OFF), bool(words & _NO)
    if off or no:
        return None if (off and no) or words & (_ON - _WEAK) else False
    return True if words & _ON else None


def read_han_light(low: str) -> bool | None:
    """Return the same of a Chinese condition, which has no spaces."""
    for parts, light in ((_HAN_DARK, False), (_HAN_BRIGHT, True)):
        if any(part in low for part in parts):
            rest = low
            for part in sorted((*parts, *_HAN_FILLERS), key=len, reverse=True):
                rest = rest.replace(part, "")
            if not rest.strip(" .!?,;:'\"…。，！？"):
                return light
    return None
