"""The words of the page: each id has its words in each language, and each is used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from server.features.builtin.conditions import ABLE
from server.features.grants.grants import MAX_GRANTS
from server.features.pairing.pairing import ASK_PAIRED, NOT_PAIRED, PAIRING_REFUSED, SCAN_AGAIN
from server.shared.turn_check import RelayProblem
from server.web.request_guard import ASK
from tests.support.words import CLIENT, LANGUAGES, Elements, Forms, first, say, table, translated
from tools.references import errors

SERVER = CLIENT.parent / "server"
# As client/core/words/text.js has them
CODES = re.findall(r'^  (\w+): "', (CLIENT / "core/words/text.js").read_text("utf-8"), re.M)
# Ids whose area is no folder: the page finds them by the error's code, and by the server's sentence.
_BY_SERVER = {"problem", "server"}
SOURCES = {
    path.relative_to(CLIENT): path.read_text("utf-8")
    for path in sorted(CLIENT.rglob("*.*"))
    if path.suffix in {".js", ".html"} and path.parent != LANGUAGES and translated(path)
}
# Categories of Intl.PluralRules for whole numbers (CLDR), besides "other"
_FORMS: dict[str, set[str]] = {
    **{code: {"one"} for code in ("en", "de", "nl", "tr", "es", "fr", "it", "pt", "hi")},
    **{code: {"one", "few", "many"} for code in ("pl", "ru", "uk")},
    **{code: set() for code in ("zh", "ja", "ko")},
    "ar": {"zero", "one", "two", "few", "many"},
}


def _names(words: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", words))


def _forms(words: Forms) -> list[str]:
    return [words] if isinstance(words, str) else [*words.values()]


def test_each_language_has_its_file() -> None:
    """The list of text.js, that of boot.js and the files are the same; what comes of English is later than the page."""
    assert CODES[0] == "en"
    files = {path.stem for path in LANGUAGES.iterdir()}
    assert files == {*CODES} == {*_FORMS}
    boot = re.search(r"const languages = (\[.*?\]);", (CLIENT / "boot.js").read_text("utf-8"))
    assert boot
    assert json.loads(boot[1]) == CODES[1:]


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_nothing_lacks_its_translation(code: str) -> None:
    """The same ids in the same order, each with the same {names} and no markup; counts have all their forms."""
    english, words = table(), table(code)
    assert len(english) > 700
    assert [*words] == [*english]
    for id, said in words.items():
        assert all(form.strip() and not re.search(r"<[a-z/]", form) for form in _forms(said)), id
        names = _names(_forms(english[id])[-1])
        if isinstance(english[id], str):
            assert isinstance(said, str), id
            assert _names(said) == names, id
        else:
            assert isinstance(said, dict), id
            assert {*said} >= {"other", *_FORMS[code]}, id
            assert all({*_names(form)} <= {*names} for form in said.values()), id


def test_each_id_is_used_and_each_used_one_is_known() -> None:
    """An id is a string of a script, or stands in an element's `data-text`; its English is beside the script, else in
    the element alone.

    It is a feature's where nobody else uses it, else the core's; each file has its ids in their order.
    """
    known = {*table()}
    areas = {id.partition(".")[0] for id in known}
    users: dict[str, set[str]] = {id: set() for id in first()}
    by_scripts = {*first()}
    for path, source in SOURCES.items():
        code = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
        used = {
            f"{area}.{name}"
            for area, name in re.findall(r'"([a-z]+)\.(\w+)"', code)
            if area in areas
        }
        used |= {id for id, _ in Elements(source).found if id} if path.suffix == ".html" else set()
        used |= set(re.findall(r'\b(?:text|plural)\(\s*"([^"]*)"', code))
        by_scripts |= used if path.suffix == ".js" else set()
        for id in used:
            users.setdefault(id, set()).add(path.parts[1] if path.parts[0] == "features" else "")
    assert users.keys() - known == set()
    assert {id for id in known - users.keys() if id.partition(".")[0] not in _BY_SERVER} == set()
    for code in CODES:
        owners = dict.fromkeys(first() if code == "en" else {}, "")
        for path in [LANGUAGES / f"{code}.json", *CLIENT.glob("features/*/words.json")]:
            words = json.loads(path.read_text("utf-8"))
            feature = "" if path.parent == LANGUAGES else path.parent.name
            ids = [*(words.get(code, {}) if feature else words)]
            assert ids == sorted(ids)
            assert not owners.keys() & {*ids}
            owners |= dict.fromkeys(ids, feature)
        for id, owner in owners.items():
            if id.partition(".")[0] not in _BY_SERVER:
                assert owner == (min(users[id]) if len(users[id]) == 1 else ""), (id, code)
                assert code != "en" or id in by_scripts, id


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".html"], ids=str)
def test_elements_have_the_english_words(path: Path) -> None:
    """They show them before the scripts run: all that is read or heard has an id, and the same words everywhere."""
    english = table()
    found = Elements(SOURCES[path]).found
    assert found
    assert [(id, words) for id, words in found if english.get(id) != words] == []


def test_each_error_that_a_visitor_meets_has_words() -> None:
    """The server's sentences may have no translation; the page's own for their codes have."""
    # Only programs that are no page of ours get these.
    others = {
        "method_not_allowed",
        "page_closed",
        "precondition_failed",
        "precondition_required",
        "unknown_type",
        "unsupported_media_type",
        "upload_refused",
    }
    words = {id.removeprefix("problem.") for id in table() if id.startswith("problem.")}
    assert errors.list_codes().keys() - others == words


def test_the_servers_sentences_are_the_servers() -> None:
    """The page finds the translation of each by the sentence as the server says it."""
    asks = (ASK, ASK_PAIRED)
    composed = {
        ABLE,
        *asks,
        *(f"{refused} {SCAN_AGAIN}" for refused in PAIRING_REFUSED.values()),
        *(f"{NOT_PAIRED} {ask}" for ask in asks),
        f"{MAX_GRANTS} programs already have access, which is the limit. End the access of one first.",
    }
    known = {words for id, words in table().items() if id.startswith("server.")}
    assert composed <= known
    said = "".join(path.read_text("utf-8") for path in SERVER.rglob("*.py"))
    assert [words for words in known - composed if f'"{words}"' not in said] == []


def test_full_stops_are_those_of_the_language() -> None:
    """No script puts a stop behind words by itself: `ended` of client/core/words/text.js knows the mark."""
    by_hand = re.compile(r"""\+ "\. ?"|\}\.`|\}\. \$\{|join\("\. "\)""")
    lines = [
        f"{path}: {line.strip()}"
        for path, source in SOURCES.items()
        if path.suffix == ".js"
        for line in source.splitlines()
        if by_hand.search(line) and "throw " not in line
    ]
    # A number of a list has a point in Markdown.
    assert [one for one in lines if "markdown.js" not in one and "number}." not in one] == []


def test_each_problem_of_a_relay_has_a_sentence() -> None:
    """The doctor's page has one for every code of the server's check."""
    script = (CLIENT / "core/doctor/mediachecks.js").read_text("utf-8")
    causes = re.search(r"const CAUSES = \{(.*?)\n\};", script, re.S)
    assert causes is not None
    codes = set(re.findall(r"^  (\w+): \"", causes[1], re.M))
    assert codes == {one.value for one in RelayProblem if one}


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_a_name_has_the_words_that_are_seen(code: str) -> None:
    """Voice control says the words of a button: a longer name has them in it."""
    for seen, name in (("page.stop", "watch.stop_watching"), ("page.end", "cameras.end")):
        assert say(seen, language=code).casefold() in str(table(code)[name]).casefold()


@pytest.mark.parametrize("code", sorted(_FORMS))
def test_a_persons_condition_stands_by_itself(code: str) -> None:
    """In quotation marks: "you see red" fits into no sentence of another language, and often not into its own."""
    sentences = [str(said) for said in table(code).values() if "{condition}" in str(said)]
    assert len(sentences) >= 4
    for said in sentences:
        assert re.search(r"[“„«「‘]\s?\{condition\}\s?[”“»」’]", said), said


@pytest.mark.parametrize(
    ("code", "other"),
    [
        ("de", "du|dich|dir|deine?[mnrs]?"),
        ("es", "tú|tus?|ti|contigo"),
        ("fr", "tu|toi|tes?|ton|ta"),
        ("nl", "u|uw"),
        ("ru", "ты|теб[яе]|тво[йяёи]"),
        ("uk", "ти|тебе|тобі|тв[іо][йяєї]"),
    ],
)
def test_one_form_for_the_person(code: str, other: str) -> None:
    """Nobody is addressed in a second one."""
    said = [str(words) for words in table(code).values()]
    assert [words for words in said if re.search(rf"\b({other})\b", words, re.IGNORECASE)] == []


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.suffix == ".js" and path.parent != Path("core/words")],
    ids=str,
)
def test_scripts_have_no_sentences_of_their_own(path: Path) -> None:
    """Words that people read and hear have an id; those of errors are the console's, and some are the server's."""
    silent = r"/\*.*?\*/|^\s*//[^\n]*|\b(?:Error|throw)\b[^;]*;"
    code = re.sub(silent, "", SOURCES[path], flags=re.S | re.M)
    said = {*re.findall(r'["`]([A-Z$][^"`\n]* [^"`\n]*[a-z}][.!?])["`]', code)}
    assert said - {words for id, words in table().items() if id.startswith("server.")} == set()
