"""The HTTP client of model and speech servers: its limits, and what it does not do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from server.models.openai.http import ANSWER_BYTES, STREAM_BYTES, ResponseTooLarge, make_http_client


def client(status: int = 200, kind: str = "application/json", size: int = 0) -> httpx2.AsyncClient:
    """Return a client of a server whose answers have so many bytes."""

    async def body() -> AsyncIterator[bytes]:
        for begin in range(0, size, 65536):
            yield b"x" * min(65536, size - begin)

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": kind, "set-cookie": "a=b"}
        return httpx2.Response(status, headers=headers, content=body())

    return make_http_client(
        limits=httpx2.Limits(),
        connect=1.0,
        headers={},
        base_url="http://here.example/v1",
        transport=httpx2.MockTransport(answer),
    )


@pytest.mark.parametrize(
    ("kind", "most"), [("application/json", ANSWER_BYTES), ("text/event-stream", STREAM_BYTES)]
)
async def test_a_larger_answer_is_refused(kind: str, most: int) -> None:
    async with client(kind=kind, size=most) as one:
        assert len((await one.get("/models")).content) == most
    async with client(kind=kind, size=most + 1) as one:
        with pytest.raises(ResponseTooLarge, match="no more is read"):
            await one.get("/models")


async def test_the_body_of_an_error_is_cut() -> None:
    """Its status says enough."""
    async with client(status=400, size=3 * ANSWER_BYTES) as one:
        answer = await one.get("/models")
    assert answer.status_code == 400
    assert len(answer.content) < ANSWER_BYTES


async def test_no_cookie_is_kept() -> None:
    """One person's would go with everybody's requests."""
    async with client() as one:
        await one.get("/models")
        assert not one.cookies
