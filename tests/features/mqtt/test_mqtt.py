"""The broker's messages of the house's cameras and of visitors': its order and times, consent, bounds, and what is kept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from server.core.errors import Conflict, RateLimited
from server.core.frames import CameraState
from server.core.metrics import Metrics
from server.features.mqtt.discovery import Topics, watch_key
from server.features.mqtt.link import BrokerConnection
from server.features.mqtt.messages import SetHomeAssistant
from server.features.mqtt.mqtt import (
    CHANGES_AT_ONCE,
    DOUBT_SECONDS,
    MOST_VISITORS,
    PICTURE_SECONDS,
    HomeAssistantDevice,
    Mqtt,
)
from server.features.mqtt.settings import MqttSettings
from server.features.mqtt.traffic import MessageKind, MqttMessage
from server.features.rtsp.settings import FixedCamera
from server.features.watches.messages import WatchInfo
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox
from server.session.session import Session
from server.shared.services import CameraReport
from tests.support.rooms import bare_context

TOPICS = Topics("p", "homeassistant")
DOOR = FixedCamera("door", "/dev/video0", mqtt=True, describe=True, watches=("a dog",))
YARD = FixedCamera("yard", "/dev/video1", watches=("a dog",))
WATCH = TOPICS.watch("door", watch_key("a dog"))
PICTURE = TOPICS.evidence("door", watch_key("a dog"))


def watch(id: str, condition: str) -> WatchInfo:
    given: dict[str, Any] = {
        "repeat": True,
        "state": "looking",
        "reason": "",
        "armed": True,
        "threshold": 0.6,
    }
    return WatchInfo(id=id, condition=condition, **given)


@dataclass
class Person:
    """A session as devices see it."""

    list: list[WatchInfo] = field(default_factory=list)
    name: str = ""
    describing: bool = False
    described: str = "A person reads."

    @property
    def session(self) -> Session:
        seen = SimpleNamespace(
            camera=SimpleNamespace(state=lambda: CameraState.LIVE),
            part={
                "cameras": SimpleNamespace(own_name=self.name),
                "watches": SimpleNamespace(watches=lambda: self.list),
                "describe": SimpleNamespace(on=self.describing, text=self.described),
            }.get,
        )
        return cast(Session, seen)


class Wire:
    """Takes messages as the link does, and keeps what is retained as a broker does."""

    up = True

    def __init__(self) -> None:
        self.sent: list[MqttMessage] = []
        self.kept: dict[str, bytes] = {}
        self.forgotten: list[str] = []

    def put(self, message: MqttMessage) -> None:
        self.sent.append(message)
        if message.retain:
            self.kept[message.topic] = message.payload
            if not message.payload:
                del self.kept[message.topic]

    def forget(self, root: str) -> None:
        self.forgotten.append(root)

    def of(self, topic: str) -> list[bytes]:
        return [one.payload for one in self.sent if one.topic == topic]


class House:
    """The fixed cameras, and a visitor `a`."""

    def __init__(self) -> None:
        self.now = 0.0
        mine = [watch("w1", "a dog"), watch("program:x:1", "a cat"), watch("tool:1", "a bird")]
        self.people = {"a": Person(mine)}
        self.wire, self.metrics = Wire(), Metrics("0")
        self.mqtt = Mqtt(
            MqttSettings(mqtt_prefix="p"),
            (DOOR, YARD),
            None,
            self.metrics,
            find=self.find,
            clock=lambda: self.now,
        )
        self.mqtt.link = cast(BrokerConnection, self.wire)
        self.visitors = self.mqtt.visitors

    def find(self, id: str) -> Session | None:
        return self.people[id].session if id in self.people else None

    def tells(self, holds: bool | None, described: str = "") -> None:
        self.mqtt._see(CameraReport(DOOR, True, described, {"a dog": holds}))

    @property
    def entities(self) -> dict[str, Any]:
        """Entities that the broker keeps, by their names."""
        configs = [json.loads(one) for topic, one in self.wire.kept.items() if "config" in topic]
        return {one["name"]: one for one in configs}

    @property
    def key(self) -> str:
        """The name in topics of the one visitor's camera that the broker keeps."""
        (camera,) = (topic for topic in self.wire.kept if topic.endswith("/status"))
        return camera.split("/")[1]

    def judged(
        self, topic: str, payload: bytes = b"PRESS", *, retained: bool = False
    ) -> MessageKind:
        return self.mqtt.incoming.judge(topic, payload, retained, 0).kind


def alert(session: str = "s", camera: str = "", **more: Any) -> Alert:
    given = {"watch": "w1", "condition": "a dog", "reason": "It sits.", "confidence": 0.9, **more}
    return Alert(0, AlertSource(session, camera), **given)


@pytest.fixture
def house() -> House:
    return House()


