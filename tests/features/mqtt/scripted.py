"""A broker that is no good one: it takes a connection and its topics, then does as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.features.mqtt.settings import MqttAddress
from tests.support.loopback import Serve, listening_on_loopback

CONNECTED = bytes((0x20, 3, 0, 0, 0))


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one packet: its first byte, and the rest without its length."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return first, await reader.readexactly(length)


def publish(topic: str, payload: bytes, first: int = 0x30) -> bytes:
    """A message of MQTT 5 with less than 128 bytes; `first` has its quality."""
    id = b"\0\1" if first & 6 else b""
    body = len(topic).to_bytes(2, "big") + topic.encode() + id + b"\0" + payload
    return bytes((first, len(body))) + body


def taken(body: bytes) -> bytes:
    """The answer to a message that was sent at least once."""
    length = int.from_bytes(body[:2], "big")
    return bytes((0x40, 2)) + body[2 + length : 4 + length]


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the connection and all its topics."""
    await packet(reader)
    writer.write(CONNECTED)
    _, body = await packet(reader)
    # One code for each topic; three bytes and its name stand for one.
    count, at = 0, 3 + body[2]
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    writer.write(bytes((0x90, 3 + count)) + body[:2] + b"\0" * (1 + count))
    await writer.drain()


@asynccontextmanager
async def scripted(script: Serve) -> AsyncIterator[MqttAddress]:
    """Serve on loopback."""
    async with listening_on_loopback(script) as port:
        yield MqttAddress("127.0.0.1", port, tls=False)
