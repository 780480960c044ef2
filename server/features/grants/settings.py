"""The settings of other programs' access."""

from __future__ import annotations

from server.core.settings import FeatureSettings, integer


class GrantSettings(FeatureSettings):
    """Settings of other programs' access."""

    program_looks_per_minute: int = integer(20, 0, 600)


SETTINGS = GrantSettings
