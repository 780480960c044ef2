"""The connection to the broker: opened again whenever it ends, one message at a time, closed with a word."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from server.core.aio import TaskSet, cancel_and_wait, supervise
from server.core.metrics import Metrics
from server.features.mqtt.discovery import OFFLINE, ONLINE, Topics
from server.features.mqtt.settings import MqttAddress
from server.features.mqtt.traffic import GOOD_SECONDS, SENTENCES, Message, Outgoing, Trouble, pause
from server.models.openai.http import authorities

if TYPE_CHECKING:
    from server.features.mqtt.client import BrokerClient

log = logging.getLogger(__name__)

# Seconds for the last words to the broker, and for its farewell
LAST_SECONDS = 2.0


class MqttMetrics:
    def __init__(self, metrics: Metrics) -> None:
        # reason: see `Trouble`
        self.failures = metrics.counter(
            "mqtt_failures_total", "Connections to the MQTT broker that failed or ended", "reason"
        )
        self.sent = metrics.counter("mqtt_sent_total", "Messages that the MQTT broker has taken")
        # reason: replaced, stale, overflow, too_large, closed of those to the broker; unknown, malformed, retained, rate, busy of
        # those from there; devices: of visitors' cameras that were refused
        self.dropped = metrics.counter(
            "mqtt_dropped_total", "Messages to and from the MQTT broker that were dropped", "reason"
        )


class Link:
    """Owner of the connection and of what waits for it. Everything belongs to the event loop.

    With each connection `on_up` puts all that is to be known; what waited before is news alone.
    """

    def __init__(
        self,
        address: MqttAddress | None,
        ca: str,
        topics: Topics,
        metrics: MqttMetrics,
        hears: tuple[str, ...],
        *,
        on_up: Callable[[], None],
        hear: Callable[[str, bytes, bool], None],
    ) -> None:
        """`address`: None without a broker; then it is never started. `ca`: a PEM file with the authority of its
        certificate, "" for the system's. `hears`: the topics of `hear(topic, payload, retained)`.
        """
        self.address = address
        self._ca = ca
        self._topics = topics
        self._metrics = metrics
        ours = (f"{topics.prefix}/", f"{topics.discovery}/")
        self._hears = [topic for topic in hears if topic.startswith(ours)]
        # A broker may reserve other prefixes for others.
        self._optional = [topic for topic in hears if not topic.startswith(ours)]
        self._on_up = on_up
        self._hear = hear
        self._name = f"{topics.prefix}-{secrets.token_hex(4)}"
        self._outgoing = Outgoing()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        # Set while nothing waits and nothing is on its way
        self._idle = asyncio.Event()
        # Set while no connection is open
        self._over = asyncio.Event()
        self._tasks = TaskSet("mqtt")
        self.up = False
        self.trouble: Trouble | None = None
        self.sent = 0
        self._failures = 0
        self._due = time.monotonic()

    def start(self) -> None:
        self._tasks.spawn(supervise(self._step, name="mqtt"), name="link")

    def put(self, message: Message) -> None:
        """Send a message when the broker takes it; the newest of a topic replaces one that waits."""
        if self._closing.is_set():
            self._drop(["closed"])
            return
        self._drop(self._outgoing.put(message, time.monotonic()))
        self._idle.clear()
        self._changed.set()

    def forget(self, root: str) -> None:
        """Send nothing more whose topic begins with `root`."""
        self._drop(self._outgoing.forget(root))

    def seen(self) -> dict[str, object]:
        """Describe the connection for operators; without user and password."""
        if self.address is None:
            return {"broker": "", "state": "off"}
        return {
            "broker": self.address.shown,
            "state": "connected" if self.up else "waiting",
            "trouble": str(self.trouble or ""),
            "detail": SENTENCES[self.trouble] if self.trouble is not None else "",
            "retry_seconds": None if self.up else max(0, round(self._due - time.monotonic())),
            "waiting": len(self._outgoing),
            "sent": self.sent,
        }

    def _drop(self, reasons: list[str]) -> None:
        for reason in reasons:
            self._metrics.dropped.labels(reason).inc()

    async def _step(self) -> float:
        """Connect, and stay. Returns the seconds until the next attempt."""
        began = time.monotonic()
        # Here, so that whoever sets no MQTT_URL does not need it.
        from server.features.mqtt.client import MqttError, trouble_of

        client: BrokerClient | None = None
        trouble: Trouble | None = None
        try:
            client = await self._client()
            await self._connected(client)
        except (MqttError, OSError, ssl.SSLError) as error:
            mine = client.trouble if client is not None else Trouble.CERTIFICATE
            trouble = mine or trouble_of(error)
        finally:
            self.up = False
            if client is not None:
                client.drop()
            # It may not have arrived: once more is better than never.
            self._drop(self._outgoing.again())
            self._over.set()
        if self._closing.is_set():
            await asyncio.Event().wait()
        trouble = trouble or Trouble.ENDED
        self._metrics.failures.labels(trouble.value).inc()
        if trouble is not self.trouble:
            log.warning("no connection to the MQTT broker", extra={"reason": trouble.value})
        self.trouble = trouble
        if time.monotonic() - began >= GOOD_SECONDS:
            self._failures = 0
        wait = pause(self._failures, trouble, random.random())
        self._failures += 1
        self._due = time.monotonic() + wait
        return wait

    async def _client(self) -> BrokerClient:
        """Make a connection that is not open yet. Raises OSError for unreadable authorities."""
        from server.features.mqtt.client import BrokerClient

        assert self.address is not None
        tls = None
        if self.address.tls:
            tls = await asyncio.to_thread(authorities, self._ca)
        return BrokerClient(
            self.address,
            name=self._name,
            will=Message(self._topics.status, OFFLINE, retain=True),
            tls=tls,
            hear=self._hear,
        )

    async def _connected(self, client: BrokerClient) -> None:
        from server.features.mqtt.client import trouble_of

        async with client:
            await client.hear_of(self._hears, self._optional)
            self._over.clear()
            self.up, self.trouble = True, None
            log.info("connected to the MQTT broker")
            self._drop(self._outgoing.keep_news())
            self.put(Message(self._topics.status, ONLINE, retain=True))
            self._on_up()
            work = [
                asyncio.create_task(client.ended(), name="mqtt/ended"),
                asyncio.create_task(self._send(client), name="mqtt/send"),
                asyncio.create_task(self._closing.wait(), name="mqtt/closing"),
            ]
            for task in work:
                # Whenever it ends: the loop would log an error that nobody looked at.
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            try:
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.up = False
                await cancel_and_wait(work)
            if self._closing.is_set():
                await client.send(Message(self._topics.status, OFFLINE, retain=True))
                return
            for task in work:
                if not task.cancelled() and (error := task.exception()) is not None:
                    # Without a farewell, so that the broker tells others with the will.
                    client.drop(trouble_of(error))
                    raise error

    async def _send(self, client: BrokerClient) -> None:
        """Send what waits, one message after another, until the connection ends."""
        while True:
            self._changed.clear()
            self._drop(self._outgoing.stale(time.monotonic()))
            message = self._outgoing.next()
            if message is None:
                self._idle.set()
                await self._changed.wait()
                continue
            if not client.fits(message):
                self._drop(["too_large"])
                # The one before does not belong to this alert.
                message = replace(message, payload=b"")
            await client.send(message)
            self._outgoing.sent()
            self.sent += 1
            self._metrics.sent.inc()

    async def close(self, last: Sequence[Message] = ()) -> None:
        """Tell the broker `last` and that this server goes, and forget what waits. Safe to call twice."""
        if last and self.up:
            self._drop(self._outgoing.clear())
            for message in last:
                self.put(message)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._idle.wait()
        self._closing.set()
        self._drop(self._outgoing.clear())
        if self.up:
            # The farewell goes to the broker within a moment, or the broker tells the will.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._over.wait()
        await self._tasks.close()
        self._drop(self._outgoing.clear())
