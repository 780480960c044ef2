"""Boxes on the live picture: they lie on the thing, go along with it, and go when it is taken away."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.visitor import SHARP, Visit, Visitor, started
from tests.features.cameras.test_page_elsewhere import given
from tests.support.clients import http, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import camera_peer, live_encoder
from tests.support.running import Running, with_model
from tests.support.whip_client import WhipCamera
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ASKED = "Where is the box?"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def finder() -> AsyncIterator[FakeOpenAI]:
    """A model server whose model writes boxes in thousandths, by its name."""
    async with FakeOpenAI(model="qwen3-vl-8b-instruct") as model:
        yield model


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pointing(finder: FakeOpenAI) -> AsyncIterator[Running]:
    async with with_model(finder) as run:
        yield run


def edges(jpeg: bytes) -> list[int]:
    """Return the place of the magenta thing in a picture, in thousandths."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    blue, green, red = (image[..., n].astype(int) for n in range(3))
    rows, columns = np.nonzero((red - green > 60) & (blue - green > 60))
    if len(rows) == 0:
        return []
    height, width = image.shape[:2]
    left, right = np.percentile(columns, [0.5, 99.5])
    top, bottom = np.percentile(rows, [0.5, 99.5])
    return [
        round(1000 * part)
        for part in (left / width, top / height, (right + 1) / width, (bottom + 1) / height)
    ]


def looks(_body: Any, jpeg: bytes | None) -> list[str]:
    """Answer as a model does that sees exactly."""
    assert jpeg is not None
    found = edges(jpeg)
    if not found:
        return ["I cannot see it.\n", "[]"]
    entry = json.dumps([{"bbox_2d": found, "label": "pink box", "sure": 0.9}])
    return ["It lies ", "on the table.", "\n```json\n", entry, "\n```"]


# The part that follows things was loaded a moment ago: nobody types faster.
LOADED = """() => performance.getEntriesByType("resource").some(
  ({name, responseEnd}) => name.endsWith("/pointing/recent.js") && responseEnd < performance.now() - 300)"""
# The overlap (intersection over union) of the first box on the page with the thing in front of the camera
OVERLAP = """() => {
  const mark = document.querySelector('.mark:not([data-state="lost"])');
  if (!mark) return null;
  const video = document.getElementById("video").getBoundingClientRect();
  const {videoWidth, videoHeight} = document.getElementById("video");
  const fit = getComputedStyle(document.getElementById("video")).objectFit;
  const scales = [video.width / videoWidth, video.height / videoHeight];
  const scale = fit === "contain" ? Math.min(...scales) : Math.max(...scales);
  const [wide, high] = [videoWidth * scale, videoHeight * scale];
  const [x, y] = [video.left + (video.width - wide) / 2, video.top + (video.height - high) / 2];
  const box = mark.getBoundingClientRect();
  const [l, t, r, b] = window.__camera.thingAt(performance.timeOrigin + performance.now());
  const [left, top, right, bottom] = [x + l * wide, y + t * high, x + r * wide, y + b * high];
  const both = Math.max(0, Math.min(right, box.right) - Math.max(left, box.left)) *
    Math.max(0, Math.min(bottom, box.bottom) - Math.max(top, box.top));
  return both / (box.width * box.height + (right - left) * (bottom - top) - both);
}"""


