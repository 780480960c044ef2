"""The operator's routes for speech: who makes words of sound and sound of words, and a local recogniser."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import APIRouter

from server.access.operator_guard import OperatorGuard
from server.core.errors import BadRequest
from server.web.context import Services
from server.web.request_guard import for_operators

PREFIX = "/api/operator/speech"
MOST_FOLDER_CHARS = 1000


class Speech(Protocol):
    """The speech part of the program."""

    def seen(self) -> dict[str, Any]: ...

    async def choose(self, folder: str) -> None:
        """Begin to load a local recogniser. Raises BadRequest for a folder without a model."""
        ...

    async def forget(self) -> None: ...


def create_speech_router(services: Services, operators: OperatorGuard, speech: Speech) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))

    @router.get("")
    async def seen() -> dict[str, Any]:
        """The models that make words of sound, and sound of words.

        `recogniser` and `voice` of the settings (`name`, `state`: `ready`, `unreachable`, or
        `loading` of a local one, `detail`: a sentence; `null` without one), and `chosen`, a local
        recogniser (`folder`: its name, `state`, `detail`; `null` without one).
        """
        return speech.seen()

    @router.post("/recogniser", status_code=202)
    async def choose(body: dict[str, Any]) -> dict[str, Any]:
        """Load a local recogniser: `folder` is the whole path of a speech model's folder on the
        server. 202 and the same; it answers in place of the settings' once it is `ready`. 400
        for a folder without a model.
        """
        folder = body.get("folder")
        if not isinstance(folder, str) or not folder.strip() or len(folder) > MOST_FOLDER_CHARS:
            raise BadRequest("folder is the path of a speech model's folder on the server.")
        await speech.choose(folder.strip())
        return speech.seen()

    @router.delete("/recogniser")
    async def forget() -> dict[str, Any]:
        """End the chosen one. The same."""
        await speech.forget()
        return speech.seen()

    return router
