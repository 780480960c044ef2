"""HTTP routes for other devices as cameras. WHIP clients (RFC 9725) such as OBS, GStreamer or go2rtc publish with one
request; a session's page invites, renames and ends further cameras, which join with a code.

The bearer token is a session's, from POST /api/token, or a camera's, from POST /api/cameras.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import segno
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Claims, TokenRefused, get_bearer
from server.core.errors import (
    BadRequest,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)
from server.features.cameras.cameras import (
    INVITED_SECONDS,
    MAX_CHARS,
    AdditionalCameras,
    find_admission,
    get_cameras,
    invite,
    make_connection_key,
    read_code,
    read_token,
)
from server.features.cameras.fragment import MEDIA_TYPE, Fragment, parse_fragment
from server.features.cameras.whip import WhipSession
from server.media.camera import Camera
from server.web.middleware import MethodNotAllowed, make_error_response
from server.web.request_guard import RequestGuard, Services
from server.web.routes import connect_camera
from server.webrtc_server import PeerConnection

ENDPOINT = "/api/whip"
SDP = "application/sdp"
_ENTITY_TAG = re.compile(r'"([!#-~]*)"', re.ASCII)


class PreconditionFailed(RequestError):
    """WHIP: outdated `ETag`."""

    code = "precondition_failed"
    status = 412


class PreconditionRequired(RequestError):
    """WHIP: missing `If-Match`."""

    code = "precondition_required"
    status = 428


@dataclass(frozen=True, slots=True)
class WhipSender:
    """A WHIP client: has a session's token, or the token of an invited camera, which sets `camera`."""

    session_id: str
    # Key of its connection
    key: str
    # Claims of a session's token
    claims: Claims | None = None
    camera: Camera | None = None
    # Raises NotFound if the invited camera has ended
    check: Callable[[], None] = lambda: None


class CameraGuard(RequestGuard):
    """Checks of routes that also accept an invited camera's token."""

    def get_session_id(self, request: Request) -> str | None:
        token = _get_token(request)
        if (camera := find_admission(self._services.sessions, token)) is not None:
            return camera[0].id
        return super().get_session_id(request)

    async def home(self, request: Request) -> None:
        # Only the session's process can check the token.
        secret = read_token(_get_token(request))
        if secret is not None:
            self.check_home(request, secret.session_id)
        else:
            await super().home(request)

    def sender(self, request: Request) -> WhipSender:
        """Return the sender for a WHIP client's token. Raises Unauthorized."""
        try:
            token = get_bearer(request.headers.get("authorization"))
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise
        secret = read_token(token)
        if secret is None:
            claims = self.verify(token)
            return WhipSender(claims.session_id, claims.session_id, claims=claims)
        camera = find_admission(self._services.sessions, token)
        if camera is None:
            self._metrics.auth_failures.labels("ended").inc()
            raise TokenRefused("camera_ended")
        session, admission = camera
        cameras, id = get_cameras(session), admission.camera
        return WhipSender(
            session.id,
            make_connection_key(session.id, id),
            camera=cameras.get_camera(id),
            check=lambda: cameras.check(admission, secret),
        )

    async def count_wrong_code(self, request: Request) -> None:
        """Count a wrong one-time code. Raises RateLimited."""
        await self.guess("pairing", False, request)
        self._metrics.auth_failures.labels("bad_code").inc()


def _get_token(request: Request) -> str:
    try:
        return get_bearer(request.headers.get("authorization"))
    except TokenRefused:
        return ""


