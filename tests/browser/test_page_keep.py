"""Keeping a conversation: the file that is saved, and what is deleted here and at the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.async_api import expect

from tests.browser.visitor import Visit, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_conversation_is_saved_and_deleted(
    visit: Visit, server: Running, model: FakeOpenAI, tmp_path: Path
) -> None:
    """The file has words and pictures and does nothing; a deleted answer is gone from the page, the
    history and the kept pictures; deleting all needs a second tap, and leaves nothing.
    """
    page = await visit(server.base_url)
    # The browser's own dialog cannot be driven; without it the file is a download.
    await page.evaluate("delete window.showSaveFilePicker")
    await page.start()
    model.answer_for = lambda _body, _jpeg: ["It is <b>red</b>."]
    first = await page.ask("What colour is it?")
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    await page.ask("What is this?")

    dialog = page.find("#keep-dialog")
    for format, ending in (("html", ".html"), ("json", ".json")):
        if not await dialog.is_visible():
            await page.press("#keep")
        await dialog.locator(f'input[value="{format}"]').check()
        async with page.page.expect_download() as got:
            await dialog.get_by_role("button", name=say("answer.save"), exact=True).click()
        await expect(dialog.get_by_role("status")).to_have_text(say("answer.saved"))
        download = await got.value
        assert download.suggested_filename.endswith(ending)
        await download.save_as(tmp_path / f"chat{ending}")
    html = (tmp_path / "chat.html").read_text(encoding="utf-8")
    assert "It is &#60;b&#62;red&#60;/b&#62;." in html
    assert "A <strong>cup</strong>." in html
    assert html.count('src="data:image/jpeg;base64,') == 2
    turns = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))["turns"]
    assert [turn["question"] for turn in turns] == ["What colour is it?", "What is this?"]
    await dialog.get_by_role("button", name=say("page.done")).click()

    session = server.program.sessions.list_all()[-1]
    assert len(session.sent_pictures) == 2
    await page.points(page.turns.nth(0))
    await page.turns.nth(0).locator(".delete").click()
    await expect(page.turns).to_have_count(1)
    await page.sent("delete_answer")
    await page.ask("And now?")
    texts = [text for role, text in model.last.texts if role != "system"]
    assert not [text for text in texts if "colour" in text or "red" in text]
    assert [text for text in texts if "cup" in text]
    assert session.sent_pictures.get(first["frame"]["picture"]) is None

    await page.press("#keep")
    # One tap asks; whoever goes elsewhere has deleted nothing.
    every, sure = (
        dialog.get_by_role("button", name=name)
        for name in (say("answer.delete_all"), say("answer.really_delete"))
    )
    # What saves has the focus; what deletes looks like neither of the others.
    saves = dialog.get_by_role("button", name=say("answer.save"), exact=True)
    await expect(saves).to_be_focused()
    colour = "one => getComputedStyle(one).color"
    later = dialog.get_by_role("button", name=say("page.not_now"))
    assert await every.evaluate(colour) != await later.evaluate(colour)
    await every.dblclick()
    await expect(dialog.get_by_role("status")).to_contain_text(say("answer.press_again"))
    await expect(sure).to_be_focused()
    await page.page.keyboard.press("Tab")
    await expect(every).to_be_visible()
    await expect(dialog.get_by_role("status")).to_have_text("")
    await expect(page.turns).to_have_count(2)
    await every.click()
    await sure.click()
    await expect(page.turns).to_have_count(0)
    await page.ask("Still there?")
    texts = [text for role, text in model.last.texts if role != "system"]
    assert not [text for text in texts if "cup" in text]
    assert len(session.sent_pictures) == 1


# A browser that shares: it writes down what it was given.
_SHARES = """() => {
  window.__shared = [];
  navigator.canShare = () => true;
  navigator.share = async ({ text, files = [] }) => {
    window.__shared.push([text, ...await Promise.all(files.map(async (file) => [file.type, file.size]))]);
  };
}"""
# A browser that asks where a file goes: it keeps what is written, or nothing when that is called off.
_PLACES = """() => {
  window.__written = [];
  window.__off = false;
  window.showSaveFilePicker = async ({ suggestedName }) => {
    if (window.__off) throw new DOMException("", "AbortError");
    const write = async (blob) => window.__written.push([suggestedName, await blob.text()]);
    return { createWritable: async () => ({ write, close: async () => {} }) };
  };
}"""


async def test_an_answer_is_shared_and_saved_where_the_person_says(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Shared are question, answer without marks, and the very picture that the model got. The
    browser's own dialog chooses a file's place; a person who cancels it gets no file and no error.
    """
    page = await started(visit, server.base_url, scripts=[_SHARES, _PLACES])
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    response = await page.ask("What is this?")
    # The part that shares is there.
    await expect(page.turns.last.locator("strong")).to_have_text("cup")
    await page.points()
    await page.turns.last.get_by_role("button", name=say("chat.share"), exact=True).click()
    await page.page.wait_for_function("() => window.__shared.length === 1")
    session = server.program.sessions.list_all()[-1]
    picture = session.sent_pictures.get(response["frame"]["picture"])
    assert picture is not None
    assert picture.jpeg is not None
    assert await page.evaluate("window.__shared[0]") == [
        "What is this?\n\nA cup.",
        ["image/jpeg", len(picture.jpeg)],
    ]
    await expect(page.turns.last.locator(".save")).to_be_hidden()

    await page.press("#keep")
    dialog = page.find("#keep-dialog")
    await dialog.locator('input[value="markdown"]').check()
    save = dialog.get_by_role("button", name=say("answer.save"), exact=True)
    await page.evaluate("window.__off = true")
    await save.click()
    await page.evaluate("window.__off = false")
    await expect(dialog.get_by_role("status")).to_have_text("")
    await save.click()
    await expect(dialog.get_by_role("status")).to_have_text(say("answer.saved"))
    [[name, text]] = await page.evaluate("window.__written")
    assert name.endswith(".md")
    assert "## What is this?\n\nA **cup**.\n" in text


