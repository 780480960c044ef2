"""Chat requests: what is taken, with which pictures, and what is refused by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.errors import BadRequest, Busy, UploadRefused, WrongModel
from server.features.openai_api.errors import FieldRefused, PictureRefused
from server.features.openai_api.request import (
    MOST_FRAMES,
    PROGRAM_SYSTEM,
    BoundedPool,
    ChatRequest,
    PictureChoice,
    read,
    read_url,
)
from server.models.base import Author, Shown, ToolCall, Words

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "lamp", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "seen", "strict": True, "schema": {"type": "object"}},
}


def user(*parts: Any) -> dict[str, Any]:
    """A user's message: texts as they are, addresses of pictures as parts."""
    content = [
        (
            {"type": "image_url", "image_url": {"url": part}}
            if part.startswith("camera:")
            else {"type": "text", "text": part}
        )
        for part in parts
    ]
    return {"role": "user", "content": content}


def asked(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    """Read a request; without messages it has a short question."""
    body = {"model": "camera", "messages": list(messages) or [user("x")], **fields}
    return read(json.dumps(body).encode())


def refused(*messages: dict[str, Any], **fields: Any) -> FieldRefused | PictureRefused:
    with pytest.raises((FieldRefused, PictureRefused)) as found:
        asked(*messages, **fields)
    assert isinstance(found.value, FieldRefused | PictureRefused)
    return found.value


def test_pictures_stand_where_they_were_asked_for() -> None:
    request = asked(user("before", "camera://-30s..now?frames=7", "after", "camera://held"))
    assert [look.what for look in request.looks] == ["past", "held"]
    # There were only two pictures of the past, and the one of now.
    _, message = request.messages([3, 1])
    assert message.parts == (
        Words("before"),
        *(Shown(3), Shown(2), Shown(1)),
        Words("after"),
        Shown(0),
    )


def test_older_pictures_are_not_looked_at_again() -> None:
    """A new look would show something else than what was answered."""
    request = asked(
        user("camera://now", "And this?"),
        {"role": "assistant", "content": "A cup.", "annotations": []},
        user("camera://held", "Now?"),
    )
    assert request.looks == (PictureChoice("held"),)
    _, first, answer, last = request.messages([1])
    assert first.parts == (Shown(None), Words("And this?"))
    assert (answer.author, answer.parts) == (Author.ASSISTANT, (Words("A cup."),))
    assert last.parts == (Shown(0), Words("Now?"))


def test_instructions_tools_and_results() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "lamp", "arguments": "{}"}}
    request = asked(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "And kind."},
        {"role": "user", "content": "Light?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "c1"},
        tools=[TOOL],
        tool_choice="auto",
        response_format=SCHEMA,
        temperature=0,
        stop=["x"],
        max_completion_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
        user="somebody",
    )
    system, _, call_of, result = request.messages([1])
    assert system.text.startswith(PROGRAM_SYSTEM)
    assert system.text.endswith("Be brief.\nAnd kind.")
    assert request.fields.all == {
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": SCHEMA,
        "temperature": 0,
        "stop": ["x"],
    }
    assert call_of.calls == (ToolCall("c1", "lamp", "{}"),)
    assert result.answers == "c1"
    request.check_fields(True)
    with pytest.raises(WrongModel, match="call tools"):
        request.check_fields(False)
    assert (request.max_tokens, request.stream, request.include_usage) == (50, True, True)


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(["top_logprobs", "reasoning_effort", "tools", "functions", "stop", "audio"]),
        {"tools": [], "logit_bias": {}, "top_k": 0, "metadata": {"a": [1]}, "my key": 1},
        {"reasoning_effort": "low", "verbosity": "low", "prompt_cache_retention": "24h"},
    ],
)
def test_unknown_and_empty_fields_have_no_effect(fields: dict[str, Any]) -> None:
    """Clients write fields of other servers, and all that they know with no value."""
    assert asked(**fields).fields.all == {}
    assert refused(model=None).param == "model"


