"""Access by the page: the access code's dialog, and expired tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.browser.visitor import REFUSED_TOKEN, Visit
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CODE = "tulip-meadow-27"
SECRET = "wQ7mZr4TfL1xUe0aKc9sVd3gHb6nJy8P"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def private(model_server: FakeOpenAI) -> AsyncIterator[Running]:
    """A server with an access code."""
    async with with_model(model_server, access_code=CODE, jwt_secret_key=SECRET) as run:
        yield run


async def test_the_access_code_opens_a_private_server(
    visit: Visit, private: Running, model: FakeOpenAI
) -> None:
    """The page asks for it. Closing the dialog lets the camera go and says what is missing; Start
    Camera asks again. It says when the code is wrong and asks again, and with the right one
    everything works.
    """
    page = await visit(private.base_url)
    page.expect(REFUSED_TOKEN)
    dialog = page.page.get_by_role("dialog", name=say("dialogs.private"))
    code = page.page.get_by_label(say("dialogs.code"))
    await page.start_button.click()
    await expect(dialog).to_be_visible()
    await expect(code).to_be_focused()
    await expect(code).to_have_attribute("type", "password")
    ways: tuple[Callable[[], Awaitable[None]], ...] = (
        page.button(say("page.not_now")).click,
        partial(page.page.keyboard.press, "Escape"),
    )
    for close in ways:
        await close()
        await expect(page.card).to_contain_text(say("page.code_needed"))
        await expect(page.state).to_have_text(say("page.camera_off"))
        await page.lets_go()
        await page.start_button.click()
        await expect(dialog).to_be_visible()
    await code.fill("tulip-meadow-28")
    await code.press("Enter")
    await expect(dialog).to_contain_text(say("dialogs.wrong_code"))
    await expect(code).to_have_value("")
    await code.fill(CODE)
    await page.button(say("dialogs.continue")).click()
    await expect(dialog).to_be_hidden()
    await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    # It stays in this page's memory only.
    stored = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert CODE not in stored
    assert "eyJ" not in stored


async def test_a_token_is_renewed_before_it_ends(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """With a fifth of its life left the page takes another one for the same session, and nobody
    notices.
    """
    sooner = """{
      const native = window.setTimeout;
      window.setTimeout = (then, ms, ...rest) => native(then, ms === 8000 ? 800 : ms, ...rest);
    }"""
    page = await visit(server.base_url, scripts=[sooner])
    grants: list[tuple[str, str]] = []

    async def short_lived(route: Route) -> None:
        reply = await route.fetch()
        grant = await reply.json()
        grants.append((grant["session_id"], grant["token"]))
        # Ten seconds; their timer runs out sooner here.
        await route.fulfill(response=reply, json={**grant, "expires_in": 10})

    await page.page.route("**/api/token*", short_lived)
    await page.start()
    await page.page.wait_for_event("response", lambda r: "/api/token" in r.url)
    await expect(page.state).to_have_text(say("page.live"))
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    assert len(grants) >= 2
    assert len({session for session, _ in grants}) == 1
    assert len({token for _, token in grants}) == len(grants)
    assert await page.evaluate("window.__camera.opened") == 1


async def test_a_session_that_ended_begins_anew_by_itself(visit: Visit, model: FakeOpenAI) -> None:
    """The server forgot the session: the page takes another one, tells it, and goes on."""
    async with with_model(model) as run:
        page = await visit(run.base_url)
        page.expect("status of 40[14]")
        await page.start()
        await page.ask("What is this?")
        first = (await page.got('m.type === "ready"'))["session_id"]
        since = await page.now()
        await run.program.sessions.end(first, "test")
        await page.got(f'm.type === "ready" && m.session_id !== "{first}"', since=since)
        await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
        await expect(page.find("#log")).to_contain_text(
            say("problem.handover_refused").partition(".")[0]
        )
        await page.ask("And this?")
        assert "What is this?" not in str(model.last.texts)
        await page.leave()


async def test_a_session_that_timed_out_lets_the_camera_go(visit: Visit, model: FakeOpenAI) -> None:
    """Nothing asked for SESSION_TIMEOUT: the camera goes off, the page says why, and Start Camera
    goes on.
    """
    async with with_model(model, session_timeout=2) as run:
        page = await visit(run.base_url)
        page.expect("status of 40[14]")
        await page.start()
        await expect(page.card).to_contain_text(say("page.silence_ended"))
        await expect(page.state).to_have_text(say("page.camera_off"))
        await page.lets_go()
        await page.start()
        await page.leave()


async def test_a_session_that_the_operator_ended_needs_the_code_again(
    visit: Visit, model: FakeOpenAI
) -> None:
    """The camera goes off, the page says who ended it, and the code that it had is asked for anew."""
    secret = "wQ7mZr4TfL1xUe0aKc9sVd3gHb6nJy8P"
    async with with_model(model, access_code="open-sesame-77", jwt_secret_key=secret) as run:
        page = await visit(run.base_url)
        page.expect("status of 40[14]")
        dialog = page.page.get_by_role("dialog")
        for _ in range(2):
            await page.start_button.click()
            await page.page.get_by_label(say("dialogs.code")).fill("open-sesame-77")
            await page.button(say("dialogs.continue")).click()
            await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
            [seen] = run.program.sessions.describe()
            await run.program.sessions.revoke(seen["name"])
            await expect(page.card).to_contain_text(say("page.operator_ended"))
            await expect(page.state).to_have_text(say("page.camera_off"))
            await expect(dialog).to_be_hidden()
            await page.lets_go()
        await page.leave()
