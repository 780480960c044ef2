"""The promises of the program and their breaks, as every promises.toml below tests/ tells them."""

from __future__ import annotations

import ast
import ctypes
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from server.shared.processes import reaper

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
            return replace(text, self.at.partition("::")[2], self.old, self.new)
        if (times := text.count(self.old)) != 1:
            raise Misfit(f"the old text stands {times} times")
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
    """Return whether the file is there and defines the function that a test names."""
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


# Patterns


WILDCARD = "___"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Fields that say nothing about what the code does
_UNREAD = ("ctx", "kind", "type_comment", "type_ignores")

# What each wildcard has matched
Caught = list[tuple[str, list[ast.AST]]]
# The nodes that a pattern has matched
Match = tuple[Sequence[ast.AST], Caught]


class Misfit(ValueError):
    """A piece does not stand exactly once where it should."""


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def replace(text: str, name: str, old: str, new: str) -> str:
    """Replace the one `old` in the function or class of this qualified name, else in the file."""
    scopes = _named(parsed(text), name)
    if not scopes:
        raise Misfit(f"there is no {name}")
    pattern, pieces = ast.parse(old).body, ast.parse(new).body
    if one := _expression(pattern) if _expression(pieces) else None:
        found = [match for scope in scopes for match in _expressions(scope, one)]
    else:
        found = [match for scope in scopes for match in _statements(scope, pattern)]
    if len(found) != 1:
        raise Misfit(f"the old piece stands {len(found)} times in {name or 'the file'}")
    nodes, caught = found[0]
    filled = [_Fill(caught).visit(piece) for piece in pieces]
    return _spliced(text, nodes, ast.unparse(ast.Module(_flat(filled), [])))


def _named(tree: ast.AST, name: str) -> list[ast.AST]:
    found = [tree]
    for part in filter(None, name.split(".")):
        found = [one for node in found for one in _definitions(node) if one.name == part]
    return found


def _definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            yield child
        elif not isinstance(child, ast.expr):
            yield from _definitions(child)


def _expression(body: list[ast.stmt]) -> ast.expr | None:
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None


def _expressions(scope: ast.AST, pattern: ast.expr) -> Iterator[Match]:
    for node in _walk(scope):
        caught: Caught = []
        if isinstance(node, ast.expr) and _fits(pattern, node, caught):
            yield [node], caught


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    # Python 3.11 gives what stands within an f-string no true place.
    if not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from _walk(child)


def _statements(scope: ast.AST, pattern: list[ast.stmt]) -> Iterator[Match]:
    bodies = [[scope]]
    for node in ast.walk(scope):
        bodies += [
            value
            for _, value in ast.iter_fields(node)
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt)
        ]
    longest = max(map(len, bodies)) if any(map(_wildcard, pattern)) else len(pattern)
    for body in bodies:
        for start in range(len(body)):
            for end in range(start + len(pattern), min(start + longest, len(body)) + 1):
                caught: Caught = []
                if _fits(pattern, body[start:end], caught):
                    yield body[start:end], caught


def _fits(pattern: object, code: object, caught: Caught) -> bool:
    """Compare two nodes, lists or values; add what wildcards match to `caught`."""
    if isinstance(pattern, list):
        return isinstance(code, list) and _list_fits(pattern, code, caught)
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(code) and pattern == code
    if not isinstance(code, ast.AST):
        return False
    if name := _wildcard(pattern):
        caught.append((name, [code]))
        return True
    if type(pattern) is not type(code):
        return False
    if isinstance(pattern, ast.Call) and isinstance(code, ast.Call):
        return _call_fits(pattern, code, caught)
    return all(
        _fits(getattr(pattern, field), getattr(code, field), caught)
        for field in pattern._fields
        # A definition's decorators stay.
        if field not in (*_UNREAD, "decorator_list")
    )


def _list_fits(pattern: list[Any], code: list[Any], caught: Caught) -> bool:
    if not pattern:
        return not code
    first, rest = pattern[0], pattern[1:]
    name = _wildcard(first)
    for length in range(len(code) + 1) if name else (1,):
        more: Caught = [(name, code[:length])] if name else []
        here = bool(name) or (bool(code) and _fits(first, code[0], more))
        if here and _list_fits(rest, code[length:], more):
            caught += more
            return True
    return False


def _call_fits(pattern: ast.Call, code: ast.Call, caught: Caught) -> bool:
    """`f(___, x=1)`: the wildcard stands for keywords, too."""
    wildcard = next(filter(None, map(_wildcard, pattern.args)), "")
    named = {keyword.arg for keyword in pattern.keywords}
    chosen = [one for one in code.keywords if not wildcard or one.arg in named]
    mine: Caught = []
    if not (
        _fits(pattern.func, code.func, mine)
        and _fits(pattern.args, code.args, mine)
        and _fits(pattern.keywords, chosen, mine)
    ):
        return False
    for name, nodes in mine:
        if name == wildcard:
            # Of what the pattern names the place alone
            nodes += [_Place(one.arg) if one in chosen else one for one in code.keywords]
            break
    caught += mine
    return True


class _Place(ast.keyword):
    """The place of a keyword in the pattern."""

    def __init__(self, arg: str | None) -> None:
        super().__init__(arg, ast.Constant(None))


def _wildcard(node: object) -> str:
    """The name of a wildcard: as an expression, a statement or all parameters of a function."""
    if isinstance(node, ast.arguments):
        alone = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        name = alone[0].arg if len(alone) == 1 else ""
    else:
        node = node.value if isinstance(node, ast.Expr) else node
        name = node.id if isinstance(node, ast.Name) else ""
    return name if name.startswith(WILDCARD) else ""


