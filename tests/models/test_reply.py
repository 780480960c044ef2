"""One answer as it arrives: without markup and apart from thoughts, however it is cut; never an
empty one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import EngineError, EngineRefused
from server.models.base import (
    Chunk,
    Conversation,
    Delta,
    Finished,
    Message,
    Shown,
    Speaker,
    Thought,
)
from server.models.control_tokens import LONGEST
from server.models.openai.engine import OpenAIEngine
from server.models.reply import AnswerText
from server.models.thinking import ThinkingLimits
from tests.models.asking import Build, request
from tests.support.answers import chunks_of
from tests.support.fakes_openai import Behaviour, FakeOpenAI


def joined(parts: Sequence[Chunk]) -> tuple[str, str]:
    """The answer and the thoughts."""
    text = "".join(part.text for part in parts if isinstance(part, Delta))
    return text, "".join(part.text for part in parts if isinstance(part, Thought))


def read(pieces: list[str], *, inside: bool = False) -> tuple[str, str, AnswerText]:
    """The answer, the thoughts, and who told them apart."""
    one = AnswerText(inside=inside)
    parts = [part for piece in pieces for part in one.feed(piece)] + one.end()
    assert all(part.text for part in parts)
    return *joined(parts), one


@pytest.mark.parametrize(
    ("whole", "text", "thoughts"),
    [
        ("A cup.", "A cup.", ""),
        ("<think>It is round.</think>\n\nA cup.", "A cup.", "It is round."),
        ("\n<think>\n\n</think>\n\nA cup.", "A cup.", ""),
        ("[THINK]round[/THINK]A cup.", "A cup.", "round"),
        ("◁think▷round◁/think▷A cup.", "A cup.", "round"),
        ("<|channel>thought\nround<channel|>A cup.", "A cup.", "round"),
        ("<|begin_of_box|>A cup<|end_of_box|>.<|im_end|>", "A cup.", ""),
        ("<|im_start|>assistant", "assistant", ""),
        ("<answer>A cup.</answer>", "A cup.", ""),
        ("<think>Is it [INST] a<|im_end|> cup?</think>Yes.", "Yes.", "Is it  a cup?"),
        ("<im<|x|>age>A cup.", "A cup.", ""),
        # A mark in the middle of an answer was read somewhere.
        ("It says <think> and </think> there.", "It says  and  there.", ""),
        ("a < b, <3, [1] and <b>bold</b>", "a < b, <3, [1] and <b>bold</b>", ""),
        ("ends with <", "ends with <", ""),
        ("ends with <|im_e", "ends with <|im_e", ""),
        ("<think>never ends", "", "never ends"),
    ],
)
def test_markup_goes_wherever_it_is_cut(whole: str, text: str, thoughts: str) -> None:
    """In one piece, in characters, and in two pieces cut at every place."""
    cuts = [[whole], list(whole)]
    cuts += [[whole[:n], whole[n:]] for n in range(1, len(whole))]
    for pieces in cuts:
        assert read(pieces)[:2] == (text, thoughts), pieces


@given(st.text(alphabet="<|>/[]thinkA 0", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_pieces_give_what_the_whole_gives(whole: str, cuts: list[int]) -> None:
    """The text does not depend on where it was cut."""
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[begin:end] for begin, end in pairwise(edges)]
    assert read(pieces)[:2] == read([whole])[:2]


def test_little_is_held_back() -> None:
    """Text that cannot be a mark is passed on at once; a possible mark waits, bounded."""
    one = AnswerText()
    assert [part.text for part in one.feed("A cup, a <")] == ["A cup, a "]
    assert [part.text for part in one.feed(" b and ")] == ["< b and "]
    told = "".join(part.text for part in one.feed("<|" + "x" * 500))
    assert len(told) >= 500 - LONGEST


def test_a_hostile_answer_is_cleaned_in_no_time() -> None:
    """Marks that never close, nested ones, and thousands of them."""
    begin = time.thread_time()
    for hostile in ("<|" * 20_000, "[" * 20_000, "<" * 10_000 + ">" * 10_000, "◁" * 5_000):
        read([hostile[n : n + 7] for n in range(0, len(hostile), 7)])
    assert time.thread_time() - begin < 5


def test_thoughts_that_the_template_opened() -> None:
    """Their end alone is marked: the first time it is learned, and nothing is lost."""
    text, thoughts, first = read(["Round, white.", "</think>\n", "A cup."])
    assert first.closed_unopened
    assert (text, thoughts) == ("Round, white.\nA cup.", "")
    text, thoughts, _ = read(["Round, white.", "</think>\n", "A cup."], inside=True)
    assert (text, thoughts) == ("A cup.", "Round, white.")
    text, _, never = read(["A ", "cup."], inside=True)
    assert never.never_closed
    assert text == "A cup."


# Answers of a model server


async def asked(engine: OpenAIEngine, **changes: Any) -> tuple[str, str, Finished]:
    """The answer, the thoughts, and its end."""
    chunks, end = await chunks_of(engine, request(**changes))
    return *joined(chunks), end


async def test_a_model_that_thinks_is_told_not_to(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Seen once, it is asked anew without thinking, from then on; others get no such field."""
    await asked(engine)
    assert "chat_template_kwargs" not in fake.last.body
    fake.thoughts = ["Round, ", "white."]
    assert (await asked(engine))[:2] == ("I see a cup.", "")
    assert fake.count == 3
    assert fake.last.body["chat_template_kwargs"]["enable_thinking"] is False
    assert fake.last.body["max_tokens"] == 128
    await asked(engine)
    assert fake.count == 4


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_one_that_thinks_all_the_same_gets_tokens_for_it(
    fake: FakeOpenAI, engine: OpenAIEngine, field: str
) -> None:
    """Thoughts of more than the answer's tokens come to an answer, which keeps to its own limit."""
    fake.thoughts, fake.thoughts_field = ["hm "] * 200, field
    fake.thinking_can_be_switched_off = False
    text, thoughts, end = await asked(engine)
    assert (text, thoughts) == ("I see a cup.", "hm " * 200)
    assert end.finish_reason == "stop"
    assert fake.last.body["max_tokens"] == 128 + 1024
    assert "chat_template_kwargs" not in fake.last.body
    count = fake.count
    text, _, end = await asked(engine, max_tokens=2)
    assert fake.count == count + 1
    assert (text, end.finish_reason) == ("I see ", "length")


