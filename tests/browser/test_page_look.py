"""The page's appearance and accessibility: names, sizes, contrast, keyboard, small screens, no
overlaps.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, bounds, started
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG = (
    "This is a box of oat biscuits, 250 g, best before 14 March 2027. "
    "See https://example.org/a-very-long-address/that-does-not-break/anywhere/at-all/and-goes-on-and-on.html"
)

# No button is pressed, waits for what it opens, or changes its look.
_SETTLED = """() => !document.querySelector("button:is(:active, [aria-busy=true])") && document.getAnimations()
  .every((one) => !(one instanceof CSSTransition) || one.playState !== "running")"""
# Visible buttons and the like, with what can be hit of them: a pseudo-element may reach further
# than the box.
_TARGETS = """() => [...document.querySelectorAll("button, summary, input, textarea, a[href], select")]
  .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest(".visually-hidden"))
  .map((e) => {
    const box = e.getBoundingClientRect();
    const more = getComputedStyle(e, "::after");
    const grow = more.content !== "none" && more.position === "absolute"
      ? (side) => -Math.min(0, parseFloat(more[side]) || 0) : () => 0;
    return { name: e.getAttribute("aria-label") || e.textContent.trim() || e.id,
      width: box.width + grow("left") + grow("right"), height: box.height + grow("top") + grow("bottom") };
  })"""

_FOCUS = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  return { name: e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent.trim(),
    ring: [e, e.closest("#bar") ?? e].map((one) => getComputedStyle(one)).some(({ outlineStyle, outlineWidth }) =>
      outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) };
}"""

# Elements beyond the right edge of the window, except inside scrolled boxes.
_WIDE = """() => {
  const page = document.scrollingElement;
  const out = [...document.querySelectorAll("body *")].filter((e) => {
    if (!e.checkVisibility() || e.closest(".visually-hidden, svg, #quick")) return false;
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
  });
  const log = document.querySelector("#log");
  return { page: page.scrollWidth - innerWidth, log: log.scrollWidth - log.clientWidth,
    out: out.map((e) => e.id || e.className || e.tagName) };
}"""


async def test_a_screen_reader_finds_and_says_everything(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """It finds the page's parts by role and name; there is no file input anywhere, ever. The live
    region says the whole answer when it is there, not every piece of it.
    """
    model.between_tokens = 0.05
    page = await visit(server.base_url)
    found = page.page
    await expect(page.start_button).to_be_visible()
    await expect(found.get_by_role("textbox", name=re.compile("^Ask"))).to_be_visible()
    await expect(found).to_have_title("qwen-camera")
    assert await found.locator("html").get_attribute("lang") == "en"
    region = page.find("#announcer")
    await expect(region).to_have_attribute("aria-live", "polite")
    await expect(region).to_have_attribute("role", "status")
    await page.start()
    await page.record_announcements()
    await page.ask("What is this?")
    await expect(region).to_have_text("I see a cup.")
    # On a machine with much else to do the picture may take a moment, and the page says so.
    assert [text for text in await page.announced() if not text.startswith("Waiting")] == [
        "I see a cup."
    ]
    await expect(page.find("#log")).to_have_attribute("aria-live", "off")
    for name in (
        say("page.menu"),
        say("page.more"),
        say("stage.what_is_this"),
        say("stage.read_this"),
        say("chat.hold"),
        say("voice.talk"),
    ):
        await expect(page.button(name)).to_be_visible()
    await expect(found.get_by_role("main")).to_be_visible()
    await expect(found.get_by_role("heading", level=1)).to_have_text("qwen-camera")
    await expect(found.get_by_role("log", name=say("chat.answers"))).to_be_visible()
    await expect(found.get_by_role("img", name=say("chat.frame"))).to_be_visible()
    for pressed in ("#hold", "#describe"):
        await expect(found.locator(pressed)).to_have_attribute("aria-pressed", "false")
    nameless = await found.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, img, [role]")]
          .filter((e) => e.checkVisibility() && !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
            || e.alt || e.labels?.length || e.textContent.trim() || e.getAttribute("role") === "status"))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    doubled = await found.evaluate(
        "() => [...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)"
    )
    assert doubled == []
    assert await found.locator('input[type="file"]').count() == 0


