"""Messages about a camera and their times: the order of an alert, short troubles, and what is not retained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from server.core.metrics import Metrics
from server.features.mqtt.discovery import Topics, watch_key
from server.features.mqtt.link import Link
from server.features.mqtt.mqtt import Mqtt, MqttPlan
from server.features.mqtt.outgoing import Message
from server.features.mqtt.states import DOUBT_SECONDS, PICTURE_SECONDS
from server.features.rtsp.fixed_cameras import CameraReport, FixedCameras
from server.features.rtsp.settings import FixedCamera
from server.session.part import Alert, AlertSource

TOPICS = Topics("p", "homeassistant")
DOOR = FixedCamera("door", "/dev/video0", mqtt=True, describe=True, watches=("a dog",))
YARD = FixedCamera("yard", "/dev/video1", watches=("a dog",))
WATCH = TOPICS.watch("door", watch_key("a dog"))
PICTURE = TOPICS.evidence("door", watch_key("a dog"))


@dataclass
class Wire:
    """Takes messages as the link does."""

    up: bool = True
    sent: list[Message] = field(default_factory=list)

    def put(self, message: Message) -> None:
        self.sent.append(message)

    def of(self, topic: str) -> list[bytes]:
        return [one.payload for one in self.sent if one.topic == topic]


class House:
    def __init__(self) -> None:
        self.now = 0.0
        self.wire = Wire()
        plan = MqttPlan(None, "", TOPICS)
        cameras = cast("FixedCameras", None)
        self.mqtt = Mqtt(plan, (DOOR, YARD), cameras, Metrics("0"), clock=lambda: self.now)
        self.mqtt._link = cast("Link", self.wire)

    def tells(self, holds: bool | None, described: str = "") -> None:
        self.mqtt._see(CameraReport(DOOR, True, described, {"a dog": holds}))


def alert(camera: str = "door", **more: Any) -> Alert:
    return Alert(
        0, AlertSource("s", camera), condition="a dog", reason="It sits.", confidence=0.9, **more
    )


@pytest.fixture
def house() -> House:
    return House()


def test_an_alert_has_its_picture_first(house: House) -> None:
    """The state waits a moment for it, and not longer."""
    house.tells(False)
    house.tells(True)
    assert house.wire.of(WATCH) == [b"OFF"]
    house.mqtt.alerted(alert(jpeg=b"jpeg"))
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
    house.mqtt.alerted(alert(jpeg=b"jpeg"))
    house.mqtt.alerted(alert(jpeg=None))
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
    house.mqtt._up()
    house.tells(False, "A dog sits.")
    house.mqtt.alerted(alert(jpeg=b"jpeg"))
    kept = {one.topic for one in house.wire.sent if one.retain}
    assert {topic for topic in kept if not topic.endswith("/config")} == {TOPICS.camera("door")}
    assert not any("yard" in one.topic for one in house.wire.sent)


def test_a_camera_that_did_not_agree_alerts_unheard(house: House) -> None:
    house.mqtt.alerted(alert("yard", jpeg=b"jpeg"))
    house.mqtt.alerted(Alert(0))
    assert house.wire.sent == []
