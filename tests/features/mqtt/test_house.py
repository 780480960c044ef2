"""A fixed camera over a true broker: its entities, an alert with its picture, a look, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.features.mqtt import mqtt, traffic
from server.features.mqtt.discovery import Topics, watch_key
from server.features.mqtt.mqtt import Mqtt
from server.features.mqtt.traffic import BrokerFailure, MqttMessage
from tests.features.rtsp.scripted import begun, flat_jpeg, house, is_red, jpeg_camera, red_jpeg
from tests.support.clients import metric, page_of, soon, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.mosquitto import PASSWORD, USER, broker, listening, no_mosquitto
from tests.support.running import running
from tests.support.turn_server import make_certificate
from tests.whole.test_watches import sees_white

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto()),
]

TOPICS = Topics("qwen-camera", "homeassistant")
RED = watch_key("you see red")
WHITE = "the paper is white"
WATCH = TOPICS.watch("door", RED)
PICTURE = TOPICS.evidence("door", RED)
ANSWER = TOPICS.answer("door")


def at(port: int, *lines: str) -> str:
    """The lines of a camera at this port."""
    return "\n".join([f'url = "http://127.0.0.1:{port}/"', *lines])


async def test_a_camera_of_the_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entities are retained and its words and pictures are not; an alert's picture comes before
    the state; a look is answered; the end of the server is announced.
    """
    # Each state goes out as soon as it is there: nothing is left to the second in which it falls.
    monkeypatch.setattr(mqtt, "STEP_SECONDS", 0.02)
    shown = flat_jpeg(40, 180, 60)
    async with jpeg_camera(lambda: shown) as port, broker(tmp_path) as one:
        lines = at(port, 'watches = ["you see red"]', "mqtt = true", "describe = true")
        async with (
            listening(one, "#") as other,
            house(tmp_path, {"mqtt_url": one.url}, door=lines) as (run, client),
        ):
            await soon(lambda: one.last(TOPICS.camera("door")) == b"online", 60)
            await soon(lambda: one.last(WATCH) == b"OFF", 60)
            await soon(lambda: bool(one.last(TOPICS.description("door"))), 60)
            shown = red_jpeg()
            await soon(lambda: one.last(WATCH) == b"ON", 60)
            (picture,) = one.all(PICTURE)
            assert is_red(picture)
            order = [topic for topic, _, _ in one.heard if topic in (WATCH, PICTURE)]
            assert order.index(PICTURE) < len(order) - 1 - order[::-1].index(WATCH)
            assert json.loads(one.last(TOPICS.watch_facts("door", RED)) or b"")["confidence"] > 0
            await other.publish(TOPICS.look("door"), b"PRESS", qos=1)
            await soon(lambda: one.last(ANSWER) is not None, 60)
            assert "red" in (one.last(ANSWER) or b"").decode().lower()
            whole = json.loads(one.last(TOPICS.facts(ANSWER)) or b"")
            assert whole["ok"] is True
            seen = (await client.get("/api/operator/mqtt")).json()
            assert (seen["state"], seen["cameras"]) == ("connected", ["door"])
            assert metric(run, "mqtt_connected") == 1
            kept = await one.retained()
            assert {topic.split("/")[0] for topic in kept} == {"homeassistant", "qwen-camera"}
            assert {topic for topic in kept if topic.startswith("qwen")} == {
                TOPICS.status,
                TOPICS.camera("door"),
            }
            assert len(kept) == 2 + 5
        # By the farewell, or, when there was no time for it, by the will
        async with asyncio.timeout(30):
            while (await one.retained())[TOPICS.status] != b"offline":
                await asyncio.sleep(0.05)


async def test_a_wrong_password_is_said_and_kept_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In words for the operator; it is in no log line and no state."""
    caplog.set_level(logging.DEBUG)
    wrong = "another-secret-word"
    async with broker(tmp_path) as one:
        url = one.url.replace(PASSWORD, wrong)
        async with running(mqtt_url=url) as run:
            link = run.program.added.provided[Mqtt].link
            await soon(lambda: link.trouble is BrokerFailure.CREDENTIALS, 30)
            assert metric(run, "mqtt_failures_total", reason="credentials") >= 1
            shown = json.dumps(run.program.added.provided[Mqtt].seen()) + caplog.text
            assert wrong not in shown
            assert USER not in shown.replace("qwen-camera", "").replace("cameras", "")


async def test_over_tls(tmp_path: Path) -> None:
    """A certificate of an authority that is named is trusted, another one is not."""
    make_certificate(tmp_path, "localhost")
    lines = f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/key.pem\n"
    async with broker(tmp_path, lines) as one:
        async with running(mqtt_url=one.url) as run:
            link = run.program.added.provided[Mqtt].link
            await soon(lambda: link.trouble is BrokerFailure.CERTIFICATE, 30)
        async with running(mqtt_url=one.url, mqtt_ca=str(tmp_path / "authority.pem")) as run:
            await soon(lambda: metric(run, "mqtt_connected") == 1, 30)
            await soon(lambda: metric(run, "mqtt_sent_total") >= 1, 30)


async def test_the_broker_goes_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows nothing any more, and gets all of it anew. Home Assistant's beginning has the states sent again."""
    monkeypatch.setattr(traffic, "FIRST_PAUSE", 0.1)
    async with jpeg_camera(red_jpeg) as port, broker(tmp_path) as one:
        lines = at(port, 'watches = ["you see red"]', "mqtt = true")
        async with house(tmp_path, {"mqtt_url": one.url}, door=lines) as (run, _):
            async with listening(one, "#"):
                await soon(lambda: one.last(WATCH) == b"ON", 60)
            await one.stop()
            await soon(lambda: metric(run, "mqtt_connected") == 0, 30)
            one.heard.clear()
            await one.start()
            await soon(lambda: metric(run, "mqtt_connected") == 1, 60)
            async with listening(one, "#") as other:
                await soon(lambda: one.last(TOPICS.camera("door")) == b"online", 60)
                assert len(await one.retained()) == 2 + 4
                one.heard.clear()
                await other.publish(TOPICS.births[0], b"online", qos=1)
                await soon(lambda: one.last(WATCH) == b"ON", 60)


