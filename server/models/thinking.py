"""Policy for models that reason before they answer: switch thinking off if possible, else allow tokens for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.models.families import Family

# Marks before and after the thoughts of models; Gemma 4 includes the name of a channel.
OPEN = (
    *("<think>", "<thinking>", "<seed:think>", "[THINK]", "◁think▷"),
    *("<|channel>thought\n", "<|begin_of_thought|>"),
)
CLOSE = (
    *("</think>", "</thinking>", "</seed:think>", "[/THINK]", "◁/think▷"),
    *("<channel|>", "<|end_of_thought|>"),
)
# Request fields that switch thinking off in unknown models: for the templates of Qwen, GLM, DeepSeek and others, and
# OpenAI's own field
OFF_FIELDS: Mapping[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    "reasoning_effort": "none",
}


@dataclass(frozen=True, slots=True)
class ThinkingLimits:
    """The settings for thinking.

    `wanted`: let a model think even if thinking can be switched off.
    """

    wanted: bool = False
    # Tokens for thoughts, in addition to those of an answer
    max_tokens: int = 1024


class Mode(StrEnum):
    # The model does not think.
    PLAIN = "plain"
    # Requests ask it not to think.
    OFF = "off"
    # It thinks, or may think, and gets tokens for its thoughts.
    BUDGET = "budget"


@dataclass(slots=True)
class ThinkingPolicy:
    """The handling of the served model's thoughts."""

    limits: ThinkingLimits
    mode: Mode = Mode.BUDGET
    # True if the model thinks unless asked not to
    known: bool = False
    # The prompt ends with the opening mark of the thoughts, so only their end is marked
    opened: bool = False
    _opens: bool = False
    _off: Mapping[str, Any] = field(default_factory=dict)

    def use_family(self, family: Family | None, *, thinks: bool) -> None:
        """Apply the family of a new model; None if unknown. `thinks`: the model's server reports that it thinks."""
        off = family.thinking_off if family is not None else {}
        # Families with separate thinking models have no switch.
        own = family is not None and bool(family.thinks_with)
        always = family is not None and (family.always_thinks or (thinks and own and not off))
        self._off = {} if always else off or (OFF_FIELDS if thinks else {})
        self.known = bool(self._off or always)
        if self._off and not self.limits.wanted:
            self.mode = Mode.OFF
        elif self._off or always or family is None:
            self.mode = Mode.BUDGET
        else:
            self.mode = Mode.PLAIN
        # A model that always thinks may also omit the opening mark.
        self._opens = family is not None and (family.opens_thoughts or family.always_thinks)
        self.opened = self._opens and self.mode is Mode.BUDGET

    def without_switch(self) -> ThinkingPolicy:
        """Return the policy for requests without the fields that switch thinking off."""
        if self.mode is not Mode.OFF:
            return self
        return replace(self, mode=Mode.BUDGET, opened=self._opens)

    def fields(self) -> dict[str, Any]:
        """Return the request fields that switch thinking off."""
        return dict(self._off) if self.mode is Mode.OFF else {}

    def budget(self, context: int | None) -> int:
        """Return the number of tokens for thoughts, at most a quarter of `context` (tokens)."""
        if self.mode is not Mode.BUDGET:
            return 0
        return min(self.limits.max_tokens, context // 4) if context else self.limits.max_tokens
