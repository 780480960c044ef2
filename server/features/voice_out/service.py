"""The voice that the settings name: how it begins and ends, and what operators see of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.core.aio import TaskSet, supervise
from server.features.voice_out.local_voice import LocalVoice
from server.features.voice_out.server_voice import ServerVoice
from server.features.voice_out.settings import VoiceOutSettings
from server.shared.speech.local_worker import models_python
from server.shared.speech.speech_server import described

if TYPE_CHECKING:
    from server.app.api import Api


class VoiceService:
    """Owner of the voice of all sessions. `python`: that of the models' environment."""

    def __init__(self, settings: VoiceOutSettings, python: Path | None) -> None:
        # Speaks answers; without one pages do
        self.voice: ServerVoice | LocalVoice | None = None
        self._tasks = TaskSet("voice")
        if settings.speech_local_model is not None:
            self.voice = LocalVoice(
                settings.speech_local_model,
                models_python(settings.speech_python or python),
                options=settings.speech_local_options,
                voice=settings.speech_voice,
            )
        elif settings.speech_base_url:
            self.voice = ServerVoice(
                base_url=settings.speech_base_url,
                api_key=settings.speech_api_key,
                model=settings.speech_model,
                voice=settings.speech_voice,
                socket=settings.speech_socket,
            )

    def seen(self) -> dict[str, Any]:
        """Return what operators see of it."""
        return {"voice": described(self.voice)}

    def start(self) -> None:
        """Load it, or probe its server from now on."""
        if self.voice is not None:
            self._tasks.spawn(supervise(self.voice.probe, name="voice"), name="voice")

    async def close(self) -> None:
        await self._tasks.close()
        if self.voice is not None:
            await self.voice.close()


def add_routes(api: Api, service: VoiceService) -> None:
    router = api.operator_router("/api/operator/speech")

    @router.get("")
    async def seen() -> dict[str, Any]:
        """The models that make words of sound, and sound of words.

        `recogniser` and `voice` of the settings (`name`, `state`: `ready`, `unreachable`, or
        `loading` of a local one, `detail`: a sentence; `null` without one), and `chosen`, a local
        recogniser (`folder`: its name, `state`, `detail`; `null` without one).
        """
        found = {"recogniser": None, "chosen": None} | service.seen()
        if (other := api.find("voice_in")) is not None:
            found |= other.seen()
        return found
