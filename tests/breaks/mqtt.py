"""Breaks of what is promised of MQTT."""

from __future__ import annotations

from tests.breaks.cases import Break

_TOLD = "A camera of the house goes to MQTT only when its operator's list says so"
_PACKETS = "packets without end, floods, messages that nobody asked for"
_PRESSES = "presses without end, or with words of its own"
_SLOW = "is silent, slow or away"

_VISITOR = (
    "A person's camera is a device of Home Assistant by the person's word alone, and gone with it"
)

MQTT = (
    Break(
        _VISITOR,
        "it is offered without the setting",
        "server/mqtt/mqtt.py",
        "            if plan.visitors:\n",
        "            if True:\n",
        "mqtt/test_visitors.py::test_nothing_is_told_before_its_person_agrees",
    ),
    Break(
        _VISITOR,
        "rings go without the word",
        "server/session/watches/ring_receivers.py",
        "        if home is not None and home.has(self._id):\n",
        "        if home is not None:\n",
        "session/watches/test_ring_receivers.py::test_home_assistant_gets_rings_by_a_persons_word_alone",
    ),
    Break(
        _VISITOR,
        "the words of its watches stay",
        "server/mqtt/visitors.py",
        "for topic in (*one.configs, camera)]\n",
        "for topic in (camera,)]\n",
        "mqtt/test_visitors.py::test_the_end_takes_all_away_at_once",
    ),
    Break(
        _VISITOR,
        "what waits leaves after the end",
        "server/mqtt/visitors.py",
        "        self._forget(self._topics.root(one.key))\n",
        "",
        "mqtt/test_visitors.py::test_the_end_takes_all_away_at_once",
    ),
    Break(
        _VISITOR,
        "it outlives its session",
        "server/mqtt/mqtt.py",
        "            self.visitors.left(session_id)\n",
        "            pass\n",
        "mqtt/test_visitors.py::test_a_session_that_ended_takes_its_device_with_it",
    ),
    Break(
        _VISITOR,
        "switching off and on gives more changes",
        "server/mqtt/visitors.py",
        "        if not changes.take(now):\n",
        "        if False:\n",
        "mqtt/test_visitors.py::test_switching_off_and_on_gives_no_more",
    ),
    Break(
        _VISITOR,
        "devices have no bound",
        "server/mqtt/visitors.py",
        "        if len(self._ones) >= MOST_VISITORS:\n",
        "        if False:\n",
        "mqtt/test_visitors.py::test_devices_are_bounded",
    ),
    Break(
        _VISITOR,
        "other programs' watches are told of",
        "server/mqtt/visitors.py",
        "[watch for watch in session.watches() if not watch.id.startswith(PROGRAMS)]",
        "session.watches()",
        "mqtt/test_visitors.py::test_a_persons_watches_become_entities",
    ),
    Break(
        _VISITOR,
        "no light is on",
        "client/watch/receivers.js",
        "    show(this.light, on.length > 0 || home);\n",
        "    show(this.light, on.length > 0);\n",
        "browser/test_page_home.py::test_a_person_makes_the_camera_a_device_and_ends_it",
        slow=True,
    ),
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
        "server/mqtt/states.py",
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
        "        if not take_all((self._of[camera], self._all), now):\n",
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
