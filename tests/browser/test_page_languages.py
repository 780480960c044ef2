"""The page in other languages than English: all of it, from right to left too, within its width."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.visitor import TOKEN, Visit, Visitor, started
from tests.support.clients import page_of
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.parts import at_night
from tests.support.running import Running, running
from tests.support.words import say, table

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


# Words on the page without the marks of the pseudo-language: texts and attributes that are shown.
# Not those of the model, of the person, of the settings' lists of cameras and languages.
_LEFTOVER = r"""(root) => {
  root ??= "#app";
  const foreign = "[translate=no], #announcer, .asked, .answer .text, #language, .about dd, #fact-engine, option[value]:not([value=''])";
  const word = /\p{L}{3,}/u;
  const marked = /⟦[^⟦⟧]*⟧/;
  const bare = (words) => {
    while (marked.test(words)) words = words.replace(marked, " ");
    return words;
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector(root), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement: element, data } = walker.currentNode;
    if (element.closest(foreign) || !element.checkVisibility()) continue;
    if (word.test(bare(data).replace(/kbit\/s|fake-vl|vLLM|MB/g, ""))) found.push(data.trim());
  }
  for (const element of document.querySelectorAll(`${root} *`))
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
      const words = element.getAttribute(name) ?? "";
      if (!element.closest(foreign) && element.checkVisibility() && word.test(bare(words))) found.push(words);
    }
  return found;
}"""

# Buttons whose words need more room than they have, and how far the page is wider than its window
_OVERFLOW = """() => [
  Math.max(0, document.documentElement.scrollWidth - innerWidth),
  [...document.querySelectorAll("button, select, summary, dialog[open] *")]
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 3 && one.clientWidth > 0
      && !["PRE", "INPUT"].includes(one.tagName) && getComputedStyle(one).overflow !== "hidden"
      && getComputedStyle(one).display !== "inline" && one.id !== "sheet-handle")
    .map((one) => one.id || one.textContent.trim()),
]"""


def _answering(words: dict[str, Any]) -> Callable[[Route], Awaitable[None]]:
    async def answer(route: Route) -> None:
        await route.fulfill(json=words)

    return answer


def pseudo(code: str) -> Callable[[Page], Awaitable[None]]:
    """In place of a language's words: the English ones between marks."""

    async def prepare(page: Page) -> None:
        marked = {
            id: f"⟦{words}⟧" if isinstance(words, str) else {"other": f"⟦{words['other']}⟧"}
            for id, words in table().items()
        }
        await page.route(f"**/client/languages/{code}.json", _answering(marked))

    return prepare


async def spoken(visit: Visit, server: Running, code: str, **options: Any) -> Visitor:
    """A page of a browser in this language, whose words have arrived."""
    page = await visit(server.base_url, context_options={"locale": code}, **options)
    await expect(page.find("#start")).not_to_have_text(say("page.start"))
    return page


async def live(page: Visitor) -> None:
    """Start the camera, whatever its button says."""
    await page.find("#start").click()
    await expect(page.find("#app")).to_have_attribute("data-tone", "ok", timeout=30_000)


# True where a size reads from left to right: its width stands before its height.
_IN_ORDER = """() => {
  const ordered = (words) => {
    const at = words.data.indexOf("×");
    const left = (from) => {
      const range = document.createRange();
      range.setStart(words, from);
      range.setEnd(words, from + 1);
      return range.getBoundingClientRect().left;
    };
    return left(at - 1) < left(at) && left(at) < left(at + 1);
  };
  const sizes = [...document.querySelectorAll("#fact-sending, .about dd")]
    .map((one) => one.firstChild)
    .filter((words) => words?.data?.includes("×"));
  return sizes.map(ordered);
}"""
# The share of the picture's height that the state leaves free, and its lowest button
_BESIDE = """() => {
  const box = (one) => one.getBoundingClientRect();
  const [facts, stage] = ["#facts", "#stage"].map((one) => box(document.querySelector(one)));
  const buttons = (where) => [...document.querySelectorAll(`${where} button`)].filter((one) => one.checkVisibility()).map(box);
  return [
    1 - facts.height / stage.height,
    Math.min(...buttons("#facts").map(({ height }) => height)),
  ];
}"""


