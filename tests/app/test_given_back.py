"""The memory of a session that has ended goes back to the system."""

from __future__ import annotations

import gc
import weakref

from tests.support.clients import soon
from tests.support.running import running


async def test_an_ended_session_is_collected() -> None:
    """Also one without a camera, whose connection would ask for it."""
    async with running(engine="vllm", vllm_base_url="http://127.0.0.1:9/v1") as run:
        run.program.webrtc._trim_seconds = 0.05
        gc.disable()
        try:
            session = weakref.ref(await run.program.sessions.admit("somebody"))
            await run.program.sessions.end("somebody", "over")
            await soon(lambda: session() is None, 20)
        finally:
            gc.enable()
