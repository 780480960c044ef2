"""The connections to one model server: its own addresses, and a small picture."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator

import httpx2
import pytest

from server.models.openai import http
from server.models.openai.chat_client import ChatClient, Endpoint, TimeLimits, Unreachable
from server.models.openai.upstream import Refused
from tests.support.fakes_openai import Behaviour, FakeOpenAI

BODY = b'{"model":"fake-vl","messages":[],"stream":true}'


@pytest.fixture
async def client(fake: FakeOpenAI) -> AsyncIterator[ChatClient]:
    one = ChatClient(Endpoint(fake.base_url), TimeLimits(), None)
    yield one
    await one.close()


async def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the first server; the others share them."""
    read = httpx2.create_ssl_context
    reads: list[ssl.SSLContext] = []

    def reading() -> ssl.SSLContext:
        reads.append(read())
        return reads[-1]

    monkeypatch.setattr(httpx2, "create_ssl_context", reading)
    http.get_tls_context.cache_clear()
    for _ in range(3):
        await ChatClient(Endpoint("https://model.invalid/v1"), TimeLimits(), None).close()
    assert len(reads) == 1


async def sent(client: ChatClient) -> bytes | None:
    due = asyncio.get_running_loop().time() + 5
    stream = await client.chat(BODY, {}, due)
    try:
        return await stream.next(due)
    finally:
        await stream.aclose()


async def test_an_answer_is_a_stream_of_events(client: ChatClient) -> None:
    assert b"role" in (await sent(client) or b"")


async def test_nobody_there(fake: FakeOpenAI, client: ChatClient) -> None:
    """No connection at all; its health is then unknown."""
    await fake.close()
    with pytest.raises(Unreachable):
        await sent(client)
    assert await client.health(f"http://127.0.0.1:{fake.port}/health") == 0


@pytest.mark.parametrize(
    ("body", "of_server", "fields"),
    [
        ({"error": {"message": "no", "param": "seed"}}, True, {"seed"}),
        ([{"error": {"message": "no", "param": "seed"}}], True, {"seed"}),
        ({"error": "no", "param": "seed"}, True, {"seed"}),
        ({"message": "no"}, True, set()),
        (["no"], False, set()),
        ([], False, set()),
        ("<html>", False, set()),
    ],
)
async def test_the_forms_of_a_refusal(
    fake: FakeOpenAI, client: ChatClient, body: object, of_server: bool, fields: set[str]
) -> None:
    """A JSON object is the server's own answer, also in a list; a proxy sends a page."""
    fake.reply = (400, body)
    with pytest.raises(Refused) as raised:
        await sent(client)
    assert raised.value.of_server is of_server
    assert raised.value.fields == fields


async def test_a_picture_is_taken_refused_or_neither(fake: FakeOpenAI, client: ChatClient) -> None:
    """A refusal says that the model takes none; a failure says nothing."""
    url = "data:image/jpeg;base64,/9j/"
    assert await client.takes_picture("fake-vl", url, 2) is True
    fake.blind = {"fake-vl"}
    assert await client.takes_picture("fake-vl", url, 2) is False
    fake.blind, fake.behaviour = set(), Behaviour.INTERNAL
    assert await client.takes_picture("fake-vl", url, 2) is None
    fake.behaviour = Behaviour.SILENT
    assert await client.takes_picture("fake-vl", url, 0.1) is None


async def test_nothing_keeps_a_request_after_its_answer() -> None:
    """A picture goes with the answer, complete or left in its middle, and not by the collector."""
    seen: list[weakref.ref[httpx2.Request]] = []
    event = b'data: {"choices":[{"delta":{"content":"A"}}]}\n\n'

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(weakref.ref(request))
        kind = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=kind, content=event * 3 + b"data: [DONE]\n\n")

    client = ChatClient(Endpoint("http://h/v1"), TimeLimits(), httpx2.MockTransport(answer))
    gc.collect()
    gc.disable()
    try:
        for events in (1, 4):
            due = asyncio.get_running_loop().time() + 5
            stream = await client.chat(BODY, {}, due)
            for _ in range(events):
                await stream.next(due)
            await stream.aclose()
            del stream
        # The event loop closes the generators that are left in their middle, one in the other.
        for _ in range(20):
            await asyncio.sleep(0)
        assert [one() for one in seen] == [None, None]
    finally:
        gc.enable()
        await client.close()


async def test_every_answer_is_asked_for_as_it_is(fake: FakeOpenAI) -> None:
    """No request of any kind allows a compressed answer."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"data": []})

    client = ChatClient(Endpoint("http://h/v1"), TimeLimits(), httpx2.MockTransport(answer))
    try:
        await client.get("/models")
        await client.get("http://h/api/ps")
        await client.get("http://h/api/show", {"model": "m"})
        await client.health("http://h/health")
        await client.takes_picture("m", "data:", 2)
    finally:
        await client.close()
    assert [request.headers["accept-encoding"] for request in seen] == ["identity"] * 5
