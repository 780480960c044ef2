"""Faults of a model server, as a visitor sees them: an error each, the socket stays, the next works."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.models.openai import engine as engine_module
from server.models.openai.chat_client import TimeLimits
from server.models.openai.engine import OpenAIEngine
from server.shared.attention import attention as pace
from tests.support.clients import Visitor, http, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Words of the fake's own errors, which only the operator may read.
RAW = re.compile("raw|fake|traceback", re.IGNORECASE)
_LIMIT = {
    Behaviour.SILENT: "within 0.6 s",
    Behaviour.KEEP_ALIVE_ONLY: "within 0.6 s",
    Behaviour.STALLS: "for 0.4 s",
}
QUICK = TimeLimits(connect=0.5, first_token=0.6, between_tokens=0.4, total=3.0, probe=0.5, tail=0.2)
# For trouble that no limit ends, on a busy machine, too
PATIENT = TimeLimits(connect=10, first_token=10, between_tokens=10, total=30, probe=10)


def impatient(run: Running, limits: TimeLimits = QUICK) -> None:
    """Shorten the time limits of the server's vLLM engine."""
    engine = run.program.engines.engines[0]
    assert isinstance(engine, OpenAIEngine)
    engine.limits = limits


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between repeats, and between descriptions that fail."""
    monkeypatch.setattr(engine_module, "_PAUSES", (0.01, 0.02))
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder() -> AsyncIterator[LiveEncoder]:
    encoder = LiveEncoder(Scene(320, 240), rate=15)
    yield encoder
    await encoder.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(encoder: LiveEncoder, fake: FakeOpenAI) -> AsyncIterator[Visitor]:
    """A visitor of a server that knows the fake model server and no other engine."""
    async with running(
        engine="vllm", vllm_base_url=fake.base_url, rate_limit_per_minute=0, drain_seconds=1
    ) as run:
        impatient(run)
        async with visitor(run, encoder) as one:
            yield one


async def healthy_again(guest: Visitor, fake: FakeOpenAI) -> None:
    """The model server recovers: the next question is answered, no trouble stays in the chat."""
    fake.behaviour = Behaviour.NORMAL
    fake.first_token = fake.between_tokens = 0.0
    fake.refused_fields = set()
    async with asyncio.timeout(30):
        # The selector may still be looking; a 401 for one is taken back by the next look.
        while (answer := await guest.page.ask("And now?"))["type"] == "error":
            await asyncio.sleep(0.05)
    assert answer["text"] == "I see a cup."
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("behaviour", "code", "retryable"),
    [
        (Behaviour.DIES, "engine_failed", True),
        (Behaviour.ENDS_EARLY, "engine_failed", True),
        (Behaviour.ERROR_LATER, "engine_failed", True),
        (Behaviour.GARBAGE, "engine_failed", True),
        (Behaviour.STRANGE_JSON, "engine_failed", True),
        (Behaviour.ENDLESS, "engine_failed", True),
        (Behaviour.HTML, "engine_failed", True),
        (Behaviour.ERROR_EVENT, "engine_refused", False),
        (Behaviour.BAD_REQUEST, "engine_refused", False),
        (Behaviour.CONTEXT_LENGTH, "engine_refused", False),
        (Behaviour.INTERNAL, "engine_failed", True),
        (Behaviour.BUSY, "engine_unavailable", True),
        (Behaviour.RATE_LIMITED, "engine_unavailable", True),
        (Behaviour.FULL_EVENT, "engine_unavailable", True),
        (Behaviour.LOADING, "engine_loading", True),
        (Behaviour.UNAUTHORIZED, "engine_unavailable", True),
        *(
            pytest.param(quiet, "engine_timeout", True, marks=pytest.mark.slow)
            for quiet in (Behaviour.SILENT, Behaviour.KEEP_ALIVE_ONLY, Behaviour.STALLS)
        ),
    ],
)
async def test_each_way_of_failing(
    guest: Visitor, fake: FakeOpenAI, behaviour: Behaviour, code: str, retryable: bool
) -> None:
    """One error with a code and a sentence of ours; the socket stays; afterwards all is well."""
    fake.behaviour = behaviour
    # It waits for one that loads as long as for a first token.
    quick = behaviour in _LIMIT or behaviour is Behaviour.LOADING
    impatient(guest.run, QUICK if quick else PATIENT)
    error = await guest.page.ask("What?", id="t")
    impatient(guest.run)
    assert (error["type"], error["code"], error["retryable"]) == ("error", code, retryable), error
    assert error["id"] == "t"
    assert len(error["message"].split()) > 5
    assert not RAW.search(error["message"]), error["message"]
    # The limit that ended it
    assert _LIMIT.get(behaviour, "") in error["message"]
    await guest.page.ponged()
    await healthy_again(guest, fake)


@pytest.mark.slow
async def test_a_failing_description_is_told_once_and_goes_on(
    guest: Visitor, fake: FakeOpenAI
) -> None:
    """One error for all the frames that failed alike, with longer pauses each time; descriptions come again when the
    engine does.
    """
    fake.behaviour = Behaviour.INTERNAL
    count = fake.count
    await guest.page.send(type="settings", describe=True, sample_rate=10)
    assert (await guest.page.next("error"))["code"] == "engine_failed"
    await fake.wait_for(count + 2)
    assert not [m for m in await guest.page.ponged() if m["type"] == "error"]
    fake.behaviour = Behaviour.NORMAL
    described = await guest.page.next("response", kind="describe", timeout=10)
    assert described["finish_reason"] == "stop"
    await guest.page.send(type="settings", describe=False)
    await guest.page.ponged()


@pytest.mark.slow
async def test_loading_is_told_apart(guest: Visitor, fake: FakeOpenAI) -> None:
    """While the model loads, page and health say `loading`; when it is there, `ready` comes again."""
    run = guest.run
    fake.behaviour = Behaviour.LOADING
    start = len(guest.page.seen)
    assert (await guest.page.ask("What?"))["code"] == "engine_loading"
    # It may come before the error and after it.
    told = [m for m in guest.page.seen[start:] if m["type"] == "ready"]
    loading = told[-1] if told else await guest.page.next("ready")
    assert loading["engine_state"] == "loading"
    assert loading["engine_detail"]
    async with http(run) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert "loading" in ready.json()["reason"]
    fake.behaviour = Behaviour.NORMAL
    assert (await guest.page.next("ready"))["engine_state"] == "ready"
    await healthy_again(guest, fake)


@pytest.mark.slow
async def test_down_and_up_again(encoder: LiveEncoder) -> None:
    """A model server that is away: told on the page in visitors' words, and taken up when up."""
    fake = FakeOpenAI()
    await fake.start()
    await fake.close()
    async with running(engine="vllm", vllm_base_url=fake.base_url, drain_seconds=1) as run:
        impatient(run)
        async with visitor(run, encoder) as one:
            ready = one.page.seen[0]
            assert (ready["engine"], ready["engine_state"]) == ("vllm", "unreachable")
            assert ready["engine_detail"].startswith("The model is not available right now.")
            error = await one.page.ask("What?")
            assert (error["code"], error["retryable"]) == ("engine_unavailable", True)
            assert error["message"].startswith("The model is not available right now.")
            assert fake.base_url not in str(one.page.seen)
            await fake.start()
            ready = await one.page.next("ready", engine_state="ready")
            assert ready["model"] == "fake-vl"
            assert (await one.page.ask("What?"))["text"] == "I see a cup."
    await fake.close()


