"""The page's words as its language files have them."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

from server.app.features import FEATURES
from server.web.routes import Shell

CLIENT = Path(__file__).resolve().parents[2] / "client"
LANGUAGES = CLIENT / "languages"
SHELL = Shell(CLIENT, tuple(FEATURES))
# The languages of the page, which every table of words has
CODES = {path.stem for path in LANGUAGES.iterdir()}

Forms = str | dict[str, str]


@functools.cache
def table(language: str = "en") -> dict[str, Forms]:
    """All words of a language by their ids; those with a count by the categories of Intl.PluralRules."""
    words: dict[str, Forms] = json.loads(SHELL.read(LANGUAGES / f"{language}.json"))
    return dict(sorted({**(first() if language == "en" else {}), **words}.items()))


def first() -> dict[str, Forms]:
    """The English words that come with the page."""
    module = (LANGUAGES / "en.js").read_text("utf-8")
    words: dict[str, Forms] = json.loads(module[module.index("= {") + 2 : module.rindex("}") + 1])
    return words


def say(id: str, *, language: str = "en", **values: str | int) -> str:
    """The page's words for an id, with these values in place of the {names}.

    `count` chooses between one and other, which is enough for the languages that have no more forms.
    """
    forms = table(language)[id]
    if isinstance(forms, dict):
        forms = forms["one" if values["count"] == 1 and "one" in forms else "other"]
    return re.sub(r"\{(\w+)\}", lambda name: str(values[name[1]]), forms)
