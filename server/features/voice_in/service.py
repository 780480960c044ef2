"""The recognisers and the end-of-turn model of all sessions, by the settings or an operator."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.core.aio import Pools, TaskSet, supervise
from server.core.errors import BadRequest
from server.core.metrics import Metrics
from server.features.voice_in.detector import SpeechModel
from server.features.voice_in.listening import ListeningTools
from server.features.voice_in.recogniser import ChosenRecogniser, LocalRecogniser, ServerRecogniser
from server.features.voice_in.settings import VoiceInSettings
from server.features.voice_in.turn_model import TurnJudge, TurnModel, turn_checks
from server.shared.onnx_file import ModelTrouble, ModelUnusable
from server.shared.speech import described, models_python

if TYPE_CHECKING:
    from server.app.api import Api

log = logging.getLogger(__name__)
_PROBE_SECONDS = 15.0
MOST_FOLDER_CHARS = 1000


class ListeningService:
    """Owner of the recognisers. `python`: that of the models' environment."""

    def __init__(
        self,
        settings: VoiceInSettings,
        python: Path | None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change`: called when the recogniser answers again, or no more."""
        self._settings = settings
        self._python = models_python(python)
        self._on_change = on_change
        self._tasks = TaskSet("recogniser")
        # The reason why the model for the end of turns is not used; None before `tools`, and where it is
        self._turn_trouble: ModelTrouble | None = None
        # That of the settings; a server before a local one
        self.recogniser: ServerRecogniser | LocalRecogniser | None = None
        if settings.transcription_base_url:
            self.recogniser = ServerRecogniser(
                base_url=settings.transcription_base_url,
                api_key=settings.transcription_api_key.get_secret_value(),
                model=settings.transcription_model,
                realtime=settings.transcription_realtime,
            )
        elif settings.transcription_local_model is not None:
            self.recogniser = self._local(settings.transcription_local_model)
        # The one that sessions use
        self.asr = ChosenRecogniser(
            self.recogniser, lambda folder: self._local(folder, chosen=True), on_change
        )

    def _local(self, folder: Path, *, chosen: bool = False) -> LocalRecogniser:
        return LocalRecogniser(folder, self._python, chosen=chosen, on_change=self._on_change)

    def tools(self, pools: Pools, metrics: Metrics) -> ListeningTools:
        """Make what sessions use."""
        return ListeningTools(
            recogniser=self.asr,
            speech_model=SpeechModel() if self._settings.microphone else None,
            pool=pools.hear,
            turn_judge=self._judge(pools, metrics),
        )

    def _judge(self, pools: Pools, metrics: Metrics) -> TurnJudge | None:
        """Load the model for the end of turns; None without one, or where it cannot be used."""
        metrics.gauge(
            "turn_model",
            "The end-of-turn model by state",
            ("state",),
            lambda: {(found["state"],): 1.0} if (found := self._turn_model()) else {},
        )
        turn_checks(metrics)
        if self._turn_path is None:
            return None
        try:
            model = TurnModel(self._turn_path, self._settings.end_of_turn_sha256)
        except ModelUnusable as error:
            self._turn_trouble = error.trouble
            log.warning(
                "END_OF_TURN_MODEL is not used: silence alone ends turns",
                extra={"reason": str(self._turn_trouble)},
            )
            return None
        log.info("END_OF_TURN_MODEL is loaded")
        return TurnJudge(model, pools.judge, metrics)

    @property
    def _turn_path(self) -> Path | None:
        """The model for the end of turns; None where nobody would use it."""
        return self._settings.end_of_turn_model if self._settings.microphone else None

    def _turn_model(self) -> dict[str, str] | None:
        if self._turn_path is None:
            return None
        trouble = self._turn_trouble
        state = "ready" if trouble is None else "misconfigured"
        return {"name": self._turn_path.name, "state": state, "detail": str(trouble or "")}

    def report(self) -> dict[str, Any]:
        """Describe those that answer, for operators."""
        return {"recogniser": described(self.asr.now), "end_of_turn": self._turn_model()}

    def seen(self) -> dict[str, Any]:
        """Return what the operator's panel shows: also the chosen one, while it loads or when it failed."""
        chosen = None
        if self.asr.chosen is not None:
            folder, one = self.asr.chosen
            chosen = {**(described(one) or {}), "folder": folder}
            del chosen["name"]
        return {"recogniser": described(self.recogniser), "chosen": chosen}

    async def choose(self, folder: str) -> None:
        """Begin to load the recogniser of a folder. Raises BadRequest for one without a model, Draining."""
        path = Path(folder)
        if not path.is_absolute() or not await asyncio.to_thread(_readable, path / "config.json"):
            raise BadRequest(
                "There is no model in this folder of the server: it has no config.json that the server may read. Give the whole"
                " path of one that has."
            )
        await self.asr.choose(path)

    def start(self) -> None:
        """Load that of this machine, or probe its server from now on."""
        if isinstance(self.recogniser, LocalRecogniser):
            self.recogniser.start()
        if isinstance(self.recogniser, ServerRecogniser):
            probing = supervise(self.probe, name="recogniser")
            self._tasks.spawn(probing, name="recogniser")

    async def probe(self) -> float:
        """Ask the recogniser's server for its state. Returns the seconds until the next time."""
        assert isinstance(self.recogniser, ServerRecogniser)
        before = self.recogniser.ready, self.recogniser.elsewhere
        await self.recogniser.answers()
        if (self.recogniser.ready, self.recogniser.elsewhere) != before:
            self._on_change()
        return _PROBE_SECONDS

    async def close(self) -> None:
        await self._tasks.close()
        await self.asr.close()


def _readable(file: Path) -> bool:
    """Find whether there is such a file; a path that is too long, or is hidden from the server, has none."""
    try:
        return file.is_file() and os.access(file, os.R_OK)
    except OSError:
        return False


def add_routes(api: Api, service: ListeningService) -> None:
    """Add the operator's routes: what makes words of sound, and a local recogniser."""
    router = api.operator_router("/api/operator/speech")

    voices = api.find("voice_out")

    def all_seen() -> dict[str, Any]:
        return service.seen() | (voices.seen() if voices is not None else {"voice": None})

    if voices is None:
        # Else it answers for both.
        @router.get("")
        async def seen() -> dict[str, Any]:
            """As with `voice_out`; `voice` is `null`."""
            return all_seen()

    @router.post("/recogniser", status_code=202)
    async def choose(body: dict[str, Any]) -> dict[str, Any]:
        """Load a local recogniser: `folder` is the whole path of a speech model's folder on the
        server. 202 and the same; it answers in place of the settings' once it is `ready`. 400
        for a folder without a model.
        """
        folder = body.get("folder")
        if not isinstance(folder, str) or not folder.strip() or len(folder) > MOST_FOLDER_CHARS:
            raise BadRequest("folder is the path of a speech model's folder on the server.")
        await service.choose(folder.strip())
        return all_seen()

    @router.delete("/recogniser")
    async def forget() -> dict[str, Any]:
        """End the chosen one. The same."""
        await service.asr.forget()
        return all_seen()