@pytest.mark.slow
async def test_auto_moves_up_and_back(encoder: LiveEncoder) -> None:
    """Builtin answers until vLLM is there, takes over before the first token when it goes; `ready`
    each time.
    """
    fake = FakeOpenAI()
    await fake.start()
    await fake.close()
    async with running(engine="auto", vllm_base_url=fake.base_url, drain_seconds=1) as run:
        impatient(run)
        async with visitor(run, encoder) as one:
            page = one.page
            assert page.seen[0]["engine"] == "builtin"
            first = await page.ask("How bright is it?", timeout=15)
            assert (first["type"], first["engine"]) == ("response", "builtin")
            await fake.start()
            ready = await page.next("ready", engine="vllm")
            assert (ready["model"], ready["engine_state"]) == ("fake-vl", "ready")
            second = await page.ask("What is it?")
            assert (second["engine"], second["text"]) == ("vllm", "I see a cup.")
            # It goes without a word: the question that finds out is still answered, by the other
            # one.
            await fake.close()
            await page.send(type="chat", content="How bright is it?", id="found-out")
            third = await page.end("found-out", timeout=15)
            assert (third["type"], third["engine"]) == ("response", "builtin"), third
            started = [m for m in page.seen if m["type"] == "started" and m["id"] == "found-out"]
            assert len(started) == 2
            assert any(m["type"] == "ready" and m["engine"] == "builtin" for m in page.seen)
            await fake.start()
            await page.next("ready", engine="vllm", timeout=6)
            assert (await page.ask("What is it?"))["engine"] == "vllm"
    await fake.close()
