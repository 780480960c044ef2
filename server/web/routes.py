"""The HTTP routes of the core and `/ws`."""

from __future__ import annotations

import asyncio
import base64
import functools
import gzip
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.staticfiles import NotModifiedResponse
from starlette.websockets import WebSocket

from server.auth import Claims, Issued
from server.core.errors import BadRequest, NotFound, Unauthorized
from server.media.picture import encode
from server.media.sdp import MAX_CANDIDATE_CHARS
from server.session.session import Attempt, Session, SessionState
from server.web.middleware import MAX_BODY_BYTES
from server.web.request_guard import (
    Access,
    AuthMethod,
    RequestGuard,
    Services,
    TokenBody,
    from_this_machine,
    get_bearer_token,
    get_operator_dependencies,
)
from server.web.websocket import SocketServer

log = logging.getLogger(__name__)

CLIENT_FILES = Path(__file__).resolve().parents[2] / "client"
PREFIX = "/api/operator"
# A `hash_session_id`
_NAME = re.compile(r"[0-9a-f]{12}", re.ASCII)
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


class OfferBody(BaseModel):
    """A camera's offer."""

    model_config = ConfigDict(extra="ignore")
    # One video track that sends VP8 or H.264, as createOffer() made it; 64 KiB at most
    sdp: str = Field(
        # `media.sdp` checks the length; a smaller bound here would make pydantic refuse lone
        # surrogates.
        max_length=MAX_BODY_BYTES
    )
    # Always `offer`
    type: Literal["offer"]


class CandidateBody(BaseModel):
    """One ICE candidate, as RTCIceCandidate has it."""

    model_config = ConfigDict(extra="ignore")
    # Absent or empty: there are no more
    candidate: str | None = Field(default=None, max_length=MAX_CANDIDATE_CHARS)
    # The media section's name
    sdpMid: str | None = Field(default=None, max_length=64)
    # The media section's number
    sdpMLineIndex: int | None = Field(default=None, ge=0, le=64)


class CandidatesBody(BaseModel):
    """Further ICE candidates of an offer."""

    model_config = ConfigDict(extra="ignore")
    # Late, foreign, empty, TCP and mDNS ones are skipped.
    candidates: list[CandidateBody] = Field(max_length=64)


async def _make_file_response(
    request: Request, content: bytes, suffix: str, tag: str, vary: str = "Accept-Encoding"
) -> Response:
    """Return a file of the page, compressed if the browser accepts it, or 304 if its tag matches.

    Browsers revalidate each time, because an upgrade may have changed the file.
    """
    headers = {"Cache-Control": "no-cache", "ETag": f'"{tag}"'}
    if suffix in _KEPT | _WORDS:
        headers["Vary"] = vary
        if "gzip" in request.headers.get("accept-encoding", ""):
            content = await asyncio.to_thread(_compress, content)
            headers["Content-Encoding"] = "gzip"
    response = Response(content, media_type=_MEDIA_TYPES[suffix], headers=headers)
    known = request.headers.get("if-none-match", "").split(",")
    # A compressing proxy makes the tag weak.
    if headers["ETag"] in [one.strip().removeprefix("W/") for one in known]:
        return NotModifiedResponse(response.headers)
    return response


