"""The library's client with bounds around what a broker sends. Imported when MQTT_URL is set."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

from aiomqtt import Client, MqttError, ProtocolVersion, Will
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt import client as mqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from server.features.mqtt.settings import MqttAddress
from server.features.mqtt.traffic import MOST_PACKET, Message, Trouble, refusal

__all__ = ["BrokerClient", "MqttError"]
# Seconds for a step: the answer to a connection, a subscription, a message
STEP_SECONDS = 10.0
# Seconds of silence after which the connection is asked whether it lives
KEEPALIVE = 30
# Bytes of a message's packet beside topic and payload, at most: kind and length, topic's length, number, no properties
_BESIDE_MESSAGE = 5 + 2 + 2 + 1
# Messages are counted here instead.
_SILENT = logging.Logger("mqtt", logging.CRITICAL + 1)


class _Closing(ssl.SSLSocket):
    """A socket that closes when its handshake fails: the library leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class BrokerClient(Client):
    """One connection: `async with` opens it. A packet that is too large ends it unread.

    Bounds of a connection to the broker: a packet of 64 KiB; a larger one ends it unread, and it
    begins again after a pause.
    """

    def __init__(
        self,
        address: MqttAddress,
        *,
        name: str,
        will: Message,
        tls: ssl.SSLContext | None,
        hear: Callable[[str, bytes, bool], None],
    ) -> None:
        """`hear(topic, payload, retained)` gets each message."""
        if tls is not None:
            tls.sslsocket_class = _Closing
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MOST_PACKET
        properties.ReceiveMaximum = 1
        super().__init__(
            address.host,
            address.port,
            username=address.user or None,
            password=address.password or None,
            logger=_SILENT,
            identifier=name,
            protocol=ProtocolVersion.V5,
            will=Will(will.topic, will.payload, qos=1, retain=will.retain),
            clean_start=True,
            timeout=STEP_SECONDS,
            keepalive=KEEPALIVE,
            properties=properties,
            tls_context=tls,
        )
        self._hear = hear
        # Bytes of a packet that the broker takes; None: it names no limit
        self._limit: int | None = None
        # Why this side has ended it; None: it has not
        self.trouble: Trouble | None = None
        self._client.connect_timeout = STEP_SECONDS / 2
        self._client.on_message = self._heard
        self._receive = self._client._sock_recv
        # The library has no other place for a bound; tests/project/test_dependencies.py guards it.
        setattr(self._client, "_sock_recv", self._bounded)  # noqa: B010

    def _bounded(self, size: int) -> bytes:
        """Read at most `size` bytes of a packet. Raises ConnectionError, which ends the connection."""
        if size > MOST_PACKET:
            self.trouble = self.trouble or Trouble.LARGE
        if self.trouble is not None:
            raise ConnectionError
        return self._receive(size)

    def _heard(self, client: object, userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._hear(topic, bytes(message.payload), bool(message.retain))

    def _on_connect(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._limit = getattr(properties, "MaximumPacketSize", None)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def fits(self, message: Message) -> bool:
        """Return False if the broker refuses a packet of this size."""
        size = len(message.topic.encode()) + len(message.payload) + _BESIDE_MESSAGE
        return self._limit is None or size <= self._limit

    async def send(self, message: Message) -> None:
        """Send a message, and wait until the broker has it. Raises MqttError."""
        await self.publish(message.topic, message.payload, qos=1, retain=message.retain)

    async def hear_of(self, topics: list[str], optional: list[str]) -> None:
        """Subscribe, to messages of others alone. Raises MqttError; also for a refused topic that is not optional."""
        options = SubscribeOptions(qos=0, noLocal=True)
        codes = await self.subscribe([(topic, options) for topic in topics + optional])
        if any(getattr(code, "value", code) >= 128 for code in codes[: len(topics)]):
            self.trouble = Trouble.CREDENTIALS
            raise MqttError("a topic was refused")

    async def ended(self) -> None:
        """Wait for the end of the connection. Raises MqttError."""
        async for _ in self.messages:
            pass

    def drop(self, trouble: Trouble | None = None) -> None:
        """End the connection at once, so that the broker tells others with the will."""
        self.trouble = self.trouble or trouble or Trouble.ENDED
        # Reads, finds the trouble, and closes the socket.
        self._client.loop_read()
        if self._disconnected.done() and not self._disconnected.cancelled():
            # Looked at: nobody waits for it any more.
            self._disconnected.exception()


def trouble_of(error: BaseException) -> Trouble:
    """Name the trouble of a connection that failed."""
    if isinstance(error, MqttConnectError):
        value: Any = getattr(error.rc, "value", error.rc)
        return refusal(value if isinstance(value, int) else 0)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Trouble.CERTIFICATE
    if isinstance(cause, TimeoutError) and "timed out" in str(error).lower():
        return Trouble.SILENT
    if isinstance(cause, ssl.SSLError):
        return Trouble.MALFORMED
    if isinstance(cause, OSError):
        return Trouble.UNREACHABLE
    return Trouble.ENDED if isinstance(error, MqttError) else Trouble.MALFORMED
