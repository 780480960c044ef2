"""What a question asks for, in English, German, French and Spanish. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from server.prompts import plain, word_pattern

LANGUAGES = ("en", "de", "fr", "es")


class Want(StrEnum):
    """What an answer is about. The order is the order in which they are tried: special before general."""

    SAYS = "says"
    CHANGE = "change"
    MOTION = "motion"
    FACES = "faces"
    COLOUR = "colour"
    LIGHT = "light"
    SHARP = "sharp"
    EXPIRY = "expiry"
    EMAIL = "email"
    PHONE = "phone"
    URL = "url"
    CODE = "code"
    PRICE = "price"
    WEIGHT = "weight"
    PERCENT = "percent"
    AMOUNT = "amount"
    TIME = "time"
    DATE = "date"
    LOOKUP = "lookup"
    NUMBER = "number"
    READ = "read"
    SUMMARY = "summary"
    OTHER = "other"


# By want and language: whole words, beginnings of words (*) and phrases.
_WORDS: dict[Want, dict[str, str]] = {
    Want.CHANGE: {
        "en": "changed, change, changes, what is new, what's new, different from before, since last time, "
        "since the last, still the same, anything new, difference*",
        "de": "verändert*, geändert*, veränderung*, änderung*, was ist neu, was ist anders, seit vorhin, "
        "noch dasselbe, noch gleich, etwas neues, unterschied*",
        "fr": "changé, changée, changement*, quoi de neuf, différent d'avant, depuis la dernière fois, "
        "toujours pareil, du nouveau, différence*",
        "es": "cambiado, cambió, cambio*, qué hay de nuevo, diferente de antes, desde la última vez, sigue igual, "
        "algo nuevo, diferencia*",
    },
    Want.MOTION: {
        "en": "moving, move, moved, moves, motion, movement",
        "de": "bewegt, bewegen, bewegung*, rührt",
        "fr": "bouge*, bougé, mouvement*",
        "es": "mueve*, movido, movió, movimiento*",
    },
    Want.FACES: {
        "en": "face, faces, people, person, persons, anybody, anyone, somebody, someone, how many men, how many women",
        "de": "gesicht*, leute, person*, mensch*, jemand, niemand",
        "fr": "visage*, personne*, gens, quelqu'un",
        "es": "cara, caras, rostro*, persona*, gente, alguien",
    },
    Want.COLOUR: {
        "en": "color, colors, colour, colours, coloured, colored",
        "de": "farbe, farben, farbig, welche farbe*",
        "fr": "couleur*",
        "es": "color, colores",
    },
    Want.LIGHT: {
        "en": "dark, bright, light, lights, lit, brightness, is it night, is it day, lamp on",
        "de": "dunkel*, hell, heller, licht, lichter, beleuchtet, helligkeit, lampe an",
        "fr": "sombre, lumière*, lumineux, clair, éclairé*, luminosité, fait-il nuit, fait-il jour",
        "es": "oscuro, oscura, luz, luces, claro, iluminad*, brillo, de noche, de día",
    },
    Want.SHARP: {
        "en": "sharp, blurry, blurred, in focus, out of focus",
        "de": "scharf, unscharf, verschwommen, fokus",
        "fr": "net, nette, flou, floue, mise au point",
        "es": "nítid*, borros*, enfocad*, desenfocad*",
    },
    Want.EXPIRY: {
        "en": "expire*, expiry, expiration, best before, use by, sell by, still good, out of date, shelf life, valid until",
        "de": "haltbar*, ablauf*, abgelaufen, läuft ab, läuft es ab, läuft das ab, läuft sie ab, läuft er ab, mindesthaltbar*, mhd, verbrauchsdatum, noch gut, gültig",
        "fr": "péremption, périmé*, expire*, expiration, consommer avant, dlc, ddm, encore bon, valable",
        "es": "caduc*, vence, vencimiento, vencido, consumir antes, consumo preferente, todavía bueno, válido",
    },
    Want.EMAIL: {
        "en": "e-mail*, email*, mail address",
        "de": "e-mail*, email*, mailadresse",
        "fr": "e-mail*, email*, courriel*, adresse mail",
        "es": "e-mail*, email*, correo*",
    },
    Want.PHONE: {
        "en": "phone*, telephone*, call them, mobile number",
        "de": "telefon*, rufnummer*, handynummer*, anrufen",
        "fr": "téléphone*, numéro à appeler, appeler",
        "es": "teléfono*, llamar, móvil",
    },
    Want.URL: {
        "en": "url*, website*, web site, web address, web page, link, internet address",
        "de": "url*, webseite*, website*, internetadresse*, webadresse*, link, homepage",
        "fr": "url*, site web, site internet, adresse web, lien",
        "es": "url*, sitio web, página web, dirección web, enlace",
    },
    Want.CODE: {
        "en": "qr, qr-code, qrcode, barcode*, bar code, data matrix, scan, ean, isbn, aztec",
        "de": "qr, qr-code, qrcode, barcode*, strichcode*, scanne*, ean, isbn",
        "fr": "qr, qr-code, qrcode, code-barres, code barres, scanne*, ean, isbn",
        "es": "qr, código de barras, escanea*, ean, isbn",
    },
    Want.PRICE: {
        "en": "price*, cost, costs, how much money, how much is, how much does it cost, how expensive",
        "de": "preis*, kostet, kosten, wie teuer, was macht das",
        "fr": "prix, coûte*, combien ça fait, quel tarif",
        "es": "precio*, cuesta*, cuánto vale, cuánto es",
    },
    Want.WEIGHT: {
        "en": "weight, weigh*, how heavy, how many grams, net content, volume, how many litres, how many liters, how many ml",
        "de": "gewicht, wiegt, wie schwer, wie viel gramm, inhalt, füllmenge, wie viel liter, volumen",
        "fr": "poids, pèse*, combien de grammes, contenance, combien de litres, volume",
        "es": "peso, pesa, cuántos gramos, contenido neto, cuántos litros, volumen",
    },
    Want.PERCENT: {
        "en": "percent*, per cent, alcohol, fat content",
        "de": "prozent*, alkohol*, fettgehalt",
        "fr": "pourcent*, pour cent, alcool, teneur",
        "es": "porcentaje, por ciento, alcohol, grasa",
    },
    Want.AMOUNT: {
        "en": "amount*, quantity, dose, dosage, how much, how many calories, capacity, voltage, power, temperature, degrees",
        "de": "menge, mengen, dosis, dosierung, wie viel, wieviel, kalorien, kapazität, spannung, leistung, temperatur, grad",
        "fr": "quantité, dose, dosage, posologie, combien, calories, capacité, tension, puissance, température, degrés",
        "es": "cantidad, dosis, cuánto, cuánta, calorías, capacidad, voltaje, potencia, temperatura, grados",
    },
    Want.TIME: {
        "en": "what time, time is it, o'clock, opening hours, when does it open, departure",
        "de": "wie spät, uhrzeit, wie viel uhr, öffnungszeiten, wann öffnet, abfahrt",
        "fr": "quelle heure, horaires, quand ouvre, départ",
        "es": "qué hora, horario*, cuándo abre, salida",
    },
    Want.DATE: {
        "en": "date, dates, what day, which year, when",
        "de": "datum, welcher tag, welches jahr, wann",
        "fr": "date, dates, quel jour, quelle année, quand",
        "es": "fecha, fechas, qué día, qué año, cuándo",
    },
    Want.NUMBER: {
        "en": "number*, digit*, figures, serial*",
        "de": "nummer*, zahl, zahlen, ziffer*, seriennummer*",
        "fr": "numéro*, chiffre*, nombre*",
        "es": "número*, cifra*, dígito*",
    },
    Want.READ: {
        "en": "read*, text, texts, say, says, written, writing, words, label*, sign, signs, letters, title, headline, "
        "screen, page, document, menu, translate, spell",
        "de": "lies*, lesen, liest, vorlesen, text*, steht, geschrieben*, schrift*, wörter, etikett*, schild*, "
        "buchstaben, titel, überschrift, bildschirm, seite, dokument, speisekarte, übersetz*",
        "fr": "lis, lire, lisez, lis-moi, texte*, écrit*, dit, mots, étiquette*, panneau*, pancarte*, lettres, titre, "
        "écran, page, document, menu, tradui*",
        "es": "lee, leer, léeme, texto*, dice, escrito*, escrita*, palabras, etiqueta*, letrero*, cartel*, letras, "
        "título, pantalla, página, documento, menú, traduc*",
    },
    Want.SUMMARY: {
        "en": "what is this, what's this, what is that, what is it, what do you see, what can you see, "
        "what does the camera show, what does the camera see, describe*, description, what am i holding, "
        "what is here, what is there, what is in front of*, look at this, tell me about*, "
        "what is in the picture, what is in this picture, what is on the table, help",
        "de": "was ist das, was siehst du, was sehen sie, was zeigt die kamera, beschreib*, was halte ich, was ist hier, "
        "was ist da, was ist vor mir, schau*, was ist auf dem bild, was ist zu sehen, hilfe",
        "fr": "qu'est-ce que c'est, c'est quoi, que vois-tu, que voyez-vous, que montre la caméra, décri*, "
        "qu'est-ce que je tiens, qu'y a-t-il, qu'est-ce qu'il y a, regarde, aide",
        "es": "qué es esto, qué es eso, qué ves, qué se ve, qué muestra la cámara, describ*, qué tengo en la mano, "
        "qué hay, mira, ayuda",
    },
}
_PATTERNS = {
    want: {language: word_pattern(line) for language, line in table.items()}
    for want, table in _WORDS.items()
}
# What a person asks after with "does it say ...": quoted, or the rest of the question.
_QUOTED = re.compile(r"[\"“”„«»‘'](.{1,80}?)[\"“”«»’'](?=\W|$)")
_SAYS: dict[str, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:(?:does|do|did) (?:it|this|that|they|the \w+|this \w+) (?:say|read|show|contain|mention)s?"
        r"|is there (?:a|the|any)? ?(?:word|text|name)|do you (?:read|see) the (?:word|words|text|name)"
        r"|is the (?:word|text|name)|can you (?:read|find|see) the (?:word|words|text|name)"
        r"|does the word|contains? the (?:word|words|text))\b(.*)"
    ),
    "de": re.compile(
        r"\b(?:steht (?:da|dort|hier|drauf|darauf|irgendwo|auf \w+ \w+)|ist das wort|siehst du das wort"
        r"|enthalt (?:es|das|der text)|kommt das wort)\b(.*)"
    ),
    "fr": re.compile(
        r"\b(?:est-ce (?:que c'est|qu'il est) ecrit|est-il ecrit|y a-t-il (?:le mot|ecrit)|vois-tu le mot"
        r"|est-ce que (?:ca|cela) dit|le mot)\b(.*)"
    ),
    "es": re.compile(
        r"^\W*(?:(?:ahi|aqui|esto|la etiqueta|el letrero|el cartel) )?(?:dice|pone|aparece|contiene)\b(.*)"
        r"|\b(?:esta la palabra|ves la palabra|aparece la palabra)\b(.*)"
    ),
}
_OPEN = re.compile(
    r"^\W*(?:what|which|where|was|welche\w*|wo|que|quoi|quel\w*|qu'|ou|cual\w*|donde)\b"
)
_TAIL = re.compile(
    r"^(?:the (?:word|words|text|name)|that|das wort|le mot|la palabra|die worter|:)\s+|"
    r"\s+(?:there|anywhere|somewhere|on it|in it|here|drauf|darauf|da|irgendwo|dessus|quelque part|ahi|aqui)$"
)
# Words that say nothing about what is meant.
_STOP = set(
    plain(
        "a an the is are was were be it its it's this that these those there here of on in at to for from with and or my me i you "
        "your do does did can could would will what which where who whose how many much when why please tell show give find "
        "see now not any some has have on "
        "der die das den dem des ein eine einen einem einer ist sind war es dies diese dieser dieses hier da dort von auf in an zu "
        "für mit und oder mein meine ich du sie mir was welche welcher welches wo wer wie viele wann warum bitte sag zeig gib finde "
        "siehst sehen jetzt nicht hat haben im am zum zur "
        "le la les un une des du de est sont ce cet cette ces ici là y a-t-il sur dans à pour avec et ou mon ma mes je tu vous moi "
        "que quoi quel quelle quels quelles où qui comment combien quand pourquoi dis montre donne trouve vois il elle c'est qu'est-ce "
        "el los las una unos unas es son esto este esta estos estas eso ese aquí ahí allí en para con y o mi mis yo tú usted me qué "
        "cuál cuáles dónde quién cómo cuántos cuántas cuándo por favor di muestra da encuentra ves hay del al"
    ).split()
)
_HINTS: dict[str, re.Pattern[str]] = {
    "en": word_pattern(
        "the, is, are, what, how, does, do, this, where, which, who, it, there, can"
    ),
    "de": word_pattern(
        "der, die, das, ist, sind, was, wie, wo, wer, ein, eine, da, hier, welche*, kannst"
    ),
    "fr": word_pattern(
        "le, la, les, est, est-ce, que, quel*, c'est, il, y a, ce, cette, où, qui, une, des, du"
    ),
    "es": word_pattern(
        "el, la, los, es, está, qué, cuál, hay, esto, este, dónde, quién, una, cómo, del"
    ),
}


@dataclass(frozen=True, slots=True)
class Intent:
    want: Want
    language: str
    # What SAYS asks for, as it was written.
    target: str = ""
    # Words of the question that may name a row, as `plain` text.
    words: tuple[str, ...] = ()


def understand(question: str, language: str | None = None) -> Intent:
    """What a question asks for. `language` is a BCP 47 tag that decides the answer's language if it is one of ours."""
    text = plain(question)
    fixed = (language or "").partition("-")[0].lower()
    spoken = guess_language(text)
    answer_in = fixed if fixed in LANGUAGES else spoken
    words = tuple(
        word
        for word in dict.fromkeys(re.findall(r"\w+", text))
        if word not in _STOP and len(word) > 1
    )
    if target := _says(question, text):
        return Intent(Want.SAYS, answer_in, target, words)
    # The guessed language first: "son" and "parole" mean different things in different ones.
    order = (spoken, *(other for other in LANGUAGES if other != spoken))
    for want, table in _PATTERNS.items():
        for one in order:
            if one in table and table[one].search(text):
                return Intent(
                    want, fixed if fixed in LANGUAGES else _settle(one, spoken, text), "", words
                )
    if not text.strip(" ?!."):
        return Intent(Want.SUMMARY, answer_in, "", words)
    return Intent(Want.LOOKUP if words else Want.OTHER, answer_in, "", words)


