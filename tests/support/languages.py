"""The languages of the page, which every table of words has."""

from __future__ import annotations

LANGUAGES = {
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "pl",
    "ru",
    "zh",
    "ja",
    "ko",
    "tr",
    "uk",
    "ar",
    "hi",
}
