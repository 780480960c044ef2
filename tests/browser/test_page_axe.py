"""The page in every state against WCAG 2.2 AA: by axe-core, by the true size of what can be hit, by
the keyboard, and with a system's own colours.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.fixtures import PHONE
from tests.browser.test_page_languages import live
from tests.browser.test_page_look import _WIDE, LONG
from tests.browser.visitor import TOKEN, Visit, Visitor, started
from tests.features.grants import test_page_programs
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

# From tests/peers/package.json
AXE = Path(__file__).parents[1] / "peers/node_modules/axe-core/axe.min.js"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not AXE.is_file(), reason="axe-core is not installed (scripts/test.sh installs it)"
    ),
    pytest.mark.asyncio(loop_scope="session"),
]

# Rule, element and its fault. The size of targets is measured below: axe knows nothing of what a
# pseudo-element adds.
_RUN = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await axe.run(document, {
    runOnly: { type: "tag", values: tags },
    rules: { "target-size": { enabled: false } },
    resultTypes: ["violations"],
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`));
}"""
# Animations and transitions are over: colours on their way have no contrast of their own.
_STILL = """() => document.getAnimations().every((one) =>
  one.playState !== "running" || one.effect.getComputedTiming().iterations === Infinity)"""
# Controls whose middle square of 24 px is hit by something else (WCAG 2.2, 2.5.8). A label belongs
# to its control.
_SMALL = """() => {
  // Elements below an open dialog or the open state are reached by closing it.
  const top = [...document.querySelectorAll("dialog[open], :is(#facts, #menu, #more):not([hidden])")].at(-1) ?? document;
  const found = [];
  for (const one of top.querySelectorAll("button, summary, input, textarea, a[href], select")) {
    if (!one.checkVisibility({ visibilityProperty: true }) || one.closest(".visually-hidden")) continue;
    one.scrollIntoView({ block: "center", inline: "center" });
    const { left, top, width, height } = one.getBoundingClientRect();
    const [x, y] = [left + width / 2, top + height / 2];
    const mine = (at) => at && (one.contains(at) || at.contains(one) && at.matches("label, summary")
      || [...(one.labels ?? [])].some((label) => label.contains(at)));
    const points = [[0, 0], [-11.5, 0], [11.5, 0], [0, -11.5], [0, 11.5]];
    const away = points.filter(([dx, dy]) => !mine(document.elementFromPoint(x + dx, y + dy)));
    if (away.length > 0) found.push(`${one.id || one.className || one.textContent.trim()}: ${JSON.stringify(away)}`);
  }
  return found;
}"""
# All that the Tab key should reach: of a group of radio buttons the chosen one, or the first.
_REACHABLE = """() => {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
  const groups = new Set();
  for (const one of document.querySelectorAll("[data-reach]")) delete one.dataset.reach;
  return [...top.querySelectorAll("button, summary, input, textarea, a[href], select, [tabindex='0']")].filter((one) => {
    if (!one.checkVisibility({ visibilityProperty: true }) || one.disabled || one.tabIndex < 0) return false;
    if (one.type !== "radio") return true;
    if (groups.has(one.name)) return false;
    groups.add(one.name);
    return true;
  }).map((one, at) => (one.dataset.reach = String(at)));
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(model_server: FakeOpenAI) -> AsyncIterator[Running]:
    """A server with a model and an operator."""
    async with with_model(model_server, operator_token=TOKEN, max_sessions=1000) as one:
        yield one


# A picture that came from the server
BLOB = re.compile("^blob:")


class Checked:
    """A page and what is wrong with it, by the state it was in."""

    def __init__(self, page: Visitor) -> None:
        self.page = page
        self.wrong: list[str] = []

    async def look(self, state: str) -> None:
        found = self.page.page
        if not await found.evaluate("() => 'axe' in window"):
            await found.evaluate(AXE.read_text(encoding="utf-8"))
        await found.wait_for_function(_STILL)
        # The elements of a state may come some pictures later.
        for _ in range(3):
            violations = await found.evaluate(_RUN)
            small = await found.evaluate(_SMALL)
            if not violations and not small:
                return
            await found.wait_for_timeout(300)
        self.wrong += [f"{state}: {violation}" for violation in violations]
        self.wrong += [f"{state}: small: {one}" for one in small]


async def in_an_answers_dialogs(page: Visitor, look: Callable[[str], Awaitable[None]]) -> None:
    """Look at what the model saw, beside another answer's picture, at saving, and at a link."""
    found = page.page
    await found.locator("#quick-what").click()
    await expect(page.turns).to_have_count(2)
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await page.turns.last.locator(".shot").click()
    dialog = found.locator("#seen-dialog")
    await expect(dialog.locator("img")).to_have_attribute("src", BLOB)
    await look("what the model saw")
    await dialog.locator("select").select_option(index=1)
    await expect(dialog.locator("img").nth(1)).to_have_attribute("src", BLOB)
    await look("two pictures")
    await found.keyboard.press("Escape")
    await found.locator("#keep").evaluate("button => button.click()")
    await expect(found.locator("#keep-dialog")).to_be_visible()
    await look("saving")
    await found.keyboard.press("Escape")
    await page.turns.last.locator(".text button").first.click()
    await expect(found.locator("#link-dialog")).to_be_visible()
    await look("link")
    await found.keyboard.press("Escape")


