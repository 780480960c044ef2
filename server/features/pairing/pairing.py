"""Pairing: one-time codes, which replace the access code for phones, and authentication of paired devices."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from server.auth import Claims, Signer, TokenRefused, compute_digest
from server.core.errors import BadRequest, Forbidden, Unauthorized
from server.core.redact import hash_session_id
from server.session_manager import Revocations, SessionManager
from server.web.middleware import make_error_response
from server.web.request_guard import AuthMethod, Device, RequestGuard, Services, TokenBody

log = logging.getLogger(__name__)
PAIRING_SECONDS = 300.0
MAX_CODE_CHARS = 64
# Number of codes that are kept, to distinguish used and expired codes from wrong codes
_MAX_CODES = 8
# Kind of the announcement to other processes that a device was removed. A time (epoch seconds) instead of a name
# means all devices paired until then.
DEVICE = "device"
# A `hash_session_id`
_NAME = re.compile(r"[0-9a-f]{12}", re.ASCII)


class RedeemResult(StrEnum):
    OK = "ok"
    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Code:
    # SHA-256 of the code, which is not kept
    digest: bytes
    # Monotonic seconds
    expires_at: float
    used: bool = False


# The page has translations of these sentences (client/core/dialogs/dialogs.js).
ASK_PAIRED = "This server asks for an access code. Enter it, or scan a new QR code: its terminal shows one on Enter."
PAIRING_REFUSED = {
    RedeemResult.USED: "This code was used already; each code is valid for one device.",
    RedeemResult.EXPIRED: "This code has expired; each code is valid for five minutes.",
    RedeemResult.UNKNOWN: "This code is unknown: it is from another server, or from before a restart.",
}
SCAN_AGAIN = "Press Enter in the server's terminal and scan the new code."
NOT_PAIRED = "This device is not paired any more."


class PairingCodes:
    """Issues and redeems codes. A new code replaces the previous one. `now`: monotonic seconds.

    `on_redeemed`: functions that are called after a code was redeemed.

    Bounds of pairing codes: one is valid at a time; digests of the last 8, the oldest is dropped.
    """

    def __init__(self) -> None:
        self.on_redeemed: list[Callable[[], object]] = []
        self._codes: deque[_Code] = deque(maxlen=_MAX_CODES)

    def issue(self, now: float) -> str:
        """Return a new code: 128 random bits as 22 URL-safe characters."""
        for code in self._codes:
            code.expires_at = min(code.expires_at, now)
        fresh = secrets.token_urlsafe(16)
        self._codes.append(_Code(compute_digest(fresh), now + PAIRING_SECONDS))
        return fresh

    def redeem(self, given: str, now: float) -> RedeemResult:
        """Redeem a code, which invalidates it. Takes the same time for right and wrong codes."""
        wanted = compute_digest(given)
        # Compare all codes, so that the time is constant.
        alike = [code for code in self._codes if hmac.compare_digest(code.digest, wanted)]
        if not alike:
            return RedeemResult.UNKNOWN
        found = alike[0]
        if found.used:
            return RedeemResult.USED
        if now >= found.expires_at:
            return RedeemResult.EXPIRED
        found.used = True
        for callback in self.on_redeemed:
            callback()
        return RedeemResult.OK


class PairingBody(TokenBody):
    """Body of a request for access with a pairing code."""

    # Code from the server's terminal; it works once, within five minutes.
    pairing_code: str | None = Field(default=None, max_length=MAX_CODE_CHARS)


class DeviceForgotten(Unauthorized):
    """The cookie's device is no longer paired; the response deletes the cookie."""


