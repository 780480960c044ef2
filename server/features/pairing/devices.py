"""Paired devices: their tokens, which they keep in a cookie, the list of seen devices, and removed
ones.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from server.access.revoked import Revoked
from server.auth import Claims, Signer, TokenRefused
from server.core.redact import session_hash
from server.web.request_guard import Device

COOKIE = "qwen-camera-device"
# The one route that takes it, with what lies below
COOKIE_PATH = "/api/token"
DEVICE_SECONDS = 30 * 86_400
# Listed devices; the least recently seen one leaves the list, but stays paired.
MAX_LISTED = 1000

_ID = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
# Part of a User-Agent to the device's kind; the first match counts.
_KINDS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "CrOS": "Chromebook",
    "Windows": "Windows",
    "Macintosh": "Mac",
    "Linux": "Linux",
}


@dataclass(slots=True)
class Listed:
    """A device seen since the start. Times are seconds since the epoch."""

    device: Device
    kind: str
    last_seen: float


def kind_of(user_agent: str) -> str:
    """Return the kind of device for a User-Agent, never a part of its text."""
    return next((kind for mark, kind in _KINDS.items() if mark in user_agent), "Device")


class Devices:
    """Signs and checks devices' tokens.

    Nothing is stored: removed devices are known until the server stops.

    `key` signs; another one removes all devices permanently. `now` is seconds since the epoch.

    Bounds of paired devices since the start, and removed ones: 1,000 listed, the least recently
    seen is dropped; 10,000 removed, as for sessions.
    """

    def __init__(self, key: str) -> None:
        self._signer = Signer(key)
        self._forgotten = Revoked(DEVICE_SECONDS)
        self._listed: OrderedDict[str, Listed] = OrderedDict()

    def pair(self, user_agent: str, now: float) -> tuple[str, Device]:
        """Create a new device and its token, valid for DEVICE_SECONDS."""
        id, at = secrets.token_urlsafe(16), self._forgotten.begin(now)
        device = Device(session_hash(id), at)
        token = self._signer.sign({"jti": id, "iat": at, "exp": at + DEVICE_SECONDS})
        self._note(device, user_agent, now)
        return token, device

    def recognise(self, token: str, user_agent: str, now: float) -> Device | None:
        """Return the device of a token; None when it is not ours, expired, or removed."""
        try:
            claims = self._signer.read(token)
        except TokenRefused:
            return None
        id, at = claims.get("jti"), claims.get("iat")
        if not isinstance(id, str) or _ID.fullmatch(id) is None or type(at) is not int:
            return None
        device = Device(session_hash(id), at)
        if self._forgotten.refuses(device.name, at) or at + DEVICE_SECONDS <= now:
            return None
        self._note(device, user_agent, now)
        return device

    def refuses(self, claims: Claims) -> bool:
        """Return True when a session's token belongs to a removed device."""
        return bool(claims.device) and self._forgotten.refuses(claims.device, claims.auth_time)

    def listed(self) -> list[Listed]:
        """Return the devices seen since the start, the last one first."""
        return list(reversed(self._listed.values()))

    def forget(self, name: str, now: float) -> bool:
        """Remove a device, also an unlisted one. Returns True when it was listed."""
        known = self._listed.pop(name, None)
        self._forgotten.add(name, known.device.since if known else int(now), now)
        return known is not None

    def forget_all(self, before: int, now: float) -> int:
        """Remove all devices paired by then (seconds since the epoch), and return the number of
        listed ones.
        """
        self._forgotten.add_all(before, now)
        gone = [name for name, one in self._listed.items() if one.device.since <= before]
        for name in gone:
            del self._listed[name]
        return len(gone)

    def _note(self, device: Device, user_agent: str, now: float) -> None:
        self._listed[device.name] = Listed(device, kind_of(user_agent), now)
        self._listed.move_to_end(device.name)
        if len(self._listed) > MAX_LISTED:
            self._listed.popitem(last=False)
