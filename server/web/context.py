"""The parts that HTTP routes use, and their slice of the settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.access.devices import Devices
from server.access.limits import AccessLimiter, GuessLimits
from server.access.pairing import PairingCodes
from server.auth import OriginPolicy, TokenIssuer, ice_servers
from server.core.addresses import Network
from server.core.metrics import Metrics
from server.core.redact import session_hash

if TYPE_CHECKING:
    from server.session_manager import SessionManager
    from server.web.health import Health
    from server.webrtc_server import WebRTCServer


# Prefix of a paired device's name among the ended ones. A time in place of a name means all devices
# that were paired by then.
DEVICE = "device "


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Settings about access and limits."""

    require_auth: bool
    access_code: str
    metrics_token: str
    trusted_proxies: Sequence[Network]
    stun_urls: Sequence[str]
    turn_urls: Sequence[str]
    turn_secret: str
    turn_ttl: int
    # True when the terminal shows pairing codes
    pairs: bool
    # The certificate authority of the server's own certificate, as DER; None without one
    authority: bytes | None

    def ice_servers(self, session_id: str) -> list[dict[str, Any]]:
        """See `server.auth.ice_servers`."""
        return ice_servers(
            self.stun_urls,
            self.turn_urls,
            self.turn_secret,
            self.turn_ttl,
            session_hash(session_id),
            time.time(),
        )


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the routes use."""

    access: AccessSettings
    tokens: TokenIssuer
    pairing: PairingCodes
    devices: Devices
    origins: OriginPolicy
    limiter: AccessLimiter
    guesses: GuessLimits
    sessions: SessionManager
    webrtc: WebRTCServer
    health: Health
    metrics: Metrics

    async def forget_device(self, name: str | None) -> int:
        """Forget a paired device, or all of them (None), and end their sessions.

        In all processes that share Redis. Returns the number of the devices seen since the start.
        """
        now = int(time.time())
        await self.sessions.replicas.announce_end(DEVICE + (name or str(now)))
        if name is None:
            count = self.devices.forget_all(now, now)
            await self.sessions.take_devices_back(now)
        else:
            count = int(self.devices.forget(name, now))
            await self.sessions.take_device_back(name)
        return count
