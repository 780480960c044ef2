"""A camera of the house over a true broker: its entities, an alert with its picture, a look, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from server.features.mqtt import incoming, mqtt, outgoing
from server.features.mqtt.discovery import Topics, watch_key
from server.features.mqtt.outgoing import Trouble
from tests.features.rtsp.scripted import begun, flat_jpeg, house, jpeg_camera, red_jpeg
from tests.features.webhooks.test_house import is_red
from tests.support.clients import metric, soon
from tests.support.mosquitto import PASSWORD, USER, broker, listening, no_mosquitto
from tests.support.running import running
from tests.support.turn_server import make_certificate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto()),
]

TOPICS = Topics("qwen-camera", "homeassistant")
RED = watch_key("you see red")
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
            link = run.program.feature("mqtt")._link
            assert link is not None
            await soon(lambda: link.trouble is Trouble.CREDENTIALS, 30)
            assert metric(run, "mqtt_failures_total", reason="credentials") >= 1
            shown = json.dumps(run.program.feature("mqtt").seen()) + caplog.text
            assert wrong not in shown
            assert USER not in shown.replace("qwen-camera", "").replace("cameras", "")


async def test_over_tls(tmp_path: Path) -> None:
    """A certificate of an authority that is named is trusted, another one is not."""
    make_certificate(tmp_path, "localhost")
    lines = f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/key.pem\n"
    async with broker(tmp_path, lines) as one:
        async with running(mqtt_url=one.url) as run:
            link = run.program.feature("mqtt")._link
            assert link is not None
            await soon(lambda: link.trouble is Trouble.CERTIFICATE, 30)
        async with running(mqtt_url=one.url, mqtt_ca=str(tmp_path / "authority.pem")) as run:
            await soon(lambda: metric(run, "mqtt_connected") == 1, 30)
            await soon(lambda: metric(run, "mqtt_sent_total") >= 1, 30)


async def test_the_broker_goes_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows nothing any more, and gets all of it anew. Home Assistant's beginning has the states sent again."""
    monkeypatch.setattr(outgoing, "FIRST_PAUSE", 0.1)
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
                await other.publish(TOPICS.birth, b"online", qos=1)
                await soon(lambda: one.last(WATCH) == b"ON", 60)


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
            assert 1 <= made() <= incoming.LOOKS_AT_ONCE + 2
