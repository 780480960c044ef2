"""A server's side, a camera's and a thread that decodes, each made for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

from tests.support.fakes_rtc import Peer, Side, camera_peer, live_encoder, webrtc_side


@pytest_asyncio.fixture
async def side() -> AsyncIterator[Side]:
    async with webrtc_side() as side:
        yield side


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    """A camera of 640×360 that has not made its offer."""
    async with live_encoder() as encoder, camera_peer(encoder) as peer:
        yield peer


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "decode-test") as pool:
        yield pool
