"""The time limits of a speech server. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """Seconds; the defaults are those of a recogniser."""

    connect: float = 3.0
    # From sending the request, or the end of what was said, to the first piece
    first: float = 20.0
    between: float = 10.0
    # The whole answer
    total: float = 60.0
    probe: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"The time limit {name} is {value}; it must be more than 0 seconds."
                )


@dataclass(frozen=True, slots=True)
class VoiceLimits(SpeechLimits):
    """Those of a voice; `total` is for all of a text's sound."""

    first: float = 10.0
    between: float = 5.0
    total: float = 120.0
