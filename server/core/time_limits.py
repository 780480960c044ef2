"""Time limits that check themselves. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds, each a field of a subclass. Raises ValueError for one that is not above 0 and finite."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"The time limit {field.name} is {value}; it must be more than 0 seconds."
                )
