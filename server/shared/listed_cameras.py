"""The fixed cameras of the operator's list, as other features' settings know them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.core.settings import FeatureSettings


class ListedCamera(Protocol):
    """A fixed camera of the operator's list."""

    @property
    def name(self) -> str: ...

    @property
    def mqtt(self) -> bool:
        """True if it is published over MQTT."""

    @property
    def watches(self) -> tuple[str, ...]:
        """Conditions to watch for, in words."""

    @property
    def describe(self) -> bool:
        """True if it is described continuously."""


class CameraListSettings(FeatureSettings):
    """Base class of settings that depend on the list."""

    def read_listed_cameras(self) -> Sequence[ListedCamera]:
        """Return the listed cameras; none without fixed cameras. Raises OSError, ValueError."""
        return ()
