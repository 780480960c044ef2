"""The data channel of a call: its section of the connection, and its messages in and out.

It uses the camera's DTLS transport, as the sound does. aiortc's SCTP has no limits of its own: see `BoundedSctp`, which
overrides private methods; `tests/project/test_dependencies.py` fails when they change.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiortc import RTCDataChannel
from aiortc.rtcdtlstransport import SSL, RTCDtlsTransport  # type: ignore[attr-defined]
from aiortc.rtcsctptransport import RTCSctpCapabilities, RTCSctpTransport

from server.core.aio import Bucket, TaskSet
from server.core.errors import UnusableOffer
from server.core.messages import MAX_MESSAGE_BYTES
from server.media.sdp import Offer, Section

LABEL = "oai-events"
# SCTP packets a second, and at once; the peer sends dropped ones again
PACKET_RATE, PACKET_BURST = 300.0, 300
# Streams of a connection; fragments that wait for others of their message, or for their turn; acknowledged gaps
MOST_STREAMS, MOST_FRAGMENTS, MOST_GAPS = 8, 64, 4096
# Messages and their characters that wait to be read
MOST_MESSAGES, MOST_CHARS = 200, 1024 * 1024
# Bytes in the channel beyond which no more is sent
MOST_BUFFERED = 256 * 1024
# Largest message of a peer that names no size (RFC 8841, 6.1), bytes
_USUAL_SIZE = 65_536
_NUMBER = re.compile(r"^a=(sctp-port|max-message-size):(\d{1,10})$", re.ASCII)


class BoundedSctp(RTCSctpTransport):
    """An SCTP association that fails if its peer exceeds a limit or breaks the protocol.

    Bounds of a call's SCTP: 300 packets a second, 8 streams, 64 fragments for each stream.
    """

    def __init__(self, transport: RTCDtlsTransport, fail: Callable[[], None]) -> None:
        super().__init__(transport)
        self._fail = fail
        self._failed = False
        self._packets = Bucket(PACKET_RATE, PACKET_BURST, time.monotonic())

    async def _handle_data(self, data: bytes) -> None:
        ssl: Any = self.transport._ssl
        try:
            while True:
                await self._handle_packet(data)
                # aiortc reads only one record of a datagram; the others would accumulate in OpenSSL.
                data = ssl.recv(1500)
        except SSL.ZeroReturnError:
            self._stop()
        except SSL.Error:
            pass

    async def _handle_packet(self, data: bytes) -> None:
        if self._failed or not self._packets.take(time.monotonic()):
            return
        try:
            await super()._handle_data(data)
        except Exception:  # noqa: BLE001 - aiortc raises various errors for malformed packets
            self._stop()
        waiting = [
            self._sack_misordered,
            *(one.reassembly for one in self._inbound_streams.values()),
        ]
        if len(waiting) > MOST_STREAMS + 1 or max(map(len, waiting)) > MOST_FRAGMENTS:
            self._stop()

    def _stop(self) -> None:
        self._failed = True
        self._fail()

    async def _receive_sack_chunk(self, chunk: Any) -> None:
        # aiortc visits each number of a gap.
        if sum(end - begin for begin, end in chunk.gaps) > MOST_GAPS:
            raise ValueError("gaps too long")
        await super()._receive_sack_chunk(chunk)

    async def _send_chunk(self, chunk: Any) -> None:
        # The end of the connection is handled elsewhere.
        with suppress(ConnectionError):
            await super()._send_chunk(chunk)


class EventChannel:
    """The data channel of one call, and its section of the offer.

    Bounds of messages of a call that wait to be read: 200, 1 MiB; more ends the call.
    """

    def __init__(self, number: int, section: Section, transport: RTCDtlsTransport) -> None:
        self.number = number
        found = {name: int(value) for name, value in map(_read_number, section.lines) if name}
        self._port = found.get("sctp-port", 5000)
        self._most_sent = found.get("max-message-size", _USUAL_SIZE)
        self._transport = transport
        self._sctp = BoundedSctp(transport, self.end)
        self._channel: RTCDataChannel | None = None
        self._received: deque[str] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._tasks = TaskSet("channel")
        self.ended = False

    def lines(self, section: Section, port: str, transport: list[str]) -> list[str]:
        """Return this section of the answer: see `UsedSection`."""
        return [
            f"m=application {port} {section.protocol} {section.formats[0]}",
            transport[0],
            f"a=mid:{section.mid}",
            "a=sctp-port:5000",
            f"a=max-message-size:{MAX_MESSAGE_BYTES}",
            *transport[1:],
        ]

    def open(self) -> None:
        """Wait for the peer's channel."""
        self._sctp.on("datachannel", self._take)
        self._transport.on("statechange", self._on_state)

    async def close(self) -> None:
        """Close it with the connection. It may be called more than once."""
        self.end()
        await self._sctp.stop()
        await self._tasks.close()

    def close_soon(self, code: int, reason: str) -> None:
        """End the call: see `Socket`."""
        self.end()

    def end(self) -> None:
        """End the call: `receive` returns None."""
        self.ended = True
        self._changed.set()

    async def receive(self) -> str | None:
        """Return the next message; None at the end."""
        while not self._received and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        if self.ended:
            return None
        text = self._received.popleft()
        self._size -= len(text)
        return text

    async def send(self, text: str) -> None:
        """Send a message, once there is room. Raise ConnectionError at the end."""
        while self._channel is None or self._channel.bufferedAmount > MOST_BUFFERED:
            if self.ended:
                raise ConnectionError
            await asyncio.sleep(0.01)
        if self.ended or self._channel.readyState != "open":
            raise ConnectionError
        self._channel.send(text)

    def _on_state(self) -> None:
        if self._transport.state == "connected":
            capabilities = RTCSctpCapabilities(maxMessageSize=self._most_sent)
            self._tasks.spawn(self._sctp.start(capabilities, self._port), name="start")
        elif self._transport.state in ("closed", "failed"):
            self.end()

    def _take(self, channel: RTCDataChannel) -> None:
        if channel.label != LABEL or self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.on("message", self._on_message)
        channel.on("close", self.end)

    def _on_message(self, message: str | bytes) -> None:
        fits = isinstance(message, str) and len(message.encode()) <= MAX_MESSAGE_BYTES
        if not fits or len(self._received) >= MOST_MESSAGES or self._size > MOST_CHARS:
            self.end()
            return
        assert isinstance(message, str)
        self._received.append(message)
        self._size += len(message)
        self._changed.set()


class EventLine:
    """Chooses the section of a call's offer for its data channel: see `Line`."""

    def __init__(self) -> None:
        # None before the answer, and if the offer has no such section
        self.channel: EventChannel | None = None

    def section(self, offer: Offer, transport: RTCDtlsTransport) -> EventChannel | None:
        """Return the section of the data channel; None if there is none beside the camera."""
        for number in offer.bundle if offer.grouped else ():
            section = offer.sections[number]
            if section.kind == "application" and section.formats == ["webrtc-datachannel"]:
                self.channel = EventChannel(number, section, transport)
                return self.channel
        return None

    def close(self) -> None:
        """Release nothing: the channel ends with its connection."""

    def check(self) -> None:
        """Raise UnusableOffer if the offer has no section for the channel."""
        if self.channel is None:
            raise UnusableOffer(
                f'The offer has no data channel beside the camera. Call createDataChannel("{LABEL}") before createOffer().'
            )


def _read_number(line: str) -> tuple[str, str]:
    found = _NUMBER.match(line)
    return (found[1], found[2]) if found else ("", "")
