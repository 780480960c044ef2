"""The connection to a real Redis: its names, its time limit, its death and its return."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from scripts.bench.camera_peer import CameraPeer
from server.features.cluster import redis_store
from server.features.cluster.redis_store import RedisStore
from tests.features.cluster.gateways import SECRET, gateways
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.redis_server import WAYS, RedisServer, redis_server

ONE = "return 1"
# In place of the real limit, which a busy machine may take for its own work.
LIMIT = 0.5
assert redis_store.ANSWER_SECONDS == 0.1


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", LIMIT)


@asynccontextmanager
async def store_of(url: str, secret: str = SECRET) -> AsyncIterator[tuple[RedisStore, list[int]]]:
    """A store that is watched, and a list that grows by its failures."""
    failures: list[int] = []
    store = RedisStore(url, secret, on_failure=lambda: failures.append(1))

    async def nothing() -> None: ...

    await store.probe()
    watching = asyncio.create_task(store.watch(nothing))
    try:
        yield store, failures
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await store.close()


async def timed(store: RedisStore) -> float:
    """Seconds that a script takes that gets no answer."""
    start = time.monotonic()
    assert await store.run(ONE, []) is None
    return time.monotonic() - start


async def test_names_tell_nothing() -> None:
    """A key holds its subject as a keyed hash, so another secret makes other keys."""
    url = "redis://127.0.0.1:1/0"
    one, same, other = RedisStore(url, SECRET), RedisStore(url, SECRET), RedisStore(url, "x" * 40)
    name = one.name("address", "192.0.2.1")
    assert name == same.name("address", "192.0.2.1")
    assert name.startswith("qwen-camera:")
    assert "192.0.2.1" not in name
    names = {name, other.name("address", "192.0.2.1"), one.name("address", "192.0.2.2")}
    assert len(names | {one.name("token", "192.0.2.1"), one.name("slots")}) == 5
    assert one.name("slots") != other.name("slots")
    for store in (one, same, other):
        await store.close()


async def test_a_script_is_answered(tmp_path: Path) -> None:
    """Results come back, also after Redis forgot its scripts."""
    async with redis_server(tmp_path) as server, store_of(server.url) as (store, failures):
        assert await store.run("return ARGV[1] + 1", [], 41) == 42
        await store._redis.script_flush()
        assert await store.run("return ARGV[1] + 1", [], 41) == 42
        answers = await asyncio.gather(*(store.run(ONE, []) for _ in range(200)))
        assert answers == [1] * 200
        assert failures == []
        assert store.report() == {"shared": True, "reason": ""}


@pytest.mark.parametrize("way", WAYS)
async def test_a_redis_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Dead or hanging: all who ask at once wait together, later ones do not; told once, used once it is back."""
    monkeypatch.setattr(redis_store, "TRY_SECONDS", 0.1)
    caplog.set_level(logging.INFO, "server")
    async with redis_server(tmp_path) as server, store_of(server.url) as (store, failures):
        assert await store.run(ONE, []) == 1
        await server.take_away(way)
        times = await asyncio.gather(*(timed(store) for _ in range(20)))
        # One limit each; one after the other would be 20.
        assert max(times) < 4 * LIMIT
        assert not store.is_available
        assert await timed(store) < LIMIT / 2
        assert failures
        report = store.report()
        assert report["shared"] is False
        assert "for each process alone" in str(report["reason"])
        await server.give_back(way)
        await soon(lambda: store.is_available)
        assert await store.run(ONE, []) == 1
    said = [record.getMessage() for record in caplog.records if record.name.startswith("server")]
    assert said == ["redis available", "redis unavailable", "redis available"]


async def test_one_that_takes_no_writes_is_none(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, store_of(server.url) as (store, _):
        await store._redis.config_set("maxmemory", "1")
        assert await store.run("return redis.call('SET', KEYS[1], 'x')", [store.name("x")]) is None
        assert not store.is_available
        await store.probe()
        assert not store.is_available


async def test_one_that_was_never_there(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so at the start, without the URL."""
    caplog.set_level(logging.INFO, "server")
    async with store_of("redis://:canarypassword@127.0.0.1:1/0") as (store, _):
        assert not store.is_available
        await store.probe()
        said = [json.dumps(record.__dict__, default=str) for record in caplog.records]
        assert sum("redis unavailable" in line for line in said) == 1
        assert "canarypassword" not in "".join(said) + str(store.report())


# All that a server sends to Redis, while somebody is here, asks, and takes the chat along


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


@pytest.mark.slow
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
