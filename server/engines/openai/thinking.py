"""Models that think before they answer: switched off where they can be, else given tokens of their own for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# What model servers know for it: the templates of Qwen, GLM, DeepSeek and others, and OpenAI's own field.
OFF_FIELDS: dict[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    "reasoning_effort": "none",
}


@dataclass(frozen=True, slots=True)
class ThinkingLimits:
    """What the settings say. `wanted`: a model that can answer without thinking may think all the same."""

    wanted: bool = False
    # For thoughts, above the tokens of an answer
    max_tokens: int = 1024


class Mode(StrEnum):
    # Nobody has seen it think.
    PLAIN = "plain"
    # It was told not to.
    OFF = "off"
    # It thinks, and gets tokens for it.
    BUDGET = "budget"


class Thinking:
    """What is known of one model. Nothing is sent to a server whose model was never seen to think."""

    def __init__(self, limits: ThinkingLimits) -> None:
        self.limits = limits
        self.mode = Mode.PLAIN
        # Its template opens the thoughts, so that only their end is marked.
        self.implied = False
        self._dropped: set[str] = set()

    def fields(self) -> dict[str, Any]:
        """More fields of a request."""
        if self.mode is not Mode.OFF:
            return {}
        return {name: value for name, value in OFF_FIELDS.items() if name not in self._dropped}

    def budget(self, context: int | None) -> int:
        """Tokens above those of the answer; a quarter of the context at most."""
        if self.mode is not Mode.BUDGET:
            return 0
        return min(self.limits.max_tokens, context // 4) if context else self.limits.max_tokens

    def seen(self, asked: Mode) -> bool:
        """It thought though it was asked like that; whether asking anew changes that, or gives it room."""
        if self.mode is asked:
            # One that is told not to may begin with its answer, whatever its template opens otherwise.
            self.implied = False
            off = asked is Mode.PLAIN and not self.limits.wanted
            self.mode = Mode.OFF if off else Mode.BUDGET
        return asked is not Mode.BUDGET

    def drop(self, field: str) -> None:
        """The server does not take this one of the fields."""
        self._dropped.add(field)
        if self._dropped >= OFF_FIELDS.keys():
            self.mode = Mode.BUDGET

    def refused(self) -> bool:
        """The server did not take the request; whether the fields may be why. They are not sent again."""
        if self.mode is not Mode.OFF:
            return False
        self.mode = Mode.BUDGET
        return True

    def forget(self) -> None:
        """Another model is served."""
        self.mode, self.implied = Mode.PLAIN, False
        self._dropped.clear()
