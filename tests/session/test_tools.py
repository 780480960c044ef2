"""Tools that a model calls for a person: with consent alone, for the person's questions alone, shown, and for the client to undo."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from server.media import camera
from tests.support.clients import Message, Visitor, metric
from tests.support.fakes import until
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "Qwen3-VL-8B-Instruct"
Calls = list[tuple[str, Any]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FRAME_WAIT_SECONDS", 15.0)


@pytest_asyncio.fixture(loop_scope="module")
async def guest(guest: Visitor) -> Visitor:
    """Somebody who has agreed."""
    await guest.page.send(type="settings", tools=True)
    return guest


def calls(*made: tuple[str, Any], said: str = "") -> Callable[[dict[str, Any]], Any]:
    """A model that calls these whenever it may; arguments that are text go as they are."""

    def answer(body: dict[str, Any]) -> list[dict[str, Any]] | None:
        if not body.get("tools"):
            return None
        texts = [one if isinstance(one, str) else json.dumps(one) for _, one in made]
        pieces: list[dict[str, Any]] = [{"content": said}] if said else []
        for n, ((name, _), text) in enumerate(zip(made, texts, strict=True)):
            call = {"index": n, "id": f"c{n}", "function": {"name": name, "arguments": text}}
            pieces.append({"tool_calls": [call]})
        return pieces

    return answer


async def ask(guest: Visitor, question: str = "Keep an eye on the kettle for me.") -> Message:
    response = await guest.page.ask(question, id=f"q{len(guest.page.seen)}")
    assert response["type"] == "response", response
    return response


# Consent


async def test_without_consent_a_request_is_as_ever(guest: Visitor, fake: FakeOpenAI) -> None:
    """Never given or taken back: no tools, and not a word of them."""
    await ask(guest)
    with_tools = fake.last.body
    await guest.page.send(type="settings", tools=False)
    fake.deltas_for = lambda _: [{"content": "A kettle."}, *calls(("hold", {}))({"tools": [1]})]
    response = await ask(guest)
    assert (response["text"], response.get("calls")) == ("A kettle.", None)
    without = fake.last.body
    assert "tools" in with_tools
    assert "tools" not in without
    assert "Call a tool" in str(with_tools["messages"][0])
    assert "tool" not in json.dumps(without["messages"][0]).lower()


async def test_ready_says_whether_the_model_calls(guest: Visitor) -> None:
    page = await guest.reconnect()
    (ready,) = [one for one in page.seen if one["type"] == "ready"]
    assert ready["capabilities"]["tools"] is True


async def test_each_feature_brings_its_own(guest: Visitor, fake: FakeOpenAI) -> None:
    """Each with a sentence and few arguments; that of the past only while pictures are kept."""
    await ask(guest)
    offered = {one["function"]["name"]: one["function"] for one in fake.last.body["tools"]}
    assert {*offered} == {"hold", "look_closer", "watch", "unwatch", "guide_to", "read"}
    assert all(one["description"].endswith(".") for one in offered.values())
    assert offered["watch"]["parameters"]["required"] == ["condition"]
    assert "title" not in json.dumps(fake.last.body["tools"])
    await guest.page.send(type="settings", recall=True)
    await ask(guest)
    assert "recall" in {one["function"]["name"] for one in fake.last.body["tools"]}


# What the client carries out


async def test_a_watch_is_begun_and_ended(guest: Visitor, fake: FakeOpenAI) -> None:
    """The response names it, with the text that there was; the client's messages begin it and undo it."""
    fake.finish_reason = "tool_calls"
    fake.deltas_for = calls(("watch", {"condition": " the kettle boils "}), said="Gladly.")
    response = await ask(guest)
    assert response["text"] == "Gladly."
    assert response["finish_reason"] == "stop"
    assert response["calls"] == [{"name": "watch", "about": "the kettle boils"}]
    assert len(fake.requests) == 1
    page = guest.page
    await page.send(type="watch", id="tool:1", condition=response["calls"][0]["about"])
    (watch,) = (await page.next("watches"))["watches"]
    assert watch["condition"] == "the kettle boils"
    fake.deltas_for = calls(("unwatch", {"condition": "Kettle"}))
    response = await ask(guest, "You can stop looking at it.")
    assert response["calls"] == [{"name": "unwatch", "about": "the kettle boils"}]
    await page.send(type="unwatch", id="tool:1")
    await page.next("watches", watches=[])
    # Twice is an error that says so, and nothing else.
    await page.send(type="unwatch", id="tool:1")
    assert (await page.next("error"))["code"] == "not_found"


