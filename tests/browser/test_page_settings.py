"""The settings: each holds at once and for the next page of the device, and all can be forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

KEY = "qwen-camera-settings"
# Ground of the sheet and size of its text
_LOOK = """() => [getComputedStyle(document.querySelector("#bar")).backgroundColor,
  getComputedStyle(document.querySelector("#question")).fontSize, document.documentElement.scrollWidth - innerWidth]"""


async def choose(page: Visitor, **values: str) -> None:
    """Open the settings and choose these; leave them open."""
    await page.settings()
    for name, value in values.items():
        await page.find(f"#settings [name={name}]").select_option(value)


async def look(page: Visitor) -> list[Any]:
    found: list[Any] = await page.evaluate(_LOOK)
    return found


async def kept(page: Visitor) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(
        await page.evaluate(f"localStorage.getItem('{KEY}') ?? 'null'")
    )
    return found


async def test_theme_and_size_hold_before_anything_is_drawn(visit: Visit, builtin: Running) -> None:
    """At once, after a reload already without any module, in another page of the device, and not
    any more when they are forgotten.
    """
    page = await visit(builtin.base_url, context_options={"color_scheme": "light"})
    light = await look(page)
    await choose(page, theme="dark", size="150")
    await expect(page.find("html")).to_have_attribute("data-size", "150")
    dark = await look(page)
    assert dark[0] != light[0]
    assert float(dark[1].removesuffix("px")) == 1.5 * float(light[1].removesuffix("px"))
    other = await page.page.context.new_page()
    await other.goto(builtin.base_url)
    await expect(other.locator("html")).to_have_attribute("data-theme", "dark")
    await other.close()
    await page.page.route("**/client/client.js", lambda route: route.abort())
    page.expect("Failed to load resource")
    await page.page.reload(wait_until="commit")
    await expect(page.find("html")).to_have_attribute("data-size", "150")
    await page.page.unroute("**/client/client.js")
    await page.page.goto("about:blank")
    await page.page.goto(builtin.base_url)
    await expect(page.find("#partial")).to_have_count(0)
    await page.comes(_LOOK, dark)
    await page.press(say("settings.menu"))
    await page.button(say("settings.forget")).click()
    await page.comes(_LOOK, light)
    assert await kept(page) is None
    await expect(page.find("#settings [name=theme]")).to_have_value("system")
    # Its words look the same before any camera, whose parts have style sheets of their own.
    await expect(page.find("#settings .fine").first).to_have_css("font-size", "13px")


async def test_what_lies_in_the_store_breaks_nothing(visit: Visit, builtin: Running) -> None:
    """No JSON, no object, another version's values that nobody may choose: the default each time."""
    page = await visit(builtin.base_url)
    for text in ("{", "null", '{"version":9,"theme":"pink","size":200,"camera":[],"tones":1}'):
        await page.evaluate(f"text => localStorage.setItem('{KEY}', text)", text)
        await page.page.reload()
        await choose(page)
        for name, value in {"theme": "system", "size": "100", "verbosity": "normal"}.items():
            await expect(page.find(f"#settings [name={name}]")).to_have_value(value)
        await expect(page.find("#settings [name=tones]")).to_be_checked()


# Writes down the heights that are asked of the camera.
_HEIGHTS = """
  window.asked = [];
  const give = navigator.mediaDevices?.getUserMedia;
  if (give) navigator.mediaDevices.getUserMedia = function (wish) {
    window.asked.push(wish.video?.height?.ideal); return give.call(this, wish); };
"""
# A browser with three voices, which writes down how it reads
_VOICES = """() => {
  window.__read = [];
  const voice = {
    getVoices: () => [["Anna", "de-DE"], ["Sam", "en-US"], ["Kyoko", "ja-JP"]].map(([name, lang]) => ({ name, lang, voiceURI: `urn:${name}` })),
    addEventListener() {}, cancel() {}, pause() {}, resume() {}, paused: false,
    speak(one) { window.__read.push([one.voice?.name ?? "", one.rate]); },
  };
  Object.defineProperty(window, "speechSynthesis", { value: voice });
  Object.defineProperty(window, "SpeechSynthesisUtterance", { value: class { constructor(text) { this.text = text; } } });
}"""


