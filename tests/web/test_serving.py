"""Listening: why nothing can, and signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from server.core.aio import Deadline
from server.web.serving import (
    STOP_SECONDS,
    DrainingServer,
    Notifier,
    find_listening_problem,
)
from tests.app.test_main import started


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never called here."""


def test_where_nothing_can_listen() -> None:
    """Each reason in its own words; a free place is none."""
    assert find_listening_problem("127.0.0.1", 0) is None
    assert find_listening_problem("0.0.0.0", 0) is None
    assert "192.0.2.7" in str(find_listening_problem("192.0.2.7", 0))
    assert "nowhere.invalid" in str(find_listening_problem("nowhere.invalid", 0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in str(find_listening_problem("127.0.0.1", taken.getsockname()[1]))


def test_a_signal_before_the_start() -> None:
    """Then there is nothing to drain: it just does not go on."""

    async def drain(deadline: Deadline) -> None:
        raise AssertionError("there is nothing to drain")

    server = DrainingServer(uvicorn.Config(nothing), drain=drain)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit


# The messages to the service manager, read from a real socket.


class Supervisor:
    """The service manager's end: a datagram socket, and what came in, a message a line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        lines: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines += self._socket.recv(4096).decode().split("\n")
        return lines

    async def hears(self, word: str, timeout: float = 60) -> list[str]:
        """Everything up to the message that holds a line beginning with `word`."""
        lines: list[str] = []
        async with asyncio.timeout(timeout):
            while not any(line.startswith(word) for line in lines):
                await asyncio.sleep(0.01)
                lines += self.heard()
        return lines

    def close(self) -> None:
        self._socket.close()
        if self.address[0] == "/":
            Path(self.address).unlink()


@contextlib.contextmanager
def supervisor(address: str) -> Iterator[Supervisor]:
    it = Supervisor(address)
    try:
        yield it
    finally:
        it.close()


def abstract() -> str:
    return f"@qwen-camera-test-{os.getpid()}"


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    address = str(tmp_path / "notify") if request.param == "path" else abstract()
    with supervisor(address) as it:
        yield it


def test_messages_reach_the_service_manager(listening: Supervisor) -> None:
    """Lines are one message, by path and by abstract name; half of the watchdog's time is left."""
    notifier = Notifier({"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "3000000"})
    notifier.send("READY=1", "STATUS=Listening on port 8000")
    assert listening.heard() == ["READY=1", "STATUS=Listening on port 8000"]
    assert notifier.interval == 1.5


def test_no_service_manager(tmp_path: Path) -> None:
    """Nothing is sent without a socket, and nothing fails where nobody reads it."""
    assert Notifier({}).interval is None
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "notify")}):
        Notifier(environment).send("READY=1")


def test_a_service_manager_that_does_not_read_stops_nothing(tmp_path: Path) -> None:
    with supervisor(str(tmp_path / "notify")) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": manager.address})
        for _ in range(10_000):
            notifier.send("WATCHDOG=1")
        assert set(manager.heard()) == {"WATCHDOG=1"}


@pytest.mark.slow
async def test_the_servers_whole_life(tmp_path: Path) -> None:
    """Ready once it answers, alive while its loop turns, stopping within DRAIN_SECONDS and more."""
    with supervisor(str(tmp_path / "notify")) as manager:
        async with started(
            tmp_path, engine="builtin", notify_socket=manager.address, watchdog_usec=400_000
        ) as process:
            heard = await manager.hears("READY=1")
            assert heard[0] == "READY=1"
            await process.read_greeting()
            assert f"STATUS=Listening on port {process.port}" in heard
            _, writer = await asyncio.open_connection("127.0.0.1", process.port)
            writer.close()
            await writer.wait_closed()
            await manager.hears("WATCHDOG=1")
            # Two may have come at once while the machine was busy.
            assert set(await manager.hears("WATCHDOG=1")) == {"WATCHDOG=1"}
            process.signal()
            heard = await manager.hears("STOPPING=1")
            seconds = 5 + STOP_SECONDS
            assert f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}" in heard
            assert (await process.end())[0] == 0


@contextlib.asynccontextmanager
async def serving(notifier: Notifier) -> AsyncIterator[None]:
    async def drain(deadline: Deadline) -> None:
        """Nothing runs."""

    config = uvicorn.Config(nothing, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = DrainingServer(config, drain=drain, notifier=notifier, drain_seconds=1)
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.handle_exit(signal.SIGTERM, None)
        await task


async def test_a_blocked_loop_sends_no_sign_of_life(tmp_path: Path) -> None:
    """They come from the event loop itself, so they end when it hangs, and go on when it does."""
    with supervisor(str(tmp_path / "notify")) as manager:
        environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
        async with serving(Notifier(environment)):
            await manager.hears("WATCHDOG=1")
            manager.heard()
            # On purpose: this is what must not happen.
            time.sleep(0.4)
            assert manager.heard() == []
            await manager.hears("WATCHDOG=1")
        assert "EXTEND_TIMEOUT_USEC=21000000" in manager.heard()
