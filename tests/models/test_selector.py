"""Choosing an engine: up when a better one is ready, back when it has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.core.errors import EngineUnavailable
from server.core.frames import Role
from server.models.base import (
    Capabilities,
    Chunk,
    Engine,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
)
from server.models.selector import EngineProber, EngineSelector, MissingEngine
from tests.support.fakes import FakeEngine, make_request, until
from tests.support.timing import at_once

FAST, CALM = 0.02, 0.05


class Probed:
    """An engine whose state is set by the test and seen by the next probe."""

    def __init__(
        self, name: str, state: EngineState = EngineState.READY, *, images: bool = True
    ) -> None:
        self.name = name
        self.state = state
        self.capabilities = Capabilities(images=images)
        self.probes = 0
        self.closed = 0
        self.raises = False
        self.slow = 0.0
        self.status = EngineStatus(EngineState.UNREACHABLE)

    async def probe(self) -> EngineStatus:
        self.probes += 1
        await asyncio.sleep(self.slow)
        if self.raises:
            raise RuntimeError("a mistake")
        self.status = EngineStatus(self.state, "why", self.name, self.capabilities)
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        yield Finished("stop")

    async def close(self) -> None:
        self.closed += 1


@asynccontextmanager
async def running(
    *engines: Engine,
    interval: float = CALM,
    seeking: float = FAST,
    roles: dict[Role, str] | None = None,
    reserve: Engine | None = None,
) -> AsyncIterator[EngineSelector]:
    """The last of `engines` is worse than any; `reserve` has a role."""
    first, *rest = engines
    prober = EngineProber(interval=interval, seeking=seeking)
    selector = EngineSelector(first, roles=roles, prober=prober)
    for one in rest:
        selector.add(one, last=one is rest[-1])
    if reserve is not None:
        selector.add(reserve, reserve=True)
    await selector.start()
    try:
        yield selector
    finally:
        await selector.close()


async def test_the_best_ready_engine_answers_from_the_start() -> None:
    """After start() the first round of looks has been made."""
    vllm, builtin = Probed("vllm"), Probed("builtin")
    async with running(vllm, builtin) as selector:
        assert selector.current is vllm


async def test_it_moves_up_when_a_better_engine_appears_and_says_so() -> None:
    """Listeners hear of the change once."""
    vllm, builtin = Probed("vllm", EngineState.UNREACHABLE), Probed("builtin")
    async with running(vllm, builtin) as selector:
        assert selector.current is builtin
        heard: list[str] = []
        selector.on_change.append(lambda engine: heard.append(engine.name))
        vllm.state = EngineState.READY
        await until(lambda: selector.current is vllm)
        await asyncio.sleep(CALM * 3)
        assert heard == ["vllm"]
        selector.on_change.clear()
        vllm.state = EngineState.UNREACHABLE
        await until(lambda: selector.current is builtin)
        assert heard == ["vllm"]


async def test_one_failed_look_is_not_enough_to_leave() -> None:
    """An engine is left at the second failed look in a row."""
    vllm, builtin = Probed("vllm"), Probed("builtin")
    async with running(vllm, builtin, interval=0.3, seeking=0.3) as selector:
        left: list[int] = []

        def note(engine: Engine) -> None:
            if engine.name == "builtin":
                left.append(vllm.probes)

        selector.on_change.append(note)
        vllm.state = EngineState.UNREACHABLE
        before = vllm.probes
        await until(lambda: bool(left))
        assert left[0] == before + 2
        assert selector.current is builtin


async def test_a_slow_probe_of_one_engine_delays_no_failover_of_another() -> None:
    """With the report, one failed probe is enough, while the probe of a third engine takes a minute."""
    vllm, slow, builtin = Probed("vllm"), Probed("slow"), Probed("builtin")
    async with running(vllm, builtin, slow, interval=60, seeking=60) as selector:
        slow.slow = 60
        selector.reprobe()
        await until(lambda: slow.probes == 2)
        vllm.state = EngineState.UNREACHABLE
        selector.report_failure(vllm)
        async with at_once():
            await selector.wait_probed(vllm)
        assert selector.current is builtin


async def test_a_failure_that_is_reported_during_a_probe_counts_once() -> None:
    """The probe ends with what the question has shown, and the next one decides."""
    vllm, builtin = Probed("vllm"), Probed("builtin")
    async with running(vllm, builtin, interval=60, seeking=60) as selector:
        chosen: list[Engine] = []
        selector.on_change.append(chosen.append)
        vllm.slow, before = 0.1, vllm.probes
        selector.reprobe()
        await until(lambda: vllm.probes > before)
        selector.report_failure(vllm)
        vllm.state = EngineState.UNREACHABLE
        await until(lambda: not vllm.status.ready)
        vllm.state = EngineState.READY
        await selector.wait_probed(vllm)
        assert vllm.status.ready
        assert set(chosen) == {vllm}


async def test_many_reports_do_not_become_many_probes() -> None:
    """A burst of failures is one look or two, not one each; they have a least time between them."""
    vllm = Probed("vllm")
    async with running(vllm, interval=60, seeking=60) as selector:
        before, began = vllm.probes, time.monotonic()
        for _ in range(50):
            selector.report_failure(vllm)
            await asyncio.sleep(0.002)
        await selector.wait_probed(vllm)
        assert vllm.probes - before <= 2 + (time.monotonic() - began) / 0.2


async def test_a_fixed_engine_is_never_replaced() -> None:
    """Alone it stays, and the change of its state is reported."""
    vllm = Probed("vllm")
    async with running(vllm) as selector:
        states: list[EngineState] = []
        selector.on_change.append(lambda engine: states.append(engine.status.state))
        vllm.state = EngineState.UNREACHABLE
        await until(lambda: bool(states))
        await asyncio.sleep(FAST * 5)
        assert selector.current is vllm
        assert states == [EngineState.UNREACHABLE]


@pytest.mark.parametrize(
    ("state", "images"),
    [(EngineState.LOADING, True), (EngineState.MISCONFIGURED, True), (EngineState.READY, False)],
)
async def test_an_engine_that_cannot_answer_is_not_chosen(state: EngineState, images: bool) -> None:
    """Loading, wrongly configured or, however ready, without pictures."""
    unable = Probed("vllm", state, images=images)
    async with running(unable, Probed("builtin")) as selector:
        assert selector.current.name == "builtin"


async def test_with_none_ready_the_best_one_stays_and_says_why() -> None:
    """Its status is what people are shown."""
    vllm, other = Probed("vllm", EngineState.UNREACHABLE), Probed("local", EngineState.LOADING)
    async with running(vllm, other) as selector:
        assert selector.current is vllm
        assert selector.current.status.detail == "why"


async def test_it_looks_often_only_while_something_better_is_missing() -> None:
    """Seeking is quick, calm is slow."""
    vllm, builtin = Probed("vllm", EngineState.UNREACHABLE), Probed("builtin")
    async with running(vllm, builtin, interval=60, seeking=FAST) as selector:
        await until(lambda: vllm.probes > 4)
        vllm.state = EngineState.READY
        await until(lambda: selector.current is vllm)
        await asyncio.sleep(FAST * 2)
        before = vllm.probes
        await asyncio.sleep(FAST * 8)
        assert vllm.probes == before


async def test_a_probe_that_raises_or_hangs_does_not_stop_the_others() -> None:
    """The looking goes on, start() returns in time, and the engine that is ready answers."""
    bad, builtin = Probed("vllm"), Probed("builtin")
    bad.raises = True
    async with running(bad, builtin) as selector:
        assert selector.current is builtin
        bad.raises = False
        await until(lambda: selector.current is bad)
    slow = Probed("vllm")
    slow.slow = 60
    selector = EngineSelector(slow, prober=EngineProber(first_probe=0.05))
    selector.add(builtin)
    async with at_once():
        await selector.start()
    assert selector.current is builtin
    await selector.close()


async def test_a_listener_that_fails_does_not_keep_others_from_hearing() -> None:
    """Each listener stands alone."""
    vllm, builtin = Probed("vllm", EngineState.UNREACHABLE), Probed("builtin")
    async with running(vllm, builtin) as selector:
        heard: list[str] = []

        def bad(engine: Engine) -> None:
            raise RuntimeError(engine.name)

        selector.on_change.append(bad)
        selector.on_change.append(lambda engine: heard.append(engine.name))
        vllm.state = EngineState.READY
        await until(lambda: heard == ["vllm"])


async def test_close_closes_every_engine_and_ends_the_probing() -> None:
    engines = [Probed("vllm"), Probed("builtin")]
    async with running(*engines):
        pass
    probes = [engine.probes for engine in engines]
    await asyncio.sleep(CALM * 2)
    assert [engine.closed for engine in engines] == [1, 1]
    assert probes == [engine.probes for engine in engines]


async def test_a_preferred_engine_goes_first_while_it_is_able() -> None:
    """An operator's choice answers before a better one; unable or given up, the usual order holds."""
    vllm, local = Probed("vllm"), Probed("local")
    builtin = Probed("builtin")
    async with running(vllm, local, builtin) as selector:
        selector.prefer(local)
        assert selector.current is local
        local.state = EngineState.UNREACHABLE
        selector.report_failure(local)
        await selector.wait_probed(local)
        assert selector.current is vllm
        local.state = EngineState.READY
        await until(lambda: selector.current is local)
        selector.prefer(None)
        assert selector.current is vllm
        assert [engine.name for engine in selector.engines] == ["vllm", "local", "builtin"]


