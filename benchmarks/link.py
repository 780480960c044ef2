"""A model of one direction of a network path (a line with a queue, then delay, jitter and loss), and relays that
apply it to real packets, and that cut real TCP connections. Simulations in the tests use only the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, cast

# Bytes of IPv4 and UDP headers
HEADERS = 28

# Arguments: time and bytes. Returns the time at which the line has sent them; None if they are dropped
Enqueue = Callable[[float, int], float | None]


@dataclass(slots=True)
class Link:
    """One direction of a path. All fields may be changed while it runs.

    Packets go through `get_delivery_time` in the order in which they are sent; all times are seconds of any one
    clock.
    """

    # Bits per second; None for no limit
    rate: float | None = None
    # One-way delay after the line, in seconds
    delay: float = 0.0
    # Seconds that a packet may wait for the line; a packet that would wait longer is dropped
    queue: float = 0.3
    # Fraction of packets lost at random, after the line
    loss: float = 0.0
    # Mean of an exponentially distributed delay of each packet after the line, in seconds
    jitter: float = 0.0
    # True if this delay may change the order of packets
    reorder: bool = False
    # True if all packets are dropped
    cut: bool = False
    # Other traffic on the same line
    flow: Flow | None = None
    passed: int = 0
    dropped_full: int = 0
    dropped_lost: int = 0
    # Time at which the line is free again
    free_at: float = field(default=0.0, repr=False)
    # Time of the latest delivery so far
    newest: float = field(default=0.0, repr=False)

    def get_delivery_time(self, now: float, size: int, rng: random.Random) -> float | None:
        """Return the time at which `size` bytes of payload that arrive `now` are delivered; None if dropped."""
        if self.flow is not None:
            self.flow.run(now, self.enqueue)
        if self.cut:
            self.dropped_lost += 1
            return None
        at = self.enqueue(now, size + HEADERS)
        if at is None:
            self.dropped_full += 1
            return None
        if rng.random() < self.loss:
            self.dropped_lost += 1
            return None
        self.passed += 1
        at += self.delay
        if self.jitter:
            at += rng.expovariate(1 / self.jitter)
        if not self.reorder:
            at = self.newest = max(at, self.newest)
        return at

    def enqueue(self, now: float, size: int) -> float | None:
        """Return the time at which the line has sent `size` bytes that arrive `now`; None if the queue is full."""
        start = max(now, self.free_at)
        if self.rate is None:
            return start
        if start - now > self.queue:
            return None
        self.free_at = start + 8 * size / self.rate
        return self.free_at


class Flow(Protocol):
    """Other traffic on the same line."""

    def run(self, now: float, enqueue: Enqueue) -> None:
        """Send all packets due before `now`."""


Address = tuple[str, int]


class _Side(asyncio.DatagramProtocol):
    """One socket of the relay; packets that it receives are sent by the other side."""

    def __init__(self, relay: LinkRelay, link: Link) -> None:
        self._relay = relay
        self._link = link
        self.transport: asyncio.DatagramTransport | None = None
        self.other: _Side | None = None
        # The peer to which the other side's packets are sent; None before its first packet or the answer
        self.peer: Address | None = None
        self.learn = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self.learn:
            self.peer = addr[:2]
        loop = asyncio.get_running_loop()
        at = self._link.get_delivery_time(loop.time(), len(data), self._relay.rng)
        if at is not None:
            loop.call_at(at, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        other = self.other
        if other and other.peer and other.transport and not other.transport.is_closing():
            other.transport.sendto(data, other.peer)

    @property
    def address(self) -> Address:
        assert self.transport is not None
        address: Address = self.transport.get_extra_info("sockname")[:2]
        return address


class LinkRelay:
    """A narrow, slow or broken link between one camera and the server, made in user space.

    It is inserted between the two by rewriting candidates: those of the offer are removed, so that the server
    contacts nobody, and those of the answer are replaced by the relay's address. A context manager.
    `up` leads from the camera to the server, `down` back; each media section needs one relay.
    """

    def __init__(self, *, up: Link | None = None, down: Link | None = None, seed: int = 0) -> None:
        self.up = up or Link()
        self.down = down or Link()
        self.rng = random.Random(seed)
        self._camera = _Side(self, self.up)
        self._server = _Side(self, self.down)
        self._camera.other, self._server.other = self._server, self._camera
        self._camera.learn = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for side in (self._camera, self._server):
            if side.transport is not None:
                side.transport.close()
                side.transport = None

    @staticmethod
    def rewrite_offer(sdp: str) -> str:
        """Return the offer without candidates: the server learns the relay's address from the first packet."""
        drop = ("a=candidate:", "a=end-of-candidates")
        return "\r\n".join(line for line in sdp.splitlines() if not line.startswith(drop)) + "\r\n"

    @property
    def cut(self) -> bool:
        """True if nothing passes in either direction; may be set."""
        return self.up.cut and self.down.cut

    @cut.setter
    def cut(self, value: bool) -> None:
        self.up.cut = self.down.cut = value

    async def move(self) -> None:
        """Change the camera's address, as from Wi-Fi to mobile; packets to the old one are lost."""
        old = self._server
        assert old.transport is not None
        new = self._server = _Side(self, self.down)
        new.other, new.peer = self._camera, old.peer
        self._camera.other = new
        host = old.address[0]
        old.transport.close()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: new, local_addr=(host, 0))

    async def rewrite_answer(self, sdp: str) -> str:
        """Return the answer with the restarted relay as its only candidate.

        Raises ValueError if the answer has no IPv4 candidate over UDP.
        """
        candidates = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]
        server = next((c for c in candidates if c[2].lower() == "udp" and "." in c[4]), None)
        if server is None:
            raise ValueError("the answer has no IPv4 candidate over UDP")
        self._close()
        loop = asyncio.get_running_loop()
        for side in (self._camera, self._server):
            await loop.create_datagram_endpoint(lambda s=side: s, local_addr=(server[4], 0))  # type: ignore[misc]
        self._camera.peer = None
        self._server.peer = (server[4], int(server[5]))
        host, port = self._camera.address
        lines: list[str] = []
        for line in LinkRelay.rewrite_offer(sdp).splitlines():
            lines.append(line)
            if line.startswith("a=mid:"):
                lines.append(f"a=candidate:relay 1 udp 2130706431 {host} {port} typ host")
                lines.append("a=end-of-candidates")
        return "\r\n".join(lines) + "\r\n"


