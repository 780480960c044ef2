"""The HTTP routes and `/ws`: thin handlers that parse, check access, and pass on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import segno
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.staticfiles import NotModifiedResponse
from starlette.websockets import WebSocket

from server.access.camera_tokens import MAX_CHARS, read_code
from server.access.devices import COOKIE, COOKIE_PATH
from server.access.operator_guard import OperatorGuard
from server.access.pairing import MAX_CODE_CHARS
from server.access.request_order import Attempt
from server.auth import Claims, Issued, TokenRefused, bearer
from server.core.addresses import parse_address
from server.core.errors import NotFound, Unauthorized
from server.rtc.sdpfrag import MAX_CANDIDATE_CHARS
from server.session.cameras.admission import INVITED_SECONDS, OWN
from server.vision import encode
from server.web.context import Services
from server.web.http_errors import error_response
from server.web.middleware import MAX_BODY_BYTES
from server.web.offers import connect_camera
from server.web.request_guard import DeviceForgotten, RequestGuard
from server.web.shell import CLIENT_NAME, WORKER, Shell
from server.web.websocket import SocketServer

if TYPE_CHECKING:
    from server.web.context import Services

CLIENT_FILES = Path(__file__).resolve().parents[2] / "client"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


class TokenBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    access_code: str | None = Field(default=None, max_length=256)
    pairing_code: str | None = Field(default=None, max_length=MAX_CODE_CHARS)


class OfferBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    # The offer's own check says what is too long; with any bound here pydantic refuses lone
    # surrogates.
    sdp: str = Field(max_length=MAX_BODY_BYTES)
    type: Literal["offer"]


class CandidateBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    candidate: str | None = Field(default=None, max_length=MAX_CANDIDATE_CHARS)
    sdpMid: str | None = Field(default=None, max_length=64)
    sdpMLineIndex: int | None = Field(default=None, ge=0, le=64)


class CandidatesBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    candidates: list[CandidateBody] = Field(max_length=64)


def attempt_of(request: Request) -> Attempt | None:
    """Read the page's id and attempt number from the query. Raises BadRequest."""
    return Attempt.read(request.query_params.get("page"), request.query_params.get("attempt"))


def _client_response(request: Request, path: Path, headers: dict[str, str]) -> Response:
    """Return a file of the page, or 304 to a browser that has it.

    A browser asks each time, since an upgrade may have changed the file.
    """
    file = FileResponse(
        path,
        media_type=_MEDIA_TYPES[path.suffix],
        headers=headers | {"Cache-Control": "no-cache"},
        stat_result=path.stat(),
    )
    return _unless_known(request, file)


def _shell_response(
    request: Request, content: bytes, version: str, suffix: str, headers: dict[str, str]
) -> Response:
    """Return a file that has the shell's version in it, and as its tag; or 304."""
    tagged = headers | {"Cache-Control": "no-cache", "ETag": f'"{version}"'}
    return _unless_known(
        request, Response(content, media_type=_MEDIA_TYPES[suffix], headers=tagged)
    )


def _unless_known(request: Request, response: Response) -> Response:
    known = request.headers.get("if-none-match", "").split(",")
    # A compressing proxy makes the tag a weak one.
    if response.headers["etag"] in [tag.strip().removeprefix("W/") for tag in known]:
        return NotModifiedResponse(response.headers)
    return response


