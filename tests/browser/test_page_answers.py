"""Questions through the real page: which frame is used, what is read in it, how the answer comes
and is shown.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time

import cv2
import numpy as np
import pytest
from playwright.async_api import expect

from benchmarks.live_page import PRINT, compute_likeness
from tests.browser.visitor import CALM, SHARP, Picture, Visit, Visitor, hurry, shown, started
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def asked(seen: Seen) -> str:
    """The question that a request ends with."""
    return [text for role, text in seen.texts if role == "user"][-1]


@pytest.mark.parametrize("apart", [False, True], ids=["drawn by the page", "drawn apart"])
async def test_a_typed_question_gets_a_whole_frame_captured_after_it_and_shows_it(
    visit: Visit, server: Running, model: FakeOpenAI, apart: bool
) -> None:
    """The model gets the camera's full picture in its own size, with a clock in it that is later
    than the question; page and model get the same facts about it. Beside the words stands that very
    frame; a line names engine, age and time, and opens to more.
    """
    page = await started(visit, server.base_url, apart=apart, **SHARP)
    # A machine with much else to do gets three tries.
    for _ in range(3):
        sent = await page.send("What do you see here?")
        response = await page.response(sent["id"])
        picture = Picture.of(model.last)
        age = picture.before(model.last.arrived_wall * 1000)
        # The clock shows whole milliseconds, rounded down; a picture drawn apart may be on its way
        # when the question is asked.
        is_later = picture.before(sent["sent_at"]) <= (40 if apart else 1)
        if is_later and 0 <= age <= 400 and abs(age - response["frame"]["age_ms"]) <= 100:
            break
    begun = await page.got(f'm.type === "started" && m.id === "{sent["id"]}"')

    frame = response["frame"]
    assert (frame["source_width"], frame["source_height"]) == (1280, 720)
    assert (picture.width, picture.height) == (frame["width"], frame["height"]) == (840, 448)
    assert is_later
    assert frame["captured_at"] >= sent["sent_at"]
    assert 0 <= age <= 400
    assert abs(age - frame["age_ms"]) <= 100
    assert asked(model.last) == "What do you see here?"
    assert {k: v for k, v in begun["frame"].items() if k in ("id", "width", "captured_at")} == {
        k: v for k, v in frame.items() if k in ("id", "width", "captured_at")
    }
    assert response["text"] == "I see a cup."

    turn = page.turns.last
    await expect(turn.locator(".asked")).to_have_text("What do you see here?")
    await expect(turn.locator(".text")).to_have_text("I see a cup.")
    thumb = turn.locator(".thumb")
    await expect(thumb).to_be_visible()
    await expect(thumb).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))
    natural = await thumb.evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])")
    assert 200 <= natural[0] <= 320
    assert (
        abs(natural[0] / natural[1] - response["frame"]["width"] / response["frame"]["height"])
        < 0.03
    )
    assert len((await thumb.get_attribute("src")) or "") * 3 / 4 <= 24 * 1024 + 64
    summary = turn.locator(".evidence > summary")
    await expect(summary).to_have_text(re.compile(r"^fake-vl · just now · [\d.]+\ss$"))
    await expect(turn.locator(".about")).to_be_hidden()
    await summary.click()
    for text in (
        say("answer.wait_frame"),
        say("answer.prepare"),
        say("answer.queue"),
        say("answer.first_word"),
        say("answer.total"),
    ):
        await expect(turn.locator(".times")).to_contain_text(text)
    for text in (
        "vLLM, fake-vl",
        "1280×720",
        f"840×448, {say('answer.visual_tokens', count=480)}",
        say("answer.captured"),
    ):
        await expect(turn.locator(".about")).to_contain_text(text)


async def test_a_turned_phone_gets_answers_about_the_turned_picture(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Turned upright while it sends: the next question's picture is upright and whole, the page
    keeps its connection.
    """
    page = await started(visit, server.base_url)
    await page.show(width=720, height=1280)
    frame = (await page.ask("What do you see here?"))["frame"]
    assert (frame["source_width"], frame["source_height"]) == (720, 1280)
    picture = Picture.of(model.last)
    assert (picture.width, picture.height) == (frame["width"], frame["height"]) == (448, 840)
    assert picture.clock is not None
    assert len(await page.evaluate("window.__peers")) == 1