def test_unknown_keys_of_messages_and_tools_have_no_effect() -> None:
    """Also nulls below the top level; only known keys go on to a model server."""
    mark = {"cache_control": {"type": "ephemeral"}}
    function = {"name": "lamp", "arguments": "{}", "x": 1}
    call = {"id": "c1", "type": "function", "function": function, "index": 0, "extra_content": {}}
    picture = {"url": "camera://now", "detail": "original"}
    request = asked(
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", **mark}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Light?", **mark},
                {"type": "image_url", "image_url": picture},
            ],
            "tool_calls": None,
            "reasoning_content": None,
            "id": "msg_1",
            "name": None,
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "on", "tool_call_id": "c1", "name": "lamp", **mark},
        {"role": "tool", "content": None, "tool_call_id": "c1", "name": None},
        tools=[{**TOOL, "function": {**TOOL["function"], "strict": None, "x": 1}, **mark}],
        response_format={**SCHEMA, "x": 1},
    )
    chat = request.messages([1])
    assert request.looks == (PictureChoice("now", "auto"),)
    assert request.fields.all == {"tools": [TOOL], "response_format": SCHEMA}
    assert chat[2].calls == (ToolCall("c1", "lamp", "{}"),)
    assert [message.parts for message in chat[3:]] == [(Words("on"),), ()]


def test_no_tools_where_none_may_be_called() -> None:
    asked(tools=[TOOL], tool_choice="none").check_fields(False)


@pytest.mark.parametrize("url", ["https://example.org/secret.jpg", "data:image/png;base64,SECRET"])
def test_only_the_camera_is_looked_at(url: str) -> None:
    """In old messages, too; the error names the place and repeats nothing."""
    part = {"type": "image_url", "image_url": {"url": url}}
    for messages in (
        [{"role": "user", "content": [part]}],
        [{"role": "user", "content": [part]}, user("camera://now", "x")],
    ):
        error = refused(*messages)
        assert isinstance(error, PictureRefused)
        assert error.status == 403
        assert error.param == "messages[0].content[0].image_url.url"
        assert "ecret" not in error.message.lower().replace("example", "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"store": True}, "store"),
        ({"modalities": ["audio"]}, "modalities[0]"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"seed": 10**30}, "seed"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"top_k": 5}, "top_k"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"tools": [TOOL] * 33}, "tools"),
        ({"tools": [{"type": "code"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"messages": [user("x")] * 101}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [user(*["x"] * 33)]}, "messages[0].content"),
        ({"messages": [user("camera://far")]}, "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
    ],
)
def test_what_cannot_be_done_is_named(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert isinstance(error, FieldRefused)
    assert error.param == param
    assert len(error.message) < 400


def test_sound_and_files_are_no_parts() -> None:
    for kind in ("input_audio", "file", "video_url", "refusal"):
        error = refused({"role": "user", "content": [{"type": kind, kind: {"data": "x"}}]})
        assert error.param == "messages[0].content[0]"
        assert "text and image_url" in error.message


def test_pictures_are_bounded() -> None:
    assert "at most 8" in refused(user(*["camera://-9s..now?frames=3"] * 3)).message
    assert "at most 8" in refused(user(*["camera://now"] * 9)).message


@pytest.mark.parametrize("where", ["tools", "response_format"])
def test_deep_schemas_and_marks_of_models(where: str) -> None:
    """A mark of a model in a tool would end the prompt's part before its time."""
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"properties": deep}
    for schema, said in ((deep, "deep"), ({"description": "a<|im_end|>b"}, "control token")):
        if where == "tools":
            given = [{"type": "function", "function": {"name": "x", "parameters": schema}}]
        else:
            given = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}  # type: ignore[assignment]
        error = refused(**{where: given})
        assert error.param == where
        assert said in error.message


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 20_000, b"[]", b'"x"', b"null"),
        b'{"model":"camera","messages":[],"temperature":NaN}',
        b'{"model":"camera","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"camera","messages":[{"role":"user","content":"x"}],"seed":'
        + b"9" * 90_000
        + b"}",
    ],
)
def test_what_is_no_request(raw: bytes) -> None:
    with pytest.raises(FieldRefused) as found:
        read(raw)
    assert len(found.value.message) < 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image_url", "url", "user", "tools", "function"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["messages", "tools", "stop", "stream", "x"]), _JSON))
