"""The picture that the model saw: the very one behind an answer, closer, and beside another answer's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.async_api import expect

from server.features.pointing import twice
from tests.browser.visitor import CALM, NOT_REACHED, Visit, Visitor, bounds, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The bytes that the page shows, in their order
WATCH = """() => {
  const make = URL.createObjectURL;
  window.__blobs = [];
  URL.createObjectURL = (blob) => {
    window.__blobs.push(blob.arrayBuffer().then((bytes) => Array.from(new Uint8Array(bytes))));
    return make(blob);
  };
}"""
SIZE = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"


async def test_the_very_picture_is_shown_and_compared(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A tap on an answer's picture shows the bytes that the model got, with size and tokens; the
    wheel comes closer; another answer's stands beside it; one that the server has no more has words for it.
    """
    page = await started(visit, server.base_url, **CALM)
    await page.ask("What is this?")
    first = model.last.jpeg
    await page.show(width=720, height=1280)
    await page.ask("And this?")
    second = model.last.jpeg
    assert first != second

    await page.evaluate(WATCH)
    await page.turns.nth(0).locator(".shot").click()
    dialog = page.find("#seen-dialog")
    words = dialog.locator("figcaption").first
    await expect(words).to_have_text(
        re.compile(
            r"^840×448 pixels · \d+\skB · 480 visual tokens · all of the camera's 1280×720\.$"
        )
    )
    image = dialog.locator("img").first
    await expect(image).to_have_attribute("src", re.compile("^blob:"))
    assert await image.evaluate(SIZE) == [840, 448]
    assert bytes(await page.evaluate("window.__blobs[0]")) == first

    await image.hover()
    await page.page.mouse.wheel(0, -300)
    await expect(dialog.locator("output")).not_to_have_text("100 %")
    await expect(image).to_have_attribute("style", re.compile(r"scale\("))

    await dialog.get_by_label(say("answer.compare")).select_option(index=1)
    beside = dialog.locator("img").nth(1)
    await expect(dialog.locator("figcaption").nth(1)).to_contain_text("448×840 pixels")
    assert await beside.evaluate(SIZE) == [448, 840]
    assert bytes(await page.evaluate("window.__blobs[1]")) == second
    # Both show the same part.
    style = await image.get_attribute("style") or ""
    await expect(beside).to_have_attribute("style", style)
    await dialog.get_by_role("button", name=say("page.done")).click()
    await expect(dialog).to_be_hidden()

    for session in server.program.sessions.list_all():
        session.sent_pictures.clear()
    page.expect("status of 404")
    await page.turns.nth(0).locator(".shot").click()
    await expect(words).to_contain_text(say("answer.picture_gone"))
    await expect(image).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))


# A part of a picture, told by the dialog that the page's own has shown before
_PART = """async () => {
  const { SeenDialog } = await import("/client/core/answer/seen.js");
  const frame = { captured_at: 0, width: 160, height: 80, visual_tokens: 1, source_width: 640, source_height: 360, crop: [100, 50, 260, 130] };
  new SeenDialog(() => Promise.reject(new Error())).open({ question: "Where is it?", frame }, []);
}"""


# Right below the middle, a tenth of the picture wide
_SMALL = '[{"bbox_2d": [500, 500, 600, 600], "label": "cup"}]'


async def test_the_part_of_a_second_look_is_shown(visit: Visit) -> None:
    """Below the whole picture, where its place is marked: the very bytes of the second request, with
    their own size and part. Beside another answer's picture there are the whole ones alone.
    """
    async with FakeOpenAI(model="qwen3-vl-8b-instruct") as model, with_model(model) as run:
        model.answer_for = lambda _body, _jpeg: ["In the middle.\n", _SMALL]
        page = await visit(run.base_url, **CALM)
        page.expect(NOT_REACHED)  # the server ends before the page does
        await page.start()
        await page.ask("What is this?")
        model.requests.clear()
        await page.ask("Where is the cup?")
        whole, part = [request.jpeg for request in model.requests]
        await page.evaluate(WATCH)
        await page.turns.last.locator(".shot").click()
        dialog = page.find("#seen-dialog")
        figures = dialog.locator("figure")
        await expect(figures).to_have_count(2)
        caption = figures.nth(1).locator("figcaption")
        await expect(caption).to_contain_text(say("answer.looked_again_part"))
        await expect(caption).to_contain_text(
            re.compile(
                r"\d+ visual tokens · a part of the camera's 1280×720: \d+×\d+ from \d+, \d+\.$"
            )
        )
        shown = [bytes(await page.evaluate(f"window.__blobs[{at}]")) for at in (0, 1)]
        assert {*shown} == {whole, part}
        told = re.search(r"(\d+)×(\d+) from (\d+), (\d+)", await caption.inner_text())
        assert told is not None
        width, height, left, top = (int(number) for number in told.groups())
        assert (width, height) < (1280, 720)
        place = await bounds(figures.first.locator(".place"))
        mark = await bounds(figures.first.locator(".mark rect"))
        scale = place["width"] / 1280
        assert mark["x"] - place["x"] == pytest.approx(left * scale, abs=4)
        assert mark["y"] - place["y"] == pytest.approx(top * scale, abs=4)
        assert mark["width"] == pytest.approx(width * scale, abs=6)

        # The mark goes along when the whole comes closer; the part has a zoom of its own.
        await figures.first.locator("img").hover()
        await page.page.mouse.wheel(0, -300)
        style = await figures.first.locator("img").get_attribute("style") or ""
        assert "scale(" in style
        await expect(figures.first.locator(".mark")).to_have_attribute("style", style)
        await expect(figures.nth(1).locator("img")).to_have_attribute(
            "style", re.compile(r"scale\(1\)")
        )

        await dialog.get_by_label(say("answer.compare")).select_option(index=1)
        await expect(dialog.locator("figure:visible")).to_have_count(2)
        await expect(caption).to_be_hidden()
        await dialog.get_by_label(say("answer.compare")).select_option(index=0)
        await expect(caption).to_be_visible()


