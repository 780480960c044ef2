"""The words of the page: each sentence of it has a translation in each language, as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "client"
LANGUAGES = CLIENT / "languages"
# As client/words/text.js has them; English is in the page itself.
CODES = re.findall(r'^  (\w+): "', (CLIENT / "words" / "text.js").read_text("utf-8"), re.M)
# What screen readers and people read of an element, and what a button asks
_ATTRIBUTES = ("aria-label", "title", "placeholder", "alt", "data-question")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_CALL = re.compile(rf"\b(text|key|plural)\(\s*{_STRING}")
# Categories of Intl.PluralRules for whole numbers (CLDR), besides "other"
_FORMS: dict[str, set[str]] = {
    **{code: {"one"} for code in ("de", "nl", "tr", "es", "fr", "it", "pt", "hi")},
    **{code: {"one", "few", "many"} for code in ("pl", "ru", "uk")},
    **{code: set() for code in ("zh", "ja", "ko")},
    "ar": {"zero", "one", "two", "few", "many"},
}


class _Words(HTMLParser):
    """The words of index.html's body, as client/page/language.js collects them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        shut = given.get("translate") == "no" or any(not shown for _, shown in self._open)
        if not shut:
            self.found |= {given.get(name) or "" for name in _ATTRIBUTES}
        if f"</{tag}>" in HTML:
            self._open.append((tag, not shut))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if all(shown for _, shown in self._open):
            self.found.add(" ".join(data.split()))


HTML = (CLIENT / "index.html").read_text("utf-8")


def _keys() -> tuple[set[str], set[str]]:
    """The sentences of the page, and those with a count."""
    found = _Words(HTML[HTML.index("<body") :]).found
    one = {words for words in found if re.search(r"[^\W\d_]", words) and "://" not in words}
    counted: set[str] = set()
    for path in CLIENT.rglob("*.js"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.S)
        for call, words in _CALL.findall(code):
            (counted if call == "plural" else one).add(json.loads(f'"{words}"'))
    return one, counted


def _names(words: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", words))


def test_each_language_has_its_file() -> None:
    """The list of text.js, that of boot.js and the files are the same."""
    assert CODES[0] == "en"
    files = {path.stem for path in LANGUAGES.iterdir()}
    assert files == {*CODES} - {"en"} == {*_FORMS}
    boot = re.search(r"const languages = (\[.*?\]);", (CLIENT / "boot.js").read_text("utf-8"))
    assert boot
    assert json.loads(boot[1]) == CODES[1:]


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_nothing_lacks_its_translation(code: str) -> None:
    """Every sentence has one with the same {names} and no markup; counts have all their forms."""
    table: dict[str, Any] = json.loads((LANGUAGES / f"{code}.json").read_text("utf-8"))
    one, counted = _keys()
    assert len(one) > 700
    assert sorted((one | counted) - set(table)) == []
    for english in one:
        words = table[english]
        assert isinstance(words, str), english
        assert words.strip(), english
        assert _names(words) == _names(english), english
    for english in counted:
        forms = table[english]
        assert {*forms} >= {"other", *_FORMS[code]}, english
        for words in forms.values():
            assert set(_names(words)) <= set(_names(english)), english
    for words in table.values():
        for form in [words] if isinstance(words, str) else words.values():
            assert not re.search(r"<[a-z/]", form), form
