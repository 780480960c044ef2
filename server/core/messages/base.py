"""The base class of each direction, and the limits of what a client may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

# The number of this protocol, which changes when a message or a field gets another name or goes.
PROTOCOL = 2
MAX_QUESTION_CHARS = 4000
MAX_MESSAGE_BYTES = 64 * 1024
ID_PATTERN = r"^[\w.:-]*$"
Identifier = Annotated[str, Field(max_length=64, pattern=ID_PATTERN)]


class ClientMessage(BaseModel):
    # Unknown fields are ignored, so that a newer page can talk to an older server. What checks them is made with
    # the first message: those of all take a tenth of a start.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)

    # An error about it has its id.
    named: ClassVar[bool] = False


class ServerMessage(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    # A newer one replaces one that still waits for its client.
    newest_only: ClassVar[bool] = False

    def outdates(self) -> Callable[[ServerMessage], bool] | None:
        """Return what finds waiting messages that nobody needs after this one; None: it leaves all."""
        return None

    def encode(self) -> str:
        return self.model_dump_json(exclude_none=True)

    def for_operators(self) -> Self:
        """Return the message with the operator's text where it has one for visitors and one for operators."""
        return self
