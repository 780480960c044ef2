"""Workers of pytest-xdist begin with the files that take longest."""

from __future__ import annotations

from tests.support.order import LONG, TESTS, name_of


def test_long_files_are_there() -> None:
    """Under the name by which they are looked for."""
    assert [name for name in LONG if not (TESTS / name).is_file()] == []
    assert [name for name in LONG if name_of(TESTS / name) != name] == []