async def test_it_can_be_told_to_look() -> None:
    """A ready engine is used at once, not at the next probe."""
    vllm, builtin = Probed("vllm", EngineState.UNREACHABLE), Probed("builtin")
    async with running(vllm, builtin, interval=60, seeking=60) as selector:
        vllm.state = EngineState.READY
        selector.reprobe()
        await until(lambda: selector.current is vllm)


def does(selector: EngineSelector) -> dict[str, str]:
    return {str(role): selector.of(role).name for role in Role}


async def test_each_role_has_its_engine_and_the_others_stand_in() -> None:
    """Gone, each is stood in for; visitors get one sentence; back again, each does its own work."""
    large, small, builtin = (Probed(name) for name in ("vllm", "watches", "builtin"))
    names = {Role.WATCHES: "watches"}
    async with running(large, builtin, roles=names, reserve=small) as selector:
        own = {"answers": "vllm", "watches": "watches", "reads": "vllm"}
        assert does(selector) == own
        assert selector.get_fallback_notice() == ""
        small.state = EngineState.UNREACHABLE
        await until(lambda: does(selector) == own | {"watches": "vllm"})
        assert "using the fallback" in selector.get_fallback_notice()
        small.state = EngineState.READY
        await until(lambda: does(selector) == own)
        large.state = EngineState.UNREACHABLE
        await until(lambda: does(selector) == dict.fromkeys(own, "watches"))
        assert "using the fallback" in selector.get_fallback_notice()
        assert [selector.uses_fallback(role) for role in Role] == [True, False, False]
        small.state = EngineState.UNREACHABLE
        await until(lambda: does(selector) == dict.fromkeys(own, "builtin"))
        large.state = small.state = EngineState.READY
        await until(lambda: does(selector) == own)
        assert selector.get_fallback_notice() == ""


