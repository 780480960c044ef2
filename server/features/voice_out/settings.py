"""Settings of spoken answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from server.core.settings import BaseUrl, FeatureSettings, flag, path, secret, text


class VoiceOutSettings(FeatureSettings):
    speech_base_url: BaseUrl = text(
        "", "an http or https URL like http://127.0.0.1:8091/v1, without a user, query or fragment"
    )
    speech_api_key: SecretStr = secret()
    speech_model: str = text()
    speech_voice: str = text()
    speech_socket: bool = flag()
    speech_local_model: Path | None = path(
        "a directory with a Qwen3-TTS's files, ~ being the home directory"
    )
    speech_local_options: str = text()
    speech_python: Path | None = path("a Python that has qwen-tts, ~ being the home directory")

    def find_errors(self) -> Iterable[str]:
        if self.speech_base_url and self.speech_local_model is not None:
            yield (
                "SPEECH_BASE_URL and SPEECH_LOCAL_MODEL are both set, but only one voice can be used. Leave one of them"
                " empty."
            )
        if self.speech_local_model is not None and self.speech_local_options:
            from server.features.voice_out.worker.streaming import SynthesisOptions

            try:
                SynthesisOptions.read(self.speech_local_options)
            except ValueError as error:
                yield f"SPEECH_LOCAL_OPTIONS: {error}"


SETTINGS = VoiceOutSettings
