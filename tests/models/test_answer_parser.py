"""One answer as it arrives: without markup and apart from thoughts, however it is cut; never an
empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from server.core.errors import EngineError, EngineRefused
from server.models.answer_parser import AnswerText
from server.models.base import (
    Chunk,
    Delta,
    Finished,
    ProgramFields,
    Thought,
)
from server.models.openai.engine import OpenAIEngine
from server.models.thinking import OFF_FIELDS, ThinkingLimits
from tests.models.asking import Build, request
from tests.support.answers import chunks_of
from tests.support.fakes_openai import Behaviour, FakeOpenAI


def joined(parts: Sequence[Chunk]) -> tuple[str, str]:
    """The answer and the thoughts."""
    text = "".join(part.text for part in parts if isinstance(part, Delta))
    return text, "".join(part.text for part in parts if isinstance(part, Thought))


def read(pieces: Sequence[str], *, opened: bool = False) -> tuple[str, str]:
    """The answer and the thoughts."""
    one = AnswerText(opened=opened)
    parts = [part for piece in pieces for part in one.feed(piece)] + one.feed("", ended=True)
    assert all(part.text for part in parts)
    return joined(parts)


@pytest.mark.parametrize(
    ("whole", "text", "thoughts"),
    [
        ("A cup.", "A cup.", ""),
        ("<think>It is round.</think>\n\nA cup.", "A cup.", "It is round."),
        ("\n<think>\n\n</think>\n\nA cup.", "A cup.", ""),
        ("[THINK]round[/THINK]A cup.", "A cup.", "round"),
        ("◁think▷round◁/think▷A cup.", "A cup.", "round"),
        ("<|channel>thought\nround<channel|>A cup.", "A cup.", "round"),
        ("a < b, <3, [1] and <b>bold</b>", "a < b, <3, [1] and <b>bold</b>", ""),
        ("<think>a < b and [1]</think>[1]", "[1]", "a < b and [1]"),
        ("ends with <", "ends with <", ""),
        ("<thin", "<thin", ""),
        ("<think>never ends</thi", "", "never ends</thi"),
    ],
)
def test_thoughts_go_wherever_they_are_cut(whole: str, text: str, thoughts: str) -> None:
    """In one piece, in characters, and in two pieces cut at every place."""
    cuts = [[whole], list(whole)]
    cuts += [[whole[:n], whole[n:]] for n in range(1, len(whole))]
    for pieces in cuts:
        assert read(pieces) == (text, thoughts), pieces


@pytest.mark.parametrize(
    ("piece", "text", "thoughts"),
    [
        ("<|begin_of_box|>A cup<|end_of_box|>.<|im_end|>", "A cup.", ""),
        ("<answer>A cup.</answer>", "A cup.", ""),
        ("<think>Is it [INST] a<|im_end|> cup?</think>Yes.", "Yes.", "Is it  a cup?"),
        # Whose beginning nobody saw
        ("</think>A cup.", "A cup.", ""),
        # A mark in the middle of an answer was read somewhere.
        ("It says <think> and </think> there.", "It says  and  there.", ""),
    ],
)
def test_control_tokens_go_where_they_are_whole(piece: str, text: str, thoughts: str) -> None:
    """As a server sends them that is set up wrongly."""
    assert read([piece]) == (text, thoughts)


def test_little_is_held_back() -> None:
    """At the beginning and in thoughts, as much as a mark has."""
    one = AnswerText()
    assert one.feed(" <") == []
    assert one.feed("b> is <") == [Delta("<b> is <")]
    assert one.feed("|") == [Delta("|")]
    two = AnswerText()
    assert two.feed("<think>It is <") == [Thought("It is ")]
    assert two.feed("b> round. </thi") == [Thought("<b> round. ")]
    assert two.feed("nk>A cup") == [Delta("A cup")]
    three = AnswerText()
    assert three.feed("<think>" + "<" + "x" * 500) == [Thought("<" + "x" * 500)]


def test_thoughts_that_the_prompt_opened() -> None:
    """Their end alone is marked; some servers write the beginning."""
    thoughts = ["Round, white.", "</think>\n", "A cup."]
    assert read(thoughts, opened=True) == ("A cup.", "Round, white.")
    assert read(["<th", "ink>", *thoughts], opened=True) == ("A cup.", "Round, white.")


# Answers of a model server


async def asked(engine: OpenAIEngine, **changes: Any) -> tuple[str, str, Finished]:
    """The answer, the thoughts, and its end."""
    chunks, end = await chunks_of(engine, request(**changes))
    return *joined(chunks), end


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_a_model_that_nobody_knows_gets_tokens_for_thoughts(
    fake: FakeOpenAI, engine: OpenAIEngine, field: str
) -> None:
    """Thoughts of more than the answer's tokens come to an answer, which keeps to its own limit."""
    fake.thoughts, fake.thoughts_field = ["hm "] * 200, field
    text, thoughts, end = await asked(engine)
    assert (text, thoughts) == ("I see a cup.", "hm " * 200)
    assert end.finish_reason == "stop"
    assert fake.last.body["max_tokens"] == 128 + 1024
    assert not OFF_FIELDS.keys() & fake.last.body.keys()
    text, _, end = await asked(engine, max_tokens=2)
    assert (text, end.finish_reason) == ("I see ", "length")
    assert fake.count == 2


