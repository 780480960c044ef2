"""The counter of code lines leaves out what explains, and adds up by folder."""

from __future__ import annotations

from pathlib import Path

from tools.code_lines import count_by_folder, count_code_lines

SOURCE = '''"""A docstring
of two lines."""

# A comment.
TEXT = """
not a docstring"""


class One:
    """A docstring."""

    def two(self) -> int:
        """A docstring."""
        return (
            2  # and a comment
        )
'''


def test_docstrings_comments_and_blank_lines_are_not_counted() -> None:
    assert count_code_lines(SOURCE) == 7
    assert count_code_lines("") == 0


def test_packages_and_features_are_counted_apart(tmp_path: Path) -> None:
    for name in ("main.py", "web/one.py", "web/deep/two.py", "features/a/x.py", "features/b/y.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a = 1\nb = 2\n", encoding="utf-8")
    assert count_by_folder(tmp_path) == {"main.py": 2, "web": 4, "features/a": 2, "features/b": 2}
