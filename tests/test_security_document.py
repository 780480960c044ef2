"""SECURITY.md names tests: each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"`(test_\w+\.py)?(?:::(test_\w+))?`")


def named() -> list[tuple[str, str]]:
    """File and test of each that is named; a test alone belongs to the file named before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for match in _NAMED.finditer(TEXT):
        file = match[1] or file
        if match[1] or match[2]:
            found.append((file, match[2] or ""))
    return found


@pytest.mark.parametrize(("file", "test"), sorted(set(named())))
def test_what_is_named_is_there(file: str, test: str) -> None:
    """A promise without its test is none."""
    paths = [ROOT / "tests" / file, ROOT / "tests" / "browser" / file]
    path = next((path for path in paths if path.is_file()), None)
    assert path is not None, file
    names = {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not test or test in names


def test_many_are_named() -> None:
    """The list above is read at all."""
    assert len(set(named())) > 50
