"""The doctor's words: each sentence has a translation in each language, with the same values."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.checks import words
from scripts.checks.finding import Finding, State, table

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "checks" / "languages"
SOURCES = [*(ROOT / "scripts" / "checks").glob("*.py"), ROOT / "scripts" / "doctor.py"]
# Words that are the same in several languages
_ALIKE = {
    "ok",
    "WebSocket",
    "STUN",
    "Server",
    "{name}: {state}.",
    "Relay",
    "Relays",
    "Relay over {way}",
}


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    yield
    words.choose("en")


def keys() -> set[str]:
    """The sentences that the sources say or mark."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("say", "key")
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize("code", [code for code in words.LANGUAGES if code != "en"])
def test_nothing_lacks_its_translation(code: str) -> None:
    """Nor is one left of a sentence that is gone, nor an English one."""
    found: dict[str, str] = json.loads((FOLDER / f"{code}.json").read_text("utf-8"))
    assert found.keys() == keys()
    for english, said in found.items():
        values = [re.findall(r"\{\w+\}", text) for text in (english, said)]
        assert sorted(values[0]) == sorted(values[1]), english
        # Settings, options and commands are to be typed.
        for typed in re.findall(r"\b[A-Z]+_[A-Z_]+\b|--[a-z-]+|bash scripts/\S+", english):
            assert typed.rstrip(".,") in said, english
        assert said != english or english in _ALIKE, english


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_AT.UTF-8"}, "de"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "fr_FR"}, "fr"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "../../etc/passwd"}, "en"),
        ({"LC_MESSAGES": "es", "LC_ALL": ""}, "es"),
        ({"LANG": "el_GR.UTF-8"}, "en"),
    ],
)
def test_the_terminals_language_is_the_environments(environment: dict[str, str], code: str) -> None:
    assert words.wanted(environment) == code


def test_a_finding_is_said_in_the_language() -> None:
    words.choose("de")
    found = Finding("clock", words.say("Clock"), State.WARN, "12:00", words.say("It ends soon."))
    assert table([found]) == f"ACHTUNG Uhr{'':<13} 12:00\n{'':<24} Ursache: Es läuft bald ab."
    words.choose("en")
    assert words.say("Clock") == "Clock"
