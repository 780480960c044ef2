"""The ASGI application: the program behind its routes.

For `python -m server.main`, tests, and other ASGI servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from config import Settings
from server import __version__
from server.app.program import Program
from server.web.http_errors import install_error_handlers
from server.web.middleware import guard_app
from server.web.routes import create_router, create_session_router


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Raises FilterUnavailable."""
    program = Program(settings)
    services = program.services()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(program)
            for serve in program.serving:
                await stack.enter_async_context(serve())
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
    app.include_router(create_router(services, program.sockets, program.way_in))
    app.include_router(create_session_router(services))
    for router in program.routers:
        app.include_router(router)
    app.router.routes.extend(program.routes)
    # HSTS is for good certificates: with one of our own it would lock people out of every http page
    # on localhost.
    hsts = settings.https_enabled and settings.ca_cert_path is None
    guard_app(app, https=hsts, allowed_origins=settings.allowed_origins)
    return app
