"""Scripts for the model server of `fakes_openai`: the answers of servers as they were recorded, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

ANSWER = "A red cup on a table."
Event = dict[str, Any] | str | float
# A status, its body (JSON or text), and more lines of its head
Reply = tuple[Any, ...]


def chunk(text: str | None = None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """Return an event of OpenAI's stream."""
    said = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": {**said, **delta}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}


WORDS: list[dict[str, Any]] = [chunk("A red "), chunk("cup "), chunk("on a table.")]
END: list[Event] = [chunk(finish="stop"), "[DONE]"]


def between(odd: Event) -> list[Event]:
    """Return a stream with an odd event first, in the middle, and before the end."""
    return [odd, WORDS[0], odd, WORDS[1], WORDS[2], odd, *END]


@dataclass
class Play:
    """A script of the server's answers.

    `events`: of a stream, or what makes them of a request; numbers are pauses in seconds, texts go as they are.
    `whole`: one JSON object in place of a stream. `refuse`: returns the refusal of a request, None to take it.
    `lines`: how an event is written.
    """

    events: Iterable[Event] | Callable[[dict[str, Any]], Iterable[Event]] = (*WORDS, *END)
    whole: Any = None
    refuse: Callable[[dict[str, Any]], Reply | None] = lambda body: None
    kind: str = "text/event-stream"
    lines: str = "data: {}\n\n"


def refuse_unknown(status: int, body: Any) -> Callable[[dict[str, Any]], Reply | None]:
    """Return what refuses each request with a field beyond the four plain ones."""
    plain = {"model", "messages", "max_tokens", "max_completion_tokens", "stream"}
    return lambda asked: (status, body) if asked.keys() - plain else None


def error(message: str, code: object = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code, **more}}


def _choice(choice: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [choice]}


def _said(event: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = event["choices"][0]
    return choice


def _line(event: Event) -> str:
    return f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"


_FILTER = {
    "index": 0,
    "finish_reason": None,
    "content_filter_results": {},
    "content_filter_offsets": {"check_offset": 0},
}
_THOUGHTS = [{"reasoning": ANSWER}, {"reasoning_content": ANSWER}]

# Streams whose answer is ANSWER
PLAYS: dict[str, Play] = {
    "no delta": Play(between(_choice(_FILTER))),
    "null delta": Play(between(_choice(_FILTER | {"delta": None}))),
    "null choices": Play(between({"choices": None, "usage": {"prompt_tokens": 5}})),
    "a null choice": Play(between({"choices": [None]})),
    "no choices": Play(between({"id": "x", "object": "prompt.progress", "progress": 0.5})),
    "a list": Play(between("[]")),
    "an end without delta": Play([*WORDS, _choice(_FILTER | {"finish_reason": "stop"}), "[DONE]"]),
    "no [DONE]": Play([*WORDS, chunk(finish="stop")]),
    "no finish_reason": Play([*WORDS, "[DONE]"]),
    "usage in each": Play([one | {"usage": {"prompt_tokens": 5}} for one in WORDS] + END),
    "a list of parts": Play(
        [
            chunk(content=[{"type": "text", "text": "A red cup "}]),
            chunk(content=["on a table."]),
            *END,
        ]
    ),
    "one event": Play([_choice({"message": {"content": ANSWER}, "finish_reason": "stop"})]),
    "unstreamed": Play(whole=_choice({"message": {"content": ANSWER}, "finish_reason": "stop"})),
    "JSON in a stream's name": Play(
        [_choice({"message": {"content": ANSWER}, "finish_reason": "stop"})], lines="{}"
    ),
    "a stream in JSON's name": Play(kind="application/json"),
    "carriage returns": Play(lines="data: {}\r\n\r\n"),
    "no space": Play(lines="data:{}\n\n"),
    "event names and ids": Play(lines="event: message\nid: 7\nretry: 9\ndata: {}\n\n"),
    "comments": Play(lines=": OPENROUTER PROCESSING\n\ndata: {}\n\n"),
    "no blank line at the end": Play([*WORDS, *END[:1]], lines="\ndata: {}\n"),
    "empty events": Play(lines="data:\n\ndata: {}\n\n"),
    "a byte order mark": Play(
        [f"\ufeffdata: {json.dumps(WORDS[0])}\n\n", *map(_line, WORDS[1:]), *map(_line, END)],
        lines="{}",
    ),
    "roles repeated": Play([chunk("", role="assistant"), *WORDS, *END]),
    "a line separator in the text": Play([chunk("A red cup\u2028"), chunk("on a table."), *END]),
    **{f"thoughts alone: {next(iter(one))}": Play([chunk(**one), *END]) for one in _THOUGHTS},
    "Azure": Play(
        [
            {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "id": "", "model": ""},
            chunk("", role="assistant", refusal=None),
            *WORDS,
            *END,
        ]
    ),
    "OpenRouter": Play(
        [
            *({**one, "provider": "Z", "usage": None} for one in WORDS),
            chunk("", finish="stop", reasoning=None, reasoning_details=[]),
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "cost": 0.1}},
            "[DONE]",
        ]
    ),
    "Ollama": Play(
        [
            *({**one, "system_fingerprint": "fp_ollama"} for one in WORDS),
            chunk("", finish="stop"),
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
            "[DONE]",
        ]
    ),
    "LM Studio": Play(
        [*({**one, "stats": {}} for one in WORDS), chunk(finish="stop"), "[DONE]"],
        lines="data: {}\n\n",
    ),
    "half characters": Play([chunk("A red cup "), chunk("\ud83d"), chunk("\ude97"), *END]),
    "an end in each piece": Play(
        [
            chunk("A red ", "stop"),
            1.2,
            chunk("cup ", "stop"),
            chunk("on a table.", "stop"),
            "[DONE]",
        ]
    ),
    "an end that is none": Play(
        [*(one | _choice(_said(one) | {"finish_reason": "null"}) for one in WORDS), 1.2, *END]
    ),
    "an end beside thoughts": Play(
        [chunk(finish="stop", reasoning_content="hm"), 1.2, *WORDS, *END]
    ),
    "all once more": Play(
        [*WORDS, _choice({"message": {"content": ANSWER}, "finish_reason": "stop"}), "[DONE]"]
    ),
    "a second choice": Play(
        [*WORDS, _choice({"index": 1, "delta": {"content": "No."}, "finish_reason": None}), *END]
    ),
    "pings": Play(lines="event: ping\ndata: ping\n\ndata: {}\n\n"),
    "HTML's name": Play(kind="text/html"),
    "an error behind the end": Play([*WORDS, chunk(finish="stop"), error("late", 500), "[DONE]"]),
    # Refusals, after which the plain form is taken
    "unknown fields, 400": Play(refuse=refuse_unknown(400, error("Unexpected keys"))),
    "unknown fields, 422": Play(
        refuse=refuse_unknown(422, {"detail": [{"loc": ["body", "stream_options"], "input": 1}]})
    ),
    "unknown fields, 500": Play(refuse=refuse_unknown(500, error("unexpected", 500))),
    "unknown fields, 500 of a proxy": Play(refuse=refuse_unknown(500, "Internal Server Error")),
    "unknown fields, an event": Play(refuse=refuse_unknown(200, error("no", 400))),
    "max_completion_tokens": Play(
        refuse=lambda body: (
            (400, error("Unsupported parameter", "unsupported_parameter", param="max_tokens"))
            if "max_tokens" in body
            else None
        )
    ),
    "max_completion_tokens, in words alone": Play(
        refuse=lambda body: (
            (400, error("'max_tokens' is not supported. Use 'max_completion_tokens' instead.", 400))
            if "max_tokens" in body
            else None
        )
    ),
    "no system role": Play(
        refuse=lambda body: (
            (400, error("System role not supported"))
            if body["messages"][0]["role"] == "system"
            else None
        )
    ),
}


