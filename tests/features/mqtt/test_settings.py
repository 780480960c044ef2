"""MQTT_URL: its parts, what is refused and shown; and the operator's route, which says what became of it."""

from __future__ import annotations

import json

import pytest

from server.features.mqtt.mqtt import Mqtt
from server.features.mqtt.settings import MqttAddress, mqtt_url, parse_mqtt_address
from tests.support.clients import http, page_of, soon
from tests.support.running import running

OPERATOR = "operator-token-of-this-test"
PATH = "/api/operator/mqtt"


async def test_what_an_operator_sees() -> None:
    """No user or password; they are shown to nobody."""
    url = "mqtt://viewer:secret-word@127.0.0.1:9"
    async with (
        running(mqtt_url=url, operator_token=OPERATOR) as run,
        http(run, OPERATOR) as client,
    ):
        # Without MQTT_VISITORS no person's camera goes there.
        async with page_of(run) as page:
            await page.send(type="home_assistant", on=True)
            assert "type of this message is unknown" in (await page.next("error"))["message"]
        link = run.program.added.provided[Mqtt].link
        await soon(lambda: link.trouble is not None, 20)
        seen = (await client.get(PATH)).json()
        assert seen["trouble"] == "unreachable"
        assert seen["detail"].startswith("No response from its address")
        assert (seen["broker"], seen["cameras"]) == ("mqtt://127.0.0.1:9", [])
        shown = json.dumps(seen) + run.program.metrics.render().decode()
        assert "secret-word" not in shown
        assert "viewer" not in shown


async def test_without_a_broker() -> None:
    async with running(operator_token=OPERATOR) as run, http(run, OPERATOR) as client:
        assert (await client.get(PATH)).json()["state"] == "off"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://127.0.0.1", MqttAddress("127.0.0.1", 1883, False)),
        ("mqtts://broker.example.org/", MqttAddress("broker.example.org", 8883, True)),
        ("mqtt://u:p%40ss%3A@[::1]:1884", MqttAddress("::1", 1884, False, "u", "p@ss:")),
        ("mqtt://only@host", MqttAddress("host", 1883, False, "only")),
    ],
)
def test_parts(text: str, address: MqttAddress) -> None:
    assert parse_mqtt_address(text) == address
    assert mqtt_url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("http://host", "mqtt://", "host", "mqtt://host:0", "mqtt://host:70000", "ws://host"),
        *("mqtt://a b@host", "mqtt://user:secret-word@host/topic", "mqtt://host?x"),
        "mqtt://:p@host",
        *("mqtt://user%0a:secret-word@host", "mqtt://user:secret-word@ho\nst"),
    ],
)
def test_what_is_refused(text: str) -> None:
    """Without a word of it."""
    with pytest.raises(ValueError, match=r"port|form|not allowed") as error:
        mqtt_url(text)
    assert "secret" not in str(error.value)


def test_nothing_is_allowed() -> None:
    assert mqtt_url("") == ""


def test_no_secret_is_shown() -> None:
    address = parse_mqtt_address("mqtts://viewer:secret-word@[fd00::1]")
    assert address.shown == "mqtts://[fd00::1]:8883"
    assert "secret" not in repr(address)
    assert "viewer" not in repr(address)


@pytest.mark.parametrize(
    ("host", "near"),
    [
        *(("127.0.0.1", True), ("192.168.1.4", True), ("[fd00::1]", True), ("broker.local", True)),
        *(("core-mosquitto", True), ("broker.example.org", False), ("8.8.8.8", False)),
    ],
)
def test_what_is_near(host: str, near: bool) -> None:
    assert parse_mqtt_address(f"mqtt://{host}").near is near
