"""Spoken answers: speak sentences while the answer is written, and track how much was heard.

The voice is a speech server or a local model, whose `worker/` runs in the models' environment. While
none is ready, the page reads the sentences with the browser's voice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Speak the answers of sessions that have `speak` set."""
    from server.features.voice_out.messages import SpeakSettings, SpeechProgress
    from server.features.voice_out.settings import VoiceOutSettings
    from server.features.voice_out.speaking import SpeechMetrics, SpeechPart
    from server.features.voice_out.voices import VoiceService, add_routes
    from server.shared.services import LanguageDetector, Voices

    service = VoiceService(
        VoiceOutSettings.of(api.settings), api.settings.engine_python, api.settings.machines
    )
    api.run("voice", start=service.start, close=service.close, last=True)
    api.add_health_facts(service.seen)
    add_routes(api, service)
    metrics, detect = SpeechMetrics(api.metrics), api.get_service(LanguageDetector)
    api.add_session_part(
        lambda context: SpeechPart(context, metrics, service.voice, detect),
        *(SpeakSettings, SpeechProgress),
    )
    api.provide(VoiceService, service)
    api.provide(Voices, service)