# What servers answer when something is wrong
FAILURES: dict[str, Play] = {
    "Ollama: not pulled": Play(
        refuse=lambda body: (404, error('model "odd-vl" not found, try pulling it first'))
    ),
    "LM Studio: none loaded": Play(
        refuse=lambda body: (404, error("No models loaded. Please load a model", "model_not_found"))
    ),
    "Azure: filtered": Play(
        refuse=lambda body: (
            400,
            error("The response was filtered", "content_filter", param="prompt", status=400),
        )
    ),
    "Azure: slow down": Play(
        refuse=lambda body: (429, error("Rate limit is exceeded", "429"), "retry-after: 20")
    ),
    "OpenRouter: no credit": Play(refuse=lambda body: (402, error("Insufficient credits", 402))),
    "OpenRouter: its provider failed": Play(
        [WORDS[0], chunk("", finish="error") | {"error": {"code": 502, "message": "Z failed"}}]
    ),
    "a choice's error": Play([WORDS[0], _choice({"delta": {}, "error": {"code": 502}}), "[DONE]"]),
    "an event's name": Play([WORDS[0], "event: error\ndata: {}\n\n"], lines="{}"),
    "Gemini: a list": Play([WORDS[0], json.dumps([error("no")]), "[DONE]"]),
    "an object of its own": Play([WORDS[0], {"message": "no", "code": 50501}, "[DONE]"]),
    "GLM: broken off": Play([WORDS[0], chunk(finish="network_error"), "[DONE]"]),
    "DeepSeek: broken off": Play(
        [WORDS[0], chunk(finish="insufficient_system_resource"), "[DONE]"]
    ),
    "llama.cpp: no picture": Play(
        refuse=lambda body: (500, error("image input is not supported", 500))
    ),
    "vLLM: its engine died": Play(refuse=lambda body: (500, error("EngineCore died", 500))),
    "vLLM: full": Play(refuse=lambda body: (503, error("The engine is currently busy", 503))),
    "nginx: no upstream": Play(refuse=lambda body: (502, "<html>502 Bad Gateway</html>")),
    "Alibaba: filtered": Play([WORDS[0], error("filtered", "data_inspection_failed"), "[DONE]"]),
    "a wrong key": Play(refuse=lambda body: (401, error("Incorrect API key", "invalid_api_key"))),
}
