"""Connection to the broker: reconnect when it ends, send queued messages one at a time, close cleanly."""

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
from server.features.mqtt.traffic import (
    GOOD_SECONDS,
    SENTENCES,
    BrokerFailure,
    MqttMessage,
    Outgoing,
    pause,
)
from server.models.openai.http import load_ca_certificates

if TYPE_CHECKING:
    from server.features.mqtt.client import BrokerClient

log = logging.getLogger(__name__)

# Time limits for the last messages and for the disconnection, seconds
LAST_SECONDS = 2.0


class MqttMetrics:
    def __init__(self, metrics: Metrics) -> None:
        # reason: see `BrokerFailure`
        self.failures = metrics.counter(
            "mqtt_failures_total", "Connections to the MQTT broker that failed or ended", "reason"
        )
        self.sent = metrics.counter("mqtt_sent_total", "Messages that the MQTT broker has taken")
        # reason: sent messages: replaced, stale, overflow, too_large, closed; received messages: unknown, malformed,
        # retained, rate, busy; refused cameras of visitors: devices
        self.dropped = metrics.counter(
            "mqtt_dropped_total", "Messages to and from the MQTT broker that were dropped", "reason"
        )


class BrokerConnection:
    """Owner of the connection and of its queue. Call all methods on the event loop.

    After each connection `on_up` queues all states; only news of the earlier queue is kept.
    """

    def __init__(
        self,
        address: MqttAddress | None,
        ca: str,
        topics: Topics,
        metrics: MqttMetrics,
        subscriptions: tuple[str, ...],
        *,
        on_up: Callable[[], None],
        on_received: Callable[[str, bytes, bool], None],
    ) -> None:
        """`address`: None without a broker; then `start` must not be called. `ca`: PEM file with the certificate
        authority, "" for the system's. `subscriptions`: topics for `on_received(topic, payload, retained)`.
        """
        self.address = address
        self._ca = ca
        self._topics = topics
        self._metrics = metrics
        ours = (f"{topics.prefix}/", f"{topics.discovery}/")
        self._required = [topic for topic in subscriptions if topic.startswith(ours)]
        # A broker may refuse topics of other prefixes.
        self._optional = [topic for topic in subscriptions if not topic.startswith(ours)]
        self._on_up = on_up
        self._on_received = on_received
        self._name = f"{topics.prefix}-{secrets.token_hex(4)}"
        self._outgoing = Outgoing()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        # Set while nothing is queued or in transit
        self._idle = asyncio.Event()
        # Set while no connection is open
        self._over = asyncio.Event()
        self._tasks = TaskSet("mqtt")
        self.up = False
        self.trouble: BrokerFailure | None = None
        self.sent = 0
        self._failures = 0
        self._due = time.monotonic()

    def start(self) -> None:
        self._tasks.spawn(supervise(self._run_step, name="mqtt"), name="link")

    def put(self, message: MqttMessage) -> None:
        """Queue a message; it replaces a queued one of the same topic."""
        if self._closing.is_set():
            self._drop(["closed"])
            return
        self._drop(self._outgoing.put(message, time.monotonic()))
        self._idle.clear()
        self._changed.set()

    def forget(self, root: str) -> None:
        """Drop queued messages whose topic begins with `root`."""
        self._drop(self._outgoing.forget(root))

    def seen(self) -> dict[str, object]:
        """Return the connection's state for operators, without user and password."""
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

    async def _run_step(self) -> float:
        """Connect and stay connected. Return the seconds until the next attempt."""
        began = time.monotonic()
        # Imported here, because the library is needed only with MQTT_URL.
        from server.features.mqtt.client import MqttError, classify_failure

        client: BrokerClient | None = None
        trouble: BrokerFailure | None = None
        try:
            client = await self._create_client()
            await self._on_connected(client)
        except (MqttError, OSError, ssl.SSLError) as error:
            mine = client.trouble if client is not None else BrokerFailure.CERTIFICATE
            trouble = mine or classify_failure(error)
        finally:
            self.up = False
            if client is not None:
                client.drop()
            # The message in transit may not have arrived: send it again.
            self._drop(self._outgoing.requeue())
            self._over.set()
        if self._closing.is_set():
            await asyncio.Event().wait()
        trouble = trouble or BrokerFailure.ENDED
        self._metrics.failures.labels(trouble.value).inc()
        if trouble is not self.trouble:
            log.warning("mqtt connection failed", extra={"reason": trouble.value})
        self.trouble = trouble
        if time.monotonic() - began >= GOOD_SECONDS:
            self._failures = 0
        wait = pause(self._failures, trouble, random.random())
        self._failures += 1
        self._due = time.monotonic() + wait
        return wait

    async def _create_client(self) -> BrokerClient:
        """Return a client that is not connected yet. Raises OSError if MQTT_CA is unreadable."""
        from server.features.mqtt.client import BrokerClient

        assert self.address is not None
        tls = None
        if self.address.tls:
            tls = await asyncio.to_thread(load_ca_certificates, self._ca)
        return BrokerClient(
            self.address,
            name=self._name,
            will=MqttMessage(self._topics.status, OFFLINE, retain=True),
            tls=tls,
            on_received=self._on_received,
        )

    async def _on_connected(self, client: BrokerClient) -> None:
        from server.features.mqtt.client import classify_failure

        async with client:
            await client.subscribe_to(self._required, self._optional)
            self._over.clear()
            self.up, self.trouble = True, None
            log.info("mqtt connected")
            self._drop(self._outgoing.keep_news())
            self.put(MqttMessage(self._topics.status, ONLINE, retain=True))
            self._on_up()
            work = [
                asyncio.create_task(client.wait_ended(), name="mqtt/ended"),
                asyncio.create_task(self._send(client), name="mqtt/send"),
                asyncio.create_task(self._closing.wait(), name="mqtt/closing"),
            ]
            for task in work:
                # Retrieve the exception, so that asyncio does not log it.
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            try:
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.up = False
                await cancel_and_wait(work)
            if self._closing.is_set():
                await client.send(MqttMessage(self._topics.status, OFFLINE, retain=True))
                return
            for task in work:
                if not task.cancelled() and (error := task.exception()) is not None:
                    # Without a farewell, so that the broker publishes the will.
                    client.drop(classify_failure(error))
                    raise error

    async def _send(self, client: BrokerClient) -> None:
        """Send queued messages one at a time, until the connection ends."""
        while True:
            self._changed.clear()
            self._drop(self._outgoing.drop_stale(time.monotonic()))
            message = self._outgoing.take_next()
            if message is None:
                self._idle.set()
                await self._changed.wait()
                continue
            if not client.can_send(message):
                self._drop(["too_large"])
                # An empty picture replaces the previous alert's.
                message = replace(message, payload=b"")
            await client.send(message)
            self._outgoing.mark_sent()
            self.sent += 1
            self._metrics.sent.inc()

    async def close(self, last: Sequence[MqttMessage] = ()) -> None:
        """Send `last` and the offline status, drop the queue, and disconnect. Safe to call twice."""
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
            # Without the farewell in time, the broker publishes the will.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._over.wait()
        await self._tasks.close()
        self._drop(self._outgoing.clear())
