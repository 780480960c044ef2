"""Alerts to other programs: a switch on the page, a light while it is on, one tap that ends it; and the operator's list."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.webhooks import waiting as retry
from tests.browser.visitor import BLUE, GREY, RED, TOKEN, Visit, Visitor, operator, started
from tests.features.webhooks.receiver import SECRET, Receiver, receiving
from tests.support.clients import metric, soon
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

COLORS = {"red": RED, "blue": BLUE, "green": "color:rgb(30 160 40)"}


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def run(receiver: Receiver, tmp_path: Path) -> AsyncIterator[Running]:
    path = tmp_path / "webhooks.toml"
    lines = f'url = "{receiver.url}"\nsecret = "{SECRET}"\npeople = true\nprivate = true\n'
    path.write_text(f'[[webhook]]\nname = "hall-lights"\n{lines}', encoding="utf-8")
    path.chmod(0o600)
    async with running(webhooks=str(path), operator_token=TOKEN, rate_limit_per_minute=0) as one:
        yield one


async def alerts_for(run: Running, page: Visitor, color: str, count: int) -> None:
    """Order a watch for a color, show it, and wait for its alert on the page.

    The first two answers tell what is there at first, which does not alert.
    """
    await page.show(mode=GREY)

    def answered() -> float:
        return metric(run, "inferences_total", kind="watch", result="ok")

    before = answered()
    await page.box.fill(f"Tell me when you see {color}")
    await page.button(say("chat.watch_this")).click()
    await soon(lambda: answered() >= before + 2, 30)
    await page.show(mode=COLORS[color])
    await expect(page.find(".alert")).to_have_count(count, timeout=30_000)


async def test_a_person_lets_alerts_go_and_ends_it(
    visit: Visit, run: Running, receiver: Receiver
) -> None:
    """Nothing leaves before the switch, and nothing after the tap; the light is on in between."""
    page = await started(visit, run.base_url)
    await page.show(mode=GREY, clock=False)
    light = page.find("#receivers-light")
    await alerts_for(run, page, "red", 1)
    assert receiver.connections == 0
    await expect(light).to_be_hidden()

    await page.find("#watches > summary").click()
    await page.find("#receivers > summary").click()
    switch = page.page.get_by_label("hall-lights")
    await expect(switch).not_to_be_checked()
    row = page.find("#receivers label").filter(has_text="hall-lights")
    await expect(row).to_contain_text(f"127.0.0.1:{receiver.port}")
    await switch.check()
    await expect(light).to_contain_text("Your alerts go to hall-lights.")
    await alerts_for(run, page, "blue", 2)
    await soon(lambda: len(receiver.heard) == 1, 30)
    data = receiver.messages[0]["data"]
    assert (data["source"]["kind"], data["condition"]) == ("visitor", "you see blue")
    assert base64.b64decode(data["evidence"]["base64"]).startswith(b"\xff\xd8")

    await light.get_by_role("button", name=say("page.end")).click()
    await expect(light).to_be_hidden()
    await expect(switch).not_to_be_checked()
    await alerts_for(run, page, "green", 3)
    assert len(receiver.heard) == 1
    await page.leave()


async def test_the_operator_sees_and_sends_again(
    visit: Visit, run: Running, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that arrives, and letters that were given up."""
    monkeypatch.setattr(retry, "PAUSES", ())
    page = await operator(visit, run.base_url)
    hooks = page.find("#hooks")
    row = hooks.locator("#hooks-list li")
    await expect(row).to_contain_text("hall-lights")
    await expect(row).to_contain_text("nothing sent yet")
    await row.get_by_role("button", name="Send a test").click()
    await expect(row).to_contain_text("arrives", timeout=15_000)
    assert receiver.messages[0]["type"] == "webhook.test"

    receiver.script = lambda heard: b"HTTP/1.1 500 No\r\n\r\n"
    for _ in range(2):
        await row.get_by_role("button", name="Send a test").click()
    await expect(row).to_contain_text("does not arrive", timeout=15_000)
    await expect(row).to_contain_text("The receiver responds with an error status.")
    await expect(hooks.locator("#hooks-count")).to_have_text("2 alarms were given up")
    await hooks.locator("#hooks-count").click()
    letters = hooks.locator("#hooks-letters li")
    await letters.first.get_by_role("button", name="Drop it").click()
    await expect(letters).to_have_count(1)
    receiver.script = None
    await letters.get_by_role("button", name="Send again").click()
    await expect(hooks.locator("#hooks-dead")).to_be_hidden()
    await expect(row).to_contain_text("arrived: 2", timeout=15_000)
    await page.leave()
