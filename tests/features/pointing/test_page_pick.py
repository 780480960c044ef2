"""Pointing at a part of the picture: a tap, a circle, the keyboard; the next questions are about that part."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import SHARP, Visit, Visitor, shown, started
from tests.features.builtin.test_things import room
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

# The pick's part is there: it comes a moment after the camera.
LOADED = "() => document.getElementById('pick') !== null"
# Where a place of the picture is on the page: shares to CSS pixels
SPOT = """([x, y]) => {
  const video = document.getElementById("video");
  const box = video.getBoundingClientRect();
  const fit = getComputedStyle(video).objectFit === "contain" ? Math.min : Math.max;
  const scale = fit(box.width / video.videoWidth, box.height / video.videoHeight);
  const [wide, high] = [video.videoWidth * scale, video.videoHeight * scale];
  return [box.left + (box.width - wide) / 2 + x * wide, box.top + (box.height - high) / 2 + y * high];
}"""
CAT, CUP, NOTHING = (0.2, 0.5), (0.68, 0.5), (0.5, 0.05)


@cache
def two_things() -> str:
    """A camera's mode: a cat at the left, a cup at the right."""
    return shown(room(("coffee", 545), ("chelsea", 0)))


async def opened(visit: Visit, url: str, **options: Any) -> Visitor:
    page = await started(
        visit, url, **{"viewport": (1280, 800), **SHARP, "mode": two_things(), "fps": 10, **options}
    )
    await page.page.wait_for_function(LOADED)
    return page


async def tap(page: Visitor, place: tuple[float, float]) -> None:
    await page.page.mouse.click(*await page.evaluate(SPOT, list(place)))


async def test_the_question_is_about_the_thing_that_is_tapped(
    visit: Visit, builtin: Running
) -> None:
    """A box is there at once, and lies on what is found; a tap on another thing moves it, and one on nothing clears it."""
    page = await opened(visit, builtin.base_url)
    box = page.find("#pick .pick")
    for place, thing, others in ((CAT, "a cat", "cup"), (CUP, "a cup", "cat")):
        since = await page.now()
        await tap(page, place)
        await expect(box).to_be_visible()
        await page.got('m.type === "pointed" && m.boxes.length > 0', since=since)
        await expect(box.locator("b")).to_have_text(thing)
        response = await page.tap(say("stage.what_is_this"))
        assert thing in response["text"]
        assert others not in response["text"]
        x1, y1, x2, y2 = response["frame"]["part"]
        assert x1 < place[0] < x2
        assert y1 < place[1] < y2
        assert x2 - x1 < 0.5
    turn = page.turns.last
    await turn.locator(".evidence > summary").click()
    await expect(turn.locator(".about")).to_contain_text(say("answer.part"))
    # Inside of the box nothing changes.
    await tap(page, CUP)
    await expect(box.locator("b")).to_have_text("a cup")
    since = await page.now()
    await tap(page, NOTHING)
    await page.got('m.type === "pointed" && m.boxes.length === 0', since=since)
    await expect(box).to_be_hidden()
    await expect(page.find("#announcer")).to_have_text(say("pick.cleared"))
    response = await page.tap(say("stage.what_is_this"))
    assert "part" not in response["frame"]
    # What is said is about the same.
    told = [one["message"] for one in await page.log() if one["message"]["type"] == "point_at"]
    assert told[-1] == {"type": "point_at"}
    parts = [one["part"] for one in told[:-1]]
    for x, y in (CAT, CUP, NOTHING):
        assert any(x1 < x < x2 and y1 < y < y2 for x1, y1, x2, y2 in parts)


