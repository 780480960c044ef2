"""Visitors' cameras in Home Assistant: by their word alone, bounded, and gone with it, at a true broker too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import Conflict, RateLimited
from server.core.frames import CameraState
from server.core.metrics import Metrics
from server.features.mqtt import mqtt
from server.features.mqtt.discovery import Topics, watch_key
from server.features.mqtt.incoming import Kind
from server.features.mqtt.link import Link
from server.features.mqtt.mqtt import Mqtt, MqttPlan
from server.features.mqtt.outgoing import Message
from server.features.mqtt.settings import MqttAddress
from server.features.mqtt.visitors import CHANGES_AT_ONCE, MOST_VISITORS, Visitors
from server.features.rtsp.fixed_cameras import FixedCameras
from server.features.watches.messages import WatchInfo
from server.session.part import Alert, AlertSource
from server.session.session import Session
from tests.support.clients import metric, page_of, soon, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.mosquitto import broker, listening, no_mosquitto
from tests.support.running import running
from tests.whole.test_watches import sees_white

TOPICS = Topics("qwen-camera", "homeassistant")
WHITE = "the paper is white"


def watch(id: str, condition: str, **more: Any) -> WatchInfo:
    given = {
        "repeat": True,
        "state": "looking",
        "reason": "",
        "armed": True,
        "threshold": 0.6,
        **more,
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
        return cast("Session", seen)


class Wire:
    """A broker that keeps what is retained, and takes all."""

    up = True

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.kept: dict[str, bytes] = {}
        self.forgotten: list[str] = []

    def put(self, message: Message) -> None:
        self.sent.append(message)
        if message.retain:
            self.kept[message.topic] = message.payload
            if not message.payload:
                del self.kept[message.topic]

    def forget(self, root: str) -> None:
        self.forgotten.append(root)


class House:
    def __init__(self, **more: Any) -> None:
        self.now = 0.0
        self.people = {
            "a": Person(
                [watch("w1", "a dog"), watch("program:x:1", "a cat"), watch("tool:1", "a bird")]
            )
        }
        self.wire, self.metrics = Wire(), Metrics("0")
        plan = MqttPlan(MqttAddress("home", 1883, False), "", TOPICS, **{"visitors": True, **more})
        cameras = cast("FixedCameras", None)
        self.mqtt = Mqtt(plan, (), cameras, self.metrics, find=self.find, clock=lambda: self.now)
        self.mqtt._link = cast("Link", self.wire)

    def find(self, id: str) -> Session | None:
        return self.people[id].session if id in self.people else None

    @property
    def visitors(self) -> Visitors:
        assert self.mqtt.visitors is not None
        return self.mqtt.visitors

    @property
    def entities(self) -> dict[str, Any]:
        """Entities that the broker keeps, by their names."""
        configs = [json.loads(one) for topic, one in self.wire.kept.items() if "config" in topic]
        return {one["name"]: one for one in configs}


@pytest.fixture
def house() -> House:
    return House()


def alert(**more: Any) -> Alert:
    given = {"watch": "w1", "condition": "a dog", "reason": "It sits.", "jpeg": b"jpeg", **more}
    return Alert(0, AlertSource("a"), **given)


def test_nothing_is_told_before_its_person_agrees(house: House) -> None:
    house.visitors.look()
    house.visitors.alerted(alert())
    assert house.wire.sent == []
    assert House(visitors=False).mqtt.visitors is None


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
    house.visitors.alerted(alert(watch="program:x:1", condition="a cat"))
    house.visitors.alerted(alert(watch="tool:1", condition="a bird"))
    assert not any(one.payload == b"jpeg" for one in house.wire.sent)
    house.visitors.alerted(alert())
    assert [one.retain for one in house.wire.sent if one.payload == b"jpeg"] == [False]
    kept = {topic for topic in house.wire.kept if "config" not in topic}
    (camera,) = kept
    assert camera.startswith("qwen-camera/visitor_")
    assert camera.endswith("/status")


def test_the_end_takes_all_away_at_once(house: House) -> None:
    """All that is kept or waits goes; the same person's next device has the same name in topics."""
    house.visitors.begin("a")
    before = set(house.wire.kept)
    house.visitors.end("a")
    assert house.wire.kept == {}
    (root,) = house.wire.forgotten
    # A digest, under a secret of the process
    assert re.search(r"^qwen-camera/visitor_[0-9a-f]{8}\b", root)
    house.visitors.alerted(alert())
    house.visitors.look()
    assert house.wire.kept == {}
    house.visitors.begin("a")
    assert set(house.wire.kept) == before


def test_a_session_that_ended_takes_its_device_with_it(house: House) -> None:
    house.visitors.begin("a")
    house.mqtt.left("a")
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
    with pytest.raises(Conflict, match="the most"):
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
    assert len([one for one in house.mqtt._states._sent if "/watch/" in one]) == 1
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
    house.mqtt.left("a")
    assert house.visitors._changes == {}


