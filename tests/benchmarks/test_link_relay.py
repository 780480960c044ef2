from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from benchmarks.link import Link, LinkRelay

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


async def test_an_answer_without_ipv4_is_refused() -> None:
    """The relay speaks IPv4 over UDP and says so."""
    async with LinkRelay() as relay:
        with pytest.raises(ValueError, match="IPv4"):
            await relay.rewrite_answer("v=0\r\nm=video 9 X 97\r\na=mid:0\r\n")
    assert "candidate" not in LinkRelay.rewrite_offer(ANSWER)