class _Fill(ast.NodeTransformer):
    """Put what wildcards have matched into a new piece."""

    def __init__(self, caught: Caught) -> None:
        self._caught = caught

    def visit(self, node: ast.AST) -> Any:
        if not (name := _wildcard(node)):
            return super().visit(node)
        found = [nodes for other, nodes in self._caught if other == name]
        if len(found) != 1:
            raise Misfit(f"{name} has matched {len(found)} times")
        return found[0][0] if len(found[0]) == 1 else found[0]

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        given = {one.arg: one for one in node.keywords}
        caught = [one for one in node.args if isinstance(one, ast.keyword)]
        node.args = [one for one in node.args if not isinstance(one, ast.keyword)]
        kept = [given.pop(one.arg, None) if isinstance(one, _Place) else one for one in caught]
        node.keywords = [*filter(None, kept), *given.values()]
        return node


def _flat(pieces: list[Any]) -> list[Any]:
    return [one for piece in pieces for one in (piece if isinstance(piece, list) else [piece])]


def _spliced(text: str, nodes: Sequence[Any], new: str) -> str:
    """The text with other code where the nodes stand; nothing else of it changes."""
    first, last = nodes[0], nodes[-1]
    lines = text.encode().split(b"\n")
    head = [*lines[: first.lineno - 1], lines[first.lineno - 1][: first.col_offset]]
    tail = [lines[last.end_lineno - 1][last.end_col_offset :], *lines[last.end_lineno :]]
    if isinstance(first, ast.expr):
        new = f"({new})"
    elif lines[first.lineno - 1][first.col_offset :].startswith(b"elif"):
        new = f"el{new}" if new else ""
    indented = new.replace("\n", "\n" + " " * first.col_offset)
    return (b"\n".join(head) + indented.encode() + b"\n".join(tail)).decode()


# Running


# prctl(2)
_SET_CHILD_SUBREAPER = 36
# Not in the tree, and needed by tests.
_BESIDE = (".venv", ".venv-models", "tests/peers/node_modules")
TIMEOUT = 120
SLOW_TIMEOUT = 1200


class Result(Enum):
    NOTICED = "noticed"
    NOT_NOTICED = "NOT NOTICED"
    SKIPPED = "skipped here"
    # The test does not run at all, or not to its end: the break says nothing about the promise.
    FAULT = "FAULT"
    PASSED = "passed"
    FAILED_UNBROKEN = "FAILS UNBROKEN"

    @property
    def good(self) -> bool:
        return self in (Result.NOTICED, Result.SKIPPED, Result.PASSED)


@dataclass(frozen=True, slots=True)
class Outcome:
    result: Result
    seconds: float
    # Pytest's output, to examine a break that was not noticed.
    output: str


@contextmanager
def copied_tree() -> Iterator[Path]:
    """A temporary copy of the files that git tracks, as they stand now."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="breaks-") as folder:
        copy = Path(folder)
        for name in filter(None, listed.stdout.split("\0")):
            if (source := ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy / name)
        for name in _BESIDE:
            if (ROOT / name).exists():
                (copy / name).symlink_to((ROOT / name).resolve())
        yield copy


def try_break(one: Break, copy: Path) -> Outcome:
    """Run the break's test on the broken copy; the copy is whole again afterwards."""
    path = copy / one.file
    whole = path.read_text(encoding="utf-8")
    try:
        _write(path, one.broken(whole))
        return _run(one.test, copy, one.slow, broken=True)
    finally:
        _write(path, whole)


def _write(path: Path, text: str) -> None:
    """Write a file whose compiled form, if any, goes: two texts of one second and one size look the
    same to Python.
    """
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def try_unbroken(test: str, copy: Path, slow: bool) -> Outcome:
    return _run(test, copy, slow, broken=False)


def _run(test: str, copy: Path, slow: bool, broken: bool) -> Outcome:
    command = [sys.executable, "-m", "pytest", "--night", "-x", "-q"]
    command += ["-p", "no:cacheprovider", "-rA"]
    # Colours would stand between the words that are looked for.
    environment = {**os.environ, "PYTHONPATH": "", "NO_COLOR": "1", "PY_COLORS": "0"}
    # What one break's test compiles serves the next.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    # Into a file: what is left of a test may hold a pipe open.
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, "--tb=short", "--show-capture=no", f"tests/{test}"],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SLOW_TIMEOUT if slow else TIMEOUT)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_all()
            process.wait()
        said.seek(0)
        output = said.read()
    result = Result.FAULT if code is None else judge(code, output, test, broken)
    return Outcome(result, time.monotonic() - started, output)


def _end_all() -> None:
    """End what a test has started and left, as broken code may: whoever lost its parent is a child
    of this process.
    """
    while reaper.list_descendants(os.getpid()):
        reaper.kill_below(os.getpid())
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def judge(code: int, output: str, test: str, broken: bool) -> Result:
    """Tell by pytest's exit status and its summary what became of the test."""
    name, _, function = test.partition("::")
    # "FAILED tests/test_x.py::test_y[case] - ..."; an ERROR is a fixture's or the collection's.
    failed = re.search(
        rf"^FAILED (?:\S*/)?{re.escape(name)}::{function or 'test_'}", output, re.MULTILINE
    )
    if code == 1 and failed:
        return Result.NOTICED if broken else Result.FAILED_UNBROKEN
    if code == 0 and not re.search(r"^PASSED ", output, re.MULTILINE):
        return Result.SKIPPED
    if code == 0:
        return Result.NOT_NOTICED if broken else Result.PASSED
    return Result.FAULT
