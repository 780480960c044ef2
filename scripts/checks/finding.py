"""The result of a check, and its output with secrets removed and addresses masked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

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
    # Empty unless the check failed
    cause: str = ""
    todo: str = ""

    @property
    def ok(self) -> bool:
        return self.state is State.OK

    def without_secrets(self, secrets: Iterable[str]) -> Self:
        """Return the finding with these secrets removed and addresses masked."""
        known = [secret for secret in secrets if secret]

        def clean(text: str) -> str:
            for secret in known:
                text = text.replace(secret, "[removed]")
            return mask_addresses(text)

        return replace(self, text=clean(self.text), cause=clean(self.cause), todo=clean(self.todo))


def mask_addresses(text: str) -> str:
    """Shorten the IP addresses in a text to their beginning, except loopback."""

    def mask(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith("127.") else f"{match[1]}.x.x"

    return _IPV6.sub(r"\1:x", _IPV4.sub(mask, text))


def format_table(findings: Iterable[Finding]) -> str:
    """Format findings for a terminal: one line each, with cause and remedy below."""
    words = {State.OK: "ok", State.WARN: "LOOK", State.FAILED: "FAILED", State.SKIPPED: "-"}
    lines = []
    for found in findings:
        lines.append(f"{words[found.state]:<7} {found.title:<16} {found.text}")
        lines += [f"{'':<24} Cause: {found.cause}"] if found.cause else []
        lines += [f"{'':<24} To do: {found.todo}"] if found.todo else []
    return "\n".join(lines)