async def in_each_state(
    page: Visitor, model: FakeOpenAI, look: Callable[[str], Awaitable[None]]
) -> None:
    """Look at a page as it was opened, with a camera, answers, an answer on its way, and dialogs."""
    await look("start")
    await live(page)
    await look("live")
    model.answer_for = lambda _body, _jpeg: [LONG]
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await look("answered")
    await in_an_answers_dialogs(page, look)
    model.behaviour = Behaviour.STALLS
    await page.send("And this?")
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    # Words that are typed meanwhile can be sent: two buttons stand beside them.
    await page.box.fill("And that?")
    await look("answering")
    await page.box.fill("")
    await page.find("#cancel").click()
    model.behaviour = Behaviour.DIES
    await page.end((await page.send("And now?"))["id"])
    await look("error")
    model.behaviour = Behaviour.NORMAL
    await page.find("#state").click()
    await expect(page.find("#fact-engine")).not_to_be_empty()
    await page.find("#facts summary").click()
    await look("state")
    await page.page.keyboard.press("Escape")
    await page.settings()
    await look("settings")
    await page.page.keyboard.press("Escape")
    await test_page_programs.in_each_state(page, look)


@pytest.mark.slow
async def test_no_state_has_a_violation(visit: Visit, run: Running, model: FakeOpenAI) -> None:
    """Dark on a desktop and light on a phone: also a long answer, watches, dialogs, the doctor and the
    operator's panel.
    """
    page = await visit(run.base_url)
    found, checked = page.page, Checked(page)

    looks: list[tuple[Literal["light", "dark"], tuple[int, int]]]
    looks = [("dark", (1280, 800)), ("light", PHONE)]

    async def look(state: str) -> None:
        for scheme, size in looks:
            await found.emulate_media(color_scheme=scheme)
            await page.resize(*size)
            await checked.look(f"{state}, {scheme}")
        # The next state is first looked at as this one was last.
        looks.reverse()

    async def shows(*ids: str, hidden: bool = False) -> None:
        await found.evaluate(
            "([ids, hidden]) => { for (const id of ids) document.getElementById(id).hidden = hidden; }",
            [ids, hidden],
        )

    await shows("kept")
    await look("opened without the server")
    await shows("kept", hidden=True)
    await in_each_state(page, model, look)
    for name in ("menu", "more"):
        await page.find(f"#{name}-open").click()
        await look(name)
        await found.keyboard.press("Escape")
    await page.figures(page.turns.first)
    await look("answer with details")
    model.answer_for = lambda _body, _jpeg: [LONG * 8]
    await page.ask("And what else?")
    await look("long answer")
    await page.box.fill("Tell me when you see red.")
    await page.button(say("chat.watch_this")).click()
    await found.locator("#watches > summary").click()
    await expect(found.locator("#watches-list li")).to_have_count(1)
    await look("watches")
    await found.locator("#watches > summary").click()
    await shows("update", "update-keep")
    await look("a newer page")
    await shows("update", hidden=True)
    await page.bring("core/dialogs/dialogs.html", "core/dialogs/dialogs.css")
    await found.evaluate(
        "document.getElementById('missing-title').textContent = 'It did not arrive'"
    )
    for name in ("camera", "code", "simple", "disclosure", "trust", "missing"):
        dialog = found.locator(f"#{name}-dialog")
        await dialog.evaluate("one => one.showModal()")
        await look(name)
        await dialog.evaluate("one => one.close()")
    await page.bring("core/dialogs/dialogs.html", "features/voice_in/voice.css")
    await shows("talking", "talking-more")
    await look("voice")
    await shows("talking", hidden=True)
    await page.press(say("page.check_connection"))
    await expect(page.button(say("doctor.again"))).to_be_enabled(timeout=30_000)
    await look("doctor")
    await found.keyboard.press("Escape")
    await found.evaluate("location.hash = 'operator'")
    await expect(found.get_by_label("Operator token")).to_be_visible()
    await look("operator's token")
    await page.operate()
    await expect(found.locator("#operator-panel")).to_be_visible()
    await look("operator's panel")
    assert not checked.wrong, "\n".join(checked.wrong)


async def test_simple_mode_has_no_violation(visit: Visit, builtin: Running) -> None:
    """Without a model, with the built-in engine's answer; guided."""
    page = await visit(builtin.base_url)
    checked = Checked(page)
    await page.start()
    await page.press(say("guide.name"))
    await page.ask("What colour is this?")
    await checked.look("basic mode")
    assert not checked.wrong, "\n".join(checked.wrong)


