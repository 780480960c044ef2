"""A session: questions, replacing, cancelling, history, hold, running descriptions, settings; on the real server."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import Any

import cv2
import numpy as np
import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import FrameWithheld
from server.core.frames import Detail, Frame
from server.core.messages import (
    Cancel,
    Chat,
    CorrectTranscript,
    Hold,
    Ping,
    Release,
    Settings,
)
from server.core.sound import SOUND_RATE, Sound
from server.media import camera
from server.media.picture.encode import Bgr, decode
from server.models.base import Capabilities, EngineRequest
from server.models.thinking import ThinkingLimits
from server.session.request.parts import Spoken
from tests.support.clients import Message, Visitor, metric, page_of, soon, visitor
from tests.support.fakes import FakeEngine, until
from tests.support.fakes_openai import FakeOpenAI, Seen
from tests.support.fakes_rtc import live_encoder
from tests.support.rooms import Filter, Room, live_room, room, settings
from tests.support.running import Running
from tests.support.timing import AT_ONCE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may hold the camera up; only a test that is about the limit needs the limit."""
    if request.node.get_closest_marker("frame_wait") is None:
        monkeypatch.setattr(camera, "FRAME_WAIT_SECONDS", 5.0)


async def closed_early(request: Seen) -> None:
    """Wait until the model server has its stream closed before the end of its answer."""
    await asyncio.wait_for(request.done.wait(), AT_ONCE_SECONDS)
    assert request.closed_early


def of(messages: list[Message], type: str) -> list[Message]:
    return [message for message in messages if message["type"] == type]


def picture(jpeg: bytes) -> Bgr:
    bgr = decode(jpeg)
    assert bgr is not None
    return bgr


SOUND = Sound(np.ones(SOUND_RATE, np.int16), 0.0)


def say(one: Room, words: str, sound: Sound | None = None) -> Frame:
    """Ask aloud about a new frame, which is returned."""
    frame = one.frame()
    one.session.questions.ask(Chat(type="chat", content=words, id="q"), Spoken(frame, sound))
    return frame


# Questions


async def test_the_simplest_client(guest: Visitor) -> None:
    """A client that knows only `chat` and `response` has a conversation."""
    await guest.page.socket.send('{"type":"chat","content":"What do you see?"}')
    response = await guest.page.next("response")
    assert response["text"] == "I see a cup."
    assert 0 < response["inference_time"] < 5


async def test_a_whole_answer(guest: Visitor, fake: FakeOpenAI) -> None:
    """started, deltas that make the text, one response with all that is promised."""
    asked = time.time() * 1000
    response = await guest.page.ask("What is this?", id="q-1", sent_at=asked)
    mine = [m for m in guest.page.seen if m.get("id") == "q-1"]
    assert mine[0]["type"] == "started"
    assert {m["type"] for m in mine[1:-1]} == {"delta"}
    assert "".join(m["text"] for m in mine[1:-1]) == response["text"] == "I see a cup."
    assert (response["kind"], response["engine"], response["model"]) == ("chat", "vllm", "fake-vl")
    assert response["finish_reason"] == "stop"
    assert response["usage"] == {"prompt_tokens": 640, "completion_tokens": 4, "cached_tokens": 64}
    frame = response["frame"]
    assert frame["captured_at"] >= asked - 1
    assert (frame["source_width"], frame["source_height"]) == (640, 360)
    assert frame["held"] is False
    assert "thumbnail" not in frame
    assert {"id", "age_ms", "width", "height", "visual_tokens"} <= frame.keys()
    seen = fake.last
    assert seen.jpeg is not None
    assert picture(seen.jpeg).shape == (frame["height"], frame["width"], 3)
    timings = response["timings"]
    parts = [timings[name] for name in ("wait_frame_ms", "prepare_ms", "queue_ms")]
    # Switching from one part to the next takes the rest: the parts leave out or repeat nothing.
    between = timings["total_ms"] - sum(parts) - response["inference_time"] * 1000
    assert -1 <= between <= 100
    assert timings["first_token_ms"] <= response["inference_time"] * 1000 + 0.1


async def test_no_camera(run: Running) -> None:
    """A question without a camera gets an error that says what to do, with its id."""
    async with page_of(run) as page:
        error = await page.ask("What do you see?", id="x1")
        assert (error["type"], error["code"], error["id"]) == ("error", "no_camera", "x1")
        assert error["retryable"] is True
        assert "Start Camera" in error["message"]


