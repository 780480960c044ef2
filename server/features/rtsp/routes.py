"""Operators' routes for fixed cameras: list them, see one, ask it, open its session."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

from fastapi import Response

from server.app.api import Api
from server.core import messages as wire
from server.core.aio import in_pool
from server.core.errors import BadRequest, Busy, Conflict, EngineTimeout
from server.core.messages.base import MAX_QUESTION_CHARS
from server.features.rtsp.fixed_cameras import FixedCameras
from server.media.camera import Asked
from server.session.request.outbox import OutboxClosed, OutboxOverflowed
from server.session.session import Session

PREFIX = "/api/operator/cameras"
# Pictures that are made at a time, of all cameras
_AT_ONCE = 2


def add_routes(api: Api, cameras: FixedCameras) -> None:
    router, services = api.operator_router(PREFIX), api.services
    making = asyncio.Semaphore(_AT_ONCE)

    @router.get("")
    async def listed() -> dict[str, Any]:
        """The fixed cameras.

        `cameras`: a list of `name`, `where`, `state` (`connecting`, `live`, `waiting`), `trouble`
        (a word; empty for none), `detail` (a sentence), `sends` (a codec that is not read),
        `since_seconds`, `retry_seconds` (or `null`), `codec`, `fps`, `width`, `height`, `failures`,
        `watches` (the number of those that run), `unwatched` (a list of `condition` and `reason`:
        what the engine cannot watch for now), `described` (the last running description),
        `programs` (those that have access, as in `GET /api/grants`).
        """
        return {"cameras": cameras.seen()}

    @router.get("/{name}/picture")
    async def picture(name: str) -> Response:
        """A filtered JPEG of the next frame, at most 640 px."""
        camera = cameras.find(name).camera
        frame = await camera.frame_after(Asked(at=time.monotonic(), wall=time.time(), sent=None))
        async with making:
            jpeg = await in_pool(api.pools.prepare, api.preparer.still, frame)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.post("/{name}/ask")
    async def answer(name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask a question: `content`. Answers the `response` or `error` message that ends it. 409
        while a socket of the camera is open.
        """
        question = body.get("content")
        if not isinstance(question, str) or not 0 < len(question.strip()) <= MAX_QUESTION_CHARS:
            raise BadRequest(
                f'"content" is not a question of 1 to {MAX_QUESTION_CHARS} characters. Put the question there.'
            )
        session = cameras.find(name)
        return await ask(session, question, attended=services.sessions.listens(session.id))

    @router.post("/{name}/retry", status_code=202)
    async def retry(name: str) -> dict[str, Any]:
        """Try to connect now. 202 and the list."""
        cameras.hurry(name)
        return {"cameras": cameras.seen()}

    @router.post("/{name}/token")
    async def token(name: str) -> dict[str, Any]:
        """A token for a socket of the camera's session: `token`, `session_id`, `expires_in`."""
        session = cameras.find(name)
        issued = services.access.tokens.issue(session.id)
        return {
            "token": issued.token,
            "session_id": session.id,
            "expires_in": issued.expires_in,
        }


# A question to a standing camera and its whole answer, for a client without a socket.

# Seconds until an answer has to be there
ANSWER_SECONDS = 80.0


async def ask(session: Session, question: str, *, attended: bool) -> dict[str, Any]:
    """Ask about the camera's next frame; return the `response` or `error` message that ends it.

    `attended`: a socket of the session is open, which gets the answers.

    Raises Conflict then, Busy while another question runs, EngineTimeout.
    """
    if attended:
        raise Conflict("A socket of this camera is open. Ask there, or close it.")
    if session.answering:
        raise Busy("This camera is asked something already. Wait for that answer.", retry_after=2)
    id = f"ask-{secrets.token_hex(8)}"
    reader = session.outbox.attach()
    session.handle(wire.Chat(type="chat", content=question, id=id))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message = json.loads(await reader.get())
                if message.get("id") == id and message["type"] in ("response", "error"):
                    return dict(message)
    except TimeoutError:
        raise EngineTimeout("The answer took too long.", public=True) from None
    except OutboxOverflowed:
        raise Busy("Too much was said at once. Ask again.", retry_after=1) from None
    except OutboxClosed:
        raise Conflict("A socket of this camera was opened, and gets the answer.") from None
    finally:
        session.handle(wire.Cancel(type="cancel", id=id))
        reader.detach()
