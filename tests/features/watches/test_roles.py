"""Watches with a model of their own: who is asked, who confirms, and where no picture goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from server.core.errors import EngineUnavailable
from server.core.frames import BoxUnit, JobKind, Role
from server.features.watches.watching import Watching
from server.models.base import Capabilities, Engine
from server.shared.watch_answers import parse_conditions
from tests.features.rooms import room, settings
from tests.features.watches.test_detecting import COMES, Eye
from tests.features.watches.test_watching import ABLE, THING, Guard, reply
from tests.support.fakes import FakeEngine, engine_error, until

FAR = "large.example"


class Pair(Guard):
    """A session with watches; `engine`, the small one, watches, and `large` answers."""

    large: FakeEngine

    def move(self) -> None:
        """The one that answers is on another machine, which nobody has agreed to."""
        self.large = FakeEngine("vllm", capabilities=ABLE, elsewhere=FAR)
        self.one.engines.current = self.large

    def watch_both(self) -> None:
        """For what each of the two can watch for."""
        self.watch("red", "red")
        self.watch("kettle", "the kettle boils")


@asynccontextmanager
async def pair(
    *,
    confirm: bool = False,
    large: FakeEngine | None = None,
    small: FakeEngine | None = None,
    eye: Eye | None = None,
) -> AsyncIterator[Pair]:
    large = large or FakeEngine("vllm", capabilities=ABLE, model="large")
    small = small or FakeEngine("watches", capabilities=ABLE, model="small")
    part = partial(Watching, confirm=confirm, detector=eye)
    async with room(large, watches=part) as one:
        one.engines.roles[Role.WATCHES] = small
        guard = Pair(one)
        guard.engine, guard.large = small, large
        yield guard


async def test_the_small_one_watches_and_describes_alone() -> None:
    """Both looks are its own; the alert names it."""
    async with pair() as guard:
        guard.watch()
        guard.one.session.handle(settings(describe=True))
        await guard.calm()
        await guard.alarm()
        assert {request.kind for request in guard.engine.requests} == {
            JobKind.WATCH,
            JobKind.DESCRIBE,
        }
        assert guard.large.requests == []
        (alert,) = guard.alerts()
        assert alert["model"] == "small"
        assert guard.counted("watch_confirmations", "yes") == 0


@pytest.mark.parametrize("seen", [True, False])
async def test_the_large_one_confirms_before_it_rings(seen: bool) -> None:
    """It makes the second look and nothing else, and its word counts."""
    async with pair(confirm=True) as guard:
        guard.watch()
        await guard.calm()
        guard.large.chunks = reply(seen, where=THING, why="Confirmed.")
        await guard.alarm()
        assert len(guard.large.requests) == 1
        assert guard.large.requests[0].kind is JobKind.WATCH
        told = [(alert["reason"], alert["model"]) for alert in guard.alerts()]
        assert told == ([("Confirmed.", "large")] if seen else [])
        assert guard.counted("watch_confirmations", "yes" if seen else "no") == 1


async def test_what_the_detector_saw_is_confirmed_by_the_large_one() -> None:
    """One noun: the small one is asked nothing about a thing that the detector knows."""
    async with pair(confirm=True, eye=Eye()) as guard:
        guard.watch(condition=COMES)
        await guard.show(times=4)
        guard.large.chunks = reply(True, where=[250.0, 250.0, 750.0, 750.0])
        await guard.show(mark=True, times=4)
        assert (guard.asked, len(guard.large.requests)) == (0, 1)
        assert [alert["model"] for alert in guard.alerts()] == ["large"]


async def test_the_small_one_confirms_where_the_large_one_cannot() -> None:
    """It is gone, or the person has not agreed to its machine: the watch goes on by itself."""
    for large in (
        FakeEngine("vllm", capabilities=ABLE, ready=False),
        FakeEngine("builtin", capabilities=Capabilities(cannot_watch=lambda _: "")),
        None,
    ):
        async with pair(confirm=True, large=large) as guard:
            if large is None:
                guard.move()
            guard.watch()
            await guard.calm()
            await guard.alarm()
            assert guard.large.requests == []
            assert [alert["model"] for alert in guard.alerts()] == ["small"]


async def test_a_watch_sends_nothing_to_a_machine_without_consent() -> None:
    """The list says why; agreed, it goes on; questions were answered all along."""
    async with pair() as guard:
        guard.engine.elsewhere = "small.example"
        guard.watch()
        await guard.show(times=4)
        assert guard.asked == 0
        (listed,) = guard.listed()
        assert (listed["state"], "would go to another machine" in listed["reason"]) == (
            "cannot",
            True,
        )
        guard.one.session.greet()
        ready = await guard.one.next("ready")
        assert (ready["elsewhere"], ready["confirmed"]) == ("small.example", False)
        guard.say(type="chat", content="What is it?", id="q")
        guard.one.frame()
        await until(lambda: len(guard.large.requests) == 1)
        guard.say(type="confirm", host="small.example")
        await guard.calm()
        assert guard.asked
        assert len(guard.large.requests) == 1


async def test_another_engine_that_takes_the_watches_over_needs_consent_too() -> None:
    """The small one fails in the middle: nothing goes to the machine of the one that stands in."""
    async with pair() as guard:
        guard.move()
        guard.engine.fail_at, guard.engine.fail_with = 0, engine_error(EngineUnavailable)

        async def wait_probed(engine: Engine) -> None:
            guard.one.engines.roles.pop(Role.WATCHES, None)

        guard.one.engines.wait_probed = wait_probed  # type: ignore[method-assign]
        guard.watch()
        await guard.show(times=4)
        assert guard.asked
        assert guard.large.requests == []
        assert guard.listed()[0]["state"] == "cannot"


async def test_a_slow_answer_delays_no_watch() -> None:
    """An alert while the question of the same session is on its way."""
    async with pair() as guard:
        guard.watch()
        await guard.calm()
        guard.large.hold()
        guard.say(type="chat", content="What is it?", id="q")
        guard.one.frame()
        await until(lambda: guard.large.open == 1)
        guard.engine.chunks = reply(True, where=THING)
        guard.stage.show(1, mark=True)
        await until(lambda: guard.asked >= 4)
        guard.stage.show(1, mark=True)
        found = await guard.one.until(lambda message: message["type"] == "alert")
        assert found["model"] == "small"
        assert guard.large.open == 1
        guard.large.release()
        await guard.quiet()


# The engine that watches knows one colour, as the built-in one knows little.
ONLY_RED = Capabilities(
    boxes=BoxUnit.THOUSANDTHS, cannot_watch=lambda text: "" if text == "red" else "Only colours."
)


def conditions(engine: FakeEngine) -> list[set[str]]:
    """The conditions of each of an engine's requests."""
    return [set(parse_conditions(one.question).values()) for one in engine.requests]


