"""Messages to a client about the programs that may look through its camera."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages.base import ServerMessage


class ProgramInfo(BaseModel):
    """One program's access, without its token."""

    id: str
    # The person's name for it
    name: str
    # look | watch | events
    scopes: list[str]
    # Milliseconds since the epoch; `last_used` is None before the first use
    made_at: float
    expires_at: float
    last_used: float | None = None
    # Looks so far
    looks: int = 0


class ProgramList(ServerMessage):
    """All programs that have access to the session now, oldest first."""

    type: Literal["programs"] = "programs"
    newest_only: ClassVar[bool] = True
    programs: list[ProgramInfo]
    # The most that a session may have; 0 where the operator allows none
    most: int
    # Of each one, at most; all of a session together may twice as often
    looks_per_minute: int


class ProgramLook(ServerMessage):
    """A look of a program: as it begins, and again with the same id at its end."""

    type: Literal["look"] = "look"
    id: str
    # The program's id and name
    program: str
    name: str
    # look | find | recall | snapshot | chat
    tool: str
    # Its question; "" for a picture alone
    question: str = ""
    # looking | done | failed
    state: Literal["looking", "done", "failed"]
    # Milliseconds since the epoch
    at: float
    # The answer, or the reason why there is none
    text: str = ""
    # A JPEG data URL of what it was about, at most 640 px and 36 KiB before base64; None before the end, and where a
    # slow client has too much to read
    image: str | None = None
