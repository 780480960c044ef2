"""The page leaves the picture alone: few controls, and nothing over its middle."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.async_api import expect

from tests.browser.screenshots import COFFEE
from tests.browser.test_page_answers import coded
from tests.browser.test_page_small import _PLACEHOLDER
from tests.browser.visitor import CALM, RED, Visit, Visitor, bounds, shown, started
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = [(320, 568), (390, 844), (768, 1024), (844, 390), (1280, 800), (1920, 1080)]
# Of an answer: its picture, and what lies behind its points; the sheet's handle comes with it.
OF_AN_ANSWER = 3

CONTROLS = """() => [...document.querySelectorAll("button, summary, input, textarea, a[href], select")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".visually-hidden"))
  .map((one) => one.id || one.className || one.textContent.trim())"""

# What lies over the middle two thirds of the picture, as far as it can be seen
OVER = """() => {
  const shown = (id) => document.getElementById(id).getBoundingClientRect();
  const stage = shown("stage");
  const panel = document.getElementById("panel");
  const sheet = getComputedStyle(panel).backgroundColor !== "rgba(0, 0, 0, 0)" ? panel.getBoundingClientRect() : null;
  const bottom = sheet && sheet.left < stage.right ? Math.min(stage.bottom, sheet.top) : stage.bottom;
  const found = new Set();
  const steps = 24;
  for (let i = 0; i <= steps; i++)
    for (let j = 0; j <= steps; j++) {
      const x = stage.left + stage.width * (1 / 6 + (2 / 3) * (i / steps));
      const y = stage.top + (bottom - stage.top) * (1 / 6 + (2 / 3) * (j / steps));
      for (const one of document.elementsFromPoint(x, y)) {
        if (["video", "still", "far", "stage"].includes(one.id)) break;
        found.add(one.id || one.className || one.tagName);
      }
    }
  return [...found];
}"""


async def controls(page: Visitor) -> list[str]:
    found: list[str] = await page.evaluate(CONTROLS)
    return found


async def free_middle(page: Visitor, most: int = 99) -> None:
    """In windows of all sizes nothing lies over the middle of the picture, and few controls are there."""
    for size in SIZES:
        await page.resize(*size)
        await page.comes(OVER, [])
        found = await controls(page)
        assert len(found) <= most, (size, found)


async def test_few_controls_and_a_free_middle(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """While it is live, with one answer, and while a watch is ordered."""
    page = await started(visit, server.base_url)
    await free_middle(page, 8)
    await page.ask("What is this?")
    await free_middle(page, 8 + OF_AN_ANSWER)
    await page.press(say("watch.tell_me"))
    await expect(page.button(say("watch.person_comes"))).to_be_visible()
    await free_middle(page)


# Of a message and a hint at once: which of them is seen, and where it begins, by what the message has to press
HINTS = """() => {
  const [notice, aim, action, check] =
    ["notice", "aim", "notice-action", "notice-check"].map((id) => document.getElementById(id));
  const seen = {};
  for (const [tone, press] of [["warn", false], ["warn", true], ["bad", true]]) {
    [notice.dataset.tone, aim.textContent] = [tone, "A little up"];
    notice.hidden = aim.hidden = false;
    [action.hidden, check.hidden] = [!press, tone !== "bad"];
    const shown = [notice, aim].filter((one) => one.checkVisibility());
    const { top } = document.getElementById("panel").getBoundingClientRect();
    seen[`${tone} ${press}`] = shown.map((one) => [one.id, one.getBoundingClientRect().top - top]);
  }
  return seen;
}"""


async def test_what_is_wrong_stands_beside_the_picture_one_hint_at_a_time(
    visit: Visit, builtin: Running
) -> None:
    """A message, and a hint of the guide; at the top of the sheet: the guide's, unless a message has something
    to press.
    """
    page = await started(visit, builtin.base_url)
    await page.show(mode="black")
    await expect(page.notice).to_be_visible()
    await free_middle(page)
    await page.show(mode="text:WAY OUT", textPx=80)
    await expect(page.notice).to_be_hidden()
    await page.press(say("guide.name"))
    await expect(page.find("#aim")).to_be_visible()
    await free_middle(page)

    await page.ask("What colour is this?")
    for size in SIZES:
        await page.resize(*size)
        seen = await page.evaluate(HINTS)
        assert [[id for id, _ in shown] for shown in seen.values()] == [
            ["aim"],
            ["notice"],
            ["notice"],
        ]
        assert len({top for shown in seen.values() for _, top in shown}) == 1, size


async def test_a_long_press_holds_the_picture(page: Visitor) -> None:
    """Another one lets it go; a finger that moves holds nothing."""
    mouse = page.page.mouse
    for state in ("page.picture_held", "page.live"):
        await mouse.move(195, 300)
        await mouse.down()
        await expect(page.state).to_have_text(say(state))
        await mouse.up()
    await mouse.down()
    await mouse.move(230, 300)
    await page.page.wait_for_timeout(700)
    await expect(page.state).to_have_text(say("page.live"))
    await mouse.up()


async def test_sliders_say_words(page: Visitor) -> None:
    """A screen reader says what is seen beside each, not its raw value."""
    await page.settings()
    said = await page.evaluate("""() => [...document.querySelectorAll("input[type=range]")]
      .filter((one) => one.checkVisibility()).map((one) => [one.getAttribute("aria-valuetext"), one.value])""")
    assert len(said) >= 2
    assert all(words and words != value for words, value in said)
    await page.button(say("page.done")).click()


async def test_what_is_on_shows_in_the_bar(page: Visitor, model: FakeOpenAI) -> None:
    """As one mark, whose cross ends it, as Escape does; a screen reader hears both, and the focus stays in the page."""
    mark, announced = page.find("#end-mode"), page.find("#announcer")
    await expect(mark).to_be_hidden()
    for key in ("Enter", "Escape"):
        # A model that is asked is silent meanwhile.
        model.behaviour = Behaviour.STALLS
        await page.press(say("chat.describe"))
        await expect(mark).to_have_attribute(
            "aria-label", say("page.end_mode", mode=say("chat.describe"))
        )
        await expect(announced).to_have_text(say("page.mode_on", mode=say("chat.describe")))
        model.behaviour = Behaviour.NORMAL
        await (mark if key == "Enter" else page.box).press(key)
        await expect(mark).to_be_hidden()
        await expect(announced).to_have_text(say("page.mode_off", mode=say("chat.describe")))
        await expect(page.find("#describe")).to_have_attribute("aria-pressed", "false")
        await expect(page.find("#more-open") if key == "Enter" else page.box).to_be_focused()


async def test_a_mode_that_is_on_at_once_is_announced(visit: Visit, builtin: Running) -> None:
    """Its button is pressed before its own press is over; so is the end by the same button."""
    page = await started(visit, builtin.base_url)
    for words in ("page.mode_on", "page.mode_off"):
        await page.press("#guide")
        await expect(page.find("#announcer")).to_have_text(say(words, mode=say("guide.name")))


async def test_a_mode_has_its_word_and_the_mark_is_of_what_began_last(
    visit: Visit, builtin: Running
) -> None:
    """The word beside the mark, where there is room for it and for what the empty box says; not while
    something is typed. A description and hints are of the live picture and end a held one; of several
    that go on, each gets its cross.
    """
    page = await started(visit, builtin.base_url)
    word = page.find("#mode")
    for mode in ("#guide", "#describe", "#notable", "#speak"):
        await page.press(mode)
        name = await page.find(f"{mode} b").text_content()
        for size in ((390, 844), (844, 390), (1280, 800)):
            await page.resize(*size)
            await expect(word).to_have_text(str(name))
            await expect(word).to_be_visible()
            whole = "one => one.scrollWidth <= one.clientWidth"
            assert await word.evaluate(whole), (mode, size)
            await page.comes(f"({_PLACEHOLDER})() <= 0", True)
        await page.resize(390, 844)
        await page.box.fill("What")
        await expect(word).to_be_hidden()
        await page.box.fill("")
        await page.resize(320, 568)
        await expect(word).to_be_hidden()
        await page.resize(390, 844)
        await page.find("#end-mode").click()
        await expect(page.find("#end-mode")).to_be_hidden()

    mark, held = page.find("#end-mode"), page.find("#hold")

    async def on(*modes: str) -> None:
        await expect(mark).to_have_attribute("aria-label", say("page.end_mode", mode=modes[-1]))
        await page.comes(
            "[...document.querySelectorAll('#more [aria-pressed=true] b')].map((one) => one.textContent).sort()",
            sorted(modes),
        )

    describe, guide = say("chat.describe"), say("guide.name")
    for mode in (describe, guide):
        await page.hold()
        await expect(held).to_have_attribute("aria-pressed", "true")
        await expect(mark).to_be_hidden()
        await page.press(mode)
        await on(mode)
        await expect(held).to_have_attribute("aria-pressed", "false")
    await expect(page.state).to_have_text(say("page.live"))
    await page.press("#speak")
    await on(say("chat.read_aloud"), guide)
    await page.press("#scan")
    await on(say("chat.read_aloud"), guide, say("scan.name"))
    await mark.click()
    await on(say("chat.read_aloud"), guide)
    await mark.click()
    await on(say("chat.read_aloud"))


async def test_the_same_answer_is_announced_again(page: Visitor) -> None:
    """A live region that keeps its words says nothing."""
    await page.ask("What is this?")
    region = page.find("#announcer")
    await expect(region).to_have_text("I see a cup.")
    before = await region.evaluate("one => one.textContent")
    await page.ask("What is this?")
    await page.comes(
        "before => document.querySelector('#announcer').textContent !== before", True, before
    )


async def test_three_questions_or_two_and_hold_stand_in_one_row(
    visit: Visit, builtin: Running
) -> None:
    """Three before the first answer, and two with hold after it; nothing is cut off, and the engine knows them."""
    page = await started(visit, builtin.base_url)
    row = page.find("#quick")
    asked, hold = row.locator("button[data-question]:visible"), page.find("#hold")

    async def fits(count: int) -> None:
        for width in (320, 390):
            await page.resize(width, 844)
            await expect(asked).to_have_count(count)
            hidden = "visually-hidden" in (await hold.get_attribute("class") or "")
            assert hidden == (count == 3)
            assert await row.evaluate("one => one.scrollWidth <= one.clientWidth"), width

    await fits(3)
    await page.hold()
    await fits(2)
    await page.hold()
    await fits(3)
    told = await asked.all_inner_texts()
    await page.ask("What is this?")
    await fits(2)
    # A look at the clock's print may have put them in another order.
    assert set(await asked.all_inner_texts()) == set(told[:2])
    for words in told[:2]:
        answer = (await page.tap(words))["text"]
        assert "I can't tell" not in answer
        assert "try “" not in answer or words != say("stage.what_is_this")


def questions(*names: str) -> list[str]:
    return [say(f"stage.{name}") for name in names]


async def test_the_questions_follow_what_is_in_front(visit: Visit) -> None:
    """Text, then nothing of note, a thing, a code; a model, which looks at nothing unasked, has the usual ones."""
    async with FakeOpenAI() as model:
        await model.close()
        async with running(engine="auto", vllm_base_url=model.base_url) as run:
            page = await started(visit, run.base_url, **CALM)
            row = page.find("#quick button[data-question]:visible")
            usual = questions("what_is_this", "read_this", "people")
            await page.show(mode="text:WAY OUT", textPx=80, clock=False)
            await expect(row).to_have_text(questions("read_this", "what_is_this", "people"))
            await page.show(mode=RED)
            await expect(row).to_have_text(usual)
            await page.show(mode=shown(COFFEE.read_bytes()))
            await expect(row).to_have_text(questions("what_is_this", "colour", "read_this"))
            assert "In the middle" in (await page.tap(say("stage.colour")))["text"]
            await page.show(mode=coded("SHELF 12"))
            await expect(row).to_have_count(2)
            await expect(row.first).to_have_text(say("stage.scan"))
            await model.start()
            await page.got('m.type === "ready" && m.engine === "vllm"', timeout=30)
            await expect(row).to_have_text(usual[:2])
            await page.leave()


async def test_a_key_finds_the_question_and_what_is_more(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The first one skips to the field; "more" comes behind its button, and takes the focus."""
    page = await visit(server.base_url)
    keys = page.page.keyboard
    await keys.press("Tab")
    skip = page.find("#skip")
    await expect(skip).to_be_focused()
    assert await page.find("#skip-box").evaluate("one => one.offsetWidth") > 60
    await keys.press("Enter")
    await expect(page.box).to_be_focused()
    await page.start()
    await page.box.focus()
    await keys.press("Shift+Tab")
    opener = page.find("#more-open")
    await expect(opener).to_be_focused()
    follows = "one => Boolean(one.compareDocumentPosition(document.querySelector('#more')) & 4)"
    assert await opener.evaluate(follows)
    await keys.press("Enter")
    await expect(page.find("#watch")).to_be_focused()
    above = "document.querySelector('#more').getBoundingClientRect().bottom <= document.querySelector('#bar').getBoundingClientRect().top"
    assert await page.evaluate(above)
    await page.find("#guide").focus()
    await keys.press("Enter")
    await expect(page.find("#aim")).to_be_visible()
    await expect(opener).to_be_focused()


