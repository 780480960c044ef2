"""Modules of the page that need no page: the tests that Node runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/client")
NAMES = sorted(
    path.relative_to(ROOT / HERE).as_posix()
    for path in (ROOT / HERE).rglob("*.test.mjs")
    # tests/client/test_track.py
    if path.parent.name != "pointing"
)


# Markdown of any length, thousands of times
LONG = "core/answer/markdown.test.mjs"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == LONG else name for name in NAMES],
)
def test_in_node(tmp_path: Path, name: str) -> None:
    """Each file says what it tests."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    # Here Node takes every .js for a module, as the browser does.
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    for part in (Path("client"), HERE / Path(name).parent):
        shutil.copytree(ROOT / part, tmp_path / part)
    done = subprocess.run(
        ["node", "--test", str(HERE / name)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
