"""The promises of SECURITY.md: rows of its tables, its paragraphs that begin in bold, and two
sections that are one promise.
"""

from __future__ import annotations

import functools
import re

from tests.breaks.cases import ROOT

_SECTIONS = ("What is promised", "Who gets in", "What is bounded", "Threat model", "The page")
# First cells of rows that are the head of a table
_COLUMNS = ("promise", "what", "---")
# Bold words that only introduce a table
_INTRODUCE = (
    *("A stranger on the network", "A visitor with a token", "A false operator"),
    *("A model server gone bad", "A camera of the house gone bad"),
    *("A receiver of webhooks gone bad", "A broker of MQTT gone bad"),
)
_ROW = re.compile(r"^\| ?([^|]+?) ?\|.*\|$", re.MULTILINE)
_PARAGRAPH = re.compile(r"^(?:- )?\*\*([^*]+)\*\*.*(?:\n(?!- |\n|\|).+)*", re.MULTILINE)


@functools.cache
def promises() -> dict[str, str]:
    """Each promise by the words that it begins with: its whole row, with its tests."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if title not in _SECTIONS:
            continue
        rows = [(match[1], match[0]) for match in _ROW.finditer(body)]
        paragraphs = [(match[1], match[0]) for match in _PARAGRAPH.finditer(body)]
        mine = {
            name: said
            for name, said in [*rows, *paragraphs]
            if name not in _COLUMNS and name not in _INTRODUCE
        }
        found |= mine or {title: body}
    return found


def promise_of(row: str) -> str:
    """The promise that is these words, else the only one that has them."""
    if row in (every := promises()):
        return row
    found = [promise for promise in every if row in promise]
    if len(found) != 1:
        raise ValueError(f"“{row}” stands in {len(found)} promises of SECURITY.md")
    return found[0]


def named_tests(promise: str) -> set[str]:
    """The tests that a promise names.

    One alone belongs to the file named before it; "the same" to the row before.
    """
    found, file = set(), ""
    for quoted in re.findall(r"`((?:\w+/)*(?:test_\w+\.py)?(?:::test_\w+)?)`", promises()[promise]):
        name, colons, function = quoted.removeprefix("tests/").partition("::")
        file = name or file
        found.add(f"{file}{colons}{function}")
    return found
