"""The life of the model that an operator chose, as a state machine. Pure: `step` takes an event and returns actions.

                     Start                 Loaded              Ended
            IDLE ───────────▶ LOADING ──────────────▶ READY ──────────▶ RESTARTING
              ▲                  ▲                      │                    │
              │                  └──────────────────────┼────── Waited ──────┘
              │                                         │ Start, Stop, Close,
              │                                         │ or ended too often
              │                                         ▼
              └──────────────── Emptied ─────────── STOPPING ── Emptied ──▶ LOADING, FAILED or CLOSED

Start, Stop and Close come at any time: what runs or is being loaded is stopped first. Two rules soften a switch:

- Where the model that answers or the one that is wanted runs elsewhere, nothing has to be stopped: the one that answers
  stays `beside` the one that is being loaded, and retires when that is ready.
- A model that cannot be loaded gives way to the last one that worked (`good`): that one goes on answering if it stayed
  beside, and else is loaded again, once. Where there is none, the machine is FAILED.

A model that ends by itself is loaded again after a pause, as often as there are pauses. The runner (`manager`) carries
out the actions; at most one of them is a job, which replaces the job before it and ends with an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.runtime import Plan
from server.models.base import EngineState

OUR_FAULT = "Something went wrong inside this program; its log says where. Start the model again, or choose another."
_CLOSING = "The server is about to stop."


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
    # Restarts since it last ran for long
    crashes: int = 0

    @property
    def name(self) -> str:
        return self.order.plan.name

    @property
    def remote(self) -> bool:
        return self.order.plan.choice.mode is RunMode.REMOTE


# Events: what an operator asks for, and what happens to a model


class Event(Enum):
    """Those that tell nothing more."""

    STOP = auto()
    CLOSE = auto()
    # The pause before it is loaded again is over.
    WAITED = auto()
    # Nothing is left of the models that had to go.
    EMPTIED = auto()
    # The runner's job raised something unforeseen.
    BROKE = auto()


class Start(NamedTuple):
    order: Order


class Loaded(NamedTuple):
    """The model answers. `plan`: the one that it runs by, perhaps on another port than the ordered one."""

    plan: Plan


class NotLoaded(NamedTuple):
    """The model could not be loaded, and nothing of it is left."""

    why: str


class Ended(NamedTuple):
    """A model that answered has ended or hangs. `calm`: it had run for long."""

    how: str
    calm: bool = False


AnyEvent = Event | Start | Loaded | NotLoaded | Ended


# Actions. Those of `Job` take time and end with an event.


class Begin(NamedTuple):
    """Show that it is being loaded; without `beside` no model answers meanwhile."""

    order: Order
    beside: bool


class Load(NamedTuple):
    run: Run
    # Loaded again after a crash
    again: bool = False


class Use(NamedTuple):
    """Let it answer from now on."""

    run: Run


class Watch(NamedTuple):
    run: Run


class Retire(NamedTuple):
    """Let it finish its answers, then unload it; nothing waits for that."""

    run: Run


class Part(NamedTuple):
    """Let nobody be answered by it from now on; answers under way end with `cut`."""

    state: EngineState
    detail: str
    cut: str


class ShowCrash(NamedTuple):
    run: Run
    error: str


class Restart(NamedTuple):
    """Unload what is left of it, show `why` and the phase, and wait."""

    run: Run
    why: str
    seconds: float
    phase: str


class Empty(NamedTuple):
    """Unload these. `shown`: the status shows that they stop; `silent`: it shows another model."""

    runs: tuple[Run, ...]
    shown: bool = True
    silent: bool = False


class Prefer(NamedTuple):
    """Let the model go before every other engine, or none."""

    yes: bool


class ShowFailed(NamedTuple):
    run: Run
    why: str


@dataclass(frozen=True, slots=True)
class ShowIdle:
    pass


Job = Load | Watch | Restart | Empty
Action = Begin | Use | Retire | Part | ShowCrash | Prefer | ShowFailed | ShowIdle | Job


# The machine


class Phase(StrEnum):
    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"
    CLOSED = "closed"


# Nothing is under way.
SETTLED = frozenset({Phase.IDLE, Phase.READY, Phase.FAILED, Phase.CLOSED})


@dataclass(frozen=True, slots=True)
class State:
    # Seconds before each time that a model is loaded again
    delays: tuple[float, ...]
    phase: Phase = Phase.IDLE
    # The model that the phase is about; None while idle
    run: Run | None = None
    # Answers until `run` does
    beside: Run | None = None
    # While stopping: what is loaded afterwards, or the reason of the failure
    wanted: Order | None = None
    failing: str = ""
    # The last that worked, to go back to
    good: Order | None = None
    closing: bool = False
    runs: int = 0


Step = tuple[State, tuple[Action, ...]]


class WrongEvent(RuntimeError):
    """An event that the drawing does not have then. A bug: outside the tree of errors."""


# Phases in which the runner's job may have broken. While models are unloaded, that goes on.
BREAKABLE = frozenset({Phase.LOADING, Phase.READY, Phase.RESTARTING})
# When an event may come. Start, Stop and Close come at any time.
_COMES: Mapping[Event | type, Set[Phase]] = {
    Loaded: {Phase.LOADING},
    NotLoaded: {Phase.LOADING},
    Ended: {Phase.READY},
    Event.WAITED: {Phase.RESTARTING},
    Event.BROKE: BREAKABLE,
    Event.EMPTIED: {Phase.STOPPING},
}


def step(state: State, event: AnyEvent) -> Step:
    """Take an event. Raises WrongEvent for one that cannot come now."""
    kind = event if isinstance(event, Event) else type(event)
    if state.phase is Phase.CLOSED or state.phase not in _COMES.get(kind, Phase):
        raise WrongEvent(f"{event} in {state.phase}")
    match event:
        case Start(order):
            # Do not go back to a model that an operator stopped.
            stopped = state.phase is Phase.STOPPING and not state.failing
            good = state.good if stopped else _worked(state)
            return _switch(replace(state, wanted=order, failing="", good=good))
        case Event.STOP:
            return _switch(replace(state, wanted=None, failing="", good=None))
        case Event.CLOSE:
            return _switch(replace(state, wanted=None, failing="", good=None, closing=True))
        case Event.EMPTIED:
            return _emptied(state)
    run = state.run
    assert run is not None
    match event:
        case Loaded(plan):
            return _ready(state, replace(run, order=replace(run.order, plan=plan)))
        case NotLoaded(why):
            return _give_up(state, run, why) if run.crashes == 0 else _again(state, run, why)
        case Ended(how, calm):
            return _ended(state, run, how, calm)
        case Event.WAITED:
            return replace(state, phase=Phase.LOADING), (Load(run, again=True),)
        case _:
            part: tuple[Action, ...] = ()
            if state.phase is Phase.READY:
                part = (Part(EngineState.UNREACHABLE, OUR_FAULT, OUR_FAULT),)
            stopping = replace(state, phase=Phase.STOPPING, failing=OUR_FAULT)
            return stopping, (*part, Empty((run,), silent=state.beside is not None))


def joined(*texts: str) -> str:
    """Join sentences; one may end with a command."""
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts if text)


# Switching


def _switch(state: State) -> Step:
    """Stop what has to go before `wanted`, which may be nothing."""
    run, idle = state.run, state.phase in (Phase.IDLE, Phase.FAILED)
    if run is None or idle or state.phase is Phase.STOPPING:
        # While something stops, the rest is decided when that is gone.
        return (state, ()) if state.phase is Phase.STOPPING else _next(replace(state, run=None))
    answering = run if state.phase is Phase.READY else state.beside
    state = replace(state, phase=Phase.STOPPING)
    if answering is not None and _stays(answering, state):
        state = replace(state, beside=answering, run=None if answering is run else run)
        return _next(state) if answering is run else (state, (Empty((run,), silent=True),))
    gone = (run,) if state.beside is None else (run, state.beside)
    return replace(state, beside=None), (_part(state, answering or run), Empty(gone))


def _worked(state: State) -> Order | None:
    """Find the order to go back to once another model is wanted."""
    run = state.run
    if run is None or not (run.was_ready or run.back):
        return state.good
    return replace(run.order, note="")


def _stays(answering: Run, state: State) -> bool:
    """Find whether it may answer while the wanted model is loaded: the two share no memory."""
    wanted = state.wanted
    return wanted is not None and (answering.remote or wanted.plan.choice.mode is RunMode.REMOTE)


def _part(state: State, run: Run) -> Part:
    if state.closing:
        return Part(EngineState.UNREACHABLE, _CLOSING, f"{_CLOSING} Ask again in a moment.")
    cut = f"{run.name} was stopped by an operator in mid-answer. Ask again."
    if state.wanted is None:
        return Part(EngineState.UNREACHABLE, f"{run.name} has been stopped.", cut)
    return Part(EngineState.LOADING, f"{state.wanted.plan.name} is being loaded.", cut)


def _emptied(state: State) -> Step:
    run = state.run
    if state.failing and run is not None:
        return _give_up(replace(state, failing=""), run, state.failing)
    return _next(replace(state, run=None))


def _next(state: State) -> Step:
    """Begin with the wanted model; nothing of `run` is left."""
    beside, wanted = state.beside, state.wanted
    if beside is not None and not _stays(beside, state):
        # Something else was wanted while the other one stopped.
        stopping = replace(state, phase=Phase.STOPPING, beside=None, run=beside)
        return stopping, (_part(state, beside), Empty((beside,)))
    if wanted is None:
        phase = Phase.CLOSED if state.closing else Phase.IDLE
        return replace(state, phase=phase), (ShowIdle(),)
    return _load(state, wanted)


def _load(state: State, order: Order, *, back: bool = False) -> Step:
    run = Run(state.runs + 1, order, back)
    loading = replace(state, phase=Phase.LOADING, run=run, wanted=None, runs=run.id)
    return loading, (Begin(order, state.beside is not None), Load(run))


# Loading


def _ready(state: State, run: Run) -> Step:
    up = replace(run, was_ready=True)
    actions: list[Action] = [Use(up)]
    if state.beside is not None:
        actions.append(Retire(state.beside))
    ready = replace(state, phase=Phase.READY, run=up, beside=None, good=None)
    return ready, (*actions, Watch(up))


def _give_up(state: State, run: Run, why: str) -> Step:
    """Go back to the model that worked before, where there is one that `run` was to replace.

    Nothing of `run` is left.
    """
    good, beside = state.good, state.beside
    if good is None or run.was_ready:
        return replace(state, phase=Phase.FAILED), (ShowFailed(run, joined(run.order.note, why)),)
    name = good.plan.name
    if beside is not None:
        # It was never stopped.
        up = replace(
            beside, order=replace(good, note=joined(why, f"{name} answers on.")), back=True
        )
        ready = replace(state, phase=Phase.READY, run=up, beside=None, good=None)
        return ready, (Prefer(good.preferred), Use(up), Watch(up))
    note = joined(why, f"{name}, which worked before, is loaded again.")
    state, actions = _load(replace(state, good=None), replace(good, note=note), back=True)
    return state, (Prefer(good.preferred), *actions)


# After a crash


def _ended(state: State, run: Run, how: str, calm: bool) -> Step:
    run = replace(run, crashes=0 if calm else run.crashes, order=replace(run.order, note=""))
    again = " It is started again." if run.crashes < len(state.delays) else ""
    part = Part(
        EngineState.LOADING if again else EngineState.UNREACHABLE,
        f"{run.name} ended unexpectedly.{again}",
        f"{run.name} ended unexpectedly in mid-answer.{again} Ask again in a moment.",
    )
    state, actions = _again(state, run, f"{run.name} {how}")
    return state, (part, ShowCrash(run, f"{run.name} {how}{again}"), *actions)


def _again(state: State, run: Run, why: str) -> Step:
    """Load it again after a pause, as often as there are pauses."""
    done, delays = run.crashes, state.delays
    if done >= len(delays):
        failing = f"{why} It was started again {done} times without success: start it yourself, or choose another model."
        stopping = replace(state, phase=Phase.STOPPING, run=run, failing=failing)
        return stopping, (Empty((run,), shown=False),)
    phase = f"starting again in {delays[done]:g} s ({done + 1} of {len(delays)})"
    restarting = replace(state, phase=Phase.RESTARTING, run=replace(run, crashes=done + 1))
    return restarting, (Restart(run, why, delays[done], phase),)
