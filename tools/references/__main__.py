"""Write docs/reference/ and the page's types for messages, or check that they are current:
`python -m tools.references [--check]`.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from tools.references import errors, messages, metrics, models, routes, settings, types
from tools.references.source import ROOT

FOLDER = "docs/reference"
HEAD = "Generated from the code by `python -m tools.references`. Do not edit."
HEADS = {".md": f"<!-- {HEAD} -->", ".ts": f"// {HEAD}"}
PAGES = {
    f"{FOLDER}/messages.md": messages.make_page,
    f"{FOLDER}/routes.md": routes.make_page,
    f"{FOLDER}/errors.md": errors.make_page,
    f"{FOLDER}/settings.md": settings.make_page,
    f"{FOLDER}/metrics.md": metrics.make_page,
    f"{FOLDER}/models.md": models.make_page,
    "client/core/live/messages.d.ts": types.make_page,
}


@functools.cache
def make_pages() -> dict[str, str]:
    """Return the text of each file, by its path."""
    return {
        name: f"{HEADS[Path(name).suffix]}\n\n{make().rstrip()}\n" for name, make in PAGES.items()
    }


def find_stale(root: Path) -> list[str]:
    """Return the paths of outdated and unexpected files below this folder."""
    made = make_pages()
    there = {path.relative_to(root).as_posix() for path in (root / FOLDER).glob("*.md")}
    return sorted(
        name
        for name in made.keys() | there
        if not (root / name).is_file() or (root / name).read_text("utf-8") != made.get(name)
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.references",
        description=f"Write {FOLDER}/ and the page's types of messages from the code.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is outdated"
    )
    if parser.parse_args().check:
        old = find_stale(ROOT)
        if old:
            print(f"Outdated: {', '.join(old)}. Run python -m tools.references.")
        return 1 if old else 0
    for name, text in make_pages().items():
        (ROOT / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
