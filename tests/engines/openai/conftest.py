"""Fixtures that tests of several sockets share; a file or a test chooses its `kind`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.engines.openai.socket_kinds import (
    DUPLEX,
    VIDEO,
    Engine,
    OmniKind,
    SocketKind,
    engine_of,
)


@pytest.fixture(params=[VIDEO, DUPLEX], ids=["video", "duplex"])
def kind(request: pytest.FixtureRequest) -> SocketKind:
    one: SocketKind = request.param
    return one


@pytest_asyncio.fixture
async def server(kind: SocketKind) -> AsyncIterator[OmniKind]:
    async with kind.server() as one:
        yield one


@pytest_asyncio.fixture
async def engine(kind: SocketKind, server: OmniKind) -> AsyncIterator[Engine]:
    one = await engine_of(kind, server, voice="Ethan", api_key="k")
    yield one
    await one.close()
