"""The parts that HTTP routes use, and their slice of the settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.access.limits import AccessLimiter, GuessLimits
from server.auth import OriginPolicy, TokenIssuer, ice_servers
from server.core.addresses import Network
from server.core.metrics import Metrics
from server.core.redact import session_hash

if TYPE_CHECKING:
    from server.session_manager import SessionManager
    from server.web.health import Health
    from server.webrtc_server import WebRTCServer


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
    origins: OriginPolicy
    limiter: AccessLimiter
    guesses: GuessLimits
    sessions: SessionManager
    webrtc: WebRTCServer
    health: Health
    metrics: Metrics
