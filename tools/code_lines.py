"""Count code lines of the server by folder, without docstrings, comments and blank lines.

`python -m tools.code_lines` prints a table of the packages in `server/`, with each feature separately, largest first.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

from scripts.arguments import ROOT
from server.core import core_dumps

_BESIDE_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
CORE = ("app", "core", "media", "models", "session", "web")


def count_code_lines(source: str) -> int:
    """Return the number of code lines in `source`."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _BESIDE_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))  # type: ignore[operator]
    return len(lines)


def count_by_folder(root: Path) -> Counter[str]:
    """Return the number of code lines of each package in `root`, of each feature, and of each file beside them."""
    counts: Counter[str] = Counter()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        counts["/".join(parts[: 2 if parts[0] == "features" else 1])] += count_code_lines(
            path.read_text(encoding="utf-8")
        )
    return counts


def main() -> None:
    core_dumps.forbid_core_dumps()
    counts = count_by_folder(ROOT / "server")
    print("| folder | code lines |\n|---|---|")
    for folder, count in counts.most_common():
        print(f"| {folder} | {count} |")
    print(f"| {', '.join(CORE)} | {sum(counts[name] for name in CORE)} |")
    print(f"| all | {counts.total()} |")


if __name__ == "__main__":
    main()
