from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest
from openai import AsyncOpenAI

from scripts.bench import clock_code
from scripts.bench.http_json import json_request
from scripts.bench.stand_in_model import StandInModel


@pytest.fixture
async def model() -> AsyncIterator[StandInModel]:
    stand_in = StandInModel(first_token=0.05, between=0.005, pieces=4)
    await stand_in.start()
    yield stand_in
    await stand_in.close()


def picture(captured_ms: float) -> str:
    frame = np.full((448, 840, 3), 100, np.uint8)
    clock_code.draw(frame, int(captured_ms))
    _, jpeg = cv2.imencode(".jpg", frame)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


async def test_it_answers_and_records_what_it_got(model: StandInModel) -> None:
    """The openai package streams an answer; the record holds the picture's size, the question and its age."""
    async with AsyncOpenAI(base_url=model.base_url, api_key="none") as client:
        captured = time.time() * 1000 - 40
        begin = time.monotonic()
        first, text = 0.0, ""
        stream = await client.chat.completions.create(
            model=(await client.models.list()).data[0].id,
            messages=[
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": picture(captured)}},
                        {"type": "text", "text": "What is it? [#7]"},
                    ],
                },
            ],
            stream=True,
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.monotonic() - begin
                text += chunk.choices[0].delta.content
    assert text == "This is a measured"
    assert first >= 0.05
    (record,) = await json_request("GET", f"http://127.0.0.1:{model.port}/records")
    assert (record["width"], record["height"], record["question"]) == (840, 448, "What is it? [#7]")
    assert record["age_ms"] == pytest.approx(record["arrived"] * 1000 - captured, abs=1.01)
    assert record["arrived"] <= record["first_token"]
    assert not record["cancelled"]


async def test_a_closed_stream_is_seen(model: StandInModel) -> None:
    """Closing the stream ends the answer at once, and the record says so."""
    model.between = 30
    async with AsyncOpenAI(base_url=model.base_url, api_key="none") as client:
        stream = await client.chat.completions.create(
            model="stand-in", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        assert model.running == 1
        await stream.close()
    async with asyncio.timeout(5):
        while model.running:
            await asyncio.sleep(0.01)
    assert model.records[0].cancelled
    assert model.records[0].width == 0
