"""The settings of the sample."""

from __future__ import annotations

from server.core.settings import FeatureSettings, whole


class SampleSettings(FeatureSettings):
    sample_most_waves: int = whole(3, 1, 100, " (of a session)")


SETTINGS = SampleSettings
