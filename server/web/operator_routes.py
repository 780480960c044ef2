"""Operators' routes for sessions: list them, end one or all."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from fastapi import APIRouter

from server.access.operator_guard import OperatorGuard
from server.core.errors import BadRequest, NotFound
from server.web.context import Services
from server.web.request_guard import for_operators

log = logging.getLogger(__name__)

PREFIX = "/api/operator"
# A `session_hash`
_NAME = re.compile(r"[0-9a-f]{12}", re.ASCII)


def create_session_router(services: Services, operators: OperatorGuard) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))
    sessions = services.sessions

    @router.get("/sessions")
    async def listed() -> dict[str, Any]:
        """The sessions of this process.

        `sessions`: a list of `name`, `age_seconds`, `idle_seconds`, `camera`, `socket`, `device`,
        `questions`, `background` (requests), `visual_tokens`; `shared`: `true` when other processes
        learn of an end. A `name` has 12 digits of `0-9` and `a-f`, as in the log.
        """
        return {
            "sessions": [
                {
                    "name": one.name,
                    "age_seconds": round(one.age),
                    "idle_seconds": round(one.idle),
                    "camera": one.camera,
                    "socket": one.socket,
                    "device": one.device,
                    "questions": one.questions,
                    "background": one.background,
                    "visual_tokens": one.visual_tokens,
                }
                for one in sessions.seen()
            ],
            # True when other processes are notified of ended sessions
            "shared": sessions.replicas.hear(),
        }

    @router.delete("/sessions/{name}")
    async def end(name: str) -> dict[str, Any]:
        """End a session. Answers `ended`: 0 or 1."""
        if _NAME.fullmatch(name) is None:
            raise BadRequest(
                "A session's name has 12 digits of 0-9 and a-f, as GET /api/operator/sessions has it."
            )
        here = await sessions.take_back(name)
        announced = await sessions.replicas.announce_end(name)
        log.info("the operator ends a session", extra={"count": int(here)})
        if not here and not announced:
            raise NotFound(
                "This process has no session of that name. It has ended, or another process has it: ask that one."
            )
        return {"ended": int(here)}

    @router.delete("/sessions")
    async def end_all() -> dict[str, Any]:
        """End all sessions and all tokens issued so far. Answers `ended`: integer."""
        now = int(time.time())
        ended = await sessions.take_all_back(now)
        await sessions.replicas.announce_end_of_all(now)
        log.info("the operator ends all sessions", extra={"count": ended})
        return {"ended": ended}

    return router
