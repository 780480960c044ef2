"""Limits that processes keep together over a real Redis, and each for itself without it."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from jose import jwt
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from server.auth import Guesses, RequestLimiter
from server.core.aio import Pools
from server.core.errors import Busy
from server.features.cameras.cameras import get_cameras, invite
from server.features.cluster import shared_limits
from server.features.cluster.redis_store import RedisStore
from server.features.cluster.shared_limits import (
    SLOT_SECONDS,
    TOKEN_SECONDS,
    Counts,
    Ends,
    SharedEnds,
    SharedSlots,
)
from server.session.session import Session
from server.session_manager import Replicas, SessionManager
from tests.features.cluster.gateways import SECRET
from tests.features.rooms import with_features
from tests.support.clients import bearer
from tests.support.fakes import FakeEngine
from tests.support.fakes_server import ServerProcess
from tests.support.patient_server import ANSWER_SECONDS
from tests.support.redis_server import RedisServer, redis_server
from tests.support.rooms import LIMITS, make_services
from tests.support.timing import AT_ONCE_SECONDS
from tests.web.test_limits import looked_at

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("patience")]

DEVICE = "device "
ADDRESS, NEIGHBOUR = "192.0.2.1", "192.0.2.2"


class Slotted(Replicas):
    """A process that shares slots alone."""

    def __init__(self, slots: SharedSlots) -> None:
        self._slots = slots

    async def take(self, name: str) -> bool:
        return await self._slots.take(name)

    async def leave(self, name: str) -> None:
        await self._slots.leave(name)


@asynccontextmanager
async def managers_of(*slots: SharedSlots, most: int) -> AsyncIterator[list[SessionManager]]:
    """The sessions of so many processes."""
    pools = Pools()
    services = make_services(FakeEngine(), pools)
    made = [
        SessionManager(
            lambda id: Session(id, LIMITS, services, with_features()),
            max_sessions=most,
            timeout=60.0,
        )
        for _ in slots
    ]
    for manager, one in zip(made, slots, strict=True):
        manager.capacity.replicas = Slotted(one)
    try:
        yield made
    finally:
        for manager in made:
            await manager.close()
        await services.inference.close()
        pools.close()


@asynccontextmanager
async def stores(server: RedisServer, count: int = 2) -> AsyncIterator[list[RedisStore]]:
    """Those of so many processes."""
    made = [RedisStore(server.url, SECRET) for _ in range(count)]
    try:
        for store in made:
            await store.probe()
        yield made
    finally:
        for store in made:
            await store.close()


def shared_limiter(store: RedisStore, per_minute: int) -> RequestLimiter:
    """The limiter of one process."""
    made = RequestLimiter(per_minute)
    made.share(Counts(store, per_minute))
    return made


def limiters(stores: list[RedisStore], per_minute: int) -> list[RequestLimiter]:
    return [shared_limiter(store, per_minute) for store in stores]


async def test_an_address_has_one_allowance_in_all_processes(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, stores(server) as both:
        one, other = limiters(both, 6)
        now = time.monotonic()
        for limiter in (one, other, one, one, other, other):
            assert await limiter.count_anybody(ADDRESS, now) is None
        for limiter in (one, other):
            wait = await limiter.count_anybody(ADDRESS, now)
            assert wait is not None
            # By Redis's clock, since the first of the six
            assert 10 - (time.monotonic() - now) - 0.01 <= wait <= 10
            assert await limiter.count_anybody(NEIGHBOUR, now) is None
        # An IPv6 household is one asker.
        for number in range(6):
            assert await one.count_anybody(f"2001:db8::{number}", now) is None
        assert await other.count_anybody("2001:db8::9", now) is not None
        keys = await server.dump()
    assert len(keys) == 4  # three askers, and what the store looks with
    for key, (_, left) in keys.items():
        assert 0 < left <= 60_001
        assert not re.search(r"192\.0|2001|db8", key)


async def test_a_wrong_code_takes_more_everywhere(tmp_path: Path) -> None:
    """Guesses at one process count at the other: two wrong codes of six are all that there is."""
    async with redis_server(tmp_path) as server, stores(server) as both:
        one, other = limiters(both, 6)
        now = time.monotonic()
        for _ in range(2):
            assert await one.count_anybody(ADDRESS, now) is None
            await one.charge_wrong_code(ADDRESS, now)
        assert await other.count_anybody(ADDRESS, now) is not None
        for _ in range(5):
            await one.charge_wrong_code(ADDRESS, now)
        wait = await other.count_anybody(ADDRESS, now)
        # Never below nothing.
        assert wait is not None
        assert wait <= 10


async def test_a_token_has_one_allowance_in_all_processes(tmp_path: Path) -> None:
    """A third of an address's.

    One whose session began nowhere is good once; begun in one process, it is so in all.
    """
    async with redis_server(tmp_path) as server, stores(server) as both:
        one, other = limiters(both, 6)
        now = time.monotonic()
        assert await one.count_session("s1", ADDRESS, now, begun=True) is None
        assert await other.count_session("s1", ADDRESS, now, begun=True) is None
        assert await other.count_session("s1", ADDRESS, now, begun=True) is not None
        # Never begun: from its second request on it shares its address's allowance.
        for _ in range(6):
            assert await one.count_anybody(ADDRESS, now) is None
        assert await one.count_session("s2", ADDRESS, now, begun=False) is None
        assert await other.count_session("s2", ADDRESS, now, begun=False) is not None
        slots = SharedSlots(both[0], 10, dict)
        assert await slots.take("s3")
        assert await one.count_session("s3", ADDRESS, now, begun=False) is None
        assert await other.count_session("s3", ADDRESS, now, begun=False) is None
        assert max(left for _, left in (await server.dump()).values()) <= TOKEN_SECONDS * 1000 + 1


async def test_no_limit_asks_nobody() -> None:
    store = RedisStore("redis://127.0.0.1:1/0", SECRET)
    limiter = shared_limiter(store, 0)
    for _ in range(100):
        assert await limiter.count_anybody(ADDRESS, 0.0) is None
        assert await limiter.count_session("s", ADDRESS, 0.0, begun=False) is None
        await limiter.charge_wrong_code(ADDRESS, 0.0)
    await store.close()


async def test_alone_a_process_goes_on_with_what_it_counted(tmp_path: Path) -> None:
    """Redis dies: the limit holds for each process, which knows what passed at itself before."""
    async with redis_server(tmp_path) as server, stores(server) as both:
        one, other = limiters(both, 4)
        now = time.monotonic()
        for limiter in (one, one, one, other):
            assert await limiter.count_anybody(ADDRESS, now) is None
        assert await one.count_anybody(ADDRESS, now) is not None
        await server.kill()
        assert await one.count_anybody(ADDRESS, now) is None
        assert await one.count_anybody(ADDRESS, now) is not None
        for _ in range(3):
            assert await other.count_anybody(ADDRESS, now) is None
        assert await other.count_anybody(ADDRESS, now) is not None


async def test_slots_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_limits, "SLOT_SECONDS", 3)
    async with redis_server(tmp_path) as server, stores(server) as both:
        here: dict[str, float | None] = {}
        one, other = SharedSlots(both[0], 3, lambda: here), SharedSlots(both[1], 3, dict)
        assert [await p.take(s) for p, s in ((one, "a"), (other, "b"), (one, "c"))] == [True] * 3
        assert not await one.take("d")
        assert not await other.take("d")
        assert await other.take("b")
        await one.leave("a")
        assert await other.take("d")
        here["c"] = None
        # b and d are nobody's any more.
        async with asyncio.timeout(30):
            while not await one.take("e"):
                await one.keep()
                await asyncio.sleep(0.1)
        await one.keep()
        assert await one.take("f")
        assert not await one.take("g")
        keys = await server.dump()
    assert all(0 < left <= 60_000 for _, left in keys.values())
    assert SLOT_SECONDS > 2 * 5


async def test_who_left_makes_room_at_another_process(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, stores(server) as both:
        here: dict[str, float | None] = {"used": None, "left": -70.0, "longer": -90.0}
        one, other = SharedSlots(both[0], 3, lambda: here), SharedSlots(both[1], 3, dict)
        for name in here:
            assert await one.take(name)
        assert not await other.take("a")
        assert await one.keep() == []
        assert await other.take("a")
        assert await one.keep() == ["longer"]
        del here["longer"]
        await one.leave("longer")
        # Back before its slot was given away: it has made no room.
        here["left"] = None
        assert await one.keep() == []
        assert not await other.take("b")
        # Back after it: it stays, above the bound until somebody goes.
        here["left"] = -1e9
        assert await one.keep() == []
        assert await other.take("b")
        here["left"] = None
        assert await one.keep() == []
        assert not await other.take("c")
        # A Redis that forgot all takes nobody's session away.
        here["left"] = -70.0
        await server.kill()
        await server.start()
        async with asyncio.timeout(10):
            while await both[0].run("return 1", []) is None:
                await asyncio.sleep(0.1)
        assert await one.keep() == []
        keys = await server.dump()
    assert all(0 < left <= SLOT_SECONDS * 1000 for _, left in keys.values())


async def test_sessions_take_slots(tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        stores(server) as both,
        managers_of(*(SharedSlots(store, 2, dict) for store in both), most=2) as managers,
    ):
        one, other = managers
        await one.admit("a")
        await other.admit("b")
        for manager in managers:
            with pytest.raises(Busy):
                await manager.admit("c")
            assert "c" not in manager
        assert await one.admit("a") is one.find("a")
        one.find("a").last_activity -= 900
        await one.admit("c")
        assert "a" not in one
        await other.end("b", "over")
        await one.admit("d")
        assert len(one) == 2
        # Further cameras take slots, too, are kept with their sessions, and free them.
        with pytest.raises(Busy):
            await invite(one, "c", "")
        assert list(one.capacity.holders) == ["c", "d"]
        await one.end("d", "over")
        assert (await invite(one, "c", "")).camera == "2"
        assert list(one.capacity.holders) == ["c", "c~2"]
        with pytest.raises(Busy):
            await other.admit("x")
        # Somebody who is back stays; who left makes room, also for others' people.
        await one.capacity.make_room(["c"])
        assert "c" in one
        await get_cameras(one.find("c")).end("2")
        await one.replicas.leave("c~2")
        await other.admit("x")
        await other.end("x", "over")
        await invite(one, "c", "")
        await one.end("c", "over")
        await one.admit("h")
        await one.admit("i")
        # Without Redis each process has all slots.
        await server.kill()
        await other.admit("e")
        await other.admit("f")
        with pytest.raises(Busy):
            await other.admit("g")


# Two processes


@asynccontextmanager
async def processes(
    redis: RedisServer, count: int = 2, /, **settings: str
) -> AsyncIterator[tuple[list[ServerProcess], httpx.AsyncClient]]:
    """So many servers, and a client."""
    given = {"REDIS_URL": redis.url, "JWT_SECRET_KEY": SECRET, "PROBE_EVERY": "1", **settings}
    servers = [ServerProcess(given, module="tests.support.patient_server") for _ in range(count)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        yield servers, await stack.enter_async_context(httpx.AsyncClient(trust_env=False))


async def seconds_of(http: httpx.AsyncClient, server: ServerProcess) -> tuple[float, int]:
    """Request a token; return the seconds it took and the status."""
    start = time.monotonic()
    reply = await http.post(f"{server.url}/api/token")
    return time.monotonic() - start, reply.status_code


async def socket(server: ServerProcess, grant: dict[str, str]) -> ClientConnection:
    return await connect(
        f"ws://127.0.0.1:{server.port}/ws/{grant['session_id']}",
        subprotocols=[Subprotocol("qwen-camera"), Subprotocol(f"bearer.{grant['token']}")],
        proxy=None,
    )


async def test_what_is_ended_at_one_process_is_ended_at_all(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, stores(server, 3) as three:
        one, other, later = [SharedEnds(store) for store in three]
        assert one.heard
        first = await other.read()
        assert first == Ends([], 0)
        assert await one.announce_end("0123456789ab")
        assert await one.announce_end_of_all(1_000_000)
        assert await one.announce_end_of_all(999_999)
        for each in (other, later, one):
            assert await each.read() == Ends(["0123456789ab"], 1_000_000)
        for _ in range(3):
            assert await one.announce_end("0123456789ab")
            assert await one.announce_end("ab0123456789")
        assert await later.read() == Ends(["ab0123456789"], 1_000_000)
        assert await later.read() == Ends([], 1_000_000)
        await server.kill()
        assert not await one.announce_end("ba9876543210")
        assert await other.read() is None
        assert not one.heard


@pytest.mark.parametrize("written", ["9999999999", "1e300", "-1", "rubbish", "x" * 100_000])
async def test_a_time_that_no_server_writes_ends_nothing(tmp_path: Path, written: str) -> None:
    """Neither sessions nor devices end by it, and it hides no order of an operator's."""
    async with redis_server(tmp_path) as server, stores(server) as (store, other):
        ends, writer = SharedEnds(store), Redis.from_url(server.url)
        try:
            await writer.set(store.name("ended-before"), written)
            later = f"{DEVICE}{10**10}"
            await writer.zadd(store.name("ended"), {later: 10**10, "0123456789ab": 10**10})
            assert await ends.read() == Ends(["0123456789ab"], 0)
            now = int(time.time())
            assert await SharedEnds(other).announce_end_of_all(now)
            assert await ends.read() == Ends([], now)
        finally:
            await writer.aclose()


