"""Modules of the page that need no page: the tests that Node runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.words import SHELL

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/client")
NAMES = sorted(
    path.relative_to(ROOT / HERE).as_posix() for path in (ROOT / HERE).rglob("*.test.mjs")
)
# Markdown of any length, all that can be wrong, and whole sequences of pictures
LONG = (
    "core/answer/markdown.test.mjs",
    "core/doctor/doctor.test.mjs",
    "features/pointing/sequences.test.mjs",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and their tests where Node takes every .js for a module, as the browser does.

    With the words of the languages as the server sends them.
    """
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    for part in (Path("client"), HERE):
        shutil.copytree(ROOT / part, folder / part)
    for path in (ROOT / "client/languages").glob("*.json"):
        (folder / "client/languages" / path.name).write_bytes(SHELL.read(path))
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in NAMES]
)
def test_in_node(copy: Path, name: str) -> None:
    """Each file says what it tests."""
    done = subprocess.run(
        ["node", str(HERE / name)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
