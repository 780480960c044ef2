"""The messages that wait for a client: order, merging, bounds, and what the next socket gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from server.core.messages import (
    DeltaMessage,
    EngineCapabilities,
    Limits,
    Pong,
    Ready,
    Response,
    Sender,
    SenderProfile,
    ServerMessage,
    Status,
    Timings,
    Transcript,
    UsageInfo,
)
from server.session.request.outbox import Outbox, OutboxClosed, OutboxOverflowed, Reader


def delta(id: str, text: str) -> DeltaMessage:
    return DeltaMessage(id=id, text=text)


def status(depth: int) -> Status:
    return Status(queue_depth=depth, engine="fake", engine_state="ready")


def sender(rate: int, wake_ms: int | None = None) -> Sender:
    profile = SenderProfile(max_framerate=2, max_bitrate=rate)
    return Sender(idle=profile, awake=profile, wake_ms=wake_ms)


def ready(engine: str) -> Ready:
    able = dict.fromkeys(EngineCapabilities.model_fields, True)
    return Ready(
        session_id="s",
        began_at=1.0,
        engine=engine,
        model="m",
        engine_state="ready",
        capabilities=EngineCapabilities(**able),
        limits=Limits(max_tokens=1, visual_tokens=1, visual_tokens_high=1, session_timeout=1),
    )


def response(id: str, text: str = "whole") -> Response:
    return Response(
        text=text,
        inference_time=0.1,
        id=id,
        kind="chat",
        engine="fake",
        model="m",
        timings=Timings(wait_frame_ms=1, prepare_ms=1, queue_ms=1, total_ms=1),
        usage=UsageInfo(),
        finish_reason="stop",
    )


async def taken(reader: Reader) -> list[dict[str, Any]]:
    """All that waits."""
    found = []
    while not reader._outbox.empty:
        found.append(json.loads(await reader.get()))
    return found


async def waiting(reader: Reader) -> asyncio.Task[str]:
    """A task that waits for the next message."""
    getting = asyncio.create_task(reader.get())
    await asyncio.sleep(0)
    return getting


def put(outbox: Outbox, *messages: ServerMessage) -> None:
    for message in messages:
        outbox.put(message)


def wire_size(*messages: ServerMessage) -> int:
    return sum(len(message.encode().encode()) for message in messages)


async def test_messages_come_in_their_order() -> None:
    """Each as it was encoded by its model."""
    outbox = Outbox()
    reader = outbox.attach()
    sent = [delta("a", "one"), response("a"), Pong(at=1.5)]
    put(outbox, *sent)
    assert [await reader.get() for _ in sent] == [message.encode() for message in sent]
    assert outbox.empty
    assert outbox.size == 0


async def test_a_waiting_reader_gets_a_message_at_once() -> None:
    """One turn of the loop from put to get."""
    outbox = Outbox()
    reader = outbox.attach()
    getting = await waiting(reader)
    outbox.put(delta("a", "x"))
    await asyncio.sleep(0)
    assert getting.done()
    assert json.loads(getting.result())["text"] == "x"


async def test_waiting_deltas_of_one_answer_become_one() -> None:
    """Only those that follow each other, and their size is counted exactly."""
    outbox = Outbox()
    reader = outbox.attach()
    texts = ['Say "', "né\n", "短い", "🙂\x00"]
    put(outbox, *(delta("a", text) for text in texts))
    assert outbox.size == wire_size(delta("a", "".join(texts)))
    put(outbox, delta("b", "other"), delta("a", "late"))
    assert [(m["id"], m["text"]) for m in await taken(reader)] == [
        ("a", "".join(texts)),
        ("b", "other"),
        ("a", "late"),
    ]
    assert outbox.size == 0


async def test_a_newer_state_takes_the_place_of_the_waiting_one() -> None:
    """One status and one sender wait at most; once taken, the next one waits anew."""
    outbox = Outbox()
    reader = outbox.attach()
    put(outbox, status(1), sender(100), Pong(at=0), status(2), sender(200))
    assert outbox.size == wire_size(status(2), sender(200), Pong(at=0))
    first = await taken(reader)
    assert [m["type"] for m in first] == ["status", "sender", "pong"]
    assert (first[0]["queue_depth"], first[1]["idle"]["max_bitrate"]) == (2, 200)
    outbox.put(status(3))
    assert [m["queue_depth"] for m in await taken(reader)] == [3]


async def test_waking_the_camera_is_not_lost() -> None:
    """A newer sender block without a wake keeps the wake of the one it replaces."""
    outbox = Outbox()
    reader = outbox.attach()
    put(outbox, sender(100, wake_ms=700), sender(200))
    (message,) = await taken(reader)
    assert (message["idle"]["max_bitrate"], message["wake_ms"]) == (200, 700)


async def test_ready_goes_first() -> None:
    """A page that comes back hears who answers before it hears what it missed."""
    outbox = Outbox()
    put(outbox, ready("vllm"), response("a"), ready("builtin"))
    assert outbox.size == wire_size(ready("builtin"), response("a"))
    found = await taken(outbox.attach())
    assert [m["type"] for m in found] == ["ready", "response"]
    assert found[0]["engine"] == "builtin"


async def test_what_waits_goes_to_the_next_socket() -> None:
    """Messages put while nobody reads go to the next reader."""
    outbox = Outbox()
    outbox.attach().detach()
    outbox.put(response("a"))
    assert outbox._reader is None
    assert [m["id"] for m in await taken(outbox.attach())] == ["a"]


async def test_deltas_go_once_the_response_is_there_and_nobody_reads() -> None:
    """The response has the whole text; another answer's deltas stay, and a reader's too."""
    outbox = Outbox()
    put(outbox, delta("a", "one"), delta("b", "other"), response("a"))
    assert outbox.size == wire_size(delta("b", "other"), response("a"))
    reader = outbox.attach()
    assert [(m["type"], m["id"]) for m in await taken(reader)] == [
        ("delta", "b"),
        ("response", "a"),
    ]
    put(outbox, delta("c", "one"), response("c"))
    assert [m["type"] for m in await taken(reader)] == ["delta", "response"]


async def test_a_message_that_was_perhaps_not_sent_waits_again() -> None:
    """A socket that breaks while a response is being sent loses nothing; one that asked for more has sent it."""
    outbox = Outbox()
    put(outbox, response("a"), response("b"))
    first = outbox.attach()
    await first.get()
    await first.get()
    second = outbox.attach()
    assert [m["id"] for m in await taken(second)] == ["b"]
    getting = await waiting(second)
    second.detach()
    await asyncio.wait([getting])
    assert isinstance(getting.exception(), OutboxClosed)
    assert outbox.empty


async def test_deltas_and_states_are_not_told_twice() -> None:
    """A delta told again would garble the text, a state told again would be old."""
    outbox = Outbox()
    for message in (delta("a", "x"), status(1)):
        outbox.put(message)
        reader = outbox.attach()
        await reader.get()
        reader.detach()
        assert outbox.empty
        assert outbox.size == 0


async def test_a_new_reader_ends_the_old_one() -> None:
    """The old one gets nothing more, even when it waits already, and takes nothing from the new one."""
    outbox = Outbox()
    old = outbox.attach()
    getting = await waiting(old)
    new = outbox.attach()
    outbox.put(response("a"))
    with pytest.raises(OutboxClosed):
        await getting
    with pytest.raises(OutboxClosed):
        await old.get()
    old.detach()
    assert outbox._reader is not None
    assert json.loads(await new.get())["id"] == "a"


async def test_a_cancelled_get_loses_nothing() -> None:
    """The message comes with the next get."""
    outbox = Outbox()
    reader = outbox.attach()
    getting = await waiting(reader)
    outbox.put(response("a"))
    getting.cancel()
    await asyncio.wait([getting])
    assert json.loads(await reader.get())["id"] == "a"


async def test_a_slow_reader_overflows() -> None:
    """At the bound all is well; a byte above it the oldest goes, the reader hears of it, and the next one gets the rest."""
    size = wire_size(response("a"), response("b"))
    outbox = Outbox(max_bytes=size)
    reader = outbox.attach()
    put(outbox, response("a"), response("b"))
    assert (outbox.overflowed, outbox.dropped, outbox.size) == (False, 0, size)
    outbox.put(Pong(at=0))
    assert (outbox.overflowed, outbox.dropped) == (True, 1)
    assert outbox.size <= size
    with pytest.raises(OutboxOverflowed):
        await reader.get()
    reader = outbox.attach()
    assert not outbox.overflowed
    assert [m["type"] for m in await taken(reader)] == ["response", "pong"]


async def test_a_waiting_reader_is_told_of_an_overflow() -> None:
    """Even by one message that is larger than all there is room for."""
    outbox = Outbox(max_bytes=100)
    reader = outbox.attach()
    getting = await waiting(reader)
    outbox.put(response("a", "x" * 200))
    with pytest.raises(OutboxOverflowed):
        await getting
    assert outbox.size == 0


async def test_merged_deltas_count_towards_the_bound() -> None:
    """Many small pieces are no way around it."""
    outbox = Outbox(max_bytes=300)
    outbox.attach()
    put(outbox, *[delta("a", "x")] * 300)
    assert outbox.overflowed
    assert outbox.size <= 300


async def test_while_nobody_reads_the_oldest_go_quietly() -> None:
    """There is no slow socket to close, so the newest are kept and the drops counted."""
    outbox = Outbox(max_bytes=wire_size(response("0")) * 2)
    put(outbox, *(response(str(number)) for number in range(5)))
    assert not outbox.overflowed
    assert outbox.dropped == 3
    assert [m["id"] for m in await taken(outbox.attach())] == ["3", "4"]


async def test_giving_back_keeps_the_bound() -> None:
    """A message that waits again may be the one too many."""
    outbox = Outbox(max_bytes=wire_size(response("a")))
    reader = outbox.attach()
    outbox.put(response("a"))
    await reader.get()
    outbox.put(response("b"))
    reader.detach()
    assert (outbox.dropped, outbox.size) == (1, wire_size(response("b")))


class Stopped(ServerMessage):
    """Makes waiting states needless."""

    type: str = "stopped"

    def outdates(self) -> Callable[[ServerMessage], bool]:
        return lambda one: isinstance(one, Status)


async def test_a_state_may_be_outdated_by_another_message() -> None:
    """It waits no more, and the next one of its kind comes in its turn."""
    outbox = Outbox()
    put(outbox, status(1), Stopped())
    assert not outbox.waits(Status)
    outbox.discard(Status)
    put(outbox, status(1), Stopped(), status(2))
    left = await taken(outbox.attach())
    assert [one.get("queue_depth") for one in left] == [None, None, 2]
    assert outbox.size == 0


async def test_closing_lets_the_rest_be_read() -> None:
    """Nothing more is taken, what waits comes, then the end."""
    outbox = Outbox()
    reader = outbox.attach()
    outbox.put(response("a"))
    outbox.close()
    outbox.put(response("b"))
    assert json.loads(await reader.get())["id"] == "a"
    with pytest.raises(OutboxClosed):
        await reader.get()
    outbox.close()


async def test_closing_wakes_a_waiting_reader() -> None:
    """It hears the end at once."""
    outbox = Outbox()
    reader = outbox.attach()
    getting = await waiting(reader)
    outbox.close()
    with pytest.raises(OutboxClosed):
        await getting


async def test_newer_words_of_a_spoken_question_replace_waiting_ones() -> None:
    """Words of another question stay, and their end is not lost."""
    outbox = Outbox()
    put(
        outbox,
        Transcript(id="a", text="what", final=False),
        Transcript(id="a", text="what is", final=True),
        Transcript(id="b", text="and", final=False),
        Transcript(id="b", text="and this", final=False),
    )
    heard = await taken(outbox.attach())
    assert [(one["id"], one["text"], one["final"]) for one in heard] == [
        ("a", "what is", True),
        ("b", "and this", False),
    ]
    assert (outbox.size, outbox.dropped) == (0, 0)
