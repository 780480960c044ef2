"""The camera through the real page: how it sends, the words about a picture that is no good, who may
have it.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from playwright.async_api import expect

from benchmarks.browser import get_outbound_video
from server.core.frames import CameraState
from tests.browser.fixtures import ELSEWHERE
from tests.browser.visitor import CALM, SHARP, Picture, Visit, Visitor, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The page lets the camera go when it was hidden for so long.
HIDDEN_FOR_MS = 4000

# Dark but for a small lamp
_LAMP = "image:data:image/svg+xml;base64," + base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" width="1280" height="720"><rect width="1280" height="720"/>'
    b'<circle cx="400" cy="300" r="40" fill="#fff"/></svg>'
).decode("ascii")


# Writes down, by the page's clock, each key and each rate that the sender gets.
_RATES = """() => {
  window.__keys = [];
  window.__rates = [];
  document.addEventListener("keydown", () => window.__keys.push(performance.now()), true);
  const set = RTCRtpSender.prototype.setParameters;
  RTCRtpSender.prototype.setParameters = function (wanted) {
    window.__rates.push([performance.now(), wanted.encodings[0].maxFramerate]);
    return set.call(this, wanted);
  };
}"""


def limit(sent: dict[str, Any]) -> float:
    """Frames a second that the page allows its sender at most."""
    framerate: float = sent["parameters"]["encodings"][0]["maxFramerate"]
    return framerate


async def rates(page: Visitor, seconds: float) -> tuple[float, float]:
    """Frames a second and kbit/s that are really sent, transport included, over the next `seconds`."""
    first = await get_outbound_video(page.page)
    await page.page.wait_for_timeout(seconds * 1000)
    last = await get_outbound_video(page.page)
    assert first is not None
    assert last is not None
    passed = (last["now"] - first["now"]) / 1000
    return (
        (last["framesSent"] - first["framesSent"]) / passed,
        8 * (last["pairBytesSent"] - first["pairBytesSent"]) / 1000 / passed,
    )


async def put_out_of_sight(page: Visitor, *hidden: bool) -> None:
    """Simulate the browser's events for switching to another tab, or back; several at once."""
    await page.evaluate(
        """all => { for (const hidden of all) {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          Object.defineProperty(document, "visibilityState",
            { configurable: true, get: () => (hidden ? "hidden" : "visible") });
          document.dispatchEvent(new Event("visibilitychange"));
        } }""",
        [*hidden],
    )


async def quicken(page: Visitor, delay: int) -> None:
    """Timers of `delay` ms that the page sets from now on run out after a tenth of that."""
    await page.evaluate(
        """delay => {
          const native = window.setTimeout;
          window.setTimeout = (then, ms, ...rest) => native(then, ms === delay ? ms / 10 : ms, ...rest);
        }""",
        delay,
    )


@pytest.mark.alone
async def test_an_idle_camera_sends_just_what_is_needed(visit: Visit, server: Running) -> None:
    """Two whole pictures a second and at most 200 kbit/s on the wire while nobody asks; typing
    raises the rate at once, and 1.5 s after the last key it falls back.
    """
    page = await started(visit, server.base_url, **SHARP)
    await page.until(lambda sent: limit(sent) == 2)
    await page.settle(2)
    frames, kbps = await rates(page, 3)
    assert 1.5 <= frames <= 2.5
    assert kbps <= 200

    await page.evaluate(_RATES)
    await page.box.press_sequentially("Wh", delay=50)
    await page.until(lambda sent: limit(sent) >= 8, timeout=2)
    frames, _ = await rates(page, 0.6)
    assert frames >= 5
    idle = await page.until(lambda sent: limit(sent) == 2)
    keys, told = await page.evaluate("[window.__keys, window.__rates]")
    woken = next(at for at, rate in told if rate >= 8)
    assert woken - keys[0] <= 500
    asleep = next(at for at, rate in told if rate == 2 and at > woken)
    assert 1000 <= asleep - keys[-1] <= 2600
    assert (idle["frameWidth"], idle["frameHeight"]) == (1280, 720)
    assert idle["parameters"]["degradationPreference"] == "maintain-resolution"


