"""Server-sent events of a chat stream, cut anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models.openai.events import MAX_EVENT_BYTES, BrokenStream, EventStream, read_event

STREAM = (
    b": keep-alive\n\n"
    b'data: {"a":1}\n\n'
    b"event: message\r\nid: 7\r\ndata:two\r\ndata: lines\r\n\r\n"
    b"retry: 5\n\n"
    b"data: \xc3\xa9\r\r"
    b"data\n\ndata: [DONE]\n\n"
    b"data: not complete\n"
)
EVENTS = [b'{"a":1}', b"two\nlines", b"\xc3\xa9"]


def response(chunks: Iterable[bytes]) -> httpx2.Response:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return httpx2.Response(200, content=pieces())


async def read(chunks: Iterable[bytes]) -> list[bytes]:
    stream = EventStream(response(chunks))
    found = []
    while (event := await stream.next(asyncio.get_running_loop().time() + 60)) is not None:
        found.append(event)
    await stream.aclose()
    return found


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Comments and other fields give nothing; all three line ends count."""
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[begin:end] for begin, end in pairwise(edges)]
    assert asyncio.run(read(chunks)) == EVENTS


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"data: " + b"x" * 65000 + b"\n"])
async def test_an_event_without_an_end_is_bounded(chunk: bytes) -> None:
    """In one line or in many, it stops at the limit."""
    with pytest.raises(BrokenStream):
        await read([chunk] * (MAX_EVENT_BYTES // len(chunk) + 2))


async def test_many_events_are_not_one_long_one() -> None:
    """The limit is for one event, not for the stream."""
    event = b"data: " + b"x" * 65536 + b"\n\n"
    assert len(await read([event] * 80)) == 80


async def test_one_object_is_one_event() -> None:
    stream = EventStream(response([b" ", b'{"a":', b"1}\n"]))
    assert json.loads(await stream.next(asyncio.get_running_loop().time() + 60) or b"") == {"a": 1}
    assert stream.whole
    assert stream.done
    await stream.aclose()


@pytest.mark.parametrize(
    ("usage", "timings", "cached"),
    [
        # llama.cpp, older and newer: its server's README at 00dc8057 has the timings.
        ({"prompt_tokens": 300}, {"cache_n": 236, "prompt_n": 64, "prompt_ms": 30.9}, 236),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, {"cache_n": 236}, 0),
        ({"prompt_tokens": 300}, {"cache_n": -1}, None),
        ({"prompt_tokens": 300}, {"cache_n": "236"}, None),
        ({"prompt_tokens": 300}, [236], None),
    ],
)
def test_cached_tokens_are_counted(usage: object, timings: object, cached: int | None) -> None:
    """By the usage, else by llama.cpp's timings; rubbish counts nothing."""
    event = {"choices": [], "usage": usage, "timings": timings}
    found = read_event(json.dumps(event).encode())
    assert found is not None
    assert found.usage is not None
    assert found.usage.cached_tokens == cached
