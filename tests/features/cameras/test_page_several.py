"""Several cameras side by side: a second page joins by its link, is seen, asked, lost and ended."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from server.features.cameras.cameras import invite as invited
from tests.browser.visitor import REFUSED_TOKEN, Visit, Visitor, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


LINK = re.compile(r"/client/features/cameras/join/camera\.html#[\w-]+~[\w-]{22}$")


async def invite(page: Visitor, name: str = "") -> str:
    """Open the dialog from the menu, choose a phone, name it, and return its link."""
    await page.press(say("cameras.title"))
    dialog = page.find("#camera-dialog")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name=say("cameras.phone")).click()
    link = dialog.get_by_label(say("cameras.link"), exact=True).and_(dialog.locator("input"))
    await expect(link).to_have_value(LINK)
    if name:
        named = dialog.locator("#several-list .name").last
        await named.fill(name)
        async with page.page.expect_response(lambda r: "/api/cameras/" in r.url):
            await named.blur()
    return await link.input_value()


# Uses another language, as a choice in the settings does
LANGUAGE = """async code => {
  const { use } = await import("/client/core/words/text.js");
  use(code, code === "en" ? {} : await (await fetch(`/client/languages/${code}.json`)).json());
}"""


async def join(visit: Visit, link: str) -> Visitor:
    """Open the link on another device, and start its camera."""
    device = await visit(link)
    # The code stands in the address no more.
    await device.comes("location.href.includes('~')", False)
    await device.start_button.click()
    return device


async def test_two_pages_side_by_side(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """From the link to two pictures, a question to both, one alone, the loss, and the end by a tap."""
    page = await started(visit, server.base_url)
    link = await invite(page, "Back door")
    device = await join(visit, link)
    await expect(device.find("#join-state")).to_have_text("Sending as Back door.")
    # A camera that joined needs the link no more.
    await expect(page.find("#several-invited")).to_be_hidden()
    await expect(page.page.get_by_label(say("page.bearer_token"))).to_have_value("")
    await page.button(say("page.done")).click()
    tile = page.button("Show Back door large")
    await expect(tile).to_be_visible()
    await expect(tile.locator("img")).to_be_visible()
    await page.button(say("cameras.ask_all")).click()
    answer = await page.ask("Is the door in both pictures closed?")
    assert len(model.last.jpegs) == 2
    assert [one["camera_name"] for one in answer["others"]] == ["Camera 1"]
    turn = page.turns.last
    await expect(turn.locator(".evidence > summary")).to_contain_text("Camera 1, Back door")
    await expect(turn.locator(".frames img")).to_have_attribute(
        "alt", "Picture of the camera Camera 1"
    )
    await expect(turn.locator(".shot")).to_have_attribute("data-word", "Back door")
    # In another language a camera without a name is called in it; a given name stays.
    for code, name in (("de", "Kamera 1"), ("en", "Camera 1")):
        await page.evaluate(LANGUAGE, code)
        await expect(turn.locator(".evidence > summary")).to_contain_text(f"{name}, Back door")
        await expect(turn.locator(".frames")).to_contain_text(name)
        await expect(turn.locator(".shot")).to_have_attribute("data-word", "Back door")
    # One alone: the large one.
    await tile.click()
    await expect(page.find("#picture > .large")).to_be_visible()
    await expect(page.button("Show Camera 1 large").locator("video")).to_be_visible()
    await expect(page.button(say("cameras.ask_all"))).to_have_attribute("aria-pressed", "false")
    answer = await page.ask("What is this?")
    assert len(model.last.jpegs) == 1
    assert answer["frame"]["camera_name"] == "Back door"
    await page.button("Show Camera 1 large").click()
    await expect(page.find("#picture > .large")).to_be_hidden()
    # Lost, and said.
    await device.button(say("page.stop")).click()
    await expect(page.find("#log")).to_contain_text("The camera Back door is disconnected.")
    await expect(page.button("Show Back door: Disconnected large")).to_be_visible()
    # It comes back with what it has.
    await device.start_button.click()
    await expect(tile).to_be_visible()
    # Ended by a tap: the device hears of it.
    device.expect(REFUSED_TOKEN)
    await page.find("#view > .strip .manage").click()
    await expect(page.find("#several-list li")).to_have_count(2)
    await page.button("End the camera Back door").click()
    await expect(tile).to_be_hidden()
    await expect(device.find("#join-state")).to_contain_text(say("join.ended"))


async def test_a_link_is_used_once_and_a_reload_goes_on(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The device that joined keeps its place over a reload; another one with the same link gets none."""
    before = set(server.program.webrtc._connections)
    page = await started(visit, server.base_url)
    link = await invite(page)
    device = await join(visit, link)
    state = device.find("#join-state")
    await expect(state).to_have_text("Sending as Camera 2.")
    # A socket that is on its way at the reload
    device.expect("WebSocket is closed before")
    await device.page.reload()
    await device.start_button.click()
    await expect(state).to_have_text("Sending as Camera 2.")
    late = await visit(link)
    late.expect(REFUSED_TOKEN)
    await late.start_button.click()
    await expect(late.find("#join-state")).to_contain_text(say("join.link_over"))
    # Switching the page's camera off ends the others.
    connections = server.program.webrtc._connections
    own = [id for id in connections if id not in before]
    assert len(own) == 2
    await page.button(say("page.done")).click()
    device.expect(REFUSED_TOKEN)
    await page.press(say("chat.camera_off"))
    await soon(lambda: not any(id in connections for id in own), 10)


async def test_names_are_changed_on_the_page(visit: Visit, server: Running) -> None:
    """Each camera's, the page's own too; one that another has is refused, and says why."""
    page = await started(visit, server.base_url)
    await invite(page, "Garden")
    names = page.find("#several-list .name")
    await expect(names).to_have_count(2)
    # Another camera takes nothing from who is typing.
    await names.first.fill("Des")
    session = (await page.got('m.type === "ready"'))["session_id"]
    await invited(server.program.sessions, session, "Shed")
    await expect(names).to_have_count(3)
    await expect(names.first).to_be_focused()
    await expect(names.first).to_have_value("Des")
    await names.first.fill("Desk")
    # The server has it before the other one asks for it.
    async with page.page.expect_response(lambda r: "/api/cameras/" in r.url) as renamed:
        await names.first.blur()
    assert (await renamed.value).ok
    await expect(names.first).to_have_value("Desk")
    page.expect("status of 400")
    await names.nth(1).fill("desk")
    await names.nth(1).blur()
    await expect(page.find("#camera-said")).to_contain_text("Another camera already has this name.")
    await expect(names.nth(1)).to_have_value("Garden")
