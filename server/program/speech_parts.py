"""The speech part of the composition root: the recogniser, the voice, and what looks after them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from config import Settings
from server.core.aio import supervise
from server.engines.speech.local_recogniser import LocalRecogniser
from server.engines.speech.local_voice import LocalVoice
from server.engines.speech.server_recogniser import ServerRecogniser
from server.engines.speech.server_voice import ServerVoice

_PROBE_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parents[2]


class SpeechParts:
    """The recogniser and the voice that the settings name; each is None without one."""

    def __init__(self, settings: Settings) -> None:
        # Speaks answers; without one pages do
        self.voice = _voice(settings)
        # A server before a local one
        self.recogniser: ServerRecogniser | LocalRecogniser | None = None
        # Called when the recogniser answers again, or no more
        self.on_change: Callable[[], None] = lambda: None
        if settings.transcription_base_url:
            self.recogniser = ServerRecogniser(
                base_url=settings.transcription_base_url,
                api_key=settings.transcription_api_key,
                model=settings.transcription_model,
                realtime=settings.transcription_realtime,
            )
        elif settings.transcription_local_model is not None:
            self.recogniser = LocalRecogniser(
                settings.transcription_local_model,
                _python(settings.engine_python),
                on_change=lambda: self.on_change(),
            )

    def report(self) -> dict[str, dict[str, str] | None]:
        """Describe both for operators."""
        return {"recogniser": _described(self.recogniser), "voice": _described(self.voice)}

    async def run(self) -> None:
        """Load those of this machine; probe those on servers until cancelled."""
        if isinstance(self.recogniser, LocalRecogniser):
            self.recogniser.start()
        rounds = []
        if isinstance(self.recogniser, ServerRecogniser):
            rounds.append(supervise(self._round, name="recogniser"))
        if self.voice is not None:
            rounds.append(supervise(self.voice.probe, name="voice"))
        async with asyncio.TaskGroup() as tasks:
            for one in rounds:
                tasks.create_task(one)

    async def _round(self) -> float:
        assert isinstance(self.recogniser, ServerRecogniser)
        before = self.recogniser.ready, self.recogniser.elsewhere
        await self.recogniser.probe()
        if (self.recogniser.ready, self.recogniser.elsewhere) != before:
            self.on_change()
        return _PROBE_SECONDS

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for one in (self.recogniser, self.voice):
                if one is not None:
                    stack.push_async_callback(one.close)


def _described(
    one: ServerRecogniser | LocalRecogniser | ServerVoice | LocalVoice | None,
) -> dict[str, str] | None:
    if one is None:
        return None
    state = "ready" if one.ready else "unreachable"
    return {"name": one.name, "state": state, "detail": one.trouble}


def _voice(settings: Settings) -> ServerVoice | LocalVoice | None:
    if settings.speech_local_model is not None:
        return LocalVoice(
            settings.speech_local_model,
            _python(settings.speech_python or settings.engine_python),
            options=settings.speech_local_options,
            voice=settings.speech_voice,
        )
    if not settings.speech_base_url:
        return None
    return ServerVoice(
        base_url=settings.speech_base_url,
        api_key=settings.speech_api_key,
        model=settings.speech_model,
        voice=settings.speech_voice,
        socket=settings.speech_socket,
    )


def _python(chosen: Path | None) -> str:
    """Return the Python of the models' environment."""
    own = _ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable
