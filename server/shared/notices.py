"""The context of notices about what matters in view, for engines that are not language models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """The notices already given about what matters in view; the answer contains only what is new.

    Bounds: see `Notices` in features/describe.
    """

    # No notice was given since notices were enabled.
    first: bool
    # Capture time of the newest frame whose answer was delivered, monotonic seconds; None if none was
    until: float | None
    # Notices of the last minute, oldest first
    said: tuple[str, ...]
