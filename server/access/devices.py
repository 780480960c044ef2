"""Paired devices: a token that a device keeps in a cookie and gets in by, and which of them are known or forgotten."""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from server.access.revoked import Revoked
from server.auth import Claims, Signer, TokenRefused
from server.core.redact import session_hash

COOKIE = "qwen-camera-device"
# The one route that takes it, with what lies below
COOKIE_PATH = "/api/token"
DEVICE_SECONDS = 30 * 86_400
# Devices that are listed; the one unheard of for longest goes, and stays paired.
MAX_LISTED = 1000

_ID = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
# What a User-Agent has, and how people call it; the first that fits.
_KINDS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "CrOS": "Chromebook",
    "Windows": "Windows",
    "Macintosh": "Mac",
    "Linux": "Linux",
}


@dataclass(frozen=True, slots=True)
class Device:
    # Its id's hash: as a name it opens nothing.
    name: str
    # Seconds since the epoch
    paired_at: int


@dataclass(slots=True)
class Listed:
    """A device that came since the start. Times are seconds since the epoch."""

    device: Device
    kind: str
    last_seen: float


def kind_of(user_agent: str) -> str:
    """The kind of device that a User-Agent names; never a part of its text."""
    return next((kind for mark, kind in _KINDS.items() if mark in user_agent), "Device")


class Devices:
    """Nothing is written down: what a device has is signed, and what was forgotten is known until the server stops.

    `key` signs; another one forgets all devices for good. `now` is seconds since the epoch.
    """

    def __init__(self, key: str) -> None:
        self._signer = Signer(key)
        self._forgotten = Revoked(DEVICE_SECONDS)
        self._listed: OrderedDict[str, Listed] = OrderedDict()

    def pair(self, user_agent: str, now: float) -> tuple[str, Device]:
        """A new device's token, good for DEVICE_SECONDS."""
        id, at = secrets.token_urlsafe(16), self._forgotten.begin(now)
        device = Device(session_hash(id), at)
        token = self._signer.sign({"jti": id, "iat": at, "exp": at + DEVICE_SECONDS})
        self._note(device, user_agent, now)
        return token, device

    def recognise(self, token: str, user_agent: str, now: float) -> Device | None:
        """The device whose token this is; None when it is not ours, over, or forgotten."""
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
        """Tell whether a session's token was had by a device that is forgotten by now."""
        return bool(claims.device) and self._forgotten.refuses(claims.device, claims.auth_time)

    def listed(self) -> list[Listed]:
        """The devices that came since the start, the last one first."""
        return list(reversed(self._listed.values()))

    def forget(self, name: str, now: float) -> bool:
        """Tell whether it was listed; one that was not is forgotten, too."""
        known = self._listed.pop(name, None)
        self._forgotten.add(name, known.device.paired_at if known else int(now), now)
        return known is not None

    def forget_all(self, before: int) -> int:
        """Forget all that were paired by then (seconds since the epoch); how many of them were listed."""
        self._forgotten.add_all(before)
        gone = [name for name, one in self._listed.items() if one.device.paired_at <= before]
        for name in gone:
            del self._listed[name]
        return len(gone)

    def _note(self, device: Device, user_agent: str, now: float) -> None:
        self._listed[device.name] = Listed(device, kind_of(user_agent), now)
        self._listed.move_to_end(device.name)
        if len(self._listed) > MAX_LISTED:
            self._listed.popitem(last=False)