@pytest.mark.alone
async def test_describing_doubles_the_idle_rate(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """While two frames a second are described, four are sent, so that none is waited for; then two
    again.
    """
    page = await started(visit, server.base_url)
    await page.press(say("chat.describe"))
    await page.until(lambda sent: limit(sent) == 4)
    frames, _ = await rates(page, 2)
    assert 3 <= frames <= 5
    await page.press(say("chat.describe"))
    await page.until(lambda sent: limit(sent) == 2)


async def test_the_camera_is_asked_for_its_full_picture(visit: Visit, server: Running) -> None:
    """The page asks for 1280×720 or better from the back camera, without sound, and says what is
    really sent.
    """
    page = await started(visit, server.base_url, **CALM)
    asked = await page.evaluate("window.__camera.constraints")
    assert asked["audio"] is False
    assert asked["video"]["width"]["ideal"] >= 1280
    assert asked["video"]["height"]["ideal"] >= 720
    assert asked["video"]["facingMode"]["ideal"] == "environment"
    await page.page.get_by_role("button", name=say("stage.state")).click()
    facts = page.find("#facts")
    await expect(facts).to_contain_text("1280×720")
    await expect(facts).to_contain_text("frames a second")
    await expect(facts).to_contain_text("kbit/s")
    # A visitor reads how it is; the numbers are behind that.
    await expect(page.find("#fact-connection")).to_have_text(say("facts.good"))
    numbers = re.compile(r"kbit/s|×|frames a second|MB")
    assert not numbers.search(await facts.inner_text())
    await facts.locator("summary").click()
    assert numbers.search(await facts.inner_text())


async def test_a_late_picture_is_announced_and_the_question_answered(page: Visitor) -> None:
    """The page says that it waits for a fresh picture; the next picture is answered."""
    await page.evaluate("window.__camera.mode = 'frozen'")
    sent = await page.send("What is this?")
    await expect(page.turns.last.locator(".text")).to_have_text(say("chat.waiting_picture"))
    await page.evaluate("window.__camera.mode = 'clock'")
    assert (await page.response(sent["id"]))["text"] == "I see a cup."


async def test_a_frozen_camera_is_reported_and_not_answered_from(
    page: Visitor, model: FakeOpenAI
) -> None:
    """A picture that frozen is named as that, a question gets `camera_frozen` and words
    instead of an answer, and when the picture moves again all is well. The question is the first
    thing that wakes the camera: Chromium then sends the old picture once more, as if it were a new
    one.
    """
    await page.box.fill("What is this?")
    await page.evaluate("window.__camera.mode = 'frozen'")
    await page.until(lambda sent: limit(sent) == 2)
    await expect(page.state).to_have_text(say("page.picture_frozen"))
    await expect(page.notice).to_contain_text(say("page.picture_still"))
    await expect(page.notice).to_contain_text(say("problem.camera_frozen"))
    count = model.count
    since = await page.now()
    await page.box.press("Enter")
    error = await page.end((await page.sent("chat", since=since))["id"])
    assert (error["type"], error["code"]) == ("error", "camera_frozen")
    turn = page.turns.last
    await expect(turn).to_have_attribute("data-state", "failed")
    await expect(turn.locator(".remark")).to_contain_text("frozen")
    assert model.count == count

    await page.show(mode="clock")
    await expect(page.state).to_have_text(say("page.live"))
    await expect(page.notice).to_be_hidden()
    await turn.get_by_role("button", name=say("page.try_again")).click()
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")


# A canvas that sends a picture each three seconds, drawn anew by its number
_SELDOM = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const context = canvas.getContext("2d");
  const stream = canvas.captureStream(0);
  window.__shown = [];
  const draw = () => {
    context.fillStyle = `hsl(${window.__shown.length * 70} 60% 50%)`;
    context.fillRect(0, 0, 640, 360);
    stream.getVideoTracks()[0].requestFrame();
    window.__shown.push(performance.timeOrigin + performance.now());
  };
  setInterval(draw, 3000);
  setTimeout(draw, 200);
  navigator.mediaDevices.getUserMedia = async () => stream;
}"""


@pytest.mark.slow
async def test_a_source_that_sends_a_picture_each_three_seconds_is_answered_from_the_next(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The picture of an answer is drawn after its question."""
    page = await visit(server.base_url, **CALM)
    await page.evaluate(_SELDOM)
    await page.start()
    await expect(page.state).to_have_text(say("page.live"), timeout=20_000)
    await page.page.wait_for_function("() => window.__shown.length > 5", timeout=30_000)
    for pause in (500, 2000):
        await page.page.wait_for_timeout(pause)
        sent = await page.send("What is this?")
        at = await page.evaluate("performance.timeOrigin + performance.now()")
        frame = (await page.response(sent["id"]))["frame"]
        shown = await page.evaluate(
            "window.__shown.filter((one) => one > at)".replace("at", str(at))
        )
        assert abs(frame["captured_at"] - shown[0]) < 500