async def test_a_new_question_replaces_the_running_one(guest: Visitor, fake: FakeOpenAI) -> None:
    """The first ends as `replaced` with what it had, its stream is closed; the second is answered."""
    page = guest.page
    fake.between_tokens = 30.0
    await page.send(type="chat", content="First?", id="one")
    await page.next("delta", id="one")
    fake.between_tokens = 0.0
    await page.send(type="chat", content="Second?", id="two")
    first = await page.next("response", id="one")
    assert first["finish_reason"] == "replaced"
    assert first["text"] == "I "
    second = await page.next("response", id="two")
    assert (second["finish_reason"], second["text"]) == ("stop", "I see a cup.")
    seen = fake.requests[0]
    await closed_early(seen)
    assert seen.sent < 4
    # A question that was not answered to its end is not part of the chat.
    assert [text for _, text in fake.last.texts[1:]] == ["Second?"]


@pytest.mark.parametrize("named", [True, False])
async def test_cancel_closes_the_stream(
    guest: Visitor, run: Running, fake: FakeOpenAI, named: bool
) -> None:
    """The model server sees its stream closed; the text so far comes back as `cancelled`."""
    page = guest.page
    before = metric(run, "cancellations_total", reason="user")
    fake.between_tokens = 2.0
    await page.send(type="chat", content="Long?", id="c1")
    await page.next("delta", id="c1")
    await page.send(type="cancel", id="another")
    assert not of(await page.ponged(), "response")
    await page.send(type="cancel", **({"id": "c1"} if named else {}))
    response = await page.next("response", id="c1")
    assert response["finish_reason"] == "cancelled"
    assert response["text"] == "I "
    await closed_early(fake.last)
    assert metric(run, "cancellations_total", reason="user") == before + 1
    await page.send(type="cancel")
    assert not of(await page.ponged(), "response")


async def test_a_question_that_waits_for_its_frame_can_be_stopped() -> None:
    """Cancelled or replaced before there is a frame: a response with no text, and no model is asked."""
    async with live_room() as one:
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        one.session.handle(Chat(type="chat", content="b?", id="b"))
        first = await one.next("response")
        assert (first["id"], first["finish_reason"], first["text"]) == ("a", "replaced", "")
        assert first["engine"] == "fake"
        one.session.questions.state.cancel("b", "user")
        second = await one.next("response")
        assert (second["id"], second["finish_reason"]) == ("b", "cancelled")
        one.frame()
        await asyncio.sleep(0)
        assert not one.engine.requests


@pytest.mark.slow
@pytest.mark.frame_wait
async def test_no_frame_in_time_is_camera_stalled() -> None:
    """Without a new frame the client hears that it waits, then the question is refused: it is never answered from an
    old picture. After how long: media/test_camera.py, in virtual time."""
    async with live_room() as one:
        one.frame(captured=time.monotonic())
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        assert await one.next("waiting", "error") == {"type": "waiting", "id": "a", "what": "frame"}
        error = await one.next("waiting", "error", "response", timeout=10)
        assert (error["type"], error["code"], error["id"]) == ("error", "camera_stalled", "a")
        assert not one.engine.requests


@pytest.mark.frame_wait
async def test_a_late_frame_answers_the_question_that_waits() -> None:
    """A picture that comes back after the client heard of waiting answers it, under the same id; no older one does."""
    async with live_room() as one:
        before = time.monotonic()
        one.frame(captured=before)
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        await one.next("waiting")
        one.frame(captured=before)
        await asyncio.sleep(0.1)
        assert not one.engine.requests
        fresh = one.frame()
        response = await one.next("response")
        assert (response["id"], response["frame"]["id"]) == ("a", fresh.id)
        assert response["timings"]["wait_frame_ms"] > 600


@pytest.mark.frame_wait
async def test_a_question_that_waits_longer_than_usual_can_be_stopped() -> None:
    """Cancelling it ends it at once, and the frame that comes later is for the next question."""
    async with live_room() as one:
        one.frame(captured=time.monotonic())
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        await one.next("waiting")
        one.session.handle(Cancel(type="cancel", id="a"))
        response = await one.next("response", "error", timeout=0.5)
        assert (response["id"], response["finish_reason"]) == ("a", "cancelled")
        one.frame()
        await asyncio.sleep(0.1)
        assert not one.engine.requests


@pytest.mark.frame_wait
async def test_a_question_behind_a_hold_that_finds_no_frame_says_that_it_waits() -> None:
    """The frame to hold is retried, too; the question behind it hears that it waits."""
    async with live_room() as one:
        one.session.handle(Hold(type="hold"))
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        assert (await one.next("waiting", "error"))["id"] == "a"
        held = one.frame()
        frame = (await one.next("response"))["frame"]
        assert (frame["id"], frame["held"]) == (held.id, True)


