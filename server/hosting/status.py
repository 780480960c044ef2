"""What the manager is at, what it is to run, and what is said of a model that cannot do something. Pure."""

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
    """What a stopped model gave back, bytes. None: not known."""

    # Main memory that its processes held, and what of it they hold still
    held: int | None = None
    left: int | None = None
    # The GPUs' free memory: while it was loaded, and after it had gone
    gpu_before: int | None = None
    gpu_after: int | None = None


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    state: ManagerState = ManagerState.IDLE
    # Its id; empty when none is loaded or about to be
    model: str = ""
    model_type: ModelType | None = None
    mode: RunMode | None = None
    # While it loads
    progress: LoadProgress | None = None
    # Main memory, and of the GPUs' memory as much as went since it was begun; None: not known
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # The command, secrets masked
    shown: str = ""
    # What went wrong last, and what to do
    error: str = ""
    # Of the model before
    released: Released | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A choice that can be carried out."""

    choice: Choice
    launch: Launch
    # None: remote, whatever it has
    model: Model | None = None

    @property
    def model_id(self) -> str:
        """Empty: the first that a remote server lists."""
        return self.model.id if self.model is not None else self.choice.model

    def shown_id(self, found: str = "") -> str:
        """`found`: the name that a server gave, where nobody chose one."""
        where = urlsplit(self.choice.url).netloc
        return self.model_id or found or f"the first model at {where}"

    @property
    def name(self) -> str:
        """For people."""
        return (
            self.model.name if self.model is not None else self.choice.model or "The remote model"
        )


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
    """At the beginning."""
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
    """The error that names what is loaded (`model`, None: not known), what is needed (one of `wanted`), examples of `known`,
    and how to switch.
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