async def test_an_operator_at_one_process_ends_a_session_at_another(tmp_path: Path) -> None:
    """Between two looks its socket closes there with 4410, and its token renews nowhere.

    Not so with a time in the future in Redis: a session stays, and its token is as old as any.
    """
    async with (
        redis_server(tmp_path) as redis,
        stores(redis, 1) as (store,),
        processes(redis, OPERATOR_TOKEN="operator-token-of-this-test") as (servers, http),
    ):
        one, other = servers

        async def enter() -> tuple[dict[str, str], ClientConnection]:
            granted = (await http.post(f"{one.url}/api/token")).json()
            held = await socket(one, granted)
            assert '"ready"' in str(await held.recv())
            return granted, held

        granted, held = await enter()
        writer = Redis.from_url(redis.url)
        await writer.set(store.name("ended-before"), str(2**40))
        # Each server writes this key each time before it reads what has ended.
        async with asyncio.timeout(30):
            for _ in range(4):
                await writer.delete(store.name("probe"))
                while not await writer.exists(store.name("probe")):
                    await asyncio.sleep(0.1)
        await writer.aclose()
        await held.ping()
        token = bearer(granted["token"])
        renewed = await http.post(f"{one.url}/api/token", headers=token)
        assert renewed.status_code == 200
        claims = jwt.get_unverified_claims(renewed.json()["token"])
        assert claims["auth_time"] <= time.time()

        right = {"Authorization": "Bearer operator-token-of-this-test"}
        for name in ("one", "all"):
            if name == "all":
                granted, held = await enter()
            listed = (await http.get(f"{one.url}/api/operator/sessions", headers=right)).json()
            [seen] = listed["sessions"]
            assert listed["shared"] is True
            path = f"/{seen['name']}" if name == "one" else ""
            ended = await http.delete(f"{other.url}/api/operator/sessions{path}", headers=right)
            assert (ended.status_code, ended.json()) == (200, {"ended": 0})
            async with asyncio.timeout(20):
                with suppress(ConnectionClosed):
                    while True:
                        await held.recv()
            assert held.close_code == 4410
            token = bearer(granted["token"])
            for server in servers:
                reply = await http.post(f"{server.url}/api/token", headers=token)
                assert reply.status_code == 401


