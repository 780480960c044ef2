"""uvicorn's configuration and shutdown, and the check of the port."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from server.core.aio import Deadline
from server.core.messages import MAX_MESSAGE_BYTES
from server.web.protocols import Connections, make_protocol_classes

# Time limit of a TLS handshake; asyncio's default is a minute, and uvicorn has no setting.
TLS_SECONDS = 10.0
# Maximum time of a stop in addition to the time for running answers: frames for waiting questions,
# sockets, connections, and closing all parts
STOP_SECONDS = 20.0


def make_uvicorn_config(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    connections: Connections,
    tls: tuple[Path | None, Path | None] | None = None,
) -> uvicorn.Config:
    """Return uvicorn's configuration. `tls`: paths of certificate and key; None for plain HTTP."""
    asyncio.constants.SSL_HANDSHAKE_TIMEOUT = TLS_SECONDS  # type: ignore[attr-defined]
    http, ws = make_protocol_classes(connections)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        # Not uvloop, which was not measured together with aiortc
        loop="asyncio",
        http=http,
        h11_max_incomplete_event_size=64 * 1024,
        ws=ws,
        ws_max_size=MAX_MESSAGE_BYTES,
        # Messages are short, and compression would add an attack surface.
        ws_per_message_deflate=False,
        # The access log would contain `?token=`.
        log_config=None,
        access_log=False,
        server_header=False,
        # TRUSTED_PROXIES decides whose headers count.
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=tls[0] if tls is not None else None,
        ssl_keyfile=tls[1] if tls is not None else None,
    )


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains on the first SIGTERM or SIGINT, and exits at once on the second, with status 0.

    `on_started(port)` is called when it listens, `on_closed()` when everything is closed.
    `drain(deadline)`: the deadline of the whole stop is `drain_seconds` plus STOP_SECONDS after the
    signal. `notifier` reports readiness, the watchdog and the stop to the service manager.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Callable[[Deadline], Awaitable[None]],
        on_started: Callable[[int], object] = lambda port: None,
        on_closed: Callable[[], object] = lambda: None,
        notifier: Notifier | None = None,
        drain_seconds: float = 0.0,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._notifier = notifier if notifier is not None else Notifier()
        self._on_started = on_started
        self._on_closed = on_closed
        self._draining = False
        # Set together with `should_exit`
        self._leaving = asyncio.Event()
        # None before the startup
        self._running_loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: object) -> None:
        if self._running_loop is None:
            self.should_exit = True
        elif self.should_exit or self._draining:
            # This works even if the event loop is blocked, and loses no data: only the log is an open file.
            os._exit(0)
        else:
            self._draining = True
            asyncio.run_coroutine_threadsafe(self._drain_and_exit(), self._running_loop)

    async def _drain_and_exit(self) -> None:
        seconds = self._drain_seconds + STOP_SECONDS
        deadline = Deadline(seconds)
        # Extend a shorter TimeoutStopSec of the unit.
        extension = f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"
        self._notifier.send("STOPPING=1", "STATUS=Running answers finish", extension)
        try:
            await self._drain(deadline)
        finally:
            self.should_exit = True
            self._leaving.set()

    async def main_loop(self) -> None:
        """Run the main loop once a second: uvicorn's interval of 0.1 s would cause half of an idle server's work.

        Not under `supervise`: an exception ends the program, and the service manager restarts it.
        """
        ticks = 0
        seconds = min(1.0, self._notifier.interval or 1.0)
        while not await self.on_tick(ticks):
            # uvicorn updates the Date header on every tenth tick.
            ticks += 10
            self._notifier.send("WATCHDOG=1")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), seconds)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._running_loop = asyncio.get_running_loop()
        # An unresponsive name server blocks a thread for half a minute.
        self._running_loop.set_default_executor(ThreadPoolExecutor(64, "small"))
        await super().startup(sockets)
        if self.started:
            self._on_started(self._get_port())
            self._notifier.send("READY=1", f"STATUS=Listening on port {self._get_port()}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._on_closed()

    def _get_port(self) -> int:
        for server in self.servers:
            for listener in server.sockets:
                return int(listener.getsockname()[1])
        return self.config.port


def find_listening_problem(host: str, port: int) -> str | None:
    """Return why the address cannot be used, and the remedy; None if it can."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                # The same options as asyncio
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        return (
            f"Nothing can listen on HOST {host!r}, PORT {port}: {error.strerror}. Use an address of this machine, or"
            " 0.0.0.0 for all, and a free port from 1024 on."
        )
    return None


class Notifier:
    """Sends sd_notify(3) messages to the service manager, if NOTIFY_SOCKET is set."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A path, or "@" and an abstract name, which begins with a null byte
        self._address = re.sub("^@", "\0", environment.get("NOTIFY_SOCKET", ""))
        # Seconds between watchdog messages, half of the allowed time; None if there is no watchdog
        self.interval = int(environment.get("WATCHDOG_USEC") or 0) / 2e6 or None

    def send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            # A service manager that does not read must not block the event loop.
            notify.setblocking(False)
            notify.sendto("\n".join(lines).encode(), self._address)