async def overlaps(page: Visitor, count: int = 20) -> list[float]:
    found = []
    for _ in range(count):
        found.append(await page.evaluate(OVERLAP))
        await page.page.wait_for_timeout(100)
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("viewport", "seconds"),
    [((390, 844), 1.0), pytest.param((1280, 560), 4.0, marks=pytest.mark.night)],
)
async def test_a_box_goes_along_with_the_thing_and_goes_with_it(
    visit: Visit, pointing: Running, finder: FakeOpenAI, viewport: tuple[int, int], seconds: float
) -> None:
    """From the answer's frame to now and on, also where the model took longer than the tracker
    keeps pictures; with bars beside the picture, and cropped.
    """
    finder.answer_for = looks
    finder.first_token = seconds
    page = await started(visit, pointing.base_url, mode="thing", viewport=viewport)
    await page.page.wait_for_function(LOADED)
    requested: list[str] = []
    page.page.on("request", lambda request: requested.append(request.url))
    await page.ask(ASKED)
    turn = page.turns.last
    await expect(turn.locator(".text")).to_have_text("It lies on the table.")
    await expect(turn.locator(".places")).to_have_text(re.compile(r"^Pink box: \w+.*\.$"))
    await expect(turn.locator(".shot i")).to_have_count(1)
    if viewport[0] < 500:
        await page.press(say("stage.whole"))
    fit = "contain" if viewport[0] < 500 else "cover"
    await expect(page.find("#video")).to_have_css("object-fit", fit)
    mark = page.find(".mark")
    await expect(mark).to_have_count(1)
    # The worker comes with the first box.
    await soon(lambda: any(url.endswith("/pointing/worker.js") for url in requested))
    # It takes its place in the whole picture with the next frame.
    await overlaps(page, 2)
    found = await overlaps(page, 12)
    assert len(found) >= 9, found
    assert sorted(found)[len(found) // 2] >= 0.7, found
    assert min(found) >= 0.5, found
    await expect(mark).to_have_attribute(
        "aria-label", re.compile(r"^pink box: .+, \d+\ss ago\. Ask about it$")
    )

    await mark.click()
    await expect(page.box).to_be_focused()
    await expect(page.box).to_have_value(re.compile("^Tell me more about “pink box”, "))

    await page.show(thing=False)
    await expect(page.find('.mark:not([data-state="lost"])')).to_have_count(0)
    # It is looked for, and not taken for something else.
    assert await overlaps(page, 3) == []
    await expect(mark).to_have_count(0)
    await expect(page.find("#announcer")).to_have_text("pink box: out of sight.")


async def test_boxes_of_a_held_picture_by_keyboard_and_of_a_camera_that_is_turned(
    visit: Visit, pointing: Running, finder: FakeOpenAI
) -> None:
    """A held picture's are on the answer's picture, and in words: the live one shows something else
    by now. Nothing is shown where the model finds nothing, and other questions have no boxes. Enter
    on a box asks about it, behind what is typed already; Escape takes all away. A turned camera's
    boxes go: its pictures cannot be compared.
    """
    finder.answer_for = looks
    # No model answers before the page has its own picture of the frame, which a busy browser hands over late.
    finder.first_token = 0.5
    page = await started(visit, pointing.base_url, mode="thing")
    await page.hold()
    await page.got('m.type === "status" && m.held')
    response = await page.ask(ASKED)
    assert len(response["boxes"]) == 1
    turn = page.turns.last
    await expect(turn.locator(".shot i")).to_have_count(1)
    await expect(turn.locator(".places")).to_have_text(re.compile(r"^Pink box: .*\.$"))
    await expect(page.find(".mark")).to_have_count(0)
    since = await page.now()
    await page.hold()
    await page.got('m.type === "status" && !m.held', since=since)

    await page.show(thing=False)
    await page.settle()
    response = await page.ask(ASKED)
    assert (response["boxes"], response["text"]) == ([], "I cannot see it.")
    await expect(page.turns.last.locator(".places")).to_be_hidden()
    finder.answer_for = lambda _body, _jpeg: ["A ", "table."]
    response = await page.ask("What is this?")
    assert "boxes" not in response

    finder.answer_for = looks
    await page.show(thing=True)
    await page.settle()
    await page.page.wait_for_function(LOADED)
    await page.ask(ASKED)
    mark = page.find(".mark")
    await expect(mark).to_have_count(1)
    await mark.focus()
    await mark.press("Enter")
    await mark.press("Enter")
    await expect(page.box).to_have_value(re.compile("^Tell me more about “pink box”, [a-z ,]+[.]$"))
    await page.box.fill("Is it heavy?")
    await mark.press("Enter")
    await expect(page.box).to_have_value(re.compile("^Is it heavy[?] Tell me more about .*[.]$"))
    await mark.press("Escape")
    await expect(mark).to_have_count(0)
    await expect(page.box).to_be_focused()
    await expect(page.find("#marks")).to_be_hidden()

    await page.ask(ASKED)
    await expect(mark).to_have_count(1)
    await page.show(width=720, height=1280)
    await expect(mark).to_have_count(0)


# A newest answer's words inside the log, their first line below no question, and more below the log's edge
_WORDS_IN_SIGHT = """turn => {
  const log = document.querySelector("#log");
  const [window_, words] = [log, turn.querySelector(".text")].map((one) => one.getBoundingClientRect());
  const below = log.scrollHeight - log.scrollTop - log.clientHeight;
  const covered = document.elementFromPoint(words.right - 20, words.top + 10)?.closest(".asked");
  return words.height > 0 && words.top >= window_.top && words.bottom <= window_.bottom && !covered && below > 1;
}"""


async def test_the_places_of_many_things_push_no_words_out_of_sight(
    visit: Visit, pointing: Running, finder: FakeOpenAI
) -> None:
    """On a phone, where words, places and buttons have no room together. A person who scrolls to the places stays there."""

    def many(_body: Any, _jpeg: bytes | None) -> list[str]:
        boxes = [
            {"bbox_2d": [at, at, at + 90, at + 90], "label": f"box number {at}", "sure": 0.9}
            for at in range(0, 800, 100)
        ]
        return ["They lie ", "on the table.", "\n```json\n", json.dumps(boxes), "\n```"]

    finder.answer_for = many
    finder.first_token = 0.0
    page = await started(visit, pointing.base_url, mode="thing", viewport=(390, 644))
    for _ in range(2):
        response = await page.ask(ASKED)
        assert len(response["boxes"]) == 8
        await page.comes(_WORDS_IN_SIGHT, True, await page.turns.last.element_handle())
        await expect(page.button(say("chat.newest"))).to_be_hidden()

    end = "log => { log.scrollTop = log.scrollHeight; return log.scrollTop; }"
    below = await page.find("#log").evaluate(end)
    await page.resize(390, 640)
    await page.settle()
    assert await page.find("#log").evaluate("log => log.scrollTop") >= below
    await expect(page.button(say("chat.newest"))).to_be_hidden()


async def test_a_word_is_marked_without_a_model(visit: Visit, builtin: Running) -> None:
    """The built-in engine knows where it has read something, until the next question."""
    page = await started(
        visit, builtin.base_url, mode="text:MILK\nEXIT", textPx=60, clock=False, **SHARP
    )
    await page.page.wait_for_function(LOADED)
    await page.settle()
    response = await page.ask("Where does it say EXIT?")
    (found,) = response["boxes"]
    assert found["label"] == "EXIT"
    assert response["text"] == "“EXIT”: on the left."
    await expect(page.find(".mark b")).to_have_text("EXIT")
    # The signs of the connection check stay in their rows.
    await page.press(say("page.check_connection"))
    sign = page.find("#doctor-list .mark").first
    await expect(sign).to_have_css("position", "static")
    await page.page.keyboard.press("Escape")
    # It ends with its question.
    await page.ask("What colour is it?")
    await expect(page.find("#marks .mark")).to_have_count(0)


def there(sure: float) -> Callable[[Any, bytes | None], list[str]]:
    """Answer with a large box in the middle of whatever is shown."""
    entry = json.dumps([{"bbox_2d": [300, 300, 600, 600], "label": "pink box", "sure": sure}])
    return lambda _body, _jpeg: ["It is there.\n```json\n", entry, "\n```"]


# The middle of the box as shares of the other camera's picture, which is shown with bars or cropped
MIDDLE = """() => {
  const far = document.getElementById("far");
  const [shown, box] = [far, document.querySelector(".mark")].map((e) => e.getBoundingClientRect());
  const scales = [shown.width / far.naturalWidth, shown.height / far.naturalHeight];
  const scale = getComputedStyle(far).objectFit === "contain" ? Math.min(...scales) : Math.max(...scales);
  const [wide, high] = [far.naturalWidth * scale, far.naturalHeight * scale];
  return [(box.left + box.width / 2 - shown.left - (shown.width - wide) / 2) / wide,
    (box.top + box.height / 2 - shown.top - (shown.height - high) / 2) / high];
}"""
STILLS = """n => window.__log.filter(({message: m}) => m.type === "still").length >= n"""


async def test_a_box_on_another_devices_picture_stays_while_that_shows_the_same(
    visit: Visit, pointing: Running, finder: FakeOpenAI
) -> None:
    """Over the stills that come; and goes, with a word for screen readers, when its part changes. Of
    what the model is not sure the page says so.
    """
    finder.answer_for, finder.first_token = there(0.4), 0.0
    page = await visit(pointing.base_url)
    _, token = await given(page)
    ready = await page.got('m.type === "ready"')
    async with (
        live_encoder(1280, 720, rate=10) as encoder,
        http(pointing) as client,
        camera_peer(encoder) as peer,
    ):
        encoder.scene.moving = encoder.scene.clock = False
        issued = {"token": token, "session_id": ready["session_id"]}
        camera = WhipCamera(pointing, client, peer, issued)
        try:
            await camera.publish()
            await expect(page.state).to_have_text(say("page.live"))
            await page.page.wait_for_function(LOADED)
            await page.page.wait_for_function(STILLS, arg=3)
            response = await page.ask(ASKED)
            assert len(response["boxes"]) == 1
            mark = page.find(".mark")
            await expect(mark).to_have_count(1)
            await expect(mark.locator("b")).to_have_text("pink box?")
            places = page.turns.last.locator(".places")
            await expect(places).to_have_text("Pink box, not sure: in the middle.")
            left, top, right, bottom = response["boxes"][0]["box"]
            middle = [(left + right) / 2560, (top + bottom) / 1440]
            near = f"wanted => ({MIDDLE})().every((one, at) => Math.abs(one - wanted[at]) < 0.03)"
            await page.comes(near, True, middle)
            await page.page.wait_for_function(STILLS, arg=7)
            await expect(mark).to_have_count(1)
            encoder.scene.text = "GONE"
            await expect(mark).to_have_count(0)
            gone = "pink box: out of sight."
            await expect(page.find("#announcer")).to_have_text(gone)
        finally:
            await camera.close()