# Bytes read from one side at a time; the kernel buffers the rest
CHUNK = 65_536
RETRY_S, OPEN_RETRY_S = 0.2, 1.0


class TcpRelay:
    """A path to the server that can be cut, for HTTP and the WebSocket. A context manager.

    Use `url` instead of the server's URL. A cut closes no connection: data waits, as in the sender's kernel, and is
    sent when TCP would try again (RFC 6298: the waits double from 0.2 s, or from 1 s while a connection is being
    opened).
    """

    def __init__(self, host: str, port: int) -> None:
        self.url = ""
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_connection, self._host, 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def cut(self) -> bool:
        return not self._open.is_set()

    @cut.setter
    def cut(self, value: bool) -> None:
        if value:
            self._open.clear()
        else:
            self._open.set()

    async def _wait_passable(self, first_wait: float) -> None:
        """Wait until a packet sent now would pass."""
        wait = first_wait
        while self.cut:
            await asyncio.sleep(wait)
            wait *= 2

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="tcp-relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._wait_passable(OPEN_RETRY_S)
            there, back = await asyncio.open_connection(self._host, self._port)
            writers.append(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back))
                group.create_task(self._copy(there, writer))
        except* OSError:
            pass  # One side has disconnected: the code below closes the other.
        finally:
            for each in writers:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._wait_passable(RETRY_S)
            writer.write(data)
            await writer.drain()
        await self._wait_passable(RETRY_S)
        writer.close()
