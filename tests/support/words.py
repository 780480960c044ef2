"""The page's words as its language files have them."""

from __future__ import annotations

import functools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from server.app.features import EXAMPLES, FEATURES
from server.web.routes import Shell

CLIENT = Path(__file__).resolve().parents[2] / "client"
LANGUAGES = CLIENT / "languages"
SHELL = Shell(CLIENT, (*FEATURES, *EXAMPLES))
# The languages of the page, which every table of words has
CODES = {path.stem for path in LANGUAGES.iterdir()}

# Attributes with words for people and screen readers
_ATTRIBUTES = ("aria-label", "title", "placeholder", "alt")

Forms = str | dict[str, str]


class Elements(HTMLParser):
    """The words of a file's elements by their ids, with "" for words without an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        # Each open element: its tag, the id of its text, and whether its words are shown in other languages
        self._open: list[tuple[str, str, bool]] = []
        self._html = html[html.index("<body") :] if "<body" in html else html
        self.feed(self._html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        # A page has its language, and a part's title is nobody's words.
        own = (
            tag == "title" or given.get("translate") == "no" or (tag != "html" and "lang" in given)
        )
        shown = not own and all(shown for *_, shown in self._open)
        ids = {}
        for entry in given.get("data-text", "").split():
            attribute, _, id = entry.rpartition(":")
            ids[attribute] = id
        if shown:
            for name in {*ids} - {""} | {*_ATTRIBUTES} & {*given}:
                if name in ids or re.search(r"[^\W\d_]", given[name]):
                    self.found.append((ids.get(name, ""), given.get(name, "")))
        if f"</{tag}>" in self._html:
            self._open.append((tag, ids.get("", ""), shown))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][2] and re.search(r"[^\W\d_]", data):
            self.found.append((self._open[-1][1], " ".join(data.split())))


def translated(path: Path) -> bool:
    """Return whether a file of the page is in all languages: what operators see is in English alone."""
    operators = (CLIENT / "core/operator", CLIENT / "features/hosting/engine")
    own = path.parent in operators or path.stem in ("operator", "making", "makingview")
    return not own


@functools.cache
def in_elements() -> dict[str, Forms]:
    """The English words of the page's elements by their ids."""
    files = [path for path in sorted(CLIENT.rglob("*.html")) if translated(path)]
    return {
        id: words for path in files for id, words in Elements(path.read_text("utf-8")).found if id
    }


@functools.cache
def table(language: str = "en") -> dict[str, Forms]:
    """All words of a language by their ids; those with a count by the categories of Intl.PluralRules."""
    english = {**in_elements(), **first()} if language == "en" else {}
    words: dict[str, Forms] = json.loads(SHELL.read(LANGUAGES / f"{language}.json"))
    return dict(sorted({**english, **words}.items()))


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
