"""Further cameras over HTTP: their session's page invites, names and ends them; a device joins with a code."""

from __future__ import annotations

from typing import Any

import segno
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Claims
from server.core.errors import Unauthorized
from server.features.cameras.cameras import (
    INVITED_SECONDS,
    MAX_CHARS,
    Cameras,
    cameras_of,
    invite,
    read_code,
)
from server.features.cameras.whip import CameraGuard
from server.web.request_guard import Services

PREFIX = "/api/cameras"
# The page of a device that joins; its code is the fragment, which is in no request, log or Referer.
JOIN_PAGE = "/client/features/cameras/join/camera.html"


class NameBody(BaseModel):
    """A camera's name."""

    model_config = ConfigDict(extra="ignore")
    # 40 characters at most; empty: `Camera` and the number
    name: str = Field(
        default="",
        # The session checks the name itself, so that its error says more.
        max_length=1000,
    )


class InviteBody(NameBody):
    """The camera that is invited."""

    # True: the session's own, which has its name; false: a further one
    own: bool = False


class CodeBody(BaseModel):
    """A code to join with."""

    model_config = ConfigDict(extra="ignore")
    # From the answer of `POST /api/cameras`
    code: str = Field(max_length=MAX_CHARS)


def add_cameras(router: APIRouter, services: Services, guard: CameraGuard) -> None:
    """Add the routes below `/api/cameras`."""
    sessions = services.sessions
    at_home = [Depends(guard.origin), Depends(guard.home)]

    @router.post(PREFIX, dependencies=[*at_home, Depends(guard.limit)])
    async def invited(
        request: Request, body: InviteBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, Any]:
        """Invite a further camera of the session, or another device as its own one, to send by WHIP.

        The answer: `camera` (its id), `address` and `token` for WHIP, `code`, `expires_in` (600 s);
        to a page with an `Origin` also `link` and its QR code `qr`, a list of rows of `0` and `1`.
        `code` and `token` are two ways to join: the first one that is used closes the other. The
        token is good while the camera sends, and ten minutes without. 400: the name is too long, or
        another camera's; 409: the session has four cameras; 503: all sessions are in use.
        """
        session = sessions.find(claims.session_id)
        session.touch()
        cameras = cameras_of(session)
        made = cameras.invite_own() if body.own else await invite(sessions, session.id, body.name)
        path = f"{JOIN_PAGE}#{made.code}"
        # `guard.origin` has checked it; a page always sends it here.
        origin = request.headers.get("origin")
        shown = {"link": origin + path, "qr": qr_rows(origin + path)} if origin else {}
        return shown | {
            "camera": made.camera,
            "address": f"/api/whip?session={claims.session_id}",
            "token": made.token,
            "code": made.code,
            "expires_in": round(INVITED_SECONDS),
        }

    @router.post(f"{PREFIX}/join", dependencies=[Depends(guard.origin)])
    async def join(request: Request, body: CodeBody) -> dict[str, Any]:
        """Change a code, once, for a camera's token; needs no other one. Answers `camera`, `name`,
        `address`, `token`, `ice_servers`. 401: the code is over.
        """
        code = read_code(body.code)
        if code is not None:
            guard.at_home(request, code.session_id)
        await guard.limit(request)
        session = sessions.get(code.session_id) if code is not None else None
        cameras: Cameras | None = session.part("cameras") if session is not None else None
        joined = cameras.redeem(code) if cameras is not None and code is not None else None
        if joined is None or session is None:
            await guard.wrong_code(request)
            raise Unauthorized(
                "This link is over: each one is good for one device and ten minutes."
                " Ask whoever showed it for another one."
            )
        label, token = joined
        return {
            "camera": label.id,
            "name": label.name,
            "address": f"/api/whip?session={session.id}",
            "token": token,
            "ice_servers": services.access.ice_servers(session.id),
        }

    @router.patch(f"{PREFIX}/{{camera}}", dependencies=[*at_home, Depends(guard.limit)])
    async def rename(
        camera: str, body: NameBody, claims: Claims = Depends(guard.claims)
    ) -> dict[str, bool]:
        """Rename a camera. Answers `renamed`: `true`."""
        session = sessions.find(claims.session_id)
        session.touch()
        cameras_of(session).rename(camera, body.name)
        return {"renamed": True}

    @router.delete(f"{PREFIX}/{{camera}}", dependencies=at_home)
    async def end(camera: str, claims: Claims = Depends(guard.claims)) -> dict[str, bool]:
        """End a camera: its connection closes, and it and its token are gone. Camera `1` stays, and may be
        sent anew; the page's own goes on. Answers `ended`: `true`.
        """
        session = sessions.find(claims.session_id)
        session.touch()
        await cameras_of(session).end(camera)
        return {"ended": True}


def qr_rows(text: str) -> list[str]:
    """Draw a QR code as rows of 0 and 1, without the light border."""
    code = segno.make(text, error="l", micro=False)
    return ["".join(str(module) for module in row) for row in code.matrix_iter(border=0)]
