"""Break a copy of the tree, run the test, and tell whether it noticed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from server.shared.processes import reaper
from tests.breaks.promises import ROOT, Break

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
    while reaper.descendants(os.getpid()):
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
