"""Plain English: idioms that were removed stay away, and a class name means one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pytest

from tests.support.documents import DOCUMENTS, ROOT, read

# Pattern of an idiom: the plain words for it
IDIOMS = {
    r"\b(of|in) the house\b": "fixed camera",
    r"\bgone bad\b": "misbehaving",
    r"\bhears? of\b": "is notified of, receives",
    r"\bknows? nothing of\b": "does not import, is independent of",
    r"\b[Ff]inds? (whether|if)\b": "return True if",
    r"\bas it has to be\b": "misconfigured",
    r"\blets? (nobody|people go)\b": "refuses everyone, drains",
    r"\bthat are to\b": "that should",
    r"\bnot there yet\b": "not loaded yet",
    r"\bwho(ever)? (adds|asks|wants)\b": "the caller",
    # The first word of a docstring, a comment, a paragraph or a table's cell. A question may begin like that.
    r'^\s*(#|"""|-|\|)?\s*(What|Who|Whose|Whoever|Whatever) (?!.*\?)': "a subject, a verb, an object",
}
CORE = (
    *("app", "auth", "core", "inference", "main", "media", "models", "session", "session_manager"),
    *("web", "webrtc_server"),
)


def lines() -> Iterator[tuple[str, str]]:
    """Each line of the code and of the documents' prose, with its file's path."""
    folders = ("server", "scripts", "tools", "benchmarks", "deploy", "clients")
    code = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in [*code, ROOT / "config.py", ROOT / "env.example"]:
        name = str(path.relative_to(ROOT))
        yield from ((name, line) for line in path.read_text("utf-8").splitlines())
    for name in DOCUMENTS:
        if name != "CHANGELOG.md" and not name.startswith("docs/reference/"):
            yield from ((name, line) for line in read(name)[0].splitlines())


@pytest.fixture(scope="module")
def text() -> list[tuple[str, str]]:
    return list(lines())


def idioms(text: Sequence[tuple[str, str]], pattern: str) -> list[str]:
    search = re.compile(pattern).search
    return [f"{name}: {line.strip()}" for name, line in text if search(line)]


@pytest.mark.parametrize("pattern", IDIOMS)
def test_idioms_stay_away(pattern: str, text: list[tuple[str, str]]) -> None:
    assert idioms(text, pattern) == [], f"write instead: {IDIOMS[pattern]}"


@pytest.mark.parametrize(
    "line",
    [
        '    """Find whether it was read."""',
        "# What is not in a part of the picture",
        "- Whoever reaches it can use the models.",
        "This module knows nothing of sessions.",
        "A camera of the house",
    ],
)
def test_an_idiom_is_noticed(line: str) -> None:
    assert any(idioms([("planted", line)], pattern) for pattern in IDIOMS)


def classes() -> dict[str, set[str]]:
    """The packages of the server that define a class, by its name without underscores; "core" is one."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "server").rglob("*.py")):
        first, *rest = path.relative_to(ROOT / "server").with_suffix("").parts
        package = rest[0] if first == "features" else "core" if first in CORE else first
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(package)
    assert len(found) > 800
    assert [name for name, places in found.items() if places.count("core") > 1] == []
    return {name: set(places) for name, places in found.items()}


def test_a_class_name_means_one_thing() -> None:
    """No two classes of the core have one name, and at most two packages share one."""
    assert [name for name, places in classes().items() if len(places) > 2] == []
