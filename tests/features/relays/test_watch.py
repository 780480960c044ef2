"""The watch over the relays: what it says, when, and that it goes on.

Real coturn: tests/shared/test_turn_check.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

import pytest

from server.core.redact import redact
from server.features.relays import watch as module
from server.features.relays.watch import RelayWatch
from server.media.patches.ice import Gathering
from server.shared.turn_check import RelayProblem, RelayResult
from tests.support.clients import http, metric
from tests.support.running import running
from tests.support.timing import at_once

SECRET = "the-secret-of-the-relay"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def watch(*urls: str) -> RelayWatch:
    return RelayWatch(urls, SECRET, 600, Gathering(), addresses=lambda: ["127.0.0.1"])


async def test_each_relay_gets_one_line_and_one_entry(caplog: pytest.LogCaptureFixture) -> None:
    """Unknown at first; then the cause, once in the log, always in the report, and no secret."""
    urls = [f"turn:127.0.0.1:{closed_port()}?transport=tcp" for _ in range(2)]
    relays = watch(*urls)
    assert relays.report() == [
        {"url": u, "ok": None, "problem": "", "why": "not checked yet"} for u in urls
    ]
    assert (relays.count_working(), relays.count_failing()) == (0, 0)
    with caplog.at_level(logging.INFO, "server.features.relays.watch"):
        await relays.check()
        await relays.check()
    report = relays.report()
    assert [entry["ok"] for entry in report] == [False, False]
    assert all("connection refused" in entry["why"] for entry in report)
    assert {entry["problem"] for entry in report} == {"unreachable"}
    assert relays.count_failing() == 2
    assert [r.message for r in caplog.records] == ["relay check failed"] * 2
    assert {r.__dict__["reason"] for r in caplog.records} == {"it cannot be reached"}
    assert {r.__dict__["relay"] for r in caplog.records} == set(urls)
    assert SECRET not in caplog.text + str(report)


async def test_a_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A relay that comes back, and one that goes, has a new line."""
    relays = watch("turn:a")
    with caplog.at_level(logging.INFO, "server.features.relays.watch"):
        for problem in (RelayProblem.NONE, RelayProblem.NONE, RelayProblem.CREDENTIALS):
            relays._learn(RelayResult("turn:a", problem, "", 0.1))
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("INFO", "relay check passed"),
        ("WARNING", "relay check failed"),
    ]
    assert relays.count_working() == 0


@pytest.mark.parametrize(("check", "retry", "looks"), [(60.0, 0.01, True), (60.0, 60.0, False)])
async def test_a_failing_relay_is_looked_at_sooner(
    monkeypatch: pytest.MonkeyPatch, check: float, retry: float, looks: bool
) -> None:
    """After a failure the shorter pause holds."""
    monkeypatch.setattr(module, "START_SECONDS", 0)
    monkeypatch.setattr(module, "CHECK_SECONDS", check)
    monkeypatch.setattr(module, "RETRY_SECONDS", retry)
    relays = watch(f"turn:127.0.0.1:{closed_port()}?transport=tcp")
    seen: list[RelayResult] = []
    relays._learn = seen.append  # type: ignore[method-assign,assignment]
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await relays.run()
    assert (len(seen) > 1) is looks


async def test_without_relays_there_is_nothing_to_do() -> None:
    """It ends at once."""
    async with at_once():
        await watch().run()


@pytest.mark.parametrize("problem", list(RelayProblem))
def test_relays_are_told_apart(problem: RelayProblem, caplog: pytest.LogCaptureFixture) -> None:
    """A relay by UDP and the same one by TCP, and why it does not work, are whole in the log."""
    urls = [f"turn:relay.example.org:3478?transport={way}" for way in ("udp", "tcp")]
    relays = watch(*urls)
    with caplog.at_level(logging.INFO):
        for url in urls:
            relays._learn(RelayResult(url, problem, "", 0.1))
    assert [redact(record.__dict__["relay"]) for record in caplog.records] == urls
    reasons = [record.__dict__.get("reason", "") for record in caplog.records]
    assert [redact(reason) for reason in reasons] == reasons


async def test_operators_see_the_relays() -> None:
    """In /health and as a metric."""
    url = f"turn:127.0.0.1:{closed_port()}?transport=tcp"
    async with running(turn_urls=[url], turn_secret=SECRET) as run:
        async with asyncio.timeout(15):
            while not metric(run, "relays", state="failing"):
                await asyncio.sleep(0.1)
        async with http(run) as client:
            (entry,) = (await client.get("/health")).json()["turn"]
    assert (entry["url"], entry["problem"]) == (url, "unreachable")
