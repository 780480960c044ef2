"""uvicorn: its configuration and stop; the terminal's greeting; why a port cannot be used."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import socket
import ssl
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from server import __version__
from server.core.addresses import normalise_origin
from server.core.aio import Deadline, Lookups
from server.core.errors import BadRequest
from server.core.messages import MAX_MESSAGE_BYTES, error_body
from server.models.base import Engine
from server.web.protocols import Connections, protocol_classes

# The time for a client's TLS handshake; asyncio's own default is a minute, and uvicorn has no
# setting for it.
TLS_SECONDS = 10.0
# The most that stopping takes beside the answers that may finish: frames that questions wait for,
# sockets, connections, and closing all parts.
STOP_SECONDS = 20.0


def uvicorn_config(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    connections: Connections,
    tls: tuple[Path | None, Path | None] | None = None,
) -> uvicorn.Config:
    """`tls`: paths of certificate and key; None for plain HTTP."""
    asyncio.constants.SSL_HANDSHAKE_TIMEOUT = TLS_SECONDS  # type: ignore[attr-defined]
    http, ws = protocol_classes(connections)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        # uvloop only once it was measured together with aiortc.
        loop="asyncio",
        http=http,
        ws=ws,
        ws_max_size=MAX_MESSAGE_BYTES,
        # Answers are short, and compressed messages would be one more way in.
        ws_per_message_deflate=False,
        # Its access log would hold `?token=`.
        log_config=None,
        access_log=False,
        server_header=False,
        # TRUSTED_PROXIES decides whose headers count, not uvicorn.
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        ssl_context_factory=(
            (lambda config, default: HttpsContext(*tls)) if tls is not None else None
        ),
    )


class DrainingServer(uvicorn.Server):
    """Drains on the first SIGTERM or SIGINT, leaves at once on the second, and then exits with 0.

    `on_started(port)` is called once it listens, `on_closed()` when all is closed.
    `drain(deadline)` gets the end of the whole stop: `drain_seconds` and STOP_SECONDS after the
    signal. `notifier` reports to the service manager that the server is ready, that its event loop
    turns, and that it stops by that deadline.
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
        lookups: Lookups | None = None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._notifier = notifier if notifier is not None else Notifier()
        self._on_started = on_started
        self._on_closed = on_closed
        self._lookups = lookups
        self._draining = False
        # Set when `should_exit` is.
        self._leaving = asyncio.Event()
        # None until it starts up
        self._running_loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: object) -> None:
        if self._running_loop is None:
            self.should_exit = True
        elif self.should_exit or self._draining:
            # Not even the event loop has to be well for this, and nothing is lost: no file is open
            # but the log.
            os._exit(0)
        else:
            self._draining = True
            asyncio.run_coroutine_threadsafe(self._drain_and_exit(), self._running_loop)

    async def _drain_and_exit(self) -> None:
        seconds = self._drain_seconds + STOP_SECONDS
        deadline = Deadline(seconds)
        self._notifier.stopping(seconds, "Running answers finish")
        try:
            await self._drain(deadline)
        finally:
            self.should_exit = True
            self._leaving.set()

    async def main_loop(self) -> None:
        """Replace uvicorn's loop, which looks ten times a second: half of an idle server's work.

        Not under `supervise`: an exception ends the program, and a service manager restarts it.
        """
        ticks = 0
        seconds = min(1.0, self._notifier.interval or 1.0)
        while not await self.on_tick(ticks):
            # On every tenth tick it makes the Date header anew.
            ticks += 10
            self._notifier.alive()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), seconds)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._running_loop = asyncio.get_running_loop()
        if self._lookups is not None:
            self._running_loop.set_default_executor(self._lookups)
        await super().startup(sockets)
        if self.started:
            self._on_started(self._port())
            self._notifier.ready(f"Listening on port {self._port()}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._notifier.close()
        self._on_closed()

    def _port(self) -> int:
        for server in self.servers:
            for listener in server.sockets:
                return int(listener.getsockname()[1])
        return self.config.port


def greeting(
    *,
    scheme: str,
    host: str,
    port: int,
    engine: Engine,
    better: str | None,
    operator: bool = False,
    roles: Mapping[str, Engine] | None = None,
) -> str:
    """Build the start message: the page's address, the engine, and how to get a better one.

    `better`: address at which the server looks for a better engine; None without. `operator`:
    OPERATOR_TOKEN is set. `roles`: who does other work, by the name of the work.
    """
    everywhere = host in ("0.0.0.0", "::")
    shown = "localhost" if everywhere or host == "127.0.0.1" else host
    status = engine.status
    page = f"{scheme}://{shown}:{port}"
    rows = [("Open", page)]
    if operator:
        rows.append(("Engine panel", f"{page}/#operator (asks for OPERATOR_TOKEN)"))
    if engine.name == "builtin":
        taken = (
            f"now {better}; it is taken up as soon as it answers"
            if better is not None
            else "and ENGINE=auto in place of ENGINE=builtin"
        )
        rows += [
            ("Engine", status.visitor_detail or engine.name),
            (
                "A better one",
                "bash scripts/run.sh --model proposes a vision-language model for this machine and fetches it; "
                f"or start vLLM with a large one and set VLLM_BASE_URL in .env, {taken}",
            ),
        ]
    else:
        rows += _engine("Engine", engine)
    for work, one in (roles or {}).items():
        rows += _engine(work.capitalize(), one)
    if everywhere and scheme == "http":
        rows.append(
            (
                "Other devices",
                "browsers give a camera only to https pages or localhost: bash scripts/run.sh --https",
            )
        )
    told = "\n".join(_row(name, text) for name, text in rows)
    return f"\n  qwen-camera {__version__}\n{told}\n\n"


def _engine(work: str, engine: Engine) -> list[tuple[str, str]]:
    """Return the lines about the engine that does a work: its model, and why it does not answer."""
    status = engine.status
    model = f" ({status.model})" if status.model not in ("", engine.name) else ""
    trouble = [] if status.ready else [("", f"{status.state}: {status.detail}")]
    return [(work, f"{engine.name}{model}"), *trouble]


def _row(name: str, text: str) -> str:
    """Return a name and a text beside it, wrapped between words at 80 columns."""
    return textwrap.fill(
        text,
        width=80,
        initial_indent=f"  {name:<16}",
        subsequent_indent=" " * 18,
        break_long_words=False,
        break_on_hyphens=False,
    )


def listening_problem(host: str, port: int) -> str | None:
    """Return a sentence of why the address cannot be used, and the remedy; None when it can."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As asyncio does it.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except socket.gaierror:
        return f"HOST is {host!r}, which is no known name. Use an IP address of this machine, or 0.0.0.0 for all."
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                return (
                    f"PORT {port} is in use, perhaps by another qwen-camera. Stop that program, or set PORT to "
                    "another number."
                )
            case errno.EADDRNOTAVAIL:
                return (
                    f"HOST is {host!r}, which is no address of this machine. Use one of its own, or 0.0.0.0 "
                    "for all."
                )
            case errno.EACCES:
                return f"PORT {port} needs rights that this user does not have. Set PORT to 1024 or more."
            case _:
                return f"Nothing can listen on HOST {host!r}, PORT {port}: {error.strerror}."
    return None


# Answer plain http at the https port with a redirect to https.

# Beginning of a request; a TLS handshake begins with the byte 22.
_METHOD = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|PRI) ")

_TARGET = re.compile(rb"(?:GET|HEAD) (/[!-~]{0,2000}) HTTP/1\.[01]\r\n")

_HOST = re.compile(rb"\r\nhost:[ \t]*([!-~]{1,300})[ \t]*\r\n", re.IGNORECASE)

_WHY = "Only https is spoken here. Put https:// in front of the address."


def answer_to(first: bytes) -> bytes | None:
    """Return the response to a connection's first bytes; None when they are no plain HTTP.

    Pages are redirected to the same address by https, everything else gets 400.
    """
    if (method := _METHOD.match(first)) is None:
        return None
    target, host = _TARGET.match(first), _HOST.search(first)
    origin = normalise_origin(f"https://{host[1].decode('ascii')}") if host else None
    status, where = "400 Bad Request", ""
    if target is not None and origin is not None:
        status, where = (
            "307 Temporary Redirect",
            f"Location: {origin}{target[1].decode('ascii')}\r\n",
        )
    body = json.dumps(error_body(BadRequest(_WHY))).encode()
    head = (
        f"HTTP/1.1 {status}\r\n{where}Content-Type: application/json\r\nCache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (b"" if method[1] == b"HEAD" else body)


class HttpsContext(ssl.SSLContext):
    """A server's TLS context that answers plain HTTP in place of a handshake.

    Raises OSError, ValueError, ssl.SSLError.

    Such a connection ends by the handshake's time limit, or when the client closes it.
    """

    def __new__(cls, certificate: Path | None, key: Path | None) -> HttpsContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Path | None, key: Path | None) -> None:
        if certificate is None:
            raise ValueError("There is no https without a certificate.")
        self.load_cert_chain(certificate, key)
        self.sslobject_class = _Handshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Handshake)
        made.incoming, made.outgoing = incoming, outgoing
        return made


class _Handshake(ssl.SSLObject):
    """Checks the first bytes before OpenSSL reads them."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    _looked = False
    _answered = False

    def do_handshake(self) -> None:
        if not self._looked and self.incoming.pending:
            self._looked = True
            first = self.incoming.read()
            answer = answer_to(first)
            if answer is None:
                self.incoming.write(first)
            else:
                self._answered = True
                self.outgoing.write(answer)
        if self._answered:
            # Discard the rest.
            self.incoming.read()
            raise ssl.SSLWantReadError
        super().do_handshake()


# Notify the service manager: ready, alive, stopping. See sd_notify(3).  Each message is one
# datagram to the socket in NOTIFY_SOCKET. Without it nothing is sent.

log = logging.getLogger(__name__)


# Below this a busy but healthy event loop could be taken for a blocked one; see
# `Notifier.interval`.
MIN_INTERVAL = 0.05


class Notifier:
    """Sends the notifications.

    `address`: like NOTIFY_SOCKET, a path or "@" and an abstract name; None to send nothing.

    `watchdog`: seconds within which the service manager expects a sign of life; None for no
    watchdog.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog
        # Messages that could not be sent
        self.lost = 0
        # Repeated until sent, because the service manager would otherwise kill the server.
        self._unsent = ""
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Read the service manager's variables; malformed ones are logged and ignored."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and (address[0] not in "/@" or len(address) < 2):
            log.warning("NOTIFY_SOCKET is neither a path nor an abstract name, so it is not used")
            address = None
        watchdog = None
        # WATCHDOG_PID is the watched process; children inherit the variables, too.
        if address and environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            usec = environment.get("WATCHDOG_USEC", "")
            if usec.isdecimal() and int(usec) > 0:
                watchdog = int(usec) / 1e6
        return cls(address, watchdog)

    @property
    def interval(self) -> float | None:
        """Seconds between two signs of life, half of the limit; None without a watchdog."""
        return max(self.watchdog / 2, MIN_INTERVAL) if self.watchdog is not None else None

    def ready(self, status: str) -> None:
        """Report that the server is ready. `status`: one line for `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Send a sign of life.

        The event loop calls it at each `interval`; a blocked loop does not, and is restarted.
        """
        if self.watchdog is not None:
            self._send("WATCHDOG=1")
        elif self._unsent:
            self._send("")

    def stopping(self, seconds: float, status: str) -> None:
        """Report a stop within `seconds`, which extends a shorter TimeoutStopSec of the unit."""
        self._send(f"STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        text = "\n".join(part for part in (self._unsent, message) if part)
        # Abstract names begin with a null byte.
        target = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                # A service manager that does not read must not block the event loop.
                self._socket.setblocking(False)
            self._socket.sendto(text.encode(), target)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                log.warning("service manager not notified", extra={"error": type(error).__name__})
            if message not in ("", "WATCHDOG=1"):
                self._unsent = text
            return
        self._unsent = ""
