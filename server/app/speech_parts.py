"""The speech part of the composition root: the recogniser, the voice, the model for the end of turns,
and what looks after them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from config import ConfigError, Settings
from server.core.aio import Pools, supervise
from server.core.errors import BadRequest
from server.core.metrics import Metrics
from server.engines.speech.chosen_recogniser import ChosenRecogniser
from server.engines.speech.local_recogniser import LocalRecogniser
from server.engines.speech.local_voice import LocalVoice
from server.engines.speech.server_recogniser import ServerRecogniser
from server.engines.speech.server_voice import ServerVoice
from server.engines.speech.voice_worker.streaming import StreamOptions
from server.voice.turn_judge import TurnJudge
from server.voice.turn_model import TurnModel, TurnModelUnusable, TurnTrouble

log = logging.getLogger(__name__)

_PROBE_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parents[2]


class SpeechParts:
    """The recogniser and the voice that the settings name, each None without one; and the recogniser
    that an operator has chosen.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Speaks answers; without one pages do
        self.voice = _voice(settings)
        # The reason why the model for the end of turns is not used; None before `judge`, and where it is
        self._turn_trouble: TurnTrouble | None = None
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
            self.recogniser = self._local(settings.transcription_local_model)
        # The one that sessions use
        self.ear = ChosenRecogniser(
            self.recogniser,
            lambda folder: self._local(folder, chosen=True),
            lambda: self.on_change(),
        )

    def _local(self, folder: Path, *, chosen: bool = False) -> LocalRecogniser:
        python = _python(self._settings.engine_python)
        return LocalRecogniser(folder, python, chosen=chosen, on_change=lambda: self.on_change())

    def judge(self, pools: Pools, metrics: Metrics) -> TurnJudge | None:
        """Load the model for the end of turns; None without one, or where it cannot be used."""
        metrics.gauge(
            "turn_model",
            "The end-of-turn model by state",
            ("state",),
            lambda: {(found["state"],): 1.0} if (found := self._turn_model()) else {},
        )
        path = self._turn_path
        if path is None:
            return None
        model = self._turn_loaded(path)
        if model is None:
            log.warning(
                "END_OF_TURN_MODEL is not used: silence alone ends turns",
                extra={"reason": str(self._turn_trouble)},
            )
            return None
        log.info("END_OF_TURN_MODEL is loaded")
        return TurnJudge(model, pools.judge, metrics)

    def _turn_loaded(self, path: Path) -> TurnModel | None:
        try:
            return TurnModel(path, self._settings.end_of_turn_sha256)
        except TurnModelUnusable as error:
            self._turn_trouble = error.trouble
            return None

    @property
    def _turn_path(self) -> Path | None:
        """The model for the end of turns; None where nobody would use it."""
        return self._settings.end_of_turn_model if self._settings.microphone else None

    def _turn_model(self) -> dict[str, str] | None:
        if self._turn_path is None:
            return None
        state = "ready" if self._turn_trouble is None else "misconfigured"
        detail = str(self._turn_trouble or "")
        return {"name": self._turn_path.name, "state": state, "detail": detail}

    def report(self) -> dict[str, dict[str, str] | None]:
        """Describe those that answer, for operators."""
        chosen = self.ear.chosen[1] if self.ear.chosen is not None else None
        answers = chosen if chosen is not None and chosen.ready else self.recogniser
        return {
            "recogniser": _described(answers),
            "voice": _described(self.voice),
            "end_of_turn": self._turn_model(),
        }

    def seen(self) -> dict[str, Any]:
        """Return what the operator's panel shows: also the chosen one, while it loads or when it failed."""
        found: dict[str, Any] = {
            "recogniser": _described(self.recogniser),
            "voice": _described(self.voice),
            "chosen": None,
        }
        if self.ear.chosen is not None:
            folder, one = self.ear.chosen
            found["chosen"] = {"folder": folder, "state": _state(one), "detail": one.trouble}
        return found

    async def choose(self, folder: str) -> None:
        """Begin to load the recogniser of a folder. Raises BadRequest for one without a model, Draining."""
        path = Path(folder)
        if not path.is_absolute() or not await asyncio.to_thread(_readable, path / "config.json"):
            raise BadRequest(
                "There is no model in this folder of the server: it has no config.json that the server may read. Give the whole"
                " path of one that has."
            )
        await self.ear.choose(path)

    async def forget(self) -> None:
        """End the chosen recogniser; that of the settings answers again."""
        await self.ear.forget()

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
            stack.push_async_callback(self.ear.close)
            if self.voice is not None:
                stack.push_async_callback(self.voice.close)


_Part = ServerRecogniser | LocalRecogniser | ServerVoice | LocalVoice


def _described(one: _Part | None) -> dict[str, str] | None:
    if one is None:
        return None
    return {"name": one.name, "state": _state(one), "detail": one.trouble}


def _state(one: _Part) -> str:
    # A server is asked, not loaded.
    if isinstance(one, LocalRecogniser | LocalVoice) and one.loading:
        return "loading"
    return "ready" if one.ready else "unreachable"


def _voice(settings: Settings) -> ServerVoice | LocalVoice | None:
    if settings.speech_local_model is not None:
        try:
            StreamOptions.read(settings.speech_local_options)
        except ValueError as error:
            raise ConfigError(f"SPEECH_LOCAL_OPTIONS: {error}") from None
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


def _readable(file: Path) -> bool:
    """Find whether there is such a file; a path that is too long, or is hidden from the server, has none."""
    try:
        return file.is_file() and os.access(file, os.R_OK)
    except OSError:
        return False


def _python(chosen: Path | None) -> str:
    """Return the Python of the models' environment."""
    own = _ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable
