"""Clients of the Realtime protocol that misbehave: limits hold, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from scripts.bench.live_encoder import LiveEncoder
from server.features.realtime.endpoint import MOST_WAITING, EventQueue
from server.web.websocket import Closing
from tests.features.grants.test_routes import give, serving_programs
from tests.features.realtime.test_realtime import Desk, ask
from tests.support.clients import bearer, http, soon, visitor
from tests.support.fakes_openai import FakeOpenAI

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SOCKETS = 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(encoder: LiveEncoder) -> AsyncIterator[Desk]:
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        serving_programs(fake) as run,
        visitor(run, encoder) as person,
    ):
        one = Desk(run, fake, person)
        await one.renew("look", "listen")
        yield one


async def closed_with(desk: Desk, *messages: str | bytes, token: str = "") -> int | None:
    """Send messages without reading; the code of the close."""
    socket = await desk.raw(token)
    with suppress(ConnectionClosed):
        for message in messages:
            await socket.send(message)
    async with asyncio.timeout(30):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


def huge(size: int) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": "A" * size})


RUBBISH = ['{"type": "resp', "[" * 9000, huge(60_000), huge(7), '{"type": "response.cancel"}']


async def test_what_closes_a_socket(desk: Desk) -> None:
    """A message that is too large or binary, and rubbish without end; one piece of rubbish does not."""
    assert await closed_with(desk, huge(64 * 1024)) == 1009
    assert await closed_with(desk, b"\x00\x01") == 1003
    assert await closed_with(desk, *['{"type": "respo'] * 150) == 4429
    async with desk.client() as connection:
        await connection.send_raw('{"type": "respo')
        assert (await ask(connection, "What is it?"))[-1].response.status == "completed"


async def test_a_flood_is_refused_and_then_closed(desk: Desk) -> None:
    """Events that are valid, far more of them than a program may send."""
    event = json.dumps({"type": "conversation.item.retrieve", "item_id": "x"})
    assert await closed_with(desk, *[event] * 400) == 4429


async def test_events_for_a_client_that_reads_nothing_have_a_bound() -> None:
    queue = EventQueue()
    for _ in range(3 * MOST_WAITING // 1000):
        queue.send("error", text="x" * 1000)
    assert queue.size < MOST_WAITING + 2000
    with pytest.raises(Closing) as end:
        await queue.next()
    assert end.value.code == 4429


async def test_many_sockets_disturb_nobody(desk: Desk) -> None:
    """Two hundred sockets with wrong tokens, and those of eight programs with rubbish, floods, half JSON and sound."""
    own, tokens = bearer(desk.person.token), [desk.token]
    async with http(desk.run) as client:
        for number in range(7):
            made = await give(
                client, desk.person.token, name=f"P{number}", scopes=["look", "listen"]
            )
            tokens.append(made["token"])
        chance = random.Random(7)

        # Their own connecting costs this process as much as the server's refusal.
        together = asyncio.Semaphore(20)

        async def stranger() -> None:
            with pytest.raises(InvalidStatus) as refused:
                async with together:
                    await desk.raw("qcam_" + "x" * 20 + "." + "y" * 43)
            assert refused.value.response.status_code in (401, 429)

        async def program(token: str) -> None:
            messages = chance.choices(RUBBISH, k=150)
            assert await closed_with(desk, *messages, token=token) == 4429

        attacks = [asyncio.create_task(program(token)) for token in tokens for _ in range(2)]
        attacks += [asyncio.create_task(stranger()) for _ in range(SOCKETS - len(attacks))]
        slowest = 0.0
        while not all(task.done() for task in attacks):
            began = time.monotonic()
            answer = await desk.person.page.ask("What is it?", id=f"q{began}")
            slowest = max(slowest, time.monotonic() - began)
            assert answer["type"] == "response", answer
            await asyncio.sleep(0.2)
        for task in attacks:
            await task
        assert slowest < 10
        await client.delete("/api/grants", headers=own)
    await soon(lambda: len(asyncio.all_tasks()) < 200)
    await desk.renew("look")
    async with desk.client() as connection:
        assert (await ask(connection, "What is it?"))[-1].response.status == "completed"
