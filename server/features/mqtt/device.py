"""A camera as other programs of the house know it: its name and its states. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

HOUSE, VISITOR = "Camera of the house", "Camera of a visitor"


@dataclass(frozen=True, slots=True)
class Device:
    """The facts of a camera that others learn once, and its entities are made of."""

    # Its name in topics
    key: str
    # As people read it
    name: str
    model: str = HOUSE
    # The conditions of its watches
    watches: tuple[str, ...] = ()
    # It is described.
    describes: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A camera's states."""

    key: str
    live: bool
    # True for each watch whose condition holds; None: unknown now
    watches: dict[str, bool | None] = field(repr=False)
    # The last description; "" without one
    described: str = field(default="", repr=False)
