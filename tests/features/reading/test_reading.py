"""A text that is read to a person over several pictures: each line once, and the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.core.errors import EngineTimeout
from server.core.frames import Frame, QuestionMode, Role
from server.core.messages import Cancel, Chat, Hold
from server.features.guidance.guidance import Looker
from server.features.reading import reading
from server.features.reading import text as read_pace
from server.features.voice_out.messages import SpeakSettings, SpeechProgress
from server.models.base import EngineRequest
from server.session.request.parts import Spoken
from server.shared.aim import Found, Thing
from tests.features.rooms import room
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import Room

PAGE = ("TOMATO SOUP", "With basil and cream", "Shake well before opening", "Keep it in the fridge")
# Lines by the number of the scene
VIEWS = {1: PAGE[:2], 2: PAGE[1:3], 3: PAGE[2:]}
LOWER = Found(lines=(Thing(0.3, 0.3, 0.7, 1.0, 0.03),))
WHOLE = Found(lines=(Thing(0.3, 0.3, 0.7, 0.7, 0.03),))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts end sooner, and blurred test pictures are read."""
    monkeypatch.setattr(reading, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(reading, "_ADVICE_SECONDS", 0.05)
    monkeypatch.setattr(reading, "_BLURRED_SECONDS", 0.0)
    monkeypatch.setattr(read_pace, "QUIET_SECONDS", 1.2)
    monkeypatch.setattr(read_pace, "WHOLE_SECONDS", 0.6)
    monkeypatch.setattr(read_pace, "FIRST_SECONDS", 1.2)
    monkeypatch.setattr(read_pace, "HINT_AFTER_SECONDS", 0.1)


class Page:
    """A camera over a page, whose pictures come until the test ends."""

    def __init__(self) -> None:
        self.scene = 1
        self.dark = False
        # By the frame's id
        self.shown: dict[str, int] = {}
        self.found: Found = WHOLE
        self._ahead = 0.0

    async def run(self, one: Room) -> None:
        while True:
            # Half a second apart by their stamps: the gate looks no sooner.
            self._ahead += 0.5
            frame = one.frame(
                captured=time.monotonic() + self._ahead, scene=self.scene, dark=self.dark
            )
            self.shown[frame.id] = self.scene
            await asyncio.sleep(0.01)

    def lines(self, request: EngineRequest) -> list[str]:
        return ["\n".join(VIEWS.get(self.shown[request.picture.frame_id], ("NONE",)))]

    async def find(self, frame: Frame, thorough: bool) -> Found:
        return self.found


@asynccontextmanager
async def before(**options: Any) -> AsyncIterator[tuple[Room, Page]]:
    """A session whose camera shows a page."""
    page = Page()
    async with room(looker=Looker(page.find), **options) as one:
        session = one.session
        one.engine.chunks = page.lines
        session.socket_opened()
        one.camera()
        camera = asyncio.create_task(page.run(one))
        try:
            yield one, page
        finally:
            camera.cancel()


def ask(one: Room, words: str = "Read this to me", id: str = "q1", **more: Any) -> None:
    one.session.handle(Chat(type="chat", content=words, id=id, **more))


async def delta(one: Room) -> str:
    return str((await one.next("delta"))["text"])


async def test_a_model_gets_what_was_read_and_nothing_of_the_conversation() -> None:
    """It is asked to go on; its request is one for the text, in high detail."""
    async with before() as (one, page):
        one.engine.chunks = ["A red cup."]
        ask(one, "What is this?", "q0")
        await one.next("response")
        one.engine.chunks = page.lines
        ask(one)
        await delta(one)
        page.scene = 2
        await delta(one)
        _, first, second = one.engine.requests[:3]
        assert (first.asks(QuestionMode.READ), second.asks(QuestionMode.READ)) == (True, True)
        assert first.turns == second.turns == ()
        assert PAGE[0] not in first.question
        assert f"{PAGE[0]}\n{PAGE[1]}" in second.question


async def test_a_model_of_its_own_reads() -> None:
    """The answer names it; the one that answers is asked nothing of the text."""
    async with before() as (one, page):
        reader = FakeEngine("reads", model="reader", chunks=page.lines)
        one.engines.roles[Role.READS] = reader
        ask(one)
        await delta(one)
        ask(one, "stop", "q2")
        response = await one.next("response")
        assert (response["id"], response["engine"], response["model"]) == ("q1", "reads", "reader")
        assert all(request.asks(QuestionMode.READ) for request in reader.requests)
        assert one.engine.requests == []
        # Then the other one answers.
        one.engine.chunks = ["A red cup."]
        ask(one, "What is this?", "q3")
        while (response := await one.next("response"))["id"] != "q3":
            pass
        assert response["engine"] == "fake"


async def test_an_unchanged_picture_is_read_once() -> None:
    """The engine is asked again only about another picture."""
    async with before() as (one, _):
        ask(one)
        await one.next("response", timeout=10)
        assert len(one.engine.requests) == 1


async def test_a_picture_with_more_text_than_fits_is_read_on() -> None:
    """An answer that broke off at its length is followed by another one about the same picture."""
    async with before() as (one, _):
        parts = iter([PAGE[:2], PAGE[2:], ("NONE",)])
        one.engine.chunks = lambda _: ["\n".join(next(parts))]
        one.engine.finish_reason = "length"
        ask(one)
        assert await delta(one) == "TOMATO SOUP\nWith basil and cream\n"
        assert await delta(one) == "Shake well before opening\nKeep it in the fridge\n"
        await one.next("response", timeout=10)
        assert len(one.engine.requests) == 3


@pytest.mark.parametrize("words", ["stop", "Das reicht, danke", "Arrête !"])
async def test_stop_ends_it_and_asks_nobody(words: str) -> None:
    """The text so far is the answer; the word itself is no question."""
    async with before() as (one, _):
        ask(one)
        await delta(one)
        ask(one, words, "q2")
        first = await one.until(lambda m: m["type"] == "response")
        assert (first["id"], first["finish_reason"]) == ("q1", "stop")
        assert first["text"] == "TOMATO SOUP\nWith basil and cream"
        second = await one.until(lambda m: m["type"] == "response")
        assert (second["id"], second["finish_reason"], second["text"]) == ("q2", "cancelled", "")
        assert len(one.engine.requests) == 1
        # Without a text that is read it is a question as any other.
        one.engine.chunks = ["What?"]
        ask(one, words, "q3")
        assert (await one.next("response"))["text"] == "What?"


async def test_a_spoken_stop_leaves_no_question() -> None:
    """Its words go from the page; also when the speech over it had ended the text before."""
    async with before() as (one, _):
        spoken = Spoken(sound=None)
        ask(one)
        await delta(one)
        one.session.questions.ask(Chat(type="chat", content="Stop!", id="v1"), spoken)
        assert (await one.until(lambda m: m["type"] == "response"))["id"] == "q1"
        heard = await one.next("transcript")
        assert heard == {
            "type": "transcript",
            "id": "v1",
            "text": "",
            "final": True,
            "order": "stop",
        }
        one.session.questions.ask(Chat(type="chat", content="Stop!", id="v2"), spoken)
        assert (await one.next("transcript", "response"))["id"] == "v2"
        assert len(one.engine.requests) == 1


async def test_a_tap_ends_it() -> None:
    """Between two looks, and in the middle of one."""
    async with before() as (one, page):
        ask(one)
        await delta(one)
        one.session.handle(Cancel(type="cancel", id="q1"))
        response = await one.next("response")
        assert (response["text"], response["finish_reason"]) == (
            "TOMATO SOUP\nWith basil and cream",
            "stop",
        )
        page.scene = 3
        one.engine.hold()
        ask(one, id="q2")
        await until(lambda: one.engine.open == 1)
        one.session.handle(Cancel(type="cancel"))
        assert (await one.next("response"))["id"] == "q2"
        await until(lambda: one.engine.aborted == 1)


async def test_a_new_question_ends_it_and_knows_what_was_read() -> None:
    """The text is in the history of the next question."""
    async with before() as (one, _):
        ask(one)
        await delta(one)
        one.engine.chunks = ["Cream."]
        ask(one, "What is in it?", "q2")
        assert (await one.until(lambda m: m["type"] == "response"))["id"] == "q1"
        await one.until(lambda m: m["type"] == "response" and m["id"] == "q2")
        (turn,) = one.engine.requests[-1].turns
        assert (turn.question, turn.answer) == (
            "Read this to me",
            "TOMATO SOUP\nWith basil and cream",
        )


async def test_without_any_text_it_says_so() -> None:
    """After some time, with what to do; until then it says that no text is in view."""
    async with before() as (one, page):
        page.scene, page.found = 9, Found()
        ask(one)
        hint = await one.next("reading")
        assert hint == {"type": "reading", "id": "q1", "hint": "nothing", "ended": False}
        error = await one.next("error", timeout=10)
        assert (error["id"], error["code"], error["retryable"]) == ("q1", "no_text", True)


async def test_it_says_when_to_move_on() -> None:
    """The text goes on at the lower edge."""
    async with before() as (one, page):
        page.found = LOWER
        ask(one)
        await delta(one)
        assert (await one.next("reading"))["hint"] == "lower_edge"


async def test_dark_pictures_are_not_read() -> None:
    """Nobody is asked about them; the hint says what is wrong."""
    async with before() as (one, page):
        page.dark = True
        ask(one)
        assert (await one.next("reading"))["hint"] == "dark"
        assert one.engine.requests == []


@pytest.mark.slow
async def test_it_waits_for_the_voice() -> None:
    """While the page still reads what the last picture showed, nobody moves on, and it does not end."""
    async with before() as (one, page):
        page.found = LOWER
        one.session.handle(SpeakSettings(type="settings", speak=True))
        ask(one)
        while (await one.next("say"))["text"] != "With basil and cream":
            pass
        await asyncio.sleep(read_pace.QUIET_SECONDS + 0.3)
        assert not [m for m in await one.rest() if m["type"] in ("reading", "response")]
        one.session.handle(SpeechProgress(type="speech_progress", id="q1", end=34))
        assert (await one.next("reading"))["hint"] == "lower_edge"
        await one.next("response", timeout=10)


async def test_one_look_may_fail() -> None:
    """A second one in a row ends it with the error; so does the very first look."""
    async with before() as (one, page):
        one.engine.fail_at, one.engine.fail_with = 0, EngineTimeout("It took too long.")
        ask(one)
        assert (await one.next("error"))["code"] == "engine_timeout"
        one.engine.fail_with = None
        ask(one, id="q2")
        await delta(one)
        one.engine.fail_with = EngineTimeout("It took too long.")
        asked = len(one.engine.requests)
        page.scene = 2
        await until(lambda: len(one.engine.requests) > asked)
        one.engine.fail_with = None
        assert await delta(one) == "Shake well before opening\n"
        one.engine.fail_with = EngineTimeout("It took too long.")
        page.scene = 3
        error = await one.next("error")
        assert (error["id"], error["code"]) == ("q2", "engine_timeout")


async def test_a_lost_socket_ends_it_and_the_same_question_begins_anew() -> None:
    """The page sends it again when it is back."""
    async with before() as (one, _):
        sent = time.time() * 1000
        ask(one, sent_at=sent)
        await delta(one)
        one.session.socket_closed()
        one.session.socket_opened()
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        ask(one, sent_at=sent)
        assert await delta(one) == "TOMATO SOUP\nWith basil and cream\n"


async def test_a_held_picture_is_read_once() -> None:
    """There is nothing to move over."""
    async with before() as (one, _):
        one.session.handle(Hold(type="hold"))
        await one.until(lambda m: m["type"] == "status" and m["held"])
        ask(one)
        response = await one.next("response")
        assert response["route"] == "detail"
        assert not one.engine.requests[0].asks(QuestionMode.READ)