async def test_thinking_that_is_wanted_is_not_switched_off(fake: FakeOpenAI, build: Build) -> None:
    """THINKING=true: it gets its tokens."""
    fake.models, fake.thoughts = ["qwen3.5:4b"], ["hm "]
    engine = build(thinking=ThinkingLimits(wanted=True, max_tokens=300))
    assert (await asked(engine))[:2] == ("I see a cup.", "hm ")
    assert fake.last.body["max_tokens"] == 428
    assert "reasoning_effort" not in fake.last.body


@pytest.mark.parametrize("model", ["Qwen/Qwen3.6-27B", "qwen2.5vl:7b"])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("whole", [False, True])
async def test_an_answer_among_the_thoughts_of_one_that_does_not_think(
    fake: FakeOpenAI, build: Build, model: str, field: str, whole: bool
) -> None:
    """The server's parser took it for thoughts; it is asked once, also for what watches want."""
    fake.models, fake.unstreamed = [model], whole
    engine = build()
    for said, schema in (("A red cup on a table.", None), ('{"a": true}', {"type": "object"})):
        fake.deltas = [{"content": None, field: said}]
        text, _, end = await asked(engine, schema=schema)
        assert (text, end.finish_reason) == (said, "stop")
        assert fake.last.body["max_tokens"] == 128
    assert fake.count == 2
    fake.finish_reason = "length"
    with pytest.raises(EngineRefused, match="limit of reasoning"):
        await asked(engine)


_FORM = {"type": "json_schema", "json_schema": {"name": "seen", "schema": {"type": "object"}}}
_CHAT = ProgramFields(form=_FORM)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("wish", [{"extras": (_CHAT,)}, {"schema": {"type": "object"}}])
async def test_json_among_the_thoughts_is_the_wanted_form(
    fake: FakeOpenAI, engine: OpenAIEngine, field: str, wish: dict[str, Any]
) -> None:
    """Parsers of some servers take an answer without marks for thinking."""
    fake.deltas = [{"content": "", field: '{"cups"'}, {field: ": 2}\n"}]
    text, _, end = await asked(engine, **wish)
    assert (text, end.finish_reason) == ('{"cups": 2}', "stop")
    fake.models = ["moonshotai/Kimi-VL-A3B-Thinking"]
    await engine.probe()
    for thoughts in ("Two cups.", '{"cups": ', "2", "[" * 5000):
        fake.deltas = [{field: thoughts}]
        with pytest.raises(EngineRefused, match="only reasoned"):
            await asked(engine, **wish)