async def test_camera_voice_and_descriptions(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The picture's size is asked of the camera; the sensitivity of watches and the length of
    descriptions go to the server, also that of the next page; the details of an answer are open.
    The chosen voice reads texts of its language, as fast as chosen; all are kept, and forgotten.
    """
    page = await visit(server.base_url, scripts=[_VOICES, _HEIGHTS])
    await choose(page, speed="1.5", voice="urn:Sam", talk="push")
    await page.find("#settings [name=silence]").fill("900")
    await page.button(say("page.done")).click()
    await page.start()
    since = await page.now()
    await choose(page, length="long")
    assert (await page.sent("settings", since=since))["length"] == "long"
    await choose(page, resolution="480")
    await page.page.wait_for_function("() => window.asked.at(-1) === 480")
    since = await page.now()
    await page.find("#settings [name=sensitivity]").fill("1")
    assert (await page.sent("settings", since=since))["sensitivity"] == 2
    await page.page.get_by_label(say("settings.details")).check()
    await page.button(say("page.done")).click()
    await expect(page.state).to_have_text(say("page.live"))
    model.answer_for = lambda _body, _jpeg: ["This is what I see: a cup and the saucer of it."]
    await page.ask("What is this?")
    await expect(page.turns.last.locator(".times")).to_be_visible()
    await page.points()
    await page.turns.last.get_by_role("button", name=say("chat.read_aloud")).click()
    model.answer_for = lambda _body, _jpeg: ["Das ist eine Tasse, und hier steht ein Teller."]
    await page.ask("Was ist das?")
    await page.points()
    await page.turns.last.get_by_role("button", name=say("chat.read_aloud")).click()
    await page.page.wait_for_function("() => window.__read.length === 2")
    assert await page.evaluate("window.__read") == [["Sam", 1.5], ["", 1.5]]
    found = await kept(page)
    assert found is not None
    chosen = {"speed": "1.5", "voice": "urn:Sam", "talk": "push", "silence": 900, "length": "long"}
    assert {name: found[name] for name in chosen} == chosen
    await page.page.goto("about:blank")
    await page.page.goto(server.base_url)
    since = await page.now()
    await page.start()
    for wanted in ('m.length === "long"', "m.sensitivity === 2"):
        await page.sends(f'm.type === "settings" && {wanted}', since=since)
    assert await page.evaluate("window.asked") == [480]
    await choose(page)
    await page.button(say("settings.forget")).click()
    assert await kept(page) is None
    usual = {"speed": "1", "voice": "", "talk": "hands_free", "silence": "500", "length": ""}
    for name, value in usual.items():
        await expect(page.find(f"#settings [name={name}]")).to_have_value(value)


# A camera that zooms
_ZOOMS = """() => {
  const { getCapabilities, getSettings, applyConstraints } = MediaStreamTrack.prototype;
  window.__zoomed = [];
  Object.assign(MediaStreamTrack.prototype, {
    getCapabilities() { return { ...getCapabilities.call(this), zoom: { min: 1, max: 4, step: 0.1 } }; },
    getSettings() { return { ...getSettings.call(this), zoom: window.__zoomed.at(-1) ?? 1 }; },
    async applyConstraints({ advanced = [], ...rest } = {}) {
      for (const { zoom } of [rest, ...advanced]) if (zoom !== undefined) window.__zoomed.push(Number(zoom.ideal ?? zoom));
      delete rest.zoom;
      return applyConstraints.call(this, rest);
    },
  });
}"""


async def test_the_zooms_value_is_shown(visit: Visit, builtin: Running) -> None:
    """Beside its slider, and to a screen reader; the camera gets it."""
    page = await started(visit, builtin.base_url, scripts=[_ZOOMS])
    await page.find("#more-open").click()
    slider, value = page.find("#zoom"), page.find("#zoom-value")
    await expect(value).to_have_text("1.0×")
    await slider.fill("2.5")
    await expect(value).to_have_text("2.5×")
    await expect(slider).to_have_attribute("aria-valuetext", "2.5×")
    await page.page.wait_for_function("() => window.__zoomed.at(-1) === 2.5")


@pytest.mark.slow
async def test_answers_go_by_the_time_zone_of_the_page(visit: Visit, builtin: Running) -> None:
    zone = {"timezone_id": "Asia/Tokyo"}
    page = await started(visit, builtin.base_url, context_options=zone)
    ready = await page.got('m.type === "ready"')
    session = builtin.program.sessions.find(ready["session_id"])
    await soon(lambda: session.requests.preferences.time_zone == "Asia/Tokyo")
