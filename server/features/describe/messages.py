"""Wire messages about the running description."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from server.core.messages import MAX_QUESTION_CHARS, ServerMessage
from server.core.messages.from_client import Settings

# `scene`: the whole view; `notable`: only what a person who carries the camera needs to know
About = Literal["scene", "notable"]


class Length(StrEnum):
    """Length of a running description."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class DescribeSettings(Settings):
    """Settings of the running description."""

    # True starts the running description, false stops it.
    describe: bool | None = None
    # The question to ask about each view; empty: the default one
    prompt: str | None = Field(default=None, max_length=MAX_QUESTION_CHARS)
    # Length of a description; `short` by default
    length: Length | None = None
    # `notable`: only what matters, at most once in 5 s, and never while the person talks or an answer is spoken; `prompt` and
    # `length` have no effect then. `scene` by default
    about: About | None = None
    # True: send a `change` for each comparison of the running description.
    changes: bool | None = None


class Unchanged(ServerMessage):
    """A description that still holds, although the scene has changed."""

    type: Literal["unchanged"] = "unchanged"
    # The description's id; ignore an unknown one.
    id: str
    # Time of the frame's check by the server's clock, milliseconds since the epoch
    looked_at: float
