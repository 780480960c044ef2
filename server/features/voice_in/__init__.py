"""Microphone and spoken questions: speech detection, turns, recognition, and barge-in over answers.

The recogniser is a speech server or a local model, whose `worker` runs in the models' environment.
While none is ready, questions can be spoken to an engine with `audio_in`. `models/` contains the
speech detection model and its licence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Turn speech into questions in each session."""
    from server.features.voice_in.listening import MicrophonePart
    from server.features.voice_in.messages import MicrophoneSettings, PushToTalk
    from server.features.voice_in.service import ListeningService, add_routes
    from server.features.voice_in.settings import VoiceInSettings
    from server.session.part import SpeechOutput
    from server.shared.services import Recogniser

    def changed() -> None:
        for session in api.sessions.list_all():
            session.greet()

    settings = VoiceInSettings.of(api.settings)
    service = ListeningService(settings, api.settings.engine_python, api.settings.machines, changed)
    api.run("recogniser", start=service.asr.start, close=service.asr.close, last=True)
    api.add_health_facts(service.report)
    add_routes(api, service)
    tools = service.create_tools(api.pools, api.metrics)
    # With `voice_out`, speech over an answer stops the answer.
    api.add_session_part(
        lambda context: MicrophonePart(context, tools, context.part("voice_out") or SpeechOutput()),
        MicrophoneSettings,
        PushToTalk,
    )
    api.provide(ListeningService, service)
    api.provide(Recogniser, service)
