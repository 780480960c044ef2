"""Hostile data of strangers and peers on the wire."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aioice.stun
import pylibsrtp
from aiortc import RTCRtpSender

from tests.support import vp8_streams
from tests.support.h264_streams import Sps, Stream, Vui, pps

_RECORD = b"\x16\xfe\xfd" + bytes(8)


def dtls() -> list[bytes]:
    """Alerts and handshakes in plain text, each of which ends a DTLS handshake that reads it."""
    hello = b"\x01\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x20" + b"\xfe\xfd" + os.urandom(30)
    return [
        # Fatal handshake_failure, warning close_notify (RFC 5246 section 7.2).
        b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28",
        b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x01\x00",
        # A ClientHello that is none, a ServerHello with rubbish, a record that is cut, one that
        # lies about its length.
        _RECORD + struct.pack("!H", len(hello)) + hello,
        _RECORD + struct.pack("!H", 44) + b"\x02" + os.urandom(43),
        _RECORD + b"\x00\x40" + os.urandom(8),
        _RECORD + b"\xff\xff" + os.urandom(60),
        b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x10" + os.urandom(16),
    ]


def stun(ufrag: str = "abcd") -> list[bytes]:
    """Checks for somebody else, with a wrong password, with attributes that lie, and responses that
    nobody waits for.
    """

    def message(kind: aioice.stun.Class, user: str, **more: object) -> bytes:
        made = aioice.stun.Message(
            aioice.stun.Method.BINDING,
            kind,
            attributes={"USERNAME": user, "PRIORITY": 1, "USE-CANDIDATE": None, **more},
        )
        made.add_message_integrity(b"not the password of anybody")
        return bytes(made)

    request, response = aioice.stun.Class.REQUEST, aioice.stun.Class.RESPONSE
    user = f"{ufrag}:efgh"
    lying = message(request, user)
    return [
        message(request, user),
        message(request, "nobody:efgh"),
        message(request, user, **{"ICE-CONTROLLED": 1}),
        message(response, user),
        message(aioice.stun.Class.ERROR, user),
        # A priority of two bytes, a length past the end, thousands of attributes, no attribute at
        # all.
        lying[:2] + b"\x00\x08" + lying[4:20] + b"\x00\x24\x00\x02\x00\x00\x00\x00",
        lying[:2] + b"\x00\x08" + lying[4:20] + b"\x00\x06\xff\xff" + bytes(4),
        lying[:2] + struct.pack("!H", 40_000) + lying[4:20] + b"\xc0\x01\x00\x00" * 10_000,
        lying[:2] + b"\x00\x00" + lying[4:20],
        lying[:19],
        b"\x00" * 40,
        b"\x03" + os.urandom(60),
    ]


def media() -> list[bytes]:
    """RTP and RTCP that no key has seen, empty and large datagrams."""
    return [
        b"",
        b"\x80",
        b"\x80" + bytes(30),
        b"\x80\xc8\x00\x06" + os.urandom(40),
        b"\xbf\xff" + os.urandom(1400),
        b"\x80\x60" + bytes(3000),
        b"\x40" + os.urandom(100),
        b"\xff" * 20,
    ]


# Packets that only a peer with valid keys can send


def rtp(payload_type: int, ssrc: int, sequence: int, payload: bytes, **more: int) -> bytes:
    """One RTP packet; `more`: marker, timestamp, first (its first byte)."""
    return (
        struct.pack(
            "!BBHLL",
            more.get("first", 0x80),
            more.get("marker", 0) << 7 | payload_type,
            sequence & 0xFFFF,
            more.get("timestamp", sequence * 3000) & 0xFFFFFFFF,
            ssrc,
        )
        + payload
    )


def malformed_rtp(payload_type: int, ssrc: int) -> list[bytes]:
    """Header extensions of wrong sizes, paddings and CSRC counts that lie."""
    packets = []
    for number in range(1, 15):
        for value in (b"", b"\xff", b"\xff" * 2, b"\xff" * 5, b"\xff" * 16):
            one = bytes([number << 4 | max(0, len(value) - 1)]) + (value or b"\x00")
            two = bytes([number, len(value)]) + value
            for profile, body in ((0xBEDE, one), (0x1000, two)):
                body += bytes(-len(body) % 4)
                head = struct.pack("!HH", profile, len(body) // 4) + body
                packets.append(
                    rtp(payload_type, ssrc, number, head + b"\x10" + bytes(8), first=0x90)
                )
    # An extension that ends within its header, or that says more than there is; of an unknown
    # profile.
    for head in (
        *(b"", b"\xbe", b"\xbe\xde\x00", b"\xbe\xde\xff\xff"),
        b"\xbe\xde\x00\x01\x3f\x00\x00\x00",
    ):
        packets.append(rtp(payload_type, ssrc, 1, head, first=0x90))
    packets.append(rtp(payload_type, ssrc, 1, b"\xca\xfe\x00\x01" + bytes(4), first=0x90))
    # Padding of nothing, of more than there is, of all there is; 15 contributing sources of which
    # some are there.
    for tail in (b"", b"\x00", b"\xff", b"abc\x04", b"abc\x05"):
        packets.append(rtp(payload_type, ssrc, 1, tail, first=0xA0))
    packets += [rtp(payload_type, ssrc, 1, bytes(4 * n), first=0x8F) for n in (0, 14, 15, 16)]
    packets += [rtp(payload_type, ssrc, 1, bytes(20), first=0xBF), rtp(127, ssrc, 1, b"x")]
    # A marker alone, nothing at all, as much as fits.
    packets += [rtp(payload_type, ssrc, n, b"", marker=n & 1) for n in range(4)]
    packets.append(rtp(payload_type, ssrc, 9, b"\x10" + bytes(1300)))
    return packets


def _rtcp(kind: int, count: int, payload: bytes, words: int | None = None) -> bytes:
    return (
        struct.pack("!BBH", 0x80 | count, kind, len(payload) // 4 if words is None else words)
        + payload
    )


def rtcp(ssrc: int) -> list[bytes]:
    """Lengths and counts that lie, REMB, NACK, sender reports past all bounds, rubbish."""
    own = struct.pack("!L", ssrc)
    # Its own goodbye would simply end its camera.
    other = struct.pack("!L", ssrc ^ 1)
    nowhere = struct.pack("!LL", ssrc, 0)
    packets = [
        _rtcp(kind, count, (other if kind == 203 else own) + bytes(size), words)
        for kind in (200, 201, 202, 203, 204, 205, 206, 207, 192)
        for count in (0, 1, 31)
        for size, words in ((0, None), (4, None), (20, None), (48, None), (4, 0xFFFF), (20, 1))
    ]
    for entries, there in ((1, 0), (255, 0), (255, 3), (0, 4)):
        remb = b"REMB" + bytes([entries, 0xFF, 0xFF, 0xFF]) + own * there
        packets.append(_rtcp(206, 15, nowhere + remb))
    packets += [_rtcp(206, fmt, nowhere) for fmt in range(16)]
    packets.append(_rtcp(205, 1, nowhere + b"\x00\x00\xff\xff" * 300))
    # Sender reports of the end of time, of its beginning, and of the future.
    for ntp, at in ((0, 0), (2**64 - 1, 2**32 - 1), (2**63, 1), (1, 2**31)):
        packets.append(_rtcp(200, 0, own + struct.pack("!QLLL", ntp, at, 2**32 - 1, 0)))
    report = own + b"\xff" * 20
    packets.append(_rtcp(201, 31, own + report * 31))
    packets.append(_rtcp(202, 31, (own + b"\x01\xff" + b"x" * 255 + bytes(3)) * 4))
    packets.append(_rtcp(203, 31, other * 31))
    packets.append(b"".join(_rtcp(kind, 0, own) for kind in range(200, 208)) * 8)
    packets.append(_rtcp(201, 0, own) + b"\xff" * 30)
    return packets


def vp8_key_frame(width: int, height: int, rest: bytes) -> bytes:
    """The first bytes of a key frame that tells its size (RFC 6386, 9.1), and what follows."""
    size = len(rest)
    tag = (size & 0x7FFFF) << 5 | 1 << 4
    return (
        bytes([tag & 0xFF, tag >> 8 & 0xFF, tag >> 16])
        + b"\x9d\x01\x2a"
        + struct.pack("<HH", width, height)
        + rest
    )


def vp8_payloads() -> list[bytes]:
    """Descriptors that end early, frames that lie about their size and their partitions, pictures
    of 16383 squared.
    """
    frame = vp8_key_frame
    return [
        *(
            bytes([first, *rest])
            for first in (0x80, 0x90, 0xFF)
            for rest in ((), (0xFF,), (0xFF, 0xFF), (0x20,))
        ),
        b"\x10" + frame(16383, 16383, os.urandom(40)),
        b"\x10" + frame(4096, 4096, os.urandom(40)),
        b"\x10" + frame(4096, 4097, os.urandom(40)),
        b"\x10" + frame(0, 0, os.urandom(40)),
        b"\x10" + frame(1, 1, os.urandom(4)),
        # A first partition of 512 KiB in 20 bytes, all of them, none of them.
        b"\x10" + b"\xf0\xff\xff\x9d\x01\x2a\x40\x01\xf0\x00" + os.urandom(20),
        b"\x10" + b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00",
        b"\x10" + b"\x10\x02\x00\x00\x00\x00" + os.urandom(60),
        b"\x10" + b"\x31\x02\x00" + os.urandom(200),
        b"\x10\x00",
        b"\x00" + os.urandom(1200),
        # Pictures that are hidden, and kept as they like.
        b"\x10" + vp8_streams.frame((64, 64), zeros=200),
        *(
            b"\x10" + vp8_streams.frame(shown=n % 2 == 0, golden=n % 3 == 0, last=n > 4, zeros=200)
            for n in range(8)
        ),
    ]


def h264_payloads() -> list[bytes]:
    """Aggregates and fragments that lie, fragments without end, parameter sets of any size, types
    that are not taken.
    """
    late = Sps(60, 60, order=0, vui=Vui(reorder=16))
    deep = Sps(60, 60, profile=244, chroma=3, depth=14, chroma_depth=14)
    pictures = [pps(number)[4:] for number in range(0, 256, 5)]
    # Exponential Golomb codes of huge numbers: widths and counts past every bound.
    sets = b"\x67\x42\xe0\x1f" + b"\x00\x00\x00\x07\xff\xff\xff\xf8" * 4
    return [
        *(bytes([kind]) for kind in range(32)),
        *(bytes([0x60 | kind]) + os.urandom(12) for kind in range(32)),
        b"\x78\xff\xff" + os.urandom(30),
        b"\x78\x00",
        b"\x78" + b"\x00\x00" * 500,
        b"\x78" + b"\x00\x01\x67" * 400,
        b"\x78" + b"\x00\x01\x0c" * 400,
        # Pictures to be put in order, ten bits and more, picture parameter sets of many numbers.
        deep.unit()[4:],
        late.unit()[4:],
        b"\x78" + b"".join(len(one).to_bytes(2, "big") + one for one in pictures),
        late.unit()[4:] + b"\0\0\1" + pps()[4:] + b"\0\0\1" + Stream(late).key()[4:1000],
        b"\x7c\x85" + os.urandom(30),
        b"\x7c\x45" + os.urandom(30),
        b"\x7c\xc5",
        *(b"\x7c\x05" + os.urandom(1100) for _ in range(40)),
        sets,
        b"\x67" + b"\xff" * 60,
        b"\x68" + b"\x00" * 60,
        b"\x65" + os.urandom(1200),
    ]


def server_ports(answer: str) -> set[tuple[str, int]]:
    """Return the server's addresses, IPv4 only."""
    found = re.findall(
        r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", answer, re.M
    )
    return {(address, int(port)) for address, port in found}


