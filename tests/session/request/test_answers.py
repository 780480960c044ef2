"""From what the queue tells to the messages on the wire."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from server.core.errors import EngineFailed, QwenCameraError
from server.core.frames import JobKind, Scene
from server.media.camera import QuestionTime
from server.media.picture.encode import to_data_url
from server.models.base import Usage
from server.models.scheduler.job import Result
from server.session.request.answers import (
    AnswerListener,
    AnswerPublisher,
    make_cancelled_response,
    make_frame_info,
)
from server.session.request.outbox import Outbox
from server.session.request.question import Question
from tests.support.fakes import FakeEngine, make_picture, make_request

RESULT = Result(
    text="A cup.",
    finish_reason="stop",
    usage=Usage(10, 3, 2),
    engine="fake",
    model="fake-1",
    queue_seconds=0.02,
    first_token_seconds=0.1,
    inference_seconds=0.25,
    cancel_reason=None,
)


class Told(AnswerListener):
    """A publisher with what it said to the client and to its session."""

    def __init__(self, kind: JobKind = JobKind.CHAT) -> None:
        self.outbox = Outbox()
        self.reader = self.outbox.attach()
        self.ends: list[tuple[str, bool]] = []
        self.errors: list[QwenCameraError] = []
        self.counted: list[str] = []
        self.again = False
        self.sink = AnswerPublisher("q1", kind, self.outbox, self, at=time.monotonic() - 0.5)
        self.sink.waited = 0.03

    def on_called(self, result: Result) -> bool:
        return self.again

    def on_end(self, text: str, whole: bool) -> None:
        self.ends.append((text, whole))

    def on_counted(self, result: Result) -> None:
        self.counted.append(result.text)

    def on_error(self, error: QwenCameraError) -> None:
        self.errors.append(error)

    def start(self, tools: tuple[Mapping[str, Any], ...] = (), **picture: Any) -> None:
        shown = replace(make_picture(), **picture)
        request = make_request(picture=shown, tools=tools)
        self.sink.on_request(FakeEngine(), request, 0.02)

    async def messages(self) -> list[dict[str, Any]]:
        found = []
        while not self.outbox.empty:
            found.append(json.loads(await self.reader.get()))
        return found


async def test_a_whole_answer() -> None:
    """started, delta, response; the thumbnail comes once, with the response; the total is of the whole way."""
    told = Told()
    told.start(thumbnail=b"\xff\xd8jpeg", prepare_seconds=0.004)
    told.sink.on_delta("A ")
    told.sink.on_result(RESULT)
    started, delta, response = await told.messages()
    assert (started["type"], started["kind"], started["id"]) == ("started", "chat", "q1")
    assert "thumbnail" not in started["frame"]
    assert delta == {"type": "delta", "id": "q1", "text": "A "}
    assert response["frame"] == {**started["frame"], "thumbnail": to_data_url(b"\xff\xd8jpeg")}
    assert response["inference_time"] == 0.25
    total = response["timings"].pop("total_ms")
    assert 500 <= total < 1500
    assert response["timings"] == {
        "wait_frame_ms": 30.0,
        "prepare_ms": 4.0,
        "queue_ms": 20.0,
        "first_token_ms": 100.0,
    }
    assert response["usage"] == {"prompt_tokens": 10, "completion_tokens": 3, "cached_tokens": 2}
    assert told.ends == [("A cup.", True)]


@pytest.mark.parametrize(
    ("reason", "whole"),
    [("stop", True), ("length", True), ("cancelled", False), ("replaced", False)],
)
async def test_only_whole_answers_count_as_such(reason: str, whole: bool) -> None:
    """A stopped answer is sent, and is not complete."""
    told = Told()
    told.start()
    told.sink.on_result(replace(RESULT, finish_reason=reason, first_token_seconds=None))
    response = (await told.messages())[-1]
    assert response["finish_reason"] == reason
    assert "first_token_ms" not in response["timings"]
    assert told.ends == [("A cup.", whole)]


@pytest.mark.parametrize("end", ["stopped", "failed", "answered"])
async def test_an_answer_of_two_looks_ends_once(end: str) -> None:
    """Stopped while the second request waits, it has the words of the first; each request is counted."""
    told = Told()
    told.start(tools=({},))
    told.again = True
    told.sink.on_delta("A cup.")
    told.sink.on_result(RESULT)
    assert (told.counted, told.ends) == (["A cup."], [])
    if end == "failed":
        told.sink.on_failure(EngineFailed("It broke."))
        assert told.ends == [("", False)]
        return
    text, whole = "A cup.", end == "answered"
    if whole:
        told.start()
        text = "A red cup."
        told.sink.on_result(replace(RESULT, text=text))
    else:
        nothing = replace(RESULT, text="", finish_reason="cancelled", cancel_reason="user")
        told.sink.on_result(nothing)
    response = (await told.messages())[-1]
    assert response["text"] == text
    assert response["finish_reason"] == ("stop" if whole else "cancelled")
    assert told.ends == [(text, whole)]
    assert len(told.counted) == 1 + whole


async def test_a_description_that_never_began_is_not_told() -> None:
    """Replaced in the queue: no message; a question in its place would get one."""
    for kind, count in ((JobKind.DESCRIBE, 0), (JobKind.CHAT, 1)):
        told = Told(kind)
        told.sink.on_result(replace(RESULT, text="", finish_reason="replaced"))
        assert len(await told.messages()) == count
        assert told.ends == [("", False)]


async def test_errors_go_to_the_session() -> None:
    """It knows how to tell them; nothing else is sent."""
    told = Told(JobKind.DESCRIBE)
    told.sink.on_failure(EngineFailed("Broken."))
    assert await told.messages() == []
    assert [error.code for error in told.errors] == ["engine_failed"]
    assert told.ends == [("", False)]


async def test_a_question_stopped_before_its_frame() -> None:
    """The response has no text, no frame, and says how long it waited."""
    asked = QuestionTime(at=time.monotonic() - 0.2, wall=time.time(), sent=None)
    question = Question("q", "?", asked)
    for reason, finish in (("replaced", "replaced"), ("user", "cancelled"), ("x", "cancelled")):
        message = json.loads(make_cancelled_response(question, FakeEngine(), reason).encode())
        assert message["finish_reason"] == finish
        assert message["text"] == ""
        assert "frame" not in message
        assert message["engine"] == "fake"
        assert 190 < message["timings"]["wait_frame_ms"] < 1000
    await asyncio.sleep(0)


async def test_when_a_frame_was_captured() -> None:
    """By the sender's clock where it is known, else by this machine's, from the age."""
    now, wall = 100.0, 1_700_000_000.0
    scene = Scene(0.5, 0.4, None, dark=True, blurred=False)
    picture = replace(make_picture(captured=99.5), scene=scene, held=True)
    info = make_frame_info(picture, now, wall)
    assert info.age_ms == 500.0
    assert info.captured_at == (wall - 0.5) * 1000
    assert (info.dark, info.blurred, info.held) == (True, False, True)
    assert (
        make_frame_info(replace(picture, captured_sender=wall - 3), now, wall).captured_at
        == (wall - 3) * 1000
    )
    # A clock that runs ahead never makes an age negative.
    assert make_frame_info(make_picture(captured=101.0), now, wall).age_ms == 0.0
