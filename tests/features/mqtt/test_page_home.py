"""A person's camera in Home Assistant: a switch that says what goes there, a light, looks that show, one tap that ends it;
and the operator's desk of MQTT.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.mqtt.discovery import Topics, watch_key
from tests.browser.visitor import GREY, RED, TOKEN, Visit, operator, started
from tests.support.clients import http, metric, page_of, soon, take_token
from tests.support.mosquitto import PASSWORD, Broker, broker, listening, no_mosquitto
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto()),
]

TOPICS = Topics("qwen-camera", "homeassistant")


@pytest_asyncio.fixture(loop_scope="session")
async def one(tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker(tmp_path) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def run(one: Broker) -> AsyncIterator[Running]:
    async with running(
        mqtt_url=one.url, mqtt_visitors=True, operator_token=TOKEN, rate_limit_per_minute=0
    ) as found:
        yield found


async def test_a_person_makes_the_camera_a_device_and_ends_it(
    visit: Visit, run: Running, one: Broker
) -> None:
    """Nothing before the switch, nothing after the tap; its watch, a ring's picture and a look in between."""
    page = await started(visit, run.base_url)
    await page.show(mode=GREY, clock=False)
    light = page.find("#receivers-light")
    async with listening(one, "#") as other:
        await page.box.fill("Tell me when you see red")
        await page.button(say("chat.watch_this")).click()
        await soon(lambda: metric(run, "inferences_total", kind="watch", result="ok") >= 2, 30)
        await expect(light).to_be_hidden()
        assert {topic for topic, _, _ in one.heard} <= {TOPICS.status}

        await page.find("#watches > summary").click()
        await page.find("#receivers > summary").click()
        switch = page.page.get_by_role("checkbox", name="Home Assistant")
        await expect(switch).not_to_be_checked()
        await expect(page.find("#receivers")).to_contain_text(f"localhost:{one.port}")
        await expect(page.find("#receivers")).to_contain_text(say("home.about"))
        await switch.check()
        await expect(light).to_contain_text(say("watch.alerts_go", names="Home Assistant"))
        await expect(light).to_contain_text(say("home.looks"))

        def key() -> str:
            found = [topic.split("/")[1] for topic, _, _ in one.heard if "/visitor_" in topic]
            return found[-1] if found else ""

        await soon(lambda: one.last(TOPICS.camera(key())) == b"online", 30)
        state = TOPICS.watch(key(), watch_key("you see red"))
        await soon(lambda: one.last(state) == b"OFF", 30)
        await page.show(mode=RED)
        await soon(lambda: one.last(state) == b"ON", 30)
        (picture,) = one.all(f"{state}/picture")
        assert picture.startswith(b"\xff\xd8")
        await other.publish(TOPICS.look(key()), b"PRESS", qos=1)
        await expect(page.find("#log")).to_contain_text("Home Assistant", timeout=15_000)
        await soon(lambda: one.last(TOPICS.answer(key())) is not None, 30)

        await light.get_by_role("button", name=say("page.end")).click()
        await expect(light).to_be_hidden()
        await expect(switch).not_to_be_checked()
        await soon(lambda: one.last(TOPICS.camera(key())) == b"", 30)
    assert set(await one.retained()) == {TOPICS.status}
    await page.leave()


async def test_the_operator_sees_the_broker_and_ends_a_program(
    visit: Visit, run: Running, one: Broker
) -> None:
    """The broker without its password, and its trouble in words; a visitor's program, without its token."""
    async with http(run) as client:
        person = await take_token(run)
        headers = {"Authorization": f"Bearer {person['token']}"}
        async with page_of(run, person["token"], person["session_id"]) as socket:
            wish = {"name": "Kitchen script", "scopes": ["look"], "seconds": 600}
            made = await client.post("/api/grants", json=wish, headers=headers)
            assert made.status_code == 201
            page = await operator(visit, run.base_url)
            mqtt = page.find("#mqtt")
            await expect(mqtt).to_contain_text(f"mqtt://localhost:{one.port}", timeout=15_000)
            await expect(mqtt).to_contain_text("connected · sent: ")
            await expect(mqtt).not_to_contain_text(PASSWORD)
            row = page.find("#access-list li")
            await expect(row).to_contain_text("Kitchen script")
            await expect(row).to_contain_text("0 looks · Not used yet")
            await expect(row).not_to_contain_text(made.json()["token"])
            await row.get_by_role("button", name="End the access of Kitchen script").click()
            await expect(page.find("#access")).to_be_hidden()
            await socket.next("programs", programs=[])
            await one.stop()
            await expect(mqtt).to_contain_text("not connected", timeout=15_000)
            await expect(mqtt).to_contain_text(re.compile("No response|closed"))
            await page.leave()
