"""Links with a rate, delays and losses, the relays that packets and TCP take through them, and the frames behind them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from benchmarks.link import HEADERS, Link, LinkRelay


def test_a_line_of_fixed_rate_delays_by_size_and_drops_what_would_wait_too_long() -> None:
    """Ten packets at once on 500 kbit/s leave one by one; those beyond the queue are dropped."""
    link, rng = Link(rate=500_000, delay=0.02, queue=0.1), random.Random(0)
    each = 8 * (1200 + HEADERS) / 500_000
    times = [link.get_delivery_time(10.0, 1200, rng) for _ in range(10)]
    kept = [at for at in times if at is not None]
    assert kept == pytest.approx([10.02 + each * (i + 1) for i in range(len(kept))])
    assert len(kept) == 6
    assert link.dropped_full == 4


def test_loss_and_cuts_are_counted() -> None:
    """A tenth is lost at ten percent; a cut link lets nothing through."""
    link, rng = Link(loss=0.1), random.Random(3)
    lost = sum(link.get_delivery_time(0.0, 100, rng) is None for _ in range(2000))
    assert 150 < lost < 250
    link.cut = True
    assert link.get_delivery_time(0.0, 100, rng) is None
    assert link.dropped_lost == lost + 1


ANSWER = "\r\n".join(
    (
        "v=0",
        "m=video 9 UDP/TLS/RTP/SAVPF 97",
        "a=mid:0",
        "a=candidate:1 1 udp 1 ::1 9 typ host",
        "a=candidate:2 1 udp 1 127.0.0.1 {port} typ host",
        "a=end-of-candidates",
        "",
    )
)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Listener(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[float, bytes, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.put_nowait((time.monotonic(), data, addr))


async def test_packets_go_through_the_relay_and_back() -> None:
    """The answer names the relay only; a packet to it comes to the server and its echo comes back,
    both delays later.
    """
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = server.get_extra_info("sockname")[1]
    camera, listener = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    async with LinkRelay(up=Link(delay=0.02), down=Link(delay=0.03)) as relay:
        answer = await relay.rewrite_answer(ANSWER.format(port=port))
        lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
        assert len(lines) == 1
        assert str(port) not in answer
        begin = time.monotonic()
        camera.sendto(b"hello", (lines[0][4], int(lines[0][5])))
        at, data, _ = await asyncio.wait_for(listener.got.get(), 2)
        assert data == b"hello"
        assert 0.05 <= at - begin < 0.2
    camera.close()
    server.close()
    await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()