async def test_a_place_without_a_thing_and_a_part_of_a_held_picture(
    visit: Visit, builtin: Running
) -> None:
    """A place where nothing is known says so, and can be asked about all the same. A part of a held
    picture goes with it.
    """
    page = await opened(visit, builtin.base_url)
    since = await page.now()
    await tap(page, NOTHING)
    await page.got('m.type === "pointed" && m.boxes.length === 0', since=since)
    name = page.find("#pick .pick b")
    await expect(name).to_have_text(say("pick.unknown"))
    await expect(page.find("#announcer")).to_have_text(say("pick.unknown"))
    await expect(page.box).to_have_attribute("placeholder", say("chat.ask_part"))
    # It can be read whole, on a phone, too, and at the picture's sides.
    for size in ((390, 844), (844, 390), (1280, 800)):
        await page.resize(*size)
        await expect(name).to_be_in_viewport(ratio=1)
    response = await page.tap(say("stage.what_is_this"))
    assert "part" in response["frame"]
    await page.page.keyboard.press("Escape")
    await expect(page.box).to_have_attribute("placeholder", say("chat.ask"))

    await page.hold()
    await page.got('m.type === "status" && m.held')
    since = await page.now()
    await tap(page, CAT)
    await page.got('m.type === "pointed" && m.boxes.length > 0', since=since)
    response = await page.ask("What is this?")
    assert response["frame"]["held"]
    assert "a cat" in response["text"]
    await page.hold()
    await expect(page.find("#pick .pick")).to_be_hidden()


# From the middle of the thing in front of the camera to that of the box, as a share of the box's side
OFF = """() => {
  const box = document.querySelector("#pick .pick:not([hidden])")?.getBoundingClientRect();
  if (!box) return null;
  const [left, top, right, bottom] = window.__camera.thingAt(performance.timeOrigin + performance.now());
  const [x, y] = (SPOT)([(left + right) / 2, (top + bottom) / 2]);
  return Math.hypot((box.left + box.right) / 2 - x, (box.top + box.bottom) / 2 - y) / box.width;
}""".replace("SPOT", SPOT)