async def test_a_further_cameras_page_has_the_persons_theme(visit: Visit, server: Running) -> None:
    """The device's, or the one that is chosen in the settings; none has a violation."""
    light, dark = "rgb(243, 240, 232)", "rgb(12, 17, 16)"
    page = await visit(f"{server.base_url}/client/features/cameras/join/camera.html")
    checked = Checked(page)
    themes: tuple[tuple[str, Literal["light", "dark"], str], ...] = (
        ("system", "light", light),
        ("system", "dark", dark),
        ("light", "dark", light),
        ("dark", "light", dark),
    )
    for chosen, device, ground in themes:
        await page.evaluate(
            "kept => localStorage.setItem('qwen-camera-settings', kept)",
            json.dumps({"theme": chosen}),
        )
        await page.page.emulate_media(color_scheme=device)
        await page.page.reload()
        await expect(page.find("html")).to_have_attribute("data-theme", chosen)
        await expect(page.find("body")).to_have_css("background-color", ground)
        await checked.look(f"join {chosen} {device}")
        await page.evaluate(
            "for (const one of document.querySelectorAll('[hidden]')) one.hidden = false"
        )
        await checked.look(f"join {chosen} {device}, all of it")
    assert not checked.wrong, "\n".join(checked.wrong)


async def test_the_tab_key_reaches_everything(
    visit: Visit, run: Running, model: FakeOpenAI
) -> None:
    """With an answer and its details, with the state open, in the settings: each control that can
    be seen, with a ring, and without a trap.
    """
    page = await visit(run.base_url)
    keys = page.page.keyboard

    async def missed() -> list[str]:
        wanted = set(await page.evaluate(_REACHABLE))
        assert len(wanted) >= 3
        reached: set[str] = set()
        for _ in range(2 * len(wanted) + 20):
            await keys.press("Tab")
            focus = await page.evaluate("""() => {
              const { dataset, matches } = document.activeElement;
              return [dataset.reach ?? null, document.activeElement.matches(":focus-visible")];
            }""")
            if focus[0] is not None:
                assert focus[1], "no ring"
                reached.add(focus[0])
            if reached == wanted:
                return []
        # The way to the newest answer comes and goes as the focus scrolls the chat; it is tried on its own.
        left = [page.find(f"[data-reach='{one}']:not(#newest)") for one in sorted(wanted - reached)]
        return [
            await one.first.evaluate("one => one.outerHTML")
            for one in left
            if await one.count() and await one.first.is_visible()
        ]

    assert await missed() == []
    await page.start()
    await page.ask("What is this?")
    await page.figures()
    assert await missed() == []
    await page.state.click()
    await expect(page.find("#facts")).to_be_visible()
    assert await missed() == []
    await keys.press("Escape")
    await page.settings()
    assert await missed() == []
    await keys.press("Escape")
    await expect(page.button(say("page.menu"))).to_be_focused()


async def test_the_settings_fit_when_zoomed(visit: Visit, builtin: Running) -> None:
    """Of 1280×800 to 200 % and of 1280×1024 to 400 %: nothing sticks out, and each control can be
    scrolled to and hit; with letters of twice the size, too.
    """
    page = await visit(builtin.base_url)
    await page.settings()
    done = page.button(say("page.done"))
    for size in ((640, 400), (320, 256)):
        await page.resize(*size)
        for letters in ("100", "200"):
            await page.find("#settings [name=size]").select_option(letters)
            await page.comes(f"({_WIDE})().out", [])
            await page.comes(_SMALL, [])
            await done.scroll_into_view_if_needed()
            await expect(done).to_be_in_viewport(ratio=0.9)


async def test_a_systems_own_colours(visit: Visit, run: Running, model: FakeOpenAI) -> None:
    """With forced colours a button has an edge, and one that is pressed differs from one that is
    not by more than a colour that is taken away.
    """
    page = await started(visit, run.base_url, context_options={"forced_colors": "active"})
    await page.ask("What is this?")
    looks: dict[str, Any] = await page.evaluate("""() => {
      const of = (one) => { const { borderTopWidth, borderTopColor, backgroundColor, outlineStyle, color } = getComputedStyle(one);
        return { width: parseFloat(borderTopWidth), edge: borderTopColor, look: [backgroundColor, outlineStyle, color].join() }; };
      const hold = document.querySelector("#hold");
      const plain = of(hold);
      hold.setAttribute("aria-pressed", "true");
      return { plain, pressed: of(hold), start: of(document.querySelector("#settings-open")) };
    }""")
    for name in ("plain", "start"):
        assert looks[name]["width"] >= 1
        assert looks[name]["edge"] not in ("rgba(0, 0, 0, 0)", "transparent")
    assert looks["pressed"]["look"] != looks["plain"]["look"]
