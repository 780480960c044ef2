"""How far the newest piece of work is, and what comes of it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    CANCELLING = "cancelling"
    # The result waits to be taken.
    READY = "ready"
    TAKEN = "taken"
    CANCELLED = "cancelled"
    FAILED = "failed"
    # Nobody took the result in time.
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Made:
    """A file, in memory."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class JobProgress:
    """What is told of the newest piece of work; no words of what was asked are in it."""

    state: JobState = JobState.IDLE
    # "video" or "sound"; "" before the first
    kind: str = ""
    # "steps", "decoding" (the model's last part), "encoding"
    phase: str = ""
    step: int = 0
    # 0: nobody knows, or nobody has told yet
    steps: int = 0
    # Frames that came, of how many
    made: int = 0
    frames: int = 0
    width: int = 0
    height: int = 0
    # Of what is made
    seconds: float = 0.0
    seed: int = 0
    # Seconds of work so far
    elapsed: float = 0.0
    # Of the result
    bytes: int = 0
    media_type: str = ""
    error: dict[str, Any] | None = None

    def message(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)
