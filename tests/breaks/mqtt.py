"""Breaks of what is promised of MQTT."""

from __future__ import annotations

from tests.breaks.cases import Break

_TOLD = "A camera of the house is told of over MQTT when its operator's list says so"
_PACKETS = "packets without end, floods, messages that nobody asked for"
_PRESSES = "presses without end, or with words of its own"
_SLOW = "is silent, slow or away"

MQTT = (
    Break(
        _TOLD,
        "every camera is told of",
        "server/mqtt/mqtt.py",
        "        agreed = [one for one in listed if one.mqtt]\n",
        "        agreed = list(listed)\n",
        "mqtt/test_house.py::test_only_a_camera_that_agreed_is_told_of",
        slow=True,
    ),
    Break(
        _TOLD,
        "the broker keeps pictures",
        "server/mqtt/mqtt.py",
        "        self._put(Message(topic, payload, news=True))\n",
        "        self._put(Message(topic, payload, retain=True, news=True))\n",
        "mqtt/test_house.py::test_a_camera_of_the_house",
        slow=True,
    ),
    Break(
        _TOLD,
        "what was left stays",
        "server/mqtt/mqtt.py",
        '                self._put(Message(heard.detail, b"", retain=True))\n',
        "                pass\n",
        "mqtt/test_house.py::test_only_a_camera_that_agreed_is_told_of",
        slow=True,
    ),
    Break(
        _TOLD,
        "the password is shown",
        "server/mqtt/link.py",
        '            "broker": self._address.shown,\n',
        '            "broker": f"{self._address.user}:{self._address.password}@{self._address.host}",\n',
        "operator/test_mqtt_routes.py::test_only_an_operator",
    ),
    Break(
        _PACKETS,
        "packets have no end",
        "server/mqtt/client.py",
        "        if self.trouble is None and size > MOST_PACKET:\n",
        "        if False:\n",
        "mqtt/test_link.py::test_a_hostile_packet_ends_the_connection_unread",
    ),
    Break(
        _PACKETS,
        "a flood has no end",
        "server/mqtt/incoming.py",
        "        return self._packets.take(now)\n",
        "        return True\n",
        "mqtt/test_incoming.py::test_packets_and_bytes_of_a_connection_have_a_rate",
    ),
    Break(
        _PRESSES,
        "looks have no rate",
        "server/mqtt/incoming.py",
        "        if not self._of[camera].take(now) or not self._all.take(now):\n",
        "        if False:\n",
        "mqtt/test_incoming.py::test_looks_have_a_rate",
    ),
    Break(
        _PRESSES,
        "a retained press orders a look",
        "server/mqtt/incoming.py",
        "        if retained:\n",
        "        if False:\n",
        "mqtt/test_incoming.py::test_what_a_message_means",
    ),
    Break(
        _SLOW,
        "what waits has no bound",
        "server/mqtt/outgoing.py",
        "        while len(self._waiting) > MOST_MESSAGES or self._bytes > MOST_BYTES:\n",
        "        while False:\n",
        "mqtt/test_outgoing.py",
    ),
    Break(
        _SLOW,
        "a message has no end",
        "server/mqtt/client.py",
        "            timeout=STEP_SECONDS,\n",
        "            timeout=999.0,\n",
        "mqtt/test_link.py::test_a_broker_that_takes_nothing",
    ),
)
