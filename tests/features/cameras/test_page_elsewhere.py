"""A camera that is another device, watched from the page: given its address and token, seen, asked,
stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Route, expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.clients import http, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import camera_peer, live_encoder
from tests.support.running import Running
from tests.support.whip_client import WhipCamera
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def device(run: Running, token: str, session_id: str) -> AsyncIterator[WhipCamera]:
    """Another device, which has been given a session's token; it does not send yet."""
    issued = {"token": token, "session_id": session_id}
    async with (
        live_encoder(1280, 720, rate=10) as encoder,
        http(run) as client,
        camera_peer(encoder) as peer,
    ):
        camera = WhipCamera(run, client, peer, issued)
        try:
            yield camera
        finally:
            await camera.close()


async def given(page: Visitor) -> tuple[str, str]:
    """Have the page show where another device sends, and return the address and its token."""
    await page.button(say("stage.use_another")).click()
    dialog = page.find("#camera-dialog")
    await dialog.get_by_text(say("cameras.advanced"), exact=True).click()
    await dialog.get_by_role("button", name=say("cameras.show_address")).click()
    token = dialog.get_by_label(say("page.bearer_token"))
    await expect(token).not_to_have_value("")
    address = dialog.get_by_label(say("page.address"))
    return await address.input_value(), await token.input_value()


async def session_of(page: Visitor) -> str:
    ready = await page.got('m.type === "ready"')
    return str(ready["session_id"])


async def test_another_device_becomes_the_camera(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """From the address on the page to a picture a second, an answer, and its end; the page's own
    camera stays off.
    """
    page = await visit(server.base_url)
    address, token = await given(page)
    dialog = page.find("#camera-dialog")
    assert await dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    assert address.startswith(f"{server.base_url}/api/whip?session=")
    await expect(page.state).to_have_text(say("page.waiting_camera"))
    session_id = await session_of(page)
    assert address.endswith(session_id)
    async with device(server, token, session_id) as camera:
        began = await page.now()
        await camera.publish()
        far = page.find("#far")
        await expect(far).to_be_visible()
        await expect(dialog).to_be_hidden()
        # What was shown is forgotten.
        for secret in ("#several-token", "#several-link"):
            await expect(page.find(secret)).to_have_value("")
        await expect(page.state).to_have_text(say("page.live"))
        await page.comes(
            "() => { const { naturalWidth, naturalHeight } = document.querySelector('#far');"
            " return [naturalWidth, naturalHeight]; }",
            [640, 360],
        )
        # A picture a second, or less.
        log = await page.log()
        stills = [e["at"] for e in log if e["message"]["type"] == "still"]
        # Two may come together: one of them was late on its way.
        assert 1 <= len(stills) <= 1 + (await page.now() - began) / 700
        assert (await page.ask("What is this?"))["text"] == "I see a cup."
        assert await page.evaluate("window.__camera?.opened ?? 0") == 0
        live = server.program.sessions.find(session_id).camera
        await page.press(say("chat.camera_off"))
        await expect(page.state).to_have_text(say("page.camera_off"))
        await expect(far).to_be_hidden()
        await soon(lambda: not live.offered)
        # Its token is over, too: it does not come back.
        headers = {**camera.bearer, "Content-Type": "application/sdp"}
        reply = await camera.client.post("/api/whip", content="v=0", headers=headers)
        assert reply.status_code == 401


async def test_the_page_gives_way_to_a_device_that_comes_later(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Its own camera is let go, and it does not offer it again: the two would take the place from
    each other for ever.
    """
    page = await started(visit, server.base_url)
    session_id = await session_of(page)
    token = server.program.access.tokens.issue(session_id).token
    async with device(server, token, session_id) as camera:
        await camera.publish()
        connection = server.program.webrtc.get(session_id)
        await expect(page.find("#far")).to_be_visible()
        await expect(page.state).to_have_text(say("page.live"))
        await page.lets_go()
        assert (await page.ask("What is this?"))["text"] == "I see a cup."
        assert server.program.webrtc.get(session_id) is connection
        # And back: pressing Stop and Start Camera uses the page's own again, however late the wish to end
        # the device comes.
        late = asyncio.Event()

        async def hold(route: Route) -> None:
            await late.wait()
            await route.continue_()

        await page.page.route("**/api/cameras/1*", hold)
        async with page.page.expect_response("**/api/cameras/1*") as ended:
            await page.press(say("chat.camera_off"))
            since = await page.now()
            await page.start()
            await page.got('m.type === "status" && m.source === "page"', since=since)
            own = server.program.webrtc.get(session_id)
            assert own is not connection
            late.set()
        assert (await ended.value).ok
        since = await page.now()
        assert (await page.ask("What is this?"))["text"] == "I see a cup."
        assert server.program.webrtc.get(session_id) is own
