"""Listening: why nothing can, the lines for the terminal, and signals."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from scripts.bench.http_json import request
from server.core.aio import Deadline
from server.models.base import EngineState, EngineStatus
from server.web.protocols import Connections
from server.web.serving import (
    STOP_SECONDS,
    DrainingServer,
    Notifier,
    answer_to,
    greeting,
    listening_problem,
    uvicorn_config,
)
from tests.app.test_main import started
from tests.support.running import running_https


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never called here."""


def test_where_nothing_can_listen() -> None:
    """Each reason in its own words; a free place is none."""
    assert listening_problem("127.0.0.1", 0) is None
    assert listening_problem("0.0.0.0", 0) is None
    assert "no address of this machine" in str(listening_problem("192.0.2.7", 0))
    assert "no known name" in str(listening_problem("nowhere.invalid", 0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is in use" in str(listening_problem("127.0.0.1", taken.getsockname()[1]))


def test_what_protects_the_server_is_set() -> None:
    """Message size, compression, logs and proxy headers are ours, not uvicorn's defaults."""
    config = uvicorn_config(nothing, host="127.0.0.1", port=0, connections=Connections(10))
    assert config.ws_max_size == 64 * 1024
    assert not config.ws_per_message_deflate
    assert not config.access_log
    assert not config.proxy_headers


def test_a_signal_before_the_start() -> None:
    """Then there is nothing to drain: it just does not go on."""

    async def drain(deadline: Deadline) -> None:
        raise AssertionError("there is nothing to drain")

    server = DrainingServer(uvicorn.Config(nothing), drain=drain)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit


READY = EngineStatus(EngineState.READY, model="builtin")


def standing(name: str, status: EngineStatus) -> Any:
    """An engine, as the greeting needs it."""
    return SimpleNamespace(name=name, status=status)


@pytest.mark.parametrize(
    ("host", "better", "said", "unsaid"),
    [
        (
            "0.0.0.0",
            "http://gpu:8001/v1",
            ["http://localhost:8000", "http://gpu:8001/v1", "https"],
            [],
        ),
        ("127.0.0.1", None, ["http://localhost:8000", "ENGINE=auto"], ["Other devices"]),
        ("cam.example.org", None, ["http://cam.example.org:8000"], ["localhost"]),
    ],
)
def test_greeting(host: str, better: str | None, said: list[str], unsaid: list[str]) -> None:
    """It has the address, the engine, how to get a better one, and a hint for other devices."""
    text = greeting(
        scheme="http", host=host, port=8000, engine=standing("builtin", READY), better=better
    )
    assert all(len(line) <= 80 for line in text.splitlines())
    text = " ".join(text.split())
    assert all(part in text for part in ("builtin", "VLLM_BASE_URL", *said))
    assert not any(part in text for part in unsaid)


def test_greeting_says_what_the_built_in_engine_does() -> None:
    """As it says it of itself: NAME_THINGS may be off."""
    status = EngineStatus(EngineState.READY, for_visitors="It reads text, and no more.")
    text = greeting(
        scheme="http", host="0.0.0.0", port=1, engine=standing("builtin", status), better=None
    )
    assert "It reads text, and no more." in " ".join(text.split())


def test_greeting_says_who_does_what() -> None:
    text = greeting(
        scheme="http",
        host="127.0.0.1",
        port=1,
        engine=standing("vllm", READY),
        better=None,
        roles={
            "watches": standing("builtin", READY),
            "reads": standing("reads", dataclasses.replace(READY, model="small-vl")),
        },
    )
    assert "  Watches         builtin\n  Reads           reads (small-vl)\n" in text


def test_greeting_of_an_engine_that_does_not_answer() -> None:
    """Its trouble has its own words."""
    status = EngineStatus(EngineState.UNREACHABLE, "Nothing listens at gpu:8001.")
    text = greeting(
        scheme="https", host="0.0.0.0", port=1, engine=standing("vllm", status), better=None
    )
    assert "https://localhost:1" in text
    assert "unreachable: Nothing listens at gpu:8001." in text


# Plain http at the https port.


@pytest.mark.parametrize(
    ("first", "status", "location"),
    [
        (b"GET / HTTP/1.1\r\nHost: cam.local:8443\r\n\r\n", 307, "https://cam.local:8443/"),
        (b"GET /a?b=c HTTP/1.1\r\nX: y\r\nhOST:\tX\r\n", 307, "https://x/a?b=c"),
        (b"HEAD / HTTP/1.0\r\nHost: [::1]:1\r\n\r\n", 307, "https://[::1]:1/"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: a.test/@b.test\r\n\r\n", 400, None),
        (b"GET http://other.test/ HTTP/1.1\r\nHost: cam.local\r\n\r\n", 400, None),
        (b"POST /api/token HTTP/1.1\r\nHost: cam.local\r\n\r\n{}", 400, None),
        (b"CONNECT cam.local:443 HTTP/1.1\r\nHost: cam.local\r\n\r\n", 400, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, None),
    ],
)
def test_what_is_answered(first: bytes, status: int, location: str | None) -> None:
    """A page's address is sent to its https twin; any unclear address is 400 with the remedy."""
    answer = answer_to(first)
    assert answer is not None
    head, _, body = answer.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert [line[10:] for line in lines if line.startswith("Location: ")] == [location][
        : location is not None
    ]
    assert "Connection: close" in lines
    if not first.startswith(b"HEAD"):
        assert "https" in json.loads(body)["detail"]
        assert f"Content-Length: {len(body)}" in lines
    else:
        assert body == ""


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x02\x00\x01\x00", b"GE", b"\x80\x2e\x01", b"SSH-2.0-x\r\n"]
)
def test_what_is_not_answered(first: bytes) -> None:
    """Handshakes and what is no HTTP are OpenSSL's business."""
    assert answer_to(first) is None


async def test_a_browser_finds_its_way(tmp_path: Path) -> None:
    """The https port answers plain http at once, keeps nothing of it, and serves https as ever."""
    async with running_https(tmp_path) as (run, _):
        plain = await request("GET", run.base_url.replace("https:", "http:") + "/health")
        assert (plain.status, plain.headers["location"]) == (307, f"{run.base_url}/health")
        reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
        writer.write(b"POST /api/token HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        writer.write(bytes(8 << 20))
        await writer.drain()
        writer.close()
        assert (await request("GET", f"{run.base_url}/health/live")).status == 200


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
    assert notifier.lost == 0


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
    assert (notifier._socket, notifier.lost, notifier.interval) == (None, 0, None)


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


def test_what_was_not_heard_is_said_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A service manager that was away learns that it is ready; signs of life are not kept."""
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
    assert notifier.lost == 2


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
