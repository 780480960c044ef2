"""The trace of a frame and a question sees their ways."""

from __future__ import annotations

import pytest

from tools.trace import record_traces

pytestmark = [pytest.mark.slow, pytest.mark.night, pytest.mark.asyncio]


async def test_both_ways_are_seen() -> None:
    ways = await record_traces()
    found = {way: {module for module, _ in calls} for way, calls in ways.items()}
    assert {"media/video/assemble", "media/camera"} <= found["a frame"]
    assert {"web/websocket", "inference", "session/request/answers"} <= found["a question"]
    # What is looked at now and then may fall into it, but nothing is asked.
    asking = ("inference", "Inference.submit")
    assert asking in ways["a question"] - ways["a frame"]