# A WebSocket that brings no token, and pings behind it; a request whose body never comes.
SILENT_SOCKET = (
    b"GET /ws/nobody HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
)
PINGS = (b"\x89\xfd" + bytes(4) + b"x" * 125) * 2000
NO_BODY = b"POST /api/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
TWO_LENGTHS = NO_BODY[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"


async def hold(port: int, *said: bytes) -> socket.socket:
    """A connection on which those bytes were sent, a moment between two pieces, and nothing is read; to be
    closed.
    """
    loop = asyncio.get_running_loop()
    held = socket.socket()
    held.setblocking(False)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.5):
            await loop.sock_connect(held, ("127.0.0.1", port))
            for piece in said:
                await loop.sock_sendall(held, piece)
                await asyncio.sleep(0.05)
    return held


class Stranger:
    """Sends everything above to the ports that it is given, again and again."""

    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport
        self._datagrams: list[bytes] = []
        self.ports: set[tuple[str, int]] = set()
        self.sent = 0

    def aim(self, answers: Iterable[str]) -> None:
        """At the servers of these answers, whose ICE user names it has overheard."""
        self.ports = set()
        self._datagrams = [*dtls(), *media()]
        for answer in answers:
            self.ports |= server_ports(answer)
            for ufrag in re.findall(r"^a=ice-ufrag:(\S+)", answer, re.M):
                self._datagrams += stun(ufrag)

    def fire(self) -> None:
        for data in self._datagrams:
            for address in self.ports:
                self._transport.sendto(data, address)
                self.sent += 1

    async def go_on(self, pause: float) -> None:
        while True:
            self.fire()
            await asyncio.sleep(pause)


