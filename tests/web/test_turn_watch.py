"""The watch over the relays: what it says, when, and that it goes on.

Real coturn: tests/media/test_turn_check.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

import pytest

from server.media.patches.ice import Gathering
from server.media.turn_check import RelayProblem, RelayResult
from server.web import health
from server.web.health import RelayWatch
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
    assert (relays.working(), relays.failing()) == (0, 0)
    with caplog.at_level(logging.INFO, "server.web.health"):
        await relays.check()
        await relays.check()
    report = relays.report()
    assert [entry["ok"] for entry in report] == [False, False]
    assert all("connection refused" in entry["why"] for entry in report)
    assert {entry["problem"] for entry in report} == {"unreachable"}
    assert relays.failing() == 2
    assert [r.message for r in caplog.records] == ["relay does not work"] * 2
    assert {r.__dict__["reason"] for r in caplog.records} == {"it cannot be reached"}
    assert {r.__dict__["relay"] for r in caplog.records} == set(urls)
    assert SECRET not in caplog.text + str(report)


async def test_a_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A relay that comes back, and one that goes, has a new line."""
    relays = watch("turn:a")
    with caplog.at_level(logging.INFO, "server.web.health"):
        for problem in (RelayProblem.NONE, RelayProblem.NONE, RelayProblem.CREDENTIALS):
            relays._learn(RelayResult("turn:a", problem, "", 0.1))
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("INFO", "relay works"),
        ("WARNING", "relay does not work"),
    ]
    assert relays.working() == 0


@pytest.mark.parametrize(("check", "retry", "looks"), [(60.0, 0.01, True), (60.0, 60.0, False)])
async def test_a_failing_relay_is_looked_at_sooner(
    monkeypatch: pytest.MonkeyPatch, check: float, retry: float, looks: bool
) -> None:
    """After a failure the shorter pause holds."""
    monkeypatch.setattr(health, "START_SECONDS", 0)
    monkeypatch.setattr(health, "CHECK_SECONDS", check)
    monkeypatch.setattr(health, "RETRY_SECONDS", retry)
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


def test_every_problem_has_its_sentence() -> None:
    """The log knows a line for whatever the check may find."""
    relays = watch("turn:a")
    for problem in RelayProblem:
        relays._learn(RelayResult("turn:a", problem, "", 0.1))
