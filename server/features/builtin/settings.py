"""The settings of the built-in engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from server.core.settings import FeatureSettings, checksum, flag, path


class BuiltinSettings(FeatureSettings):
    name_things: bool = flag(True)
    thing_detector: Path | None = path("a path, ~ being the home directory")
    thing_detector_sha256: str = checksum()
    thing_classifier: Path | None = path("a path, ~ being the home directory")
    thing_classifier_sha256: str = checksum()

    def find_errors(self) -> Iterable[str]:
        # The files themselves are read when the first picture needs them.
        for name in ("thing_detector", "thing_classifier"):
            if getattr(self, name) is not None and not getattr(self, f"{name}_sha256"):
                yield (
                    f"{name.upper()}_SHA256 is empty, but {name.upper()} is set. Set it to the SHA-256 checksum of that file, as"
                    " printed by sha256sum."
                )


SETTINGS = BuiltinSettings