async def test_a_call_without_words_is_an_answer(guest: Visitor, fake: FakeOpenAI) -> None:
    """The text is empty, the line is the client's; the history has a note of it."""
    fake.deltas_for = calls(("hold", {}), ("guide_to", {"thing": "the cup"}))
    response = await ask(guest)
    assert response["text"] == ""
    assert response["calls"] == [{"name": "hold"}, {"name": "guide_to", "about": "the cup"}]
    assert len(fake.requests) == 1
    fake.deltas_for = lambda _: None
    await ask(guest, "And now?")
    assert ("assistant", "[hold] [guide_to: the cup]") in fake.last.texts


async def test_what_cannot_be_is_shown_as_refused(guest: Visitor, fake: FakeOpenAI) -> None:
    """Nothing is watched for, so nothing ends; a model that only wanted that is asked again, without tools."""
    fake.deltas_for = calls(("unwatch", {"condition": "the kettle"}))
    response = await ask(guest)
    assert response["calls"] == [{"name": "unwatch", "refused": True}]
    assert response["text"] == "I see a cup."
    assert "tools" not in fake.last.body


# What the answer comes of


async def test_a_closer_look(guest: Visitor, fake: FakeOpenAI) -> None:
    """The second request has the whole picture and the enlarged part of the same frame, and no tools."""
    part = {"left": 500, "top": 250, "right": 750, "bottom": "500"}
    fake.deltas_for = calls(("look_closer", part), said="Let me look.")
    fake.answer_for = lambda body, _: ["It ", "says ", "5." if not body.get("tools") else "?"]
    response = await ask(guest, "How is it?")
    assert response["text"] == "It says 5."
    assert response["calls"] == [{"name": "look_closer"}]
    first, second = fake.requests
    assert len(first.jpegs) == 1
    assert len(second.jpegs) == 2
    assert "tools" not in second.body
    assert response["frame"]["part"] == [0.5, 0.25, 0.75, 0.5]
    starts = [one for one in guest.page.seen if one["type"] == "started"]
    assert len({one["frame"]["id"] for one in starts}) == 1
    assert any("wanted to look at closer" in text for _, text in second.texts)
    assert sum(one["type"] == "response" for one in guest.page.seen) == 1
    # One question, one turn, with the words of the second look.
    fake.deltas_for = lambda _: None
    await ask(guest, "And now?")
    assert [text for role, text in fake.last.texts if role == "assistant"] == ["It says 5."]


@pytest.mark.parametrize(
    "part",
    [
        {"left": 900, "top": 0, "right": 100, "bottom": 500},
        {"left": 10, "top": 10, "right": 12, "bottom": 900},
        {"left": "NaN", "top": 0, "right": 500, "bottom": 500},
    ],
)
async def test_no_such_part(guest: Visitor, fake: FakeOpenAI, part: dict[str, Any]) -> None:
    fake.deltas_for = calls(("look_closer", part))
    response = await ask(guest, "How is it?")
    assert response["text"]
    assert response["frame"].get("part") is None
    assert response.get("calls") in (None, [{"name": "look_closer", "refused": True}])


async def test_the_past(guest: Visitor, fake: FakeOpenAI) -> None:
    """Pictures of the time that the model names go with the second request."""
    await guest.page.send(type="settings", recall=True)
    while (await guest.page.next("recall"))["pictures"] < 1:
        pass
    fake.deltas_for = calls(("recall", {"seconds_ago": 2}))
    response = await ask(guest, "Tell me about the visitor.")
    assert response["calls"] == [{"name": "recall"}]
    assert response["route"] == "past"
    assert response["frames"]
    assert len(fake.last.jpegs) > 1
    assert "tools" not in fake.last.body


async def test_reading_on(guest: Visitor, fake: FakeOpenAI) -> None:
    """The same answer goes on, picture by picture, until it is stopped."""
    fake.answer_for = lambda _body, _jpeg: ["LINE ONE OF IT\n"]
    fake.deltas_for = calls(("read", {}))
    page = guest.page
    await page.send(type="chat", id="r1", content="I would like to hear all of it.")
    await page.next("started", id="r1", route="read")
    await page.next("delta", id="r1")
    await page.send(type="cancel", id="r1")
    response = await page.next("response", id="r1")
    assert response["text"] == "LINE ONE OF IT"
    assert response["calls"] == [{"name": "read"}]