async def test_where_nothing_can_be_shared_an_answer_is_saved(
    visit: Visit, server: Running, model: FakeOpenAI, tmp_path: Path
) -> None:
    """As a file of its own with its words and its picture, and nothing of the other answers."""
    page = await started(
        visit,
        server.base_url,
        scripts=["delete Navigator.prototype.share; delete window.showSaveFilePicker;"],
    )
    await page.ask("What colour is it?")
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    await page.ask("What is this?")
    await expect(page.turns.last.locator(".share")).to_be_hidden()
    await page.points()
    async with page.page.expect_download() as got:
        await page.turns.last.locator(".save").click()
    await (await got.value).save_as(tmp_path / "answer.html")
    html = (tmp_path / "answer.html").read_text(encoding="utf-8")
    assert "A <strong>cup</strong>." in html
    assert "What colour" not in html
    assert html.count('src="data:image/jpeg;base64,') == 1
    await expect(page.find("#announcer")).to_contain_text(say("answer.saved"))


# What a scene, a model or a program can have in its words
_HOSTILE = """<script>__hit()</script><img src=http://{at}/1.png onerror=__hit()><svg onload=__hit()>
[a](javascript:__hit()) ![b](http://{at}/2.png) <http://{at}/3> http://{at}/4 www.{at}/5
[c]: http://{at}/6
</section></title></style><base href=http://{at}/><meta http-equiv=refresh content=0;url=http://{at}/7>
" onload="__hit()" style="background:url(http://{at}/8)" `</code><img src=//{at}/9>` ‮⁦\0<!--

| <img src=//{at}/10> | `![d](//{at}/11)` |
|---|---|
| **![e](//{at}/12)** | ~~<b>~~ |

- ![f](//{at}/13)
> <iframe src=//{at}/14>

```
```` <img src=//{at}/15>
"""

