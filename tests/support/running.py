"""The whole server on a free port of loopback, inside the test's own event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import uvicorn

from config import Settings, load
from server.app.app import Program, create_app
from server.features.builtin.reader import TextReader
from server.web.serving import make_uvicorn_config
from tests.support.fakes_openai import FakeOpenAI

if TYPE_CHECKING:
    from scripts.local_certificate import IssuedFiles


@dataclass
class Running:
    base_url: str
    ws_url: str
    port: int
    program: Program
    server: uvicorn.Server


class OnceWarm(TextReader):
    """A reader that warms up once, however many servers it reads for."""

    def __init__(self) -> None:
        super().__init__()
        self.warm = cache(super().warm)  # type: ignore[method-assign]


# The reader of all servers of this process: it takes one picture at a time anyway, and each of its
# own would take a third of a second of a core for its models.
one_reader = cache(OnceWarm)


@asynccontextmanager
async def served(config: uvicorn.Config) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """Run uvicorn; the server and its port."""
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(), name="uvicorn")
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Running]:
    """Serve with `settings` (names of config.Settings); by default with the built-in engine alone."""
    settings = {"engine": "builtin", "host": "127.0.0.1", "port": 0, **settings}
    with patch("server.features.builtin.reader.TextReader", one_reader):
        app = create_app(load(env_file=None, **settings))
    chosen: Settings = app.state.program.settings
    tls = (chosen.ssl_cert_path, chosen.ssl_key_path) if chosen.https_enabled else None
    config = make_uvicorn_config(
        app,
        host="127.0.0.1",
        port=settings["port"],
        tls=tls,
        connections=app.state.program.connections,
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    secure = "s" if tls else ""
    async with served(config) as (server, port):
        urls = f"http{secure}://127.0.0.1:{port}", f"ws{secure}://127.0.0.1:{port}"
        try:
            yield Running(*urls, port, app.state.program, server)
        finally:
            await app.state.program.drain()


def with_model(model: FakeOpenAI, **settings: Any) -> AbstractAsyncContextManager[Running]:
    """Serve with a model server behind it, without limits of requests."""
    base: dict[str, Any] = {"engine": "vllm", "vllm_base_url": model.base_url}
    return running(**base | {"rate_limit_per_minute": 0} | settings)


@asynccontextmanager
async def running_https(
    folder: Path, **settings: Any
) -> AsyncIterator[tuple[Running, IssuedFiles]]:
    """Serve over https, with a certificate that is made in `folder`."""
    # Few tests need it.
    from scripts.local_certificate import CertificateStore, Identity

    issued = CertificateStore(folder).provide(Identity((), ()), "on test", datetime.now(UTC))
    async with running(
        https_enabled=True,
        ca_cert_path=issued.authority,
        ssl_cert_path=issued.server,
        ssl_key_path=issued.server,
        **settings,
    ) as run:
        yield run, issued
