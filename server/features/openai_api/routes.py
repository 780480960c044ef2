"""Routes of OpenAI's chat interface on the live camera: /v1, and /at/<session>/v1 with the session in the path."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response

from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramAccess, ProgramGuard
from server.features.openai_api.answer import MODEL, ChatResponse, make_model, make_models
from server.features.openai_api.errors import ModelUnknown
from server.features.openai_api.request import BoundedPool, read

# The path may name the session, so that load balancers find its process.
PREFIXES = ("/v1", "/at/{session_id}/v1")


def add_routes(router: APIRouter, programs: ProgramGuard, pool: BoundedPool) -> None:
    """Add the routes. `pool` parses the requests."""
    started = time.time()

    async def enter(request: Request) -> ProgramAccess:
        """Return the access of a program with the scope `look`. Count a call, so that invalid requests are limited, too."""
        access = await programs.enter(request, request.path_params.get("session_id"))
        access.programs.count_call(access.grant, Scope.LOOK)
        return access

    async def list_models(request: Request) -> dict[str, Any]:
        """Return the models in OpenAI's format; needs a program's token."""
        access = await enter(request)
        return make_models(access.programs.model, started)

    async def one(request: Request) -> dict[str, Any]:
        """Return one model; needs a program's token. 404 for an unknown model."""
        access = await enter(request)
        name = request.path_params["name"]
        _check_model(name, access)
        return make_model(name, started)

    async def chat(request: Request) -> Response:
        """Answer a chat about the live camera (chat completions); needs a program's token."""
        access = await enter(request)
        # Parse in the pool, since a large body would block the event loop.
        chats = access.session.part("openai_api")
        asked = await pool.run(read, await request.body(), chats.takes_tools)
        _check_model(asked.model, access)
        looks, grant = access.programs, access.grant
        return ChatResponse(asked, looks.model, lambda put: chats.chat(looks, grant, asked, put))

    for prefix in PREFIXES:
        router.add_api_route(f"{prefix}/models", list_models, methods=["GET"])
        router.add_api_route(f"{prefix}/models/{{name:path}}", one, methods=["GET"])
        router.add_api_route(
            f"{prefix}/chat/completions", chat, methods=["POST"], response_model=None
        )


def _check_model(name: str, access: ProgramAccess) -> None:
    """Raise ModelUnknown for any model but the one that answers now."""
    if name not in (MODEL, access.programs.model):
        raise ModelUnknown(
            f'Model not found. Use "{MODEL}", which stands for the model that answers now; GET /v1/models lists its own name,'
            " too.",
            "model",
            "model_not_found",
        )