async def test_states_are_announced_one_at_a_time(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The newest that lasts, with two seconds between two."""
    page = await visit(server.base_url)
    await page.evaluate("""() => {
      window.__heard = [];
      const region = document.querySelector("#announcer");
      new MutationObserver(() => window.__heard.push([region.textContent.trim(), performance.now()]))
        .observe(region, { childList: true, characterData: true, subtree: true });
    }""")
    await page.start()
    for _ in range(3):
        await page.hold()
    await page.comes(
        "window.__heard.map(([words]) => words)", [say("page.live"), say("page.picture_held")]
    )
    await page.press(say("chat.camera_off"))
    await page.comes("window.__heard.at(-1)[0]", say("page.camera_off"))
    times = [at for _, at in await page.evaluate("window.__heard")]
    assert all(after - before >= 1990 for before, after in pairwise(times))


async def test_a_low_window_has_the_settings_done_and_the_menu_its_focus_back(
    visit: Visit, builtin: Running
) -> None:
    """A closed dialog gives it back, also the second time, when its part is here already."""
    page = await visit(builtin.base_url, viewport=(844, 390))
    await page.press(say("settings.menu"))
    done = page.find("#settings-close")
    await expect(done).to_be_in_viewport(ratio=0.99)
    first = page.find("#settings select").first
    box, row = await bounds(first), await bounds(done)
    assert box["y"] + box["height"] <= row["y"]
    await page.page.keyboard.press("Escape")
    await expect(page.find("#settings")).to_be_hidden()

    menu = page.button(say("page.menu"))
    for _ in range(2):
        await page.press(say("settings.menu"))
        await expect(page.find("#settings")).to_be_visible()
        await page.page.keyboard.press("Escape")
        await expect(menu).to_be_focused()


async def test_simple_mode_says_what_it_can_do_and_how_to_get_more(
    visit: Visit, builtin: Running
) -> None:
    page = await visit(builtin.base_url)
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.start()
    await expect(page.find("#simple-label")).to_be_visible()
    # Nothing was lost: no line in the chat tells of it.
    await expect(page.find("#log .note")).to_have_count(0)
    await page.find("#state").click()
    await page.button(say("stage.simple_more")).click()
    dialog = page.find("#simple-dialog")
    # Whoever asks first is the one to be asked; commands are for who can type them.
    await expect(dialog).to_contain_text(say("simple.cannot"))
    await expect(dialog.locator("li").first).to_be_hidden()
    await dialog.locator("summary").click()
    await expect(dialog.locator("li")).to_have_count(3)
    await expect(dialog.locator("li").first).to_contain_text(
        say("simple.download", size="2\u00a0GB", time="2\u00a0min")
    )
    await dialog.get_by_role("button", name=say("page.copy")).first.click()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == "bash scripts/run.sh --model"
    await dialog.get_by_role("button", name=say("page.done")).click()
    await expect(dialog).to_be_hidden()
