"""Server-sent events of a chat stream, cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models.openai.chat_stream import MAX_EVENT_BYTES, EventDecoder, EventTooLong, read_event

STREAM = (
    b": keep-alive\n\n"
    b'data: {"a":1}\n\n'
    b"event: x\r\nid: 7\r\ndata:two\r\ndata: lines\r\n\r\n"
    b"retry: 5\n\n"
    b"data: \xc3\xa9\r\r"
    b"data\n\ndata: [DONE]\n\n"
    b"data: not complete\n"
)
EVENTS = [b'{"a":1}', b"two\nlines", b"\xc3\xa9", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Comments and other fields give nothing; all three line ends count."""
    decoder = EventDecoder()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [event for begin, end in pairwise(edges) for event in decoder.feed(STREAM[begin:end])]
    assert found == EVENTS


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"data: " + b"x" * 65000 + b"\n"])
def test_an_event_without_an_end_is_bounded(chunk: bytes) -> None:
    """In one line or in many, it stops at the limit."""
    decoder = EventDecoder()
    for _ in range(MAX_EVENT_BYTES // len(chunk)):
        decoder.feed(chunk)
    with pytest.raises(EventTooLong):
        decoder.feed(chunk + chunk)


def test_many_events_are_not_one_long_one() -> None:
    """The limit is for one event, not for the stream."""
    decoder = EventDecoder()
    for _ in range(40):
        assert decoder.feed(b"data: " + b"x" * 65536 + b"\n\n")


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
    found = read_event(json.dumps(event).encode()).usage
    assert found is not None
    assert found.cached_tokens == cached