def guess_language(text: str) -> str:
    """The likeliest of `LANGUAGES` for `plain` text, by its commonest words; English when nothing tells."""
    scores = {language: len(pattern.findall(text)) for language, pattern in _HINTS.items()}
    for want, table in _PATTERNS.items():
        for language, pattern in table.items():
            if want is not Want.SAYS and pattern.search(text):
                scores[language] += 1
    return max(LANGUAGES, key=lambda language: scores[language])


def _settle(matched: str, spoken: str, text: str) -> str:
    """A word of another language alone does not change the language that the question is in."""
    return spoken if _HINTS[spoken].search(text) else matched


def _says(question: str, text: str) -> str:
    """What a question of the form "does it say X" asks for; empty when it is not of that form."""
    if _OPEN.search(text):
        return ""
    for pattern in _SAYS.values():
        match = pattern.search(text)
        if match is None:
            continue
        if quoted := _QUOTED.search(question):
            return quoted.group(1).strip()
        rest = next((part for part in match.groups() if part), "").strip(" ?!.:,\"'«»„“”")
        before = None
        while before != rest:
            before = rest
            rest = _TAIL.sub("", rest).strip(" ?!.:,\"'«»„“”")
        if rest and not set(rest.split()) <= _STOP:
            return rest
    return ""
