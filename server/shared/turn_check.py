"""Test a TURN server: allocate a relay, send a datagram through it to a local socket, and receive the reply.

It uses aioice's TURN client, and nothing of the server. `tests/project/test_dependencies.py` fails if
the used names of aioice 0.13.0 change.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import aioice.stun
import aioice.turn

# Time limits for connecting and allocating, and for the round trip through the relay
ALLOCATE_SECONDS = 5.0
ECHO_SECONDS = 3.0
_AGAIN_SECONDS = 0.2
_CLOSE_SECONDS = 1.0
# Seconds after which the TURN server drops an allocation that was not deleted
_LIFETIME = 60
_URL = re.compile(
    r"(turns?):(\[[^\]]+\]|[^\[\]:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?", re.ASCII
)


class RelayProblem(StrEnum):
    """The reason why a relay does not work."""

    NONE = ""
    URL = "url"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    CREDENTIALS = "credentials"
    QUOTA = "quota"
    DENIED_PEER = "denied_peer"
    NO_WAY_BACK = "no_way_back"
    NO_SOCKET = "no_socket"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RelayResult:
    url: str
    problem: RelayProblem
    # A sentence with the cause and the remedy, without secrets; empty if the relay works
    why: str
    # Duration of the test
    seconds: float

    @property
    def ok(self) -> bool:
        return self.problem is RelayProblem.NONE


class _Failed(Exception):
    """A step of the check failed.

    Not a QwenCameraError: this module runs without the server, and catches it.
    """

    def __init__(self, problem: RelayProblem, why: str) -> None:
        super().__init__(why)
        self.problem = problem
        self.why = why


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int
    tcp: bool
    tls: bool

    @classmethod
    def of(cls, url: str) -> _Server:
        """Parse a TURN URL (RFC 7065, section 3.1). Raises _Failed."""
        match = _URL.fullmatch(url)
        if match is None:
            raise _Failed(
                RelayProblem.URL, "This is not a TURN URL like turn:host:3478?transport=udp."
            )
        tls = match[1] == "turns"
        tcp = tls or match[4] == "tcp"
        return cls(match[2].strip("[]"), int(match[3] or (5349 if tls else 3478)), tcp, tls)

    @property
    def transport_name(self) -> str:
        kind = "TLS over TCP" if self.tls else "TCP" if self.tcp else "UDP"
        return f"{kind} port {self.port}"


async def check_relay(
    url: str,
    username: str,
    password: str,
    *,
    addresses: Sequence[str] = (),
    reflexive: bool = False,
    bind: Callable[[socket.socket, str], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> RelayResult:
    """Test a TURN URL: one end of the relay acts as a client, the other as this server.

    `addresses`: the announced IPv4 addresses of this machine, one of which the relay must reach.
    If there are none, or with `reflexive`, also the address under which the relay sees this machine.
    `bind` binds the local socket (media port range). `tls`: the trusted authorities; None for those of
    the system. Raises only CancelledError, and leaves no socket or task behind.
    """
    begin = time.monotonic()
    try:
        server = _Server.of(url)
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(ALLOCATE_SECONDS):
                    client = await _allocate(stack, server, username, password, tls)
            except TimeoutError:
                raise _Failed(
                    RelayProblem.UNREACHABLE,
                    f"No response within {ALLOCATE_SECONDS:g} s. Check that the TURN server listens on {server.transport_name},"
                    " and that the firewall allows it.",
                ) from None
            seen = str(client.mapped_address[0])
            peers = [a for a in addresses if ipaddress.ip_address(a).version == 4]
            if (reflexive or not addresses) and seen not in peers:
                peers.append(seen)
            if not peers:
                raise _Failed(
                    RelayProblem.NO_WAY_BACK,
                    "This server announces no IPv4 address to which a relay could send.",
                )
            await _echo(stack, client, peers, bind)
    except _Failed as failure:
        return RelayResult(url, failure.problem, failure.why, time.monotonic() - begin)
    return RelayResult(url, RelayProblem.NONE, "", time.monotonic() - begin)


async def _allocate(
    stack: contextlib.AsyncExitStack,
    server: _Server,
    username: str,
    password: str,
    tls: ssl.SSLContext | None,
) -> Any:
    """Return aioice's client with an allocation, which `stack` deletes. Raises _Failed."""
    loop = asyncio.get_running_loop()
    where = server.host, server.port
    options: dict[str, Any] = {
        "username": username,
        "password": password,
        "lifetime": _LIFETIME,
        "channel_refresh_time": aioice.turn.DEFAULT_CHANNEL_REFRESH_TIME,
    }
    client: Any
    try:
        if server.tcp:
            context = None
            if server.tls:
                # Reading the system's authorities takes about 50 ms.
                context = tls or await asyncio.to_thread(ssl.create_default_context)
            transport: asyncio.BaseTransport
            transport, client = await loop.create_connection(
                lambda: _TcpClient(where, **options), *where, ssl=context
            )
        else:
            transport, client = await loop.create_datagram_endpoint(
                lambda: _UdpClient(where, **options), remote_addr=where
            )
        stack.push_async_callback(_end, client, transport)
        await client.connect()
    except aioice.stun.TransactionFailed as error:
        raise _to_failed(error) from None
    except ssl.SSLCertVerificationError as error:
        raise _Failed(
            RelayProblem.CERTIFICATE,
            f"The TURN server's TLS certificate is not valid for {server.host}: {error.verify_message}.",
        ) from None
    except ssl.SSLError:
        raise _Failed(
            RelayProblem.CERTIFICATE,
            f"The TURN server does not support TLS 1.2 or newer on {server.transport_name}.",
        ) from None
    except (socket.gaierror, UnicodeError):
        raise _Failed(
            RelayProblem.UNREACHABLE, "The TURN server's name cannot be resolved on this machine."
        ) from None
    except aioice.stun.TransactionTimeout:
        raise TimeoutError from None
    except OSError as error:
        raise _Failed(
            RelayProblem.UNREACHABLE,
            f"The TURN server cannot be reached on {server.transport_name}"
            f" ({os.strerror(error.errno).lower() if error.errno else 'the connection broke'}).",
        ) from None
    return client


