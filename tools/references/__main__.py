"""Write docs/reference/, or check that it is current: `python -m tools.references [--check]`."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from tools.references import errors, messages, metrics, routes, settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
HEAD = "<!-- Generated from the code by `python -m tools.references`. Do not edit. -->"
PAGES = {
    "messages.md": messages.page,
    "routes.md": routes.page,
    "errors.md": errors.page,
    "settings.md": settings.page,
    "metrics.md": metrics.page,
}


@functools.cache
def pages() -> dict[str, str]:
    """Make the text of each page, by its file's name."""
    return {name: f"{HEAD}\n\n{make().rstrip()}\n" for name, make in PAGES.items()}


def stale(folder: Path) -> list[str]:
    """Return the names of the files of the folder that are not as they would be written, and of strays."""
    made = pages()
    there = {path.name: path.read_text("utf-8") for path in folder.glob("*.md")}
    names = made.keys() | there.keys()
    return sorted(name for name in names if made.get(name) != there.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.references", description="Write docs/reference/ from the code."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
    if parser.parse_args().check:
        old = stale(FOLDER)
        if old:
            print(f"Not current: {', '.join(old)}. Run python -m tools.references.")
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
