"""The microphone and spoken questions: speech in its sound, turns, their words, and what is said over answers.

Recognisers are a speech server or a local model, whose `worker` runs in the models' environment.
Without one that is ready questions can be spoken to an engine that hears. `models/` has the model
that finds speech, with its licence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Make questions of what people say in each session."""
    from server.features.voice_in.listening import Listening
    from server.features.voice_in.messages import MicrophoneSettings, PushToTalk
    from server.features.voice_in.service import ListeningService, add_routes
    from server.features.voice_in.settings import VoiceInSettings
    from server.session.part import SpeechOutput
    from server.shared.services import Recogniser

    def changed() -> None:
        for session in api.sessions.all():
            session.greet()

    settings = VoiceInSettings.of(api.settings)
    service = ListeningService(settings, api.settings.engine_python, api.settings.machines, changed)
    api.run("recogniser", start=service.asr.start, close=service.asr.close, last=True)
    api.health(service.report)
    add_routes(api, service)
    tools = service.tools(api.pools, api.metrics)
    # With it, what somebody says over an answer stops it.
    api.session_part(
        lambda context: Listening(context, tools, context.part("voice_out") or SpeechOutput()),
        MicrophoneSettings,
        PushToTalk,
    )
    api.provide(ListeningService, service)
    api.provide(Recogniser, service)
