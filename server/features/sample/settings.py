"""The settings of the sample."""

from __future__ import annotations

from server.core.settings import FeatureSettings, integer


class SampleSettings(FeatureSettings):
    sample_most_waves: int = integer(3, 1, 100, " (of a session)")


SETTINGS = SampleSettings
