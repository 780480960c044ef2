"""Messages to a client about the programs that have access to its camera."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages import ServerMessage


class ProgramInfo(BaseModel):
    """One program's access, without its token."""

    # The program's id
    id: str
    # The person's name for it
    name: str
    # Its rights: some of `look`, `watch`, `events`, `listen`, `speak`
    scopes: list[str]
    # Time at which it got access, ms since the epoch
    made_at: float
    # Time at which the access expires, ms since the epoch
    expires_at: float
    # Time of its last call, ms since the epoch; absent before the first
    last_used: float | None = None
    # Looks so far
    looks: int = 0
    # True while sound that it sends is recognised
    listening: bool = False


class ProgramList(ServerMessage):
    """The list of all programs with access to the session."""

    type: Literal["programs"] = "programs"
    newest_only: ClassVar[bool] = True
    # Oldest first
    programs: list[ProgramInfo]
    # The most that a session may have; 0 where the operator allows none
    most: int
    # Most looks per minute of each one; all of a session together may look twice as often.
    looks_per_minute: int


class ProgramLook(ServerMessage):
    """One look of a program: sent at its start, and again with the same id at its end."""

    type: Literal["look"] = "look"
    # The look's id
    id: str
    # The program's id
    program: str
    # The program's name
    name: str
    # `look`, `find`, `recall`, `snapshot` or `chat`
    tool: str
    # Its question; empty for a picture alone
    question: str = ""
    # State of the look
    state: Literal["looking", "done", "failed"]
    # Time of its start by the server's clock, ms since the epoch
    at: float
    # The answer, or the reason why there is none
    text: str = ""
    # Its picture as a JPEG data URL, at most 640 px, and 36 KiB before base64; absent before the
    # end, and if too much waits for a slow client
    image: str | None = None