# Two upright pictures of answers
_UPRIGHT = """async () => {
  const { SeenDialog } = await import("/client/core/answer/seen.js");
  const turn = (question, captured_at) => ({
    question,
    frame: { captured_at, width: 448, height: 840, visual_tokens: 1, source_width: 720, source_height: 1280, thumbnail: "data:image/png;base64," },
  });
  new SeenDialog(() => Promise.reject(new Error())).open(turn("What is this?", 0), [turn("And this?", 1)]);
}"""


async def compared_upright(page: Visitor) -> None:
    """Two upright pictures stand side by side on a phone, with the buttons in sight."""
    await page.evaluate(_UPRIGHT)
    dialog = page.find("dialog[open]")
    await dialog.get_by_label(say("answer.compare")).select_option(index=1)
    await expect(dialog.locator("figure")).to_have_count(2)
    # In one look, and once more while words below them still arrive and move both
    for _ in range(3):
        one, other = await dialog.locator(".place").evaluate_all(
            "places => places.map((place) => place.getBoundingClientRect().toJSON())"
        )
        if one["y"] == pytest.approx(other["y"], abs=1):
            break
        await page.page.wait_for_timeout(200)
    assert one["y"] == pytest.approx(other["y"], abs=1)
    assert one["x"] + one["width"] <= other["x"]
    assert one["width"] > 120
    await expect(dialog.get_by_role("button", name=say("page.done"))).to_be_in_viewport(ratio=1)


async def test_two_fingers_come_closer(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """Three times as far apart is three times as close, and together again the whole; of a part of the
    camera's picture it is told which. Upright pictures are compared side by side.
    """
    page = await started(visit, server.base_url, context_options={"has_touch": True})
    await page.ask("What is this?")
    await page.turns.last.locator(".shot").click()
    dialog = page.find("#seen-dialog")
    await expect(dialog.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    box = await bounds(dialog.locator(".place"))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = await page.page.context.new_cdp_session(page.page)

    async def fingers(kind: str, *aside: int) -> None:
        points = [{"x": x + at, "y": y, "id": id} for id, at in enumerate(aside)]
        await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    async def pinch(first: int, last: int) -> None:
        await fingers("touchStart", -first, first)
        for at in (first, (first + last) // 2, last):
            await fingers("touchMove", -at, at)
        await fingers("touchEnd")

    scale = dialog.locator("output")
    await expect(scale).to_have_text("100 %")
    await pinch(20, 60)
    await expect(scale).to_have_text("300 %")
    await expect(dialog.locator("img")).to_have_attribute("style", re.compile(r"scale\(3"))
    await pinch(60, 20)
    await expect(scale).to_have_text("100 %")
    await dialog.get_by_role("button", name=say("page.done")).click()
    await page.evaluate(_PART)
    await expect(page.find("dialog[open] figcaption")).to_contain_text(
        "160×80 pixels · 1 visual token · a part of the camera's 640×360: 160×80 from 100, 50."
    )
    await page.find("dialog[open]").get_by_role("button", name=say("page.done")).click()
    await compared_upright(page)


async def test_a_second_look_at_a_dose_is_told(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the part says otherwise, the answer ends with a sentence; the details have both looks, and
    how many agreed. A look that agrees changes nothing of the answer.
    """
    # A machine with much to do
    monkeypatch.setattr(twice, "SECONDS", 90.0)
    async with FakeOpenAI() as model, with_model(model) as run:
        # Stands in for a model that reads the small print of the whole picture otherwise than enlarged.
        part = ["It says 50 mg."]

        def answer(body: dict[str, Any], _jpeg: bytes | None) -> list[str]:
            again = "enlarged part" in json.dumps(body["messages"][-1])
            return [*part] if again else ["The dose ", "is 5 mg."]

        model.answer_for = answer
        page = await visit(run.base_url, **CALM)
        page.expect(NOT_REACHED)  # the server ends before the page does
        await page.start()
        await page.ask("What is the dose?")
        turn = page.turns.last
        await expect(turn).to_contain_text("The dose is 5 mg.")
        await expect(turn).to_contain_text("It says 50 mg”. Do not rely on this answer")
        details = turn.locator(".evidence .about")
        await expect(details).to_contain_text(
            say("answer.twice_differs", text="It says 50 mg.")
            + ", "
            + say("answer.twice_rate", agreed=0, compared=1)
        )
        part[:] = ["5 mg"]
        await page.ask("Is that the right dose?")
        turn = page.turns.last
        await expect(turn.locator(".evidence .about")).to_contain_text(
            say("answer.twice_agrees") + ", " + say("answer.twice_rate", agreed=1, compared=2)
        )
        await expect(turn.locator(".text")).to_have_text("The dose is 5 mg.")
        # It may be asked for.
        ways = turn.locator(".ways")
        name = say("page.way_twice")
        await expect(ways.get_by_role("button", name=name, include_hidden=True)).to_have_attribute(
            "aria-pressed", "true"
        )
