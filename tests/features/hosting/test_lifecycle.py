"""The state machine of the models, without anything that runs.

With real processes: test_manager.py.
"""

from __future__ import annotations

import itertools
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.lifecycle import (
    SETTLED,
    Action,
    AnyEvent,
    Begin,
    Empty,
    Ended,
    Event,
    Load,
    Loaded,
    NotLoaded,
    Order,
    Part,
    Phase,
    Prefer,
    Restart,
    Retire,
    ShowCrash,
    ShowFailed,
    ShowIdle,
    Start,
    State,
    Use,
    Watch,
    WrongEvent,
    step,
)
from server.features.hosting.runtime import Plan
from server.models.base import EngineState

T = TypeVar("T")
LOADED = "the model answers, as it was ordered"
JOBS = (Load, Watch, Restart, Empty)


def order(name: str, *, remote: bool = False, preferred: bool = True) -> Order:
    mode = RunMode.REMOTE if remote else RunMode.SUBPROCESS
    url = "http://192.0.2.7/v1" if remote else ""
    launch = Launch((name,), {}, name, port=None if remote else 8100)
    return Order(Plan(Choice(model=name, mode=mode, url=url), launch), preferred)


class Machine:
    """A state, and the actions of its last step."""

    def __init__(self, *delays: float) -> None:
        self.state = State(delays)
        self.actions: tuple[Action, ...] = ()

    def take(self, *events: AnyEvent | str) -> Machine:
        for event in events:
            if isinstance(event, str):
                run = self.state.run
                event = Loaded(run.order.plan if run is not None else order("none").plan)
            self.state, self.actions = step(self.state, event)
        return self

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def name(self) -> str:
        """The model that the phase is about."""
        return self.state.run.name if self.state.run is not None else ""

    def only(self, kind: type[T]) -> T:
        (found,) = (one for one in self.actions if isinstance(one, kind))
        return found

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.actions]


def ready(first: Order, *delays: float) -> Machine:
    return Machine(*delays).take(Start(first), LOADED)


def test_a_model_is_loaded_used_and_stopped() -> None:
    one = Machine().take(Start(order("a")))
    assert (one.phase, one.kinds()) == (Phase.LOADING, ["Begin", "Load"])
    assert not one.only(Begin).beside
    one.take(LOADED)
    assert (one.phase, one.kinds()) == (Phase.READY, ["Use", "Watch"])
    one.take(Event.STOP)
    assert (one.phase, one.kinds()) == (Phase.STOPPING, ["Part", "Empty"])
    assert one.only(Part).detail == "a has been stopped."
    one.take(Event.EMPTIED)
    assert (one.phase, one.actions) == (Phase.IDLE, (ShowIdle(),))


def test_one_here_goes_before_another_here_is_loaded() -> None:
    """They share the memory."""
    one = ready(order("a")).take(Start(order("b")))
    assert (one.phase, one.kinds()) == (Phase.STOPPING, ["Part", "Empty"])
    assert one.only(Part).state is EngineState.LOADING
    assert "a was stopped by an operator in mid-answer" in one.only(Part).cut
    one.take(Event.EMPTIED)
    assert (one.phase, one.name) == (Phase.LOADING, "b")


@pytest.mark.parametrize("remote_first", [True, False])
def test_where_one_runs_elsewhere_the_old_answers_until_the_new_does(remote_first: bool) -> None:
    """And retires then; nothing is stopped before."""
    old, new = order("a", remote=remote_first), order("b", remote=not remote_first)
    one = ready(old).take(Start(new))
    assert (one.phase, one.kinds()) == (Phase.LOADING, ["Begin", "Load"])
    assert one.only(Begin).beside
    one.take(LOADED)
    assert one.kinds() == ["Use", "Retire", "Watch"]
    assert one.only(Retire).run.name == "a"
    assert (one.state.beside, one.state.good) == (None, None)


def test_one_that_stayed_answers_on_when_the_new_one_cannot_be_loaded() -> None:
    one = ready(order("a", preferred=False)).take(Start(order("b", remote=True)))
    one.take(NotLoaded("b could not be started. No."))
    assert (one.phase, one.name) == (Phase.READY, "a")
    assert one.kinds() == ["Prefer", "Use", "Watch"]
    assert not one.only(Prefer).yes
    assert one.only(Use).run.order.note == "b could not be started. No. a answers on."


