"""The things seen on a picture, before anything is said about it. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.core.frames import Scene
from server.engines.builtin.codes import Code
from server.engines.builtin.lines import Row
from server.engines.builtin.memory import Change

# A colour's name and its share of the pixels, 0 to 1; largest first.
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """None where nobody looked."""

    scene: Scene
    rows: tuple[Row, ...] | None = None
    # Print was there that could not be read.
    unread: bool = False
    # The text reader did not load.
    text_broken: bool = False
    codes: tuple[Code, ...] | None = None
    # Colours by place: "left", "right", "top", "bottom", "middle", "whole".
    colours: dict[str, Shares] = field(default_factory=dict)
    # Names of the colours that surround the rest.
    ground: tuple[str, ...] = ()
    faces: int | None = None
    # None for a session's first picture.
    change: Change | None = None
