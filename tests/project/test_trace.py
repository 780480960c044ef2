"""The trace of a frame and a question sees their ways."""

from __future__ import annotations

import pytest

from tools.trace import trace

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_both_ways_are_seen() -> None:
    found = {way: {module for module, _ in calls} for way, calls in (await trace()).items()}
    assert {"media/video/assemble", "media/camera"} <= found["a frame"]
    assert {"web/websocket", "inference", "session/request/answers"} <= found["a question"]
    assert not found["a frame"] & {"inference"}