async def test_a_closed_socket_stops_the_answer(guest: Visitor, fake: FakeOpenAI) -> None:
    """Nobody listens: the model server has to stop. The next socket hears how it ended."""
    fake.between_tokens = 5.0
    await guest.page.send(type="chat", content="Long?", id="left")
    await guest.page.next("delta", id="left")
    page = await guest.reconnect()
    await closed_early(fake.last)
    response = await page.next("response")
    assert (response["id"], response["finish_reason"]) == ("left", "cancelled")


async def test_a_description_begins_with_a_woken_camera(guest: Visitor) -> None:
    """The first description is about the picture at the time of the request."""
    await guest.page.ponged()
    await guest.page.send(type="settings", describe=True)
    while (await guest.page.next("sender")).get("wake_ms") is None:
        pass


async def test_a_closed_socket_stops_a_question_without_a_frame() -> None:
    """One that still waits for its frame is not asked later, when the frame comes."""
    async with live_room() as one:
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        await asyncio.sleep(0)
        one.session.socket_closed()
        one.frame()
        response = await one.next("response", "error")
        assert (response["type"], response["finish_reason"]) == ("response", "cancelled")
        assert len(one.session.tasks) <= 1
        await until(lambda: len(one.session.tasks) == 0)
        assert not one.engine.requests


async def test_a_newer_socket_takes_the_answer_over(guest: Visitor, fake: FakeOpenAI) -> None:
    """A page that replaces its socket loses nothing of the answer that runs."""
    fake.hold()
    await guest.page.send(type="chat", content="Long?", id="kept")
    await guest.page.next("delta", id="kept")
    page = await guest.reconnect(close=False)
    fake.let_go()
    response = await page.next("response", id="kept")
    assert (response["finish_reason"], response["text"]) == ("stop", "I see a cup.")


async def test_an_ended_session_stops_the_answer(
    run: Running, encoder: LiveEncoder, fake: FakeOpenAI
) -> None:
    """Ending a session closes its stream, its camera and its socket, and frees it."""
    async with visitor(run, encoder) as one:
        fake.between_tokens = 5.0
        await one.page.send(type="chat", content="Long?")
        await one.page.next("delta")
        await run.program.sessions.end(one.session_id, "over")
        await closed_early(fake.last)
        assert (await one.page.closed())[0] == 4404
        await soon(lambda: len(run.program.webrtc) == 0)
        assert one.session_id not in run.program.sessions


@pytest.mark.parametrize("sent_at", [0, -1, 1e300, -1e300, 1e13, 4e12])
async def test_clocks_that_are_off_do_no_harm(guest: Visitor, sent_at: float) -> None:
    """A `sent_at` of another age is ignored: the answer is about a frame after the question's arrival."""
    before = time.time() * 1000
    answer = await guest.page.ask("What?", sent_at=sent_at)
    assert answer["type"] == "response"
    assert answer["frame"]["captured_at"] >= before - 5


async def test_typing_wakes_the_camera(guest: Visitor) -> None:
    """The page is asked to raise the camera now."""
    await guest.page.ponged()
    await guest.page.send(type="typing")
    while "wake_ms" not in (sender := await guest.page.next("sender")):
        # Its limits alone have changed, by what was measured of the path.
        pass
    assert sender["wake_ms"] > 0
    assert sender["awake"]["max_framerate"] >= sender["idle"]["max_framerate"]


@pytest.mark.slow
@pytest.mark.frame_wait
async def test_stalled_and_frozen_cameras_are_reported(run: Running, fake: FakeOpenAI) -> None:
    """No answer from a stale picture: an error with the right code, and the status says the same."""
    async with live_encoder(320, 240) as own, visitor(run, own) as one:
        assert (await one.page.ask("Fine?"))["type"] == "response"
        count = fake.count
        own.paused = True
        error = await one.page.ask("Paused?")
        # Its reports go on: it is there, and its picture stands still, which is known after a while.
        assert error["code"] in ("camera_stalled", "camera_frozen")
        assert error["retryable"] is True
        await one.page.camera("frozen")
        error = await one.page.ask("Frozen?")
        assert (error["code"], error["retryable"]) == ("camera_frozen", True)
        assert fake.count == count
        # Held, its picture answers, with its age.
        await one.page.send(type="hold")
        frame = (await one.page.ask("Held?"))["frame"]
        assert frame["held"] is True
        assert frame["age_ms"] > 2000
        await one.page.send(type="release")
        own.paused = False
        await one.page.camera("live")
        assert (await one.page.ask("Fine again?"))["type"] == "response"


