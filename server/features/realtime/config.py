"""The settings of one connection, which a client changes by `session.update`, and of one response. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.features.grants.grants import Scope
from server.features.realtime import events
from server.features.realtime.conversation import KeptItem, chat_messages

SOUND_FORMAT = {"type": "audio/pcm", "rate": 24_000}


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a connection, or of one response."""

    # text | audio
    modality: str = "text"
    instructions: str = ""
    tools: tuple[events.FunctionTool | events.OwnTools, ...] = ()
    tool_choice: str | events.NamedTool = "auto"
    # The server's own tools that the model gets, as functions
    own_tools: tuple[dict[str, Any], ...] = ()
    # None: the server's limit
    max_tokens: int | None = None
    turn_detection: events.TurnDetection | None = None
    transcription: events.Transcription | None = None

    def updated(self, given: events.SessionFields | events.ResponseFields) -> Config:
        """Return the settings with the fields that a client has sent."""
        named = given.model_fields_set
        changes: dict[str, Any] = {}
        if given.output_modalities:
            changes["modality"] = given.output_modalities[0]
        if "instructions" in named:
            changes["instructions"] = given.instructions or ""
        if "tools" in named:
            tools = changes["tools"] = tuple(given.tools or ())
            if any(isinstance(one, events.OwnTools) for one in tools):
                changes["own_tools"] = tuple(own_tools())
            else:
                changes["own_tools"] = ()
        if "tool_choice" in named:
            changes["tool_choice"] = given.tool_choice or "auto"
        if "max_output_tokens" in named:
            most = given.max_output_tokens
            changes["max_tokens"] = most if isinstance(most, int) else None
        heard = given.audio.input if given.audio is not None else None
        if heard is not None:
            changes |= {
                name: getattr(heard, name)
                for name in ("turn_detection", "transcription")
                if name in heard.model_fields_set
            }
        return replace(self, **changes)

    @property
    def shown(self) -> dict[str, Any]:
        """The fields that sessions and responses share, for an event."""
        return {
            "output_modalities": [self.modality],
            "max_output_tokens": self.max_tokens or "inf",
            "instructions": self.instructions,
            "tools": [one.model_dump(exclude_none=True) for one in self.tools],
            "tool_choice": self._choice,
        }

    @property
    def shown_input(self) -> dict[str, Any]:
        """The settings of the client's sound, for an event."""
        return {
            "format": SOUND_FORMAT,
            "turn_detection": self.turn_detection and self.turn_detection.model_dump(),
            "transcription": self.transcription
            and {"model": "camera", **self.transcription.model_dump(exclude_none=True)},
            "noise_reduction": None,
        }

    @property
    def _choice(self) -> Any:
        choice = self.tool_choice
        return choice if isinstance(choice, str) else choice.model_dump()

    def chat_body(self, items: Sequence[KeptItem], most_tokens: int) -> bytes:
        """Return a request of the chat interface about these items and the camera's next picture, as JSON."""
        body: dict[str, Any] = {
            "model": "camera",
            "messages": chat_messages(items, self.instructions, most_tokens),
            "max_completion_tokens": self.max_tokens,
        }
        functions = [
            one.model_dump(exclude={"type"}, exclude_none=True)
            for one in self.tools
            if isinstance(one, events.FunctionTool)
        ]
        functions += self.own_tools
        if functions:
            body["tools"] = [{"type": "function", "function": one} for one in functions]
        choice = self.tool_choice
        if choice != "auto":
            named = isinstance(choice, events.NamedTool)
            body["tool_choice"] = (
                {"type": "function", "function": {"name": choice.name}}  # type: ignore[union-attr]
                if named
                else choice
            )
        return json.dumps(body).encode()


def own_tools() -> list[dict[str, Any]]:
    """Return the MCP tools for watches as functions. Blocking at the first call, which loads them."""
    from server.features.grants.tools import TOOLS

    return [
        {
            "name": name,
            "description": tool.description,
            "parameters": tool.arguments.model_json_schema(),
        }
        for name, tool in TOOLS.items()
        if tool.scope is Scope.WATCH
    ]
