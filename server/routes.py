"""The HTTP routes and `/ws`: thin handlers that read, check who asks, and pass on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.websockets import WebSocket

from server.addresses import Network, RequestLimiter, client_address, is_secure
from server.auth import (
    Claims,
    Issued,
    OriginPolicy,
    TokenIssuer,
    TokenRefused,
    bearer,
    check_access_code,
    ice_servers,
    new_session_id,
    same_secret,
    session_hash,
)
from server.errors import Forbidden, NotFound, RateLimited, Unauthorized
from server.health import Health
from server.http_guard import MAX_BODY_BYTES
from server.metrics import Metrics
from server.pairing import MAX_CODE_CHARS, PairingCodes, Redeemed
from server.session import Session
from server.session_manager import SessionManager
from server.sockets import SocketServer
from server.webrtc_server import WebRTCServer

CLIENT_FILES = Path(__file__).resolve().parent.parent / "client"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what; a slice of the settings."""

    require_auth: bool
    access_code: str
    metrics_token: str
    trusted_proxies: Sequence[Network]
    stun_urls: Sequence[str]
    turn_urls: Sequence[str]
    turn_secret: str
    turn_ttl: int
    # Whether its terminal shows pairing codes
    pairs: bool
    # DER of the certificate authority that the server's own certificate comes from; None when it has none of its own
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
    """What the routes work with."""

    access: Access
    tokens: TokenIssuer
    pairing: PairingCodes
    origins: OriginPolicy
    limiter: RequestLimiter
    sessions: SessionManager
    webrtc: WebRTCServer
    sockets: SocketServer
    health: Health
    metrics: Metrics


class TokenBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    access_code: str | None = Field(default=None, max_length=256)
    pairing_code: str | None = Field(default=None, max_length=MAX_CODE_CHARS)


_ASK = "This server asks for an access code. Enter the one that you were given."
_ASK_PAIRED = "This server asks for an access code. Enter it, or scan a new QR code: its terminal shows one on Enter."
_PAIRING_REFUSED = {
    Redeemed.USED: "This pairing code was used already; each one is good for one device.",
    Redeemed.EXPIRED: "This pairing code is over; each one is good for five minutes.",
    Redeemed.UNKNOWN: "This pairing code is not of this server, or of before its restart.",
}


class OfferBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    # The offer's own check says what is too long; with any bound here pydantic refuses lone surrogates.
    sdp: str = Field(max_length=MAX_BODY_BYTES)
    type: Literal["offer"]


class CandidateBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    candidate: str | None = Field(default=None, max_length=2000)
    sdpMid: str | None = Field(default=None, max_length=64)
    sdpMLineIndex: int | None = Field(default=None, ge=0, le=64)


class CandidatesBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    candidates: list[CandidateBody] = Field(max_length=64)