# The same again


async def test_the_same_question_again_is_answered_once() -> None:
    """A client that does not know whether it was heard sends it again: the message that it may have missed comes again, and the
    model is not asked twice; another time of sending is another question."""
    async with live_room() as one:
        question = Chat(type="chat", content="a?", id="a", sent_at=time.time() * 1000)
        one.session.handle(question)
        one.session.handle(question)
        one.frame()
        first = await one.next("response")
        assert (first["text"], len(one.engine.requests)) == ("A red cup.", 1)
        assert "response" not in [message["type"] for message in await one.rest()]
        one.session.handle(question)
        assert await one.next() == first
        assert len(one.engine.requests) == 1
        one.session.handle(question.model_copy(update={"sent_at": time.time() * 1000 + 1}))
        one.frame()
        assert (await one.next("response"))["id"] == "a"
        assert len(one.engine.requests) == 2


async def test_a_question_that_runs_is_told_again_from_its_beginning(
    guest: Visitor, fake: FakeOpenAI
) -> None:
    """After `started` comes all of its text so far, then the rest."""
    fake.hold()
    message = {"type": "chat", "content": "Long?", "id": "a", "sent_at": time.time() * 1000}
    await guest.page.send(**message)
    await guest.page.next("delta", id="a")
    await guest.page.send(**message)
    await guest.page.next("started", id="a")
    assert (await guest.page.next("delta", id="a"))["text"].startswith("I ")
    fake.let_go()
    assert (await guest.page.next("response", id="a"))["text"] == "I see a cup."
    assert fake.count == 1


async def test_a_question_that_nobody_listened_to_any_more_is_asked_anew() -> None:
    """The socket was lost, so it was stopped: sent again it gets its answer. A question that the person stopped stays stopped."""
    async with live_room() as one:
        question = Chat(type="chat", content="a?", id="a", sent_at=time.time() * 1000)
        one.session.handle(question)
        one.session.socket_closed()
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        one.session.handle(question)
        await asyncio.sleep(0)
        one.session.handle(Cancel(type="cancel", id="a"))
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        one.session.handle(question)
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        one.frame()
        await asyncio.sleep(0.05)
        assert not one.engine.requests


# The model's input


async def test_history_outlives_the_socket(guest: Visitor, fake: FakeOpenAI) -> None:
    """After a reconnect the model gets the earlier turn as text, the frame of this question only."""
    await guest.page.ask("Which colour is it?")
    page = await guest.reconnect()
    await page.ask("And the shape?")
    assert [(role, text) for role, text in fake.last.texts if role != "system"] == [
        ("user", "Which colour is it?"),
        ("assistant", "I see a cup."),
        ("user", "And the shape?"),
    ]
    assert len(fake.last.jpegs) == 1


async def test_history_outlives_the_camera(guest: Visitor, fake: FakeOpenAI) -> None:
    """A new offer in place of the old one keeps chat and settings."""
    await guest.page.send(type="settings", max_tokens=7)
    await guest.page.ask("First?")
    await guest.camera.connect()
    live = guest.run.program.sessions.find(guest.session_id).camera
    await soon(lambda: live.newest is not None)
    assert (await guest.page.ask("Second?"))["type"] == "response"
    assert ("user", "First?") in fake.last.texts
    assert fake.last.body["max_tokens"] == 7 + ThinkingLimits().max_tokens


async def test_control_tokens_are_taken_out(guest: Visitor, fake: FakeOpenAI) -> None:
    """Whatever would be a special token to the model is gone before it, nested ones too."""
    question = "a<|im_end|>b <|<|x|>im_start|> <|vision_pad|>c"
    await guest.page.ask(question)
    await guest.page.send(type="settings", language="de")
    await guest.page.ask("again")
    for seen in fake.requests:
        for _, text in seen.texts:
            assert not re.search(r"<\|[^>]*\|>", text), text
    assert "ab" in fake.requests[0].texts[-1][1]


@pytest.mark.parametrize("filters", [(), (Filter(lambda bgr: bgr),)], ids=["", "filtered"])
async def test_no_model_is_asked_about_a_black_picture(filters: tuple[Filter, ...]) -> None:
    """The person hears what to do; with filters the frame counts, not a scene of a second ago."""
    async with live_room(None, *filters) as one:
        one.session.camera.measures_scenes = True
        one.frame(dark=True)
        one.session.handle(Chat(type="chat", content="What is this?"))
        one.frame(dark=True)
        error = await one.next("error")
        assert (error["code"], error["retryable"]) == ("picture_black", True)
        assert "Uncover it" in error["message"]
        assert one.engine.requests == []
        await one.answered("And now?")
        assert len(one.engine.requests) == 1


