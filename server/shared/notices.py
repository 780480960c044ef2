"""The remarks on what matters in front of the camera, as an engine gets them that is no language model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """The remarks that a person was told of what matters in front of the camera; the answer has only what is new to them.

    Bounds: see `Notices` in features/describe.
    """

    # Nothing was told since the person has switched it on.
    first: bool
    # Capture time of the newest frame whose answer counts, monotonic seconds; later ones were lost. None: every one was
    until: float | None
    # In the last minute, oldest first
    said: tuple[str, ...]
