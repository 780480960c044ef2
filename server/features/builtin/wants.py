"""The subjects of questions to the built-in engine. Pure data."""

from __future__ import annotations

from enum import StrEnum


class Want(StrEnum):
    """A question's subject. They are tried in this order: special before general."""

    HELLO = "hello"
    THANKS = "thanks"
    # What the engine is, whether it hears, and what it can do
    SELF = "self"
    HEARS = "hears"
    HELP = "help"
    # What print may tell of a thing: what it is made of, what it is for, what is to be done
    MATERIAL = "material"
    PURPOSE = "purpose"
    STEPS = "steps"
    # What no picture tells: why, how it is done, what somebody thinks of it
    BEYOND = "beyond"
    SAYS = "says"
    SAFE = "safe"
    # Whether a thing is there, or how many of it
    THING = "thing"
    TRANSLATE = "translate"
    SUMMARISE = "summarise"
    PASSWORD = "password"
    NETWORK = "network"
    MONEY_BACK = "money_back"
    CHANGE = "change"
    MOTION = "motion"
    FACES = "faces"
    COLOUR = "colour"
    LIGHT = "light"
    SHARP = "sharp"
    # Where a code or a link goes
    LEADS = "leads"
    EXPIRY = "expiry"
    EMAIL = "email"
    PHONE = "phone"
    URL = "url"
    CODE = "code"
    CHEAPEST = "cheapest"
    DEAREST = "dearest"
    # How many things are listed
    ITEMS = "items"
    TOTAL = "total"
    ENERGY = "energy"
    TEMPERATURE = "temperature"
    POWER = "power"
    VOLTAGE = "voltage"
    CURRENT = "current"
    CHARGE = "charge"
    SPEED = "speed"
    PRESSURE = "pressure"
    FREQUENCY = "frequency"
    UNIT_PRICE = "unit_price"
    DURATION = "duration"
    HOURS = "hours"
    DEPARTURE = "departure"
    WEIGHT = "weight"
    VOLUME = "volume"
    PERCENT = "percent"
    PRICE = "price"
    AMOUNT = "amount"
    TIME = "time"
    DATE = "date"
    LOOKUP = "lookup"
    NUMBER = "number"
    NAME = "name"
    READ = "read"
    SUMMARY = "summary"
    OTHER = "other"
    # A question in a language that the engine does not know
    FOREIGN = "foreign"


# Small talk, which needs no picture
SOCIAL = frozenset({Want.HELLO, Want.THANKS, Want.SELF, Want.HEARS, Want.HELP})
# Subjects that need no text; colours, light and change cost almost nothing.
NO_TEXT = SOCIAL | {
    *(Want.MOTION, Want.FACES, Want.THING, Want.COLOUR, Want.LIGHT, Want.SHARP, Want.CODE)
}
# Those that are the text itself, and nothing that it tells
TEXT_ITSELF = frozenset({Want.READ, Want.SAYS, Want.TRANSLATE, Want.SUMMARISE})
# Those about the whole picture, and all of which little is understood
OF_ALL = frozenset({Want.SUMMARY, Want.OTHER, Want.FOREIGN})
# Those that need codes, faces and the names of things
CODES = (
    TEXT_ITSELF
    | OF_ALL
    | {
        *(Want.SAFE, Want.PASSWORD, Want.NETWORK, Want.EMAIL, Want.PHONE, Want.URL, Want.LEADS),
        *(Want.CODE, Want.LOOKUP, Want.NUMBER, Want.NAME),
    }
)
FACES = OF_ALL | {Want.FACES}
THINGS = OF_ALL | {Want.THING, Want.FACES, Want.NAME, Want.ITEMS, Want.LOOKUP}
