"""The settings of the recent past."""

from __future__ import annotations

from server.core.settings import FeatureSettings, integer, number


class RecallLimitSettings(FeatureSettings):
    """Bounds of the recent past of each session."""

    recall_seconds: int = integer(300, 0, 3600)
    recall_megabytes: float = number(2.0, 0.25, 64)


SETTINGS = RecallLimitSettings
