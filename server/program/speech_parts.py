"""The speech part of the composition root: the recogniser, and what looks after it."""

from __future__ import annotations

from collections.abc import Callable

from config import Settings
from server.core.aio import supervise
from server.engines.speech.server_recogniser import ServerRecogniser

_PROBE_SECONDS = 15.0


class SpeechParts:
    """The recogniser that the settings name; None without one."""

    def __init__(self, settings: Settings) -> None:
        self.recogniser: ServerRecogniser | None = None
        # Called when the recogniser answers again, or no more
        self.on_change: Callable[[], None] = lambda: None
        if settings.transcription_base_url:
            self.recogniser = ServerRecogniser(
                base_url=settings.transcription_base_url,
                api_key=settings.transcription_api_key,
                model=settings.transcription_model,
                realtime=settings.transcription_realtime,
            )

    def report(self) -> dict[str, str] | None:
        """Describe the recogniser for operators; None without one."""
        one = self.recogniser
        if one is None:
            return None
        state = "ready" if one.ready else "unreachable"
        return {"name": one.name, "state": state, "detail": one.trouble}

    async def run(self) -> None:
        """Probe the recogniser until cancelled."""
        if self.recogniser is not None:
            await supervise(self._round, name="recogniser")

    async def _round(self) -> float:
        assert self.recogniser is not None
        before = self.recogniser.ready, self.recogniser.elsewhere
        await self.recogniser.probe()
        if (self.recogniser.ready, self.recogniser.elsewhere) != before:
            self.on_change()
        return _PROBE_SECONDS

    async def close(self) -> None:
        if self.recogniser is not None:
            await self.recogniser.close()