def test_one_that_had_to_go_is_loaded_again_once() -> None:
    """The error has both reasons when the old model fails as well."""
    one = ready(order("a")).take(Start(order("b")), Event.EMPTIED, NotLoaded("b: no."))
    assert (one.phase, one.name) == (Phase.LOADING, "a")
    assert one.only(Begin).order.note == "b: no. a, which worked before, is loaded again."
    one.take(NotLoaded("a: no."))
    assert one.phase is Phase.FAILED
    assert one.only(ShowFailed).why.endswith("is loaded again. a: no.")
    # It stays the one to go back to.
    one.take(Start(order("c")), NotLoaded("c: no."))
    assert (one.phase, one.name) == (Phase.LOADING, "a")


def test_what_was_stopped_is_not_gone_back_to() -> None:
    """Nor what an operator stopped a moment before the next start."""
    for events in (
        (Event.STOP, Event.EMPTIED, Start(order("b"))),
        (Event.STOP, Start(order("b")), Event.EMPTIED),
    ):
        one = ready(order("a")).take(*events, NotLoaded("b: no."))
        assert one.phase is Phase.FAILED


def test_a_model_that_never_answered_is_not_gone_back_to() -> None:
    one = ready(order("a")).take(Start(order("b")), Event.EMPTIED, Start(order("c")), Event.EMPTIED)
    one.take(NotLoaded("c: no."))
    assert (one.phase, one.name) == (Phase.LOADING, "a")


def test_the_last_wish_counts() -> None:
    one = ready(order("a")).take(Start(order("b")), Start(order("c")))
    assert one.kinds() == []
    assert one.take(Event.EMPTIED).name == "c"
    one.take(Start(order("d")), Event.STOP, Event.EMPTIED)
    assert one.phase is Phase.IDLE


def test_stopping_while_another_is_tried_stops_both() -> None:
    one = ready(order("a")).take(Start(order("b", remote=True)), Event.STOP)
    assert {run.name for run in one.only(Empty).runs} == {"a", "b"}
    # Also when the second wish comes while the first of them stops
    one = ready(order("a")).take(Start(order("b", remote=True)), Start(order("c", remote=True)))
    assert [run.name for run in one.only(Empty).runs] == ["b"]
    one.take(Event.STOP, Event.EMPTIED)
    assert (one.phase, [run.name for run in one.only(Empty).runs]) == (Phase.STOPPING, ["a"])
    assert one.take(Event.EMPTIED).phase is Phase.IDLE


def test_it_is_loaded_again_at_the_port_where_it_answered() -> None:
    elsewhere = order("a-at-another-port").plan
    one = Machine(1.0).take(Start(order("a")), Loaded(elsewhere))
    assert one.only(Use).run.order.plan == elsewhere
    one.take(Ended("ended."), Event.WAITED)
    assert one.only(Load).run.order.plan == elsewhere


def test_one_that_crashes_is_loaded_again_after_longer_and_longer_pauses() -> None:
    """As often as there are pauses; one that had run for long begins anew."""
    one = ready(order("a"), 1.0, 5.0).take(Ended("ended."))
    assert one.kinds() == ["Part", "ShowCrash", "Restart"]
    assert one.only(Restart).phase == "starting again in 1 s (1 of 2)"
    one.take(Event.WAITED, LOADED, Ended("ended."))
    assert one.only(Restart).seconds == 5.0
    one.take(Event.WAITED, LOADED, Ended("ended.", calm=True))
    assert one.only(Restart).seconds == 1.0
    # One that cannot be loaded again counts as well.
    one.take(Event.WAITED, NotLoaded("a: no."))
    assert (one.phase, one.only(Restart).seconds) == (Phase.RESTARTING, 5.0)
    one.take(Event.WAITED, LOADED, Ended("ended."))
    assert (one.phase, one.only(Part).state) == (Phase.STOPPING, EngineState.UNREACHABLE)
    assert "It is started again." not in one.only(ShowCrash).error
    one.take(Event.EMPTIED)
    assert "a ended. It was started again 2 times without success" in one.only(ShowFailed).why


def test_a_mistake_of_ours_fails_with_a_sentence_or_goes_back() -> None:
    one = Machine().take(Start(order("a")), Event.BROKE)
    assert (one.phase, one.kinds()) == (Phase.STOPPING, ["Empty"])
    one.take(Event.EMPTIED)
    assert one.only(ShowFailed).why.startswith("Something went wrong inside this program")
    one = ready(order("a"))
    one.take(Event.BROKE)
    assert one.kinds() == ["Part", "Empty"]
    assert one.take(Event.EMPTIED).phase is Phase.FAILED
    one = ready(order("a")).take(Start(order("b", remote=True)), Event.BROKE, Event.EMPTIED)
    assert (one.phase, one.name) == (Phase.READY, "a")


def test_closing_stops_all_and_nothing_comes_after() -> None:
    one = ready(order("a")).take(Event.CLOSE)
    assert one.only(Part).detail == "The server is about to stop."
    assert one.take(Event.EMPTIED).phase is Phase.CLOSED
    assert Machine().take(Event.CLOSE).phase is Phase.CLOSED
    for event in (Start(order("b")), Event.STOP, LOADED):
        with pytest.raises(WrongEvent, match="in closed"):
            one.take(event)


@pytest.mark.parametrize(
    ("machine", "event"),
    [
        (Machine(), LOADED),
        (Machine().take(Start(order("a"))), Ended("ended.")),
        (ready(order("a")), NotLoaded("no.")),
        (ready(order("a")).take(Event.STOP), LOADED),
    ],
)
def test_what_the_drawing_does_not_have_is_refused(machine: Machine, event: AnyEvent | str) -> None:
    """An event of a job that has been replaced is a mistake of the runner's."""
    before = machine.state
    with pytest.raises(WrongEvent):
        machine.take(event)
    assert machine.state == before


def ends(job: object) -> list[AnyEvent]:
    """The events with which a job may end."""
    match job:
        case Load():
            return [Loaded(job.run.order.plan), NotLoaded("no."), Event.BROKE]
        case Watch():
            return [Ended("ended."), Ended("ended.", calm=True), Event.BROKE]
        case Restart():
            return [Event.WAITED, Event.BROKE]
    return [Event.EMPTIED]


@given(st.lists(st.integers(0, 11), max_size=40))
def test_whatever_happens_it_comes_to_rest(choices: list[int]) -> None:
    """Any order of wishes and ends: each has its step, no model is forgotten."""
    one, names = Machine(1.0), itertools.count()
    job: object = None
    there: set[int] = set()
    for choice in [*choices, *[-1] * 8]:
        asked: list[AnyEvent] = [
            Start(order(f"m{next(names)}", remote=choice % 2 == 0)),
            Start(order(f"m{next(names)}")),
            Event.STOP,
        ]
        possible = [*asked, *(ends(job) if job is not None else [])]
        if choice >= 0:
            event = possible[choice % len(possible)]
        elif one.state.closing:
            event = Event.EMPTIED
        else:
            event = Event.CLOSE
        if one.phase is Phase.CLOSED:
            break
        if isinstance(job, Load):
            there.add(job.run.id)
        if isinstance(event, NotLoaded) and isinstance(job, Load) and one.state.run is not None:
            there.discard(one.state.run.id)
        if event is Event.EMPTIED and isinstance(job, Empty):
            there -= {run.id for run in job.runs}
        one.take(event)
        for action in one.actions:
            if isinstance(action, Retire):
                there.discard(action.run.id)
        jobs = [action for action in one.actions if isinstance(action, JOBS)]
        assert len(jobs) <= 1
        if jobs:
            assert one.actions[-1] is jobs[0]
            job = jobs[0]
        elif one.phase in (Phase.IDLE, Phase.FAILED, Phase.CLOSED):
            job = None
        assert (one.phase in SETTLED) == (job is None or isinstance(job, Watch))
        if one.phase is Phase.IDLE:
            assert not there
    assert one.phase is Phase.CLOSED
    assert not there
