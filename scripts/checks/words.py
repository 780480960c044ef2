"""The doctor's words in the language of whoever runs it.

Each sentence's key is its English; `languages/<code>.json` has its translation. English needs no
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).with_name("languages")
LANGUAGES = ("en", *sorted(path.stem for path in _FOLDER.glob("*.json")))
_translations: dict[str, str] = {}


def wanted(environment: Mapping[str, str]) -> str:
    """Return the language of a terminal by its environment, as gettext does; "en" for any other."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            code = value.replace("-", "_").partition("_")[0].partition(".")[0].lower()
            return code if code in LANGUAGES else "en"
    return "en"


def choose(code: str) -> None:
    """Say everything from now on in one of `LANGUAGES`."""
    _translations.clear()
    if code != "en":
        _translations.update(json.loads((_FOLDER / f"{code}.json").read_text("utf-8")))


def key(english: str) -> str:
    """Mark a sentence that is translated where it is shown."""
    return english


# States of an engine, which /health tells
STATES = (
    *(key("ready"), key("busy"), key("loading")),
    *(key("unreachable"), key("misconfigured")),
)


def say(english: str, **values: object) -> str:
    """Return a sentence in the chosen language, with its values."""
    return _translations.get(english, english).format(**values)
