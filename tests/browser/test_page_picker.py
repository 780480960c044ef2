"""The dialog that chooses the camera: one of this device, a screen, or a phone."""

from __future__ import annotations

import pytest
from playwright.async_api import Route, expect

from tests.browser.test_page_camera import put_out_of_sight, quicken
from tests.browser.visitor import REFUSED_TOKEN, Visit, Visitor, started
from tests.features.cameras.test_page_several import LINK, join
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Two cameras, of which the page gets the one that it names
_TWO = """() => {
  const { mediaDevices: media } = navigator;
  if (!media) return;
  const give = media.getUserMedia;
  window.__asked = [];
  media.getUserMedia = async function (wish) {
    window.__side = wish.video?.facingMode?.ideal;
    const id = wish.video?.deviceId?.exact ?? "canvas";
    window.__asked.push(id);
    const stream = await give.call(this, wish);
    const [track] = stream.getVideoTracks();
    const settings = track.getSettings;
    track.getSettings = () => ({ ...settings.call(track), deviceId: id });
    return stream;
  };
  media.enumerateDevices = async () => ["canvas", "second"].map((deviceId) =>
    ({ kind: "videoinput", deviceId, label: `The ${deviceId} one`, getCapabilities: () => ({}) }));
}"""
# A light, and what it was told last: a canvas would refuse it.
_LIGHT = """() => {
  const { getCapabilities, applyConstraints } = MediaStreamTrack.prototype;
  MediaStreamTrack.prototype.getCapabilities = function () {
    return { ...getCapabilities.call(this), torch: true };
  };
  MediaStreamTrack.prototype.applyConstraints = async function (wish) {
    const told = wish?.advanced?.find((one) => "torch" in one);
    if (told) window.__lit = told.torch;
    else await applyConstraints.call(this, wish);
  };
}"""
_USED = "document.querySelector('#video').srcObject?.getVideoTracks()[0].getSettings().deviceId"
_NAMED = """() => {
  const of = (deviceId, label, ...facingMode) =>
    ({ kind: "videoinput", deviceId, label, getCapabilities: () => ({ facingMode }) });
  navigator.mediaDevices.enumerateDevices = async () => [
    of("a", "HD Webcam (04f2:b6d9)"), of("b", "camera2 1, facing front"), of("c", "camera2 0, facing back"),
    of("d", "camera2 2, facing back"), of("e", "", "user"), of("f", ""),
    { kind: "audioinput", deviceId: "m", label: "Microphone" }];
}"""
# The browser's own bar ends the sharing of a screen.
_BAR = """() => {
  const [track] = document.querySelector("#video").srcObject.getVideoTracks();
  track.stop();
  track.dispatchEvent(new Event("ended"));
}"""
_REFUSE = """() => {
  navigator.mediaDevices.getDisplayMedia = async () => {
    throw new DOMException("Permission denied", "NotAllowedError");
  };
}"""


async def opened(page: Visitor) -> None:
    """Open the dialog: from the menu, or before the camera is on by the card's button."""
    if await page.card.is_visible():
        await page.button(say("stage.use_another")).click()
    else:
        await page.press("#cameras-open")
    await expect(page.find("#camera-dialog")).to_be_visible()


async def share(page: Visitor) -> None:
    await opened(page)
    await page.find("#camera-screen").click()
    await expect(page.find("#camera-dialog")).to_be_hidden()
    await expect(page.state).to_have_text(say("page.sharing"))


async def test_a_plain_camera_has_words_for_all_it_can_do(visit: Visit, builtin: Running) -> None:
    """Each thing that a person does beside asking has its word in the menu; without a light,
    another side and a zoom they have no button. Cameras have the browser's names without what it
    adds and no ids; where it gives none, where the camera looks.
    """
    page = await started(visit, builtin.base_url)
    await page.find("#more-open").click()
    await expect(page.find("#describe")).to_be_visible()
    for missing in ("#torch", "#switch-camera", "#zoom-box"):
        await expect(page.find(missing)).to_be_hidden()
    await page.find("#menu-open").click()
    words = ("chat.camera_off", "cameras.title", "watch.list", "programs.title", "facts.keep")
    more = ("settings.menu", "page.check_connection")
    await expect(page.find("#menu button:visible")).to_have_text([say(one) for one in words + more])
    await page.find("#menu-open").click()
    await page.evaluate(f"({_NAMED})()")
    await opened(page)
    await expect(page.find("#camera-rows [data-device] b")).to_have_text(
        [
            "HD Webcam",
            say("live.front_camera"),
            say("live.back_camera"),
            f"{say('live.back_camera')} 2",
            f"{say('live.front_camera')} 2",
            "Camera 6",
        ]
    )


