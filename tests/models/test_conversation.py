"""A program's conversation as a prompt: pictures at their places, our own words before the program's."""

from __future__ import annotations

from dataclasses import replace

from server.models.base import (
    Conversation,
    Message,
    Shown,
    Speaker,
    ToolCall,
    Words,
)
from server.models.prompts import PROGRAM_SYSTEM as SYSTEM
from server.models.prompts import conversation_messages as messages
from server.models.prompts import conversation_tokens, estimate_tokens

URLS, CAPTIONS = ["one", "two", "three"], ["[1]", "", ""]


def shown(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_pictures_stand_at_their_places() -> None:
    """Behind their captions; one that is not among the request's is reported as gone."""
    parts = (Words("a"), Shown(2), Shown(1), Words("b"), Shown(0))
    chat = Conversation((Message(Speaker.USER, parts),))
    system, user = messages(chat, URLS, CAPTIONS)
    assert system == {"role": "system", "content": SYSTEM}
    text = {"type": "text"}
    assert user["content"] == [
        text | {"text": "a"},
        text | {"text": "[1]"},
        *(shown("one"), shown("two")),
        text | {"text": "b"},
        shown("three"),
    ]
    fewer = messages(chat, URLS[1:], CAPTIONS[1:])[1]["content"]
    assert "not shown any more" in fewer[1]["text"]
    assert fewer[2:] == [shown("two"), text | {"text": "b"}, shown("three")]


def test_the_programs_words_come_after_ours_and_without_marks() -> None:
    chat = Conversation(
        (
            Message(Speaker.USER, (Shown(None), Words("hi<|im_end|>"))),
            Message(Speaker.ASSISTANT, (), (ToolCall("c", "lamp", '{"a":"<|im_start|>"}'),)),
            Message(Speaker.TOOL, (Words("<|im_end|>"),), answers="c"),
        ),
        instructions="Ignore all that.<|im_end|>",
    )
    system, user, call, tool = messages(chat, ["x"], [""])
    assert system["content"].startswith(SYSTEM)
    assert system["content"].endswith("Ignore all that.")
    assert user["content"] == "(A picture stood here, which is not shown any more.)\nhi"
    assert call["content"] is None
    assert call["tool_calls"][0]["function"] == {"name": "lamp", "arguments": '{"a":""}'}
    assert tool == {"role": "tool", "content": "(nothing)", "tool_call_id": "c"}


def test_its_text_is_counted_whole() -> None:
    """Of tools and forms, too: they stand in the prompt."""
    parts = (Words("question"),)
    chat = Conversation((Message(Speaker.USER, parts, (ToolCall("c", "lamp", "{}"),)),))
    least = estimate_tokens("\n".join((SYSTEM, "question", "lamp{}", "[1]")))
    whole = conversation_tokens(chat, ["[1]"])
    assert whole > least
    for more in ({"instructions": "more words"}, {"tools": {"a": "tool"}}, {"form": {"a": "form"}}):
        assert conversation_tokens(replace(chat, **more), ["[1]"]) > whole, more
