"""A break, and where its test is."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Break:
    """One change to one file that breaks a promise."""

    # Words of the promise, as they stand in SECURITY.md (see `promises.py`).
    row: str
    # The change in a few words.
    what: str
    file: str
    # Stands in the file exactly once.
    old: str
    new: str
    # The test that has to fail, as SECURITY.md names it: a file of tests, or one test in it.
    test: str
    # The test takes a minute or more, or drives a browser.
    slow: bool = False

    @property
    def name(self) -> str:
        return f"{self.row}: {self.what}"

    def apply(self, root: Path) -> str:
        """Write the break into the file below `root`; return the text from before."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if (times := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: the old text stands {times} times in {self.file}")
        write(path, text.replace(self.old, self.new))
        return text


def write(path: Path, text: str) -> None:
    """Write a file whose compiled form, if any, goes: two texts of one second and one size look the
    same to Python.
    """
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


@functools.cache
def _tests(root: Path) -> tuple[Path, ...]:
    """List the files of tests; packages of Node have thousands of others."""
    folders = [path for path in (root / "tests").iterdir() if path.is_dir()]
    return tuple(
        path
        for folder in folders
        for path in folder.rglob("test_*.py")
        if "node_modules" not in path.parts
    )


@functools.cache
def file_of(test: str, root: Path = ROOT) -> Path:
    """Find the file of a test; its name is unique below tests/."""
    name = test.partition("::")[0]
    found = [path for path in _tests(root) if path.as_posix().endswith(f"/{name}")]
    if len(found) != 1:
        raise ValueError(f"{name} stands {len(found)} times below tests/")
    return found[0]


def pytest_id(test: str, root: Path = ROOT) -> str:
    """The test as pytest is given it, relative to the root."""
    _, colons, function = test.partition("::")
    return f"{file_of(test, root).relative_to(root)}{colons}{function}"


def has_test(test: str, root: Path = ROOT) -> bool:
    """Find whether the file defines the function that a test names."""
    function = test.partition("::")[2]
    text = file_of(test, root).read_text(encoding="utf-8")
    return not function or bool(re.search(rf"^(?:async )?def {function}\(", text, re.MULTILINE))
