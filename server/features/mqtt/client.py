"""MQTT client of the library, with bounds on received data. Imported only if MQTT_URL is set."""

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
from server.features.mqtt.traffic import MOST_PACKET, BrokerFailure, MqttMessage, get_refusal_reason

__all__ = ["BrokerClient", "MqttError"]
# Time limit for the broker's reply to a connection, a subscription or a message, seconds
STEP_SECONDS = 10.0
# Keep-alive interval, seconds
KEEPALIVE = 30
# Maximum overhead of a PUBLISH packet, bytes: header, topic length, packet id, empty properties
_BESIDE_MESSAGE = 5 + 2 + 2 + 1
# Disables the library's log: metrics count the messages instead.
_SILENT = logging.Logger("mqtt", logging.CRITICAL + 1)


class _Closing(ssl.SSLSocket):
    """Socket that is closed if its handshake fails; the library would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class BrokerClient(Client):
    """Connection to the broker; `async with` opens it.

    Bounds of a connection to the broker: 64 KiB for a received packet; a larger one ends it unread, and
    it is opened again after a pause.
    """

    def __init__(
        self,
        address: MqttAddress,
        *,
        name: str,
        will: MqttMessage,
        tls: ssl.SSLContext | None,
        on_received: Callable[[str, bytes, bool], None],
    ) -> None:
        """`on_received(topic, payload, retained)`: called with each message."""
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
        self._on_received = on_received
        # Maximum packet size of the broker, bytes; None: no limit announced
        self._limit: int | None = None
        # Reason why this side ended the connection; None otherwise
        self.trouble: BrokerFailure | None = None
        self._client.connect_timeout = STEP_SECONDS / 2
        self._client.on_message = self._on_message
        self._receive = self._client._sock_recv
        # The library has no public hook for a bound; tests/project/test_dependencies.py checks this one.
        setattr(self._client, "_sock_recv", self._read_bounded)  # noqa: B010

    def _read_bounded(self, size: int) -> bytes:
        """Read at most `size` bytes of a packet. Raises ConnectionError beyond the limit."""
        if size > MOST_PACKET:
            self.trouble = self.trouble or BrokerFailure.LARGE
        if self.trouble is not None:
            raise ConnectionError
        return self._receive(size)

    def _on_message(self, client: object, userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._on_received(topic, bytes(message.payload), bool(message.retain))

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

    def can_send(self, message: MqttMessage) -> bool:
        """Return False if the message exceeds the broker's packet size."""
        size = len(message.topic.encode()) + len(message.payload) + _BESIDE_MESSAGE
        return self._limit is None or size <= self._limit

    async def send(self, message: MqttMessage) -> None:
        """Publish a message and wait for the broker's acknowledgement. Raises MqttError."""
        await self.publish(message.topic, message.payload, qos=1, retain=message.retain)

    async def subscribe_to(self, topics: list[str], optional: list[str]) -> None:
        """Subscribe, except to this client's own messages.

        Raises MqttError, also if a topic that is not optional is refused.
        """
        options = SubscribeOptions(qos=0, noLocal=True)
        codes = await self.subscribe([(topic, options) for topic in topics + optional])
        if any(getattr(code, "value", code) >= 128 for code in codes[: len(topics)]):
            self.trouble = BrokerFailure.CREDENTIALS
            raise MqttError("a topic was refused")

    async def wait_ended(self) -> None:
        """Wait for the end of the connection. Raises MqttError."""
        async for _ in self.messages:
            pass

    def drop(self, trouble: BrokerFailure | None = None) -> None:
        """Close the connection without DISCONNECT, so that the broker publishes the will message."""
        self.trouble = self.trouble or trouble or BrokerFailure.ENDED
        # Makes the library read, get the ConnectionError, and close the socket.
        self._client.loop_read()
        if self._disconnected.done() and not self._disconnected.cancelled():
            # Retrieve the exception, so that asyncio does not log it.
            self._disconnected.exception()


def classify_failure(error: BaseException) -> BrokerFailure:
    """Return the reason for a failed connection."""
    if isinstance(error, MqttConnectError):
        value: Any = getattr(error.rc, "value", error.rc)
        return get_refusal_reason(value if isinstance(value, int) else 0)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerFailure.CERTIFICATE
    if isinstance(cause, TimeoutError) and "timed out" in str(error).lower():
        return BrokerFailure.SILENT
    if isinstance(cause, ssl.SSLError):
        return BrokerFailure.MALFORMED
    if isinstance(cause, OSError):
        return BrokerFailure.UNREACHABLE
    return BrokerFailure.ENDED if isinstance(error, MqttError) else BrokerFailure.MALFORMED
