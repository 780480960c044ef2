"""A model's actions for the person, on the page: asked for once, shown as a line, and undone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def calling() -> AsyncIterator[FakeOpenAI]:
    """A model that calls tools."""
    async with FakeOpenAI(model="Qwen3-VL-8B-Instruct") as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def its_server(calling: FakeOpenAI) -> AsyncIterator[Running]:
    async with with_model(calling) as run:
        yield run


def will_call(fake: FakeOpenAI, *calls: tuple[str, dict[str, Any]]) -> None:
    def answer(body: dict[str, Any]) -> list[dict[str, Any]] | None:
        if not body.get("tools"):
            return None
        return [
            {
                "tool_calls": [
                    {"index": n, "function": {"name": name, "arguments": json.dumps(given)}}
                ]
            }
            for n, (name, given) in enumerate(calls)
        ]

    fake.deltas_for = answer


def lines(page: Visitor) -> Locator:
    return page.find("#log .tool")


async def allowed(page: Visitor) -> None:
    """Agree at the first answer."""
    await page.start()
    await page.ask("What is this?")
    await lines(page).get_by_role("button", name=say("chat.tool_allow")).click()
    await expect(lines(page)).to_have_count(0)
    await page.got('m.type === "ready"')


async def test_consent_is_asked_for_once(
    visit: Visit, its_server: Running, calling: FakeOpenAI
) -> None:
    """At the first answer, and kept on the device: until then no request has tools."""
    calling.deltas_for = lambda _: None
    page = await started(visit, its_server.base_url)
    await page.ask("What is this?")
    await expect(lines(page)).to_contain_text(say("chat.tool_consent"))
    assert "tools" not in calling.last.body
    await page.ask("And this?")
    await expect(lines(page)).to_have_count(1)
    await lines(page).get_by_role("button", name=say("chat.tool_allow")).click()
    await expect(lines(page)).to_have_count(0)
    await page.ask("And that?")
    assert "tools" in calling.last.body
    await page.page.reload()
    await page.start()
    await page.ask("What is this?")
    assert "tools" in calling.last.body
    await expect(lines(page)).to_have_count(0)
    # The switch takes it back.
    await page.settings()
    switch = page.find("#settings [name=tools]")
    await expect(switch).to_be_checked()
    await switch.uncheck()
    await page.button(say("page.done")).click()
    await page.ask("And this?")
    assert "tools" not in calling.last.body
    await expect(lines(page)).to_have_count(0)


async def test_not_now_is_kept(visit: Visit, its_server: Running, calling: FakeOpenAI) -> None:
    calling.deltas_for = lambda _: None
    page = await started(visit, its_server.base_url)
    await page.ask("What is this?")
    await lines(page).get_by_role("button", name=say("page.not_now")).click()
    await page.ask("And this?")
    await expect(lines(page)).to_have_count(0)
    assert "tools" not in calling.last.body


async def test_the_switch_is_an_answer(
    visit: Visit, its_server: Running, calling: FakeOpenAI
) -> None:
    """Switched on and off in the settings: nobody is asked any more."""
    calling.deltas_for = lambda _: None
    page = await started(visit, its_server.base_url)
    await page.settings()
    switch = page.find("#settings [name=tools]")
    await switch.check()
    await switch.uncheck()
    await page.button(say("page.done")).click()
    await page.ask("What is this?")
    # What would ask loads with an answer, and is there at the next one.
    await page.ask("And this?")
    await expect(lines(page)).to_have_count(0)
    assert "tools" not in calling.last.body


async def test_a_call_is_shown_and_undone(
    visit: Visit, its_server: Running, calling: FakeOpenAI
) -> None:
    """As the person could by hand; once, and not after it has ended."""
    calling.deltas_for = lambda _: None
    page = await visit(its_server.base_url)
    await allowed(page)
    await page.record_announcements()
    will_call(calling, ("watch", {"condition": "it is red"}), ("hold", {}))
    await page.ask("Keep an eye on it, and keep this picture.")
    watching = lines(page).filter(has_text=say("chat.tool_watch", about="it is red"))
    held = lines(page).filter(has_text=say("page.picture_held"))
    await expect(watching).to_be_visible()
    sent = await page.sent("watch")
    assert sent["condition"] == "it is red"
    assert sent["id"].startswith("tool:")
    await page.got('m.type === "status" && m.held')
    # "Picture held" may come before or after it.
    assert say("watch.watching_for", condition="it is red") in await page.announced()
    undo = say("chat.tool_undo")
    await watching.get_by_role("button", name=undo).click()
    assert (await page.sent("unwatch"))["id"] == sent["id"]
    await expect(watching).to_contain_text(say("chat.tool_undone"))
    await expect(watching.get_by_role("button")).to_have_count(0)
    await page.got('m.type === "watches" && m.watches.length === 0')
    # By hand first: then there is nothing to undo.
    await page.hold()
    await page.got('m.type === "status" && !m.held')
    await held.get_by_role("button", name=undo).click()
    await expect(held).to_contain_text(say("chat.tool_over"))


async def test_watches_guidance_and_looks_have_their_lines(
    visit: Visit, its_server: Running, calling: FakeOpenAI
) -> None:
    """A watch ends and comes back, guidance begins and ends. A look has nothing to undo: a part of
    the picture, a time, and a text that is read on until it is stopped.
    """
    calling.deltas_for = lambda _: None
    page = await visit(its_server.base_url)
    await allowed(page)
    await page.box.fill("Tell me when it is red.")
    await page.box.press("Enter")
    await page.got('m.type === "watches" && m.watches.length === 1')
    will_call(calling, ("unwatch", {"condition": "red"}))
    await page.ask("That is enough now, thank you.")
    ended = lines(page).filter(has_text=say("chat.tool_unwatch", about="it is red"))
    await expect(ended).to_be_visible()
    await page.got('m.type === "watches" && m.watches.length === 0')
    since = await page.now()
    await ended.get_by_role("button", name=say("chat.tool_undo")).click()
    await page.got('m.type === "watches" && m.watches[0]?.condition === "it is red"', since=since)
    # Nothing is watched for that could end.
    will_call(calling, ("unwatch", {"condition": "a horse"}), ("look_closer", {"left": 1}))
    await page.ask("And the other one?")
    await expect(lines(page)).to_have_count(1 + 1)

    will_call(calling, ("guide_to", {"thing": "the cup"}))
    await page.ask("I would like to have my cup.")
    line = lines(page).filter(has_text=say("chat.tool_guide_to", about="the cup"))
    await expect(line).to_be_visible()
    assert (await page.sent("goal"))["thing"] == "the cup"
    since = await page.now()
    await line.get_by_role("button", name=say("chat.tool_undo")).click()
    assert "thing" not in await page.sent("goal", since=since)
    await expect(line).to_contain_text(say("chat.tool_undone"))

    await page.got('m.type === "recall" && m.pictures > 0')
    part = {"left": 0, "top": 0, "right": 500, "bottom": 500}
    for call in (("look_closer", part), ("recall", {"seconds_ago": 2})):
        will_call(calling, call)
        await page.ask("How is it?")
        line = page.turns.last.locator(".tool")
        await expect(line).to_have_text(say(f"chat.tool_{call[0]}"))
        await expect(line.get_by_role("button")).to_have_count(0)
    will_call(calling, ("read", {}))
    since = await page.now()
    await page.send("I would like to hear all of it.")
    await page.got('m.type === "started" && m.route === "read"', since=since)
    await page.got('m.type === "delta"', since=since)
    await page.find("#cancel").click()
    await expect(page.turns.last.locator(".tool")).to_have_text(say("chat.tool_read"))