class Pairing(AuthMethod):
    """Access by a pairing code, and by the cookie that the device gets for it."""

    body = PairingBody

    def __init__(self, services: Services, devices: Devices, *, shown: bool) -> None:
        """`shown`: the terminal shows pairing codes."""
        self.codes = PairingCodes()
        self.devices = devices
        self._services = services
        self._sessions: SessionManager = services.sessions
        self._guard = RequestGuard(services)
        self._failures = services.metrics.auth_failures
        if shown:
            self.ask = ASK_PAIRED

    async def enter(
        self, request: Request, response: Response, body: TokenBody
    ) -> Device | Response | None:
        if isinstance(body, PairingBody) and body.pairing_code is not None:
            await self._redeem(request, body.pairing_code)
            return self._pair(request, response)
        if body.access_code is not None:
            return None
        try:
            device = self._find_device(request)
        except DeviceForgotten as error:
            self._services.metrics.errors.labels(error.code).inc()
            return _delete_device_cookie(make_error_response(error))
        if device is not None:
            await self._guard.limit(request)
        return device

    async def _redeem(self, request: Request, code: str) -> None:
        """Redeem a pairing code. Raises Unauthorized or RateLimited.

        Only wrong codes are counted for the rate limit: a right code has 128 random bits, so nobody guesses it.
        """
        redeemed = self.codes.redeem(code, time.monotonic())
        if redeemed is RedeemResult.OK:
            return
        await self._guard.limit(request)
        await self._guard.guess("pairing", False, request)
        self._failures.labels("bad_code").inc()
        raise Unauthorized(f"{PAIRING_REFUSED[redeemed]} {SCAN_AGAIN}")

    def _pair(self, request: Request, response: Response) -> Device:
        """Pair a device: set a cookie with its token, which gives access for DEVICE_SECONDS."""
        agent = request.headers.get("user-agent", "")
        token, device = self.devices.pair(agent, time.time())
        # Not readable by scripts, not sent by requests of other sites, and only sent to COOKIE_PATH
        response.set_cookie(
            COOKIE,
            token,
            max_age=DEVICE_SECONDS,
            path=COOKIE_PATH,
            secure=self._guard.secure(request),
            httponly=True,
            samesite="strict",
        )
        return device

    def _find_device(self, request: Request) -> Device | None:
        """Return the paired device of a request, or None if there is no cookie.

        Raises Forbidden, DeviceForgotten.
        """
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        # The value of Origin was checked before. A browser always sends it with this request.
        site = request.headers.get("sec-fetch-site", "same-origin")
        if "origin" not in request.headers or site != "same-origin":
            self._failures.labels("origin").inc()
            raise Forbidden(
                "The cookie of a paired device works only on this server's own page. Open the page there."
            )
        agent = request.headers.get("user-agent", "")
        device = self.devices.verify(cookie, agent, time.time())
        if device is None:
            self._failures.labels("device").inc()
            raise DeviceForgotten(f"{NOT_PAIRED} {self.ask}")
        return device

    # Removal of devices

    async def forget(self, name: str | None) -> int:
        """Remove a paired device, or all (None), and end their sessions, in all processes.

        Returns the number of removed devices that were seen since the start.
        """
        end = name or str(int(time.time()))
        await self._sessions.replicas.announce_end(f"{DEVICE} {end}")
        return await self.end(end)

    async def end(self, name: str) -> int:
        """Remove a device in this process; a time (epoch seconds) means all devices paired until then.

        Returns the number of removed devices that were seen since the start.
        """
        now = int(time.time())
        if name.isdecimal() and len(name) < 12:
            before = int(name)
            count = self.devices.forget_all(before, now)
            await self._sessions.revoke_devices(lambda _, since: since <= before)
        else:
            count = int(self.devices.forget(name, now))
            await self._sessions.revoke_devices(lambda device, _: device == name)
        return count

    def add_routes(self, router: APIRouter) -> None:
        @router.delete(f"{COOKIE_PATH}/device", dependencies=[Depends(self._guard.check_origin)])
        async def forget_this_device(request: Request) -> Response:
            """Remove the device of this cookie; its page works until the session ends. Return `forgotten`: a boolean."""
            try:
                device = self._find_device(request)
            except DeviceForgotten:
                device = None
            if device is not None:
                await self.forget(device.name)
            return _delete_device_cookie(JSONResponse({"forgotten": device is not None}))

    def add_operator_routes(self, router: APIRouter) -> None:
        @router.get("/devices")
        async def devices() -> dict[str, Any]:
            """The paired `devices`: a list of `name`, `kind`, `paired_seconds`, `seen_seconds`."""
            now = time.time()
            return {
                "devices": [
                    {
                        "name": one.device.name,
                        "kind": one.kind,
                        "paired_seconds": max(0, round(now - one.device.since)),
                        "seen_seconds": max(0, round(now - one.last_seen)),
                    }
                    for one in self.devices.list_seen()
                ]
            }

        @router.delete("/devices/{name}")
        async def forget(name: str) -> dict[str, Any]:
            """Remove a device until the server stops; a new key (`--forget-devices`, `DEVICE_KEY_PATH`) removes all devices
            permanently. Return `forgotten`: their number.
            """
            if _NAME.fullmatch(name) is None:
                raise BadRequest(
                    "The name of a device has 12 hexadecimal digits. GET /api/operator/devices lists the names."
                )
            count = await self.forget(name)
            log.info("device removed by operator", extra={"count": count})
            return {"forgotten": count}

        @router.delete("/devices")
        async def forget_all() -> dict[str, Any]:
            """Remove all devices. Return `forgotten`: their number."""
            count = await self.forget(None)
            log.info("all devices removed by operator", extra={"count": count})
            return {"forgotten": count}


