"""The connection to a real Redis: its names, its time limit, its death and its return."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from server.features.cluster import redis_store
from server.features.cluster.redis_store import RedisStore
from tests.features.cluster.gateways import SECRET
from tests.support.clients import soon
from tests.support.redis_server import WAYS, redis_server

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
        assert not store.answers
        assert await timed(store) < LIMIT / 2
        assert failures
        report = store.report()
        assert report["shared"] is False
        assert "for each process alone" in str(report["reason"])
        await server.give_back(way)
        await soon(lambda: store.answers)
        assert await store.run(ONE, []) == 1
    said = [record.getMessage() for record in caplog.records if record.name.startswith("server")]
    assert said == ["redis answers", "redis does not answer", "redis answers"]


async def test_one_that_takes_no_writes_is_none(tmp_path: Path) -> None:
    """Out of memory: Redis answers, but counts nothing."""
    async with redis_server(tmp_path) as server, store_of(server.url) as (store, _):
        await store._redis.config_set("maxmemory", "1")
        assert await store.run("return redis.call('SET', KEYS[1], 'x')", [store.name("x")]) is None
        assert not store.answers
        await store.probe()
        assert not store.answers


async def test_one_that_was_never_there(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so at the start, without the URL."""
    caplog.set_level(logging.INFO, "server")
    async with store_of("redis://:canarypassword@127.0.0.1:1/0") as (store, _):
        assert not store.answers
        await store.probe()
        said = [json.dumps(record.__dict__, default=str) for record in caplog.records]
        assert sum("redis does not answer" in line for line in said) == 1
        assert "canarypassword" not in "".join(said) + str(store.report())
