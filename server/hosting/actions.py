"""The actions of `lifecycle`. Those of `Job` take time and end with an event. Data without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from server.engines.base import EngineState
from server.hosting.status import Order, Run


@dataclass(frozen=True, slots=True)
class Begin:
    """Show that it is being loaded; without `beside` no model answers meanwhile."""

    order: Order
    beside: bool


@dataclass(frozen=True, slots=True)
class Load:
    run: Run
    # Loaded again after a crash
    again: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """Plan it on another port: Moved, else NotLoaded with `why`."""

    run: Run
    why: str


@dataclass(frozen=True, slots=True)
class Use:
    """Let it answer from now on."""

    run: Run


@dataclass(frozen=True, slots=True)
class Watch:
    run: Run


@dataclass(frozen=True, slots=True)
class Retire:
    """Let it finish its answers, then unload it; nothing waits for that."""

    run: Run


@dataclass(frozen=True, slots=True)
class Part:
    """Let nobody be answered by it from now on; answers under way end with `cut`."""

    state: EngineState
    detail: str
    cut: str


@dataclass(frozen=True, slots=True)
class ShowCrash:
    run: Run
    error: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Unload what is left of it, show `why` and the phase, and wait."""

    run: Run
    why: str
    seconds: float
    phase: str


@dataclass(frozen=True, slots=True)
class Empty:
    """Unload these. `shown`: the status shows that they stop; `silent`: it shows another model."""

    runs: tuple[Run, ...]
    shown: bool = True
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Prefer:
    """Let the model go before every other engine, or none."""

    yes: bool


@dataclass(frozen=True, slots=True)
class ShowFailed:
    run: Run
    why: str


@dataclass(frozen=True, slots=True)
class ShowIdle:
    pass


Job = Load | Move | Watch | Restart | Empty
Action = Begin | Use | Retire | Part | ShowCrash | Prefer | ShowFailed | ShowIdle | Job
