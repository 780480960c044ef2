"""The parts that HTTP routes use, and their slice of the settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.access.affinity import HomeProcess
from server.access.devices import Devices
from server.access.gateways import Gateways
from server.access.guesses import GuessLimits
from server.access.pairing import PairingCodes
from server.access.request_order import Attempt
from server.access.shared_limits import DEVICE, SharedEnds, SharedLimiter
from server.auth import Claims, OriginPolicy, TokenIssuer, ice_servers
from server.core.addresses import Network
from server.core.errors import NotFound
from server.core.metrics import Metrics
from server.core.redact import session_hash
from server.session.session import Session
from server.session.session_state import SessionState

if TYPE_CHECKING:
    from server.session_manager import SessionManager
    from server.web.health import Health
    from server.web.websocket import SocketServer
    from server.webrtc_server import WebRTCServer


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Settings about access and limits."""

    require_auth: bool
    access_code: str
    metrics_token: str
    trusted_proxies: Sequence[Network]
    home: HomeProcess
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
    limiter: SharedLimiter
    guesses: GuessLimits
    # None when processes do not share the sessions that operators end
    ends: SharedEnds | None
    gateways: Gateways
    sessions: SessionManager
    webrtc: WebRTCServer
    sockets: SocketServer
    health: Health
    metrics: Metrics


async def forget_device(services: Services, name: str | None) -> int:
    """Forget a paired device, or all of them (None), and end their sessions.

    In all processes that share Redis. Returns the number of the devices seen since the start.
    """
    now = int(time.time())
    if services.ends is not None:
        await services.ends.announce_end(DEVICE + (name or str(now)))
    if name is None:
        count = services.devices.forget_all(now)
        await services.sessions.take_devices_back(now)
    else:
        count = int(services.devices.forget(name, now))
        await services.sessions.take_device_back(name)
    return count


async def connect_camera(
    services: Services,
    claims: Claims,
    sdp: str,
    *,
    steered: bool,
    attempt: Attempt | None = None,
) -> tuple[Session, str]:
    """Answer an offer for the session of a token; a first offer begins it. `steered`: see `Feed`.

    Raises what `SessionManager.admit` and `WebRTCServer.connect` raise, NotFound when the session
    ends meanwhile, Conflict when its page has made a newer offer.
    """
    session_id = claims.session_id
    # A refused offer leaves no session behind.
    async with services.sessions.trying(session_id, claims.auth_time, claims.device) as session:
        session.offers.take(attempt)
        answer = await services.webrtc.connect(
            session_id,
            sdp,
            session.camera,
            steered=steered,
            # Another device's microphone is not the visitor's.
            voice=session.voice if steered else None,
            check=lambda: session.offers.check(attempt),
        )
    if session.state is SessionState.ENDED:
        await services.webrtc.disconnect(session_id)
        raise NotFound(
            "This session ended while its offer was being answered. Get a new token from /api/token."
        )
    return session, answer