def create_router(services: Services, operators: OperatorGuard, sockets: SocketServer) -> APIRouter:
    router = APIRouter()
    guard = RequestGuard(services)
    watchers = HealthGuard(services, operators)
    access = services.access
    shell = Shell(CLIENT_FILES)

    def with_token(issued: Issued) -> dict[str, Any]:
        # Relay credentials may expire before the token, so the page renews both in time.
        ends = {"ice_expires_in": access.turn_ttl} if access.turn_urls else {}
        return ends | {
            "token": issued.token,
            "session_id": issued.session_id,
            "expires_in": issued.expires_in,
            "token_type": "bearer",
            **({"paired": True} if issued.claims.device else {}),
            "ice_servers": access.ice_servers(issued.session_id),
        }

    @router.get("/")
    async def page(request: Request) -> Response:
        headers = {"Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            now = await shell.contents()
            return _shell_response(request, now.page, now.version, ".html", headers)
        return JSONResponse(services.health.brief(), headers=headers)

    @router.get(f"/{WORKER}")
    async def service_worker(request: Request) -> Response:
        now = await shell.contents()
        return _shell_response(request, now.worker, now.version, ".js", {})

    @router.get("/client/{name}")
    @router.get("/client/{folder}/{name}")
    async def client_file(request: Request) -> Response:
        name = "/".join(request.path_params.values())
        path = CLIENT_FILES / name
        if not CLIENT_NAME.fullmatch(name) or path.suffix not in _MEDIA_TYPES:
            raise NotFound("There is no such file.")
        if not path.is_file():
            raise NotFound("There is no such file.")
        return _client_response(request, path, {})

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
    async def health(request: Request) -> Response:
        report = services.health.summary
        if await watchers.sees_all(request):
            report = services.health.detail
        body, ok = report()
        return JSONResponse(body, status_code=200 if ok else 503)

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
        await guard.metrics_token(request)
        return PlainTextResponse(
            services.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @router.post(COOKIE_PATH, dependencies=[Depends(guard.origin)], response_model=None)
    async def token(
        request: Request, response: Response, body: TokenBody | None = None
    ) -> dict[str, Any] | Response:
        body, device = body or TokenBody(), None
        if request.headers.get("authorization"):
            await guard.limit(request)
            return with_token(guard.renew(request))
        if not services.gateways.can_take(time.monotonic()):
            # A balancer then asks another process, before any code is used up.
            services.sessions.check_open()
            if services.gateways.named:
                services.sessions.check_free()
        if access.access_code and body.pairing_code is not None:
            await guard.redeem(request, body.pairing_code)
            device = guard.pair(request, response)
        elif access.access_code:
            if body.access_code is None:
                try:
                    device = guard.device(request)
                except DeviceForgotten as error:
                    services.metrics.errors.labels(error.code).inc()
                    return without_device(error_response(error))
            if device is None:
                await guard.access_code(request, body.access_code)
            else:
                await guard.limit(request)
        else:
            await guard.limit(request)
        return with_token(guard.issue(device, services.gateways.choose(time.monotonic())))

    def without_device(response: Response) -> Response:
        response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="strict")
        return response

    @router.delete(f"{COOKIE_PATH}/device", dependencies=[Depends(guard.origin)])
    async def forget_this_device(request: Request) -> Response:
        """Forget the device that sends this; its page works until its session has ended."""
        try:
            device = guard.device(request)
        except DeviceForgotten:
            device = None
        if device is not None:
            await services.forget_device(device.name)
        return without_device(JSONResponse({"forgotten": device is not None}))

    at_home = [Depends(guard.origin), Depends(guard.home)]

    @router.post("/api/webrtc/offer", dependencies=[*at_home, Depends(guard.limit)])
    async def offer(request: Request, body: OfferBody) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if access.require_auth or request.headers.get("authorization"):
            claims = guard.claims(request)
        else:
            issued = guard.issue()
            claims, extra = issued.claims, with_token(issued)
        session, sdp = await connect_camera(
            services, claims, body.sdp, steered=True, attempt=attempt_of(request)
        )
        return extra | {
            "sdp": sdp,
            "type": "answer",
            "session_id": claims.session_id,
            "sender": session.camera.sender().model_dump(exclude_none=True, exclude={"type"}),
        }

    @router.patch("/api/webrtc/offer", dependencies=at_home)
    async def candidates(
        request: Request, body: CandidatesBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, int]:
        session = services.sessions.get(claims.session_id)
        if session is not None:
            session.offers.take(attempt_of(request))
        used = await services.webrtc.add_candidates(
            claims.session_id, [c.model_dump() for c in body.candidates]
        )
        return {"added": used}

    @router.delete("/api/webrtc/offer", dependencies=at_home)
    async def end(request: Request, claims: Claims = Depends(guard.claims)) -> dict[str, bool]:
        session = services.sessions.get(claims.session_id)
        if session is not None:
            session.offers.end(attempt_of(request))
        return {"ended": await services.webrtc.disconnect(claims.session_id)}

    add_pictures(router, services, guard)
    add_cameras(router, services, guard)

    @router.websocket("/ws/{session_id}")
    async def socket(websocket: WebSocket, session_id: str) -> None:
        await sockets.serve(websocket, session_id)

    return router


# Further cameras of a session over HTTP: its page invites, names and ends them, and a device
# joins with a one-time code.

PREFIX = "/api/cameras"


# The page of a device that joins; its code is the fragment, which is in no request, log or Referer.
JOIN_PAGE = "/client/join/camera.html"


class NameBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    # The session checks the name itself, so that its error says more.
    name: str = Field(default="", max_length=1000)


class CodeBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    code: str = Field(max_length=MAX_CHARS)


def add_cameras(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    """Add the routes below `/api/cameras`."""
    at_home = [Depends(guard.origin), Depends(guard.home)]

    @router.post(PREFIX, dependencies=[*at_home, Depends(guard.limit)])
    async def invite(
        request: Request, body: NameBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, Any]:
        session = services.sessions.find(claims.session_id)
        session.touch()
        invited = await services.sessions.invite(session.id, body.name)
        path = f"{JOIN_PAGE}#{invited.code}"
        # `guard.origin` has checked it; a page always sends it here.
        origin = request.headers.get("origin")
        shown = {"link": origin + path, "qr": qr_rows(origin + path)} if origin else {}
        return shown | {
            "camera": invited.camera,
            "address": f"/api/whip?session={claims.session_id}",
            "token": invited.token,
            "code": invited.code,
            "expires_in": round(INVITED_SECONDS),
        }

    @router.post(f"{PREFIX}/join", dependencies=[Depends(guard.origin)])
    async def join(request: Request, body: CodeBody) -> dict[str, Any]:
        code = read_code(body.code)
        if code is not None:
            guard.at_home(request, code.session_id)
        await guard.limit(request)
        session = services.sessions.get(code.session_id) if code is not None else None
        joined = session.cameras.redeem(code) if session is not None and code is not None else None
        if joined is None or session is None:
            await guard.wrong_camera_code(request)
            raise Unauthorized(
                "This link is over: each one is good for one device and ten minutes."
                " Ask whoever showed it for another one."
            )
        further, token = joined
        return {
            "camera": further.id,
            "name": further.name,
            "address": f"/api/whip?session={session.id}",
            "token": token,
            "ice_servers": services.access.ice_servers(session.id),
        }

    @router.patch(f"{PREFIX}/{{camera}}", dependencies=[*at_home, Depends(guard.limit)])
    async def rename(
        camera: str, body: NameBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, bool]:
        session = services.sessions.find(claims.session_id)
        session.touch()
        session.cameras.rename(camera, body.name)
        return {"renamed": True}

    @router.delete(f"{PREFIX}/{{camera}}", dependencies=at_home)
    async def end(camera: str, claims: Claims = Depends(guard.claims)) -> dict[str, bool]:
        session = services.sessions.find(claims.session_id)
        session.touch()
        if camera == OWN:
            return {"ended": await services.webrtc.disconnect(session.id)}
        await session.cameras.end(camera)
        return {"ended": True}


def qr_rows(text: str) -> list[str]:
    """Draw a QR code as rows of 0 and 1, without the light border."""
    code = segno.make(text, error="l", micro=False)
    return ["".join(str(module) for module in row) for row in code.matrix_iter(border=0)]


# The route that shows a visitor the very picture that an engine got with an answer.


def add_pictures(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    """Add `GET /api/pictures/{id}` for the session of the request's token."""

    @router.get(
        "/api/pictures/{id}",
        dependencies=[Depends(guard.origin), Depends(guard.home), Depends(guard.limit)],
    )
    async def picture(id: str, claims: Claims = Depends(guard.claims)) -> Response:
        session = services.sessions.find(claims.session_id)
        sent = session.sent_pictures.get(id)
        if sent is None:
            raise NotFound(
                "This picture is not kept any more: newer ones took its place, or it was deleted."
            )
        jpeg = sent.jpeg
        if jpeg is None:
            assert sent.bgr is not None
            # Beside the event loop: an engine that reads pixels got the camera's whole size.
            jpeg = await asyncio.to_thread(encode.jpeg, sent.bgr)
        services.metrics.sent_pictures.labels("shown").inc()
        return Response(jpeg, media_type="image/jpeg")


# Access to all of /health: with METRICS_TOKEN or OPERATOR_TOKEN, or when neither is set from this
# machine.

# Headers that proxies add: such a request may come from anywhere.
_FROM_PROXIES = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("cf-connecting-ip", "true-client-ip", "x-client-ip"),
)


class HealthGuard:
    def __init__(self, services: Services, operators: OperatorGuard) -> None:
        self._token = services.access.metrics_token
        self._operators = operators
        self._guard = RequestGuard(services)

    async def sees_all(self, request: Request) -> bool:
        """Decide whether a request gets all of /health. Raises Unauthorized, RateLimited."""
        if not (self._token or self._operators.on):
            return _from_this_machine(request)
        header = request.headers.get("authorization")
        if header is None:
            return False
        try:
            given: str | None = bearer(header)
        except TokenRefused:
            given = None
        try:
            await self._operators.check(given, self._guard.address(request), also=self._token)
        except Unauthorized:
            raise Unauthorized(
                "All of /health needs the metrics token or the operator token, sent as Authorization: Bearer <token>."
            ) from None
        return True


def _from_this_machine(request: Request) -> bool:
    """Find whether peer and host name are loopback, and no header names a proxy."""
    peer = parse_address(request.client.host if request.client is not None else None)
    if peer is None or not peer.is_loopback:
        return False
    if any(name in request.headers for name in _FROM_PROXIES):
        return False
    # A tunnel, or a page whose name an attacker points here, uses another name.
    name = request.url.hostname or ""
    address = parse_address(name)
    return name == "localhost" or (address is not None and address.is_loopback)
