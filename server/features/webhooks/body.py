"""One alert as a receiver gets it: its body, with the picture inline, as a link, or without. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from server.core.alert import Alert, time_text

# Characters of a condition or a reason
MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """The address of a picture, and its end in seconds since the epoch."""

    url: str = field(repr=False)
    until: float


def body(alert: Alert, *, inline: bool = False, link: Link | None = None) -> bytes:
    """Write the request's body. `inline`: with the picture itself; `link`: with its address."""
    if alert.source is None:
        return _json({"type": "webhook.test", "timestamp": time_text(alert.at / 1000), "data": {}})
    kind = "camera" if alert.source.camera else "visitor"
    evidence: dict[str, Any] | None = None
    if link is not None:
        evidence = {"type": "image/jpeg", "url": link.url, "expires_at": time_text(link.until)}
    elif inline and alert.jpeg is not None:
        evidence = {"type": "image/jpeg", "base64": base64.b64encode(alert.jpeg).decode()}
    data = {
        "source": {"kind": kind, "name": alert.source.camera},
        "watch": alert.watch[:MOST_CHARACTERS],
        "condition": alert.condition[:MOST_CHARACTERS],
        "reason": alert.reason[:MOST_CHARACTERS],
        "sure": round(alert.confidence, 2),
        "region": list(alert.region) if alert.region is not None else None,
        "evidence": evidence,
    }
    return _json({"type": "watch.rang", "timestamp": time_text(alert.at / 1000), "data": data})


def _json(value: dict[str, Any]) -> bytes:
    # A model may send half of a pair of surrogates, which UTF-8 has no bytes for.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
