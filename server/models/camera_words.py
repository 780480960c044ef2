"""The words around pictures of several cameras. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNNAMED = re.compile(r"Camera (\d+)")
_HEAD = (
    "There are {count} cameras, each with a name, and one picture of each, all of now. The question is about all of them: "
    "look at each picture, and call each camera by its name."
)


def unnamed(number: str) -> str:
    """Return the name of a camera to which nobody gave one. The page and the built-in engine say it in their language."""
    return f"Camera {number}"


def number_of(name: str) -> int | None:
    """Return the number of a camera to which nobody gave a name; None for a name that somebody gave."""
    found = _UNNAMED.fullmatch(name)
    return int(found[1]) if found else None


def captions(names: Sequence[str]) -> list[str]:
    """Return the captions of pictures of the cameras with these names."""
    found = [f"Camera {name}:" for name in names]
    if len(found) > 1:
        # Before the last one: the first ones are left out when not all fit.
        found[-1] = f"{_HEAD.format(count=len(found))}\n{found[-1]}"
    return found
