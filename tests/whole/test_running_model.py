"""The whole program against a model server that somebody runs, real vLLM above all:
MODEL_SERVER_URL names it.

    MODEL_SERVER_URL=http://127.0.0.1:8001/v1 bash scripts/test.sh tests/whole/test_running_model.py

MODEL_SERVER_KEY is its key. Nothing is known of what the model says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import EngineRefused, EngineUnavailable
from server.core.frames import Picture
from server.media.picture.encode import jpeg
from server.models.base import EngineRequest, EngineStatus
from server.models.openai.chat_client import Endpoint
from server.models.openai.engine import OpenAIEngine
from tests.support.answers import collect
from tests.support.clients import Visitor, visitor
from tests.support.fakes import make_request
from tests.support.running import running

URL = os.environ.get("MODEL_SERVER_URL", "")
KEY = os.environ.get("MODEL_SERVER_KEY", "")

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not URL,
        reason="opt-in: MODEL_SERVER_URL=http://127.0.0.1:8001/v1 runs these against the model server there",
    ),
]

LONG = "Count from one to ten thousand, one number a line, and leave none out."


def make_engine(model: str = "", **fields: Any) -> OpenAIEngine:
    return OpenAIEngine("vllm", Endpoint(URL, KEY, model, fields={"temperature": 0.2, **fields}))


@pytest_asyncio.fixture(loop_scope="module")
async def engine() -> AsyncIterator[OpenAIEngine]:
    one = make_engine()
    assert (await one.probe()).ready, one.status.detail
    yield one
    await one.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest() -> AsyncIterator[Visitor]:
    encoder = LiveEncoder(Scene(640, 360), rate=10)
    async with (
        running(engine="vllm", vllm_base_url=URL, vllm_api_key=KEY, drain_seconds=1) as run,
        visitor(run, encoder) as one,
    ):
        yield one
    await encoder.close()


def request(question: str = "What is this?", max_tokens: int = 16) -> EngineRequest:
    bgr = np.asarray(Scene(336, 252).draw(1.0).to_ndarray(format="bgr24"), np.uint8)
    picture = jpeg(bgr)
    made = Picture("f", 1.0, None, 336, 252, 336, 252, 108, picture, None, None, 0.003)
    return make_request(question, made, max_tokens=max_tokens)


async def is_vllm(engine: OpenAIEngine) -> EngineStatus:
    """Skips where another server than vLLM answers."""
    if not engine.status.capabilities.json_schema:
        pytest.skip("the model server at MODEL_SERVER_URL does not say that it is vLLM")
    return engine.status


async def running_requests() -> float:
    """vLLM's own count of answers in work."""
    async with httpx.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(URL.removesuffix("/v1") + "/metrics")).text
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", metrics, re.M)
    assert found
    return sum(float(value) for value in found)


async def becomes(count: float, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await running_requests() != count:
            await asyncio.sleep(0.02)


async def test_vllm_tells_model_and_context(engine: OpenAIEngine) -> None:
    """No setting is needed."""
    status = await is_vllm(engine)
    assert status.model
    assert status.capabilities.context_length is not None


async def test_an_answer_and_its_usage(engine: OpenAIEngine) -> None:
    """A real picture and question; the limit holds."""
    _, end = await collect(engine, request())
    assert end.finish_reason in ("stop", "length")
    assert end.usage.prompt_tokens is not None
    assert end.usage.completion_tokens is not None
    assert 0 < end.usage.completion_tokens <= 16 < end.usage.prompt_tokens


@pytest.mark.parametrize("field", [{"priority": -1}, {"temperature": 9.0}])
async def test_a_field_is_taken_or_left_out(engine: OpenAIEngine, field: dict[str, Any]) -> None:
    """Neither a field that it does not know nor a value that it does not take costs an answer."""
    other = make_engine(engine.status.model, **field)
    try:
        await collect(other, request())
    finally:
        await other.close()


async def test_what_does_not_fit_says_how_much_does(engine: OpenAIEngine) -> None:
    """A question longer than the context is refused in our words, with its size."""
    length = (await is_vllm(engine)).capabilities.context_length
    assert length is not None
    with pytest.raises(EngineRefused, match=f"{length:,} tokens"):
        await collect(engine, request("word " * length))
    with pytest.raises(EngineRefused, match=f"{length:,} tokens"):
        await collect(engine, request(max_tokens=length + 1))


async def test_an_error_inside_the_stream(engine: OpenAIEngine) -> None:
    """vLLM answers 200 and then an error event to a schema that can't be: an error of ours."""
    await is_vllm(engine)
    schema = {"name": "x", "schema": {"type": "strng"}}
    form = {"type": "json_schema", "json_schema": schema}
    wrong = make_engine(engine.status.model, response_format=form)
    try:
        with pytest.raises(EngineRefused) as raised:
            await collect(wrong, request())
    finally:
        await wrong.close()
    assert "strng" not in raised.value.message


async def test_another_model_says_so() -> None:
    """The sentence leads to MODEL_NAME."""
    other = make_engine("somebody/else")
    try:
        with pytest.raises(EngineUnavailable, match="MODEL_NAME"):
            await collect(other, request())
    finally:
        await other.close()


async def test_a_broken_picture_is_refused(engine: OpenAIEngine) -> None:
    """And the next question works."""
    await is_vllm(engine)
    one = request()
    broken = dataclasses.replace(one.picture, jpeg=(one.picture.jpeg or b"")[:400])
    with pytest.raises(EngineRefused):
        await collect(engine, make_request(picture=broken))
    await collect(engine, one)


async def test_a_camera_s_question_is_answered(guest: Visitor) -> None:
    """Through the whole program: streamed, with the frame and the server's counts."""
    await guest.page.send(type="settings", max_tokens=16)
    answer = await guest.page.ask("What is this?", id="q", timeout=60)
    assert (answer["type"], answer["engine"]) == ("response", "vllm"), answer
    pieces = [m["text"] for m in guest.page.seen if m["type"] == "delta" and m["id"] == "q"]
    assert "".join(pieces) == answer["text"]
    assert answer["usage"]["prompt_tokens"] > answer["frame"]["visual_tokens"] > 0
    assert answer["model"]


async def test_cancelled_means_stopped_upstream(guest: Visitor, engine: OpenAIEngine) -> None:
    """vLLM counts no answer in work a moment after the visitor pressed Stop."""
    await is_vllm(engine)
    await becomes(0, 30)
    await guest.page.send(type="settings", max_tokens=4000)
    await guest.page.send(type="chat", content=LONG, id="long")
    await guest.page.next("delta", id="long", timeout=60)
    if await running_requests() == 0:
        pytest.skip("the model gave a short answer: there was nothing to stop")
    await guest.page.send(type="cancel", id="long")
    assert (await guest.page.end("long"))["finish_reason"] == "cancelled"
    await becomes(0, 2)
