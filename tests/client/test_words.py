"""The words of the page: each sentence of it has a translation in each language, as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from server.engines.builtin.conditions import ABLE
from server.rtc.turn_check import RelayProblem
from server.web.request_guard import ASK, ASK_PAIRED, NOT_PAIRED, PAIRING_REFUSED, SCAN_AGAIN

CLIENT = Path(__file__).resolve().parents[2] / "client"
LANGUAGES = CLIENT / "languages"
# As client/words/text.js has them; English is in the page itself.
CODES = re.findall(r'^  (\w+): "', (CLIENT / "words" / "text.js").read_text("utf-8"), re.M)
# Attributes with words for people and screen readers, and a button's question
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
    """The words of the page's elements, as client/page/language.js collects them."""

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


_PAGE = (CLIENT / "index.html").read_text("utf-8")
# The operator's panel is in English alone.
_OPERATOR = CLIENT / "operator"
_PARTS = [
    path.read_text("utf-8") for path in sorted(CLIENT.glob("*/*.html")) if path.parent != _OPERATOR
]
# The page's body, and the elements of its parts
HTML = _PAGE[_PAGE.index("<body") :] + "".join(part.partition("</title>")[2] for part in _PARTS)


def _keys() -> tuple[set[str], set[str]]:
    """The sentences of the page, and those with a count."""
    found = _Words(HTML).found
    one = {words for words in found if re.search(r"[^\W\d_]", words) and "://" not in words}
    counted: set[str] = set()
    for path in CLIENT.rglob("*.js"):
        if path.parent == _OPERATOR:
            continue
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


def test_each_error_that_a_visitor_meets_has_words() -> None:
    """The server's sentences may have no translation; the page's own for their codes have."""
    codes = re.findall(
        r'^    code = "(\w+)"', (CLIENT.parent / "server/core/errors.py").read_text(), re.M
    )
    # Only programs that are no page of ours get these.
    others = {
        "page_closed",
        "precondition_failed",
        "precondition_required",
        "unknown_type",
        "unsupported_media_type",
        "upload_refused",
    }
    words = re.findall(r"^  (\w+): key", (CLIENT / "words" / "problems.js").read_text(), re.M)
    assert set(codes) - others == set(words)


def test_reasons_for_which_nothing_is_watched_are_the_servers() -> None:
    """The server uses each as the page knows it."""
    words = (CLIENT / "watch" / "words.js").read_text("utf-8")
    listed = words[words.index("REASONS = [") : words.index("];")]
    reasons = [json.loads(f'"{one}"') for _, one in _CALL.findall(listed)]
    assert ABLE in reasons
    assert len(reasons) == 7
    said = "".join(
        (CLIENT.parent / "server" / name).read_text("utf-8")
        for name in ("session/watches/watch_list.py", "engines/builtin/watcher.py")
    )
    assert [one for one in reasons if one != ABLE and one not in said] == []


def test_what_asks_for_the_code_is_in_each_language() -> None:
    """Else the dialog would have the words of the error's code, which tell something else."""
    words = (CLIENT / "dialogs" / "dialogs.js").read_text("utf-8")
    listed = words[words.index("ASKED = [") : words.index("];")]
    asks = [ASK, ASK_PAIRED]
    said = [
        *asks,
        *(f"{refused} {SCAN_AGAIN}" for refused in PAIRING_REFUSED.values()),
        *(f"{NOT_PAIRED} {ask}" for ask in asks),
    ]
    assert [json.loads(f'"{one}"') for _, one in _CALL.findall(listed)] == said


def test_full_stops_are_those_of_the_language() -> None:
    """No script puts a stop behind words by itself: `ended` of client/words/text.js knows the mark."""
    by_hand = re.compile(r"""\+ "\. ?"|\}\.`|\}\. \$\{|join\("\. "\)""")
    lines = [
        f"{path.relative_to(CLIENT)}: {line.strip()}"
        for path in sorted(CLIENT.rglob("*.js"))
        if path.parent != _OPERATOR
        for line in path.read_text("utf-8").splitlines()
        if by_hand.search(line) and "throw " not in line
    ]
    # A number of a list has a point in Markdown.
    assert [one for one in lines if "markdown.js" not in one and "number}." not in one] == []


def test_each_problem_of_a_relay_has_a_sentence() -> None:
    """The doctor's page has one for every code of the server's check."""
    script = (CLIENT / "doctor" / "mediachecks.js").read_text("utf-8")
    table = re.search(r"const CAUSES = \{(.*?)\n\};", script, re.S)
    assert table is not None
    codes = set(re.findall(r"^  (\w+): key\(", table[1], re.M))
    assert codes == {one.value for one in RelayProblem if one}


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_a_name_has_the_words_that_are_seen(code: str) -> None:
    """Voice control says the words of a button: a longer name has them in it."""
    table = json.loads((LANGUAGES / f"{code}.json").read_text("utf-8"))
    for seen, name in (("Stop", "Stop watching: “{condition}”"), ("End", "End the camera {name}")):
        assert table[seen].casefold() in table[name].casefold()


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_a_persons_condition_stands_by_itself(code: str) -> None:
    """In quotation marks: "you see red" fits into no sentence of another language, and often not into its own."""
    table = json.loads((LANGUAGES / f"{code}.json").read_text("utf-8"))
    sentences = {key: said for key, said in table.items() if "{condition}" in key}
    assert len(sentences) >= 4
    for key, said in sentences.items():
        assert "“{condition}”" in key
        assert re.search(r"[“„«「‘]\s?\{condition\}\s?[”“»」’]", said), said