class Guard:
    """Checks that several routes share."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def address(self, request: Request) -> str:
        peer = request.client.host if request.client is not None else None
        forwarded = ",".join(request.headers.getlist("x-forwarded-for")) or None
        return client_address(peer, forwarded, self._services.access.trusted_proxies)

    def limit(self, request: Request) -> None:
        """Raises RateLimited."""
        services, now = self._services, time.monotonic()
        session_id = self._session_of(request)
        if session_id is None:
            wait = services.limiter.anybody(self.address(request), now)
        else:
            # A token that took a code is not had for nothing.
            begun = session_id in services.sessions or bool(services.access.access_code)
            wait = services.limiter.session(session_id, self.address(request), now, begun=begun)
        if wait is not None:
            raise self._limited(wait)

    def _session_of(self, request: Request) -> str | None:
        """Whose good token the request carries; None without one."""
        try:
            token = bearer(request.headers.get("authorization"))
            return self._services.tokens.verify(token).session_id
        except TokenRefused:
            return None

    def _limited(self, wait: float) -> RateLimited:
        self._services.metrics.auth_failures.labels("rate").inc()
        return RateLimited(
            "Too many tokens and offers from this address. Wait a moment and try again.",
            retry_after=max(1.0, wait),
        )

    def redeem(self, request: Request, code: str) -> None:
        """Use up a pairing code. One that is good passes however much its address asks for: it has 128 random bits.

        Raises Unauthorized, or RateLimited for one that is not good.
        """
        redeemed = self._services.pairing.redeem(code, time.monotonic())
        if redeemed is Redeemed.OK:
            return
        self.limit(request)
        self._services.metrics.auth_failures.labels("bad_code").inc()
        raise Unauthorized(
            f"{_PAIRING_REFUSED[redeemed]} Press Enter in the server's terminal and scan the new one."
        )

    def access_code(self, request: Request, given: str | None) -> None:
        """Raises Unauthorized, RateLimited."""
        self.limit(request)
        if check_access_code(given, self._services.access.access_code):
            return
        self._services.metrics.auth_failures.labels("bad_code").inc()
        if given is None:
            raise Unauthorized(_ASK_PAIRED if self._services.access.pairs else _ASK)
        self._services.limiter.wrong_code(self.address(request), time.monotonic())
        raise Unauthorized("This access code is not right. Ask whoever runs this server for it.")

    def origin(self, request: Request) -> None:
        """Raises Forbidden."""
        peer = request.client.host if request.client is not None else None
        secure = is_secure(
            request.url.scheme,
            peer,
            request.headers.get("x-forwarded-proto"),
            self._services.access.trusted_proxies,
        )
        headers = request.headers
        if not self._services.origins.allows(headers.get("origin"), headers.get("host"), secure):
            self._services.metrics.auth_failures.labels("origin").inc()
            raise Forbidden(
                "Pages of this origin may not use this server. Add the origin to ALLOWED_ORIGINS."
            )

    def claims(self, request: Request) -> Claims:
        """Who the bearer token belongs to. Raises Unauthorized."""
        try:
            return self._services.tokens.verify(bearer(request.headers.get("authorization")))
        except TokenRefused as error:
            self._services.metrics.auth_failures.labels(error.reason).inc()
            raise


async def connect_camera(
    services: Services, session_id: str, sdp: str, *, steered: bool
) -> tuple[Session, str]:
    """Answer an offer for a session, which begins with it where it has not yet. `steered`: see `Feed`.

    Raises what `SessionManager.open` and `WebRTCServer.connect` raise, NotFound when the session ends meanwhile.
    """
    began = session_id not in services.sessions
    session = services.sessions.open(session_id)
    try:
        answer = await services.webrtc.connect(session_id, sdp, session.camera, steered=steered)
    except BaseException:
        if began:
            # An offer that is refused takes none of the places.
            await services.sessions.discard(session)
        raise
    if services.sessions.get(session_id) is not session:
        await services.webrtc.disconnect(session_id)
        raise NotFound(
            "This session ended while its offer was being answered. Get a new token from /api/token."
        )
    return session, answer


def create_router(services: Services) -> APIRouter:
    router = APIRouter()
    guard = Guard(services)
    access = services.access

    def with_token(issued: Issued) -> dict[str, Any]:
        # Credentials for relays may end before the token: the page renews both in time.
        ends = {"ice_expires_in": access.turn_ttl} if access.turn_urls else {}
        return ends | {
            "token": issued.token,
            "session_id": issued.session_id,
            "expires_in": issued.expires_in,
            "token_type": "bearer",
            "ice_servers": access.ice_servers(issued.session_id),
        }

    @router.get("/")
    async def page(request: Request) -> Response:
        headers = {"Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(
                CLIENT_FILES / "index.html",
                media_type=_MEDIA_TYPES[".html"],
                headers=headers | {"Cache-Control": "no-cache"},
            )
        return JSONResponse(services.health.brief(), headers=headers)

    @router.get("/client/{name}")
    async def client_file(name: str) -> Response:
        path = CLIENT_FILES / name
        # One flat folder of known types: a name with a separator or a dot in front is none of them.
        if name.startswith(".") or path.parent != CLIENT_FILES or path.suffix not in _MEDIA_TYPES:
            raise NotFound("There is no such file.")
        if not path.is_file():
            raise NotFound("There is no such file.")
        return FileResponse(
            path, media_type=_MEDIA_TYPES[path.suffix], headers={"Cache-Control": "no-cache"}
        )

    @router.get("/ca.crt")
    async def authority() -> Response:
        if access.authority is None:
            raise NotFound("This server has no certificate authority of its own.")
        # The type that iOS and Android take for a certificate to be installed.
        return Response(
            access.authority,
            media_type="application/x-x509-ca-cert",
            headers={"Cache-Control": "no-cache"},
        )

    @router.get("/health")
    async def health() -> Response:
        detail, ok = services.health.detail()
        return JSONResponse(detail, status_code=200 if ok else 503)

    @router.get("/health/live")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/health/ready")
    async def ready() -> Response:
        why_not = services.health.why_not_ready()
        body = {"ready": True} if why_not is None else {"ready": False, "reason": why_not}
        return JSONResponse(body, status_code=200 if why_not is None else 503)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        if access.metrics_token:
            try:
                given = bearer(request.headers.get("authorization"))
            except TokenRefused:
                given = None
            if not same_secret(given, access.metrics_token):
                services.metrics.auth_failures.labels("metrics").inc()
                raise Unauthorized(
                    "Metrics need METRICS_TOKEN, sent as Authorization: Bearer <token>."
                )
        return PlainTextResponse(
            services.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @router.post("/api/token", dependencies=[Depends(guard.origin)])
    async def token(request: Request, body: TokenBody | None = None) -> dict[str, Any]:
        if request.headers.get("authorization"):
            guard.limit(request)
            return with_token(services.tokens.issue(guard.claims(request).session_id))
        if access.access_code and body is not None and body.pairing_code is not None:
            guard.redeem(request, body.pairing_code)
        elif access.access_code:
            guard.access_code(request, body.access_code if body is not None else None)
        else:
            guard.limit(request)
        return with_token(services.tokens.issue(new_session_id()))

    @router.post("/api/webrtc/offer", dependencies=[Depends(guard.origin), Depends(guard.limit)])
    async def offer(request: Request, body: OfferBody) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if access.require_auth or request.headers.get("authorization"):
            session_id = guard.claims(request).session_id
        else:
            session_id = new_session_id()
            extra = with_token(services.tokens.issue(session_id))
        session, sdp = await connect_camera(services, session_id, body.sdp, steered=True)
        return extra | {
            "sdp": sdp,
            "type": "answer",
            "session_id": session_id,
            "sender": session.camera.sender().model_dump(exclude_none=True, exclude={"type"}),
        }

    @router.patch("/api/webrtc/offer", dependencies=[Depends(guard.origin)])
    async def candidates(
        body: CandidatesBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, int]:
        used = await services.webrtc.add_candidates(
            claims.session_id, [c.model_dump() for c in body.candidates]
        )
        return {"added": used}

    @router.delete("/api/webrtc/offer", dependencies=[Depends(guard.origin)])
    async def end(claims: Claims = Depends(guard.claims)) -> dict[str, bool]:
        return {"ended": await services.webrtc.disconnect(claims.session_id)}

    @router.websocket("/ws/{session_id}")
    async def socket(websocket: WebSocket, session_id: str) -> None:
        await services.sockets.serve(websocket, session_id)

    return router