# A canvas that sends one picture and no more
_ONCE = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const context = canvas.getContext("2d");
  const stream = canvas.captureStream(0);
  context.fillStyle = "rgb(200 60 60)";
  context.fillRect(0, 0, 640, 360);
  stream.getVideoTracks()[0].requestFrame();
  navigator.mediaDevices.getUserMedia = async () => stream;
}"""


@pytest.mark.slow
async def test_the_only_picture_of_a_source_is_offered_and_answered_with_its_age(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """No question is answered from it unasked. The repeats that Chromium sends on waking do not make it newer."""
    page = await visit(server.base_url, **CALM)
    await page.evaluate(_ONCE)
    count = model.count
    await page.start_button.click()
    await page.page.wait_for_function(
        "() => window.__peers.some((one) => one.connectionState === 'connected')"
    )
    # Waking sends the picture.
    await page.box.fill("What is this?")
    await expect(page.state).to_have_text(say("page.picture_frozen"), timeout=20_000)
    asked = await page.now()
    await page.box.press("Enter")
    error = await page.end((await page.sent("chat", since=asked))["id"])
    assert (error["type"], error["code"]) == ("error", "camera_frozen")
    assert model.count == count

    since = await page.now()
    await page.turns.last.get_by_role("button", name=say("chat.use_picture")).click()
    sent = await page.sent("chat", since=since)
    assert sent["content"] == "What is this?"
    frame = (await page.response(sent["id"]))["frame"]
    assert frame["held"] is True
    # A frozen camera has had no new picture for two seconds.
    assert frame["captured_at"] < asked - 1900
    assert Picture.of(model.last).brightness == pytest.approx(107, abs=8)
    await expect(page.state).to_have_text(say("page.picture_held"))
    age = re.compile(say("answer.held_age", age=r"\d+\ss"))
    await expect(page.turns.last.locator(".evidence .line")).to_contain_text(age)


async def test_a_dark_picture_is_answered_with_a_hint(page: Visitor) -> None:
    """A lamp in the dark: the page says that it is dark and what helps, and a question is
    answered.
    """
    await page.show(mode=_LAMP, clock=False)
    await expect(page.notice).to_contain_text(say("page.dark_text"))
    await expect(page.state).to_have_text(say("page.live"))
    response = await page.ask("What is this?")
    assert response["frame"]["dark"] is True
    await expect(page.turns.last.locator(".remark")).to_have_text(say("page.was_dark"))
    await page.show(mode="clock", clock=True)
    await expect(page.notice).to_be_hidden()


async def test_a_black_picture_is_told_before_a_model_is_asked(
    page: Visitor, model: FakeOpenAI
) -> None:
    """A covered camera: the notice and the question's end say what to do; no model invents
    anything.
    """
    await page.show(mode="black", clock=False)
    await expect(page.notice).to_contain_text(say("page.black_text"))
    sent = await page.send("What is this?")
    end = await page.end(sent["id"])
    assert (end["type"], end["code"], end["retryable"]) == ("error", "picture_black", True)
    await expect(page.turns.last.locator(".remark")).to_contain_text("Uncover it")
    assert not model.requests
    await page.show(mode="clock", clock=True)
    await expect(page.notice).to_be_hidden()
    await page.ask("And now?")


async def test_stop_lets_the_camera_go_on_both_sides(visit: Visit, server: Running) -> None:
    """The device is let go, the server hears of it and ends the camera, and the page can start it
    again. A track that ends by itself is explained in words, and Start Camera begins anew.
    """
    page = await started(visit, server.base_url)
    session_id = (await page.got('m.type === "ready"'))["session_id"]
    session = server.program.sessions.find(session_id)
    assert session.camera.state() is CameraState.LIVE
    track = await page.page.evaluate_handle(
        "document.querySelector('#video').srcObject.getTracks()[0]"
    )
    async with page.page.expect_response(lambda r: r.request.method == "DELETE") as deleted:
        await page.press(say("chat.camera_off"))
    assert (await deleted.value).ok
    await soon(lambda: session.camera.state() is CameraState.ENDED)
    await page.comes("t => t.readyState", "ended", track)
    await page.lets_go()
    await expect(page.state).to_have_text(say("page.camera_off"))
    await expect(page.start_button).to_be_focused()
    await expect(page.find("#hold")).to_be_hidden()
    assert await get_outbound_video(page.page) is None

    await page.start()
    ids = {e["message"]["session_id"] for e in await page.log() if e["message"]["type"] == "ready"}
    assert ids == {session_id}
    assert session.camera.state() is CameraState.LIVE

    await page.evaluate(
        "document.querySelector('#video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
    )
    await expect(page.card).to_contain_text(say("page.camera_unplugged"))
    await expect(page.state).to_have_text(say("page.camera_off"))
    await page.start()


async def test_an_answer_outlasts_its_camera(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A camera that is lost in mid-answer is over alone; the connection ends after the answer."""
    page = await started(visit, server.base_url)
    model.between_tokens = 0.5
    await page.send("What is this?")
    await expect(page.turns.last.locator(".text")).to_contain_text("I")
    await page.evaluate(
        "document.querySelector('#video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
    )
    await expect(page.state).to_have_text(say("page.camera_off"))
    await expect(page.turns.last.locator(".text")).to_have_text("I see a cup.")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await soon(lambda: server.program.sessions.sockets == 0)
    model.between_tokens = 0
    await page.start()
    await page.ask("And now?")


