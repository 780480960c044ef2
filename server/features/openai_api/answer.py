"""An answer in OpenAI's form: whole, or in chunks as server-sent events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from server.core.errors import QwenCameraError
from server.core.messages import UsageInfo
from server.features.openai_api.errors import error_body
from server.features.openai_api.program_chat import ChatEnd
from server.models.conversation import ToolCall

# The name under which whatever model answers now can be asked
MODEL = "camera"
# A line that keeps a connection open while nothing else is to say
KEEP_ALIVE = b": the camera is looked at\n\n"
DONE = b"data: [DONE]\n\n"
_REASONS = ("stop", "length", "tool_calls", "content_filter")


def models(name: str, created: float) -> dict[str, Any]:
    """Return the list of models: the one that answers now, by its lasting name and its own."""
    names = [MODEL, *([name] if name and name != MODEL else [])]
    return {"object": "list", "data": [model(one, created) for one in names]}


def model(name: str, created: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(created), "owned_by": "qwen-camera"}


def _usage(usage: UsageInfo) -> dict[str, Any] | None:
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


def _reason(end: ChatEnd) -> str:
    reason = end.response.finish_reason
    return reason if reason in _REASONS else "stop"


def _model(end: ChatEnd) -> str:
    """Name the model that answered."""
    return end.response.model or end.response.engine or MODEL


def _frames(end: ChatEnd) -> dict[str, Any]:
    """Return the field beside OpenAI's own: the pictures that the model got."""
    return {"frames": [{"captured_at": at, "held": held} for at, held in end.frames]}


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes one answer. `created`: seconds since the epoch."""

    created: float
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")

    def whole(self, end: ChatEnd) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": end.response.text or (None if end.calls else ""),
            "refusal": None,
        }
        if end.calls:
            message["tool_calls"] = _calls(end.calls)
        return {
            **self._head("chat.completion", _model(end)),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": _reason(end),
                }
            ],
            "usage": _usage(end.response.usage),
            "camera": _frames(end),
        }

    def begin(self, model: str) -> bytes:
        """Return the chunk before all others."""
        return self._chunk(model, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, model: str, text: str) -> bytes:
        return self._chunk(model, {"content": text})

    def end(self, end: ChatEnd, sent: str) -> bytes:
        """Return the chunks at the end; `sent`: the text that went out before."""
        found, model, text = b"", _model(end), end.response.text
        if rest := text.removeprefix(sent) if text.startswith(sent) else "":
            found += self.piece(model, rest)
        if end.calls:
            calls = [{"index": at, **call} for at, call in enumerate(_calls(end.calls))]
            found += self._chunk(model, {"tool_calls": calls})
        found += self._chunk(model, {}, _reason(end), {"camera": _frames(end)})
        if self.include_usage:
            head = self._head("chat.completion.chunk", model)
            found += _event({**head, "choices": [], "usage": _usage(end.response.usage)})
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
