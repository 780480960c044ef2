"""Alerts on a locked phone: turned on in the list of watches, sent to its push service, and shown by the page's worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.push.encryption import encode
from tests.browser.test_page_app import kept_page
from tests.browser.visitor import GREY, RED, Visit
from tests.features.push.service import Device, PushService
from tests.support.clients import soon
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The browser of these tests has no push service and shows no notifications.
_BROWSER = """() => {
  window.Notification = class { static permission = "granted"; };
  PushManager.prototype.subscribe = async (options) => {
    window.__options = options;
    return { toJSON: () => window.__subscription };
  };
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[PushService]:
    async with PushService() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def pushing(service: PushService) -> AsyncIterator[Running]:
    async with running(engine="builtin", push_services=(service.origin,)) as run:
        yield run


async def test_an_alert_reaches_a_locked_phone(
    visit: Visit, pushing: Running, service: PushService
) -> None:
    """Without a picture; the worker shows it. Off again, nothing more is sent."""
    device = Device()
    page = await kept_page(visit, pushing.base_url, scripts=[_BROWSER])
    keys = {"p256dh": encode(device.public), "auth": encode(device.auth)}
    subscription = {"endpoint": f"{service.origin}/send/1", "keys": keys}
    await page.evaluate(f"window.__subscription = {json.dumps(subscription)}")
    await page.start()
    await page.show(mode=GREY, clock=False)
    await page.watch()
    await page.find("#watches-summary").click()
    await page.find("#receivers > summary").click()
    choice = page.page.get_by_label(say("push.device"))
    await expect(page.find("#receivers")).to_contain_text(say("push.locked"))
    await choice.check()
    state = await page.got('m.type === "push" && m.on')
    assert state["host"] == f"127.0.0.1:{service.port}"
    options = await page.evaluate("window.__options")
    assert options == {"userVisibleOnly": True, "applicationServerKey": state["key"]}

    await page.show(mode=RED)
    alert = await page.got('m.type === "alert"')
    await soon(lambda: len(service.requests) == 1)
    message = service.message(device)
    assert message == {"id": alert["id"], "condition": "you see red", "at": alert["at"]}
    [worker] = page.page.context.service_workers
    shown = await worker.evaluate(
        """(data) => new Promise((resolve) => {
          registration.showNotification = async (title, { tag, body }) => resolve([title, tag, body !== ""]);
          const event = new ExtendableEvent("push");
          event.data = { json: () => data };
          event.waitUntil = () => {};
          dispatchEvent(event);
        })""",
        message,
    )
    assert shown == ["you see red", alert["id"], True]

    await choice.uncheck()
    await page.got('m.type === "push" && !m.on', since=await page.now() - 1000)
    assert len(service.requests) == 1


async def test_a_browser_that_refuses_says_so(visit: Visit, pushing: Running) -> None:
    page = await kept_page(visit, pushing.base_url, scripts=[_BROWSER])
    await page.evaluate(
        "() => { PushManager.prototype.subscribe = async () => { throw new DOMException('no', 'NotAllowedError'); }; }"
    )
    await page.start()
    await page.watch()
    await page.find("#watches-summary").click()
    await page.find("#receivers > summary").click()
    await page.page.get_by_label(say("push.device")).click()
    await expect(page.find("#log .note")).to_contain_text(say("push.refused"))
    await expect(page.page.get_by_label(say("push.device"))).not_to_be_checked()