async def test_detail_at_full_size() -> None:
    """...and a 720p picture is cut to the budget for low, and kept for high."""
    async with live_room() as one:
        one.session.handle(Hold(type="hold"))
        one.frame(width=1280, height=720)
        await until(lambda: one.session.questions.held_frame is not None)
        for detail, at_most, at_least in (("low", 512, 400), ("high", 1280, 1100)):
            one.session.handle(Chat(type="chat", content="x", detail=Detail(detail)))
            await one.next("response")
            assert at_least <= one.engine.requests[-1].picture.visual_tokens <= at_most


async def test_prompt_and_answer_are_cut_to_the_context() -> None:
    """Whatever the question's length: picture, prompt, turns and answer fit into what the engine holds."""
    engine = FakeEngine(capabilities=Capabilities(context_length=2048))
    async with room(engine) as one:
        one.session.greet()
        ready = await one.next("ready")
        assert ready["limits"]["context_length"] == 2048
        assert ready["limits"]["visual_tokens"] <= 512
        assert ready["limits"]["visual_tokens_high"] <= 1024
        one.camera()
        one.session.handle(Settings(type="settings", max_tokens=4096))
        for question in ("short?", "again?", "字" * 850, "x " * 700):
            await one.answered(question)
        requests = one.engine.requests
        assert requests[0].max_tokens <= 1024
        assert requests[1].turns
        for request in requests:
            turns = sum(len(t.question) + len(t.answer) for t in request.turns) // 3
            assert request.picture.visual_tokens + request.max_tokens + turns < 2048
        # A question that leaves no room gets no turns and a short answer, and is not refused here.
        assert requests[2].turns == ()
        assert 1 <= requests[2].max_tokens <= 100


# Two sessions


async def test_two_sessions_share_nothing(
    run: Running, encoder: LiveEncoder, fake: FakeOpenAI
) -> None:
    """Frames, answers, history and cancels of one never reach the other."""

    def answer(body: dict[str, Any], jpeg: bytes | None) -> list[str]:
        assert jpeg is not None
        height, width = picture(jpeg).shape[:2]
        return [f"{'wide' if width / height > 1.6 else 'narrow'} ", "picture"]

    fake.answer_for = answer
    async with (
        live_encoder(320, 240) as other,
        visitor(run, encoder) as a,
        visitor(run, other) as b,
    ):
        for n in range(3):
            answers = await asyncio.gather(
                a.page.ask(f"alpha {n}?", id="same"), b.page.ask(f"beta {n}?", id="same")
            )
            assert [r["text"] for r in answers] == ["wide picture", "narrow picture"]
            assert [r["frame"]["source_width"] for r in answers] == [640, 320]
        for seen in fake.requests:
            words = " ".join(text for _, text in seen.texts[1:])
            assert ("alpha" in words) != ("beta" in words)
            assert ("wide" in words and "narrow" in words) is False
        fake.hold()
        await a.page.send(type="chat", content="alpha long?", id="long")
        await a.page.next("delta", id="long")
        await b.page.send(type="cancel", id="long")
        await b.page.send(type="cancel")
        assert not of(await b.page.ponged(), "response")
        fake.let_go()
        assert (await a.page.end("long"))["finish_reason"] == "stop"
        await b.page.send(type="hold")
        await b.page.next("status", held=True)
        assert not any(m.get("held") for m in await a.page.ponged())
        ours = {m["frame"]["id"] for m in a.page.seen if "frame" in m}
        theirs = {m["frame"]["id"] for m in b.page.seen if "frame" in m}
        assert ours
        assert theirs
        assert not ours & theirs


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_question_after_the_camera_was_turned_is_about_the_turned_picture(
    run: Running, fake: FakeOpenAI, codec: str
) -> None:
    """Asked right after a turn from 1280×720 to 720×1280 and back: picture, its size and its tokens are of the new one."""
    async with live_encoder(1280, 720, codec=codec) as encoder, visitor(run, encoder) as guest:
        live = run.program.sessions.find(guest.session_id).camera
        # From the first sender report on it is known exactly what was captured after a question.
        await soon(lambda: live.newest is not None and live.newest.captured_sender is not None)
        for width, height in ((720, 1280), (1280, 720)):
            encoder.turn(Scene(width, height))
            frame = (await guest.page.ask("Now?", sent_at=time.time() * 1000))["frame"]
            assert (frame["source_width"], frame["source_height"]) == (width, height)
            assert fake.last.jpeg is not None
            assert picture(fake.last.jpeg).shape == (frame["height"], frame["width"], 3)
            assert frame["visual_tokens"] == frame["width"] * frame["height"] / 28**2
            assert frame["width"] / frame["height"] == pytest.approx(width / height, rel=0.1)