async def test_a_hidden_page_lets_the_camera_go_and_takes_it_back(
    visit: Visit, server: Running
) -> None:
    """Out of sight for a while the camera is let go; in sight again it comes back by itself, in the
    same session.
    """
    page = await started(visit, server.base_url)
    await quicken(page, HIDDEN_FOR_MS)
    track = await page.page.evaluate_handle(
        "document.querySelector('#video').srcObject.getTracks()[0]"
    )
    await put_out_of_sight(page, True, False)
    # Longer than it may be hidden
    await page.page.wait_for_timeout(HIDDEN_FOR_MS / 10 + 200)
    await expect(page.state).to_have_text(say("page.live"))
    assert await page.evaluate("window.__camera.opened") == 1

    await put_out_of_sight(page, True)
    await expect(page.card).to_contain_text(say("page.camera_rests"))
    await page.comes("t => t.readyState", "ended", track)
    await put_out_of_sight(page, False)
    await expect(page.state).to_have_text(say("page.live"))
    assert await page.evaluate("window.__camera.opened") == 2
    ids = {e["message"]["session_id"] for e in await page.log() if e["message"]["type"] == "ready"}
    assert len(ids) == 1


async def test_a_camera_that_does_not_open_is_explained(visit: Visit, server: Running) -> None:
    """Missing, in use, broken or refused: the page says which and what to do, and Start Camera tries
    again; a question does not wait for it.
    """
    page = await visit(server.base_url)
    for refuse, reason in (
        ("NotFoundError", "missing"),
        ("NotReadableError", "in_use"),
        ("TypeError", "failed"),
        ("NotAllowedError", "denied"),
    ):
        await page.evaluate("why => { window.__camera.refuse = why; }", refuse)
        await page.start_button.click()
        await expect(page.card).to_contain_text(say(f"page.camera_{reason}"))
        await expect(page.card).to_contain_text(say(f"page.camera_{reason}_text"))
        await expect(page.card).to_contain_text(say("page.start"))
        await expect(page.state).to_have_text(say("page.camera_off"))
        await expect(page.start_button).to_be_visible()
    await page.box.fill("What is this?")
    await page.box.press("Enter")
    await expect(page.turns.last).to_have_attribute("data-state", "failed")
    await expect(page.turns.last.locator(".remark")).to_contain_text(say("page.not_asked"))
    await page.evaluate("window.__camera.refuse = ''")
    await page.start()


async def test_an_insecure_address_is_explained(visit: Visit, server: Running) -> None:
    """By http:// and a name, no browser gives the camera away; the page says so and how to get
    https.
    """
    page = await visit(f"http://{ELSEWHERE}:{server.port}")
    page.expect("Cross-Origin-Opener-Policy header has been ignored")
    assert await page.evaluate("isSecureContext") is False
    await page.start_button.click()
    await expect(page.card).to_contain_text(say("page.insecure"))
    await expect(page.card).to_contain_text("https://")
    await expect(page.card).to_contain_text("bash scripts/run.sh --https")
    assert await page.evaluate("window.__camera.opened") == 0
