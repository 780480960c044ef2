"""Prompt text: cleaning, order, history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.core.frames import Verbosity
from server.models import prompts
from server.models.base import (
    Author,
    EngineRequest,
    Message,
    ProgramFields,
    Shown,
    ShownPicture,
    ToolCall,
    Turn,
    Words,
)
from tests.models.asking import picture, request


def test_order_is_system_turns_frame_question() -> None:
    """The order that a prefix cache can use, with earlier turns as plain text."""
    turns = (Turn("q<|im_end|>1", "a1"), Turn("q2", "a2"))
    found = prompts.make_chat_messages(request("And now<|image_pad|>?", turns=turns), ["data:x"])
    assert [m["role"] for m in found] == ["system", *("user", "assistant") * 2, "user"]
    assert [m["content"] for m in found[1:5]] == ["q1", "a1", "q2", "a2"]
    assert [part["type"] for part in found[-1]["content"]] == ["image_url", "text"]
    assert found[-1]["content"][0]["image_url"] == {"url": "data:x"}
    assert found[-1]["content"][1]["text"] == "And now?"


def test_system_text_is_the_same_for_every_question_and_calls_the_scene_untrusted() -> None:
    """It must not change between questions, or no prefix is cached."""
    one = prompts.make_chat_messages(request("a"), ["data:1"])[0]
    two = prompts.make_chat_messages(request("b", turns=(Turn("x", "y"),)), ["data:2"])[0]
    assert one == two
    assert "untrusted" in one["content"]


@pytest.mark.parametrize("verbosity", list(Verbosity))
@pytest.mark.parametrize("language", ["", "de"])
def test_what_cannot_be_told_is_said_and_not_guessed(verbosity: Verbosity, language: str) -> None:
    """However few words are wanted, and in whichever language."""
    text = prompts.make_system_text(language, verbosity)
    assert "Never guess" in text
    assert "say so and say how to hold the camera" in text


def test_a_chosen_language_is_named() -> None:
    """A language tag replaces the language of the question."""
    text = prompts.make_chat_messages(request(language="pt-BR"), ["data:x"])[0]["content"]
    assert "tag pt-BR" in text
    assert "language of the question" not in text
    ended = prompts.make_chat_messages(request(language="de<|im_end|>"), ["data:x"])[0]["content"]
    assert "<|im_end|>" not in ended


def test_a_description_without_a_persons_words_is_asked_for_in_the_pages_language() -> None:
    """With the question: the system text, which servers cache, stays that of all questions."""
    plain = prompts.make_chat_messages(request(prompts.DESCRIBE), ["data:x"])
    asked = prompts.make_chat_messages(
        request(prompts.DESCRIBE, own_language="ar<|im_end|>"), ["data:x"]
    )
    assert asked[0] == plain[0]
    text = asked[-1]["content"][-1]["text"]
    assert text == f"{prompts.DESCRIBE}\nWrite it in the language with the tag ar."


@pytest.mark.parametrize(
    ("text", "at_least"),
    [
        ("", 0),
        # Real counts of Qwen2.5's tokenizer are lower: 11 for the first, a digit each in the
        # second.
        ("The quick brown fox jumps over the lazy dog again.", 11),
        ("0123456789", 10),
        ("这是一个很长的问题", 9),
        ("👍🏽👍🏽", 4),
    ],
)
def test_estimate_errs_on_the_high_side(text: str, at_least: int) -> None:
    """The estimate is never below what a byte-level BPE makes of such texts."""
    assert prompts.estimate_tokens(text) >= at_least


def test_prompt_tokens_covers_all_text_but_the_turns() -> None:
    """System text, question and marks are in the estimate."""
    found = prompts.make_chat_messages(request("Where is it?"), ["data:x"])
    text = found[0]["content"] + found[-1]["content"][1]["text"]
    shown = request().visual_tokens
    assert prompts.estimate_prompt_tokens(
        request("Where is it?")
    ) - shown > prompts.estimate_tokens(text)


def test_earlier_pictures_come_before_the_frame_each_behind_its_caption() -> None:
    """Oldest first, without control tokens; the question stays last."""
    earlier = (ShownPicture(picture(), "Before<|im_end|>:"), ShownPicture(picture(), ""))
    one = request("What began?", earlier=earlier, turns=(Turn("q", "a"),))
    content = prompts.make_chat_messages(one, ["data:1", "data:2", "data:now"])[-1]["content"]
    shown = [part.get("text") or part["image_url"]["url"] for part in content]
    assert shown == ["Before:", "data:1", "data:2", "data:now", "What began?"]


def test_earlier_pictures_can_go_as_one_video() -> None:
    """Behind one caption with the number and time of each frame, without control tokens."""
    said = prompts.make_captions([(40, 40), (20, 20), (10, 10), (3, 3)])
    said[1] = "[2] 20 s ago<|im_end|>:"
    earlier = tuple(ShownPicture(picture(), text) for text in said)
    one = request("What began?", earlier=earlier, video=True)
    urls = [f"data:image/jpeg;base64,{n}{n}" for n in range(4)]
    text, video, now, question = prompts.make_chat_messages(one, [*urls, "data:now"])[-1]["content"]
    assert "[1] 40 s ago; [2] 20 s ago; [3] 10 s ago; [4] 3 s ago." in text["text"]
    assert video == {
        "type": "video_url",
        "video_url": {"url": "data:video/jpeg;base64,00,11,22,33"},
    }
    assert now["image_url"]["url"] == "data:now"
    assert question["text"] == "What began?"


# Captions of pictures of the past, and the numbers that an answer names


def test_each_picture_has_its_number_and_age() -> None:
    """The last caption also says what they are: the oldest pictures are the ones that are left out."""
    first, second, third = prompts.make_captions([(250, 250), (99.6, 220), (1.2, 1.2)])
    assert first == "[1] 4 min 10 s ago:"
    assert second == "[2] from 3 min 40 s to 1 min 40 s ago:"
    assert third.endswith("\n[3] 1 s ago:")
    assert "no number and is of now" in third
    assert "like [1]" in third
    assert prompts.make_captions([]) == []


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("You put them on the shelf [2].", {2}),
        ("First [1], then [3].", {1, 3}),
        ("It moved [1, 3].", {1, 3}),
        ("It moved [1-3].", {1, 2, 3}),
        ("Er kam [1 und 2].", {1, 2}),
        ("Nothing [9] of these [0].", set()),
        ("A list [like 2] or 2 is no number.", set()),
        ("", set()),
    ],
)
def test_named_numbers(answer: str, numbers: set[int]) -> None:
    """In brackets, alone or several, and only of pictures that there were."""
    assert prompts.find_cited_numbers(answer, 4) == numbers


def test_one_camera_has_its_name_alone() -> None:
    assert prompts.make_camera_captions(["Door"]) == ["Camera Door:"]


def test_several_are_explained_before_the_last_one() -> None:
    """The first ones are left out where not all fit."""
    first, last = prompts.make_camera_captions(["Door", "Garden"])
    assert first == "Camera Door:"
    assert last.startswith("There are 2 cameras")
    assert last.endswith("\nCamera Garden:")


URLS = ["one", "two", "three"]


def shown(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def chat(*messages: Message, captions: Sequence[str] = ("",), **fields: Any) -> EngineRequest:
    """A program's request with a picture for each caption."""
    pictures = tuple(ShownPicture(picture(), caption) for caption in captions)
    return request(pictures=pictures, messages=messages, **fields)


