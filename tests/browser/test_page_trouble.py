"""Failures of server, engine or connection: the page reports them, keeps its data, and recovers."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.browser.visitor import NOT_REACHED, Picture, Visit, Visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_server_that_goes_away_and_comes_back_costs_no_typed_word(
    visit: Visit, model: FakeOpenAI
) -> None:
    """The server is restarted and knows nobody any more: the page says that the connection is lost,
    comes back automatically, keeps what was typed, and tells that a new session began.
    """
    settings = {"engine": "vllm", "vllm_base_url": model.base_url, "drain_seconds": 0.2}
    async with running(**settings) as run:
        port = run.port
        page = await visit(run.base_url)
        page.expect(NOT_REACHED, "status of 401")
        await page.start()
        await page.ask("What is this?")
        await page.box.fill("And what is beh")
    await expect(page.state).to_have_text(say("page.connection_lost"))
    await expect(page.notice).to_contain_text("automatically")
    await expect(page.notice).to_be_visible()
    await expect(page.box).to_have_value("And what is beh")
    async with running(port=port, **settings) as run:
        await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
        await expect(page.notice).to_be_hidden()
        await expect(page.box).to_have_value("And what is beh")
        await expect(page.find("#log")).to_contain_text(
            say("problem.handover_refused").partition(".")[0]
        )
        since = await page.now()
        await page.box.press_sequentially("ind it?")
        await page.box.press("Enter")
        sent = await page.sent("chat", since=since)
        assert sent["content"] == "And what is behind it?"
        assert (await page.response(sent["id"]))["text"] == "I see a cup."
        assert Picture.of(model.last).before(sent["sent_at"]) <= 1
        await expect(page.turns).to_have_count(2)
        await page.leave()


async def test_a_lost_socket_keeps_session_chat_and_settings(
    page: Visitor, server: Running, model: FakeOpenAI
) -> None:
    """The connection breaks and comes back at once: the same session, the same chat, the camera
    never stopped.
    """
    await page.ask("What is the red thing?")
    since = await page.now()
    server.program.sessions.close_sockets(1012, "test")
    await page.got('m.type === "ready"', since=since)
    await expect(page.state).to_have_text(say("page.live"))
    await page.ask("How big is it?")
    assert "What is the red thing?" in str(model.last.texts)
    ids = {e["message"]["session_id"] for e in await page.log() if e["message"]["type"] == "ready"}
    assert len(ids) == 1
    assert await page.evaluate("window.__camera.opened") == 1


async def test_a_socket_that_breaks_in_mid_answer_has_the_question_asked_again(
    page: Visitor, server: Running, model: FakeOpenAI
) -> None:
    """By itself, as the same question; its end before is no news."""
    model.behaviour = Behaviour.STALLS
    sent = await page.send("Tell me a long story")
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    model.behaviour = Behaviour.NORMAL
    since = await page.now()
    turns = await page.turns.count()
    server.program.sessions.close_sockets(1012, "test")
    assert await page.sent("chat", since=since) == sent
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await expect(page.turns.last.locator(".remark")).to_be_hidden()
    await expect(page.turns).to_have_count(turns)


async def test_a_socket_that_breaks_twice_in_mid_answer_ends_the_question_in_words(
    page: Visitor, server: Running, model: FakeOpenAI
) -> None:
    """The received text is kept; the question ends and can be asked again with one press."""
    model.behaviour = Behaviour.STALLS
    await page.send("Tell me a long story")
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    since = await page.now()
    server.program.sessions.close_sockets(1012, "test")
    await page.sent("chat", since=since)
    await page.got('m.type === "delta"', since=since)
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    model.behaviour = Behaviour.NORMAL
    server.program.sessions.close_sockets(1012, "test")
    await expect(page.turns.last.locator(".remark")).to_contain_text(say("page.answer_lost"))
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    await page.turns.last.get_by_role("button", name=say("page.try_again")).click()
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")


async def test_an_engine_that_dies_in_mid_answer_is_told_and_asked_again(
    page: Visitor, model: FakeOpenAI
) -> None:
    """The words that came stay, the reason stands below them, Try again asks the same question
    anew.
    """
    model.behaviour = Behaviour.DIES
    sent = await page.send("What is this?")
    error = await page.end(sent["id"])
    assert error["type"] == "error"
    turn, turns = page.turns.last, await page.turns.count()
    await expect(turn).to_have_attribute("data-state", "failed")
    await expect(turn.locator(".remark")).to_have_text(error["message"])
    model.behaviour = Behaviour.NORMAL
    await turn.get_by_role("button", name=say("page.try_again")).click()
    await expect(page.turns).to_have_count(turns + 1)
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    await expect(page.turns.last.locator(".asked")).to_have_text(say("stage.what_is_this"))


async def test_a_question_that_is_too_long_is_held_back_with_its_count(
    page: Visitor, model: FakeOpenAI
) -> None:
    """4,000 characters are sent, one more is not, and the page says how many there are too many."""
    count, turns = page.find("#question-count"), await page.turns.count()
    await page.box.fill("x" * 4001)
    await expect(count).to_have_text(say("chat.too_many_characters", count=1))
    await page.comes(_UNCOVERED, True)
    await expect(page.button(say("chat.send"))).to_be_disabled()
    await page.box.press("Enter")
    await expect(page.turns).to_have_count(turns)
    await page.box.fill("x" * 4000)
    await expect(count).to_have_text("0 characters left")
    await page.button(say("chat.send")).click()
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    assert len(model.last.texts[-1][1]) == 4000


async def test_many_questions_at_once_end_with_the_newest(page: Visitor, model: FakeOpenAI) -> None:
    """An impatient person: ten questions in a row, one answer, none left open."""
    # Longer than a busy machine takes for the next one.
    model.first_token = 1.5
    for number in range(10):
        await page.box.fill(f"Question {number}")
        await page.box.press("Enter")
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    remarks = await page.turns.locator(".remark").all_inner_texts()
    assert remarks[-10:] == [say("page.replaced")] * 9 + [""]
    async with asyncio.timeout(2):
        while model.running:
            await asyncio.sleep(0.02)


async def test_an_engine_that_is_down_is_named_and_welcomed_back(visit: Visit) -> None:
    """The camera is live, answers are not to be had, and the page says so until they are."""
    async with FakeOpenAI() as model:
        await model.close()
        async with with_model(model) as run:
            page = await visit(run.base_url)
            await page.start_button.click()
            await expect(page.state).to_have_text(say("page.no_answers"))
            await expect(page.notice).to_contain_text(say("page.engine_unreachable"))
            sent = await page.send("What is this?")
            error = await page.end(sent["id"])
            assert error["code"] == "engine_unavailable"
            await expect(page.turns.last.locator(".remark")).to_have_text(error["message"])
            await model.start()
            await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
            await expect(page.notice).to_be_hidden()
            assert (await page.ask("And now?"))["text"] == "I see a cup."
            await page.leave()


# The count stands below the answers, and not on them.
_UNCOVERED = """() => {
  const [log, count] = ["#log", "#question-count"].map((one) => document.querySelector(one).getBoundingClientRect());
  return log.bottom <= count.top + 1;
}"""