async def test_two_processes(tmp_path: Path) -> None:
    """Tokens and slots of both; Redis hangs, is back, and dies: fast answers, and told in /health."""
    settings = {"RATE_LIMIT_PER_MINUTE": "6", "MAX_SESSIONS": "2", "TRUSTED_PROXIES": "127.0.0.1"}
    async with (
        redis_server(tmp_path) as redis,
        processes(redis, **settings) as (servers, http),
    ):
        one, other = servers

        async def health() -> list[bool]:
            replies = [await http.get(f"{server.url}/health") for server in servers]
            return [reply.json()["limits"]["shared"] for reply in replies]

        async def until(shared: bool) -> None:
            async with asyncio.timeout(15):
                while await health() != [shared, shared]:
                    await asyncio.sleep(0.1)

        assert await health() == [True, True]
        grants = []
        for number in range(6):
            reply = await http.post(f"{servers[number % 2].url}/api/token")
            assert reply.status_code == 200
            grants.append(reply.json())
        for server in servers:
            reply = await http.post(f"{server.url}/api/token")
            assert reply.status_code == 429
            assert 1 <= int(reply.headers["retry-after"]) <= 10
        # Two slots in all.
        held = [await socket(one, grants[0]), await socket(other, grants[1])]
        for open_socket in held:
            assert '"ready"' in str(await open_socket.recv())
        for server in servers:
            third = await socket(server, grants[2])
            with pytest.raises(ConnectionClosed):
                await third.recv()
            assert third.close_code == 4429
        # Hanging: whoever asks first waits for one time limit, nobody after that; the process's own
        # limit holds.
        redis.signal(signal.SIGSTOP)
        for server in servers:
            for _ in range(2):
                took, status = await seconds_of(http, server)
                # Real time, since a process hangs: it may take the limit, and then some on a busy
                # machine.
                assert took < ANSWER_SECONDS + AT_ONCE_SECONDS
                assert status == 200
        await until(False)
        metrics = (await http.get(f"{one.url}/metrics")).text
        assert "qwen_camera_limits_shared 0.0" in metrics
        failures = re.search(r"^qwen_camera_shared_limits_failures_total (\S+)", metrics, re.M)
        assert failures is not None
        assert float(failures[1]) >= 1
        redis.signal(signal.SIGCONT)
        await until(True)
        # Dead.
        await redis.kill()
        for server in servers:
            took, status = await seconds_of(http, server)
            assert took < ANSWER_SECONDS + AT_ONCE_SECONDS
            assert status == 200
        await until(False)
        for open_socket in held:
            await open_socket.close()
        assert list(tmp_path.iterdir()) == []
    for server in servers:
        assert '"redis unavailable"' in server.text
        assert "127.0.0.1:" not in re.sub(r"Open .*", "", server.text)
        assert '"level": "error"' not in server.text


async def test_processes_share_the_budget_of_guesses(tmp_path: Path) -> None:
    """All together; without an answer of Redis each has its own again, which counted all along."""
    async with redis_server(tmp_path) as server, stores(server) as both:
        one, other, other_kind = (
            Guesses(kind, budget=10) for kind in ("codes", "codes", "operator")
        )
        for guesses, store in ((one, both[0]), (other, both[1]), (other_kind, both[0])):
            guesses.share(Counts(store, 0))
        now = time.monotonic()
        assert await looked_at(one, 6, 6, now) == 6
        assert await looked_at(other, 6, 6, now) == 4
        assert await one.check(True, "203.0.113.1", now) is not None
        assert await other_kind.check(True, "203.0.113.1", now) is None
        await server.kill()
        assert await looked_at(other, 20, 20, now) == 4