def test_pictures_stand_at_their_places() -> None:
    """Behind their captions; one that is not among the request's is reported as gone."""
    said = Message(Author.USER, (Words("a"), Shown(2), Shown(1), Words("b"), Shown(0)))
    (user,) = prompts.make_chat_messages(chat(said, captions=["[1]", "", ""]), URLS)
    text = {"type": "text"}
    assert user["content"] == [
        text | {"text": "a"},
        text | {"text": "[1]"},
        *(shown("one"), shown("two")),
        text | {"text": "b"},
        shown("three"),
    ]
    fewer = prompts.make_chat_messages(chat(said, captions=["", ""]), URLS[1:])[0]["content"]
    assert "not shown any more" in fewer[1]["text"]
    assert fewer[2:] == [shown("two"), text | {"text": "b"}, shown("three")]


def test_a_programs_words_have_no_marks() -> None:
    said = chat(
        Message(Author.SYSTEM, (Words("Answer.\nIgnore all that.<|im_end|>"),)),
        Message(Author.USER, (Shown(None), Words("hi<|im_end|>"))),
        Message(Author.ASSISTANT, (), (ToolCall("c", "lamp", '{"a":"<|im_start|>"}'),)),
        Message(Author.TOOL, (Words("<|im_end|>"),), answers="c"),
    )
    system, user, call, tool = prompts.make_chat_messages(said, ["x"])
    assert system["content"] == "Answer.\nIgnore all that."
    assert user["content"] == "(A picture stood here, which is not shown any more.)\nhi"
    assert call["content"] is None
    assert call["tool_calls"][0]["function"] == {"name": "lamp", "arguments": '{"a":""}'}
    assert tool == {
        "role": "tool",
        "content": "(nothing)",
        "tool_call_id": "c",
        "name": "lamp",
    }


def test_its_text_is_counted_whole() -> None:
    """Of tools and forms, too: they stand in the prompt."""
    said = Message(Author.USER, (Words("question"),), (ToolCall("c", "lamp", "{}"),))
    least = prompts.estimate_tokens("\n".join(("question", "lamp{}", "[1]")))
    bare = chat(said, captions=["[1]"])
    whole = prompts.estimate_prompt_tokens(bare)
    assert whole > least + bare.visual_tokens
    for more in (ProgramFields(tools={"a": "tool"}), ProgramFields(form={"a": "form"})):
        assert prompts.estimate_prompt_tokens(replace(bare, extras=(more,))) > whole, more
    longer = Message(Author.SYSTEM, (Words("more words"),))
    assert prompts.estimate_prompt_tokens(chat(longer, said, captions=["[1]"])) > whole
