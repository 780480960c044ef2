"""Watches on the page: added by one tap or by their words, alerted once with the frame that proves it."""

from __future__ import annotations

import asyncio
import base64

import cv2
import numpy as np
import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_page_app import kept_page
from tests.browser.test_page_camera import put_out_of_sight
from tests.browser.visitor import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    Visit,
    Visitor,
    bounds,
    hurry,
    shown,
    started,
)
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def color_of(page: Visitor, src: str) -> tuple[float, float, float]:
    """Mean blue, green and red of a picture that the page shows."""
    raw = base64.b64decode(src.removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    blue, green, red = picture.mean((0, 1))
    return float(blue), float(green), float(red)


async def test_tell_me_when_you_see_red(visit: Visit, builtin: Running) -> None:
    """Not for orange; once for red, with a red frame; and the page shows, marks and takes it back."""

    async def quick(page: Page) -> None:
        await hurry(page, "features/watches/view.js", SHOWN_STOPPED=2500)

    page = await started(visit, builtin.base_url, prepare=quick)
    await page.show(mode=GREY, clock=False)
    alerts, listed = page.find(".alert"), page.find("#watches-list li")
    order = page.button(say("chat.watch_this"))
    await expect(order).to_be_hidden()
    await page.box.fill("Tell me when you see red.")
    await expect(order).to_have_attribute("title", say("chat.watch_this"))
    await page.box.press("Enter")
    await expect(page.box).to_have_value("")
    await expect(page.page.get_by_title(say("chat.send"), exact=True)).to_be_disabled()
    await expect(page.turns).to_have_count(0)
    sent = await page.sent("watch")
    assert sent["condition"] == "you see red"
    await page.got('m.type === "watches" && m.watches[0]?.armed')
    await expect(page.find("#watches-summary")).to_have_text(
        say("watch.watching_for", condition="you see red")
    )
    await expect(page.find("#announcer")).to_have_text(
        say("watch.watching_for", condition="you see red")
    )

    since = await page.now()
    await page.show(mode=ORANGE)
    await page.got(
        'm.type === "watches" && m.watches[0]?.reason?.includes("I do not see it")', since=since
    )
    await expect(alerts).to_have_count(0)

    await page.show(mode=RED)
    await expect(alerts).to_have_count(1)
    alert = await page.got('m.type === "alert"')
    blue, green, red = await color_of(page, alert["image"])
    assert red > 150 > 80 > green
    assert blue < 80
    await page.sent("ack")
    await expect(alerts.locator(".proof img")).to_have_js_property("complete", True)
    await expect(alerts.locator(".proof i")).to_be_visible()
    await expect(alerts).to_contain_text("you see red")

    await page.find("#watches > summary").click()
    await expect(listed).to_contain_text(say("watch.seen", time="§").partition("§")[0])
    await expect(page.find("#announcer")).to_contain_text(
        say("watch.seen", time="§").partition("§")[0]
    )
    # What has ended is not stopped any more.
    remove = listed.get_by_role("button", name=f"{say('watch.remove')}: you see red")
    await expect(remove).to_have_text(say("watch.remove"))
    await page.button(say("watch.wrong")).click()
    await expect(alerts).to_contain_text(say("watch.taken_back"))
    await expect(listed).to_contain_text(say("watch.paused"))
    await page.page.get_by_role(
        "button", name=say("watch.stop_watching", condition="you see red")
    ).click()
    # It says so for a while.
    await expect(listed).to_contain_text(say("watch.stopped"))
    summary = page.find("#watches-summary")
    await expect(summary).to_have_text(say("watch.stopped"))
    await expect(page.find("#announcer")).to_contain_text(say("watch.stopped"))
    # Open, it still lists the alert.
    await expect(summary).to_have_text(say("watch.past", count=1))
    await summary.click()
    await expect(page.find("#watches")).to_be_hidden()
    # Once: nothing more has alerted.
    assert [one for one in await page.log() if one["message"].get("type") == "alert"][1:] == []


async def test_an_alert_speaks_the_pages_language_and_goes_with_the_answers(
    visit: Visit, builtin: Running
) -> None:
    """Beside an upright picture its words stand below each other, without a hole between them. The picture does not
    stay on the page of who deletes all.
    """
    page = await started(
        visit, builtin.base_url, viewport=(390, 844), width=720, height=1280, mode=GREY, clock=False
    )
    await page.box.fill("Tell me when you see red.")
    await page.box.press("Enter")
    await page.got('m.type === "watches" && m.watches[0]?.armed')
    await page.show(mode=RED)
    alert = page.find(".alert")
    await expect(alert).to_contain_text(say("watch.wrong"))
    await expect(alert.locator(".proof img")).to_have_js_property("complete", True)
    picture, head, reason = [
        await bounds(alert.locator(name)) for name in (".proof", ".head", ".reason")
    ]
    assert 0 < head["x"] - picture["x"] - picture["width"] < 20
    assert 0 <= reason["y"] - head["y"] - head["height"] < 10
    await page.press("#settings-open")
    await page.find("#language").select_option("de")
    await page.page.keyboard.press("Escape")
    await expect(alert).to_contain_text("Fehlalarm")
    await page.press("#keep")
    for name in ("Alles löschen", "Alle Antworten löschen?"):
        await page.button(name).click()
    await expect(alert).to_have_count(0)


SIZES = ((320, 568), (360, 640), (390, 844), (820, 1180), (844, 390), (1280, 800))


async def test_an_alert_opens_at_its_title_and_picture(visit: Visit, builtin: Running) -> None:
    """In every window, beside a notice, too. Read, it leaves the chat and stays in the list of past alerts, which the
    menu opens; the same watch a second time is answered.
    """
    page = await started(
        visit, builtin.base_url, viewport=(390, 844), width=720, height=1280, mode=GREY, clock=False
    )
    await page.ask("What colour is this?")
    await page.box.fill("Tell me when you see red.")
    await page.box.press("Enter")
    await page.got('m.type === "watches" && m.watches[0]?.armed')
    await page.box.fill("Tell me when you see red.")
    await page.box.press("Enter")
    announcer = page.find("#announcer")
    await expect(announcer).to_have_text(say("watch.already", condition="you see red"))
    await page.show(mode=RED)
    alert = page.find(".alert")
    await expect(alert.locator(".proof img")).to_have_js_property("complete", True)
    notice = "document.getElementById('notice').hidden = {hidden}"
    for hidden in ("true", "false"):
        await page.evaluate(notice.format(hidden=hidden))
        for size in SIZES:
            await page.resize(*size)
            await page.settle()
            await page.page.screenshot(path=f"/tmp/P/alert-{size[0]}-{hidden}.png")
            await expect(alert.locator(".head")).to_be_in_viewport(ratio=0.9)
            await expect(alert.locator(".proof")).to_be_in_viewport(ratio=0.5)
    await page.resize(390, 844)
    await alert.get_by_role("button", name=say("watch.got_it")).click()
    await expect(alert).to_have_count(0)
    await page.find("#watches-summary").click()
    past = page.find("#watches-past")
    await expect(past.locator("summary")).to_have_text(say("watch.past", count=1))
    await past.locator("summary").click()
    await expect(past.locator("img")).to_have_js_property("complete", True)
    await page.button(f"{say('watch.remove')}: you see red").click()
    await page.find("#watches-summary").click()
    await expect(page.find("#watches")).to_be_hidden()
    await page.press("#watches-open")
    await past.get_by_role("button").click()
    await expect(alert).to_have_count(1)


async def test_an_order_ends_all_watches(visit: Visit, builtin: Running) -> None:
    """Typed, too; without a watch it says that there is none. While the camera is off the list says that it waits."""
    page = await visit(builtin.base_url)
    await page.start()
    summary, announced = page.page.locator("#watches-summary"), page.page.locator("#announcer")
    for count, color in enumerate(("red", "green"), 1):
        await page.box.fill(f"Tell me when you see {color}.")
        await expect(page.button(say("chat.watch_this"))).to_be_visible()
        await page.box.press("Enter")
        await page.got(f'm.type === "watches" && m.watches.length === {count}')
    await expect(summary).to_contain_text(say("watch.count", count=2))
    await page.press(say("chat.camera_off"))
    await expect(summary).to_have_text(f"{say('watch.paused')} {say('watch.count', count=2)}")
    await page.start()
    await page.got('m.type === "watches" && m.watches.length === 2')
    for words in ("watch.stopped", "watch.none"):
        await page.box.fill("Stop watching.")
        await page.box.press("Enter")
        await expect(announced).to_have_text(say(words))
        await page.got('m.type === "watches" && m.watches.length === 0')
    await expect(page.turns).to_have_count(0)


async def test_an_order_can_be_asked_as_a_question(visit: Visit, builtin: Running) -> None:
    """One tap beside the box; the next order watches again. One that cannot be done comes back into
    the box, with what can be watched for; one tap on the bell makes a watch of what is typed.
    """
    page = await started(visit, builtin.base_url)
    ask = page.button(say("chat.ask_it"))
    await page.box.fill("What is this?")
    await expect(ask).to_be_hidden()
    await page.box.fill("Tell me when the milk expires.")
    await expect(ask).to_be_visible()
    await ask.click()
    assert (await page.sent("chat"))["content"] == "Tell me when the milk expires."
    await expect(page.box).to_have_value("")
    await expect(ask).to_be_hidden()
    await expect(page.turns).to_have_count(1)
    assert not [one for one in await page.log() if one["message"].get("type") == "watch"]
    # A bell that was pressed is not in the way.
    await page.press(say("watch.tell_me"))
    await page.box.fill("Read it")
    await ask.click()
    await expect(page.turns).to_have_count(2)
    await expect(page.find("#watch")).to_have_attribute("aria-pressed", "false")

    since = await page.now()
    await page.box.fill("the kettle boils")
    await page.press(say("watch.tell_me"))
    await expect(page.find("#log .note")).to_contain_text(say("server.watch_builtin"))
    await expect(page.box).to_have_value("the kettle boils")
    await expect(page.find("#watches")).to_be_hidden()
    await page.box.fill("Tell me when the kettle boils.")
    await page.box.press("Enter")
    await expect(page.find("#log .note")).to_have_count(2)
    await expect(page.box).to_have_value("Tell me when the kettle boils.")
    await ask.click()
    sent = await page.sent("chat", since=since)
    assert sent["content"] == "Tell me when the kettle boils."


async def test_an_order_while_the_page_connects_is_a_watch(visit: Visit, builtin: Running) -> None:
    """Sent before the words that make one of it are here: it waits for them."""
    sent = asyncio.Event()

    async def late(page: Page) -> None:
        async def later(route: Route) -> None:
            await sent.wait()
            await route.continue_()

        await page.route("**/features/watches/*.js", later)

    page = await visit(builtin.base_url, prepare=late)
    await page.start_button.click()
    await expect(page.state).to_have_text(say("page.connecting"))
    await page.box.fill("Tell me when you see red.")
    await page.box.press("Enter")
    sent.set()
    await page.got('m.type === "watches" && m.watches[0]?.condition === "you see red"')
    await expect(page.box).to_have_value("")
    await expect(page.turns).to_have_count(0)


async def test_watches_survive_a_reload(visit: Visit, builtin: Running) -> None:
    """The tab keeps the orders with their times, and the new session gets them."""
    page = await started(visit, builtin.base_url)
    await page.press(say("watch.tell_me"))
    await expect(page.box).to_have_attribute("placeholder", say("watch.tell_me"))
    await page.box.fill("a QR code")
    await page.box.press("Enter")
    await page.got('m.type === "watches" && m.watches.length === 1')
    await page.find("#watches > summary").click()
    await page.button(say("watch.every_time")).click()
    await page.got('m.type === "watches" && m.watches[0]?.repeat')
    times = page.find("#watches .when")
    await expect(times.locator("summary")).to_have_text(
        f"{say('watch.any_time')}, {say('watch.until_stop')}"
    )
    await times.locator("summary").click()
    await times.get_by_label(say("watch.from")).fill("22:00")
    await times.get_by_label(say("watch.to"), exact=True).fill("06:30")
    await times.get_by_label(say("watch.end_of")).select_option(say("page.for_8_hours"))
    await expect(times.locator("summary")).to_contain_text("Between 22:00 and 06:30, until ")
    await page.page.reload()
    await page.start()
    found = await page.got('m.type === "watches" && m.watches.length === 1')
    (one,) = found["watches"]
    assert (one["condition"], one["repeat"], one["hours"]) == ("a QR code", True, [1320, 390])
    left = one["expires_at"] - await page.now()
    assert 7.9 * 3_600_000 < left < 8.1 * 3_600_000
    await expect(page.find("#watches-list")).to_contain_text("a QR code")


# Writes down what the browser is asked for when a watch alerts.
_ALARM = """() => {
  window.__alarm = [];
  Object.defineProperty(navigator, "vibrate", { value: (pattern) => window.__alarm.push(["vibrate", pattern]) });
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...at) { window.__alarm.push(["tone", this.frequency.value]); return start.apply(this, at); };
  window.Notification = class {
    static permission = "default";
    static async requestPermission() { window.__alarm.push(["asked"]); return (this.permission = "granted"); }
    constructor(title, { body, tag, icon }) { window.__alarm.push(["notification", title, body !== "", tag !== "", icon?.slice(0, 15)]); }
    close() {}
  };
}"""


async def test_an_alert_sounds_shakes_and_notifies(visit: Visit, builtin: Running) -> None:
    """Permission is asked with the first watch and not before; a page in sight shows no notification
    beside its own alert.
    """
    away = 'Object.defineProperty(document, "hidden", { get: () => Boolean(window.__away) })'
    page = await started(visit, builtin.base_url, scripts=[_ALARM, away])
    await page.show(mode=GREY, clock=False)
    assert await page.evaluate("window.__alarm") == []
    await page.watch()
    await page.comes("window.__alarm", [["asked"]])
    since = await page.now()
    await page.show(mode=ORANGE)
    await page.got(
        'm.type === "watches" && m.watches[0]?.reason?.includes("I do not see it")', since=since
    )
    await page.show(mode=RED)
    await expect(page.find(".alert")).to_have_count(1)
    calls = [["tone", 880], ["tone", 1174], ["vibrate", [200, 100, 200]]]
    await page.comes("window.__alarm", [["asked"], *calls])

    await page.box.fill("Tell me when you see blue.")
    await page.box.press("Enter")
    await page.got(
        'm.type === "watches" && m.watches.some((one) => one.condition === "you see blue" && one.armed)'
    )
    await page.evaluate("window.__away = true; window.__alarm.length = 0")
    await page.show(mode=BLUE)
    await expect(page.find(".alert")).to_have_count(2)
    told = ["notification", "you see blue", True, True, "data:image/jpeg"]
    await page.comes("window.__alarm", [*calls, told])


_WORKER = """() => {
  window.Notification = class {
    static permission = "granted";
    constructor() { throw new TypeError("Illegal constructor. Use ServiceWorkerRegistration.showNotification()"); }
  };
  ServiceWorkerRegistration.prototype.showNotification = async (title, { body, tag, icon }) => {
    window.__shown = [title, body !== "", icon.slice(0, 15)];
    window.__tag = tag;
  };
}"""


async def test_an_alert_of_a_kept_page_is_shown_by_its_worker(
    visit: Visit, builtin: Running
) -> None:
    """As Chrome on Android requires; a tap shows the alert again."""
    away = 'Object.defineProperty(document, "hidden", { get: () => Boolean(window.__away) })'
    page = await kept_page(visit, builtin.base_url, scripts=[_WORKER, away])
    await page.start()
    await page.show(mode=GREY, clock=False)
    await page.watch()
    await page.evaluate("window.__away = true")
    await page.show(mode=RED)
    alert = page.find(".alert")
    await alert.get_by_role("button", name=say("watch.got_it")).click()
    await expect(alert).to_have_count(0)
    await page.comes("window.__shown", ["you see red", True, "data:image/jpeg"])
    await page.evaluate(
        "navigator.serviceWorker.dispatchEvent(new MessageEvent('message', { data: { alert: window.__tag } }))"
    )
    await expect(alert).to_have_count(1)


def paper(patch: int) -> str:
    """A grey picture as a data URL, with a patch of 5 % that differs by so many levels."""
    sheet = np.full((360, 640, 3), 120, np.uint8)
    sheet[::40, :] = 60
    sheet[144:216, 256:416] += np.uint8(patch)
    return shown(sheet, "png")


async def test_the_slider_sets_what_the_gate_sees(visit: Visit, builtin: Running) -> None:
    """A faint thing is nothing with little sensitivity, and is asked about with more; the details
    show strength, decision and place.
    """
    page = await started(visit, builtin.base_url)
    await page.show(mode=paper(0), clock=False)
    await page.watch()
    await page.find("#watches > summary").click()
    await page.find("#watches-changes > summary").click()
    slider = page.find("#watches-changes").get_by_label(say("watch.small_changes"))
    compared = page.find("#watches-changes .compared")
    await slider.fill("-2")
    # The setting of the opened details may come in between.
    await page.sends("m.sensitivity === 0.25")
    await expect(page.find("#watches-changes output")).to_have_text("25 %")
    await page.show(mode=paper(12))
    await page.settle(6)
    since = await page.now()
    # One look may be asked for before, by the watch itself.
    decided = 'm.type === "change" && m.about === "watches" && !m.asks && m.why === "same"'
    await page.got(decided, since=since)
    await expect(compared).to_contain_text(say("watch.change_none"))

    since = await page.now()
    await slider.fill("2")
    found = await page.got('m.type === "change" && m.asks && m.region', since=since)
    left, top, right, bottom = found["region"]
    assert 0.3 < left < 0.5 < right < 0.75
    assert 0.3 < top < 0.5 < bottom < 0.7
    await expect(compared).to_contain_text(say("watch.asked"))
    await page.page.wait_for_function(
        "() => Number(document.querySelector('#watches-changes .part').getAttribute('width')) > 0"
    )
    await page.find("#watches-changes > summary").click()
    await page.sends("m.watch_changes === false")


async def test_a_hidden_page_watches_on_and_lets_the_camera_go_after_the_last_watch(
    visit: Visit, builtin: Running
) -> None:
    """Whoever looks at another tab wants to hear of it all the same; without a watch nothing is seen."""

    async def quick(page: Page) -> None:
        await hurry(page, "client/core/live/visit.js", HIDDEN_FOR=500)

    page = await started(visit, builtin.base_url, prepare=quick)
    await page.show(mode=GREY, clock=False)
    await page.watch()
    await put_out_of_sight(page, True)
    await page.page.wait_for_timeout(1000)
    await page.show(mode=RED)
    alert = await page.got('m.type === "alert"')
    assert alert["image"]
    # It has alerted, so nothing is watched for any more.
    await page.page.wait_for_function(
        "() => window.__peers.every((one) => one.connectionState === 'closed')"
    )
    await put_out_of_sight(page, False)
    await expect(page.state).to_have_text(say("page.live"))
