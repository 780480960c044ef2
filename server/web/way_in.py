"""How a feature lets people in beside the access code."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

# The page has it in its languages (client/core/dialogs/dialogs.js).
ASK = "This server asks for an access code. Enter the one that you were given."


class TokenBody(BaseModel):
    """The code with which a client gets in."""

    model_config = ConfigDict(extra="ignore")
    # The ACCESS_CODE, where one is set
    access_code: str | None = Field(default=None, max_length=256)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that gets in without a code."""

    # Its hash, which grants no access; in its tokens, the log and operators' lists
    name: str
    # The time when it was let in first, seconds since the epoch
    since: int


class WayIn:
    """The way by the access code alone. A feature may put its own in place of it."""

    # What a client sends
    body: type[TokenBody] = TokenBody

    @property
    def ask(self) -> str:
        """The sentence for whoever brings no code."""
        return ASK

    async def enter(
        self, request: Request, response: Response, body: TokenBody
    ) -> Device | Response | None:
        """Find who asks where a code is needed; a `Response` refuses. None: the access code decides.

        Raises QwenCameraError.
        """
        return None
