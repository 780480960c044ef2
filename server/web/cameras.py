"""Further cameras of a session over HTTP: its page invites, names and ends them, and a device joins with a one-time code."""

from __future__ import annotations

from typing import Any

import segno
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from server.access.camera_tokens import MAX_CHARS, read_code
from server.auth import Claims
from server.core.errors import Unauthorized
from server.session.cameras.admission import INVITED_SECONDS, OWN
from server.web.context import Services
from server.web.request_guard import RequestGuard

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
