"""Other programs on the page: access by the dialog, each look among the answers, a light, and one tap that ends it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent
from playwright.async_api import Route, expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

QUESTION = "Is the door open?"

# What pages tell each other of programs
_HEARS = """window.heard = [];
new BroadcastChannel("programs").addEventListener("message", ({ data }) => window.heard.push(data));"""
# A look over MCP, sent by the page itself
_LOOKS = """async ([address, Authorization, question]) => {
  const headers = { Authorization, "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
  const params = { name: "look", arguments: { question } };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
  return (await fetch(address, { method: "POST", headers, body })).status;
}"""


@asynccontextmanager
async def assistant(address: str, token: str) -> AsyncIterator[Client]:
    """The package's own client, with what the dialog showed."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        yield client


async def given(page: Visitor, name: str, *also: str) -> tuple[str, str]:
    """Give access by the dialog: the address and the token that it shows."""
    dialog = page.find("#programs-dialog")
    await dialog.get_by_label(say("programs.name")).fill(name)
    for label in also:
        await dialog.get_by_label(label).check()
    await dialog.get_by_role("button", name=say("programs.give")).click()
    await expect(dialog.locator("#programs-made")).to_be_visible()
    address = await dialog.get_by_label(say("programs.address")).input_value()
    return address, await dialog.get_by_label(say("page.bearer_token")).input_value()


async def in_each_state(page: Visitor, look: Callable[[str], Awaitable[None]]) -> None:
    """Look at a live page with a program's new access, its look among the answers, and the list of programs."""
    found = page.page
    await found.locator("#menu-open").click()
    await found.locator("#programs-open").click()
    await found.locator("#programs-give").click()
    await expect(found.locator("#programs-made")).to_be_visible()
    await look("access for a program")
    address = await found.locator("#programs-address").input_value()
    token = await found.locator("#programs-token").input_value()
    await found.locator("#programs-close").click()
    await page.settle()
    assert await found.evaluate(_LOOKS, [address, f"Bearer {token}", QUESTION]) == 200
    await expect(found.locator(".look[data-state=done]")).to_have_count(1)
    await look("a program looked")
    await found.locator("#programs-light").click()
    await look("programs")
    await found.keyboard.press("Escape")


async def test_an_assistant_looks_is_seen_and_ended(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """With the address and token of the dialog; its look has question, picture and answer, and is none of the chat."""
    page = await visit(server.base_url)
    light = page.find("#programs-light")
    await expect(page.find("#programs-open")).to_be_hidden()
    await page.start()
    await page.ask("What is this?")
    await expect(light).to_have_count(0)
    await page.find("#state").click()
    await page.press(say("programs.title"))
    dialog = page.find("#programs-dialog")
    address, token = await given(page, "Kitchen")
    assert address.startswith(f"{server.base_url}/at/")
    client_of = dialog.get_by_label(say("programs.ready_made"))
    config = dialog.get_by_label(say("programs.configuration"), exact=True)
    wanted = {"url": address, "headers": {"Authorization": f"Bearer {token}"}}
    typed = {"type": "http", **wanted}
    for named, expected in (
        ("Claude Code", {"mcpServers": {"camera": typed}}),
        ("Cursor", {"mcpServers": {"camera": wanted}}),
        ("VS Code", {"servers": {"camera": typed}}),
    ):
        await client_of.select_option(named)
        await page.comes("one => JSON.parse(one.value)", expected, await config.element_handle())
    await client_of.select_option("Claude Desktop")
    await expect(config).to_have_value(re.compile("QWEN_CAMERA_TOKEN"))
    bridge = json.loads(await config.input_value())["mcpServers"]["camera"]
    assert bridge["args"][1] == address
    assert bridge["env"] == {"QWEN_CAMERA_TOKEN": token}
    await client_of.select_option("OpenAI API")
    await expect(config).to_have_value(re.compile(re.escape(f"OPENAI_API_KEY={token}")))
    await expect(light).to_be_visible()
    await expect(light).to_have_attribute(
        "aria-label", say("programs.others_may_look", names="Kitchen")
    )
    await dialog.get_by_role("button", name=say("page.done")).click()
    await expect(page.find("#programs-token")).to_have_value("")

    look = page.find(".look")
    await page.settle()
    async with assistant(address, token) as client:
        result = await client.call_tool("look", {"question": QUESTION})
        assert [c.text for c in result.content if isinstance(c, TextContent)] == ["I see a cup."]
        await expect(look).to_have_count(1)
        await expect(look.locator(".head")).to_contain_text(
            re.compile(f"^Kitchen{say('programs.another')}")
        )
        await expect(look.locator(".question")).to_have_text(QUESTION)
        await expect(look.locator(".reason")).to_have_text("I see a cup.")
        await expect(look.get_by_role("img", name="The picture Kitchen received")).to_be_visible()
        # The person's chat has nothing of it: neither on the page nor at the model.
        await expect(page.turns).to_have_count(1)
        await page.ask("And now?")
        assert QUESTION not in json.dumps(model.last.body)
        assert "What is this?" in json.dumps(model.last.body)

        # The saved conversation names the program that asked.
        await page.evaluate("delete window.showSaveFilePicker")
        await page.find("#state").click()
        await page.press(say("facts.keep"))
        await page.find("#keep-dialog").get_by_label("JSON").check()
        async with page.page.expect_download() as download:
            await page.find("#keep-dialog").get_by_role("button", name=say("answer.save")).click()
        turns = json.loads((await (await download.value).path()).read_text("utf-8"))["turns"]
        assert [turn.get("asked_by") for turn in turns] == [None, "Kitchen", None]
        assert turns[1]["question"] == f"Kitchen, another program: {QUESTION}"
        assert turns[1]["picture"].startswith("data:image/jpeg;base64,")
        await page.find("#keep-dialog").get_by_role("button", name=say("page.done")).click()

        await light.click()
        row = dialog.locator("#programs-list li")
        await expect(row).to_contain_text(re.compile(r"Kitchen.*1 look · Last used at .*left"))
        await expect(dialog).to_contain_text("Each may look up to 20 times a minute.")
        await row.get_by_role("button", name="End the access of Kitchen").click()
        await expect(row).to_have_count(0)
        await expect(light).to_be_hidden()
        with pytest.raises((MCPError, httpx2.HTTPStatusError)):
            await client.call_tool("look", {"question": "And now?"})
    await expect(look).to_have_count(1)


async def test_trouble_with_access_is_said(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Nothing chosen, no server, one too many, all ended at once, another session."""
    page = await started(visit, server.base_url)
    await page.find("#state").click()
    await page.press(say("programs.title"))
    dialog = page.find("#programs-dialog")
    said = dialog.locator("#programs-said")
    await dialog.get_by_label(say("programs.may_look")).uncheck()
    await dialog.get_by_role("button", name=say("programs.give")).click()
    await expect(said).to_have_text(say("programs.choose"))
    await dialog.get_by_label(say("programs.may_look")).check()

    async def away(route: Route) -> None:
        await route.abort()

    page.expect("net::ERR_FAILED", "status of 409")
    await page.page.route("**/api/grants*", away)
    await dialog.get_by_role("button", name=say("programs.give")).click()
    await expect(said).to_contain_text("Try again when the connection is back.")
    await page.page.unroute("**/api/grants*", away)
    for number in range(8):
        await given(page, f"Program {number}", say("programs.may_watch"))
        await dialog.get_by_role("button", name=say("page.done")).click()
        await expect(page.find("#programs-token")).to_have_value("")
        await page.find("#programs-light").click()
        await expect(dialog.locator("#programs-list li")).to_have_count(number + 1)
    await dialog.get_by_role("button", name=say("programs.give")).click()
    await expect(said).to_have_text(say("server.programs_full"))
    await expect(dialog.locator("#programs-list li")).to_have_count(8)
    await dialog.get_by_role("button", name=say("programs.end_all")).click()
    await expect(dialog.locator("#programs-list li")).to_have_count(0)
    await expect(page.find("#programs-light")).to_be_hidden()


async def test_sound_is_a_right_of_its_own(visit: Visit, server: Running) -> None:
    """A program whose sound is heard is listed so, and one press ends it."""
    page = await started(visit, server.base_url)
    await page.find("#state").click()
    await page.press(say("programs.title"))
    _, token = await given(page, "Robot", say("programs.may_listen"), say("programs.may_speak"))
    own = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=server.base_url, headers=own) as program:
        scopes = (await program.get("/api/program")).json()["scopes"]
        assert scopes == ["listen", "look", "speak"]
        await page.find("#programs-close").click()
        await page.find("#programs-light").click()
        row = page.find("#programs-dialog").locator("#programs-list li")
        await expect(row).to_contain_text("sound in")
        await expect(row).to_contain_text("spoken answers")
        await row.get_by_role("button", name="End the access of Robot").click()
        await expect(row).to_have_count(0)
        assert (await program.get("/api/program")).status_code == 401


async def test_a_page_that_is_loaded_again_says_that_access_is_over(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """It has a new session: the program is refused in words at once, and the person reads so, once.
    A copy of the tab ends nothing: its history says that programs had access, and the page that
    gave it says that they still have it.
    """
    page = await started(visit, server.base_url)
    await page.find("#state").click()
    await page.press(say("programs.title"))
    _, token = await given(page, "Kitchen")
    await page.find("#programs-close").click()
    await expect(page.find("#programs-light")).to_be_visible()
    entry = await page.evaluate("history.state")
    assert [one["name"] for one in entry["programs"]] == ["Kitchen"]
    copy = await page.page.context.new_page()
    await copy.add_init_script(_HEARS)
    await copy.goto(server.base_url)
    await copy.evaluate("entry => history.replaceState(entry, '')", entry)
    await copy.reload()
    await copy.wait_for_function(
        "id => heard.some(({ has }) => has === id)", arg=entry["programs"][0]["id"]
    )
    # Longer than it waits for an answer: nothing must come then.
    await copy.evaluate("new Promise((done) => setTimeout(done, 700))")
    await expect(copy.locator("#log .note")).to_have_count(0)
    await copy.close()
    await expect(page.find("#programs-light")).to_be_visible()
    own = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=server.base_url, headers=own) as program:
        assert (await program.get("/api/program")).status_code == 200
        await page.page.reload()
        note = page.find("#log .note", has_text="The access of Kitchen has ended.")
        await expect(note).to_have_count(1)
        async with asyncio.timeout(10):
            # The request of the page that goes may arrive after the page that comes.
            while (reply := await program.get("/api/program")).status_code != 401:
                await asyncio.sleep(0.1)
        assert "This access has ended" in reply.json()["error"]["message"]
        await page.start()
        await expect(page.find("#programs-light")).to_be_hidden()
        await expect(note).to_have_count(1)
        await page.page.reload()
        await page.start()
        await expect(note).to_have_count(0)