def red_alone(**more: Any) -> FakeEngine:
    return FakeEngine("builtin", capabilities=ONLY_RED, model="small", **more)


async def test_what_the_one_that_watches_cannot_watch_goes_to_the_one_that_answers() -> None:
    """Each is asked about its own alone, in both looks; the list and the alert name who is asked."""
    async with pair(small=red_alone()) as guard:
        guard.watch_both()
        guard.large.chunks = reply(False)
        await guard.calm()
        assert [one.get("model") for one in guard.listed()] == [None, "large"]
        assert {one["state"] for one in guard.listed()} == {"looking"}
        guard.large.chunks = reply(True, where=THING)
        await guard.show(mark=True)
        assert [one["watch"] for one in guard.alerts()] == ["kettle"]
        await guard.alarm()
        assert sorted((one["watch"], one["model"]) for one in guard.alerts()) == [
            ("kettle", "large"),
            ("red", "small"),
        ]
        assert all(asked == {"red"} for asked in conditions(guard.engine))
        assert all(asked == {"the kettle boils"} for asked in conditions(guard.large))


async def test_the_quick_one_alerts_while_the_slow_one_thinks() -> None:
    """Its second look goes before the request to the other one."""
    async with pair(small=red_alone()) as guard:
        guard.watch_both()
        guard.large.chunks = reply(False)
        await guard.calm()
        guard.large.hold()
        guard.engine.chunks = reply(True, where=THING)
        guard.stage.show(1, mark=True)
        found = await guard.one.until(lambda message: message["type"] == "alert")
        assert (found["watch"], found["model"]) == ("red", "small")
        guard.large.release()
        await guard.quiet()


async def test_nothing_that_it_cannot_watch_goes_to_a_machine_without_consent() -> None:
    """The list says why; without a model that answers it is refused as before."""
    async with pair(small=red_alone()) as guard:
        guard.move()
        guard.watch_both()
        await guard.show(times=4)
        assert guard.large.requests == []
        assert [one["state"] for one in guard.listed()] == ["looking", "cannot"]
        assert "Agree on the page" in guard.listed()[1]["reason"]
        guard.large.ready = False
        guard.one.session.engine_changed()
        guard.watch("dog", "a dog")
        await guard.quiet()
        assert guard.errors()[-1] == ("dog", "bad_request")
        assert guard.listed()[1]["reason"] == "Only colours."