# The files of a conversation in which every word is the given one
_FILES = """async (words) => {
  const { fileOf } = await import("/client/core/answer/keep.js");
  const turn = { kind: "chat", question: words, text: words, thoughts: words, problem: words, earlier: [], frame: null,
    response: { engine: words, model: words, timings: { total_ms: 1 }, usage: {} } };
  const kept = [true, false].flatMap((marked) => [turn, { ...turn, earlier: [{ at: 1, text: words }] }].map((turn) => (
    { turn, picture: words, marked, program: marked ? undefined : { name: words, at: 1 } })));
  return ["html", "markdown", "json"].map((format) => fileOf(format, kept, new Date()));
}"""


@pytest.mark.parametrize(
    ("words", "direction"),
    [("x" * 200, "ltr"), ("هل الباب مفتوح؟", "rtl")],
)
async def test_a_saved_file_fits_its_window_and_the_direction_of_its_words(
    visit: Visit, server: Running, tmp_path: Path, words: str, direction: str
) -> None:
    page = await visit(server.base_url)
    html, *_ = await page.evaluate(_FILES, words)
    file = tmp_path / "chat.html"
    file.write_text(html, encoding="utf-8")
    other = await page.page.context.new_page()
    await other.set_viewport_size({"width": 794, "height": 600})
    await other.goto(file.as_uri())
    assert await other.evaluate("document.documentElement.scrollWidth") == 794
    for name in ("h2", ".text p"):
        element = other.locator(name).first
        found = await element.evaluate("one => getComputedStyle(one).direction")
        assert found == direction
    await other.close()


# What is cut off in print, and what has no place there
_PRINTED = """() => {
  const cut = [...document.querySelectorAll(".turn")].filter((turn) => {
    for (let one = turn; one; one = one.parentElement) {
      const { overflowY, position } = getComputedStyle(one);
      if (overflowY !== "visible" || position === "fixed") return true;
    }
    return turn.getBoundingClientRect().bottom > document.documentElement.scrollHeight;
  });
  const odd = [...document.querySelectorAll("button, textarea, video, summary svg")].filter((one) => one.checkVisibility());
  return [cut.length, odd.map((one) => one.id)];
}"""


@pytest.mark.parametrize("viewport", [(390, 844), (1280, 800)])
async def test_all_answers_are_printed_and_nothing_else(
    visit: Visit, server: Running, model: FakeOpenAI, viewport: tuple[int, int]
) -> None:
    model.answer_for = lambda _body, _jpeg: ["A cup of tea on a table. " * 8]
    page = await started(visit, server.base_url, viewport=viewport)
    for number in range(6):
        await page.ask(f"What is this, {number}?")
    await page.page.emulate_media(media="print")
    assert await page.evaluate(_PRINTED) == [0, []]
    await page.page.emulate_media(media="screen")


async def test_a_saved_file_of_hostile_words_loads_and_does_nothing(
    visit: Visit, server: Running, tmp_path: Path
) -> None:
    """A page opened from the disk asks for nothing; Markdown has no picture, link or HTML; also
    with a word of 200,000 characters."""
    words = _HOSTILE.replace("{at}", "stranger.example") + "x" * 200_000
    page = await visit(server.base_url)
    html, markdown, text = await page.evaluate(_FILES, words)
    assert json.loads(text)["turns"][0]["question"] == words

    file = tmp_path / "chat.html"
    file.write_text(html, encoding="utf-8")
    other = await page.page.context.new_page()
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    await other.goto(file.as_uri())
    await other.wait_for_timeout(200)
    assert asked == [file.as_uri()]
    made = "[...document.body.querySelectorAll('*')].map((one) => one.localName)"
    assert not {"script", "img", "svg", "iframe", "base", "meta", "a", "b"} & set(
        await other.evaluate(made)
    )
    await other.close()

    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    kinds = {
        inner.type for token in reader.parse(markdown) for inner in [token, *(token.children or [])]
    }
    assert {"table_open", "strong_open", "code_inline", "fence", "bullet_list_open"} <= kinds
    assert not {"image", "link_open", "html_block", "html_inline"} & kinds
