"""OpenAI's chat interface on the live camera, for the programs that a person lets look: /v1, and with the session in the
address /at/<session>/v1.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response

from server.features.grants.grants import Scope
from server.features.grants.guard import Pass, ProgramGuard
from server.features.openai_api.answer import MODEL, ChatResponse, model, models
from server.features.openai_api.errors import ModelUnknown
from server.features.openai_api.request import BoundedPool, read

# An address may name the session, so that balancers find its process.
PREFIXES = ("/v1", "/at/{session_id}/v1")


def add_routes(router: APIRouter, programs: ProgramGuard, pool: BoundedPool) -> None:
    """`pool` reads the requests."""
    started = time.time()

    async def enter(request: Request) -> Pass:
        """Let a program in that may look; this counts as a call, so that rubbish costs its rate."""
        entered = await programs.enter(request, request.path_params.get("session_id"))
        entered.programs.use(entered.grant, Scope.LOOK)
        return entered

    async def listed(request: Request) -> dict[str, Any]:
        """The models, as OpenAI lists them; needs a program's token."""
        entered = await enter(request)
        return models(entered.programs.model, started)

    async def one(request: Request) -> dict[str, Any]:
        """One model; needs a program's token."""
        entered = await enter(request)
        name = request.path_params["name"]
        _check_model(name, entered)
        return model(name, started)

    async def chat(request: Request) -> Response:
        """Chat completions on the live camera; needs a program's token."""
        entered = await enter(request)
        # It takes a while, in which others' frames must not wait.
        chats = entered.session.part("openai_api")
        asked = await pool.run(read, await request.body(), chats.takes_tools)
        _check_model(asked.model, entered)
        looks, grant = entered.programs, entered.grant
        return ChatResponse(asked, looks.model, lambda put: chats.chat(looks, grant, asked, put))

    for prefix in PREFIXES:
        router.add_api_route(f"{prefix}/models", listed, methods=["GET"])
        router.add_api_route(f"{prefix}/models/{{name:path}}", one, methods=["GET"])
        router.add_api_route(
            f"{prefix}/chat/completions", chat, methods=["POST"], response_model=None
        )


def _check_model(name: str, entered: Pass) -> None:
    """Raise ModelUnknown for a model that does not answer now."""
    if name not in (MODEL, entered.programs.model):
        raise ModelUnknown(
            f'This model does not answer here. Ask for "{MODEL}", which is whatever model answers now; GET /v1/models lists'
            " its own name, too.",
            "model",
            "model_not_found",
        )