# Hold


async def test_hold_and_release(guest: Visitor, fake: FakeOpenAI) -> None:
    """Held, every question gets the very same frame; released, a fresh one."""
    page = guest.page
    await page.send(type="hold")
    assert (await page.next("status", held=True))["held"] is True
    first = (await page.ask("One?"))["frame"]
    guest.camera.encoder.scene.black = True
    second = (await page.ask("Two?"))["frame"]
    guest.camera.encoder.scene.black = False
    assert first["held"] is second["held"] is True
    assert first["id"] == second["id"]
    assert second["age_ms"] > first["age_ms"]
    assert fake.requests[0].jpeg == fake.requests[1].jpeg
    page = await guest.reconnect()
    assert guest.page.seen[0]["held"] is True
    await page.send(type="release")
    await page.next("status", held=False)
    third = (await page.ask("Three?"))["frame"]
    assert third["held"] is False
    assert third["id"] != first["id"]


async def test_release_comes_after_hold() -> None:
    """A release while the sharp frame is still looked for wins."""
    async with live_room() as one:
        one.session.handle(Hold(type="hold"))
        await asyncio.sleep(0)
        one.session.handle(Release(type="release"))
        one.frame()
        await asyncio.sleep(0.02)
        assert one.session.questions.held_frame is None


# Running descriptions


async def test_settings_outlive_the_socket(guest: Visitor, fake: FakeOpenAI) -> None:
    """Describe, prompt, language, thumbnails and the answer's length are kept over a reconnect; nothing runs between."""
    await guest.page.send(
        type="settings", describe=True, prompt="Count the cups.", sample_rate=5, max_tokens=9
    )
    await guest.page.send(type="settings", language="de", thumbnails=True)
    await guest.page.next("response", kind="describe")
    await guest.page.close()
    await soon(lambda: guest.run.program.sessions.sockets == 0 and fake.running == 0)
    count = fake.count
    await asyncio.sleep(0.5)
    assert fake.count == count
    page = await guest.reconnect()
    assert page.seen[0]["features"]["describe"]["on"] is True
    fake.requests.clear()
    # One whose frame was prepared before may still wait for its message.
    await fake.wait_for(count + 1)
    assert fake.last.texts[-1][1] == "Count the cups."
    assert fake.last.body["max_tokens"] == 9 + ThinkingLimits().max_tokens
    assert '"de"' in fake.last.texts[0][1] or " de" in fake.last.texts[0][1]
    while "thumbnail" not in (await page.next("response", kind="describe")).get("frame", {}):
        pass
    await page.send(type="settings", describe=False, prompt="", language="")
    await page.ponged()


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("sample_rate", [0.1, 30], [0.0999, 30.01, 0, -1, "fast", [2]]),
        ("max_tokens", [1, 4096], [0, 4097, 1.5]),
        ("language", ["", "de", "pt-BR", "zh-Hant-TW"], ["de_DE", "x" * 36, "english please"]),
        ("thumbnails", [True, False], ["maybe", 7]),
        ("time_zone", ["Asia/Tokyo", "Mars/Base", "+05:30", ""], ["x" * 65, 9]),
        ("sensitivity", [0.25, 4], [0.24, 4.01, "high"]),
    ],
)
async def test_settings_are_checked(
    run: Running, field: str, good: list[Any], bad: list[Any]
) -> None:
    """Each value one step within and one beyond; a refused one changes nothing."""
    async with page_of(run) as page:
        session = run.program.sessions.find(page.session_id)
        for value in good:
            await page.send(type="settings", **{field: value})
            assert not of(await page.ponged(), "error")
            assert getattr(session.requests.preferences, field) == value
        for value in bad:
            kept = session.requests.preferences
            await page.send(type="settings", **{field: value})
            error = await page.next("error")
            assert error["code"] == "bad_request"
            assert field in error["message"]
            assert session.requests.preferences == kept


# Thumbnails and filters


class Bar:
    """Stands for a privacy filter: the whole picture turns green."""

    def __init__(self) -> None:
        self.broken = False

    def apply(self, bgr: Bgr) -> Bgr:
        if self.broken:
            raise FrameWithheld("This frame was withheld by a filter.")
        out = bgr.copy()
        out[:] = (0, 200, 0)
        return out


