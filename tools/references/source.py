"""Read descriptions from the source (comments above fields, docstrings), and format parts of a page: tables, links."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def read(path: Path) -> tuple[ast.Module, tuple[str, ...]]:
    text = path.read_text("utf-8")
    return ast.parse(text), tuple(text.splitlines())


def get_comment_above(path: Path, line: int) -> str:
    """Return the comment on the lines directly above this line, as one line of text."""
    lines = read(path)[1]
    found: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.strip().startswith("#"):
            break
        found.insert(0, text.strip().removeprefix("#").strip())
    return " ".join(found)


@functools.cache
def get_comments(kind: type) -> dict[str, str]:
    """Return the comment above each field or member of a class, including those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("server."):
            found |= _get_own_comments(base)
    return found


def _get_own_comments(kind: type) -> dict[str, str]:
    path = Path(inspect.getfile(kind))
    found = {}
    for node in _find_class(path, kind.__name__).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = get_comment_above(path, node.lineno)
    return found


def _find_class(path: Path, name: str) -> ast.ClassDef:
    found = (n for n in ast.walk(read(path)[0]) if isinstance(n, ast.ClassDef) and n.name == name)
    return next(found)


def get_line(kind: type) -> int:
    """Return the line at which a class begins."""
    return _find_class(Path(inspect.getfile(kind)), kind.__name__).lineno


def get_docstring(thing: object) -> str:
    """Return an object's own docstring, with each paragraph on one line; "" if it has none."""
    text = thing.__dict__.get("__doc__") if isinstance(thing, type) else thing.__doc__
    return "\n\n".join(
        _join_lines(part) for part in re.split(r"\n\s*\n", inspect.cleandoc(text or ""))
    )


def _join_lines(paragraph: str) -> str:
    """Join the lines of a paragraph, except lines that begin a list item."""
    return re.sub(r"\n(?!- )\s*", " ", paragraph)


def find_calls(folder: Path) -> Iterator[tuple[Path, ast.Call, int]]:
    """Yield each call in the modules of a folder, with the line at which its statement begins."""
    for path in sorted(folder.rglob("*.py")):
        for statement in ast.walk(read(path)[0]):
            if isinstance(
                statement, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return
            ) and isinstance(statement.value, ast.Call):
                yield path, statement.value, statement.lineno


# Parts of a page


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in every row; "" if there are no rows."""
    rows = list(rows)
    used = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    lines = ["| " + " | ".join(head[at] for at in used) + " |", "|" + "---|" * len(used)]
    lines += ["| " + " | ".join(_format_cell(row[at]) for at in used) + " |" for row in rows]
    return "\n".join(lines) if rows else ""


def _format_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def capitalise(text: str) -> str:
    """Return a text with its first letter capitalised."""
    return text[:1].upper() + text[1:]


def format_code(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def add_links(text: str, names: Collection[str]) -> str:
    """Turn each of these names that is in backticks into a link."""
    return re.sub(
        r"`(\w+)`", lambda found: format_link(found[1]) if found[1] in names else found[0], text
    )


def format_link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def join(parts: Iterable[str]) -> str:
    """Join paragraphs with blank lines, without empty ones."""
    return "\n\n".join(part for part in parts if part)
