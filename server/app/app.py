"""The ASGI application: the program behind its routes.

For `python -m server.main`, tests, and other ASGI servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from config import Settings
from server import __version__
from server.app.program import Program
from server.core.aio import BoundedPool
from server.operator.drain_routes import create_drain_router
from server.operator.routes import create_operator_router
from server.operator.session_routes import create_session_router
from server.operator.speech_routes import create_speech_router
from server.programs.camera_grants import add_camera_grants
from server.programs.chat_routes import create_chat_router
from server.programs.guard import ProgramGuard
from server.programs.mcp_endpoint import McpEndpoint
from server.programs.routes import create_grant_router
from server.web.http_errors import install_error_handlers
from server.web.middleware import guard_app
from server.web.routes import create_router
from server.web.whip import create_whip_router


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Raises FilterUnavailable."""
    program = Program(settings)
    services = program.services()
    programs = ProgramGuard(services)
    mcp = McpEndpoint(programs)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with program, mcp.run():
            yield

    app = FastAPI(
        title="qwen-camera",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.program = program
    install_error_handlers(app, program.metrics)
    app.include_router(create_router(services, program.access.guard, program.sockets))
    app.include_router(create_whip_router(services))
    app.include_router(create_grant_router(services, programs))
    app.include_router(create_chat_router(programs, BoundedPool(program.pools.read)))
    app.router.routes.extend(mcp.routes())
    parts = program.engine_parts
    app.include_router(create_operator_router(services, program.access.guard, parts.operations))
    app.include_router(create_session_router(services, program.access.guard))
    app.include_router(create_drain_router(services, program.access.guard, program.operator_drain))
    app.include_router(create_speech_router(services, program.access.guard, program.speech))
    if (fixed := program.api.find("rtsp")) is not None:
        add_camera_grants(program.api.operator_router("/api/operator/cameras"), fixed)
    for router in program.routers:
        app.include_router(router)
    app.router.routes.extend(program.routes)
    # HSTS is for good certificates: with one of our own it would lock people out of every http page
    # on localhost.
    hsts = settings.https_enabled and settings.ca_cert_path is None
    guard_app(app, https=hsts, allowed_origins=settings.allowed_origins)
    return app
