"""A request to an engine at a model server, its answer, and limits of time, for the tests of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.core.errors import EngineError
from server.core.frames import Picture
from server.models.base import Delta, Engine, EngineRequest, Finished
from server.models.openai.chat_client import TimeLimits
from server.models.openai.engine import OpenAIEngine
from tests.support import answers
from tests.support.fakes import make_request

QUICK = TimeLimits(connect=1, first_token=0.6, between_tokens=0.4, total=3.0, probe=0.6)
# No limit ends anything here, on a busy machine, too.
PATIENT = TimeLimits(connect=10, first_token=10, between_tokens=10, total=30, probe=10)
# Of an engine whose failures are tried again
REPEATING = TimeLimits(connect=1, first_token=5.0, between_tokens=2.0, total=8.0, probe=1.0)
JPEG = b"\xff\xd8 not really a picture \xff\xd9"
# Makes an engine of the model server, which is closed at the end of the test; `limits` and options of its endpoint
Build = Callable[..., OpenAIEngine]


def picture(jpeg: bytes | None = JPEG) -> Picture:
    return Picture("f1", 1.0, None, 1280, 720, 840, 448, 480, jpeg, None, None, 0.003)


def request(question: str = "What is this?", **changes: Any) -> EngineRequest:
    given = {"session_id": "session", "picture": picture(), **changes}
    return make_request(question, **given)


async def collect(engine: Engine, one: EngineRequest | None = None) -> tuple[list[str], Finished]:
    return await answers.collect(engine, one or request())


async def partial(engine: OpenAIEngine) -> tuple[list[str], EngineError]:
    """Return the chunks before the error, and the error."""
    texts: list[str] = []
    try:
        async for chunk in engine.answer(request()):
            assert isinstance(chunk, Delta)
            texts.append(chunk.text)
    except EngineError as exc:
        return texts, exc
    raise AssertionError("no error")
