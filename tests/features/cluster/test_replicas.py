"""The list of gateways: where a new session goes, and what Redis holds of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.features.cluster import replicas
from server.features.cluster.redis_store import RedisStore
from server.features.cluster.replicas import (
    KNOWN_SECONDS,
    MOST_REPLICAS,
    Cluster,
    Replica,
    ReplicaList,
)
from server.features.cluster.shared_limits import Store
from server.session_manager import LEFT_SECONDS
from tests.features.cluster.gateways import SECRET, answering, gateways
from tests.support.clients import bearer, http
from tests.support.fakes_app import assert_error
from tests.support.redis_server import WAYS, RedisServer, redis_server
from tests.support.running import running


class Answers(Store):
    """A store whose only script gives `reply`."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    async def run(self, script: str, keys: Sequence[str], *args: str | int | float) -> Any:
        return self.reply


async def knowing(own: Replica, *others: Replica) -> ReplicaList:
    """A gateway that has read the reports of others at 0."""
    reply = [word for one in others for word in (one.name, one.encode())]
    made = ReplicaList(lambda: own, Answers(reply))
    await made.report(0)
    return made


@pytest.mark.parametrize(
    ("own", "goes"),
    [
        (Replica("a", 10, 100), "a"),
        # A little more than all together is nothing to move for; far more is.
        (Replica("a", 19, 100), "a"),
        (Replica("a", 60, 100), "b"),
        (Replica("a", 100, 100), "b"),
        (Replica("a", 120, 100), "b"),
        (Replica("a", 0, 100, draining=True), "b"),
    ],
)
async def test_a_new_session_goes_where_there_is_room(own: Replica, goes: str) -> None:
    made = await knowing(
        own,
        Replica("full", 50, 50),
        Replica("leaves", 0, 100, draining=True),
        Replica("b", 10, 100),
    )
    assert made.choose(1) == goes
    assert made.sent_on == int(goes != "a")
    assert made.can_take(1)
    assert made.count_states(1) == {"open": 1, "full": 1, "draining": 1}


async def test_without_room_anywhere_it_stays() -> None:
    """A person is refused where they came, with the reason."""
    made = await knowing(Replica("a", 9, 9), Replica("b", 5, 5))
    assert made.choose(1) == "a"
    assert not made.can_take(1)


