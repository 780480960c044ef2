"""The settings of other programs' access."""

from __future__ import annotations

from server.core.settings import FeatureSettings, whole


class GrantSettings(FeatureSettings):
    program_looks_per_minute: int = whole(20, 0, 600)


SETTINGS = GrantSettings