async def test_no_english_is_left_over(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """Before and with the camera, with an answer, its details, the state and the settings opened:
    all that can be read or heard went through the table.
    """
    page = await spoken(visit, server, "de", prepare=pseudo("de"))
    assert await page.evaluate(_LEFTOVER) == []
    await live(page)
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await expect(page.turns.last.locator(".asked")).to_contain_text(
        f"⟦{say('stage.what_is_this')}⟧"
    )
    await page.figures()
    await page.find("#state").click()
    await expect(page.find("#fact-engine")).not_to_be_empty()
    assert await page.evaluate(_LEFTOVER) == []
    # Elements that were added later, and words that their part puts there
    await page.settings()
    assert await page.evaluate(_LEFTOVER, "#settings") == []
    await page.page.keyboard.press("Escape")
    await page.press("#cameras-open")
    await expect(page.find("#several-phone")).to_be_visible()
    assert await page.evaluate(_LEFTOVER, "#camera-dialog") == []


async def test_operators_read_english(visit: Visit) -> None:
    """From left to right on an Arabic page; words of the page are not among theirs."""
    async with (
        running(operator_token=TOKEN, rate_limit_per_minute=0) as server,
        page_of(server),
    ):
        page = await visit(f"{server.base_url}/#operator", context_options={"locale": "ar"})
        await page.find("#operator-token").fill(TOKEN)
        await page.find("#operator-token").press("Enter")
        await expect(page.find("html")).to_have_attribute("dir", "rtl")
        dialog = page.find("#operator-dialog")
        await expect(page.find("#engine-machine")).to_contain_text("This machine: ")
        await expect(page.find("#people-sessions small").first).to_contain_text(
            re.compile(r"for \d+\s(s|min)")
        )
        # Until the server has examined its machine
        await expect(page.find("#engine-models input")).not_to_have_count(1)
        page.expect("400")
        await page.find("#speech-folder").fill("/nowhere/whisper")
        await page.find("#speech-folder").press("Enter")
        await expect(page.find("#speech-problem")).to_contain_text("config.json")
        await expect(dialog).to_have_css("direction", "ltr")
        labels = "one => [...one.querySelectorAll('[aria-label], [placeholder], [title]')].map((one) => one.ariaLabel + one.placeholder + one.title).join()"
        words = await dialog.inner_text() + await dialog.evaluate(labels)
        assert re.findall(r"[\u0600-\u06ff]+", words) == []
        await page.leave()


@pytest.mark.parametrize("code", ["ar", *at_night("de", "ja", "ru", "fr")])
async def test_words_fit_a_phone(
    visit: Visit, server: Running, model: FakeOpenAI, code: str
) -> None:
    """At 390 px nothing is wider than the window, and no button narrower than its words; Arabic
    runs from right to left. Beside the state the camera has a third of its height at least.
    """
    page = await spoken(visit, server, code)
    html = page.find("html")
    await expect(html).to_have_attribute("lang", code)
    await expect(html).to_have_attribute("dir", "rtl" if code == "ar" else "ltr")
    assert await page.evaluate(_OVERFLOW) == [0, []]
    await live(page)
    await page.find("#state").click()
    await expect(page.find("#fact-sending")).to_contain_text("×")
    seen, smallest = await page.evaluate(_BESIDE)
    assert seen >= 1 / 3
    assert smallest >= 44
    await page.page.keyboard.press("Escape")
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    assert await page.evaluate(_OVERFLOW) == [0, []]
    await page.find("#state").click()
    await expect(page.find("#facts")).to_be_visible()
    assert await page.evaluate(_OVERFLOW) == [0, []]
    await expect(page.find("#fact-sending")).to_contain_text("×")
    # The picture that is sent, the camera's, and the engine's
    await page.turns.last.locator(".evidence").evaluate(
        "one => (one.open = one.querySelector('.figures').open = true)"
    )
    assert await page.evaluate(_IN_ORDER) == [True] * 3
    await page.settings()
    assert await page.evaluate(_OVERFLOW) == [0, []]


async def test_another_language_keeps_the_chat(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Chosen on the page, it holds at once, for answers too, and after a reload; nothing is lost."""
    page = await started(visit, server.base_url)
    await page.ask("What is this?")
    await page.press("#settings-open")
    since = await page.now()
    await page.find("#language").select_option("uk")
    await expect(page.find("html")).to_have_attribute("lang", "uk")
    await expect(page.find("#settings-silence-value")).not_to_contain_text("seconds")
    assert (await page.sent("settings", since=since))["language"] == "uk"
    await expect(page.find("#stop")).to_have_text(say("chat.camera_off", language="uk"))
    await expect(page.turns).to_have_count(1)
    await expect(page.turns.last.locator(".copy")).to_have_text(
        re.compile(say("page.copy", language="uk"))
    )
    await expect(page.turns.last.locator(".ways button").first).to_have_text(
        say("page.way_now", language="uk")
    )
    await page.page.reload()
    await expect(page.find("#start")).to_have_text(say("page.start", language="uk"))
    await live(page)
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    assert "in the language with the tag uk." in model.last.texts[0][1]


async def test_an_answers_end_is_in_the_language_of_now(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Why an answer failed follows the page's language: the server's words and the page's own."""
    page = await spoken(visit, server, "de")
    await live(page)
    model.behaviour = Behaviour.DIES
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "failed", timeout=30_000)
    model.behaviour = Behaviour.STALLS
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    await page.press("#stop")
    remarks = page.turns.locator(".remark")
    await expect(remarks.last).to_have_text(say("page.stopped", language="de"))
    broken = await remarks.first.inner_text()
    (id,) = [id for id, said in table("de").items() if said == broken]
    for code in ("uk", "en"):
        await page.evaluate(
            """async code => {
              const { use } = await import("/client/core/words/text.js");
              use(code, code === "en" ? {} : await (await fetch(`/client/languages/${code}.json`)).json());
            }""",
            code,
        )
        for remark, words in ((remarks.first, id), (remarks.last, "page.stopped")):
            await expect(remark).to_have_text(say(words, language=code))
    await expect(remarks.first).to_have_attribute("dir", "auto")


async def test_descriptions_are_in_the_pages_language(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Nobody's words decide it: the page's do, those of the moment; the system text stays the same."""
    page = await spoken(visit, server, "ar")
    await live(page)
    await page.find("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    system = model.last.texts[0]
    await page.press("#describe")
    await page.got('m.type === "response" && m.kind === "describe"')
    assert model.last.texts[0] == system
    assert model.last.texts[-1][1].endswith("Write it in the language with the tag ar.")
