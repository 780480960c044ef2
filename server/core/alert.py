"""An alert of a watch, as it leaves its session for other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

# The ids of watches that programs begin, not the person, begin so.
PROGRAMS = "program:"
# Those of watches that a model begins, whose alerts go to the person's page alone
TOOLS = "tool:"


@dataclass(frozen=True, slots=True)
class AlertSource:
    """The camera that an alert comes from."""

    # Of its session; no message has it
    id: str = field(repr=False)
    # The name of a fixed camera; "" for a visitor's
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A watch's condition holds, or a test without a camera."""

    # Milliseconds since the epoch at which the frame was captured
    at: float
    source: AlertSource | None = None
    watch: str = field(default="", repr=False)
    condition: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    # 0 to 1
    confidence: float = 0.0
    # As shares of the picture: x1, y1, x2, y2; None for the whole one
    region: tuple[float, ...] | None = None
    # Filtered; None when a filter withheld it
    jpeg: bytes | None = field(default=None, repr=False)


def time_text(seconds: float) -> str:
    """Write a time (seconds since the epoch) as ISO 8601 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