async def test_stopped_during_the_second_look(guest: Visitor, fake: FakeOpenAI) -> None:
    """One end, and the second stream is closed."""
    fake.deltas_for = calls(("look_closer", {"left": 0, "top": 0, "right": 500, "bottom": 500}))
    page = guest.page
    fake.hold()
    try:
        await page.send(type="chat", id="s1", content="How is it?")
        await fake.wait_for(2)
        await page.next("delta", id="s1")
        await page.send(type="cancel", id="s1")
        response = await page.next("response", id="s1")
    finally:
        fake.let_go()
    assert response["finish_reason"] == "cancelled"
    assert not [one for one in await page.ponged() if one["type"] == "response"]
    assert (await ask(guest, "And now?"))["finish_reason"] == "stop"


async def test_stopped_between_two_looks(guest: Visitor, fake: FakeOpenAI, run: Running) -> None:
    """The answer keeps the words that were sent before the second request, also where the message is repeated."""
    look = ("look_closer", {"left": 0, "top": 0, "right": 500, "bottom": 500})
    fake.deltas_for = calls(look, said="Let me look.")
    page, gate = guest.page, threading.Event()
    answered = metric(run, "inferences_total", kind="chat", result="ok")
    fake.hold()
    try:
        question = {
            "type": "chat",
            "id": "b1",
            "content": "How is it?",
            "sent_at": time.time() * 1000,
        }
        await page.send(**question)
        await fake.wait_for(1)
        # The part's picture has to wait.
        for _ in range(2):
            run.program.pools.prepare.submit(gate.wait)
        fake.let_go()
        await until(lambda: metric(run, "inferences_total", kind="chat", result="ok") > answered)
        await page.send(type="cancel", id="b1")
        response = await page.next("response", id="b1")
        assert (response["text"], response["finish_reason"]) == ("Let me look.", "cancelled")
        await page.send(**question)
        assert (await page.next("response", id="b1"))["text"] == "Let me look."
    finally:
        gate.set()
    assert (await ask(guest, "And now?"))["finish_reason"] == "stop"


# Bad calls


@pytest.mark.parametrize(
    "made",
    [
        [("watch", '{"condition": "the ket')],
        [("watch", "[1, 2]")],
        [("watch", {"condition": ""})],
        [("watch", {"condition": 7})],
        [("watch", {})],
        [("watch", {"condition": "x" * 3000})],
        [("recall", {"seconds_ago": -1})],
        [("send_mail", {"to": "eve@example.org"})],
        [("watch", "[" * 1900)],
    ],
    ids=["cut", "list", "empty", "number", "missing", "long", "unoffered", "unknown", "deep"],
)
async def test_a_bad_call_costs_no_answer(guest: Visitor, fake: FakeOpenAI, made: Calls) -> None:
    """A model that says nothing beside it is asked once more, without tools."""
    fake.answer_for = lambda _body, _jpeg: ["I ", "see ", "a ", "cup."]
    fake.deltas_for = calls(*made)
    response = await ask(guest)
    assert (response["text"], response.get("calls")) == ("I see a cup.", None)
    assert ["tools" in one.body for one in fake.requests] == [True, False]
    fake.deltas_for = calls(*made, said="A kettle.")
    response = await ask(guest)
    assert (response["text"], response.get("calls")) == ("A kettle.", None)


async def test_at_most_three_and_one_round(guest: Visitor, fake: FakeOpenAI, run: Running) -> None:
    done = metric(run, "tool_calls_total", result="done")
    fake.deltas_for = calls(*[("hold", {})] * 30, said="So.")
    response = await ask(guest)
    assert response["calls"] == [{"name": "hold"}] * 3
    assert metric(run, "tool_calls_total", result="done") == done + 3
    # One that goes on calling in the second request is not asked a third time.
    look = {"left": 0, "top": 0, "right": 500, "bottom": 500}
    forced = calls(("look_closer", look), ("look_closer", look), said="Hm.")
    fake.deltas_for = lambda _: forced({"tools": [1]})
    fake.requests.clear()
    response = await ask(guest, "How is it?")
    assert (response["text"], response["calls"]) == ("Hm.", [{"name": "look_closer"}])
    assert len(fake.requests) == 2
