"""The settings of the sample."""

from __future__ import annotations

from server.core.settings import FeatureSettings, integer


class SampleSettings(FeatureSettings):
    """Settings of the sample feature."""

    sample_most_waves: int = integer(3, 1, 100, " (of a session)")


SETTINGS = SampleSettings
