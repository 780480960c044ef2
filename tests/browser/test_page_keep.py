"""Keeping a conversation: the file that is saved, and what is deleted here and at the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.visitor import Visit
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.calm, pytest.mark.asyncio(loop_scope="session")]


async def test_a_conversation_is_saved_and_deleted(
    visit: Visit, server: Running, model: FakeOpenAI, tmp_path: Path
) -> None:
    """The file has words and pictures and does nothing; a deleted answer is gone from the page, the
    history and the kept pictures; deleting all needs a second tap, and leaves nothing.
    """
    page = await visit(server.base_url)
    # The browser's own dialog cannot be driven; without it the file is a download.
    await page.page.evaluate("delete window.showSaveFilePicker")
    await page.start()
    model.answer_for = lambda _body, _jpeg: ["It is <b>red</b>."]
    first = await page.ask("What colour is it?")
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    await page.ask("What is this?")

    dialog = page.page.locator("#keep-dialog")
    for format, ending in (("html", ".html"), ("json", ".json")):
        if not await dialog.is_visible():
            await page.page.locator("#state").click()
            await page.page.locator("#keep").click()
        await dialog.locator(f'input[value="{format}"]').check()
        async with page.page.expect_download() as got:
            await dialog.get_by_role("button", name="Save", exact=True).click()
        await expect(dialog.get_by_role("status")).to_have_text("Saved.")
        download = await got.value
        assert download.suggested_filename.endswith(ending)
        await download.save_as(tmp_path / f"chat{ending}")
    html = (tmp_path / "chat.html").read_text(encoding="utf-8")
    assert "It is &#60;b&#62;red&#60;/b&#62;." in html
    assert "A <strong>cup</strong>." in html
    assert html.count('src="data:image/jpeg;base64,') == 2
    turns = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))["turns"]
    assert [turn["question"] for turn in turns] == ["What colour is it?", "What is this?"]
    await dialog.get_by_role("button", name="Done").click()
    # The state lies over the first answers.
    await page.page.locator("#state").click()
    await expect(page.page.locator("#facts")).to_be_hidden()

    session = server.program.sessions.all()[-1]
    assert len(session.sent_pictures) == 2
    await page.turns.nth(0).locator(".evidence summary").click()
    await page.turns.nth(0).get_by_role("button", name="Delete this answer").click()
    await expect(page.turns).to_have_count(1)
    await page.sent("drop")
    await page.ask("And now?")
    texts = [text for role, text in model.last.texts if role != "system"]
    assert not [text for text in texts if "colour" in text or "red" in text]
    assert [text for text in texts if "cup" in text]
    assert session.sent_pictures.get(first["frame"]["picture"]) is None

    if not await page.page.locator("#keep").is_visible():
        await page.page.locator("#state").click()
    await page.page.locator("#keep").click()
    # One tap asks; whoever goes elsewhere has deleted nothing.
    every, sure = (
        dialog.get_by_role("button", name=name) for name in ("Delete all", "Really delete all?")
    )
    await every.dblclick()
    await expect(dialog.get_by_role("status")).to_contain_text("Press it again")
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


async def test_an_answer_is_shared_with_its_picture(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Question, answer without marks, and the very picture that the model got."""

    async def prepare(page: Page) -> None:
        await page.add_init_script(f"({_SHARES})()")

    page = await visit(server.base_url, prepare=prepare)
    await page.start()
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    response = await page.ask("What is this?")
    # The part that shares is there.
    await expect(page.turns.last.locator("strong")).to_have_text("cup")
    await page.turns.last.get_by_role("button", name="Share", exact=True).click()
    await page.page.wait_for_function("() => window.__shared.length === 1")
    session = server.program.sessions.all()[-1]
    picture = session.sent_pictures.get(response["frame"]["picture"])
    assert picture is not None
    assert picture.jpeg is not None
    assert await page.page.evaluate("window.__shared[0]") == [
        "What is this?\n\nA cup.",
        ["image/jpeg", len(picture.jpeg)],
    ]
    await expect(page.turns.last.locator(".save")).to_be_hidden()


async def test_where_nothing_can_be_shared_an_answer_is_saved(
    visit: Visit, server: Running, model: FakeOpenAI, tmp_path: Path
) -> None:
    """As a file of its own with its words and its picture, and nothing of the other answers."""

    async def prepare(page: Page) -> None:
        await page.add_init_script(
            "delete Navigator.prototype.share; delete window.showSaveFilePicker;"
        )

    page = await visit(server.base_url, prepare=prepare)
    await page.start()
    await page.ask("What colour is it?")
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    await page.ask("What is this?")
    await expect(page.turns.last.locator(".share")).to_be_hidden()
    async with page.page.expect_download() as got:
        await page.turns.last.get_by_role("button", name="Save this answer").click()
    await (await got.value).save_as(tmp_path / "answer.html")
    html = (tmp_path / "answer.html").read_text(encoding="utf-8")
    assert "A <strong>cup</strong>." in html
    assert "What colour" not in html
    assert html.count('src="data:image/jpeg;base64,') == 1
    await expect(page.page.locator("#announcer")).to_contain_text("Saved.")


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


async def test_the_person_says_where_the_file_goes(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The browser's own dialog chooses the place; a person who cancels it gets no file and no error."""

    async def prepare(page: Page) -> None:
        await page.add_init_script(f"({_PLACES})()")

    page = await visit(server.base_url, prepare=prepare)
    await page.start()
    model.answer_for = lambda _body, _jpeg: ["A **cup**."]
    await page.ask("What is this?")
    await page.state.click()
    await page.page.locator("#keep").click()
    dialog = page.page.locator("#keep-dialog")
    await dialog.locator('input[value="markdown"]').check()
    save = dialog.get_by_role("button", name="Save", exact=True)
    await page.page.evaluate("window.__off = true")
    await save.click()
    await page.page.evaluate("window.__off = false")
    await expect(dialog.get_by_role("status")).to_have_text("")
    await save.click()
    await expect(dialog.get_by_role("status")).to_have_text("Saved.")
    [[name, text]] = await page.page.evaluate("window.__written")
    assert name.endswith(".md")
    assert "## What is this?\n\nA **cup**.\n" in text
