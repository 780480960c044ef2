"""Models that think before they answer: switch it off where they allow it, else give them tokens of
their own. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# Marks that models put before and after their thoughts.
OPEN = frozenset(
    (
        "<think>",
        "<thinking>",
        "<seed:think>",
        "[THINK]",
        "◁think▷",
        "<|channel>",
        "<|begin_of_thought|>",
    )
)
CLOSE = frozenset(
    (
        *("</think>", "</thinking>", "</seed:think>", "[/THINK]", "◁/think▷"),
        *("<channel|>", "<|end_of_thought|>"),
    )
)
# Fields that switch it off in models of no known family: for the templates of Qwen, GLM, DeepSeek and others, and
# OpenAI's own field.
OFF_FIELDS: dict[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    "reasoning_effort": "none",
}


@dataclass(frozen=True, slots=True)
class ThinkingLimits:
    """The settings for thinking.

    `wanted`: a model that can answer without thinking may think all the same.
    """

    wanted: bool = False
    # For thoughts, above the tokens of an answer
    max_tokens: int = 1024


class Mode(StrEnum):
    # It was never seen to think.
    PLAIN = "plain"
    # It is asked not to think.
    OFF = "off"
    # It thinks, and gets tokens for it.
    BUDGET = "budget"


class Thinking:
    """The knowledge of one model. Nothing is sent to one that nobody knows to think, and that was never seen to.

    `switch`: thinking may be switched off, as far as anybody knows.
    """

    def __init__(self, limits: ThinkingLimits, *, switch: bool = True) -> None:
        self.limits = limits
        self.mode = Mode.PLAIN
        self._switch = switch
        # Its template opens the thoughts, so that only their end is marked.
        self.implied = False
        self._off: Mapping[str, Any] = OFF_FIELDS
        self._dropped: set[str] = set()

    def known(self, *, switch: bool, opened: bool) -> None:
        """Learn from a model's template: it has a switch, or opens the thoughts unasked."""
        self._switch = switch
        if opened or (switch and self.limits.wanted):
            self.mode = Mode.BUDGET
        else:
            self.mode = Mode.OFF if switch else Mode.PLAIN

    def fields(self) -> dict[str, Any]:
        """Return more fields of a request."""
        if self.mode is not Mode.OFF:
            return {}
        return {name: value for name, value in self._off.items() if name not in self._dropped}

    def budget(self, context: int | None) -> int:
        """Return the tokens above those of the answer; a quarter of the context at most."""
        if self.mode is not Mode.BUDGET:
            return 0
        return min(self.limits.max_tokens, context // 4) if context else self.limits.max_tokens

    def seen(self, asked: Mode) -> bool:
        """Learn that it thought when asked so; return True when another request would differ."""
        if self.mode is asked:
            # Asked not to think, a model may begin with its answer, whatever its template opens.
            self.implied = False
            off = asked is Mode.PLAIN and self._switch and not self.limits.wanted
            self.mode = Mode.OFF if off else Mode.BUDGET
        return asked is not Mode.BUDGET

    def ended(self, asked: Mode, *, closed_unopened: bool, never_closed: bool) -> None:
        """Learn from a whole answer: its thoughts ended without a beginning, which the template wrote; there were none."""
        if closed_unopened:
            self.seen(asked)
            self.implied = True
        if never_closed:
            self.implied = False

    def drop(self, field: str) -> None:
        """Leave a field out that the server refuses."""
        self._dropped.add(field)
        if self._dropped >= self._off.keys():
            self.mode = Mode.BUDGET

    def refused(self) -> bool:
        """Learn that the server refused a request; return whether the fields may be why.

        They are not sent again.
        """
        if self.mode is not Mode.OFF:
            return False
        self.mode = Mode.BUDGET
        return True

    def served(self, off: Mapping[str, Any]) -> None:
        """Start again with another model. `off`: the fields that switch its thinking off, where that is known."""
        self.known(switch=True, opened=False)
        if not off:
            self.mode = Mode.PLAIN
        self._off, self.implied = off or OFF_FIELDS, False
        self._dropped.clear()