async def test_a_tapped_question_gets_a_frame_captured_after_it(
    page: Visitor, model: FakeOpenAI
) -> None:
    """One tap asks; the idle camera is woken for it, and nothing older than the tap is used."""
    # As above
    for _ in range(3):
        await page.until(lambda sent: sent["parameters"]["encodings"][0]["maxFramerate"] <= 2)
        await page.settle(2)
        since = await page.now()
        response = await page.tap(say("stage.what_is_this"))
        sent = await page.sent("chat", since=since)
        assert Picture.of(model.last).before(sent["sent_at"]) <= 1
        if response["timings"]["wait_frame_ms"] < 400:
            break
    assert response["timings"]["wait_frame_ms"] < 400
    assert asked(model.last) == "What is this?"


async def test_words_are_shown_as_they_come(page: Visitor, model: FakeOpenAI) -> None:
    """Each piece of text is on the page before the next one is there."""
    pieces = ["One ", "two ", "three ", "four."]
    model.answer_for = lambda _body, _jpeg: pieces
    model.steps = asyncio.Semaphore(0)
    await page.send("Count")
    for number in range(len(pieces)):
        words = "".join(pieces[: number + 1]).strip()
        await expect(page.turns.last.locator(".text")).to_have_text(words)
        if number < len(pieces) - 1:
            await expect(page.turns.last).to_have_attribute("data-state", "answering")
        model.steps.release()
    await expect(page.turns.last).to_have_attribute("data-state", "done")


async def test_milliseconds_are_in_the_details(page: Visitor) -> None:
    """The line under an answer has tenths of a second at most, also for a look in detail."""
    await page.tap(say("stage.read_this"))
    summary = page.turns.last.locator(".evidence > summary")
    await expect(summary).to_have_text(re.compile(r"^fake-vl · just now · [\d.]+\ss$"))
    await summary.click()
    await expect(page.turns.last.locator(".about")).to_contain_text(re.compile(r"\d\sm?s\sold"))


async def test_cancel_stops_the_answer_at_the_model_too(page: Visitor, model: FakeOpenAI) -> None:
    """Cancel ends the answer on the page and the stream at the model server; the next question is
    answered.
    """
    model.behaviour = Behaviour.STALLS
    sent = await page.send("Tell me a long story")
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    await page.button(say("chat.stop")).click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await expect(page.turns.last.locator(".remark")).to_have_text(say("page.cancelled"))
    await expect(page.turns.last.locator(".text")).to_have_text("I see")
    await expect(page.button(say("chat.stop"))).to_be_hidden()
    response = await page.response(sent["id"])
    assert response["finish_reason"] == "cancelled"
    async with asyncio.timeout(2):
        await model.last.done.wait()
    assert model.last.closed_early
    model.behaviour = Behaviour.NORMAL
    assert (await page.ask("And now?"))["text"] == "I see a cup."


async def test_a_double_press_asks_once(page: Visitor, model: FakeOpenAI) -> None:
    """The same question again while the first is not answered, within a second; another question is asked."""
    model.first_token = 1.0
    count = await page.turns.count()
    await page.button(say("stage.what_is_this")).click(click_count=4)
    await expect(page.turns).to_have_count(count + 1)
    await page.page.wait_for_timeout(1000)
    await page.button(say("stage.read_this")).dblclick()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await expect(page.turns).to_have_count(count + 2)


async def test_an_answer_is_text_and_nothing_else(page: Visitor, model: FakeOpenAI) -> None:
    """Markup in an answer is shown as it is written and does nothing."""
    wicked = '<img src=x onerror="window.__bitten=1"><b>bold</b> [link](javascript:alert(1))'
    model.answer_for = lambda _body, _jpeg: [wicked]
    await page.ask('<i>What</i> is "this"?')
    text = page.turns.last.locator(".text")
    await expect(text).to_have_text(wicked)
    assert await text.locator(":not(p)").count() == 0
    assert await page.turns.last.locator(".asked *").count() == 0
    assert await page.evaluate("window.__bitten") is None


