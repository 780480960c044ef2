"""The result of a check, and its output without secrets and with only the beginning of addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self
from unicodedata import category, combining, east_asian_width

from scripts.checks.words import say

_IPV4 = re.compile(r"\b(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}\b", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:])([\da-f]{1,4}):(?:[\da-f]{0,4}:){1,6}[\da-f]{0,4}", re.ASCII | re.IGNORECASE
)


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    id: str
    title: str
    state: State
    # The observation
    text: str
    # Empty without a failure
    cause: str = ""
    todo: str = ""

    @property
    def ok(self) -> bool:
        return self.state is State.OK

    def without(self, secrets: Iterable[str]) -> Self:
        """Return the finding without these secrets and without whole addresses."""
        known = [secret for secret in secrets if secret]

        def clean(text: str) -> str:
            for secret in known:
                text = text.replace(secret, "[removed]")
            return masked(text)

        return replace(self, text=clean(self.text), cause=clean(self.cause), todo=clean(self.todo))


def masked(text: str) -> str:
    """Shorten all IP addresses in a text to their beginning, except loopback."""

    def short(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith("127.") else f"{match[1]}.x.x"

    return _IPV6.sub(r"\1:x", _IPV4.sub(short, text))


def table(findings: Iterable[Finding]) -> str:
    """Format findings for a terminal: one line each, with cause and remedy below."""
    words = {
        State.OK: say("ok"),
        State.WARN: say("LOOK"),
        State.FAILED: say("FAILED"),
        State.SKIPPED: "-",
    }
    wide = max(7, *map(_columns, words.values()))
    lines = []
    for found in findings:
        lines.append(f"{_wide(words[found.state], wide)} {_wide(found.title, 16)} {found.text}")
        if found.cause:
            lines.append(f"{'':<{wide + 17}} {say('Cause: {cause}', cause=found.cause)}")
        if found.todo:
            lines.append(f"{'':<{wide + 17}} {say('To do: {todo}', todo=found.todo)}")
    return "\n".join(lines)


def _columns(text: str) -> int:
    """Return the width of a text in a terminal: two columns for a wide letter, none for a mark."""
    return sum(
        (
            0
            if combining(char) or category(char) == "Mn"
            else 2 if east_asian_width(char) in "WF" else 1
        )
        for char in text
    )


def _wide(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))
