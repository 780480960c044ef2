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
    # Why, how, what to do
    BEYOND = "beyond"
    SAFE = "safe"
    # Also a summary
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
    # What is there
    SUMMARY = "summary"
    # Whether a thing is there, or how many of it
    THING = "thing"
    # Anything else
    LOOKUP = "lookup"


# Small talk, which needs no picture
SOCIAL = frozenset({Want.HELLO, Want.THANKS, Want.SELF, Want.HEARS, Want.HELP})
# Subjects that need no text; colours, light and change cost almost nothing.
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
# Those that need codes beside the text, and those that need the names of things
CODES = frozenset({Want.SAFE, Want.WIFI, Want.EMAIL, Want.PHONE, Want.URL, Want.CODE, Want.READ})
CODES |= {Want.SUMMARY, Want.LOOKUP, Want.TRANSLATE}
THINGS = frozenset({Want.THING, Want.FACES, Want.SUMMARY, Want.LOOKUP, Want.BEYOND})
