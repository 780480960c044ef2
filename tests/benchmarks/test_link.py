"""Links with a rate, delays and losses, the relays that packets and TCP take through them, and the frames behind them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks import link
from benchmarks.link import HEADERS, Link, LinkRelay, TcpRelay


def test_a_line_of_fixed_rate_delays_by_size_and_drops_what_would_wait_too_long() -> None:
    """Ten packets at once on 500 kbit/s leave one by one; those beyond the queue are dropped."""
    link, rng = Link(rate=500_000, delay=0.02, queue=0.1), random.Random(0)
    each = 8 * (1200 + HEADERS) / 500_000
    times = [link.due(10.0, 1200, rng) for _ in range(10)]
    kept = [at for at in times if at is not None]
    assert kept == pytest.approx([10.02 + each * (i + 1) for i in range(len(kept))])
    assert len(kept) == 6
    assert link.dropped_full == 4


def test_loss_and_cuts_are_counted() -> None:
    """A tenth is lost at ten percent; a cut link lets nothing through."""
    link, rng = Link(loss=0.1), random.Random(3)
    lost = sum(link.due(0.0, 100, rng) is None for _ in range(2000))
    assert 150 < lost < 250
    link.cut = True
    assert link.due(0.0, 100, rng) is None
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


async def test_a_camera_that_moves_is_reached_at_its_new_address() -> None:
    """After a change of network the server hears the same camera from elsewhere, and answers there;
    what is cut is lost both ways.
    """
    loop = asyncio.get_running_loop()
    server, there = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    camera, here = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    async with LinkRelay() as relay:
        port = server.get_extra_info("sockname")[1]
        answer = await relay.rewrite_answer(ANSWER.format(port=port))
        line = next(x.split() for x in answer.splitlines() if x.startswith("a=candidate:"))
        address = (line[4], int(line[5]))
        camera.sendto(b"1", address)
        first = (await asyncio.wait_for(there.got.get(), 2))[2]
        await relay.move()
        camera.sendto(b"2", address)
        second = (await asyncio.wait_for(there.got.get(), 2))[2]
        assert first != second
        relay.cut = True
        camera.sendto(b"lost", address)
        await asyncio.sleep(0.02)
        relay.cut = False
        server.sendto(b"to nobody", first)
        server.sendto(b"3", second)
        assert (await asyncio.wait_for(here.got.get(), 2))[1] == b"3"
        assert there.got.empty()
    camera.close()
    server.close()
    await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def test_a_cut_holds_everything_back_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Open connections and new ones go on when TCP would have tried again; an end is passed on."""
    monkeypatch.setattr(link, "RETRY_S", 0.02)
    monkeypatch.setattr(link, "OPEN_RETRY_S", 0.02)
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server, TcpRelay(host, port) as relay:
        address = urlsplit(relay.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"one")
        assert await asyncio.wait_for(reader.readexactly(3), 2) == b"one"
        relay.cut = True
        writer.write(b"two")
        late, later = await asyncio.open_connection(address.hostname, address.port)
        later.write(b"new")
        for each in (reader, late):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(each.readexactly(3), 0.05)
        relay.cut = False
        assert await asyncio.wait_for(reader.readexactly(3), 2) == b"two"
        assert await asyncio.wait_for(late.readexactly(3), 2) == b"new"
        for each, there in ((reader, writer), (late, later)):
            there.write_eof()
            assert await asyncio.wait_for(each.read(), 2) == b""
            there.close()
            await there.wait_closed()
