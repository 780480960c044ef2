"""An engine on another machine takes over: the page says so, and nothing goes there before the
person agrees.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.visitor import NOT_REACHED, REFUSED_TOKEN, Visit, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.names import named
from tests.support.running import Running, running
from tests.support.speech_server import TranscriptionServer
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


# Of this machine, and not its own
OTHER, SMALL, WORDS = "gpu.example.org", "small.example.org", "words.example.org"


@pytest_asyncio.fixture(loop_scope="session")
async def far() -> AsyncIterator[tuple[Running, FakeOpenAI]]:
    """A server whose better engine is on another machine, which is not there yet.

    Tests name it before `visit`, so that the pages are closed first.
    """
    with named(OTHER):
        async with FakeOpenAI() as model:
            await model.close()
            url = f"http://{OTHER}:{model.port}/v1"
            async with running(engine="auto", vllm_base_url=url) as run:
                yield run, model


async def test_nothing_goes_to_another_machine_before_the_person_agrees(
    far: tuple[Running, FakeOpenAI], visit: Visit
) -> None:
    """It takes over while a description runs: a dialog names it, questions wait, "Not now" keeps it
    so; agreed, all goes on.
    """
    run, model = far
    page = await started(visit, run.base_url)
    await page.press(say("chat.describe"))
    await page.got('m.type === "response" && m.kind === "describe"')
    await model.start()
    dialog = page.find("#disclosure-dialog")
    await expect(dialog).to_be_visible(timeout=15_000)
    await expect(page.find("#disclosure-host")).to_have_text(OTHER)
    await page.button(say("page.not_now")).click()
    await expect(page.notice).to_contain_text(OTHER)
    await expect(page.state).to_have_text(say("page.no_answers"))
    since = await page.now()
    await page.box.fill("What is this?")
    await page.box.press("Enter")
    # It is asked what it waits for.
    await expect(dialog).to_be_visible()
    log = [entry for entry in await page.log() if entry["at"] > since]
    assert not [entry for entry in log if entry["message"]["type"] == "chat"]
    assert len(model.requests) == 0
    await page.button(say("dialogs.disclosure_agree")).click()
    sent = await page.sent("chat", since=since)
    assert (await page.response(sent["id"]))["engine"] == "vllm"
    described = 'm.type === "response" && m.kind === "describe" && m.engine === "vllm"'
    await page.got(described, since=since)
    await expect(page.state).to_have_text(say("page.live"))
    await page.state.click()
    await expect(page.find("#fact-engine")).to_contain_text(say("facts.pictures_go", host=OTHER))


async def test_a_server_that_comes_back_with_another_engine_gets_no_description_before_the_word(
    far: tuple[Running, FakeOpenAI], visit: Visit
) -> None:
    """The session is a new one, which has heard nothing yet; so the page itself holds back, and goes
    on once agreed.
    """
    _, model = far
    await model.start()
    async with running(engine="builtin", drain_seconds=0.2) as run:
        port = run.port
        page = await visit(run.base_url)
        page.expect(NOT_REACHED, REFUSED_TOKEN)
        await page.start()
        await page.press(say("chat.describe"))
        await page.got('m.type === "response" && m.kind === "describe"')
    url = f"http://{OTHER}:{model.port}/v1"
    async with running(engine="vllm", vllm_base_url=url, port=port, drain_seconds=0.2):
        dialog = page.find("#disclosure-dialog")
        await expect(dialog).to_be_visible(timeout=20_000)
        # Its camera is back, so frames would go if anything sent them.
        await page.got('m.type === "status" && m.camera === "live" && m.engine === "vllm"')
        await page.settle(4)
        assert len(model.requests) == 0
        await page.button(say("dialogs.disclosure_agree")).click()
        await page.got('m.type === "response" && m.engine === "vllm"')
        await page.leave()


async def test_a_page_that_begins_there_asks_once(
    far: tuple[Running, FakeOpenAI], visit: Visit
) -> None:
    """A reloaded page remembers what its person agreed to."""
    run, model = far
    await model.start()
    await soon(lambda: run.program.engines.current.name == "vllm")
    page = await visit(run.base_url)
    await page.start("page.no_answers")
    dialog = page.find("#disclosure-dialog")
    await expect(dialog).to_be_visible()
    assert len(model.requests) == 0
    await page.button(say("dialogs.disclosure_agree")).click()
    assert (await page.ask("What is this?"))["engine"] == "vllm"
    await page.page.reload()
    await page.start()
    assert (await page.ask("What is this?"))["engine"] == "vllm"
    await expect(dialog).to_be_hidden()


async def test_a_model_that_watches_on_another_machine_is_agreed_to_by_itself(
    far: tuple[Running, FakeOpenAI], visit: Visit
) -> None:
    """Only the machine that is new is named. Gone and back, it is told in a line each, and nobody is asked again."""
    _, large = far
    await large.start()
    with named(OTHER, SMALL):
        async with FakeOpenAI(model="small-vl") as small:
            await small.close()
            urls = (f"http://{OTHER}:{large.port}/v1", f"http://{SMALL}:{small.port}/v1")
            async with running(
                engine="vllm", vllm_base_url=urls[0], watches_base_url=urls[1]
            ) as run:
                page = await visit(run.base_url)
                await page.start("page.no_answers")
                dialog = page.find("#disclosure-dialog")
                await page.button(say("dialogs.disclosure_agree")).click()
                note = page.find(".note", has_text=say("server.stands_in"))
                await expect(note).to_be_visible()
                await expect(dialog).to_be_hidden()
                await small.start()
                await expect(dialog).to_be_visible(timeout=15_000)
                await expect(page.find("#disclosure-host")).to_have_text(SMALL)
                assert len(small.requests) == 0
                await page.button(say("dialogs.disclosure_agree")).click()
                await page.press(say("chat.describe"))
                await page.got('m.type === "response" && m.kind === "describe"')
                assert len(small.requests) > 0
                await small.close()
                await expect(note).to_have_count(2, timeout=15_000)
                await small.start()
                back = page.find(".note", has_text=say("stage.models_back"))
                await expect(back).to_have_count(2, timeout=15_000)
                await expect(dialog).to_be_hidden()
                await page.state.click()
                await expect(page.find("#fact-engine")).to_contain_text(SMALL)
                await page.leave()


async def test_one_question_never_takes_the_place_of_another(
    far: tuple[Running, FakeOpenAI], visit: Visit
) -> None:
    """Pictures wait while a person is asked about their words, and are asked about next; words wait for a new click."""
    _, model = far
    with named(OTHER, WORDS):
        async with TranscriptionServer() as hears:
            urls = (f"http://{OTHER}:{model.port}/v1", f"http://{WORDS}:{hears.port}/v1")
            async with running(
                engine="auto", vllm_base_url=urls[0], transcription_base_url=urls[1]
            ) as run:
                page = await started(visit, run.base_url)
                talk = page.button(say("voice.talk"))
                await talk.click()
                title, host = page.find("#disclosure-title"), page.find("#disclosure-host")
                await expect(title).to_contain_text(WORDS)
                await model.start()
                await page.got(f'm.type === "ready" && m.elsewhere === "{OTHER}"', timeout=20)
                await page.got('m.type === "status" && m.engine === "vllm"')
                await expect(title).to_contain_text(WORDS)
                await page.button(say("page.not_now")).click()
                await expect(host).to_be_visible()
                await expect(host).to_have_text(OTHER)
                await page.find("#talk").evaluate("one => one.click()")
                await page.settle(1)
                await expect(host).to_be_visible()
                # Closed and opened again before the browser tells of the first
                await page.evaluate(
                    "['disclosure-later', 'notice-action'].forEach((id) => document.getElementById(id).click())"
                )
                await page.settle(1)
                await page.button(say("dialogs.disclosure_agree")).click()
                assert (await page.ask("What is this?"))["engine"] == "vllm"
                await talk.click()
                await expect(title).to_contain_text(WORDS)
                await page.button(say("page.not_now")).click()
                await page.leave()