async def test_every_target_is_big(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """On a phone before the start, with an answer, with its details, while one is running, with one
    that failed, under a dialog: targets have 44 px or more each way.
    """
    page = await visit(server.base_url)

    async def small() -> list[Any]:
        # A button that was pressed comes back to its size.
        await page.page.wait_for_function(_SETTLED)
        targets = await page.evaluate(_TARGETS)
        assert len(targets) >= 2
        return [t for t in targets if t["width"] < 43.9 or t["height"] < 43.9]

    assert await small() == []
    await page.start()
    await page.ask("What is this?")
    state = page.page.get_by_role("button", name=say("stage.state"))
    await page.figures()
    await state.click()
    await expect(page.find("#facts")).to_be_visible()
    assert await small() == []
    # On a phone it lies above the answers.
    await state.click()
    await expect(page.find("#facts")).to_be_hidden()
    assert await small() == []
    model.behaviour = Behaviour.STALLS
    await page.send("And what is that?")
    await expect(page.button(say("chat.stop"))).to_be_visible()
    assert await small() == []
    model.behaviour = Behaviour.DIES
    await page.press(say("chat.describe"))
    await page.hold()
    await expect(page.state).to_have_text(say("page.picture_held"))
    sent = await page.send("And now?")
    await page.end(sent["id"])
    await expect(page.turns.locator(".remark.problem").first).to_be_visible()
    await expect(page.turns.last.get_by_role("button", name=say("page.try_again"))).to_be_visible()
    assert await small() == []
    await page.bring("core/dialogs/dialogs.html", "core/dialogs/dialogs.css")
    await page.evaluate("document.querySelector('#trust-dialog').showModal()")
    assert await small() == []


async def test_the_keyboard_alone_is_enough(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Start, ask, look at details, hold and stop with Tab, Enter and Space; the focus is always to
    be seen.
    """
    page = await visit(server.base_url)
    keys = page.page.keyboard

    async def tab_to(name: str) -> None:
        seen = []
        for _ in range(30):
            await keys.press("Tab")
            focus = await page.evaluate(_FOCUS)
            if focus is None:
                continue
            assert focus["ring"], f"no ring around {focus['name']}"
            seen.append(focus["name"])
            if focus["name"].strip().startswith(name):
                return
        raise AssertionError(f"Tab does not reach {name}: {seen}")

    await tab_to(say("page.start"))
    await keys.press("Enter")
    await expect(page.state).to_have_text(say("page.live"))
    # Before the first answer the button is seen where the keyboard is.
    await tab_to(say("chat.hold"))
    await page.resize(320, 568)
    box = await bounds(page.find("#hold"))
    assert box["width"] >= 44
    assert box["x"] + box["width"] <= 320
    await keys.press("Space")
    await expect(page.state).to_have_text(say("page.picture_held"))
    await tab_to(say("answer.ask"))
    await keys.press("Escape")
    await expect(page.state).to_have_text(say("page.live"))
    await keys.type("What is this?")
    await keys.press("Enter")
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    await expect(page.box).to_be_focused()
    await tab_to(say("page.more"))
    await keys.press("Enter")
    await expect(page.find("#watch")).to_be_focused()
    await keys.press("Escape")
    await page.find("#quick-read").focus()
    await tab_to(say("chat.hold"))
    for state in ("page.picture_held", "page.live"):
        await keys.press("Space")
        await expect(page.state).to_have_text(say(state))
    await tab_to(say("stage.state"))
    await keys.press("Enter")
    await expect(page.find("#facts")).to_be_visible()
    await keys.press("Escape")
    await expect(page.find("#facts")).to_be_hidden()
    await tab_to(say("stage.what_is_this"))
    await keys.press("Enter")
    await expect(page.turns).to_have_count(2)
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await tab_to("fake-vl")
    await keys.press("Enter")
    await tab_to(say("page.copy"))
    await tab_to(say("chat.read_aloud"))
    await tab_to(say("chat.details"))
    await keys.press("Enter")
    await expect(page.turns.first.locator(".about")).to_be_visible()
    await keys.press("Escape")
    proof = page.turns.first.locator(".evidence")
    await expect(proof).not_to_have_attribute("open", "")
    await expect(proof.locator("> summary")).to_be_focused()
    await tab_to(say("stage.read_this"))
    await tab_to(say("page.menu"))
    await keys.press("Enter")
    await tab_to(say("chat.camera_off"))
    await keys.press("Enter")
    await expect(page.state).to_have_text(say("page.camera_off"))
    await expect(page.start_button).to_be_focused()


async def test_who_wants_no_motion_gets_none(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """With `prefers-reduced-motion` nothing moves by itself, not even while an answer is on its
    way. What moves for others needs no layout or paint, which would delay the camera's next frame.
    """
    model.behaviour = Behaviour.STALLS
    moving = "() => document.getAnimations().filter(a => a.playState === 'running').length"
    page = await started(visit, server.base_url, context_options={"reduced_motion": "reduce"})
    await page.send("Tell me a story")
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    assert await page.evaluate(moving) == 0
    await page.page.emulate_media(reduced_motion="no-preference")
    await page.page.wait_for_function(moving)
    await page.find("#cancel").click()
    await expect(page.find("#cancel")).to_be_hidden()

    # The element under the pointer moves because of the pointer.
    await page.page.mouse.move(1, 400)
    await page.page.wait_for_timeout(200)
    await page.page.wait_for_function(_SETTLED)
    await page.evaluate("""() => {
          window.moved = new Set();
          const look = () => {
            for (const animation of document.getAnimations())
              for (const keyframe of animation.effect.getKeyframes())
                for (const name of Object.keys(keyframe)) window.moved.add(name);
            requestAnimationFrame(look);
          };
          requestAnimationFrame(look);
        }""")
    await page.send("What is this?")
    await page.page.wait_for_function("() => window.moved.has('translate')")
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    moved = set(await page.evaluate("() => [...window.moved]"))
    timing = {"offset", "computedOffset", "easing", "composite"}
    assert moved - timing <= {"translate", "transform", "opacity", "flexBasis"}


async def test_an_upright_picture_leaves_room_for_the_words(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A phone held upright sends a tall picture; question and answer are still there to be read
    beside it.
    """
    page = await started(visit, server.base_url, width=720, height=1280)
    response = await page.ask("What is this?")
    assert (response["frame"]["source_width"], response["frame"]["source_height"]) == (720, 1280)
    for part in (".asked", ".text", ".thumb", ".evidence > summary"):
        await expect(page.turns.last.locator(part)).to_be_in_viewport(ratio=0.99)
    await page.turns.last.locator(".thumb").evaluate("image => image.decode()")
    thumb = await bounds(page.turns.last.locator(".thumb"))
    assert 1.6 <= thumb["height"] / thumb["width"] <= 2