# Cached: the page has a few hundred files.
@functools.lru_cache(maxsize=512)
def _compress(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@functools.cache
def _compute_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@functools.lru_cache(maxsize=512)
def strip_comments(content: bytes, suffix: str) -> bytes:
    """Return a module or style sheet without whole-line comments, and a style sheet without indentation and empty
    lines.

    Comments are a quarter of a first load. A module's line numbers stay, for error messages, and so do comments that
    begin with `/*!`, such as licences.
    """
    if suffix not in (".js", ".css"):
        return content
    lines, inside = [], False
    for line in content.split(b"\n"):
        text = line.strip()
        code = text if suffix == ".css" else line
        if inside:
            _, end, rest = text.partition(b"*/")
            inside = not end
            lines.append(rest)
        elif text.startswith(b"/*") and not text.startswith(b"/*!"):
            _, end, rest = text[2:].partition(b"*/")
            inside = not end
            # A comment before code is a type cast.
            lines.append(code if rest else b"")
        else:
            lines.append(b"" if suffix == ".js" and text.startswith(b"//") else code)
    return b"\n".join(lines if suffix == ".js" else filter(None, lines))


# Cached: each file is used for all languages.
@functools.lru_cache(maxsize=64)
def _parse_words(content: bytes) -> dict[str, dict[str, Any]]:
    words: dict[str, dict[str, Any]] = json.loads(content)
    return words


def create_router(
    services: Services, sockets: SocketServer, auth_method: AuthMethod, features: Sequence[str]
) -> APIRouter:
    """Return the routes of the core, in the order of docs/reference/http.md. `features`: names of the enabled ones."""
    router = APIRouter()
    guard = RequestGuard(services)
    _add_page(router, services, Shell(CLIENT_FILES, features))
    _add_health(router, services, guard)
    _add_token(router, services, guard, auth_method)
    _add_camera(router, services, guard)
    add_pictures(router, services, guard)

    @router.websocket("/ws/{session_id}")
    async def socket(websocket: WebSocket, session_id: str) -> None:
        """The session's socket: see the page of messages. Needs the session's token."""
        await sockets.serve(websocket, session_id)

    return router


def _with_token(access: Access, issued: Issued) -> dict[str, Any]:
    """Return the response body with a token and the ICE servers."""
    # Relay credentials may expire before the token, so the page renews both in time.
    ends = {"ice_expires_in": access.settings.turn_ttl} if access.settings.turn_urls else {}
    session_id = issued.claims.session_id
    return ends | {
        "token": issued.token,
        "session_id": session_id,
        "expires_in": issued.expires_in,
        "token_type": "bearer",
        **({"paired": True} if issued.claims.device else {}),
        "ice_servers": access.make_ice_servers(session_id),
    }


def _add_page(router: APIRouter, services: Services, shell: Shell) -> None:
    access = services.access

    @router.get("/")
    async def page(request: Request) -> Response:
        """The page for `Accept: text/html`; otherwise `status`, `service`, `version`, `health`."""
        if "text/html" in request.headers.get("accept", ""):
            now = await shell.contents()
            vary = "Accept, Accept-Encoding"
            return await _make_file_response(request, now.page, ".html", now.version, vary)
        return JSONResponse(services.health.make_brief(), headers={"Vary": "Accept"})

    @router.get(f"/{WORKER}")
    async def service_worker(request: Request) -> Response:
        """The page's service worker, with the list of the files that it keeps."""
        now = await shell.contents()
        return await _make_file_response(request, now.worker, ".js", now.version)

    @router.get("/client/{name}")
    @router.get("/client/{folder:path}/{name}")
    async def client_file(request: Request) -> Response:
        """A file of the page."""
        name = "/".join(request.path_params.values())
        if (content := (await shell.contents()).files.get(name)) is None:
            raise NotFound("File not found.")
        # The tag is a hash of the content.
        return await _make_file_response(
            request, content, Path(name).suffix, _compute_digest(content)[:32]
        )

    @router.get("/ca.crt")
    async def authority() -> Response:
        """The CA certificate of `run.sh --https`; 404 if there is none."""
        if access.authority is None:
            raise NotFound("This server has no certificate authority of its own.")
        # The type for which iOS and Android offer to install a certificate
        return Response(
            access.authority,
            media_type="application/x-x509-ca-cert",
            headers={"Cache-Control": "no-cache"},
        )


def _add_health(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    @router.get("/health")
    async def health(request: Request) -> Response:
        """200 when questions can be answered, else 503.

        Everybody sees:

        - `status` (`ok`, `unavailable`), `ready`, `draining`, `version`, `uptime_seconds`, and
          `reason` while not ready
        - `engine`: `name`, `state`, `reachable`, `detail`
        - `queue_depth`: integers by kind: `chat`, `watch`, `program`, `describe`, `prefill`

        With `METRICS_TOKEN` or `OPERATOR_TOKEN` as the bearer, or where neither is set from the
        server's own machine under a loopback name and through no proxy, also:

        - `model` and `context_length` of `engine`, and a `reason` in more detail
        - `engines`: a list of `name`, `model`, `state`, `detail`, `context_length`, `loaded` (the
          model is in memory; `null`: its server does not say), best first
        - `recogniser`, `voice`: `name`, `state` (`ready`, `unreachable`, a local one also
          `loading`), `detail`; `null` without one. `end_of_turn`, the model for the end of turns:
          the same with `ready` or `misconfigured`
        - `sessions`, `cameras`: integers
        - `turn`: the relays, a list of `url`, `ok` (`null` before the first check), `problem`
          (`url`, `unreachable`, `certificate`, `credentials`, `quota`, `denied_peer`,
          `no_way_back`, `no_socket`, `refused`, or empty), `why`
        - with several processes (`cluster`) `limits`: `shared`, `reason`; `gateways`: the other
          gateways of this installation, as they reported: `name`, `sessions`, `most`, `draining`
        """
        report = services.health.make_summary
        if await may_see_all(services.access, guard, request):
            report = services.health.make_detail
        body, ok = report()
        return JSONResponse(body, status_code=200 if ok else 503)

    @router.get("/health/live")
    async def live() -> Response:
        """200 while the process runs."""
        return JSONResponse({"status": "ok"})

    @router.get("/health/ready")
    async def ready() -> Response:
        """200 `ready: true`, or 503 `ready: false` with `reason`."""
        why_not = services.health.explain_not_ready()
        body = {"ready": True} if why_not is None else {"ready": False, "reason": why_not}
        return JSONResponse(body, status_code=200 if why_not is None else 503)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """The metrics in the Prometheus text format; needs `METRICS_TOKEN` where it is set."""
        await guard.check_metrics_token(request)
        return PlainTextResponse(
            services.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )


def _add_token(
    router: APIRouter, services: Services, guard: RequestGuard, auth_method: AuthMethod
) -> None:
    access = services.access

    async def token(
        request: Request, response: Response, body: TokenBody | None = None
    ) -> dict[str, Any] | Response:
        """A session's token; needs a code or a paired device's cookie where access is restricted.

        With a valid token as the bearer it is renewed: another token of the same session, until
        `TOKEN_MAX_AGE` seconds after the code was entered. After a pairing code the answer sets the
        cookie `qwen-camera-device` (HttpOnly, SameSite Strict, 30 days), with which the server's
        own page gets a token without a code. The answer:

        - `token`: to send as `Authorization: Bearer <token>`; `token_type`: `bearer`
        - `session_id`: 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`; no credential
        - `expires_in`: seconds, at most `SESSION_TIMEOUT`
        - `ice_servers`: list of RTCIceServer objects; may be empty. `ice_expires_in`: seconds that
          the relays' credentials work, where there are relays; renew the token before
        - `paired`: `true` for a paired device
        """
        body = body or auth_method.body()
        if request.headers.get("authorization"):
            await guard.limit(request)
            return _with_token(access, guard.renew(request))
        # Before a one-time code is used
        services.sessions.capacity.check_new()
        device = None
        if access.code:
            entered = await auth_method.enter(request, response, body)
            if isinstance(entered, Response):
                return entered
            device = entered
            if device is None:
                await guard.check_access_code(request, body.access_code, auth_method.ask)
        else:
            await guard.limit(request)
        return _with_token(access, guard.issue(services.sessions.replicas.choose_id(), device))

    # FastAPI validates the body by this annotation.
    token.__annotations__["body"] = auth_method.body | None
    router.post("/api/token", dependencies=[Depends(guard.check_origin)], response_model=None)(
        token
    )


def _add_camera(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    access = services.access
    at_home = [Depends(guard.check_origin), Depends(guard.home)]

    @router.post("/api/webrtc/offer", dependencies=[*at_home, Depends(guard.limit)])
    async def offer(request: Request, body: OfferBody) -> dict[str, Any]:
        """Answer a camera's offer; needs a token where `REQUIRE_AUTH` is on.

        An offer has at most 8 media sections, 64 candidates, 256 codecs and 32 fingerprints. The
        first video section that sends and can be decoded is taken; H.264 has to be 4:2:0 with 8
        bits, without slice groups, data partitions and slices before the first. Others are
        rejected, but for one with the microphone. A new offer of the same session replaces the
        connection, which has 15 s to come up. The answer: `type` (`answer`), `sdp` with all
        candidates of the server, `session_id`, `sender` (the fields of the message `sender`), and
        without a token the fields of `POST /api/token`.
        """
        extra: dict[str, Any] = {}
        if access.settings.require_auth or request.headers.get("authorization"):
            claims = guard.get_claims(request)
        else:
            issued = guard.issue(services.sessions.replicas.new_id())
            claims, extra = issued.claims, _with_token(access, issued)
        attempt = Attempt.read(request.query_params)
        session, sdp = await connect_camera(
            services, claims, body.sdp, sender_controlled=True, attempt=attempt
        )
        return extra | {
            "sdp": sdp,
            "type": "answer",
            "session_id": claims.session_id,
            "sender": session.camera.sender().model_dump(exclude_none=True, exclude={"type"}),
        }

    @router.patch("/api/webrtc/offer", dependencies=at_home)
    async def candidates(
        request: Request, body: CandidatesBody, claims: Claims = Depends(guard.get_claims)
    ) -> dict[str, int]:
        """Add candidates. Answers `added`: how many of them were used."""
        session = services.sessions.get(claims.session_id)
        if session is not None:
            session.offers.take(Attempt.read(request.query_params))
        connection = services.webrtc.get(claims.session_id)
        used = await connection.add_candidates([c.model_dump() for c in body.candidates])
        return {"added": used}

    @router.delete("/api/webrtc/offer", dependencies=at_home)
    async def end(request: Request, claims: Claims = Depends(guard.get_claims)) -> dict[str, bool]:
        """End the camera's connection; the session stays. Answers `ended`: boolean."""
        session = services.sessions.get(claims.session_id)
        if session is not None:
            session.offers.end(Attempt.read(request.query_params))
        return {"ended": await services.webrtc.disconnect(claims.session_id)}


# The picture that an engine got with an answer


def add_pictures(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    """Add `GET /api/pictures/{id}` for the session of the request's token."""

    @router.get(
        "/api/pictures/{id}",
        dependencies=[Depends(guard.check_origin), Depends(guard.home), Depends(guard.limit)],
    )
    async def picture(id: str, claims: Claims = Depends(guard.get_claims)) -> Response:
        """The JPEG that the model got with an answer: `picture` of its frame. 404 when the session
        does not have it any more.
        """
        session = services.sessions.find(claims.session_id)
        sent = session.sent_pictures.get(id)
        if sent is None:
            raise NotFound("Picture not found: it was deleted, or newer pictures have replaced it.")
        jpeg = sent.jpeg
        if jpeg is None:
            assert sent.bgr is not None
            # In a thread, because raw pixels have the camera's full size
            jpeg = await asyncio.to_thread(encode.encode_jpeg, sent.bgr)
        services.metrics.sent_pictures.labels("shown").inc()
        return Response(jpeg, media_type="image/jpeg")


# Access to all of /health


async def may_see_all(access: Access, guard: RequestGuard, request: Request) -> bool:
    """Return whether a request may see all of /health: with METRICS_TOKEN or OPERATOR_TOKEN, or from this machine if
    neither is set. Raises Unauthorized, RateLimited.
    """
    if not (access.metrics_token or access.operator_token):
        return from_this_machine(request)
    if "authorization" not in request.headers:
        return False
    try:
        await guard.check_operator(request, get_bearer_token(request), also=access.metrics_token)
    except Unauthorized:
        raise Unauthorized(
            "The full /health response requires the metrics token or the operator token. Send it as Authorization: Bearer <token>."
        ) from None
    return True


# Offers of cameras, from the page or by WHIP


async def connect_camera(
    services: Services,
    claims: Claims,
    sdp: str,
    *,
    sender_controlled: bool,
    attempt: Attempt | None = None,
) -> tuple[Session, str]:
    """Answer an offer for the session of a token; the first offer begins it. Return the session and the SDP answer.

    `sender_controlled`: see `CameraConnection`.

    Raises what `SessionManager.admit` and `WebRTCServer.connect` raise, NotFound when the session
    ends meanwhile, Conflict when its page has made a newer offer.
    """
    session_id = claims.session_id
    # A refused offer leaves no session.
    async with services.sessions.pending_offer(
        session_id, claims.auth_time, claims.device
    ) as session:
        session.offers.take(attempt)
        answer = await services.webrtc.connect(
            session_id,
            sdp,
            session.camera,
            sender_controlled=sender_controlled,
            # Another device's microphone does not belong to the visitor.
            lines=session.lines if sender_controlled else (),
            check=lambda: session.offers.check(attempt),
        )
    if session.state is SessionState.ENDED:
        await services.webrtc.disconnect(session_id)
        raise NotFound(
            "The session ended while its offer was being answered. Get a new token from /api/token and send a new offer."
        )
    return session, answer


# The page's shell: files that the service worker (client/service_worker.js) caches, to open the page without the
# server. It gets a list of them with hashes; the hash of all of them is the page's version.

# Valid names: at most three folders deep, and only letters, so that no path leaves the client's folder. A feature's
# words and elements are merged into those of the core.
CLIENT_NAME = re.compile(
    r"(?!features/\w+/(?:words\.json|page\.html))(?:[a-z_]+/){0,3}[a-z]+\.[a-z]+"
)


# The service worker does not cache itself, as the browser updates it.
WORKER = "service_worker.js"

PAGE = "index.html"


# File types of the shell, without pictures, which only an installation needs
_KEPT = {".js", ".css", ".html", ".svg", ".webmanifest"}


# Languages: each person needs one, and English for missing words
_WORDS, _ENGLISH = {".json"}, "en"

_VERSION_PLACE = b'name="shell" content=""'
_FEATURES_PLACE = b'name="features" content=""'
# Placeholders for features' elements in a file of the core, and the elements of a feature for a place
_PLACE = re.compile(rb'<template data-place="([a-z-]+)"></template>')
_PIECE = re.compile(rb'<template data-place="([a-z-]+)">(.*?)</template>', re.S)


@dataclass(frozen=True, slots=True)
class Contents:
    """The shell at one time.

    `version`: SHA-256 of all files, hexadecimal; `page`: index.html with it; `worker`: the script
    of the service worker, with the version and the list in front.
    """

    version: str
    page: bytes
    worker: bytes
    # Files as sent, by name below `/client/`
    files: Mapping[str, bytes]


class Shell:
    """The page's files, read once. `folder`: the client's; `features`: names of the enabled ones, in order."""

    def __init__(self, folder: Path, features: Sequence[str]) -> None:
        self._folder = folder
        self._features = features
        # None before the first use
        self._contents: Contents | None = None

    def read(self, path: Path) -> bytes:
        """Return a file as sent, with the features' words and elements merged in. Raises OSError, ValueError."""
        content = path.read_bytes()
        if path.suffix in _WORDS:
            words = json.loads(content)
            for own in self._list_feature_contents("words.json"):
                words |= _parse_words(own).get(path.stem, {})
            return json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()
        if path.suffix == ".html":
            # Each feature's elements by the name of their place
            contents = self._list_feature_contents("page.html")
            pieces = [dict(_PIECE.findall(one)) for one in contents]
            content = _PLACE.sub(
                lambda place: b"".join(one.get(place[1], b"") for one in pieces), content
            )
            names = b" ".join(name.encode() for name in self._features)
            return content.replace(_FEATURES_PLACE, _FEATURES_PLACE[:-1] + names + b'"', 1)
        return strip_comments(content, path.suffix)

    def _list_feature_contents(self, name: str) -> Iterator[bytes]:
        for feature in self._features:
            if (path := self._folder / "features" / feature / name).is_file():
                yield path.read_bytes()

    async def contents(self) -> Contents:
        """Return the shell. Raises OSError if its files cannot be read."""
        if self._contents is None:
            self._contents = await asyncio.to_thread(self._read)
        return self._contents

    def _read(self) -> Contents:
        sent = {
            name: self.read(path)
            for path in sorted(self._folder.rglob("*.*"))
            if path.suffix in _MEDIA_TYPES
            and CLIENT_NAME.fullmatch(name := path.relative_to(self._folder).as_posix())
        }
        worker = (self._folder / WORKER).read_bytes()
        kept = {
            f"/client/{name}": text
            for name, text in sent.items()
            if Path(name).suffix in _KEPT | _WORDS and name != PAGE
        }
        page = sent[PAGE]
        whole = hashlib.sha256()
        for part in (page, worker, *(b for name in kept for b in (name.encode(), kept[name]))):
            whole.update(len(part).to_bytes(8, "big") + part)
        version = whole.hexdigest()
        page = page.replace(_VERSION_PLACE, _VERSION_PLACE[:-1] + version.encode() + b'"', 1)
        files = {name: get_integrity(text) for name, text in {"/": page, **kept}.items()}
        words = {
            name: files.pop(name)
            for name in kept
            if Path(name).suffix in _WORDS and Path(name).stem != _ENGLISH
        }
        shell = {"version": version, "files": files, "words": words}
        listed = json.dumps(shell, separators=(",", ":"))
        return Contents(version, page, f"const SHELL = {listed};\n".encode() + worker, sent)


def get_integrity(text: bytes) -> str:
    """Return the hash of a file for Subresource Integrity."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode()


def create_session_router(services: Services) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=get_operator_dependencies(services))
    sessions = services.sessions

    @router.get("/sessions")
    async def list_sessions() -> dict[str, Any]:
        """The sessions of this process.

        `sessions`: a list of `name`, `age_seconds`, `idle_seconds`, `camera`, `socket`, `device`,
        `questions`, `background` (requests), `visual_tokens`; `shared`: `true` when other processes
        learn of an end. A `name` has 12 digits of `0-9` and `a-f`, as in the log.
        """
        return {
            "sessions": sessions.describe(),
            # True if other processes are notified of ended sessions
            "shared": sessions.replicas.has_peers(),
        }

    @router.delete("/sessions/{name}")
    async def end(name: str) -> dict[str, Any]:
        """End a session. Answers `ended`: 0 or 1."""
        if _NAME.fullmatch(name) is None:
            raise BadRequest(
                "The session's name is invalid. It has 12 digits of 0-9 and a-f, as in GET /api/operator/sessions."
            )
        here = await sessions.revoke(name)
        announced = await sessions.replicas.announce_end(name)
        if not here and not announced:
            raise NotFound(
                "Session not found in this process: it has ended, or belongs to another process. Ask that process."
            )
        log.info(
            "session ended by the operator",
            extra={"session": name, "state": "ended" if here else "announced"},
        )
        return {"ended": int(here)}

    @router.delete("/sessions")
    async def end_all() -> dict[str, Any]:
        """End all sessions and all tokens issued so far. Answers `ended`: integer."""
        now = int(time.time())
        ended = await sessions.revoke_all(now)
        await sessions.replicas.announce_end_of_all(now)
        log.info("all sessions ended by the operator", extra={"count": ended})
        return {"ended": ended}

    return router