@pytest.mark.parametrize(
    ("deltas", "finish", "words"),
    [
        ([{"reasoning_content": "hm"}], "length", "limit of reasoning"),
        ([{"content": "<think>hm"}], "length", "limit of reasoning"),
        ([{"tool_calls": [{"function": {"name": "look"}}]}], "tool_calls", "tool"),
        ([{"refusal": "I will not."}], "stop", "declined"),
        ([{"content": None}], "content_filter", "filter"),
        ([{"content": "<|im_end|>\n"}], "stop", "empty answer"),
        ([], "stop", "empty answer"),
    ],
)
async def test_an_answer_without_text_is_an_error_with_its_reason(
    fake: FakeOpenAI, engine: OpenAIEngine, deltas: list[dict[str, Any]], finish: str, words: str
) -> None:
    """Nobody gets an empty bubble."""
    fake.deltas, fake.finish_reason = deltas, finish
    with pytest.raises(EngineRefused) as raised:
        await asked(engine)
    assert words in raised.value.message
    assert "I will not" not in raised.value.message


@pytest.mark.parametrize(
    ("deltas", "text"),
    [
        (
            [{"content": [{"type": "text", "text": "A "}, {"type": "text", "text": "cup."}]}],
            "A cup.",
        ),
        ([{"content": ["A ", "cup."]}], "A cup."),
        (
            [
                {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
                {"content": [{"type": "text", "text": "A cup."}]},
            ],
            "A cup.",
        ),
        ([{"content": "A cup"}, {"content": ".<|im_end|>"}], "A cup."),
    ],
)
async def test_content_in_parts_is_text(
    fake: FakeOpenAI, engine: OpenAIEngine, deltas: list[dict[str, Any]], text: str
) -> None:
    """Lists, parts of thoughts among them, and a server's stray mark."""
    fake.deltas = deltas
    assert (await asked(engine))[0] == text


@pytest.mark.parametrize("content", ["A cup.", [{"type": "text", "text": "A cup."}]])
async def test_an_answer_that_is_not_streamed_is_taken(
    fake: FakeOpenAI, engine: OpenAIEngine, content: Any
) -> None:
    """One JSON body in place of a stream."""
    fake.unstreamed, fake.deltas = True, [{"content": content}]
    text, _, end = await asked(engine)
    assert (text, end.finish_reason, end.usage.prompt_tokens) == ("A cup.", "stop", 640)
    fake.finish_reason = None
    assert (await asked(engine))[0] == "A cup."


async def test_an_answer_without_a_finish_reason_is_taken_when_it_is_done(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """[DONE] says that it is whole; a connection that ends says nothing."""
    fake.finish_reason = None
    assert (await asked(engine))[0] == "I see a cup."
    fake.behaviour = Behaviour.ENDS_EARLY
    with pytest.raises(EngineError, match="before it was complete"):
        await asked(engine)


async def test_a_filter_in_mid_answer_is_said(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """The text before it stays."""
    fake.finish_reason = "content_filter"
    text, _, end = await asked(engine)
    assert (text, end.finish_reason) == ("I see a cup.", "content_filter")


async def test_thoughts_between_marks_are_no_text(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A server without a parser for them sends them as text."""
    fake.deltas = [{"content": piece} for piece in ("<thi", "nk>round</th", "ink>\n\nA ", "cup.")]
    assert (await asked(engine))[:2] == ("A cup.", "round")
    assert fake.count == 1


@pytest.mark.parametrize(
    ("deltas", "text", "thoughts"),
    [
        ([{"content": "round"}, {"content": "</think>A cup."}], "A cup.", "round"),
        ([{"reasoning": "round"}, {"content": "A cup."}], "A cup.", "round"),
        # It did not think, after all.
        ([{"content": "A "}, {"content": "cup."}], "A cup.", "A cup."),
    ],
)
async def test_thoughts_without_a_beginning(
    fake: FakeOpenAI, build: Build, deltas: list[dict[str, Any]], text: str, thoughts: str
) -> None:
    """The prompt of this family's models opens them."""
    fake.models, fake.deltas = ["Qwen/Qwen3-VL-8B-Thinking"], deltas
    assert (await asked(build()))[:2] == (text, thoughts)