def _to_failed(error: aioice.stun.TransactionFailed) -> _Failed:
    code = error.response.error_code
    if code in (401, 441):
        return _Failed(
            RelayProblem.CREDENTIALS,
            "The TURN server refuses the credentials (401). TURN_SECRET must be its static-auth-secret, it needs"
            " use-auth-secret, and both clocks must agree.",
        )
    if code in (486, 508):
        return _Failed(
            RelayProblem.QUOTA,
            f"The TURN server has no more relay addresses ({code}): its quota or ports are used up.",
        )
    return _Failed(RelayProblem.REFUSED, f"The TURN server refuses to relay ({code}).")


async def _echo(
    stack: contextlib.AsyncExitStack,
    client: Any,
    peers: Sequence[str],
    bind: Callable[[socket.socket, str], None] | None,
) -> None:
    """Send through the relay to a local socket and back; both sides send, as in ICE. Raises _Failed."""
    word = secrets.token_bytes(8)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stack.callback(sock.close)
    try:
        sock.setblocking(False)
        if bind is None:
            sock.bind(("0.0.0.0", 0))
        else:
            bind(sock, "0.0.0.0")
    except Exception as error:  # noqa: BLE001
        # `bind` may raise anything; its type names the cause.
        raise _Failed(
            RelayProblem.NO_SOCKET,
            f"No UDP port of this machine is free for the test ({type(error).__name__}).",
        ) from None
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _OwnEnd(word), sock=sock
    )
    stack.callback(transport.close)
    far = _FarEnd(word)
    client.receiver = far
    relayed = client.relayed_address
    waiting = {(peer, sock.getsockname()[1]) for peer in peers}
    denied: set[str] = set()
    try:
        async with asyncio.timeout(ECHO_SECONDS):
            while not far.answered.is_set():
                # Also send to the source of our own datagrams, because NAT may have changed the port.
                for target in sorted(waiting | far.sources):
                    if target[0] in denied:
                        continue
                    try:
                        await client.send_data(b"\xffask" + word, target)
                    except aioice.stun.TransactionFailed as error:
                        if error.response.error_code not in (400, 403):
                            raise _to_failed(error) from None
                        denied.add(target[0])
                if denied.issuperset(peers):
                    raise _Failed(
                        RelayProblem.DENIED_PEER,
                        f"The TURN server refuses to relay to this server at {', '.join(sorted(denied))} (403). Allow"
                        " that address there (coturn: allowed-peer-ip), or set PUBLIC_ADDRESSES to a public one.",
                    )
                transport.sendto(b"\xffhere" + word, relayed)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_SECONDS):
                        await far.answered.wait()
    except (TimeoutError, ConnectionError, aioice.stun.TransactionTimeout):
        raise _Failed(
            RelayProblem.NO_WAY_BACK,
            f"The TURN server allocated a relay at {relayed[0]}, but no datagram passed through it to"
            f" {', '.join(peers)} and back. Check that UDP is open between both, and that these are this server's"
            " addresses for the TURN server (PUBLIC_ADDRESSES).",
        ) from None


class _OwnEnd(asyncio.DatagramProtocol):
    """The server's end of the relayed path: replies to datagrams that arrive through the relay."""

    transport: asyncio.DatagramTransport

    def __init__(self, word: bytes) -> None:
        self._word = word

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data == b"\xffask" + self._word:
            self.transport.sendto(b"\xffanswer" + self._word, addr)


class _FarEnd(asyncio.DatagramProtocol):
    """The client's end of the relay."""

    def __init__(self, word: bytes) -> None:
        self._word = word
        self.sources: set[tuple[str, int]] = set()
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data == b"\xffhere" + self._word and len(self.sources) < 4:
            self.sources.add((str(addr[0]), int(addr[1])))
        elif data == b"\xffanswer" + self._word:
            self.answered.set()


class _ClosureFlag:
    """Sets `gone` when the connection to the TURN server is closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)  # type: ignore[misc]


class _TcpClient(_ClosureFlag, aioice.turn.TurnClientTcpProtocol):
    pass


class _UdpClient(_ClosureFlag, aioice.turn.TurnClientUdpProtocol):
    pass


async def _end(client: Any, transport: asyncio.BaseTransport) -> None:
    """Delete the allocation and close the connection, within 2 s even without a response."""
    try:
        if client.relayed_address is not None:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.delete()
    except (TimeoutError, OSError, aioice.stun.TransactionError):
        pass  # The allocation expires within _LIFETIME.
    finally:
        if client.refresh_task is not None:
            client.refresh_task.cancel()
        transport.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.gone.wait()
    except TimeoutError:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