def test_switching_off_and_on_gives_no_more_looks(house: House) -> None:
    """The looks that its person's session has left stay; a session's end forgets them."""

    def pressed() -> list[Kind]:
        (camera,) = (topic for topic in house.wire.kept if topic.endswith("/status"))
        look = TOPICS.look(camera.split("/")[1])
        return [house.mqtt._incoming.judge(look, b"PRESS", False, 0).kind for _ in "abc"]

    house.visitors.begin("a")
    assert pressed() == [Kind.PRESS, Kind.PRESS, Kind.DROPPED]
    house.visitors.end("a")
    house.visitors.begin("a")
    assert pressed() == [Kind.DROPPED] * 3
    house.mqtt.left("a")
    house.visitors.begin("a")
    assert pressed() == [Kind.PRESS, Kind.PRESS, Kind.DROPPED]


def test_looks_of_it_alone_are_ordered(house: House) -> None:
    house.visitors.begin("a")
    (camera,) = (topic for topic in house.wire.kept if topic.endswith("/status"))
    key = camera.split("/")[1]

    def judged(name: str) -> Kind:
        return house.mqtt._incoming.judge(TOPICS.look(name), b"PRESS", False, 0).kind

    assert judged("visitor_00000000") is Kind.DROPPED
    assert judged(key) is Kind.PRESS
    # Its retained topics are no leftovers of an earlier run.
    for topic, payload in house.wire.kept.items():
        assert house.mqtt._incoming.judge(topic, payload, True, 0).kind is Kind.NOTHING
    kept = dict(house.wire.kept)
    house.visitors.end("a")
    assert judged(key) is Kind.DROPPED
    for topic, payload in kept.items():
        assert house.mqtt._incoming.judge(topic, payload, True, 0).kind is Kind.LEFTOVER


@pytest.mark.slow
@pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto())
async def test_a_visitors_camera_at_a_true_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing before the person agrees; then a device, an alert with its picture, a look that the page sees; and
    nothing is left after the switch, the session's end, and the server's.
    """
    monkeypatch.setattr(mqtt, "STEP_SECONDS", 0.02)
    scene = Scene(640, 360)
    scene.moving = scene.clock = False
    encoder = LiveEncoder(scene, rate=10)
    async with (
        FakeOpenAI(answer_for=sees_white) as model,
        broker(tmp_path) as one,
        listening(one, "#") as other,
        running(
            engine="vllm",
            vllm_base_url=model.base_url,
            rate_limit_per_minute=0,
            mqtt_url=one.url,
            mqtt_visitors=True,
        ) as run,
    ):
        model.card = {"owned_by": "vllm"}
        try:
            async with visitor(run, encoder) as guest:
                page = guest.page
                offer = await page.next("home_assistant")
                assert (offer["host"], offer["on"]) == (f"localhost:{one.port}", False)
                await page.send(type="watch", id="white", condition=WHITE, repeat=True)
                await model.wait_for(2, timeout=30)
                await soon(lambda: metric(run, "mqtt_connected") == 1, 30)
                assert {topic for topic, _, _ in one.heard} == {TOPICS.status}

                await page.send(type="home_assistant", on=True)
                assert (await page.next("home_assistant", timeout=15))["on"] is True

                def key() -> str:
                    """The name in topics of the newest one that was heard of."""
                    topics = [topic for topic, _, _ in one.heard if "/visitor_" in topic]
                    known = [topic for topic in topics if topic.endswith("/status")]
                    return known[-1].split("/")[1] if known else ""

                await soon(lambda: bool(key()), 30)
                state = TOPICS.watch(key(), watch_key(WHITE))
                await soon(lambda: one.last(TOPICS.camera(key())) == b"online", 30)
                await soon(lambda: one.last(state) == b"OFF", 30)
                scene.text, scene.text_px = "WHITE", 20
                await soon(lambda: one.last(state) == b"ON", 30)
                (picture,) = one.all(TOPICS.evidence(key(), watch_key(WHITE)))
                assert picture.startswith(b"\xff\xd8")
                await other.publish(TOPICS.look(key()), b"PRESS", qos=1)
                look = await page.next("look", timeout=15)
                assert (look["name"], look["tool"]) == ("Home Assistant", "look")
                await soon(lambda: one.last(TOPICS.answer(key())) is not None, 30)
                kept = await one.retained()
                assert sorted(topic.split("/")[1] for topic in kept) == sorted(
                    ["binary_sensor", "image", "sensor", "button", "status", key()]
                )

                await page.send(type="home_assistant", on=False)
                assert (await page.next("home_assistant", timeout=15))["on"] is False
                await soon(lambda: one.last(TOPICS.camera(key())) == b"", 30)
                assert set(await one.retained()) == {TOPICS.status}

                await page.send(type="home_assistant", on=True)
                await soon(lambda: one.last(TOPICS.camera(key())) == b"online", 30)
                await run.program.sessions.end(guest.session_id, "of this test")
                await soon(lambda: one.last(TOPICS.camera(key())) == b"", 30)
                assert set(await one.retained()) == {TOPICS.status}
            # Another person, who is there when the server stops
            async with page_of(run) as page:
                await page.send(type="home_assistant", on=True)
                await soon(lambda: metric(run, "mqtt_visitors") == 1, 15)
                await soon(lambda: one.last(TOPICS.camera(key())) == b"offline", 15)
                await run.program.feature("mqtt").close()
                assert await one.retained() == {TOPICS.status: b"offline"}
        finally:
            await encoder.close()
