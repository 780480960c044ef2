"""The messages to the service manager, read from a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
from server.web.serving import STOP_SECONDS, DrainingServer, Notifier
from tests.app.test_main import started


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


def test_ready_alive_and_stopping(listening: Supervisor) -> None:
    """Each is one message, by path and by abstract name; stopping asks for the time that it takes."""
    notifier = Notifier.from_environment(
        {"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "3000000"}
    )
    notifier.ready("Listening on port 8000")
    assert listening.heard() == ["READY=1", "STATUS=Listening on port 8000"]
    assert notifier.interval == 1.5
    notifier.alive()
    assert listening.heard() == ["WATCHDOG=1"]
    notifier.stopping(35, "Running answers finish")
    assert listening.heard() == [
        "STOPPING=1",
        "STATUS=Running answers finish",
        "EXTEND_TIMEOUT_USEC=35000000",
    ]
    notifier.close()
    assert (notifier.sent, notifier.lost) == (3, 0)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/"},
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "relative/path"},
    ],
)
def test_nobody_to_tell(environment: dict[str, str]) -> None:
    """Without a socket that is understood nothing is sent and nothing fails."""
    notifier = Notifier.from_environment(environment)
    notifier.ready("Listening")
    notifier.alive()
    notifier.stopping(1, "Ending")
    assert (notifier.sent, notifier.lost, notifier.interval) == (0, 0, None)


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        pytest.param("3000000", str(os.getpid()), 1.5, id="this process"),
        ("3000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("1", None, 0.05),
    ],
)
def test_who_is_watched_and_how_often(usec: str, pid: str | None, interval: float | None) -> None:
    """Half of what is allowed; nothing for another process or without a number of microseconds."""
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": usec}
    if pid is not None:
        environment["WATCHDOG_PID"] = pid
    assert Notifier.from_environment(environment).interval == interval


def test_what_could_not_be_said_is_said_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A service manager that is away for a moment still learns that it is ready; signs of life are
    not kept.
    """
    address = str(tmp_path / "notify")
    notifier = Notifier(address, watchdog=1.0)
    with caplog.at_level(logging.WARNING, "server.web.serving"):
        notifier.ready("Listening")
        notifier.alive()
    assert len(caplog.records) == 1
    with supervisor(address) as manager:
        notifier.alive()
        assert manager.heard() == ["READY=1", "STATUS=Listening", "WATCHDOG=1"]
        notifier.alive()
        assert manager.heard() == ["WATCHDOG=1"]
    notifier.close()
    assert (notifier.sent, notifier.lost) == (2, 2)


def test_what_could_not_be_said_without_a_watchdog(tmp_path: Path) -> None:
    """It is tried again, and then there is nothing more to say."""
    address = str(tmp_path / "notify")
    notifier = Notifier(address)
    notifier.ready("Listening")
    with supervisor(address) as manager:
        notifier.alive()
        notifier.alive()
        assert manager.heard() == ["READY=1", "STATUS=Listening"]
    notifier.close()


def test_a_service_manager_that_does_not_read_stops_nothing(tmp_path: Path) -> None:
    """Its queue is full, the message is counted as lost, and the caller goes on at once."""
    with supervisor(str(tmp_path / "notify")) as manager:
        notifier = Notifier(manager.address, watchdog=1.0)
        for _ in range(100_000):
            notifier.alive()
            if notifier.lost:
                break
        assert notifier.lost == 1
        notifier.close()


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


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never called here."""


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
        async with serving(Notifier(manager.address, watchdog=0.1)):
            await manager.hears("WATCHDOG=1")
            manager.heard()
            # On purpose: this is what must not happen.
            time.sleep(0.4)
            assert manager.heard() == []
            await manager.hears("WATCHDOG=1")
        assert "EXTEND_TIMEOUT_USEC=21000000" in manager.heard()
