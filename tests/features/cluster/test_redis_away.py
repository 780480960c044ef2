"""Redis goes and comes back: nobody who is here loses a question, and nobody new waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request_json
from tests.features.cluster.gateways import gateways, store_of
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.redis_server import WAYS, redis_server
from tests.support.running import Running
from tests.support.timing import at_once

pytestmark = pytest.mark.slow


async def shared(run: Running) -> None:
    """Wait until the server uses Redis."""
    store = store_of(run)
    await soon(lambda: store.is_available, 30)


@pytest.mark.parametrize("way", WAYS)
async def test_a_live_session_goes_on(tmp_path: Path, way: str) -> None:
    """Dead or hanging, for the whole of it and after: questions are answered, the socket and the
    camera come back, the token is renewed, and somebody new gets in, all at once.
    """
    async with (
        FakeOpenAI() as model,
        redis_server(tmp_path) as server,
        gateways(
            server,
            "h1",
            engine="vllm",
            vllm_base_url=model.base_url,
            rate_limit_per_minute=600,
        ) as (run,),
        live_encoder() as encoder,
        CameraPeer(run.base_url, encoder) as peer,
    ):
        assert (await peer.ask("What is this?")).error is None
        await server.take_away(way)
        store = store_of(run)
        for number in range(2):
            async with at_once():
                assert (await peer.ask(f"And now, {number}?")).error is None
            async with at_once():
                address = f"{run.base_url}/api/token?session={peer.session_id}"
                renewed = await request_json("POST", address, {}, token=peer.token)
                assert renewed["session_id"] == peer.session_id
            async with at_once():
                await peer.open_socket()
            async with at_once():
                await peer.connect()
            async with at_once(), CameraPeer(run.base_url, encoder) as newcomer:
                assert (await newcomer.ask("Who is there?")).error is None
            # The second time it is known to be away.
            await soon(lambda: not store.is_available, 30)
        began = peer.ready["began_at"]
        await server.give_back(way)
        async with at_once():
            assert (await peer.ask("Still there?")).error is None
        await shared(run)
        async with at_once():
            assert (await peer.ask("And at the end?")).error is None
        await peer.open_socket()
        # The same session all along
        assert peer.ready["began_at"] == began