def add_whip(router: APIRouter, services: Services, guard: CameraGuard) -> None:
    whips = WeakValueDictionary[str, WhipSession]()
    # WHIP clients follow redirections (307), which RFC 9725 uses for load balancing.
    at_home = [Depends(guard.check_origin), Depends(guard.home)]

    @router.post(ENDPOINT, dependencies=[*at_home, Depends(guard.limit)])
    async def publish(request: Request, sender: WhipSender = Depends(guard.sender)) -> Response:
        """Publish a camera with an SDP offer (`application/sdp`). 201 with the SDP answer, `Location`,
        `ETag`, `Accept-Patch`, and a `Link` for each ICE server. 422: the offer cannot be used.
        """
        sdp = await _read_text(request, SDP, "the SDP offer")
        session_id = sender.session_id
        if sender.claims is not None:
            _, answer = await connect_camera(services, sender.claims, sdp, sender_controlled=False)
        else:
            # An invited camera does not start a session.
            assert sender.camera is not None
            answer = await services.webrtc.connect(
                sender.key, sdp, sender.camera, sender_controlled=False, check=sender.check
            )
        connection = services.webrtc.get(sender.key)
        # The connection holds the only strong reference.
        whips[connection.name] = whip = WhipSession(connection)
        response = Response(answer, 201, media_type=SDP)
        # OBS replaces its address's path with it. The session id is not a credential; load balancers hash it.
        response.headers["Location"] = f"{ENDPOINT}/{connection.name}?session={session_id}"
        response.headers["ETag"] = f'"{whip.ice_tag}"'
        response.headers["Accept-Patch"] = MEDIA_TYPE
        for link in format_ice_links(services.access.make_ice_servers(session_id)):
            response.headers.append("Link", link)
        return response

    @router.patch(ENDPOINT + "/{name}", dependencies=at_home)
    async def patch(
        name: str, request: Request, sender: WhipSender = Depends(guard.sender)
    ) -> Response:
        """Add candidates, or restart ICE (`application/trickle-ice-sdpfrag`).

        With `If-Match: <ETag>` and candidates: 204. With `If-Match: *`, a new `ice-ufrag` and a new
        `ice-pwd`: 200 with the server's fragment and a new `ETag`. 404: the WHIP session has ended,
        or a newer offer replaced it; 409: the connection is not up; 412: `If-Match` or the user
        name belongs to an older ICE session; 428: `If-Match` is missing.
        """
        connection = _get_connection(services, sender, name)
        whip = whips[connection.name]
        fragment = parse_fragment(await _read_text(request, MEDIA_TYPE, "the SDP fragment"))
        credentials = fragment.find_credentials(connection.offer)
        if not _is_current_session(request, whip.ice_tag):
            if credentials.ufrag != whip.remote_ufrags[0]:
                await guard.limit(request)
                return await _restart(whip, fragment)
        elif credentials.ufrag not in ("", *whip.remote_ufrags):
            raise PreconditionFailed(
                "The fragment's ICE user name does not belong to this ICE session. For an ICE restart send If-Match: *."
            )
        await services.webrtc.get(sender.key).add_candidates(list(fragment.candidates))
        return Response(status_code=204)

    @router.delete(ENDPOINT + "/{name}", dependencies=at_home)
    async def end(name: str, sender: WhipSender = Depends(guard.sender)) -> Response:
        """End the WHIP session: 200."""
        _get_connection(services, sender, name)
        await services.webrtc.disconnect(sender.key)
        return Response(status_code=200)

    def handle_other_methods(path: str, allowed: str, accepts: dict[str, str]) -> None:
        """Handle OPTIONS, and refuse the methods reserved by RFC 9725 section 4.1."""
        headers = {"Allow": allowed, **accepts}

        @router.options(path, include_in_schema=False)
        async def options() -> Response:
            """Return 204 with `Allow`, and `Accept-Post` or `Accept-Patch`."""
            return Response(status_code=204, headers=headers)

        @router.api_route(
            path,
            methods=sorted(
                {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"} - {*allowed.split(", ")}
            ),
            include_in_schema=False,
        )
        async def refused() -> Response:
            """Return 405 with `Allow`."""
            error = MethodNotAllowed(
                f"This WHIP address allows only {allowed}. Publish a camera with POST {ENDPOINT}."
            )
            services.metrics.errors.labels(error.code).inc()
            return make_error_response(error, headers)

    handle_other_methods(ENDPOINT, "POST, OPTIONS", {"Accept-Post": SDP})
    handle_other_methods(
        ENDPOINT + "/{name}", "PATCH, DELETE, OPTIONS", {"Accept-Patch": MEDIA_TYPE}
    )


async def _read_text(request: Request, media_type: str, what: str) -> str:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise UnsupportedMediaType(f"Send {what} with Content-Type: {media_type}.")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise BadRequest(f"The body is not UTF-8 text. Send {what} unchanged.") from None


def _get_connection(services: Services, sender: WhipSender, name: str) -> PeerConnection:
    """Return the sender's connection. Raises NotFound if it has another name."""
    connection = services.webrtc.get(sender.key)
    if connection.name != name:
        raise NotFound("This WHIP session has ended, or a newer offer has replaced it.")
    return connection


def _is_current_session(request: Request, ice_tag: str) -> bool:
    """Return True if If-Match names the current ICE session; False for "*", which requests a new one.

    Raises PreconditionRequired without the header, PreconditionFailed for an older ICE session.
    """
    given = request.headers.get("if-match")
    if given is None:
        raise PreconditionRequired(
            "If-Match is missing. Send it with the ETag of the response to POST, or If-Match: * for an ICE restart."
        )
    # RFC 9725 quotes the star in its text, RFC 9110 does not.
    if given.strip() in ("*", '"*"'):
        return False
    if ice_tag not in _ENTITY_TAG.findall(given[:1000]):
        raise PreconditionFailed(
            "If-Match names an ICE session that has ended. Send the newest ETag, or If-Match: * for an ICE restart."
        )
    return True


async def _restart(whip: WhipSession, fragment: Fragment) -> Response:
    """Restart ICE with the fragment's credentials. Raises BadRequest, Conflict."""
    credentials = fragment.find_credentials(whip.connection.offer)
    if not credentials.ufrag or not credentials.pwd:
        raise BadRequest("An ICE restart needs a new ice-ufrag and a new ice-pwd in the fragment.")
    ours = await whip.restart_ice(credentials.ufrag, credentials.pwd)
    await whip.connection.add_candidates(list(fragment.candidates))
    return Response(ours, 200, headers={"ETag": f'"{whip.ice_tag}"'}, media_type=MEDIA_TYPE)


def format_ice_links(servers: list[dict[str, Any]]) -> list[str]:
    """Return `Link` headers for ICE servers (RFC 9725 section 4.6), one for each URL."""
    links = []
    for server in servers:
        extra = ""
        if "username" in server:
            extra = (
                f'; username="{server["username"]}"; credential="{server["credential"]}"'
                '; credential-type="password"'
            )
        links += [f'<{url}>; rel="ice-server"{extra}' for url in server["urls"]]
    return links


PREFIX = "/api/cameras"
# Page of a joining device. The code is in the fragment, which no request, log or Referer contains.
JOIN_PAGE = "/client/features/cameras/join/camera.html"


class NameBody(BaseModel):
    """Name of a camera."""

    model_config = ConfigDict(extra="ignore")
    # At most 40 characters; empty: `Camera` and its number
    name: str = Field(
        default="",
        # The session checks the name, for a more helpful error.
        max_length=1000,
    )


class InviteBody(NameBody):
    """Camera to invite."""

    # True: the session's own, which keeps its name; false: a further one
    own: bool = False


class CodeBody(BaseModel):
    """Code to join with."""

    model_config = ConfigDict(extra="ignore")
    # From the response of `POST /api/cameras`
    code: str = Field(max_length=MAX_CHARS)


def add_cameras(router: APIRouter, services: Services, guard: CameraGuard) -> None:
    """Add the routes below `/api/cameras`."""
    sessions = services.sessions
    at_home = [Depends(guard.check_origin), Depends(guard.home)]

    @router.post(PREFIX, dependencies=[*at_home, Depends(guard.limit)])
    async def invite_camera(
        request: Request, body: InviteBody, claims: Claims = Depends(guard.get_claims)
    ) -> dict[str, Any]:
        """Invite another device to send by WHIP, as a further camera of the session or as the session's own.

        The response: `camera` (its id), `address` and `token` for WHIP, `code`, `expires_in` (600 s);
        to a page with an `Origin` also `link` and its QR code `qr`, a list of rows of `0` and `1`.
        `code` and `token` are alternatives: the first use of one invalidates the other. The token is
        valid while the camera sends, and for ten minutes after. 400: the name is too long, or taken;
        409: the session has four cameras; 503: all sessions are in use.
        """
        session = sessions.find(claims.session_id)
        session.touch()
        cameras = get_cameras(session)
        made = cameras.invite_own() if body.own else await invite(sessions, session.id, body.name)
        path = f"{JOIN_PAGE}#{made.code}"
        # Checked by `guard.check_origin`; pages always send it.
        origin = request.headers.get("origin")
        shown = {"link": origin + path, "qr": make_qr_rows(origin + path)} if origin else {}
        return shown | {
            "camera": made.camera,
            "address": f"/api/whip?session={claims.session_id}",
            "token": made.token,
            "code": made.code,
            "expires_in": round(INVITED_SECONDS),
        }

    @router.post(f"{PREFIX}/join", dependencies=[Depends(guard.check_origin)])
    async def join(request: Request, body: CodeBody) -> dict[str, Any]:
        """Exchange a one-time code for a camera's token; needs no other token. Returns `camera`, `name`,
        `address`, `token`, `ice_servers`. 401: the code is invalid.
        """
        code = read_code(body.code)
        if code is not None:
            guard.check_home(request, code.session_id)
        await guard.limit(request)
        session = sessions.get(code.session_id) if code is not None else None
        cameras: AdditionalCameras | None = session.part("cameras") if session is not None else None
        joined = cameras.redeem(code) if cameras is not None and code is not None else None
        if joined is None or session is None:
            await guard.count_wrong_code(request)
            raise Unauthorized(
                "This link has expired or was used: each is valid for one device and ten minutes."
                " Ask its owner for another one."
            )
        camera, name, token = joined
        return {
            "camera": camera,
            "name": name,
            "address": f"/api/whip?session={session.id}",
            "token": token,
            "ice_servers": services.access.make_ice_servers(session.id),
        }

    @router.patch(f"{PREFIX}/{{camera}}", dependencies=[*at_home, Depends(guard.limit)])
    async def rename(
        camera: str, body: NameBody, claims: Claims = Depends(guard.get_claims)
    ) -> dict[str, bool]:
        """Rename a camera. Returns `renamed`: `true`."""
        session = sessions.find(claims.session_id)
        session.touch()
        get_cameras(session).rename(camera, body.name)
        return {"renamed": True}

    @router.delete(f"{PREFIX}/{{camera}}", dependencies=at_home)
    async def end(camera: str, claims: Claims = Depends(guard.get_claims)) -> dict[str, bool]:
        """End a camera: close its connection, remove it and revoke its token. Camera `1` stays, and may be
        sent again; the page's own camera is not affected. Returns `ended`: `true`.
        """
        session = sessions.find(claims.session_id)
        session.touch()
        await get_cameras(session).end(camera)
        return {"ended": True}


def make_qr_rows(text: str) -> list[str]:
    """Return a QR code as rows of 0 and 1, without the quiet zone."""
    code = segno.make(text, error="l", micro=False)
    return ["".join(str(module) for module in row) for row in code.matrix_iter(border=0)]
