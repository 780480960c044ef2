"""Recognisers and end-of-turn model shared by all sessions, named by the settings or chosen by an operator."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.core.aio import Pools
from server.core.errors import BadRequest
from server.core.metrics import Metrics
from server.features.voice_in.detector import SpeechModel
from server.features.voice_in.listening import ListeningTools
from server.features.voice_in.program_sound import ProgramSound
from server.features.voice_in.recogniser import ChosenRecogniser, LocalRecogniser, ServerRecogniser
from server.features.voice_in.settings import VoiceInSettings
from server.features.voice_in.turn_model import TurnJudge, TurnModel, make_turn_checks_counter
from server.shared.onnx_file import ModelUnusable
from server.shared.services import TurnListener, Voices
from server.shared.speech import describe_speech, find_models_python

if TYPE_CHECKING:
    from server.app.api import Api

log = logging.getLogger(__name__)


class ListeningService:
    """Owner of the recognisers. `python`: interpreter of the models' environment; None if there is none."""

    def __init__(
        self,
        settings: VoiceInSettings,
        python: Path | None,
        machines: Mapping[str, str],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`machines`: see `get_other_machine`. `on_change`: called when the recogniser's availability changes."""
        self._settings = settings
        # State of the end-of-turn model for operators; None if there is none, and before `create_tools`
        self._turn_model: dict[str, str] | None = None

        def local(folder: Path, *, chosen: bool = True) -> LocalRecogniser:
            return LocalRecogniser(
                folder, find_models_python(python), chosen=chosen, on_change=on_change
            )

        # A server takes precedence over a local model.
        settled: ServerRecogniser | LocalRecogniser | None = None
        if settings.transcription_base_url:
            settled = ServerRecogniser(
                base_url=settings.transcription_base_url,
                api_key=settings.transcription_api_key.get_secret_value(),
                model=settings.transcription_model,
                realtime=settings.transcription_realtime,
                machines=machines,
                on_change=on_change,
            )
        elif settings.transcription_local_model is not None:
            settled = local(settings.transcription_local_model, chosen=False)
        # Used by the sessions
        self.asr = ChosenRecogniser(settled, local, on_change)
        # None before `tools`
        self._tools: ListeningTools | None = None

    def create_tools(self, pools: Pools, metrics: Metrics) -> ListeningTools:
        """Return the resources that sessions share, with their metrics and threads."""
        # reason: broken, empty, late, lost, flood
        dropped = metrics.counter(
            "sound_packets_dropped_total",
            "Packets of microphones that were lost or not used",
            "reason",
        )
        self._tools = ListeningTools(
            recogniser=self.asr,
            speech_model=SpeechModel() if self._settings.microphone else None,
            pool=pools.add("hear"),
            turn_judge=self._judge(pools, metrics),
            dropped=lambda reason, count: dropped.labels(reason).inc(count),
        )
        return self._tools

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that gets the sound; "" if it stays on this one."""
        return self.asr.elsewhere

    def listen(self, listener: TurnListener) -> ProgramSound | None:
        """Return a detector of turns for a program's sound; None without a recogniser, and if MICROPHONE is off."""
        tools = self._tools
        if tools is None or tools.speech_model is None or not self.asr.ready:
            return None
        return ProgramSound(tools, listener, None)

    def _judge(self, pools: Pools, metrics: Metrics) -> TurnJudge | None:
        """Load the end-of-turn model. Return None if there is none, or if it is unusable."""
        metrics.gauge(
            "turn_model",
            "The end-of-turn model by state",
            lambda: {found["state"]: 1} if (found := self._turn_model) else {},
            "state",
        )
        make_turn_checks_counter(metrics)
        path = self._settings.end_of_turn_model
        if path is None or not self._settings.microphone:
            return None
        try:
            model = TurnModel(path, self._settings.end_of_turn_sha256)
        except ModelUnusable as error:
            detail = str(error.trouble)
            self._turn_model = {"name": path.name, "state": "misconfigured", "detail": detail}
            log.warning("end-of-turn model not loaded", extra={"reason": detail})
            return None
        self._turn_model = {"name": path.name, "state": "ready", "detail": ""}
        log.info("end-of-turn model loaded")
        return TurnJudge(model, pools.add("judge"), metrics)

    def report(self) -> dict[str, Any]:
        """Return the recogniser in use and the end-of-turn model, for operators."""
        return {"recogniser": describe_speech(self.asr.now), "end_of_turn": self._turn_model}

    def seen(self) -> dict[str, Any]:
        """Return what the operator's panel shows, including a chosen recogniser that loads or has failed."""
        chosen = None
        if self.asr.chosen is not None:
            folder, one = self.asr.chosen
            chosen = {**(describe_speech(one) or {}), "folder": folder}
            del chosen["name"]
        return {"recogniser": describe_speech(self.asr.settled), "chosen": chosen}

    async def choose(self, folder: str) -> None:
        """Start loading the recogniser of a folder. Raises BadRequest for a folder without a model; Draining."""
        path = Path(folder)
        if not path.is_absolute() or not await asyncio.to_thread(
            _is_readable, path / "config.json"
        ):
            raise BadRequest(
                "No model found: this folder has no config.json that the server can read. Send the absolute path of a"
                " model's folder on the server."
            )
        await self.asr.choose(path)


def _is_readable(file: Path) -> bool:
    """Return True if the file is readable; False also for a path that is too long or not accessible."""
    try:
        return file.is_file() and os.access(file, os.R_OK)
    except OSError:
        return False


def add_routes(api: Api, service: ListeningService) -> None:
    """Add the operator's routes: describe, load and unload the recogniser."""
    router = api.make_operator_router("/api/operator/speech")

    voices = api.get_service(Voices)

    def list_seen() -> dict[str, Any]:
        return service.seen() | (voices.seen() if voices is not None else {"voice": None})

    if voices is None:
        # With `voice_out`, its route describes both.
        @router.get("")
        async def seen() -> dict[str, Any]:
            """Return the same as with `voice_out`; `voice` is `null`."""
            return list_seen()

    @router.post("/recogniser", status_code=202)
    async def choose(body: dict[str, Any]) -> dict[str, Any]:
        """Load a local recogniser: `folder` is the absolute path of a speech model's folder on the
        server. 202 with the same body; it replaces the one of the settings once it is `ready`. 400
        for a folder without a model.
        """
        folder = body.get("folder")
        if not isinstance(folder, str):
            raise BadRequest(
                "`folder` must be a string: the absolute path of a speech model's folder on the server."
            )
        await service.choose(folder.strip())
        return list_seen()

    @router.delete("/recogniser")
    async def forget() -> dict[str, Any]:
        """Unload the chosen recogniser. Returns the same body."""
        await service.asr.forget()
        return list_seen()
