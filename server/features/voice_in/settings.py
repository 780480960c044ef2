"""Settings of the microphone and of spoken questions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from server.core.settings import BaseUrl, FeatureSettings, checksum, flag, path, secret, text


class VoiceInSettings(FeatureSettings):
    transcription_base_url: BaseUrl = text(
        "", "an http or https URL like http://127.0.0.1:8003/v1, without a user, query or fragment"
    )
    transcription_model: str = text()
    transcription_api_key: SecretStr = secret()
    transcription_realtime: bool = flag()
    transcription_local_model: Path | None = path(
        "a directory with a speech model's files, ~ being the home directory"
    )
    microphone: bool = flag(True)
    end_of_turn_model: Path | None = path("a path, ~ being the home directory")
    end_of_turn_sha256: str = checksum()

    def find_errors(self) -> Iterable[str]:
        # The file itself is checked at start; without it silence ends turns.
        if self.end_of_turn_model is not None and not self.end_of_turn_sha256:
            yield (
                "END_OF_TURN_SHA256 is empty. END_OF_TURN_MODEL needs the SHA-256 checksum of its file there, as printed by"
                " sha256sum or published with the file."
            )


SETTINGS = VoiceInSettings
