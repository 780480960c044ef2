"""The languages that the built-in engine understands and answers in, one module each. Pure data."""

from __future__ import annotations

from types import ModuleType

from server.engines.builtin.languages import de, en, es, fr, ru, zh

# The order settles ties.
LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")
_MODULES: dict[str, ModuleType] = {"en": en, "de": de, "fr": fr, "es": es, "ru": ru, "zh": zh}

PHRASES: dict[str, dict[str, str]] = {name: one.PHRASES for name, one in _MODULES.items()}
# The names of `colours.NAMES`, in their order.
COLOURS: dict[str, tuple[str, ...]] = {
    name: tuple(one.COLOURS.split()) for name, one in _MODULES.items()
}
# By want: whole words, beginnings of words (*) and phrases; in Chinese, parts of the question.
QUESTIONS = {name: one.QUESTIONS for name, one in _MODULES.items()}
# Places in the picture; days of the week, Monday first; courtesies, which have no subject.
PLACES: dict[str, dict[str, str]] = {name: one.PLACES for name, one in _MODULES.items()}
DAYS: dict[str, tuple[str, ...]] = {name: one.DAYS for name, one in _MODULES.items()}
FILLERS: dict[str, str] = {name: one.FILLERS for name, one in _MODULES.items()}
# The most common words, which show a text's language
HINTS: dict[str, str] = {name: one.HINTS for name, one in _MODULES.items()}
# Words that do not help to find a subject
STOP: dict[str, str] = {name: one.STOP for name, one in _MODULES.items()}
# Patterns of "Does it say ...", with the text to find in a group
SAYS: dict[str, str] = {name: one.SAYS for name, one in _MODULES.items()}
# Languages written without spaces between words
UNSPACED = frozenset({"zh"})
# Words for today and for tomorrow.
TODAY: dict[str, str] = {name: one.TODAY for name, one in _MODULES.items()}
TOMORROW: dict[str, str] = {name: one.TOMORROW for name, one in _MODULES.items()}
