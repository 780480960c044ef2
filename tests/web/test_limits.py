"""The bounds on guesses of codes and tokens, for each address and for all."""

from __future__ import annotations

import time

import httpx
import pytest

from server import auth
from server.auth import BUDGET, FLOOR, WINDOW, Guesses, RequestLimiter
from server.web.request_guard import AuthMethod
from tests.support.clients import bearer, http, metric, with_client
from tests.support.running import Running
from tests.support.timing import allowances_held
from tests.web.conftest import SECRET

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

CODE = "tulip-meadow-27"
LOCKED = {"access_code": CODE, "jwt_secret_key": SECRET}
OPERATOR = "operator-token-of-this-test"
METRICS = "metrics-token-of-this-test"
PAST = (1.0, WINDOW / FLOOR + 1)


def forwarded(number: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250 + 1}"}


async def looked_at(one: Guesses, count: int, addresses: int, now: float = 0.0) -> int:
    """Return how many of `count` wrong guesses, from `addresses` addresses in turn, were judged."""
    waits = [
        await one.check(False, f"192.0.{n % addresses // 250}.{n % addresses % 250}", now)
        for n in range(count)
    ]
    return waits.count(None)


async def test_an_address_has_so_many_guesses() -> None:
    """The next waits, the right one too; a minute later there is one more, a window later all."""
    one = Guesses("codes")
    assert await looked_at(one, 60, 1) == FLOOR
    wait = await one.check(True, "192.0.0.0", 0.0)
    assert wait is not None
    assert PAST[0] < wait < PAST[1]
    assert await one.check(True, "192.0.2.9", 0.0) is None
    assert await looked_at(one, 60, 1, now=wait) == 1
    assert await looked_at(one, 60, 1, now=wait + WINDOW) == FLOOR


async def test_all_addresses_together_have_so_many_guesses() -> None:
    """However many they are; afterwards as many as come back in the time, whoever asks."""
    one = Guesses("codes")
    assert await looked_at(one, 1000, 1000) == BUDGET
    assert await one.check(True, "203.0.113.1", 0.0) is not None
    assert await looked_at(one, 1000, 1000, now=60.0) == round(60 * BUDGET / WINDOW)


async def test_who_brought_a_right_one_before_is_not_held_up() -> None:
    """While others have used up all guesses; its own wrong ones have their bound all the same."""
    one = Guesses("codes")
    for _ in range(100):
        assert await one.check(True, "203.0.113.1", 0.0) is None
    await looked_at(one, 1000, 1000)
    assert await one.check(True, "203.0.113.1", 0.0) is None
    assert await one.check(True, "203.0.113.2", 0.0) is not None
    wrong = [await one.check(False, "203.0.113.1", 0.0) for _ in range(60)]
    assert wrong.count(None) == FLOOR


async def test_a_right_one_that_had_to_wait_makes_nobody_known() -> None:
    """A right guess that has to wait does not free its address from later waits."""
    one = Guesses("codes")
    await looked_at(one, 1000, 1000)
    assert await one.check(True, "203.0.113.2", 0.0) is not None
    assert await one.check(True, "203.0.113.2", 0.0) is not None


