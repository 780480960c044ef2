"""Answers with Markdown in them: what is shown, what is copied, where links lead, and what is folded."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ANSWER = """There are **two** parts:

1. a *cap*
2. a `rod`

| part | mm |
|------|---:|
| cap | 10 |

<img src=x onerror=alert(1)> [the shop](https://shop.example/cap) [bad](javascript:alert(1))

```
<script>alert(1)</script>
```
"""
LONG = "It is a cup of tea. " * 80
# Wider than a phone; only its end says whose it is
HOST = f"www.bank.example.{'a' * 60}.elsewhere.example"


async def test_marks_become_elements_and_html_stays_text(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Lists, tables, code and emphasis are shown as such, piece by piece; no element comes from
    HTML; a link says its host, and asks before it is opened; copied words have no marks.
    """
    answer = f"{ANSWER}\n[long](https://{HOST}/cap)"
    model.answer_for = lambda _body, _jpeg: [answer[at : at + 7] for at in range(0, len(answer), 7)]
    page = await visit(server.base_url)
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.start()
    await page.ask("What is this made of?")
    text = page.turns.last.locator(".text")
    await expect(text.locator("strong")).to_have_text("two")
    await expect(text.locator("ol > li")).to_have_text(["a cap", "a rod"])
    await expect(text.locator("li em")).to_have_text("cap")
    await expect(text.locator("li code")).to_have_text("rod")
    await expect(text.locator("th")).to_have_text(["part", "mm"])
    await expect(text.locator("td")).to_have_text(["cap", "10"])
    await expect(text.locator("pre")).to_have_text("<script>alert(1)</script>")
    await expect(text).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(text).to_contain_text("[bad](javascript:alert(1))")
    assert await text.locator("img, script, a").count() == 0

    link = text.get_by_role("button", name="the shop")
    await expect(link).to_have_text("the shop (shop.example)")
    await link.click()
    dialog = page.find("#link-dialog")
    await expect(dialog.locator("strong")).to_have_text("shop.example")
    leads = dialog.get_by_role("link", name=say("answer.open_link"))
    await expect(leads).to_have_attribute("href", "https://shop.example/cap")
    await expect(leads).to_have_attribute("rel", "noopener noreferrer")
    await dialog.get_by_role("button", name=say("page.not_now")).click()
    await expect(dialog).to_be_hidden()
    await text.get_by_role("button", name="long").click()
    await expect(dialog.locator("strong")).to_have_text(HOST)
    await expect(dialog.locator("strong")).to_have_attribute("dir", "ltr")
    await expect(dialog.locator(".address")).to_have_attribute("dir", "ltr")
    assert await dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    await page.page.keyboard.press("Escape")

    await page.points()
    await page.turns.last.get_by_role("button", name=say("page.copy")).click()
    await page.page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).includes('There are two parts')"
    )
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert "There are two parts:\n1. a cap\n2. a rod\npart\tmm\ncap\t10\n" in copied
    assert "the shop (https://shop.example/cap)" in copied

    model.answer_for = lambda _body, _jpeg: [LONG]
    await page.ask("And this?")
    long = page.turns.last
    await expect(long.get_by_role("button", name=say("page.show_all"))).to_have_count(0)
    model.answer_for = lambda _body, _jpeg: ["A cup."]
    await page.ask("And now?")
    unfold = page.turns.nth(1).get_by_role("button", name=say("page.show_all"))
    await expect(unfold).to_be_visible()
    low = await page.turns.nth(1).evaluate("turn => turn.offsetHeight")
    await unfold.click()
    await expect(unfold).to_have_count(0)
    higher = f"turn => turn.offsetHeight > {low + 50}"
    await page.comes(higher, True, await page.turns.nth(1).element_handle())
