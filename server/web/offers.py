"""A camera's offer, from the page or by WHIP, for the session of its token."""

from __future__ import annotations

from server.access.request_order import Attempt
from server.auth import Claims
from server.core.errors import NotFound
from server.session.session import Session, SessionState
from server.web.context import Services


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
