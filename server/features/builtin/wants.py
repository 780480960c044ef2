"""The subjects of questions to the built-in engine. Pure data."""

from __future__ import annotations

from enum import StrEnum


class Want(StrEnum):
    """A question's subject. They are tried in this order: special before general."""

    HELLO = "hello"
    THANKS = "thanks"
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
SOCIAL = frozenset({Want.HELLO, Want.THANKS, Want.HELP})
# Subjects that need no text; colours, light and change cost almost nothing.
_TEXT_FREE = frozenset(
    {
        *(Want.MOTION, Want.FACES, Want.THING, Want.COLOUR, Want.LIGHT, Want.SHARP, Want.CODE),
        *SOCIAL,
    }
)
_CODES = frozenset(
    {
        Want.SAYS,
        Want.SAFE,
        Want.TRANSLATE,
        Want.SUMMARISE,
        Want.PASSWORD,
        Want.NETWORK,
        Want.EMAIL,
        Want.PHONE,
        Want.URL,
        Want.LEADS,
        Want.CODE,
        Want.LOOKUP,
        Want.NUMBER,
        Want.NAME,
        Want.READ,
        Want.SUMMARY,
        Want.OTHER,
        Want.FOREIGN,
    }
)
MEASURES = frozenset(
    {
        Want.ENERGY,
        Want.TEMPERATURE,
        Want.POWER,
        Want.VOLTAGE,
        Want.CURRENT,
        Want.CHARGE,
        Want.SPEED,
        Want.PRESSURE,
        Want.FREQUENCY,
        Want.WEIGHT,
        Want.VOLUME,
        Want.PERCENT,
        Want.AMOUNT,
    }
)


# Subjects that are the text itself, and nothing that it tells
TEXT_ITSELF = frozenset({Want.READ, Want.SAYS, Want.TRANSLATE, Want.SUMMARISE})


def needs_text(want: Want) -> bool:
    return want not in _TEXT_FREE


def needs_codes(want: Want) -> bool:
    return want in _CODES


def needs_faces(want: Want) -> bool:
    return want in {Want.FACES, Want.SUMMARY, Want.OTHER, Want.FOREIGN}


def needs_things(want: Want) -> bool:
    return want in {
        *(
            Want.THING,
            Want.FACES,
            Want.SUMMARY,
            Want.NAME,
            Want.ITEMS,
            Want.LOOKUP,
            Want.OTHER,
            Want.FOREIGN,
        )
    }
