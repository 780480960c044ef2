"""The promises of the program and their breaks, as every promises.toml below tests/ tells them."""

from __future__ import annotations

import ast
import functools
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.breaks import patterns

ROOT = Path(__file__).parent.parent.parent
_PAGE = """# Promises

What the program promises about security and privacy ([SECURITY.md](SECURITY.md) has the policy), by
what is protected or by whom it is attacked. Numbers in brackets are requirements of OWASP ASVS 5.0
(chapters 4, 9, 17) and sections of RFC 8826 and 8827; a section alone means that no single
requirement fits. Tests are named by their path in the folder of tests.
"""


@dataclass(frozen=True, slots=True)
class Break:
    """A change to one file that breaks a promise, and the test that has to notice it."""

    # The promise's id
    promise: str
    # The change in a few words
    what: str
    # A file; of Python also the qualified name of a function or class: "server/auth.py::Tokens.issue"
    at: str
    # Stands there once. Pieces of Python in a file of Python (see `patterns`), else text
    old: str
    new: str
    # A file of tests below tests/, or one test in it
    test: str
    # The test takes a minute or more, or drives a browser.
    slow: bool = False

    @property
    def name(self) -> str:
        return f"{self.promise}: {self.what}"

    @property
    def file(self) -> str:
        return self.at.partition("::")[0]

    def broken(self, text: str) -> str:
        """The text of the file with the break in it."""
        if self.file.endswith(".py"):
            return patterns.replace(text, self.at.partition("::")[2], self.old, self.new)
        if (times := text.count(self.old)) != 1:
            raise patterns.Misfit(f"the old text stands {times} times")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Promise:
    id: str
    # What is protected, or who attacks
    group: str
    promise: str
    # How the program keeps it, and against what it does not hold
    how: str
    breaks: tuple[Break, ...]
    # The tests that hold it besides those of its breaks
    tests: tuple[str, ...] = ()
    limit: str = ""

    def held_by(self) -> list[str]:
        return sorted({*self.tests, *(one.test for one in self.breaks)})


@functools.cache
def promises() -> tuple[Promise, ...]:
    """All promises; those of the whole program come first."""
    return tuple(promise for file in _files(ROOT / "tests") for promise in read(file))


def breaks() -> list[Break]:
    return [one for promise in promises() for one in promise.breaks]


def _files(folder: Path) -> Iterator[Path]:
    for path, below, files in os.walk(folder):
        below[:] = sorted({*below} - {"__pycache__", "node_modules"})
        if "promises.toml" in files:
            yield Path(path, "promises.toml")


def read(file: Path) -> Iterator[Promise]:
    for table in tomllib.loads(file.read_text(encoding="utf-8"))["promise"]:
        mine = tuple(Break(promise=table["id"], **one) for one in table.pop("break", ()))
        yield Promise(**table | {"breaks": mine, "tests": tuple(table.get("tests", ()))})


@functools.cache
def _functions(file: Path) -> frozenset[str]:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, definitions))


def has_test(test: str) -> bool:
    """Find whether the file is there and defines the function that a test names."""
    name, _, function = test.partition("::")
    file = ROOT / "tests" / name
    return file.is_file() and (not function or function in _functions(file))


def page() -> str:
    """All promises as Markdown."""
    parts = [_PAGE]
    for group in dict.fromkeys(promise.group for promise in promises()):
        parts.append(f"## {group}\n")
        parts += [_told(promise) for promise in promises() if promise.group == group]
    return "\n".join(parts)


def _told(promise: Promise) -> str:
    limit = f"\nLimit: {promise.limit.strip()}\n" if promise.limit else ""
    tests = ", ".join(f"`{test}`" for test in promise.held_by())
    said = f"**{promise.promise.strip()}**\n{promise.how.strip()}\n"
    return f"{said}{limit}\nHeld by {tests}; breaks: {len(promise.breaks)}.\n"