def _delete_device_cookie(response: Response) -> Response:
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="strict")
    return response


# Paired devices: their tokens, which are cookies; the devices seen since the start; removed devices

COOKIE = "qwen-camera-device"
# The route that accepts the cookie, and those below it
COOKIE_PATH = "/api/token"
DEVICE_SECONDS = 30 * 86_400
# Maximum devices in the list; the least recently seen device is removed from the list, but stays paired.
MAX_SEEN_DEVICES = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
# Kind of device by a substring of its User-Agent; the first match counts.
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
class SeenDevice:
    """A paired device that was seen since the start. `last_seen`: seconds since the epoch."""

    device: Device
    kind: str
    last_seen: float


def get_device_kind(user_agent: str) -> str:
    """Return the kind of device of a User-Agent; never a part of that text, which a client chooses."""
    return next((kind for mark, kind in _KINDS.items() if mark in user_agent), "Device")


class Devices:
    """Signs and verifies the tokens of devices. `now`: seconds since the epoch.

    Nothing is stored on disk, so removals are known until the server stops. A new `key` removes all devices permanently.

    Bounds of paired devices since the start, and removed ones: 1,000 listed, the least recently
    seen is dropped; 10,000 removed, as for sessions.
    """

    def __init__(self, key: str) -> None:
        self._signer = Signer(key)
        self._revoked = Revocations(DEVICE_SECONDS)
        self._seen: OrderedDict[str, SeenDevice] = OrderedDict()

    def pair(self, user_agent: str, now: float) -> tuple[str, Device]:
        """Return the token of a new device, valid for DEVICE_SECONDS, and the device."""
        id, at = secrets.token_urlsafe(16), self._revoked.begin(now)
        device = Device(hash_session_id(id), at)
        token = self._signer.sign({"jti": id, "iat": at, "exp": at + DEVICE_SECONDS})
        self._mark_seen(device, user_agent, now)
        return token, device

    def verify(self, token: str, user_agent: str, now: float) -> Device | None:
        """Return the device of a token; None if the token is invalid or expired, or the device was removed."""
        try:
            claims = self._signer.read(token)
        except TokenRefused:
            return None
        id, at = claims.get("jti"), claims.get("iat")
        if not isinstance(id, str) or _ID.fullmatch(id) is None or type(at) is not int:
            return None
        device = Device(hash_session_id(id), at)
        if self._revoked.refuses(device.name, at) or at + DEVICE_SECONDS <= now:
            return None
        self._mark_seen(device, user_agent, now)
        return device

    def refuses(self, claims: Claims) -> bool:
        """Return True if a session's token belongs to a removed device."""
        return bool(claims.device) and self._revoked.refuses(claims.device, claims.auth_time)

    def list_seen(self) -> list[SeenDevice]:
        """Return the devices seen since the start, the most recent first."""
        return list(reversed(self._seen.values()))

    def forget(self, name: str, now: float) -> bool:
        """Remove a device. Return True if it was seen since the start."""
        known = self._seen.pop(name, None)
        self._revoked.add(name, known.device.since if known else int(now), now)
        return known is not None

    def forget_all(self, before: int, now: float) -> int:
        """Remove all devices paired until `before` (epoch seconds); return how many of them were seen since the start."""
        self._revoked.add_all(before, now)
        gone = [name for name, one in self._seen.items() if one.device.since <= before]
        for name in gone:
            del self._seen[name]
        return len(gone)

    def _mark_seen(self, device: Device, user_agent: str, now: float) -> None:
        self._seen[device.name] = SeenDevice(device, get_device_kind(user_agent), now)
        self._seen.move_to_end(device.name)
        if len(self._seen) > MAX_SEEN_DEVICES:
            self._seen.popitem(last=False)
