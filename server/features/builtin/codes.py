"""The contents of codes: Wi-Fi networks, and the hosts of links. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from server.media.picture.grounding import Box


@dataclass(frozen=True, slots=True)
class Code:
    text: str
    # The common name: "QR Code", "EAN-13"
    format: str
    # Its place in the picture; None where nobody knows
    box: Box | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return {"QR Code": "QR code", "Data Matrix": "Data Matrix code"}.get(
            self.format, self.format
        )


@dataclass(frozen=True, slots=True)
class Network:
    """A Wi-Fi network as a code names it."""

    name: str
    # "" for an open network
    password: str
    code: Code


_FIELD = re.compile(r"(?<![A-Z])([A-Z]++):((?:\\.|[^;\\])*+);?")


def network(codes: Iterable[Code]) -> Network | None:
    """Return the Wi-Fi network of the first code with one (WIFI:T:WPA;S:name;P:password;;)."""
    for code in codes:
        if code.text[:5].upper() != "WIFI:":
            continue
        parts = {
            key: re.sub(r"\\(.)", r"\1", value) for key, value in _FIELD.findall(code.text[5:])
        }
        name, password = parts.get("S", ""), parts.get("P", "")
        if name:
            return Network(_unquoted(name), _unquoted(password), code)
    return None


def host(url: str) -> str:
    """Return a link's host as a browser reads it: without user name, port and path."""
    try:
        found = urlsplit(url if "://" in url else f"//{url}").hostname
    except ValueError:
        found = None
    return found or url


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
