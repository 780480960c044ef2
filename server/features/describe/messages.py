"""Wire messages about the running description."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from server.core.messages import MAX_QUESTION_CHARS, ServerMessage
from server.core.messages.from_client import Settings

# `notable`: what a person who carries the camera would want to know, and nothing else
About = Literal["scene", "notable"]


class Length(StrEnum):
    """Length of a running description."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class DescribeSettings(Settings):
    """Settings of the running description."""

    # A running description
    describe: bool | None = None
    # The description's question; empty: the default
    prompt: str | None = Field(default=None, max_length=MAX_QUESTION_CHARS)
    # Length of a description; `short` at first
    length: Length | None = None
    # `notable`: what matters alone, at most once in 5 s, and never while the person talks or an answer is spoken; `prompt` and
    # `length` do not count then. `scene` at first
    about: About | None = None
    # A `change` at each comparison of the running description
    changes: bool | None = None


class Unchanged(ServerMessage):
    """The scene has changed, but the description with this id still holds."""

    type: Literal["unchanged"] = "unchanged"
    # The description's; ignore one that you do not know.
    id: str
    # Time by the server's clock
    looked_at: float