async def test_a_camera_is_chosen_by_the_keyboard(visit: Visit, builtin: Running) -> None:
    """The one in use is marked; another is used at once, and by the next page of the device."""
    page = await visit(builtin.base_url, scripts=[_TWO])
    await page.page.get_by_role("button", name=say("stage.use_another")).focus()
    await page.page.keyboard.press("Enter")
    rows = page.find("#camera-rows [data-device]")
    await expect(rows).to_have_count(2)
    await expect(page.find("#camera-rows [aria-pressed=true]")).to_have_count(0)
    await expect(rows.first).to_be_focused()
    await page.page.keyboard.press("Enter")
    await expect(page.state).to_have_text(say("page.live"))
    await expect(page.find("#quick-what")).to_be_focused()
    await opened(page)
    used = page.find("#camera-rows [aria-pressed=true]")
    await expect(used).to_have_text(f"The canvas one {say('cameras.in_use')}")
    await page.page.keyboard.press("Tab")
    await page.page.keyboard.press("Enter")
    await page.comes("window.__asked", ["canvas", "second"])
    await page.comes(_USED, "second")
    # The used one is not opened anew.
    await opened(page)
    await expect(used).to_contain_text("The second one")
    await used.click()
    await expect(page.find("#camera-dialog")).to_be_hidden()
    assert await page.evaluate("window.__asked") == ["canvas", "second"]
    await page.page.goto("about:blank")
    await page.page.goto(builtin.base_url)
    await page.start()
    assert await page.evaluate("window.__asked") == ["second"]


async def test_flip_and_light_stand_where_they_exist(visit: Visit, builtin: Running) -> None:
    """Two cameras have a button that takes the other side's, a phone's light a tile."""
    page = await started(visit, builtin.base_url, scripts=[_TWO, _LIGHT])
    flip = page.button(say("stage.switch_camera"))
    await expect(flip).to_be_in_viewport(ratio=0.99)
    await page.comes("window.__side", "environment")
    await flip.click()
    await page.comes("window.__side", "user")
    await expect(page.state).to_have_text(say("page.live"))
    await page.press("#torch")
    await expect(page.find("#torch")).to_have_attribute("aria-pressed", "true")
    await page.comes("window.__lit", True)


