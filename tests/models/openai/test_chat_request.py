"""Requests to a model server: insufficient context, and held frames."""

from __future__ import annotations

import json

import pytest

from server.core.errors import EngineRefused
from server.models.base import EngineRequest, ShownPicture, Turn
from server.models.openai.engine import OpenAIEngine
from server.models.openai.request import shorten_request
from tests.models.asking import JPEG, collect, picture, request
from tests.support.fakes_openai import FakeOpenAI

SERVER = {"max_model_len": None, "model": "qwen2.5vl:7b"}
TURNS = tuple(
    Turn(f"Question {n} of many words here?", "An answer of some words.") for n in range(8)
)


async def test_turns_that_do_not_fit_are_left_out(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """The question goes again with half of the turns, before any answer; their number is told."""
    fake.context = 128 + 180
    texts, end = await collect(engine, request(turns=TURNS))
    assert texts == ["I ", "see ", "a ", "cup."]
    assert fake.count == 2
    assert end.left_out == 4
    assert next(text for role, text in fake.last.texts if role == "user") == TURNS[4].question


async def test_a_context_that_is_told_is_learned(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """From then on nothing larger is counted on, also after the next look."""
    fake.context = 300
    await collect(engine, request(turns=TURNS))
    assert engine.status.capabilities.context_length == 300
    await engine.probe()
    assert engine.status.capabilities.context_length == 300
    fake.models = ["other"]
    await engine.probe()
    assert engine.status.capabilities.context_length is None


async def test_a_refusal_without_a_number_leaves_all_turns_out(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """Nothing is learned of the server by it, since the request may have been too long."""
    fake.context, fake.tells_context = 128 + 180, False
    _, end = await collect(engine, request(turns=TURNS))
    assert (fake.count, end.left_out) == (3, 8)
    assert engine.status.left_out == ()


async def test_a_question_too_long_alone_is_refused(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """All turns and earlier pictures go first; then the error comes."""
    fake.context = 257
    with pytest.raises(EngineRefused, match="do not fit"):
        await collect(engine, request("word " * 300, turns=TURNS[:2], earlier=EARLIER[:2]))
    assert [len(seen.jpegs) for seen in fake.requests][:4] == [3, 3, 3, 2]


@pytest.mark.parametrize(("turns", "left"), [(1, 0), (2, 1), (3, 1), (8, 4)])
def test_the_older_half_goes(turns: int, left: int) -> None:
    """And the last one when there is only one."""
    less = shorten_request(request(turns=TURNS[:turns]))
    assert less is not None
    assert less.turns == TURNS[turns - left : turns]


async def sent(fake: FakeOpenAI, engine: OpenAIEngine, one: EngineRequest) -> bytes:
    """The messages as they go out, without the end of their list."""
    await collect(engine, one)
    return json.dumps(fake.last.body["messages"]).encode()[:-1]


@pytest.mark.parametrize("first", [0, 3])
async def test_prompts_about_one_picture_begin_with_all_of_the_one_before(
    fake: FakeOpenAI, engine: OpenAIEngine, first: int
) -> None:
    """Byte by byte: system, turns before the picture, picture, turns as they grow, question last."""
    before = b""
    for n in range(first, first + 5):
        one = request(
            f"  Question {n} of many words here? ", turns=TURNS[:n], turns_after=n - first
        )
        now = await sent(fake, engine, one)
        assert now.startswith(before), n
        assert len(now) > len(before)
        before = now
    found = json.loads(before + b"]")
    with_picture = found[1 + 2 * first]["content"]
    assert [part["type"] for part in with_picture] == ["image_url", "text"]
    assert with_picture[1]["text"] == TURNS[first].question
    assert found[-1] == {"role": "user", "content": f"Question {first + 4} of many words here?"}


async def test_a_picture_whose_turn_was_left_out_goes_first(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """The history was cut to turns that came after it."""
    one = request("Now?", turns=TURNS[6:8], turns_after=5)
    found = json.loads(await sent(fake, engine, one) + b"]")
    assert [part["type"] for part in found[1]["content"]] == ["image_url", "text"]


async def test_prompts_about_fresh_frames_have_the_picture_last(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """The common part of all requests, system text and turns, comes before it."""
    found = [await sent(fake, engine, request("Now?", turns=TURNS[:n])) for n in (2, 3)]
    one, two = (json.loads(messages + b"]") for messages in found)
    assert one[:-1] == two[: len(one) - 1]
    assert all(isinstance(message["content"], str) for message in two[:-1])
    assert [part["type"] for part in two[-1]["content"]] == ["image_url", "text"]


OLDER = [b"\xff\xd8 %d \xff\xd9" % n for n in range(3)]
EARLIER = tuple(ShownPicture(picture(jpeg), f"At {n}:") for n, jpeg in enumerate(OLDER))
SCHEMA = {"type": "object", "properties": {"seen": {"type": "boolean"}}, "required": ["seen"]}


async def test_earlier_pictures_go_before_the_frame(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """All of them in one request, oldest first, with their captions."""
    await collect(engine, request(earlier=EARLIER))
    assert fake.last.jpegs == [*OLDER, JPEG]
    assert [text for role, text in fake.last.texts if role == "user"] == [
        *("At 0:", "At 1:", "At 2:"),
        "What is this?",
    ]


FRAMES = [b"\xff\xd8 %d \xff\xd9" % n for n in range(8)]
FILM = tuple(ShownPicture(picture(jpeg), f"[{n}] {9 - n} s ago:") for n, jpeg in enumerate(FRAMES))
QWEN = {"owned_by": "vllm", "root": "Qwen/Qwen2.5-VL-7B-Instruct"}


async def test_a_video_goes_in_one_piece(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Before the frame, all frames in vLLM's form, each once."""
    fake.card = QWEN
    await engine.probe()
    _, end = await collect(engine, request(earlier=FILM, video=True))
    assert (fake.last.videos, fake.last.jpegs) == ([FRAMES], [JPEG])
    assert not end.video_refused
    assert engine.status.capabilities.video


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_a_refused_video_goes_as_one_picture(
    fake: FakeOpenAI, engine: OpenAIEngine, status: int
) -> None:
    fake.card, fake.refuses_video = QWEN, (status, "no")
    await engine.probe()
    texts, end = await collect(engine, request(earlier=FILM, video=True))
    assert (texts, fake.count) == (["I ", "see ", "a ", "cup."], 2)
    assert (fake.last.videos, fake.last.jpegs) == ([], [JPEG])
    assert (end.video_refused, end.pictures_left_out) == (True, 8)
    assert not engine.status.capabilities.video
    fake.models, fake.card = ["other"], {**QWEN, "id": "other"}
    assert (await engine.probe()).capabilities.video


async def test_a_video_too_long_becomes_shorter(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Frames stay in pairs; the newest picture is left in the end."""
    fake.card = QWEN
    await engine.probe()
    fake.context = 257
    with pytest.raises(EngineRefused, match="do not fit"):
        await collect(engine, request("word " * 300, earlier=FILM, video=True))
    sent_pictures = [
        (len([jpeg for film in seen.videos for jpeg in film]), len(seen.jpegs))
        for seen in fake.requests
    ]
    assert sent_pictures[:4] == [(8, 1), (4, 1), (0, 2), (0, 1)]


async def test_a_schema_goes_to_whoever_takes_one(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """vLLM alone is known to; a question without a schema has no such field."""
    await collect(engine, request(schema=SCHEMA))
    assert "response_format" not in fake.last.body
    fake.card = {"owned_by": "vllm"}
    await engine.probe()
    await collect(engine, request(schema=SCHEMA))
    assert fake.last.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }
    await collect(engine, request())
    assert "response_format" not in fake.last.body
