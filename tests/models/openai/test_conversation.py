"""A program's conversation at a model server: its fields go on, tool calls come back, refusals become errors."""

from __future__ import annotations

from typing import Any

import pytest

from server.core.errors import EngineError, EngineFailed, EngineRefused
from server.models.base import (
    Author,
    EngineRequest,
    Message,
    ProgramFields,
    Shown,
    ShownPicture,
    ToolCall,
    Words,
)
from server.models.openai.engine import OpenAIEngine
from tests.models.asking import collect, picture, request
from tests.support.fakes_openai import FakeOpenAI

TOOLS = {"tools": [{"type": "function", "function": {"name": "lamp"}}], "tool_choice": "auto"}
FORM = {"type": "json_schema", "json_schema": {"name": "seen", "schema": {"type": "object"}}}


def chat(**fields: Any) -> EngineRequest:
    messages = (
        Message(Author.SYSTEM, (Words("Be brief."),)),
        Message(Author.USER, (Words("Compare"), Shown(1), Shown(0))),
    )
    earlier = (ShownPicture(picture(b"\xff\xd8 before \xff\xd9"), "Before:"),)
    given = ProgramFields(**fields)
    return request("Compare", messages=messages, earlier=earlier, extras=(given,))


async def test_fields_and_pictures_go_on(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    sampling = {"temperature": 1.5, "stop": ["x"]}
    texts, _ = await collect(engine, chat(tools=TOOLS, form=FORM, sampling=sampling))
    assert "".join(texts) == "I see a cup."
    sent = {**TOOLS, **sampling, "response_format": FORM}
    assert {name: fake.last.body[name] for name in sent} == sent
    assert len(fake.last.jpegs) == 2
    assert b"before" in fake.last.jpegs[0]
    assert [text for _, text in fake.last.texts][1:] == ["Compare", "Before:"]
    assert fake.last.texts[0][1].endswith("Be brief.")


def pieces(*calls: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"tool_calls": [call]} for call in calls]


async def test_calls_in_pieces_become_whole(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    fake.finish_reason = "tool_calls"
    fake.deltas = pieces(
        {"index": 0, "id": "c1", "function": {"name": "lamp", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"on"'}},
        {"index": 1, "id": "c2", "function": {"name": "door", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
    )
    texts, end = await collect(engine, chat(tools=TOOLS))
    assert texts == []
    assert end.finish_reason == "tool_calls"
    assert end.calls == (ToolCall("c1", "lamp", '{"on":1}'), ToolCall("c2", "door", "{}"))


async def test_calls_of_a_whole_answer(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    fake.unstreamed = True
    fake.answer_for = lambda _body, _jpeg: []
    function = {"name": "lamp", "arguments": "{}"}
    calls = [{"id": "c1", "function": function}, {"id": "c2", "function": function}]
    fake.deltas = [{"content": None, "tool_calls": calls}]
    _, end = await collect(engine, chat(tools=TOOLS))
    assert [call.id for call in end.calls] == ["c1", "c2"]


async def test_calls_not_wanted_or_cut_off(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A person's question has no tools, and half a call is none."""
    fake.deltas = pieces({"index": 0, "id": "c", "function": {"name": "lamp", "arguments": "{"}})
    with pytest.raises(EngineRefused, match="tool"):
        await collect(engine)
    fake.finish_reason = "length"
    _, end = await collect(engine, chat(tools=TOOLS))
    assert (end.finish_reason, end.calls) == ("length", ())


@pytest.mark.parametrize(
    "calls",
    [
        [{"index": at, "function": {"name": "a", "arguments": ""}} for at in range(17)],
        [{"index": 0, "function": {"name": "a", "arguments": "x" * 40_000}}] * 2,
    ],
)
async def test_calls_without_end(
    fake: FakeOpenAI, engine: OpenAIEngine, calls: list[dict[str, Any]]
) -> None:
    fake.deltas = pieces(*calls)
    with pytest.raises(EngineFailed, match="more tools"):
        await collect(engine, chat(tools=TOOLS))


async def test_rubbish_in_place_of_calls(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    fake.deltas = [
        {"content": "x"},
        {"tool_calls": "none"},
        {"tool_calls": [3, {}, {"function": 1}, {"index": 10**9, "function": {"name": 3}}]},
    ]
    texts, end = await collect(engine, chat(tools=TOOLS))
    assert (texts, end.calls) == (["x"], ())


@pytest.mark.parametrize(
    ("fields", "words", "named"),
    [
        (
            {"tools": TOOLS},
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "tools",
        ),
        ({"form": FORM}, "Failed to convert the grammar", "response_format"),
        ({"sampling": {"seed": 1}}, "Unexpected keys in the request: ['seed']", "seed"),
    ],
)
async def test_a_refusal_names_the_field(
    fake: FakeOpenAI, engine: OpenAIEngine, fields: dict[str, Any], words: str, named: str
) -> None:
    """It is never left out: the program counts on it. The server's words stay below."""
    fake.models, fake.blind = ["fake-vl"], {"fake-vl"}
    fake.blind_words = words
    with pytest.raises(EngineRefused) as refused:
        await collect(engine, chat(**fields))
    assert f'"{named}"' in refused.value.visitor_message
    assert words not in refused.value.message
    assert all(
        fields["sampling"].keys() <= seen.body.keys()
        for seen in fake.requests
        if "sampling" in fields
    )
    assert (fake.count, engine.status.left_out) == (2, ())


@pytest.mark.parametrize(
    "words",
    [
        "cannot resolve #/$defs/this is not a multimodal model",
        "bad name: At most 1 image(s) may be provided in one prompt",
        "bad name: maximum context length is 300 tokens",
        "bad names: stream_options, temperature, max_tokens, max_completion_tokens",
        "bad names: modalities, audio, response_format, json_schema",
        "bad name: model_not_found",
    ],
)
async def test_a_programs_own_words_teach_nothing(
    fake: FakeOpenAI, engine: OpenAIEngine, words: str
) -> None:
    """A server repeats a bad schema in its refusal; the next person's question is as it was."""
    before = await engine.probe()
    await collect(engine)
    usual = set(fake.last.body)
    fake.models, fake.blind, fake.blind_words = ["fake-vl"], {"fake-vl"}, words
    with pytest.raises(EngineError):
        await collect(engine, chat(form=FORM))
    fake.blind = set()
    await collect(engine)
    assert set(fake.last.body) == usual
    assert engine.status == before