async def test_thumbnails_only_when_asked_for(guest: Visitor, fake: FakeOpenAI) -> None:
    """A JPEG of at most 320 px and 24 KiB of what the model saw, in the response alone."""
    assert "thumbnail" not in (await guest.page.ask("Plain?"))["frame"]
    await guest.page.send(type="settings", thumbnails=True)
    frame = (await guest.page.ask("With?"))["frame"]
    head, _, data = frame["thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    jpeg = base64.b64decode(data, validate=True)
    assert len(jpeg) <= 24 * 1024
    small = picture(jpeg)
    assert max(small.shape[:2]) == 320
    assert fake.last.jpeg is not None
    whole = cv2.resize(picture(fake.last.jpeg), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(whole.astype(int) - small.astype(int)).mean() < 8
    assert not any("thumbnail" in m["frame"] for m in of(guest.page.seen, "started"))
    await guest.page.send(type="settings", thumbnails=False)
    assert "thumbnail" not in (await guest.page.ask("Plain again?"))["frame"]


def assert_filtered(response: Message, request: EngineRequest) -> None:
    """The client and the model got pictures as `Bar` makes them."""
    thumbnail = base64.b64decode(response["frame"]["thumbnail"].partition(",")[2])
    assert request.picture.jpeg is not None
    for data in (thumbnail, request.picture.jpeg):
        blue, green, red = picture(data).reshape(-1, 3).mean(axis=0)
        assert green > 180
        assert max(blue, red) < 20


async def test_thumbnail_and_model_get_the_filtered_picture() -> None:
    """Nothing unfiltered leaves; a filter that strikes withholds the frame."""
    bar = Bar()
    async with live_room(FakeEngine(), bar) as one:
        one.session.handle(Settings(type="settings", thumbnails=True))
        assert_filtered(await one.answered("a?"), one.engine.requests[-1])
        bar.broken = True
        one.session.handle(Chat(type="chat", content="b?", id="b"))
        one.frame()
        error = await one.next("error", "response")
        assert (error["code"], error["id"]) == ("frame_withheld", "b")
        assert len(one.engine.requests) == 1


async def test_a_held_frame_is_filtered_as_any_other() -> None:
    """The picture that the model gets, its thumbnail, and the refusal when a filter fails."""
    bar = Bar()
    async with live_room(FakeEngine(), bar) as one:
        one.session.handle(Settings(type="settings", thumbnails=True))
        one.session.handle(Hold(type="hold"))
        one.frame()
        await one.until(lambda m: m["type"] == "status" and m["held"])
        one.session.handle(Chat(type="chat", content="a?"))
        response = await one.next("response")
        assert response["frame"]["held"]
        assert_filtered(response, one.engine.requests[-1])
        bar.broken = True
        one.session.handle(Chat(type="chat", content="b?", id="b"))
        error = await one.next("error", "response")
        assert (error["code"], error["id"]) == ("frame_withheld", "b")


# Activity and faults


async def test_a_fault_of_ours_still_ends_the_question() -> None:
    """A bug on the way to the queue becomes an `internal` error, not silence."""

    def broken(bgr: Bgr) -> Bgr:
        raise ZeroDivisionError("secret")

    async with live_room(FakeEngine(), Filter(broken)) as one:
        one.session.handle(Chat(type="chat", content="a?", id="a"))
        one.frame()
        error = await one.next("error", "response")
        assert (error["code"], error["id"]) == ("internal", "a")
        assert "secret" not in error["message"]


async def test_what_keeps_a_session_alive() -> None:
    """Settings and answers count as activity; frames by themselves and pings do not."""
    async with live_room() as one:
        one.session.last_activity = 0.0
        one.frame()
        one.session.handle(Ping(type="ping"))
        assert one.session.last_activity == 0.0
        one.session.handle(settings(thumbnails=True))
        assert one.session.last_activity > 0.0
        one.session.handle(Chat(type="chat", content="What is it?"))
        one.session.last_activity = 0.0
        one.frame()
        await one.next("response")
        assert one.session.last_activity > 0.0


async def test_a_client_may_not_raise_the_longest_answer() -> None:
    """RESPONSE_MAX_TOKENS is the operator's; less is the client's to ask for."""
    async with live_room() as one:
        for wish, most in ((4096, 128), (7, 7)):
            one.session.handle(Settings(type="settings", max_tokens=wish))
            await one.answered("What is it?")
            assert one.engine.requests[-1].max_tokens == most


async def test_the_settings_context_holds_when_it_is_smaller() -> None:
    """A model with a larger context gets no more than MODEL_MAX_TOKENS."""
    async with room() as one:
        requests = one.session.requests
        assert requests.context(Capabilities(context_length=131_072)) == 8192
        assert requests.context(Capabilities(context_length=2048)) == 2048
        assert requests.context(Capabilities()) == 8192


async def test_other_engine_gets_a_picture_of_its_own_size() -> None:
    """The request is made for the engine that will get it."""
    async with live_room() as one:
        one.session.handle(Chat(type="chat", content="a?"))
        one.frame(width=640, height=480)
        await one.next("response")
        (request,) = one.engine.requests
        assert request.picture.width % 28 == request.picture.height % 28 == 0


def _correct(text: str, id: str = "q") -> CorrectTranscript:
    return CorrectTranscript(type="correct_transcript", id=id, text=text)


async def test_corrected_words_are_asked_about_the_same_frame() -> None:
    """The wrong words and their answer leave the history; the right ones come in their place."""
    async with live_room() as one:
        said = say(one, "What cow is it?")
        first = await one.next("response")
        one.frame()
        one.session.handle(_correct("What colour is it?"))
        second = await one.next("response")
        assert first["frame"]["id"] == second["frame"]["id"] == said.id
        assert second["id"] == "q"
        assert one.engine.questions() == ["What cow is it?", "What colour is it?"]
        assert one.engine.requests[-1].turns == ()
        turns = one.session.history.turns(1000)
        assert [turn.question for turn in turns] == ["What colour is it?"]
        # Once more
        one.session.handle(_correct("What shade is it?"))
        assert (await one.next("response"))["frame"]["id"] == said.id
        assert len(one.session.history) == 1


async def test_words_are_corrected_while_their_answer_runs() -> None:
    """The running answer is replaced, as by a new question."""
    async with live_room() as one:
        one.engine.hold(1)
        said = say(one, "cow?")
        await one.next("delta")
        one.engine.release()
        one.session.handle(_correct("colour?"))
        assert (await one.next("response"))["finish_reason"] == "replaced"
        response = await one.next("response")
        assert (response["finish_reason"], response["frame"]["id"]) == ("stop", said.id)
        assert len(one.session.history) == 1


async def test_only_the_last_spoken_question_can_be_corrected() -> None:
    """A typed question, an older one and an unknown one cannot: the error has its id."""
    async with live_room() as one:
        say(one, "cow?")
        await one.next("response")
        one.session.handle(_correct("x", id="other"))
        assert (await one.next("error"))["id"] == "other"
        await one.answered("typed?", id="t")
        for id in ("q", "t"):
            one.session.handle(_correct("x", id=id))
            error = await one.next("error")
            assert (error["id"], error["code"]) == (id, "not_found")
        assert one.engine.questions() == ["cow?", "typed?"]
        assert one.session.questions.state.spoken is None


async def test_a_held_frame_goes_before_the_one_of_the_words() -> None:
    """The question is about the held frame, spoken or typed, also when its words are corrected."""
    async with live_room() as one:
        one.session.handle(Hold(type="hold"))
        held = one.frame()
        await until(lambda: one.session.questions.held_frame is not None)
        say(one, "cow?")
        first = await one.next("response")
        one.session.handle(Release(type="release"))
        one.session.handle(_correct("colour?"))
        second = await one.next("response")
        for response in (first, second):
            assert (response["frame"]["id"], response["frame"]["held"]) == (held.id, True)


async def test_a_spoken_question_tells_the_fate_of_its_sound() -> None:
    """`heard`, or why its words went alone; a typed one has none."""
    for able, use in ((True, "heard"), (False, "deaf")):
        async with live_room(FakeEngine(capabilities=Capabilities(audio_in=able))) as one:
            say(one, "What?", SOUND)
            assert (await one.next("response"))["sound"] == use
            one.session.handle(_correct("What is it?"))
            assert "sound" not in await one.next("response")
            assert one.engine.requests[-1].sound is None
            assert "sound" not in await one.answered("typed")


async def test_a_question_without_words_in_the_history() -> None:
    """An engine that hears needs no words; the turn says that it was spoken."""
    async with live_room(FakeEngine(capabilities=Capabilities(audio_in=True))) as one:
        say(one, "", SOUND)
        await one.next("response")
        (turn,) = one.session.history.turns(1000)
        assert turn.question == "(a spoken question)"
        # Its words, typed in afterwards, come in its place.
        one.session.handle(_correct("What is it?"))
        await one.next("response")
        (turn,) = one.session.history.turns(1000)
        assert turn.question == "What is it?"