async def test_known_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one unheard of for longest is forgotten."""
    monkeypatch.setattr(auth, "MAX_KNOWN", 2)
    one = Guesses("codes")
    for last in (1, 2, 1, 3):
        assert await one.check(True, f"203.0.113.{last}", 0.0) is None
    await looked_at(one, 1000, 1000)
    answers = [await one.check(True, f"203.0.113.{last}", 0.0) for last in (1, 2, 3)]
    assert [wait is None for wait in answers] == [True, False, True]


async def test_no_tunnel_guesses_without_limit(caplog: pytest.LogCaptureFixture) -> None:
    """X-Forwarded-For from an untrusted tunnel does not count, and the log names the setting."""
    settings = {**LOCKED, "operator_token": OPERATOR}
    began = time.monotonic()

    def most() -> float:
        return FLOOR + 1 + (time.monotonic() - began) * FLOOR / WINDOW

    async with with_client(**settings, rate_limit_per_minute=60) as (_, client):
        codes = [
            (
                await client.post(
                    "/api/token", json={"access_code": f"guess{n}"}, headers=forwarded(n)
                )
            ).status_code
            for n in range(100)
        ]
        assert codes.count(401) <= most()
        assert codes.count(429) == 100 - codes.count(401)
        tokens = [
            (
                await client.get("/api/engine", headers=forwarded(n) | bearer(f"guess{n}"))
            ).status_code
            for n in range(60)
        ]
        assert tokens.count(401) <= most()
        assert set(tokens) <= {401, 429}
    assert 1 <= caplog.text.count("X-Forwarded-For ignored") <= 3
    assert "198.51." not in str([vars(record) for record in caplog.records])


async def many(run: Running, kind: str, count: int) -> list[int]:
    """The statuses of so many wrong guesses, each of another address."""
    statuses = []
    async with http(run) as client:
        for n in range(count):
            guess = f"guess{n}"
            if kind in ("access_code", "pairing_code"):
                body = {kind: guess}
                reply = await client.post("/api/token", json=body, headers=forwarded(n))
            else:
                reply = await client.get(kind, headers=forwarded(n) | bearer(guess))
            statuses.append(reply.status_code)
    return statuses


async def test_a_wrong_access_code_costs_three_requests() -> None:
    """Two of them use up what six tokens would."""
    async with allowances_held(), with_client(**LOCKED, rate_limit_per_minute=6) as (_, client):
        statuses = [
            (await client.post("/api/token", json={"access_code": given})).status_code
            for given in ("guess", "guess", CODE)
        ]
    assert statuses == [401, 401, 429]


@pytest.mark.parametrize("kind", ["access_code", "pairing_code", "/api/engine", "/metrics"])
async def test_many_addresses_have_one_budget_and_lock_nobody_out(kind: str) -> None:
    """Whatever is guessed and RATE_LIMIT_PER_MINUTE is: as many as the budget has.

    Held tokens, pairing codes and who got in before pass meanwhile, and what is guessed at
    elsewhere is of no matter.
    """
    async with (
        allowances_held(),
        with_client(
            **LOCKED,
            operator_token=OPERATOR,
            metrics_token=METRICS,
            rate_limit_per_minute=0,
            trusted_proxies="127.0.0.1",
        ) as (run, client),
    ):
        at_home = {"X-Forwarded-For": "203.0.113.1"}

        async def code(**headers: str) -> httpx.Response:
            return await client.post("/api/token", json={"access_code": CODE}, headers=headers)

        held = (await code(**at_home)).json()["token"]
        for path, token in (("/api/engine", OPERATOR), ("/metrics", METRICS)):
            reply = await client.get(path, headers=at_home | bearer(token))
            assert reply.status_code == 200
        statuses = await many(run, kind, 300)
        assert statuses.count(401) == BUDGET
        assert set(statuses) == {401, 429}
        assert metric(run, "auth_failures_total", reason="rate") == statuses.count(429)
        assert (await client.post("/api/token", headers=bearer(held))).status_code == 200
        pairing = run.program.added.provided[AuthMethod].codes.issue(time.monotonic())
        paired = await client.post("/api/token", json={"pairing_code": pairing})
        assert paired.status_code == 200
        assert (await code(**at_home)).status_code == 200
        for path, token in (("/api/engine", OPERATOR), ("/metrics", METRICS)):
            reply = await client.get(path, headers=at_home | bearer(token))
            assert reply.status_code == 200
        newcomer = await code(**forwarded(900))
        assert newcomer.status_code == (429 if kind == "access_code" else 200)


async def test_a_short_code_is_not_found_by_trying() -> None:
    """ "1234" without RATE_LIMIT_PER_MINUTE: twenty codes are compared, and later ones are not; a page
    without one may ask.
    """
    short = LOCKED | {"access_code": "1234"}
    async with allowances_held(), with_client(**short, rate_limit_per_minute=0) as (_, client):
        statuses = [
            (await client.post("/api/token", json={"access_code": f"{n:04d}"})).status_code
            for n in range(1234 - 3 * FLOOR, 1300)
        ]
        assert statuses.count(401) == FLOOR
        assert 200 not in statuses
        assert (await client.post("/api/token", json={})).status_code == 401


async def test_a_wrong_code_takes_more_and_never_below_nothing() -> None:
    """Three requests for each; after a minute without any the whole allowance is back."""
    limiter = RequestLimiter(12)
    for _ in range(4):
        assert await limiter.count_anybody("192.0.2.1", 0.0) is None
        await limiter.charge_wrong_code("192.0.2.1", 0.0)
    assert await limiter.count_anybody("192.0.2.1", 0.0) == pytest.approx(5.0)
    for _ in range(50):
        await limiter.charge_wrong_code("192.0.2.1", 0.0)
    assert await limiter.count_anybody("192.0.2.2", 0.0) is None
    assert await limiter.count_anybody("192.0.2.1", 5.01) is None
    assert await limiter.count_anybody("192.0.2.1", 5.02) is not None


async def test_a_session_has_its_own_allowance() -> None:
    """A third of an address's; before it has begun one request, then it shares the address's."""
    limiter = RequestLimiter(9)
    while await limiter.count_anybody("192.0.2.1", 0.0) is None:
        pass
    asked = [await limiter.count_session("a", "192.0.2.1", 0.0, begun=True) for _ in range(4)]
    assert asked[:3] == [None] * 3
    assert asked[3] is not None
    assert await limiter.count_session("b", "192.0.2.1", 0.0, begun=False) is None
    assert await limiter.count_session("b", "192.0.2.1", 0.0, begun=False) is not None
    assert await limiter.count_session("b", "192.0.2.1", 0.0, begun=True) is None


async def test_no_limit_for_sessions_either() -> None:
    """0 is no limit for anybody."""
    limiter = RequestLimiter(0)
    for _ in range(100):
        assert await limiter.count_session("a", "x", 0.0, begun=False) is None
        assert await limiter.count_anybody("x", 0.0) is None
    await limiter.charge_wrong_code("x", 0.0)
    assert limiter.forgotten == 0