async def test_thinking_that_is_wanted_is_not_switched_off(fake: FakeOpenAI, build: Build) -> None:
    """THINKING=true: it gets its tokens as soon as it is seen to think."""
    fake.thoughts = ["hm "]
    limits = ThinkingLimits(wanted=True, max_tokens=300)
    engine = build(thinking=limits)
    assert (await asked(engine))[:2] == ("I see a cup.", "hm ")
    assert fake.last.body["max_tokens"] == 428
    assert "reasoning_effort" not in fake.last.body


@pytest.mark.parametrize("how", [Behaviour.REFUSES_FIELD, Behaviour.REFUSES_FIELD_422])
@pytest.mark.parametrize("named", [True, False])
async def test_a_server_that_takes_no_such_field_is_asked_without(
    fake: FakeOpenAI, engine: OpenAIEngine, how: Behaviour, named: bool
) -> None:
    """Refused by name or without one, the fields go, and the model gets tokens to think."""
    fake.thoughts = ["hm "]
    fake.behaviour, fake.names_refused = how, named
    fake.refused_fields = {"chat_template_kwargs", "reasoning_effort"}
    assert (await asked(engine))[:2] == ("I see a cup.", "hm ")
    assert not fake.refused_fields & fake.last.body.keys()
    count = fake.count
    await asked(engine)
    assert fake.count == count + 1


_FORM = {"type": "json_schema", "json_schema": {"name": "seen", "schema": {"type": "object"}}}
_CHAT = Conversation((Message(Speaker.USER, (Shown(0),)),), form=_FORM)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("wish", [{"conversation": _CHAT}, {"schema": {"type": "object"}}])
async def test_json_among_the_thoughts_is_the_wanted_form(
    fake: FakeOpenAI, engine: OpenAIEngine, field: str, wish: dict[str, Any]
) -> None:
    """Parsers of some servers take an answer without marks for thinking."""
    fake.deltas = [{"content": "", field: '{"cups"'}, {field: ": 2}\n"}]
    text, _, end = await asked(engine, **wish)
    assert (text, end.finish_reason) == ('{"cups": 2}', "stop")
    for thoughts in ("Two cups.", '{"cups": ', "2", "[" * 5000):
        fake.deltas = [{field: thoughts}]
        with pytest.raises(EngineRefused, match="thinking"):
            await asked(engine, **wish)


@pytest.mark.parametrize(
    ("deltas", "finish", "words"),
    [
        ([{"reasoning_content": "hm"}], "length", "as long as it may"),
        ([{"reasoning": "hm"}], "stop", "thinking"),
        # Nobody asked for JSON.
        ([{"reasoning": '{"cups": 2}'}], "stop", "thinking"),
        ([{"content": "<think>hm"}], "length", "as long as it may"),
        ([{"tool_calls": [{"function": {"name": "look"}}]}], "tool_calls", "tool"),
        ([{"refusal": "I will not."}], "stop", "declined"),
        ([{"content": None}], "content_filter", "filter"),
        ([{"content": "<|im_end|>\n"}], "stop", "without a word"),
        ([], "stop", "without a word"),
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
        ([{"content": "A cup"}, {"content": ".<|im_"}, {"content": "end|>"}], "A cup."),
    ],
)
async def test_content_in_parts_is_text(
    fake: FakeOpenAI, engine: OpenAIEngine, deltas: list[dict[str, Any]], text: str
) -> None:
    """Lists, parts of thoughts among them, and marks over the edges of pieces."""
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
    """A server without a parser for them sends them as text; they count as thinking all the same."""
    fake.thinking_can_be_switched_off = False
    fake.deltas = [{"content": piece} for piece in ("<thi", "nk>round</th", "ink>\n\nA ", "cup.")]
    text, thoughts, _ = await asked(engine)
    assert (text, thoughts) == ("A cup.", "round")
    assert fake.count == 3


async def test_thoughts_without_beginning_are_learned(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """The first such answer has them in its text, no later one."""
    fake.deltas = [{"content": piece} for piece in ("round", "</think>", "A cup.")]
    assert (await asked(engine))[0] == "roundA cup."
    assert (await asked(engine))[0] == "roundA cup."
    assert (await asked(engine))[:2] == ("A cup.", "round")