def test_an_alert_has_its_picture_first(house: House) -> None:
    """The state waits a moment for it, and not longer."""
    house.tells(False)
    house.tells(True)
    assert house.wire.of(WATCH) == [b"OFF"]
    house.mqtt.on_alert(alert(camera="door", jpeg=b"jpeg"))
    assert [one.topic for one in house.wire.sent][-3:] == [PICTURE, f"{WATCH}/facts", WATCH]
    house.tells(True)
    assert house.wire.of(WATCH) == [b"OFF", b"ON"]
    house.tells(False)
    house.tells(True)
    house.now += PICTURE_SECONDS - 1
    house.tells(True)
    assert house.wire.of(WATCH) == [b"OFF", b"ON", b"OFF"]
    house.now += 1
    house.tells(True)
    assert house.wire.of(WATCH) == [b"OFF", b"ON", b"OFF", b"ON"]


def test_a_picture_that_a_filter_withheld_takes_the_one_before_away(house: House) -> None:
    house.mqtt.on_alert(alert(camera="door", jpeg=b"jpeg"))
    house.mqtt.on_alert(alert(camera="door", jpeg=None))
    assert house.wire.of(PICTURE) == [b"jpeg", b""]


def test_a_short_trouble_is_no_change(house: House) -> None:
    house.tells(None)
    assert house.wire.of(WATCH) == [b"None"]
    house.tells(False)
    house.tells(None)
    house.now = DOUBT_SECONDS - 1
    house.tells(None)
    assert house.wire.of(WATCH) == [b"None", b"OFF"]
    house.now = DOUBT_SECONDS
    house.tells(None)
    assert house.wire.of(WATCH) == [b"None", b"OFF", b"None"]


def test_words_are_cut_and_told_once(house: House) -> None:
    house.tells(False, "A dog sits at the door. " * 50)
    house.tells(False, "A dog sits at the door. " * 50)
    (state,) = house.wire.of(TOPICS.description("door"))
    assert 200 < len(state) <= 255
    assert len(house.wire.of(TOPICS.facts(TOPICS.description("door")))) == 1


def test_nothing_that_is_seen_is_retained(house: House) -> None:
    """Entities and who is there alone."""
    house.mqtt._on_connected()
    house.tells(False, "A dog sits.")
    house.mqtt.on_alert(alert(camera="door", jpeg=b"jpeg"))
    kept = {one.topic for one in house.wire.sent if one.retain}
    assert {topic for topic in kept if not topic.endswith("/config")} == {TOPICS.camera("door")}
    assert not any("yard" in one.topic for one in house.wire.sent)


def test_a_camera_that_did_not_agree_alerts_unheard(house: House) -> None:
    house.mqtt.on_alert(alert(camera="yard", jpeg=b"jpeg"))
    house.mqtt.on_alert(Alert(0))
    assert house.wire.sent == []


def test_nothing_is_told_before_its_person_agrees(house: House) -> None:
    house.visitors.look()
    house.visitors.on_alert(alert("a", jpeg=b"jpeg"))
    assert house.wire.sent == []


def test_a_persons_watches_become_entities(house: House) -> None:
    """Those of other programs and of a model do not; no topic has a name or a session's id."""
    house.visitors.begin("a")
    assert set(house.entities) == {"a dog", "a dog: picture", "Answer", "Look now"}
    device = house.entities["Look now"]["device"]
    assert device["name"].startswith("Camera ")
    assert "visitor_" in device["identifiers"][0]
    house.people["a"].name = "Garden"
    house.people["a"].describing = True
    house.visitors.look()
    assert "Description" in house.entities
    assert {one["device"]["name"] for one in house.entities.values()} == {"Garden"}
    house.people["a"].list = []
    house.people["a"].describing = False
    house.visitors.look()
    assert set(house.entities) == {"Answer", "Look now"}


def test_an_alert_of_its_own_watch_is_told_and_no_picture_is_kept(house: House) -> None:
    house.visitors.begin("a")
    house.visitors.on_alert(alert("a", jpeg=b"jpeg", watch="program:x:1", condition="a cat"))
    house.visitors.on_alert(alert("a", jpeg=b"jpeg", watch="tool:1", condition="a bird"))
    assert not any(one.payload == b"jpeg" for one in house.wire.sent)
    house.visitors.on_alert(alert("a", jpeg=b"jpeg"))
    assert [one.retain for one in house.wire.sent if one.payload == b"jpeg"] == [False]
    kept = {topic for topic in house.wire.kept if "config" not in topic}
    (camera,) = kept
    assert camera.startswith("p/visitor_")
    assert camera.endswith("/status")


def test_the_end_takes_all_away_at_once(house: House) -> None:
    """All that is kept or waits goes; the same person's next device has the same name in topics."""
    house.visitors.begin("a")
    before = set(house.wire.kept)
    house.visitors.end("a")
    assert house.wire.kept == {}
    (root,) = house.wire.forgotten
    # A digest, under a secret of the process
    assert re.search(r"^p/visitor_[0-9a-f]{8}\b", root)
    house.visitors.on_alert(alert("a", jpeg=b"jpeg"))
    house.visitors.look()
    assert house.wire.kept == {}
    house.visitors.begin("a")
    assert set(house.wire.kept) == before


