"""Calls: an SDP offer with a camera, a microphone and a data channel begins a session without a page."""

from __future__ import annotations

import logging
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from server.auth import Claims, TokenRefused
from server.core.aio import TaskSet
from server.core.errors import (
    BadRequest,
    Conflict,
    NotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from server.features.grants.grants import MOST_SECONDS, Scope
from server.features.grants.guard import ProgramAccess
from server.features.grants.programs import get_programs
from server.features.openai_api.errors import FieldRefused
from server.features.realtime.channel import EventChannel, EventLine
from server.features.realtime.connection import ConnectionTools, check_model
from server.features.realtime.conversation import new_id
from server.features.realtime.endpoint import ClientSession
from server.features.realtime.events import SessionUpdate, read_event
from server.session.session import SessionState
from server.shared.sound.line import VoiceLine
from server.web.middleware import MAX_BODY_BYTES
from server.web.request_guard import RequestGuard, Services, get_bearer_token

log = logging.getLogger(__name__)

PATH = "/v1/realtime/calls"
SDP = "application/sdp"
# Prefix of a key for one call, which browsers' clients expect; a session's token follows
KEY = "ek_"
_ASK = "A call needs the access code, a session's token or a key for one call. Send it as Authorization: Bearer <key>."


class CallGuard(RequestGuard):
    """Checks who may begin a call."""

    def get_session_id(self, request: Request) -> str | None:
        try:
            return self._access.tokens.verify(_read_key(request).removeprefix(KEY)).session_id
        except TokenRefused:
            return None

    async def admit(self, request: Request) -> Claims:
        """Return the claims of a new session. Raise Unauthorized without the right to a call, RateLimited, Elsewhere."""
        self.check_origin(request)
        await self.home(request)
        key = _read_key(request)
        if key.startswith(KEY) or self.get_session_id(request) is not None:
            await self.limit(request)
            return self.verify(key.removeprefix(KEY))
        if self._access.code:
            await self.check_access_code(request, key or None, _ASK)
        else:
            await self.limit(request)
            if self._access.settings.require_auth:
                raise Unauthorized(_ASK)
        return self.issue(self._services.sessions.replicas.new_id()).claims


class Calls:
    """All calls.

    Bounds of calls: each is a session, and counts in MAX_SESSIONS.
    """

    def __init__(self, services: Services, tools: ConnectionTools) -> None:
        self._services, self._tools = services, tools
        self._guard = CallGuard(services)
        self._tasks = TaskSet("calls")

    async def close(self) -> None:
        """End all calls."""
        await self._tasks.close()

    def add_routes(self, router: APIRouter) -> None:
        """Add the routes for calls, and for keys that operators give."""

        @router.post(PATH)
        async def call(request: Request) -> Response:
            """Answer the SDP offer of a call (OpenAI's Realtime protocol, docs/realtime.md).

            Needs the access code, a session's token or a key for one call. The body is the offer
            (`application/sdp`), or a form with `sdp` and the settings `session`. `agree` in the
            address names the other machines that may get pictures and sound. 201 with the SDP
            answer and `Location`.
            """
            claims = await self._guard.admit(request)
            sdp, settings = await _read_offer(request)
            answer = await self._begin(claims, sdp, settings, request.query_params)
            headers = {"Location": f"{PATH}/{new_id('rtc')}", "Cache-Control": "no-store"}
            return Response(answer, 201, headers, media_type=SDP)

        @router.post("/v1/realtime/client_secrets")
        async def make_key(request: Request, response: Response) -> dict[str, Any]:
            """Return a key for one call, `value`, and `expires_at`; needs the operator's token."""
            self._guard.check_origin(request)
            await self._guard.check_operator(request, get_bearer_token(request))
            issued = self._guard.issue(self._services.sessions.replicas.choose_id())
            response.headers["Cache-Control"] = "no-store"
            ends = round(time.time()) + issued.expires_in
            return {
                "value": KEY + issued.token,
                "expires_at": ends,
                "session": {"type": "realtime"},
            }

    async def _begin(self, claims: Claims, sdp: str, first: str | None, query: Any) -> str:
        """Begin a call. Return the SDP answer."""
        webrtc, line = self._services.webrtc, EventLine()
        offer = self._services.sessions.pending_offer(
            claims.session_id, claims.auth_time, claims.device
        )
        async with offer as session:
            begun = session.state is not SessionState.NEW or session.pending_offers > 1
            if begun:
                raise Conflict("This key's session has begun. Begin each call with a new key.")
            grant, _ = get_programs(session).make("Call", Scope, MOST_SECONDS)
            access = ProgramAccess(session, grant)
            check_model(query.get("model"), access)
            consent = session.requests.consent
            consent.become_fixed(
                filter(None, query.get("agree", "").split(",")),
                'Name it as "agree" in the address of the call.',
            )
            answer = await webrtc.connect(
                session.id,
                sdp,
                session.camera,
                sender_controlled=False,
                lines=(*session.lines, line),
                check=line.check,
            )
        if session.state is SessionState.ENDED:
            await webrtc.disconnect(session.id)
            raise NotFound("The session ended while its offer was being answered. Try again.")
        assert line.channel is not None
        # In place of a page's socket
        self._services.sessions.attach(session, line.channel)
        self._tasks.spawn(self._serve(access, line.channel, first), name="call")
        return answer

    async def _serve(self, access: ProgramAccess, channel: EventChannel, first: str | None) -> None:
        session = access.session
        log.info("call began", extra={"session": session.id})
        line = VoiceLine.of(session.lines)
        try:
            metrics = self._services.metrics
            await ClientSession(channel, access, self._tools, metrics, line).run(first)
        finally:
            await self._services.sessions.end(session.id, "the call ended")


async def _read_offer(request: Request) -> tuple[str, str | None]:
    """Return the SDP and the event with the settings in the body of a call. Raise RequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == SDP:
        try:
            return (await request.body()).decode(), None
        except UnicodeDecodeError:
            raise BadRequest("The offer is not UTF-8 text. Send it unchanged.") from None
    if kind != "multipart/form-data":
        raise UnsupportedMediaType(
            f'Send the offer as {SDP}, or as "sdp" of a multipart form, with "session" for the settings.'
        )
    # Without files
    async with request.form(max_files=0, max_fields=2, max_part_size=MAX_BODY_BYTES) as form:
        sdp, settings = form.get("sdp"), form.get("session", "{}")
    first = f'{{"type": "session.update", "session": {settings}}}'
    if not isinstance(sdp, str) or not isinstance(read_event(first), SessionUpdate):
        raise FieldRefused('The form needs "sdp"; "session" is JSON with the settings.', "sdp")
    return sdp, first


def _read_key(request: Request) -> str:
    return get_bearer_token(request) or ""
