"""Parts of a page: tables, and names of objects that become links."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table, without the columns that are empty in every row; "" without rows."""
    rows = list(rows)
    used = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    lines = ["| " + " | ".join(head[at] for at in used) + " |", "|" + "---|" * len(used)]
    lines += ["| " + " | ".join(_cell(row[at]) for at in used) + " |" for row in rows]
    return "\n".join(lines) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def sentence(text: str) -> str:
    """Begin with a capital letter; end as given."""
    return text[:1].upper() + text[1:]


def code(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def linked(text: str, names: Collection[str]) -> str:
    """Make a link of each of these names that stands in backticks."""
    return re.sub(r"`(\w+)`", lambda found: link(found[1]) if found[1] in names else found[0], text)


def link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def join(parts: Iterable[str]) -> str:
    """Put paragraphs below each other."""
    return "\n\n".join(part for part in parts if part)