async def test_a_screen_takes_the_cameras_place_and_gives_it_back(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """It is said and asked; it goes on while the page is hidden, as who shares another window leaves
    this one; the browser's own bar brings the camera back, and the socket stays after an answer under way.
    """
    page = await started(visit, server.base_url)
    video = page.find("#video")
    await share(page)
    await expect(video).to_have_attribute("aria-label", say("page.live_screen"))
    await expect(page.find("#announcer")).to_have_text(say("page.sharing"))
    await expect(page.find("#switch-camera")).to_be_hidden()
    hint = "document.querySelector('#video').srcObject.getVideoTracks()[0].contentHint"
    await page.comes(hint, "detail")
    await page.until(lambda sent: sent["frameHeight"] > 360)
    sessions = server.program.sessions
    # To the server black is no darkness then.
    await soon(lambda: any(one.camera.screen for one in sessions.list_all()))
    answer = await page.ask("What is this?")
    assert answer["frame"]["source_height"] > 360
    await quicken(page, 4000)
    await put_out_of_sight(page, True)
    await page.page.wait_for_timeout(1000)
    await expect(page.state).to_have_text(say("page.sharing"))
    await put_out_of_sight(page, False)
    await opened(page)
    await expect(page.find("#camera-screen")).to_have_attribute("aria-pressed", "true")
    await page.page.keyboard.press("Escape")
    since = await page.now()
    model.between_tokens = 0.5
    sent = await page.send("And now?")
    await expect(page.turns.last.locator(".text")).to_contain_text("I")
    await page.evaluate(f"({_BAR})()")
    await expect(page.find("#log")).to_contain_text(say("cameras.screen_over"))
    await page.response(sent["id"])
    model.between_tokens = 0
    await expect(page.state).to_have_text(say("page.live"))
    await expect(video).to_have_attribute("aria-label", say("page.live_picture"))
    await soon(lambda: not any(one.camera.screen for one in sessions.list_all()))
    answer = await page.ask("And this?")
    assert answer["frame"]["source_height"] <= 360
    log = [entry["message"]["type"] for entry in await page.log() if entry["at"] > since]
    assert "ready" not in log


async def test_a_screen_alone(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """A refusal changes nothing; without any camera a screen begins the visit, and its end ends it."""
    page = await visit(server.base_url)
    await page.evaluate(f"({_REFUSE})()")
    await opened(page)
    await page.find("#camera-screen").click()
    await expect(page.find("#camera-said")).to_be_empty()
    await expect(page.find("#camera-dialog")).to_be_visible()
    await expect(page.state).to_have_text(say("page.camera_off"))
    await expect(page.find("#camera-screen")).to_contain_text(say("cameras.screen_help"))
    await page.page.keyboard.press("Escape")
    await page.evaluate("delete navigator.mediaDevices.getDisplayMedia")
    await share(page)
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    assert await page.evaluate("window.__camera.opened") == 0
    # Its words have the room of "basic mode", too.
    await page.resize(320, 568)
    assert await page.state.evaluate("one => one.scrollWidth <= one.clientWidth")
    await page.evaluate(f"({_BAR})()")
    await expect(page.start_button).to_be_visible()
    await expect(page.find("#log")).to_contain_text(say("cameras.screen_over"))
    await expect(page.state).to_have_text(say("page.camera_off"))
    # Phones share none.
    await page.evaluate("void (navigator.mediaDevices.getDisplayMedia = undefined)")
    await opened(page)
    await expect(page.find("#camera-screen")).to_be_hidden()


async def test_a_phone_is_the_only_camera(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """A page without a camera shows a link, and over http says why a phone needs https in place of a code; the
    other device's picture is asked; Camera off ends it there.
    """
    page = await visit(server.base_url)
    await opened(page)
    await page.find("#several-phone").click()
    link = page.find("#several-link")
    await expect(link).to_have_value(LINK)
    await expect(page.find("#several-insecure")).to_have_text(say("cameras.needs_https"))
    await expect(page.find("#several-code")).to_be_hidden()
    await expect(page.find("#several-scan")).to_be_hidden()
    device = await join(visit, await link.input_value())
    await expect(device.find("#join-state")).to_have_text("Sending as Camera 1.")
    await expect(page.find("#camera-dialog")).to_be_hidden()
    await expect(page.find("#far")).to_be_visible()
    await expect(link).to_have_value("")
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    assert await page.evaluate("window.__camera.opened") == 0
    # From now on a phone is a further camera.
    await opened(page)
    await page.find("#several-phone").click()
    await expect(link).to_have_value(LINK)
    await expect(page.find("#several-list li")).to_have_count(2)
    await page.page.keyboard.press("Escape")
    device.expect(REFUSED_TOKEN)
    await page.press(say("chat.camera_off"))
    await expect(device.find("#join-state")).to_contain_text(say("join.ended"), timeout=30_000)


async def test_what_is_only_invited_is_out_of_the_way(visit: Visit, server: Running) -> None:
    """Nothing that comes after the dialog was closed is kept: neither the link nor the token stands in
    the page. Nor has the picture a tile of a camera that was never there.
    """
    page = await started(visit, server.base_url)

    async def slow(route: Route) -> None:
        reply = await route.fetch()
        await page.page.keyboard.press("Escape")
        await route.fulfill(response=reply)

    await page.page.route("**/api/cameras?*", slow)
    await opened(page)
    async with page.page.expect_response(lambda r: "/api/cameras?" in r.url):
        await page.find("#several-phone").click()
    await page.got('m.type === "cameras"')
    for secret in ("#several-token", "#several-link"):
        await expect(page.find(secret)).to_have_value("")
    await opened(page)
    await expect(page.find("#several-invited")).to_be_hidden()
    await expect(page.find("#several-list li")).to_have_count(2)
    await page.page.keyboard.press("Escape")
    await expect(page.find("#view > .strip")).to_be_hidden()
