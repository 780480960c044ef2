"""Read an operator's TOML file with a list of tables under one key. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.core.setting_text import quote

# Maximum size of the file
MOST_BYTES = 64 * 1024

# Names of cameras and webhooks
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
# The host of a URL, with an optional port
HOST_AND_PORT = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?"


def read_tables(
    path: Path, key: str, most: int, make: Callable[[str, Any], Any], *others: str
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Read the file. Return its entries, its whole content, and whether other accounts can read it.

    `key` has a list of at most `most` entries, each converted by `make`, which gets the beginning of
    the clause of an error; `others`: further allowed keys. Raises OSError, and ValueError with a
    relative clause without secrets.
    """
    with path.open("rb") as stream:
        data = stream.read(MOST_BYTES + 1)
        others_read = stream.fileno() >= 0 and bool(path.stat().st_mode & 0o077)
    if len(data) > MOST_BYTES:
        raise ValueError(f"which has more than {MOST_BYTES} bytes")
    try:
        found = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise ValueError("which is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        # Only the position, because the rest may quote a password.
        place = re.search(r"\(at (?:line \d+, column \d+|end of document)\)", str(error))
        raise ValueError(f"which is not TOML {place[0] if place else ''}".rstrip()) from None
    if set(found) - {key, *others} or not isinstance(found.setdefault(key, []), list):
        allowed = ", ".join((f"[[{key}]]", *others))
        raise ValueError(f"which has something other than {allowed}")
    entries = found[key]
    if len(entries) > most:
        raise ValueError(f"which has {len(entries)} {key}s; at most {most} are allowed")
    made = tuple(make(f"whose {key} {number}", entry) for number, entry in enumerate(entries, 1))
    names = [one.name for one in made]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"in which two {key}s have the name {twice}")
    return made, found, others_read


def check_table(
    which: str,
    entry: Any,
    *,
    texts: tuple[str, ...],
    flags: tuple[str, ...],
    lists: tuple[str, ...],
    most: int,
) -> None:
    """Check that an entry is a table of known keys, with a name, texts of one line and flags.

    `which` begins the clause of an error. `lists` are allowed, but not checked. `most`: maximum
    characters of a text. Raises ValueError.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{which} is not a table")
    known = (*texts, *flags, *lists)
    if unknown := sorted(set(entry) - set(known)):
        raise ValueError(
            f"{which} has the unknown key {quote(unknown[0])}; allowed keys: {', '.join(known)}"
        )
    for name in texts:
        text = entry.get(name, "")
        if not isinstance(text, str) or len(text) > most or not text.isprintable():
            raise ValueError(f"{which} has a {name} that is not one line of text")
    for name in flags:
        if not isinstance(entry.get(name, False), bool):
            raise ValueError(f"{which} has a {name} that is neither true nor false")
    if NAME.fullmatch(entry.get("name", "")) is None:
        raise ValueError(
            f"{which} has no name of 1 to 32 characters of a to z, 0 to 9 and - between them"
        )


def has_port(url: str) -> bool:
    """Return True if a URL has a valid port or none."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