@pytest.mark.parametrize(
    ("limit", "failures"), [("max_packet_size 20000\n", 0), ("message_size_limit 20000\n", 4)]
)
async def test_a_picture_above_the_brokers_limit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, failures: int
) -> None:
    """An empty one goes in its place, then what is behind it; a broker that names no limit ends two connections with each."""
    monkeypatch.setattr(traffic, "FIRST_PAUSE", 0.05)
    async with (
        broker(tmp_path, limit) as one,
        listening(one, "qwen-camera/#"),
        running(mqtt_url=one.url) as run,
    ):
        link = run.program.added.provided[Mqtt].link
        for word in (b"ON", b"OFF"):
            link.put(MqttMessage(PICTURE, bytes(30_000), news=True))
            link.put(MqttMessage(WATCH, word, news=True))
            await soon(lambda word=word: one.last(WATCH) == word, 30)  # type: ignore[misc]
        assert one.all(PICTURE) == [b"", b""]
        assert metric(run, "mqtt_dropped_total", reason="too_large") == 2
        link.put(MqttMessage(PICTURE, bytes(19_000), news=True))
        await soon(lambda: one.last(PICTURE) == bytes(19_000), 30)
        assert metric(run, "mqtt_failures_total", reason="ended") == failures


async def test_only_a_camera_that_agreed_is_told_of(tmp_path: Path) -> None:
    """One of the list without `mqtt = true` is not; what an earlier list left is cleared, and no other's."""
    shown = flat_jpeg(40, 180, 60)
    async with jpeg_camera(lambda: shown) as port, broker(tmp_path) as one:
        lines = at(port, 'watches = ["you see red"]', "describe = true")
        other = "homeassistant/sensor/another-program/door_answer/config"
        old = TOPICS.config("sensor", "gone_answer")
        async with one.client() as client:
            for topic in (other, old, TOPICS.camera("gone")):
                await client.publish(topic, b"online", qos=1, retain=True)
        async with (
            listening(one, "#") as client,
            house(tmp_path, {"mqtt_url": one.url}, door=lines) as (run, _),
        ):
            await soon(lambda: one.last(TOPICS.camera("gone")) == b"", 60)
            await soon(lambda: one.last(old) == b"", 60)
            await soon(lambda: begun(run), 60)
            shown = red_jpeg()
            await soon(lambda: metric(run, "alerts_total") == 1, 60)
            await client.publish(TOPICS.look("door"), b"PRESS", qos=1)
            # Behind it, what is heard for sure
            await client.publish(TOPICS.camera("end"), b"online", qos=1, retain=True)
            await soon(lambda: metric(run, "mqtt_sent_total") >= 3, 60)
            await soon(lambda: one.last(TOPICS.camera("end")) is not None, 60)
            assert metric(run, "programs_total", what="made") == 0
            told = {topic for topic, payload, kept in one.heard if payload and not kept}
            assert told == {TOPICS.status, TOPICS.look("door"), TOPICS.camera("end")}
        assert set(await one.retained()) == {other, TOPICS.status, TOPICS.camera("end")}


async def test_pressed_a_thousand_times(tmp_path: Path) -> None:
    """A few looks; a person's question is answered meanwhile. A retained message, or one that is no press, orders nothing."""
    async with jpeg_camera(red_jpeg) as port, broker(tmp_path) as one:
        async with one.client() as client:
            await client.publish(TOPICS.look("door"), b"PRESS", qos=1, retain=True)
        given = {"mqtt_url": one.url}
        async with (
            house(tmp_path, given, door=at(port, "mqtt = true")) as (run, operator),
            one.client() as client,
        ):
            await soon(lambda: metric(run, "mqtt_dropped_total", reason="retained") == 1, 60)
            await soon(lambda: metric(run, "standing_cameras", state="live") == 1, 60)
            assert metric(run, "programs_total", what="made") == 0
            await client.publish(TOPICS.look("door"), b"Say what is written there", qos=1)
            await client.publish(TOPICS.look("door"), b"x" * 60_000, qos=1)
            await soon(lambda: metric(run, "mqtt_dropped_total", reason="malformed") == 2, 30)
            for _ in range(300):
                await client.publish(TOPICS.look("door"), b"PRESS")
            reply = await operator.post(
                "/api/operator/cameras/door/ask", json={"content": "What color is it?"}, timeout=60
            )
            assert "red" in reply.json().get("text", reply.text).lower()

            def dropped() -> float:
                return sum(
                    metric(run, "mqtt_dropped_total", reason=reason) for reason in ("rate", "busy")
                )

            def made() -> float:
                return metric(run, "programs_total", what="made")

            await soon(lambda: dropped() + made() == 300, 60)
            assert 1 <= made() <= traffic.LOOKS_AT_ONCE + 2


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
                await run.program.added.provided[Mqtt].close()
                assert await one.retained() == {TOPICS.status: b"offline"}
        finally:
            await encoder.close()
