"""The connection: to brokers that are slow, gone or wrong, and what waits meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.core.metrics import Metrics
from server.features.mqtt import client, traffic
from server.features.mqtt.discovery import Topics
from server.features.mqtt.link import BrokerConnection, MqttMetrics
from server.features.mqtt.settings import MqttAddress
from server.features.mqtt.traffic import BrokerFailure, MqttMessage
from tests.support.clients import sample, soon
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


def taken(body: bytes) -> bytes:
    """The answer to a message that was sent at least once."""
    length = int.from_bytes(body[:2], "big")
    return bytes((0x40, 2)) + body[2 + length : 4 + length]


async def welcome(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: bytes = b"-"
) -> None:
    """Accept the connection and all its topics but those that begin with `refused`."""
    await packet(reader)
    writer.write(CONNECTED)
    _, body = await packet(reader)
    # One code for each topic; three bytes and its name stand for one.
    codes, at = b"", 3 + body[2]
    while at < len(body):
        codes += b"\x87" if body[at + 2 :].startswith(refused) else b"\0"
        at += 3 + int.from_bytes(body[at : at + 2], "big")
    writer.write(bytes((0x90, 3 + len(codes))) + body[:2] + b"\0" + codes)
    await writer.drain()


TOPICS = Topics("qwen-camera", "homeassistant")
LOOK = TOPICS.look("door")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(traffic, "LAST_PAUSE", 0.05)


class Ears:
    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.ups = 0

    def up(self) -> None:
        self.ups += 1

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        self.heard.append((topic, payload, retained))


def link_to(port: int, topics: Topics = TOPICS) -> tuple[BrokerConnection, Ears, Metrics]:
    ears, metrics = Ears(), Metrics("0")
    address = MqttAddress("127.0.0.1", port, tls=False)
    hears = (LOOK, *topics.births)
    link = BrokerConnection(
        address, "", topics, MqttMetrics(metrics), hears, on_up=ears.up, on_received=ears.hear
    )
    return link, ears, metrics


@asynccontextmanager
async def linked(script: Serve) -> AsyncIterator[tuple[BrokerConnection, Ears, Metrics]]:
    """A link to a broker that does this with each connection."""
    async with listening_on_loopback(script) as port:
        link, ears, metrics = link_to(port)
        link.start()
        try:
            yield link, ears, metrics
        finally:
            await link.close()


async def failed(
    metrics: Metrics, trouble: BrokerFailure, times: int = 1, seconds: float = 20
) -> None:
    """Wait until connections have ended so."""
    await soon(lambda: sample(metrics, "mqtt_failures_total", reason=trouble) >= times, seconds)


async def test_a_packet_that_is_too_large_ends_the_connection_unread() -> None:
    """268 MB are announced: nothing of them is waited for. The state says so, and it connects again."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        writer.write(b"\x30\xff\xff\xff\x7f" + bytes(1000))
        while True:
            await packet(reader)

    async with linked(script) as (_, ears, metrics):
        await failed(metrics, BrokerFailure.LARGE, seconds=10)
        await soon(lambda: ears.ups >= 2, 10)
        assert ears.heard == []


async def test_a_broker_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that it does not take in time ends the connection; what waits is bounded."""
    monkeypatch.setattr(client, "STEP_SECONDS", 0.5)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        await asyncio.Event().wait()

    async with linked(script) as (link, ears, metrics):
        await soon(lambda: ears.ups >= 1, 20)
        for number in range(300):
            link.put(MqttMessage(f"a/{number}", bytes(36 * 1024), news=True))
        await failed(metrics, BrokerFailure.SILENT)
        assert sample(metrics, "mqtt_dropped_total", reason="overflow") >= 70
        waiting = link.seen()["waiting"]
        assert isinstance(waiting, int)
        assert waiting <= 228


async def test_the_connection_ends_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    """A message that was on its way then leaves no error of its own in the log."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        await packet(reader)
        writer.write(bytes((0xE0, 1, 0x82)))
        await reader.read()

    async with linked(script) as (_, __, metrics):
        await failed(metrics, BrokerFailure.ENDED, 2)
    gc.collect()
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_broker_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither yes nor no: the attempt ends, and leaves no connection behind."""
    monkeypatch.setattr(client, "STEP_SECONDS", 0.3)
    ended = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        await reader.read()
        ended += 1

    async with linked(script) as (link, _, metrics):
        await failed(metrics, BrokerFailure.SILENT, 2)
        await soon(lambda: ended >= 2, 20)
        assert not link.up


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        *(
            (134, BrokerFailure.CREDENTIALS),
            (135, BrokerFailure.CREDENTIALS),
            (132, BrokerFailure.VERSION),
        ),
        *(
            (136, BrokerFailure.UNREACHABLE),
            (137, BrokerFailure.UNREACHABLE),
            (133, BrokerFailure.REFUSED),
        ),
    ],
)
async def test_a_refusal_is_named(code: int, trouble: BrokerFailure) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(bytes((0x20, 3, 0, code, 0)))
        await reader.read()

    async with linked(script) as (link, _, __):
        await soon(lambda: link.trouble is trouble, 20)
        assert link.seen()["detail"] == traffic.SENTENCES[trouble]


@pytest.mark.parametrize(("discovery", "up"), [("homeassistant", False), ("ha", True)])
async def test_a_broker_may_refuse_topics_of_other_prefixes(discovery: str, up: bool) -> None:
    """A refused topic below our own prefixes ends the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer, b"homeassistant")
        await reader.read()

    async with listening_on_loopback(script) as port:
        link, _, __ = link_to(port, Topics("qwen-camera", discovery))
        link.start()
        await soon(lambda: link.up or link.trouble is not None, 20)
        assert (link.up, link.trouble) == (up, None if up else BrokerFailure.CREDENTIALS)
        await link.close()


async def test_the_newest_of_each_topic_waits_for_the_broker() -> None:
    """States of before are not sent again with the connection, news is; the last word is that it goes."""
    got: list[tuple[str, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        while True:
            first, body = await packet(reader)
            if first >> 4 == 3:
                length = int.from_bytes(body[:2], "big")
                got.append((body[2 : 2 + length].decode(), body[5 + length :]))
                writer.write(taken(body))

    async with listening_on_loopback(script) as port:
        link, _, metrics = link_to(port)
        link.put(MqttMessage("a/state", b"ON"))
        for text in (b"first", b"second"):
            link.put(MqttMessage("a/picture", text, news=True))
        link.start()
        await soon(lambda: len(got) >= 2, 20)
        await link.close()
        assert got == [
            ("a/picture", b"second"),
            (TOPICS.status, b"online"),
            (TOPICS.status, b"offline"),
        ]
        assert sample(metrics, "mqtt_dropped_total", reason="replaced") == 2
        link.put(MqttMessage("a/state", b"ON"))
        assert sample(metrics, "mqtt_dropped_total", reason="closed") == 1
