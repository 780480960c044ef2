"""All that a server sends to Redis, while somebody is here, asks, and takes the chat along."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.bench.camera_peer import CameraPeer
from tests.features.cluster.gateways import SECRET, gateways
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.slow

QUESTION = "Where is the purple umbrella?"


@asynccontextmanager
async def heard(server: RedisServer) -> AsyncIterator[bytearray]:
    """All commands that this Redis gets meanwhile, with what they carry."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    said = bytearray()

    async def read() -> None:
        while data := await reader.read(65_536):
            said.extend(data)

    writer.write(b"MONITOR\r\n")
    reading = asyncio.create_task(read())
    try:
        await soon(lambda: b"+OK" in said, 30)
        yield said
    finally:
        writer.close()
        await reading


async def test_redis_gets_nothing_of_content(tmp_path: Path, patience: None) -> None:
    """Neither a question, nor its answer, nor what names a person: session, token, address, hand-over.
    Limits, slots and the list of gateways are there.
    """
    async with (
        FakeOpenAI() as model,
        redis_server(tmp_path) as server,
        heard(server) as said,
        gateways(
            server,
            "h1",
            engine="vllm",
            vllm_base_url=model.base_url,
            max_sessions=3,
            rate_limit_per_minute=600,
        ) as (run,),
        live_encoder() as encoder,
    ):
        async with CameraPeer(run.base_url, encoder) as peer:
            await peer.send({"type": "settings", "handover": True})
            answer = await peer.ask(QUESTION)
            assert answer.text
            signed = await peer.wait_for(lambda m: m["type"] == "handover", since=0)
            private = [
                QUESTION,
                "umbrella",
                answer.text,
                peer.session_id,
                peer.session_id.partition("-")[2],
                peer.token,
                str(signed.message["handover"]),
            ]
            await run.program.sessions.end(peer.session_id, "over")
        await soon(lambda: b"gateway-reports" in said, 30)
    # Each line begins with the time and the address of who sends it.
    text = re.sub(r"^\+[\d.]+ \[[^\]]*\] ", "", said.decode(errors="replace"), flags=re.M)
    for one in [*private, SECRET, "127.0.0.1"]:
        assert one not in text
    for kind in (":gateways", ":slots", ":address:", ":token:", "h1"):
        assert kind in text, text