def test_anything_else_is_an_error(body: dict[str, Any]) -> None:
    with contextlib.suppress(FieldRefused, PictureRefused):
        read(json.dumps({"model": "camera", **body}).encode())


def test_the_forms() -> None:
    assert read_url("camera://now") == PictureChoice("now")
    assert read_url("camera://held", "high") == PictureChoice("held", "high")
    assert read_url("camera://-30s..now?frames=8") == PictureChoice("past", "auto", 30.0, 8)
    assert read_url("camera://-2m..now") == PictureChoice("past", "auto", 120.0, 4)


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.org/a.jpg", "http://127.0.0.1/a", "file:///etc/passwd", "ftp://x/y"),
        *("data:image/jpeg;base64,/9j/", "DATA:image/png;base64,AA", "", " camera://now", "now"),
        *("//camera://now", "blob:https://x/1", "rtsp://x/1"),
    ],
)
def test_no_other_place_is_looked_at(url: str) -> None:
    """Also none that is another scheme's with a camera in it; the error repeats nothing."""
    with pytest.raises(UploadRefused) as refused:
        read_url(url)
    for part in ("example", "passwd", "9j", "127"):
        assert part not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("camera://", "camera:now", "camera://later", "camera://now?frames=2", "CAMERA://now"),
        *("camera://-30s..held", "camera://-30..now", "camera://-30h..now", "camera://30s..now"),
        *("camera://-30s..now?frames=", "camera://-30s..now&frames=2", "camera://-30s..now\n"),
        *("camera://-0s..now", "camera://-61m..now", "camera://-30s..now?frames=1"),
        *(f"camera://-30s..now?frames={MOST_FRAMES + 1}", "camera://-٣s..now"),
        "camera://-30s..now?frames=" + "9" * 5000,
    ],
)
def test_other_forms_say_what_is_allowed(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_url(url)
    assert len(refused.value.message) < 300


@given(st.text(max_size=60))
def test_any_text_is_a_look_or_an_error(text: str) -> None:
    for url in (text, f"camera://{text}"):
        try:
            look = read_url(url)
        except (UploadRefused, BadRequest):
            continue
        assert 1 <= look.frames <= MOST_FRAMES


async def test_a_bounded_pool_keeps_few_waiting() -> None:
    """One too many is refused at once."""
    with ThreadPoolExecutor(1) as threads:
        pool = BoundedPool(threads, waiting=2, seconds=60)
        gate = threading.Event()
        first = asyncio.create_task(pool.run(gate.wait, 30))
        second = asyncio.create_task(pool.run(max, 1, 2))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            with pytest.raises(Busy):
                await pool.run(max, 1, 2)
        gate.set()
        assert (await first, await second) == (True, 2)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)


async def test_a_bounded_pool_keeps_none_for_long() -> None:
    """A slow call ends for its caller; one behind it is not begun, and both free their places."""
    with ThreadPoolExecutor(1) as threads:
        pool = BoundedPool(threads, waiting=2, seconds=0.1)
        gate = threading.Event()
        ran: list[int] = []
        first = asyncio.create_task(pool.run(gate.wait, 30))
        second = asyncio.create_task(pool.run(ran.append, 1))
        for late in (first, second):
            with pytest.raises(Busy):
                await late
        gate.set()
        while True:
            try:
                assert await pool.run(max, 1, 2) == 2
                break
            except Busy:
                await asyncio.sleep(0.001)
        assert not ran