@asynccontextmanager
async def stranger(pause: float = 0.01) -> AsyncIterator[Stranger]:
    """A socket of its own that fires every `pause` seconds."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("0.0.0.0", 0)
    )
    one = Stranger(transport)
    task = asyncio.create_task(one.go_on(pause), name="stranger")
    try:
        yield one
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        transport.close()


class Attacker:
    """A camera that stops sending what it sees and sends what it likes, with its own keys."""

    def __init__(self, sender: RTCRtpSender) -> None:
        self.ssrc = sender._ssrc
        self._transport: Any = sender.transport
        self._sequence = 0
        self.sent = 0
        # Packets that libsrtp refuses to encrypt, and would not decrypt either.
        self.unsendable = 0
        send = self._transport._send_rtp

        async def watched(data: bytes) -> None:
            if not 64 <= data[1] & 0x7F <= 95 and data[8:12] == struct.pack("!L", self.ssrc):
                self._sequence = data[2] << 8 | data[3]
            await send(data)

        self._transport._send_rtp = watched  # type: ignore[method-assign]

    async def send(self, packets: list[bytes], step: int = 1) -> None:
        """RTP and RTCP; RTP of its own stream is numbered on from what was sent last."""
        for number, packet in enumerate(packets):
            own = packet[8:12] == struct.pack("!L", self.ssrc) and packet[1] & 0x7F not in range(
                64, 96
            )
            if own:
                sequence = (self._sequence + step) & 0xFFFF
                packet = packet[:2] + struct.pack("!H", sequence) + packet[4:]
            try:
                await self._transport._send_rtp(packet)
                self.sent += 1
            except (pylibsrtp.Error, IndexError):
                self.unsendable += 1
            # No faster than the server reads: this is about what it reads.
            if number % 40 == 39:
                await asyncio.sleep(0.002)

    async def send_records(self, count: int, each: int) -> None:
        """Datagrams of many records of application data."""
        records = []
        ssl: Any = self._transport._ssl
        for _ in range(each):
            ssl.send(b"x")
            records.append(ssl.bio_read(1500))
        for _ in range(count):
            await self._transport.transport._send(b"".join(records))
            await asyncio.sleep(0)

    async def everything(self, kind: int, payloads: list[bytes]) -> None:
        """All that this file has for a peer with keys; `kind`: its payload type."""
        ssrc = self.ssrc
        for _ in range(3):
            await self.send(malformed_rtp(kind, ssrc))
            await self.send(rtcp(ssrc))
            await self.send([rtp(kind, ssrc, n, p, marker=1) for n, p in enumerate(payloads)])
            await self.send([rtp(kind, ssrc, 0, p, timestamp=7) for p in payloads])
        # A frame without end, gaps as wide as can be, streams without number, repairs that nobody
        # asked for.
        await self.send([rtp(kind, ssrc, 0, payloads[-1], timestamp=9)] * 2000)
        await self.send([rtp(kind, ssrc, n, payloads[-1]) for n in range(400)], step=700)
        await self.send([rtp(kind, 1 + n, n, payloads[-1]) for n in range(1000)])
        await self.send([rtp(kind + 1, 77, n, struct.pack("!H", n) + b"x") for n in range(300)])
        await self.send_records(300, 20)
