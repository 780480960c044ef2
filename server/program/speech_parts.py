"""The speech part of the composition root: the recogniser, and what looks after it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from config import Settings
from server.core.aio import supervise
from server.engines.speech.local_recogniser import LocalRecogniser
from server.engines.speech.server_recogniser import ServerRecogniser

_PROBE_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parents[2]


class SpeechParts:
    """The recogniser that the settings name, a server before a local one; None without one."""

    def __init__(self, settings: Settings) -> None:
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

    def report(self) -> dict[str, str] | None:
        """Describe the recogniser for operators; None without one."""
        one = self.recogniser
        if one is None:
            return None
        state = "ready" if one.ready else "unreachable"
        return {"name": one.name, "state": state, "detail": one.trouble}

    async def run(self) -> None:
        """Load a local recogniser; probe one on a server until cancelled."""
        if isinstance(self.recogniser, LocalRecogniser):
            self.recogniser.start()
        elif self.recogniser is not None:
            await supervise(self._round, name="recogniser")

    async def _round(self) -> float:
        assert isinstance(self.recogniser, ServerRecogniser)
        before = self.recogniser.ready, self.recogniser.elsewhere
        await self.recogniser.probe()
        if (self.recogniser.ready, self.recogniser.elsewhere) != before:
            self.on_change()
        return _PROBE_SECONDS

    async def close(self) -> None:
        if self.recogniser is not None:
            await self.recogniser.close()


def _python(chosen: Path | None) -> str:
    """Return the Python of the models' environment."""
    own = _ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable
