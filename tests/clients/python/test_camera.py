"""The Python client against the true server, through a true camera: each method, and each error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from unittest.mock import patch

import pytest
import pytest_asyncio
import qwen_camera
from qwen_camera import Camera

from server.features.grants.program_question import MAX_WATCHES
from tests.clients.python.desk import JPEG, MODEL, Desk, desk_of
from tests.support.clients import soon
from tests.support.fakes_openai import Behaviour

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def camera(desk: Desk) -> AsyncIterator[Camera]:
    async with await desk.camera() as one:
        yield one


def calls_of(*calls: Awaitable[object]) -> tuple[Awaitable[object], ...]:
    return calls


async def test_a_whole_answer(camera: Camera, desk: Desk) -> None:
    """With the time of its picture and the model's name; the page shows the question."""
    began = time.time()
    answer = await camera.ask("What is it?", detail="high", instructions="Answer in one word.")
    assert (str(answer), answer.complete, answer.model) == ("I see a cup.", True, MODEL)
    assert answer.captured_at is not None
    assert abs(answer.captured_at.timestamp() - began) < 30
    assert answer.captured_at.utcoffset() is not None
    assert desk.fake.last.texts[0][1].endswith("Answer in one word.")
    look = await desk.person.page.next("look", state="done", question="What is it?")
    assert look["text"] == "I see a cup."


async def test_words_as_they_come(camera: Camera, desk: Desk) -> None:
    """A piece comes while the model still writes; leaving the loop stops it."""
    count = desk.fake.count
    with patch.object(desk.fake, "between_tokens", 30.0):
        asking = camera.ask("What is it?")
        async for piece in asking:
            assert piece == "I "
            break
        seen = await desk.fake.wait_for(count + 1, timeout=10)
        async with asyncio.timeout(10):
            await seen.done.wait()
        assert seen.closed_early
        assert asking.answer is None
    with pytest.raises(qwen_camera.BadInput, match="has been asked"):
        await asking
    asking = camera.ask("What is it?")
    assert "".join([piece async for piece in asking]) == "I see a cup."
    assert asking.answer is not None
    assert asking.answer.text == "I see a cup."


async def test_an_answer_that_was_cut(camera: Camera, desk: Desk) -> None:
    with patch.object(desk.fake, "finish_reason", "length"):
        assert not (await camera.ask("What is it?")).complete


async def test_a_snapshot(camera: Camera) -> None:
    taken = await camera.snapshot()
    assert taken.jpeg.startswith(b"\xff\xd8")
    assert (taken.width, taken.height) == (640, 360)
    assert taken.age_ms >= 0
    assert "jpeg" not in repr(taken)


async def test_places(camera: Camera, desk: Desk) -> None:
    """Boxes in the camera's pixels; an empty list where nothing is."""
    found = await camera.find("the cup")
    assert found.text == "I see a cup."
    assert found.boxes is not None
    (box,) = found.boxes
    # The model's pixels are a little more than the camera's.
    assert box.box == pytest.approx((0, 0, 320, 180), abs=3)
    assert (box.label, box.confidence, box.point) == ("cup", 0.9, None)
    assert (found.width, found.height) == (640, 360)
    with patch.object(desk.fake, "answer_for", lambda _body, _jpeg: ["There is none.\n[]"]):
        assert (await camera.find("the dog")).boxes == ()


async def test_the_past(camera: Camera, desk: Desk) -> None:
    """The person keeps some; elsewhere the error says who can switch that on."""
    with pytest.raises(qwen_camera.NotPossible, match="page's settings"):
        await camera.recall("What happened?")
    page = desk.person.page
    await page.send(type="settings", recall=True)
    await page.next("recall", pictures=1, timeout=10)
    earlier = await camera.recall("What happened?")
    await page.send(type="settings", recall=False)
    assert earlier.text == "I see a cup."
    assert earlier.seen_at == tuple(sorted(earlier.seen_at))


async def test_watches(camera: Camera) -> None:
    """Added up to the most, listed, ended; nobody ends one that is not there."""
    made = [await camera.watch(f"a cup, number {n}", repeat=n > 1) for n in range(MAX_WATCHES)]
    with pytest.raises(qwen_camera.NotPossible, match=r"\(limit\)"):
        await camera.watch("one more")
    listed = await camera.watches()
    assert [(one.id, one.condition) for one in listed] == [(one.id, one.condition) for one in made]
    assert listed[0].state
    await camera.unwatch(made[0])
    await camera.unwatch(made[1].id)
    with pytest.raises(qwen_camera.BadInput, match="Watch not found"):
        await camera.unwatch(made[0])
    assert [one.id for one in await camera.watches()] == [made[2].id]
    await camera.unwatch(made[2])


async def test_events(camera: Camera, desk: Desk) -> None:
    """Those that are there, then the next ones, each once, with its own picture."""
    now = (time.time() + 1) * 1000
    first = desk.alert("w", "Steam.", now, jpeg=None)
    desk.alert("w", "More steam.", now)
    heard: list[qwen_camera.Event] = []

    async def listen() -> None:
        async for event in camera.events(pictures=True):
            heard.append(event)

    task = asyncio.create_task(listen())
    try:
        await soon(lambda: len(heard) == 2)
        desk.alert("w", "It whistles.", now)
        await soon(lambda: len(heard) == 3)
    finally:
        task.cancel()
    assert [one.reason for one in heard] == ["Steam.", "More steam.", "It whistles."]
    assert [one.number for one in heard] == [first, first + 1, first + 2]
    assert [one.jpeg for one in heard] == [None, JPEG, JPEG]
    assert (heard[0].watch, heard[0].condition, heard[0].confidence) == (
        "w",
        "the kettle boils",
        0.9,
    )
    assert heard[0].at is not None
    assert round(heard[0].at.timestamp() * 1000) == round(now)
    async for event in camera.events(after=first + 1):
        assert (event.number, event.jpeg) == (first + 2, None)
        break


async def test_the_access_itself(camera: Camera) -> None:
    access = await camera.access()
    assert access.name == "Helper"
    assert access.scopes == ("events", "look", "watch")
    assert access.expires_at is not None
    assert 0 < access.expires_at.timestamp() - time.time() <= 600


@pytest.mark.parametrize("end", ["", "/", "/mcp", "/v1", "/at/x/mcp", "/at/x/v1/"])
async def test_the_addresses_that_the_page_gives(end: str, desk: Desk) -> None:
    """Those of one interface lead to all; the session is the token's."""
    end = end.replace("/x/", f"/{desk.person.session_id}/")
    async with Camera(desk.run.base_url + end, await desk.token()) as camera:
        assert str(await camera.ask("What is it?")) == "I see a cup."
        assert await camera.watches() == []


async def test_what_was_not_allowed(desk: Desk) -> None:
    async with await desk.camera("events") as camera:
        for call in calls_of(camera.snapshot(), camera.watch("it boils"), camera.ask("What?")):
            with pytest.raises(qwen_camera.ScopeMissing, match="needs the scope"):
                await call
        assert (await camera.access()).scopes == ("events",)
    async with await desk.camera("look") as camera:
        with pytest.raises(qwen_camera.ScopeMissing):
            await anext(camera.events())


async def test_the_end_of_the_access(desk: Desk) -> None:
    """Whoever listens hears of it at once, and each call says so; the token is in no error."""
    token = await desk.token()
    async with Camera(desk.run.base_url, token) as camera:
        listening = asyncio.ensure_future(anext(camera.events(after=10_000)))
        await desk.wait_for_listener()
        await desk.take_back()
        with pytest.raises(qwen_camera.TokenRefused):
            await asyncio.wait_for(listening, 10)
        for call in calls_of(camera.ask("What?"), camera.snapshot(), camera.access()):
            with pytest.raises(qwen_camera.TokenRefused, match="Ask the person") as refused:
                await call
            assert token not in str(refused.value) + repr(camera)


async def test_no_picture(camera: Camera, desk: Desk) -> None:
    """The server's words for it, as an error of its own kind."""
    desk.scene.black = True

    async def ask_until_dark() -> None:
        while True:
            await camera.ask("What?")

    try:
        with pytest.raises(qwen_camera.CameraOff) as dark:
            await asyncio.wait_for(ask_until_dark(), 20)
        assert dark.value.code == "picture_black"
    finally:
        desk.scene.black = False
        await desk.bright()


async def test_no_model(camera: Camera, desk: Desk) -> None:
    """Also after the first words, which have come by then."""
    desk.fake.behaviour = Behaviour.ERROR_LATER
    words: list[str] = []

    async def read() -> None:
        async for piece in camera.ask("What?"):
            words.append(piece)

    try:
        with pytest.raises(qwen_camera.ModelFailed):
            await read()
        assert "".join(words) == "I see "
    finally:
        desk.fake.behaviour = Behaviour.NORMAL
        await soon(lambda: desk.run.program.engines.current.status.ready, 20)


async def test_what_cannot_be_asked(camera: Camera, desk: Desk) -> None:
    count = desk.fake.count
    for call in calls_of(
        camera.ask("x" * 200_000),
        camera.ask("What?", picture="camera://tomorrow"),
        camera.find(""),
        camera.watch("x" * 10_000),
    ):
        with pytest.raises(qwen_camera.BadInput):
            await call
    with pytest.raises(qwen_camera.ScopeMissing, match="Only the live camera"):
        await camera.ask("What?", picture="https://elsewhere.example/a.jpg")
    assert desk.fake.count == count


async def test_too_many_calls(desk: Desk) -> None:
    """The error says when to come again, of each interface."""
    async with await desk.camera() as camera:

        async def call_on(call: Callable[[], Awaitable[object]]) -> None:
            for _ in range(40):
                await call()

        calls: list[Callable[[], Awaitable[object]]] = [
            camera.watches,
            camera.access,
            lambda: camera.ask("What?"),
        ]
        for call in calls:
            with pytest.raises(qwen_camera.RateLimited) as refused:
                await call_on(call)
            assert refused.value.retry_after == 1


async def test_nobody_looks_unseen() -> None:
    """Without an open page, and with no looks left: a kind of error each."""
    async with desk_of(program_looks_per_minute=4) as desk, await desk.camera() as camera:
        await camera.snapshot()
        with pytest.raises(qwen_camera.RateLimited) as refused:
            await camera.snapshot()
        assert refused.value.retry_after == 15
        await desk.person.page.close()
        await soon(lambda: not desk.run.program.sessions.has_socket(desk.person.session_id))
        for call in calls_of(camera.snapshot(), camera.ask("What?")):
            with pytest.raises(qwen_camera.PageClosed, match="open the page"):
                await call
