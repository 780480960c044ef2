"""Keeping a conversation: the file that is saved, and what is deleted here and at the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_conversation_is_saved_and_deleted(
    visit: Visit, server: Running, model: FakeOpenAI, tmp_path: Path
) -> None:
    """The file has words and pictures and does nothing; a deleted answer is gone from the page, the
    history and the kept pictures; deleting all leaves nothing.
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
    await dialog.get_by_role("button", name="Not now").click()

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
    await dialog.get_by_role("button", name="Delete all").click()
    await expect(page.turns).to_have_count(0)
    await page.ask("Still there?")
    texts = [text for role, text in model.last.texts if role != "system"]
    assert not [text for text in texts if "cup" in text]
    assert len(session.sent_pictures) == 1
