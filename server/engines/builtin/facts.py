"""The facts of a picture, from which answers are composed. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.core.frames import Scene
from server.engines.builtin.codes import Code
from server.engines.builtin.lines import Row

# A colour's name and its share of the pixels, 0 to 1; largest first.
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between a picture and the one before."""

    # Seconds between the two
    seconds: float
    # Share of the cells that differ, 0 to 1, and the third with most: "left", "middle", "right".
    share: float
    where: str
    # 1: clearly brighter, -1: clearly darker, 0: neither
    light: int
    new_rows: tuple[str, ...]
    gone_rows: tuple[str, ...]

    @property
    def anything(self) -> bool:
        return self.share >= 0.02 or self.light != 0 or bool(self.new_rows or self.gone_rows)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one picture; None for a part that was not examined."""

    scene: Scene
    rows: tuple[Row, ...] | None = None
    # True when there was print that could not be read
    unread: bool = False
    # True when the text reader did not load
    text_broken: bool = False
    codes: tuple[Code, ...] | None = None
    # Colours by place: "left", "right", "top", "bottom", "middle", "whole".
    colours: dict[str, Shares] = field(default_factory=dict)
    # Names of the background's colours
    ground: tuple[str, ...] = ()
    # Names of the colours at the picture's edges
    rim: frozenset[str] = frozenset()
    # The places of the largest spot of each colour that is asked about, largest first: "left" and "top"
    spots: tuple[tuple[str, tuple[str, ...]], ...] = ()
    faces: int | None = None
    # None for a session's first picture.
    change: Change | None = None
