"""An answer in OpenAI's form: whole, or in chunks as server-sent events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from server.core.errors import QwenCameraError
from server.features.openai_api.errors import error_body
from server.models.base import Usage
from server.models.conversation import ToolCall

# The name under which whatever model answers now can be asked
MODEL = "camera"
# A line that keeps a connection open while nothing else is to say
KEEP_ALIVE = b": the camera is looked at\n\n"
DONE = b"data: [DONE]\n\n"
_REASONS = ("stop", "length", "tool_calls", "content_filter")


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A picture that the model got, beside OpenAI's own fields."""

    # Milliseconds since the epoch
    captured_at: float
    held: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an answer."""

    text: str
    finish_reason: str
    # The model that answered
    model: str
    usage: Usage
    calls: Sequence[ToolCall] = ()
    frames: Sequence[SeenFrame] = ()


def models(name: str, created: float) -> dict[str, Any]:
    """Return the list of models: the one that answers now, by its lasting name and its own."""
    names = [MODEL, *([name] if name and name != MODEL else [])]
    return {"object": "list", "data": [model(one, created) for one in names]}


def model(name: str, created: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(created), "owned_by": "qwen-camera"}


def _usage(usage: Usage) -> dict[str, Any] | None:
    """Return the tokens; None where the engine counts none."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    counted: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return counted


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]


def _reason(reason: str) -> str:
    return reason if reason in _REASONS else "stop"


def _frames(frames: Sequence[SeenFrame]) -> dict[str, Any]:
    """Return the field beside OpenAI's own."""
    return {"frames": [{"captured_at": one.captured_at, "held": one.held} for one in frames]}


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes one answer. `created`: seconds since the epoch."""

    created: float
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text or (None if answer.calls else ""),
            "refusal": None,
        }
        if answer.calls:
            message["tool_calls"] = _calls(answer.calls)
        return {
            **self._head("chat.completion", answer.model),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": _reason(answer.finish_reason),
                }
            ],
            "usage": _usage(answer.usage),
            "camera": _frames(answer.frames),
        }

    def begin(self, model: str) -> bytes:
        """Return the chunk before all others."""
        return self._chunk(model, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, model: str, text: str) -> bytes:
        return self._chunk(model, {"content": text})

    def end(self, answer: Answer, sent: str) -> bytes:
        """Return the chunks at the end; `sent`: the text that went out before."""
        found = b""
        if rest := answer.text.removeprefix(sent) if answer.text.startswith(sent) else "":
            found += self.piece(answer.model, rest)
        if answer.calls:
            calls = [{"index": at, **call} for at, call in enumerate(_calls(answer.calls))]
            found += self._chunk(answer.model, {"tool_calls": calls})
        camera = {"camera": _frames(answer.frames)}
        found += self._chunk(answer.model, {}, _reason(answer.finish_reason), camera)
        if self.include_usage:
            last = {
                **self._head("chat.completion.chunk", answer.model),
                "choices": [],
                "usage": _usage(answer.usage),
            }
            found += _event(last)
        return found + DONE

    def failed(self, error: QwenCameraError) -> bytes:
        """Return the event of an error after the answer has begun; nothing follows it."""
        return _event(error_body(error))

    def _head(self, kind: str, model: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(self.created), "model": model}

    def _chunk(
        self,
        model: str,
        delta: dict[str, Any],
        reason: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self.include_usage else {}
        head = self._head("chat.completion.chunk", model)
        return _event({**head, "choices": [choice], **usage, **(more or {})})


def _event(data: dict[str, Any]) -> bytes:
    # ASCII: no line separator of Unicode is inside, which some readers of events take for a line's end.
    return b"data: " + json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n\n"
