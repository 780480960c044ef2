"""The list of things around a person who turns, on the page: the order, its progress, the list, and the way back to a thing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import expect

from tests.browser.visitor import GREY, Visit, Visitor, shown, started
from tests.features.builtin.scenes import PHOTOS
from tests.features.guidance.test_page_lead import LISTEN
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The camera sees 640 pixels of a wall, which are taken for 60 degrees.
DEGREE = 640 / 60


def wall(*photos: tuple[str, float]) -> NDArray[np.uint8]:
    """A wall of 180 degrees with photographs at places in degrees from the middle of its first view."""
    noise = np.random.default_rng(5)
    wide = round(180 * DEGREE) + 640
    cells = noise.normal(150, 18, (12, wide // 30, 1)).astype(np.float32)
    large = cv2.resize(cells, (wide, 360), interpolation=cv2.INTER_CUBIC)
    found = np.repeat(large[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)
    for name, at in photos:
        photo = cv2.imread(str(PHOTOS / f"{name}.jpg"))
        assert photo is not None
        size = round(photo.shape[1] * 170 / photo.shape[0]), 170
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        left = round(320 + at * DEGREE - size[0] / 2)
        found[95:265, left : left + size[0]] = photo
    return np.asarray(found, np.uint8)


def view(room: NDArray[np.uint8], heading: float) -> str:
    """The camera's picture of it, so many degrees to the right."""
    left = round(heading * DEGREE)
    return shown(room[:, left : left + 640].copy())


async def messages(page: Visitor) -> list[dict[str, Any]]:
    return [entry["message"] for entry in await page.log()]


async def test_a_person_hears_what_is_around_and_finds_back(visit: Visit, builtin: Running) -> None:
    page = await visit(builtin.base_url, scripts=[LISTEN])
    requested: list[str] = []
    page.page.on("request", lambda request: requested.append(request.url))
    room = wall(("coffee", 30), ("chelsea", 100))
    await page.start()
    await page.show(mode=view(room, 0), clock=False)
    assert not [url for url in requested if url.endswith("guidance/around.js")]
    since = await page.now()
    await page.send("What is around me?")
    assert (await page.sent("scan", since=since))["on"] is True
    # It was no question.
    await expect(page.turns).to_have_count(0)
    line, button = page.find("#aim"), page.find("#scan")
    await expect(button).to_have_attribute("aria-pressed", "true")
    await expect(line).to_have_text(say("scan.turning", number=0))
    for step in range(25):
        await page.show(mode=view(room, 5 * step))
        await page.page.wait_for_timeout(250)
        # A busy machine looks less often: whoever looks for something lets the camera dwell on it.
        if (seen := {7: 1, 20: 2}.get(step)) is not None:
            for dwell in range(40):
                if any(
                    m.get("type") == "scanned" and m["count"] >= seen for m in await messages(page)
                ):
                    break
                await page.show(mode=view(room, 5 * (step - dwell % 2)))
                await page.page.wait_for_timeout(250)
    turning = await page.got('m.type === "scanned" && m.count >= 2', since=since)
    assert turning["turned"] > 60
    await expect(line).to_contain_text(say("scan.turning", number=0).partition(".")[0])
    # The cross in the bar ends it.
    await page.find("#end-mode").click()
    ended = await page.got('m.type === "scanned" && m.end', since=since)
    assert ended["end"] == "stopped"
    await expect(button).to_have_attribute("aria-pressed", "false")
    await expect(line).to_be_hidden()
    rows = page.find(".around li")
    left = say("scan.line", where=say("scan.left"), things="a cup")
    front = say("scan.line", where=say("scan.front"), things="a cat")
    await expect(rows).to_have_text([left, front, say("scan.part", degrees=abs(ended["turned"]))])
    spoken = await page.evaluate("window.spoken")
    announced = await page.find("#announcer").text_content()
    assert left in " ".join([*spoken, announced or ""])
    # Where was it? An order, too, as long as it was seen.
    since = await page.now()
    await page.send("Where was the cup?")
    bearing = await page.got('m.type === "bearing"', since=since)
    assert -110 < bearing["found"]["degrees"] < -70
    await expect(page.find(".note").last).to_have_text(left)
    # Of what was not seen no engine here could tell more.
    way = page.page.get_by_role("button", name=say("lead.begin"))
    await page.send("Where was the door?")
    await expect(page.find(".note").last).to_have_text(say("scan.unseen", thing="the door"))
    await expect(way).to_have_count(0)
    await page.send("Where was the cup?")
    await way.click()
    assert (await page.sent("goal", since=since))["thing"] == "the cup"
    await expect(page.find("#guide")).to_have_attribute("aria-pressed", "true")


async def test_a_goal_ends_it_in_silence_and_stop_lists_what_was_found(
    visit: Visit, builtin: Running
) -> None:
    """Typed in any language, and by the button that ends the camera; begun by the keyboard, too."""
    page = await started(visit, builtin.base_url, scripts=[LISTEN])
    scan, line, lists = page.find("#scan"), page.find("#aim"), page.find(".around")
    await page.show(mode=GREY, clock=False)
    since = await page.now()
    await page.send("What is around me?")
    await page.sent("scan", since=since)
    await page.send("Guide me to the cup.")
    await page.sent("goal", since=since)
    await expect(scan).to_have_attribute("aria-pressed", "false")
    await expect(lists).to_have_count(0)
    await page.find("#end-mode").click()
    await expect(line).to_be_hidden()
    await page.show(mode=view(wall(("coffee", 10)), 0))
    front = say("scan.line", where=say("scan.front"), things="a cup")
    for number, how in enumerate(("Stopp!", "#stop"), 1):
        since = await page.now()
        await page.find("#more-open").click()
        await scan.focus()
        await page.page.keyboard.press("Enter")
        await page.sent("scan", since=since)
        await expect(line).to_have_text(say("scan.turning", number=0))
        await page.got('m.type === "scanned" && m.things?.length', since=since)
        await (page.press(how) if how == "#stop" else page.send(how))
        rows = lists.last.locator("li")
        await expect(rows).to_have_text([front, say("scan.part", degrees=0)])
        await expect(line).to_be_hidden()
        await expect(scan).to_have_attribute("aria-pressed", "false")
        # It was no question: the list is all that there is.
        await expect(page.turns).to_have_count(number)
        await expect(lists).to_have_count(number)