async def test_send_becomes_the_button_that_stops(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Pressed twice in a hurry, it sends; words that are typed meanwhile can be sent; the keyboard's
    focus stays there.
    """
    model.behaviour = Behaviour.STALLS
    # Two clicks of a test may be further apart than a person's.
    page = await started(
        visit, server.base_url, prepare=lambda page: hurry(page, "composer.js", DOUBLE=2000)
    )
    send, stop = page.button(say("chat.send")), page.button(say("chat.stop"))
    await page.box.fill("Tell me a story")
    await send.dblclick()
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    await expect(send).to_be_hidden()
    await expect(stop).to_be_focused()
    await page.box.fill("A short one")
    await expect(send).to_be_visible()
    await expect(stop).to_be_visible()
    await page.box.fill("")
    await expect(send).to_be_hidden()
    # A press so soon after Send counts as the second half of a double press, so a fast test has to wait.
    await page.page.wait_for_timeout(2100)
    await stop.click()
    await expect(page.turns.last.locator(".remark")).to_have_text(say("page.cancelled"))
    await expect(stop).to_be_hidden()
    await expect(page.find("#bar [data-untyped]")).to_be_visible()
    await expect(page.box).to_be_focused()


async def test_a_question_before_the_camera_starts_it_and_is_answered(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Whoever types first need not press Start Camera; the question waits for the picture."""
    page = await visit(server.base_url)
    sent = await page.send("What is there?")
    response = await page.response(sent["id"])
    assert response["text"] == "I see a cup."
    # A canvas begins with the picture that it drew last, 33 ms before at most.
    assert Picture.of(model.last).before(sent["sent_at"]) <= 40
    await expect(page.turns.last).to_have_attribute("data-state", "done")


def coded(*texts: str) -> str:
    """A camera's mode that shows QR codes on a sheet, side by side."""
    sheet = np.full((720, 1280), 255, np.uint8)
    for number, text in enumerate(texts):
        code = cv2.QRCodeEncoder.create().encode(text)
        size = 9 * code.shape[0]
        left = 1280 * (2 * number + 1) // (2 * len(texts)) - size // 2
        sheet[(720 - size) // 2 :, left:][:size, :size] = np.kron(code, np.ones((9, 9), np.uint8))
    return shown(sheet, "png")


async def test_a_qr_code_held_up_is_opened_or_copied_when_the_person_says_so(
    visit: Visit, builtin: Running
) -> None:
    """A code on a sheet of paper, asked about by the button that reads. The keyboard alone opens it,
    and the host is shown first. A script is text, and no address; of a Wi-Fi code it is the password.
    """
    page = await visit(builtin.base_url, **CALM)
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.start()
    await page.show(mode=coded("https://example.org/menu?table=7"))
    response = await page.tap(say("stage.read_this"))
    assert "https://example.org/menu?table=7" in response["text"]
    assert response["codes"] == [{"use": "open", "value": "https://example.org/menu?table=7"}]
    button = page.turns.last.get_by_role("group", name=say("answer.codes")).get_by_role("button")
    await expect(button).to_have_text(say("answer.open_host", host="example.org"))
    await button.focus()
    await page.page.keyboard.press("Enter")
    dialog = page.find("#link-dialog")
    await expect(dialog.locator("strong")).to_have_text("example.org")
    link = dialog.get_by_role("link", name=say("answer.open_link"))
    assert await link.get_attribute("href") == "https://example.org/menu?table=7"
    assert await link.get_attribute("rel") == "noopener noreferrer"
    assert len(page.page.context.pages) == 1
    await page.page.keyboard.press("Escape")
    await expect(button).to_be_focused()

    await page.show(mode=coded("javascript:alert(1)", "WIFI:T:WPA;S:Guests;P:blue\\;42;;"))
    response = await page.ask("Scan the codes")
    assert {one["use"] for one in response["codes"]} == {"text", "password"}
    group = page.turns.last.get_by_role("group", name=say("answer.codes"))
    await expect(group.get_by_role("button")).to_have_count(2)
    for word, copied in (("copy_password", "blue;42"), ("copy_text", "javascript:alert(1)")):
        await group.get_by_role("button", name=say(f"answer.{word}"), exact=True).click()
        await expect(page.find("#announcer")).to_have_text(say("page.copied"))
        await page.comes("navigator.clipboard.readText()", copied)
    await expect(page.find("#link-dialog")).to_be_hidden()


async def test_a_price_is_read_and_small_print_idle_and_woken(
    visit: Visit, builtin: Running
) -> None:
    """Out of the box: print in front of the camera, a question about it, the figure in the answer.
    Lines with capitals 14 px high in the camera's picture: 95 % of the characters are right,
    whether the camera slept until the question (a tap) or was woken by typing.
    """
    page = await started(visit, builtin.base_url, **CALM)
    await page.show(mode="text:" + "\n".join(PRINT), textPx=14, clock=False)
    await page.until(lambda sent: sent["parameters"]["encodings"][0]["maxFramerate"] <= 2)
    await page.settle(3)
    idle = await page.tap(say("stage.read_this"))
    await page.until(lambda sent: sent["parameters"]["encodings"][0]["maxFramerate"] <= 2)
    await page.box.press_sequentially("Read this, please", delay=20)
    woken = await page.response((await page.send("Read this, please"))["id"])
    for response in (idle, woken):
        read = response["text"]
        shares = [compute_likeness(line, read) for line in PRINT]
        assert min(shares) >= 0.95, (shares, read)
        assert compute_likeness(" ".join(PRINT), read) >= 0.95

    await page.show(mode="text:SALE\n12.50 EUR", textPx=48)
    response = await page.ask("What does it cost?")
    assert "12.50 EUR" in response["text"]
    assert response["engine"] == "builtin"
    assert (response["frame"]["source_width"], response["frame"]["source_height"]) == (1280, 720)
    await expect(page.turns.last.locator(".text")).to_contain_text("12.50 EUR")
    await expect(page.turns.last.locator(".evidence > summary")).to_contain_text(
        say("page.builtin")
    )
    await page.show(mode="text:SALE\n7.90 EUR")
    assert "7.90 EUR" in (await page.ask("What does it cost?"))["text"]


async def test_a_held_picture_is_the_one_that_is_asked_about(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Hold keeps the picture of that moment for every question until it is released."""
    page = await started(visit, server.base_url, **SHARP)
    await page.hold()
    await expect(page.state).to_have_text(say("page.picture_held"))
    await page.got('m.type === "status" && m.held')
    held_by = await page.now()
    await expect(page.find("#still")).to_be_visible()
    clocks = []
    for question in ("What is this?", "And that?"):
        response = await page.ask(question)
        assert response["frame"]["held"] is True
        picture = Picture.of(model.last)
        clocks.append(picture.clock)
        assert picture.before(held_by) >= 0
        assert (response["frame"]["source_width"], response["frame"]["source_height"]) == (
            1280,
            720,
        )
    assert clocks[0] == clocks[1]
    await expect(page.turns.last.locator(".evidence > summary")).to_contain_text("held frame")

    await page.hold()
    await expect(page.state).to_have_text(say("page.live"))
    await expect(page.find("#still")).to_be_hidden()
    sent = await page.send("And now?")
    response = await page.response(sent["id"])
    assert response["frame"]["held"] is False
    assert Picture.of(model.last).before(sent["sent_at"]) <= 1


async def test_describe_answers_unasked_until_it_is_switched_off(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """One press and descriptions come at the sampling rate, as one turn on the page; another and
    the model rests.
    """
    numbers = iter(range(1, 1000))
    model.answer_for = lambda _body, _jpeg: [f"Scene {next(numbers)}."]
    page = await started(visit, server.base_url)
    count, began = model.count, time.monotonic()
    await page.press(say("chat.describe"))
    await expect(page.find("#describe")).to_have_attribute("aria-pressed", "true")
    # Two, or already more.
    await page.turns.last.locator(".earlier li").nth(1).wait_for(state="attached")
    assert await page.turns.count() == 1
    await expect(page.turns.last.locator(".text")).to_have_text(
        re.compile(r"^Scene ([3-9]|\d\d)\.$")
    )
    # By the clock in the pictures: a busy machine may hand two of them on together, or leave one out.
    clocks = [Picture.of(seen).clock or 0 for seen in list(model.requests)]
    steps = [after - before for before, after in itertools.pairwise(clocks)]
    assert 300 <= min(steps) <= 1200, steps
    assert model.count - count <= 3 + 2 * (time.monotonic() - began)

    since = await page.now()
    await page.press(say("chat.describe"))
    await expect(page.find("#describe")).to_have_attribute("aria-pressed", "false")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await page.got('m.type === "sender" && m.idle.max_framerate === 2', since=since)
    count = model.count
    await page.settle(3)
    assert model.count == count
