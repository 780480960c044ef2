"""One ring as a receiver gets it: its body, with the picture inline, as a link, or without. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Characters of a condition or a reason
MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """The camera that an alarm comes from."""

    # Of its session; no message has it
    id: str = field(repr=False)
    # The name of a camera of the house; "" for a visitor's
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A ring of a watch, or a test without a camera."""

    # Milliseconds since the epoch at which the frame was captured
    at: float
    source: Source | None = None
    watch: str = field(default="", repr=False)
    condition: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    sure: float = 0.0
    # As shares of the picture: x1, y1, x2, y2; None for the whole one
    region: tuple[float, ...] | None = None
    # Filtered; None when a filter withheld it
    jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """The address of a picture, and its end in seconds since the epoch."""

    url: str = field(repr=False)
    until: float


def time_text(seconds: float) -> str:
    """Write a time as ISO 8601 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def body(alarm: Alarm, *, inline: bool = False, link: Link | None = None) -> bytes:
    """Write the request's body. `inline`: with the picture itself; `link`: with its address."""
    if alarm.source is None:
        return _json({"type": "webhook.test", "timestamp": time_text(alarm.at / 1000), "data": {}})
    kind = "camera" if alarm.source.camera else "visitor"
    evidence: dict[str, Any] | None = None
    if link is not None:
        evidence = {"type": "image/jpeg", "url": link.url, "expires_at": time_text(link.until)}
    elif inline and alarm.jpeg is not None:
        evidence = {"type": "image/jpeg", "base64": base64.b64encode(alarm.jpeg).decode()}
    data = {
        "source": {"kind": kind, "name": alarm.source.camera},
        "watch": alarm.watch[:MOST_CHARACTERS],
        "condition": alarm.condition[:MOST_CHARACTERS],
        "reason": alarm.reason[:MOST_CHARACTERS],
        "sure": round(alarm.sure, 2),
        "region": list(alarm.region) if alarm.region is not None else None,
        "evidence": evidence,
    }
    return _json({"type": "watch.rang", "timestamp": time_text(alarm.at / 1000), "data": data})


def _json(value: dict[str, Any]) -> bytes:
    # A model may send half of a pair of surrogates, which UTF-8 has no bytes for.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
