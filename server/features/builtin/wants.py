"""Subjects of questions to the built-in engine. Pure data."""

from __future__ import annotations

from enum import StrEnum


class Want(StrEnum):
    """The subject of a question, tried in this order: special before general."""

    HELLO = "hello"
    THANKS = "thanks"
    # The engine itself, whether it hears, and its abilities
    SELF = "self"
    HEARS = "hears"
    HELP = "help"
    # Reasons, methods, advice
    BEYOND = "beyond"
    SAFE = "safe"
    # Also a summary of printed text
    TRANSLATE = "translate"
    # A Wi-Fi network and its password
    WIFI = "wifi"
    EXPIRY = "expiry"
    EMAIL = "email"
    PHONE = "phone"
    URL = "url"
    CODE = "code"
    TEMPERATURE = "temperature"
    WEIGHT = "weight"
    TOTAL = "total"
    PRICE = "price"
    HOURS = "hours"
    DURATION = "duration"
    TIME = "time"
    DATE = "date"
    AMOUNT = "amount"
    CHANGE = "change"
    MOTION = "motion"
    FACES = "faces"
    COLOUR = "colour"
    LIGHT = "light"
    READ = "read"
    # An overview of the picture
    SUMMARY = "summary"
    # Presence or number of an object
    THING = "thing"
    # All other questions
    LOOKUP = "lookup"


# Small talk, which needs no picture
SOCIAL = frozenset({Want.HELLO, Want.THANKS, Want.SELF, Want.HEARS, Want.HELP})
# Subjects that need no text
NO_TEXT = frozenset(
    {
        Want.MOTION,
        Want.FACES,
        Want.THING,
        Want.COLOUR,
        Want.LIGHT,
        Want.CODE,
    }
)
# Subjects that need codes beside the text, and those that need the names of objects
CODES = frozenset({Want.SAFE, Want.WIFI, Want.EMAIL, Want.PHONE, Want.URL, Want.CODE, Want.READ})
CODES |= {Want.SUMMARY, Want.LOOKUP, Want.TRANSLATE}
THINGS = frozenset({Want.THING, Want.FACES, Want.SUMMARY, Want.LOOKUP, Want.BEYOND})
