"""The manager's status, its plans, and the error about a model without an ability. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from server.catalogue.choice import Choice
from server.catalogue.entry import Ability, Model, ModelType, RunMode
from server.catalogue.launch import Launch
from server.core.errors import WrongModel
from server.processes.log_progress import LoadProgress


class ManagerState(StrEnum):
    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Released:
    """Memory freed by a stopped model, bytes. None: unknown."""

    # Main memory of its processes before, and what they still hold
    held: int | None = None
    left: int | None = None
    # The GPUs' free memory while it was loaded, and after its end
    gpu_before: int | None = None
    gpu_after: int | None = None


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    state: ManagerState = ManagerState.IDLE
    # The model's id; empty when none is loaded or loading
    model: str = ""
    model_type: ModelType | None = None
    mode: RunMode | None = None
    # While it loads
    progress: LoadProgress | None = None
    # Its main memory, and the GPU memory taken since its start; None: unknown
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # The command, secrets masked
    shown: str = ""
    # The last failure, and the remedy
    error: str = ""
    # Memory freed by the previous model
    released: Released | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A choice that can be started."""

    choice: Choice
    launch: Launch
    # None: a remote server with any model
    model: Model | None = None

    @property
    def model_id(self) -> str:
        """The model's id; "" for the first model of a remote server."""
        return self.model.id if self.model is not None else self.choice.model

    def shown_id(self, found: str = "") -> str:
        """Return the model's id for display.

        `found`: the server's name for it, when none was chosen.
        """
        where = urlsplit(self.choice.url).netloc
        return self.model_id or found or f"the first model at {where}"

    @property
    def name(self) -> str:
        """Name for display."""
        return (
            self.model.name if self.model is not None else self.choice.model or "The remote model"
        )


@dataclass(frozen=True, slots=True)
class Order:
    """A plan that is to be carried out."""

    plan: Plan
    # It goes before every other engine.
    preferred: bool = True
    # The reason, where no operator chose it
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One model that is loaded, is being loaded or has failed."""

    id: int
    order: Order
    # Chosen to go back to, and by no operator
    back: bool = False
    # It has answered at some time.
    was_ready: bool = False
    # Restarts since it last ran for long, and the ports that were tried
    crashes: int = 0
    ports: int = 1

    @property
    def name(self) -> str:
        return self.order.plan.name

    @property
    def remote(self) -> bool:
        return self.order.plan.choice.mode is RunMode.REMOTE


_CAN = {
    Ability.IMAGES: "answer questions about pictures",
    Ability.VIDEO_IN: "look at videos",
    Ability.AUDIO_IN: "hear",
    Ability.SPEECH_OUT: "speak",
    Ability.GROUNDING: "say where things are",
    Ability.TEXT_TO_SPEECH: "read texts aloud",
    Ability.TEXT_TO_AUDIO: "make sounds",
    Ability.TEXT_TO_VIDEO: "make videos from a text",
    Ability.IMAGE_TO_VIDEO: "make videos from a picture",
}


def loading_status(plan: Plan, released: Released | None) -> ManagerStatus:
    """Return the status at the beginning of loading."""
    return ManagerStatus(
        ManagerState.LOADING,
        plan.shown_id(),
        plan.model.model_type if plan.model is not None else None,
        plan.choice.mode,
        LoadProgress("starting"),
        shown=plan.launch.shown,
        released=released,
    )


def wrong_model(
    status: ManagerStatus, model: Model | None, wanted: Sequence[Ability], known: Iterable[Model]
) -> WrongModel:
    """Build the error that names the loaded model (None: unknown), the needed ability (one of
    `wanted`), examples of `known`, and how to switch.
    """
    ready = status.state is ManagerState.READY
    if ready and model is not None:
        can = ", ".join(sorted(_CAN[one] for one in model.abilities))
        loaded = f"{model.name} is loaded, a {model.model_type} model: it can {can}."
    elif ready:
        loaded = (
            "A remote model is loaded, of which no more is known than that it answers questions."
        )
    elif status.state is ManagerState.LOADING:
        loaded = f"{status.model} is being loaded."
    else:
        loaded = "No model is loaded."
    able = [one.name for one in known if not one.abilities.isdisjoint(wanted)][:3]
    needed = " or ".join(_CAN[one] for one in wanted)
    examples = f" ({', '.join(able)})" if able else ""
    return WrongModel(
        f"{loaded} This needs a model that can {needed}{examples}. Start one in the engine panel: it takes the place"
        " of the one that is loaded."
    )