async def test_the_box_goes_along_with_the_thing(visit: Visit, builtin: Running) -> None:
    """And the question that comes later is about where it is by then."""
    page = await started(visit, builtin.base_url, mode="thing", viewport=(1280, 800))
    await page.page.wait_for_function(LOADED)

    async def middle(at: float) -> tuple[float, float]:
        left, top, right, bottom = await page.evaluate("at => window.__camera.thingAt(at)", at)
        return (left + right) / 2, (top + bottom) / 2

    await tap(page, await middle(await page.now()))
    await page.page.wait_for_timeout(1500)
    off = []
    for _ in range(15):
        off.append(await page.evaluate(OFF))
        await page.page.wait_for_timeout(100)
    assert all(one is not None for one in off), off
    assert sorted(off)[len(off) // 2] < 0.3, off
    frame = (await page.ask("What is this?"))["frame"]
    x1, _, x2, _ = frame["part"]
    # Where it was in the picture that the question is about: a busy machine asks late.
    x, _ = await middle(frame["captured_at"])
    assert abs((x1 + x2) / 2 - x) < 0.08


async def test_a_circle_the_cross_and_the_keyboard(visit: Visit, builtin: Running) -> None:
    """A drawn circle is seen, and is the part; a double tap and a long press mark nothing; the cross
    and Escape clear it. By keys: a button that is there for the focus alone, or one of them; arrows
    move it, and it says where it is.
    """
    page = await opened(visit, builtin.base_url)
    mouse, box, stroke = page.page.mouse, page.find("#pick .pick"), page.find("#pick polyline")
    corners = [(0.02, 0.25), (0.4, 0.26), (0.41, 0.75), (0.01, 0.74), (0.02, 0.25)]

    async def circle(wider: float = 1) -> None:
        places = [await page.evaluate(SPOT, [x * wider, y]) for x, y in corners]
        await mouse.move(*places[0])
        await mouse.down()
        for place in places[1:]:
            await mouse.move(*place, steps=3)
        await expect(stroke).to_be_visible()
        await mouse.up()
        await expect(stroke).to_be_hidden()
        await expect(box).to_be_visible()

    # About two things it stays as it is drawn; about one it is that thing's.
    since = await page.now()
    await circle(wider=2.3)
    await page.got('m.type === "pointed"', since=since)
    response = await page.ask("What do you see?")
    assert response["frame"]["part"] == pytest.approx([0.02, 0.25, 0.94, 0.75], abs=0.04)
    since = await page.now()
    await circle()
    await page.got('m.type === "pointed" && m.boxes.length > 0', since=since)
    await expect(box.locator("b")).to_have_text("a cat")
    assert "a cat" in (await page.ask("What is this?"))["text"]
    cross = page.button(say("pick.clear"))
    await cross.click()
    await expect(box).to_be_hidden()
    # The focus goes where the cross was, and the button for keys stays out of sight.
    await expect(page.find("#pick .pick-start")).to_have_class(re.compile("visually-hidden"))
    await circle()
    await page.page.keyboard.press("Escape")
    await expect(box).to_be_hidden()
    spot = await page.evaluate(SPOT, list(CAT))
    since = await page.now()
    await mouse.dblclick(*spot)
    # Also when what is there becomes known later
    await page.got('m.type === "pointed"', since=since)
    await expect(box).to_be_hidden()
    await mouse.move(*spot)
    await mouse.down()
    await page.page.wait_for_timeout(600)
    await mouse.up()
    await expect(box).to_be_hidden()
    # The long press has held the picture; another one lets it go.
    await expect(page.state).to_have_text(say("page.picture_held"))
    await page.hold()
    await expect(page.state).to_have_text(say("page.live"))

    start = page.button(say("pick.start"))
    await page.page.keyboard.press("Tab")
    await start.focus()
    await expect(start).to_have_text(say("pick.start"))
    await start.press("Enter")
    await expect(box).to_be_focused()
    for _ in range(6):
        await box.press("ArrowLeft")
    await expect(page.find("#announcer")).to_have_text(re.compile("left"))
    await box.press("+")
    since = await page.now()
    await box.press("Enter")
    await expect(page.box).to_be_focused()
    await page.got('m.type === "pointed" && m.boxes.length > 0', since=since)
    await expect(box.locator("b")).to_have_text("a cat")
    response = await page.ask("What is this?")
    assert "a cat" in response["text"]
    await page.page.keyboard.press("Escape")
    await expect(box).to_be_hidden()
    # While something is typed, p is a letter.
    await page.box.press("p")
    await expect(box).to_be_hidden()
    await page.find("#state").press("p")
    await expect(box).to_be_focused()


async def test_what_can_be_done_with_a_part(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A model gets both pictures, and may be asked where to press; what moves is watched for by its name."""
    page = await opened(visit, server.base_url)
    press, moves = page.button(say("pick.press")), page.button(say("pick.tell_moves"))
    await expect(press).to_be_hidden()
    await expect(moves).to_be_hidden()
    since = await page.now()
    await tap(page, CUP)
    await page.got('m.type === "pointed" && m.boxes.length > 0', since=since)
    row = page.find("#offered button")
    wanted = (
        "stage.what_is_this",
        "stage.read_this",
        "pick.tell_moves",
        "pick.press",
        "lead.begin",
    )
    await expect(row).to_have_text([say(one) for one in wanted])
    model.requests.clear()
    response = await page.ask("What is this?")
    closer = response["closer"]
    assert closer["crop"][0] > 640
    size = f"{closer['width']}×{closer['height']}"
    about = (await page.figures()).locator(".about")
    await expect(about).to_contain_text(say("answer.part_beside", size=size))
    (seen,) = [one for one in model.requests if one.body.get("messages")]
    content = seen.body["messages"][-1]["content"]
    assert [one["type"] for one in content] == ["image_url", "text", "image_url", "text"]
    await press.click()
    assert (await page.sent("chat", since=since))["part"]
    since = await page.now()
    await moves.click()
    watch = await page.sent("watch", since=since)
    assert watch["condition"] == "a cup moves"
