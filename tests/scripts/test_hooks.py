"""The hook that checks a commit's subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.programs import ran


def problem(subject: str, tmp_path: Path) -> str:
    """Return the hook's message about a subject; empty where it is accepted."""
    file = tmp_path / "message"
    file.write_text(f"{subject}\n\nMore about it.\n", encoding="utf-8")
    done = ran(["bash", str(ROOT / "scripts/hooks/commit-msg"), str(file)])
    assert bool(done.stderr) == (done.returncode != 0)
    return done.stderr


@pytest.mark.parametrize(
    "subject",
    [
        "page: disable controls until their feature is loaded",
        "core, web: pass limits as one value",
        "tests/media: re-encode the clips once",
        'Revert "page: disable controls"',
    ],
)
def test_subjects_that_pass(subject: str, tmp_path: Path) -> None:
    assert problem(subject, tmp_path) == ""


@pytest.mark.parametrize(
    ("subject", "cause"),
    [
        ("page: what is not there yet cannot be pressed", '"what" is no verb'),
        ("page: disabled controls until loaded", "no imperative"),
        ("page: disables controls until loaded", "no imperative"),
        ("disable controls", "lacks a scope"),
        ("page: Disable controls until loaded", "small letters"),
        (f"page: disable {'x' * 60}", "74 characters"),
    ],
)
def test_subjects_that_are_refused(subject: str, cause: str, tmp_path: Path) -> None:
    assert cause in problem(subject, tmp_path)