def test_a_session_that_ended_takes_its_device_with_it(house: House) -> None:
    house.visitors.begin("a")
    house.visitors.on_left("a")
    assert house.wire.kept == {}
    house.visitors.begin("a")
    del house.people["a"]
    house.visitors.look()
    assert house.wire.kept == {}


def test_devices_are_bounded(house: House) -> None:
    """One more is refused and counted; its own entities change with a rate."""
    for number in range(MOST_VISITORS):
        house.visitors.begin(f"s{number}")
    assert len(house.visitors) <= MOST_VISITORS
    house.people |= {f"p{number}": Person() for number in range(MOST_VISITORS + 1)}
    for number in range(MOST_VISITORS):
        house.visitors.begin(f"p{number}")
    with pytest.raises(Conflict, match="limit"):
        house.visitors.begin(f"p{MOST_VISITORS}")
    assert b'mqtt_dropped_total{reason="devices"} 1.0' in house.metrics.render()
    house.visitors.begin("p0")


def test_changes_have_a_rate(house: House) -> None:
    house.visitors.begin("a")
    for number in range(100):
        house.people["a"].list = [watch("w1", f"thing {number}")]
        house.visitors.look()
    made = [one for one in house.wire.sent if one.payload and "config" in one.topic]
    # Its beginning is one, too.
    assert len(made) == CHANGES_AT_ONCE - 1
    # Of a watch that is gone nothing is kept.
    assert len([one for one in house.mqtt.states._sent if "/watch/" in one]) == 1
    house.now = 60
    house.visitors.look()
    assert "thing 99" in house.entities


def test_switching_off_and_on_gives_no_more(house: House) -> None:
    """Whoever does so without an end is refused, until a minute has passed; a session's end forgets it."""
    # Each beginning is a change, and the first one has four entities.
    for _ in range(CHANGES_AT_ONCE):
        try:
            house.visitors.begin("a")
        except RateLimited:
            break
        house.visitors.end("a")
    with pytest.raises(RateLimited, match="too often"):
        house.visitors.begin("a")
    assert len(house.visitors) == 0
    assert len(house.wire.sent) < 4 * CHANGES_AT_ONCE
    house.now = 60
    house.visitors.begin("a")
    assert len(house.visitors) == 1
    house.visitors.on_left("a")
    assert house.visitors._changes == {}


def test_switching_off_and_on_gives_no_more_looks(house: House) -> None:
    """The looks that its person's session has left stay; a session's end forgets them."""

    def pressed() -> list[MessageKind]:
        return [house.judged(TOPICS.look(house.key)) for _ in "abc"]

    house.visitors.begin("a")
    assert pressed() == [MessageKind.PRESS, MessageKind.PRESS, MessageKind.DROPPED]
    house.visitors.end("a")
    house.visitors.begin("a")
    assert pressed() == [MessageKind.DROPPED] * 3
    house.visitors.on_left("a")
    house.visitors.begin("a")
    assert pressed() == [MessageKind.PRESS, MessageKind.PRESS, MessageKind.DROPPED]


def test_looks_of_it_alone_are_ordered(house: House) -> None:
    house.visitors.begin("a")
    look = TOPICS.look(house.key)
    assert house.judged(TOPICS.look("visitor_00000000")) is MessageKind.DROPPED
    assert house.judged(look) is MessageKind.PRESS
    kept = dict(house.wire.kept)

    def cleared() -> set[MessageKind]:
        return {house.judged(topic, payload, retained=True) for topic, payload in kept.items()}

    # Its retained topics are no leftovers of an earlier run.
    assert cleared() == {MessageKind.NOTHING}
    house.visitors.end("a")
    assert house.judged(look) is MessageKind.DROPPED
    assert cleared() == {MessageKind.LEFTOVER}


def part(house: House, outbox: Outbox) -> HomeAssistantDevice:
    house.people["session"] = Person()
    return HomeAssistantDevice(bare_context(outbox), house.visitors, "home:1883")


def choose(one: HomeAssistantDevice, on: bool) -> None:
    one.handlers[SetHomeAssistant](SetHomeAssistant(type="home_assistant", on=on))


async def test_a_device_by_a_persons_word_alone(house: House) -> None:
    outbox = Outbox()
    one, reader = part(house, outbox), outbox.attach()
    one.greet()
    assert not house.visitors.has("session")
    choose(one, True)
    assert house.visitors.has("session")
    one.on_alert(alert("session", jpeg=b"jpeg"))
    assert b"jpeg" in [sent.payload for sent in house.wire.sent]
    told = json.loads(await reader.get())
    assert told == {"type": "home_assistant", "host": "home:1883", "on": True}
    choose(one, False)
    assert not house.visitors.has("session")
    assert json.loads(await reader.get())["on"] is False