async def test_an_engine_of_this_server_may_have_a_role() -> None:
    """An operator's model that watches does not answer before the better one; no name, no role."""
    vllm, local, builtin = (Probed(name) for name in ("vllm", "local", "builtin"))
    names = {Role.WATCHES: "local", Role.READS: "absent"}
    async with running(vllm, local, builtin, roles=names) as selector:
        selector.prefer(local)
        assert does(selector) == {"answers": "vllm", "watches": "local", "reads": "vllm"}
        vllm.state = EngineState.UNREACHABLE
        await until(lambda: selector.current is local)
        assert selector.uses_fallback(Role.ANSWERS)
    async with running(vllm, local, builtin, roles={Role.READS: "builtin"}) as selector:
        selector.prefer(local)
        assert does(selector) == {"answers": "local", "watches": "local", "reads": "builtin"}
        assert selector.get_fallback_notice() == ""
        # Basic mode, which the page names itself
        vllm.state = local.state = EngineState.UNREACHABLE
        await until(lambda: set(does(selector).values()) == {"builtin"})
        assert selector.get_fallback_notice() == ""


async def test_what_the_settings_fix_goes_before_the_engine_of_a_role() -> None:
    """ENGINE=builtin with a model that watches: that one answers nobody meanwhile."""
    builtin, small = Probed("builtin"), Probed("watches")
    selector = EngineSelector(MissingEngine("builtin"), roles={Role.WATCHES: "watches"})
    selector.add(builtin, last=True)
    selector.add(small, reserve=True)
    await selector.start()
    assert does(selector) == {"answers": "builtin", "watches": "watches", "reads": "builtin"}
    await selector.close()


# The engine that ENGINE names and no feature brings: the server starts, and says what is missing


async def test_it_says_what_is_missing() -> None:
    missing = MissingEngine("local")
    assert not (await missing.probe()).ready
    assert "ENGINE is local" in missing.status.detail
    assert missing.status.visitor_detail
    with pytest.raises(EngineUnavailable, match="FEATURES"):
        await anext(missing.answer(make_request()))


def test_the_engine_of_its_name_takes_its_place() -> None:
    """Others come behind it."""
    engines = EngineSelector(MissingEngine("local"))
    other, local = FakeEngine("builtin"), FakeEngine("local")
    engines.add(other)
    assert [one.name for one in engines.engines] == ["local", "builtin"]
    assert engines.current is other
    engines.add(local)
    assert engines.engines == (local, other)
    assert engines.current is local