async def test_newcomers_spread_by_room(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Replica("b", 0, 3), Replica("full", 1, 1), Replica("c", 1, 2)
    made, places = await knowing(Replica("a", 9, 9), *free), iter(range(4))
    monkeypatch.setattr(secrets, "randbelow", lambda most: next(places))
    assert [made.choose(1) for _ in range(4)] == ["b", "b", "b", "c"]


async def test_a_gateway_that_is_gone_is_forgotten_while_redis_comes_and_goes() -> None:
    """The gateways that were known count beside the list of a Redis that is back, for a minute at most."""
    store = Answers(["b", "0 5 0", "c", "0 5 0"])
    made = ReplicaList(lambda: Replica("a", 9, 9), store)
    await made.report(0)
    for now in range(5, 5 + int(KNOWN_SECONDS), 10):
        assert {one.name for one in made.list_others(now)} == {"b", "c"}
        for at, reply in ((now, None), (now + 5, ["b", "0 5 0"])):
            store.reply = reply
            await made.report(at)
    assert [one.name for one in made.list_others(5 + int(KNOWN_SECONDS))] == ["b"]


async def knows_none(name: str, reply: list[Any]) -> None:
    made = ReplicaList(lambda: Replica(name, 9, 9), Answers(reply))
    await made.report(0)
    assert made.list_others(0) == ()
    assert made.choose(0) == name


@pytest.mark.parametrize(
    "reply",
    [
        ["b"],
        ["b", ""],
        ["b", "1 2"],
        ["b", "1 2 3"],
        ["b", "-1 9 0"],
        ["b", "0 9999999999999999999 0"],
        ["b", "0 9 0\n"],
        ["b", "٠ 9 0"],
        ["B", "0 9 0"],
        ["b/../c", "0 9 0"],
        ["b" * 40, "0 9 0"],
        [b"\xff", b"0 9 0"],
        ["a", "0 9 0"],
    ],
)
async def test_a_report_that_no_gateway_writes(reply: list[Any]) -> None:
    await knows_none("a", reply)


async def test_one_without_a_name_is_in_no_list() -> None:
    await knows_none("", ["b", "0 9 0"])


@pytest.mark.slow
async def test_a_full_gateway_that_knows_no_other_gives_no_token() -> None:
    """The balancer asks the next one then. Its own people renew theirs, and one whose page was left
    makes room as ever.
    """
    async with (
        running(gateway_name="h1", gateway_sessions=1, rate_limit_per_minute=0) as one,
        http(one) as client,
    ):
        granted = (await client.post("/api/token")).json()
        session = one.program.sessions.open(granted["session_id"])
        refused = await client.post("/api/token")
        assert_error(refused, 503, "busy", retryable=True)
        own = bearer(granted["token"])
        assert (await client.post("/api/token", headers=own)).status_code == 200
        session.last_activity -= LEFT_SECONDS + 1
        assert (await client.post("/api/token")).status_code == 200


@asynccontextmanager
async def stored(folder: Path) -> AsyncIterator[tuple[RedisServer, RedisStore]]:
    async with redis_server(folder) as server:
        store = RedisStore(server.url, SECRET)
        try:
            await store.probe()
            yield server, store
        finally:
            await store.close()


@pytest.mark.slow
@pytest.mark.usefixtures("patience")
async def test_reports_in_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They arrive, change, end by `leave` and by age; the newest ones are kept; every key expires."""
    async with stored(tmp_path) as (_, store):
        own = {"a": Replica("a", 1, 9), "b": Replica("b", 2, 9)}
        a, b = (ReplicaList(lambda n=n: own[n], store) for n in ("a", "b"))  # type: ignore[misc]
        await a.report(0)
        await b.report(0)
        assert b.list_others(0) == (own["a"],)
        own["b"] = Replica("b", 3, 9, draining=True)
        await b.report(1)
        await a.report(1)
        assert a.list_others(1) == (own["b"],)
        await b.leave()
        await a.report(2)
        assert a.list_others(2) == ()
        for number in range(MOST_REPLICAS + 20):
            name = f"h{number}"
            await ReplicaList(lambda name=name: Replica(name, 0, 1), store).report(2)  # type: ignore[misc]
        # Of reports of one second the first names go first.
        last = ReplicaList(lambda: Replica("z", 0, 1), store)
        await last.report(3)
        assert len(last.list_others(3)) == MOST_REPLICAS - 1
        assert last.crowded
        # Numbers and names alone, and each key goes by itself.
        for key in [key async for key in store._redis.scan_iter("*gateway*")]:
            assert 0 < await store._redis.ttl(key) <= replicas.REPORT_SECONDS
        monkeypatch.setattr(replicas, "REPORT_SECONDS", 0)
        await a.report(4)
        await asyncio.sleep(1.1)
        await a.report(5)
        assert a.list_others(5) == ()


@pytest.mark.slow
@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("way", WAYS)
async def test_a_list_that_redis_forgot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Redis is back, empty or with what it had so long ago: those that were known before count until
    they have had time to report, so that a gateway that drains just then still has where to send
    its people. One that reports no more is gone after that.
    """
    monkeypatch.setattr(replicas, "REPORT_SECONDS", 3)
    async with stored(tmp_path) as (server, store):
        own = {"a": Replica("a", 1, 9), "b": Replica("b", 2, 9), "c": Replica("c", 0, 9)}
        a, b, c = (ReplicaList(lambda n=n: own[n], store) for n in own)  # type: ignore[misc]
        for one in (a, b, c, a):
            await one.report(0)
        assert set(a.list_others(0)) == {own["b"], own["c"]}
        await server.take_away(way)
        await a.report(1)
        assert not store.is_available
        assert a.can_take(1)
        if way == "stopped":
            # Its keys expire meanwhile.
            await asyncio.sleep(3.1)
        await server.give_back(way)
        await answering(store)
        await a.report(2)
        assert a.can_take(2)
        assert set(a.list_others(2)) == {own["b"], own["c"]}
        own["b"] = Replica("b", 9, 9)
        await b.report(2)
        await a.report(3)
        assert set(a.list_others(3)) == {own["b"], own["c"]}
        await a.report(2 + replicas.BACK_SECONDS)
        assert a.list_others(7) == (own["b"],)


@pytest.mark.slow
async def test_a_full_gateway_gives_tokens_of_another(tmp_path: Path) -> None:
    """Two gateways at one Redis: newcomers at a full or draining one get an id that leads to the
    other, and it begins there.
    """
    async with (
        redis_server(tmp_path) as redis,
        gateways(redis, "h1_8010", "h2", gateway_sessions=1) as (one, other),
        http(one) as client,
    ):
        first = (await client.post("/api/token")).json()
        assert first["session_id"].startswith("h1_8010-")
        one.program.sessions.open(first["session_id"])
        second = (await client.post("/api/token")).json()
        assert second["session_id"].startswith("h2-")
        assert other.program.sessions.replicas.is_home(second["session_id"])
        await one.program.drain()
        third = await client.post("/api/token")
        assert third.json()["session_id"].startswith("h2-")
        listed = other.program.added.provided[Cluster].replicas
        await listed.report(asyncio.get_running_loop().time())
        assert [g.draining for g in listed.list_others(asyncio.get_running_loop().time())] == [True]
