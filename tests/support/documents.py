"""Parse the documents: code spans, code blocks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.breaks.promises import page

ROOT = Path(__file__).parents[2]
# Every document, by its path
DOCUMENTS = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for pattern in (
            *("*.md", "docs/**/*.md", "server/features/*/*.md", "clients/*/*.md"),
            "deploy/**/*.md",
        )
        for path in ROOT.glob(pattern)
    )
)
# The page of the promises, which stands in no file
PROMISES = "promises"
_FENCE = re.compile(r"^```", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Quote:
    document: str
    text: str
    # A line of a code block, continued lines joined; else a code span.
    block: bool


def read(document: str) -> tuple[str, list[str]]:
    """The text without its code blocks, and each of these."""
    text = page() if document == PROMISES else (ROOT / document).read_text(encoding="utf-8")
    parts = _FENCE.split(text)
    assert len(parts) % 2 == 1, f"{document} has a code block without an end"
    return "\n".join(parts[0::2]), [part.partition("\n")[2] for part in parts[1::2]]


def quotes(document: str) -> list[Quote]:
    prose, blocks = read(document)
    lines = [
        line.strip()
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip()
    ]
    spans = [" ".join(span.split()) for span in _SPAN.findall(prose)]
    return [Quote(document, line, True) for line in lines] + [
        Quote(document, span, False) for span in spans
    ]


def links(document: str) -> list[str]:
    """Return the targets of its links and pictures."""
    return _LINK.findall(read(document)[0])


def anchors(path: Path) -> set[str]:
    """The names that headings of a document can be linked by, as GitHub makes them."""
    prose = "\n".join(_FENCE.split(path.read_text(encoding="utf-8"))[0::2])
    found: set[str] = set()
    for heading in _HEADING.findall(prose):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading).lower())
        name, number = plain.strip().replace(" ", "-"), 1
        while name in found:
            name, number = f"{name.removesuffix(f'-{number - 1}')}-{number}", number + 1
        found.add(name)
    return found
