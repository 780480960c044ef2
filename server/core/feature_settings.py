"""The settings that a feature brings, which `config` adds to the core's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

from pydantic import BaseModel


class ListedCamera(Protocol):
    """A fixed camera that an operator has listed."""

    @property
    def name(self) -> str: ...

    @property
    def mqtt(self) -> bool:
        """It is told of over MQTT."""

    @property
    def watches(self) -> tuple[str, ...]:
        """Conditions that it is watched for, in words"""

    @property
    def describe(self) -> bool:
        """It is described all the time."""


class FeatureSettings(BaseModel):
    """A feature's settings: fields as in `config.Settings`, each a key of env.example."""

    @classmethod
    def of(cls, settings: object) -> Self:
        """Return the program's settings as this feature's. Raises TypeError when they lack them."""
        if not isinstance(settings, cls):
            raise TypeError(f"{cls.__name__} are not among the settings")
        return settings

    def core(self, name: str) -> Any:
        """Return one of the core's settings, which these are composed with."""
        return getattr(self, name)

    def problems(self) -> Iterable[str]:
        """Return a sentence for each problem that keeps the server from starting."""
        return ()

    def doubts(self) -> Iterable[str]:
        """Return sentences on what is allowed but probably not meant; without secrets."""
        return ()

    def needs_code(self) -> bool:
        """Find whether nobody may get in without a code: one is made where ACCESS_CODE is empty."""
        return False

    def most_sessions(self) -> float:
        """Return how many of MAX_SESSIONS this process takes at most."""
        return math.inf

    def listed_cameras(self) -> Sequence[ListedCamera]:
        """Return the fixed cameras of an operator's list. Raises OSError, ValueError."""
        return ()
