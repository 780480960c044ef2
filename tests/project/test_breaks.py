"""Each promise has a break that fits the tree, and a test that is to notice it; none is run here."""

from __future__ import annotations

import ast

import pytest

from tests.breaks.promises import (
    ROOT,
    Misfit,
    Result,
    breaks,
    has_test,
    judge,
    page,
    promises,
    replace,
)


def test_every_promise_has_a_break() -> None:
    assert len(promises()) > 100
    assert [promise.id for promise in promises() if not promise.breaks] == []


def test_names_are_different() -> None:
    for names in ([one.id for one in promises()], [one.name for one in breaks()]):
        assert len(set(names)) == len(names)


@pytest.mark.slow
def test_a_break_fits_the_tree() -> None:
    """Its old piece stands once in its place, and Python is still Python afterwards."""
    misfits, texts = [], {}
    for one in breaks():
        if one.file not in texts:
            texts[one.file] = (ROOT / one.file).read_text(encoding="utf-8")
        try:
            broken = one.broken(texts[one.file])
            if one.file.endswith(".py"):
                ast.parse(broken)
        except (Misfit, SyntaxError) as error:
            misfits.append(f"{one.name} ({one.at}): {error}")
        else:
            assert broken != texts[one.file], one.name
    assert misfits == []


def test_the_tests_are_there() -> None:
    """Those of promises and those of breaks."""
    assert [test for one in promises() for test in one.held_by() if not has_test(test)] == []


def test_the_page_has_every_promise() -> None:
    assert [one.id for one in promises() if f"\n**{one.promise.strip()}**\n" not in page()] == []


CODE = '''
LIMIT = 3  # a comment


class Door:
    @property
    async def opens(self, key: str, *, at: float = 0.0) -> bool:
        """Ask for the key."""
        if key not in self.keys:
            raise Refused("no")
        elif at < 0:
            return False
        self.log(
            key, at=at,
            level='info',
        )
        return key == self.key and at < 5
'''
LOG = "self.log(\n            key, at=at,\n            level='info',\n        )"


@pytest.mark.parametrize(
    ("name", "old", "new", "before", "after"),
    [
        # Format and quotes do not count.
        ("Door.opens", 'self.log(key, at=at, level="info")', "", LOG, ""),
        (
            "Door.opens",
            "key not in self.keys",
            "no or never",
            "key not in self.keys",
            "no or never",
        ),
        # What a wildcard has matched comes back.
        ("Door.opens", 'self.log(___, level="info")', "self.log(___)", LOG, "self.log(key, at=at)"),
        ("Door.opens", "___ and at < 5", "___", " and at < 5", ""),
        ("Door.opens", "if at < 0:\n    ___", "", "elif at < 0:\n            return False", ""),
        (
            "Door.opens",
            "async def opens(___a) -> bool:\n    ___b",
            "def opens(___a) -> bool:\n    ___b",
            "async ",
            "",
        ),
        # A class, and the file
        (
            "Door",
            "return ___ and at < 5",
            "return True",
            "return key == self.key and at < 5",
            "return True",
        ),
        ("", "LIMIT = 3", "LIMIT = 30", "LIMIT = 3", "LIMIT = 30"),
    ],
)
def test_a_piece_is_replaced_by_its_code(
    name: str, old: str, new: str, before: str, after: str
) -> None:
    """Nothing else of the text changes."""
    changed = replace(CODE, name, old, new)
    assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(CODE.replace(before, after)))
    assert "  # a comment\n" in changed


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("Door.opens", "self.log(key)"),
        # A value, twice in the function
        ("Door.opens", "at"),
        ("Door.opens", "return ___"),
        ("Window.opens", "self.log(___)"),
    ],
)
def test_a_piece_stands_once_in_its_place(name: str, old: str) -> None:
    with pytest.raises(Misfit):
        replace(CODE, name, old, "pass")


@pytest.mark.parametrize(
    ("code", "output", "result"),
    [
        (1, "FAILED tests/test_x.py::test_y[a] - assert 0\n", Result.NOTICED),
        (1, "FAILED tests/below/test_x.py::test_y\n", Result.NOTICED),
        (0, "PASSED tests/test_x.py::test_y\n", Result.NOT_NOTICED),
        (0, "SKIPPED [1] tests/test_x.py:3: no docker\n", Result.SKIPPED),
        # Another test, a fixture, the collection, no such test
        (1, "FAILED tests/test_x.py::test_z\n", Result.FAULT),
        (1, "ERROR tests/test_x.py::test_y - no server\n", Result.FAULT),
        (2, "ERROR tests/test_x.py\n", Result.FAULT),
        (4, "", Result.FAULT),
    ],
)
def test_how_a_run_is_judged(code: int, output: str, result: Result) -> None:
    """Only a failure of the very test counts."""
    assert judge(code, output, "test_x.py::test_y", broken=True) is result
