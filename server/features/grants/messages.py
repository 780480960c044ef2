"""Messages to a client about the programs that may look through its camera."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages import ServerMessage


class ProgramInfo(BaseModel):
    """One program's access, without its token."""

    # The program's
    id: str
    # The person's name for it
    name: str
    # Of `look`, `watch`, `events`
    scopes: list[str]
    # Time at which it got access
    made_at: float
    # Time at which that ends
    expires_at: float
    # Time of its last use; absent before the first
    last_used: float | None = None
    # Looks so far
    looks: int = 0


class ProgramList(ServerMessage):
    """All programs that have access to the session now, oldest first."""

    type: Literal["programs"] = "programs"
    newest_only: ClassVar[bool] = True
    # Oldest first
    programs: list[ProgramInfo]
    # The most that a session may have; 0 where the operator allows none
    most: int
    # Of each one, at most; all of a session together may twice as often.
    looks_per_minute: int


class ProgramLook(ServerMessage):
    """A look of a program: as it begins, and again with the same id at its end."""

    type: Literal["look"] = "look"
    # The look's
    id: str
    # The program's id
    program: str
    # The program's name
    name: str
    # `look`, `find`, `recall`, `snapshot` or `chat`
    tool: str
    # Its question; empty for a picture alone
    question: str = ""
    # Where the look is
    state: Literal["looking", "done", "failed"]
    # Time by the server's clock
    at: float
    # The answer, or the reason why there is none
    text: str = ""
    # JPEG data URL of what it was about, at most 640 px, and 36 KiB before base64; absent before
    # the end, and where a slow client has too much to read
    image: str | None = None
