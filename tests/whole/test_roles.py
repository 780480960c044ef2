"""Two model servers with different models behind one session: one answers, one watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.app.greeting import make_greeting
from server.core.frames import Role
from tests.support.clients import Visitor, metric, soon, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.names import named
from tests.support.running import Running, running
from tests.whole.test_watches import asked, listed, sees_white

pytestmark = pytest.mark.asyncio

LARGE, SMALL = "large.example.org", "small.example.org"


@pytest_asyncio.fixture
async def encoder() -> AsyncIterator[LiveEncoder]:
    scene = Scene(640, 360)
    scene.moving = scene.clock = False
    one = LiveEncoder(scene, rate=10)
    yield one
    await one.close()


@asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[tuple[FakeOpenAI, FakeOpenAI, Running]]:
    """A large model that answers and a small one that watches, each with a server and a key of its own."""
    async with (
        FakeOpenAI(model="large-vl", api_key="key-of-the-large", answer_for=sees_white) as large,
        FakeOpenAI(model="small-vl", api_key="key-of-the-small", answer_for=sees_white) as small,
    ):
        settings = {
            "engine": "auto",
            "vllm_base_url": large.base_url,
            "vllm_api_key": "key-of-the-large",
            "watches_base_url": small.base_url,
            "watches_api_key": "key-of-the-small",
            "rate_limit_per_minute": 0,
            **settings,
        }
        async with running(**settings) as run:
            yield large, small, run


def words(server: FakeOpenAI) -> list[str]:
    """The questions that a server got, watches as "watch"."""
    found = [asked(seen.body) for seen in server.requests]
    return ["watch" if "Which of these" in one or "watch" in one.lower() else one for one in found]


async def roles(run: Running) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=run.base_url) as client:
        found: dict[str, Any] = (await client.get("/health")).json()["roles"]
    return {role: (one["model"], one["instead"]) for role, one in found.items()}


async def alerted(one: Visitor, encoder: LiveEncoder, id: str) -> dict[str, Any]:
    """Begin a watch, and show what it is about."""
    encoder.scene.text, encoder.scene.text_px = "", 20
    await one.page.send(type="watch", id=id, condition="the paper is white")
    while (await listed(one.page, "looking"))["watches"][-1]["armed"] is False:
        pass
    encoder.scene.text = "WHITE"
    alert = await one.page.next("alert", watch=id, timeout=20)
    await one.page.send(type="unwatch", id=id)
    return alert


@pytest.mark.slow
async def test_a_question_and_a_watch_at_once_each_at_its_own(encoder: LiveEncoder) -> None:
    """The question's answer is held while the watch rings; keys, health, metrics and `ready` are by role."""
    async with two() as (large, small, run), visitor(run, encoder) as one:
        ready = next(m for m in one.page.seen if m["type"] == "ready")
        assert (ready["model"], ready["stands_in"]) == ("large-vl", "")
        assert ready["roles"] == {"watches": {"engine": "watches", "model": "small-vl"}}
        greeting = " ".join(make_greeting(run.program.settings, 8000, run.program.engines).split())
        assert "Engine vllm (large-vl) Watches watches (small-vl)" in greeting
        large.answer_for = lambda body, jpeg: ["It ", "is ", "a ", "cup."]
        large.hold()
        await one.page.send(type="chat", content="What is it?", id="q")
        await large.wait_for(1)
        alert = await alerted(one, encoder, "white")
        assert alert["model"] == "small-vl"
        assert large.running == 1
        large.let_go()
        answer = await one.page.end("q")
        assert (answer["text"], answer["model"]) == ("It is a cup.", "large-vl")
        assert words(large) == ["What is it?"]
        assert set(words(small)) == {"watch"}
        for server, key in ((large, "key-of-the-large"), (small, "key-of-the-small")):
            given = {seen.headers["authorization"] for seen in server.requests}
            assert given == {f"Bearer {key}"}
        own = {"answers": ("large-vl", False), "watches": ("small-vl", False)}
        assert await roles(run) == own | {"reads": ("large-vl", False)}
        assert metric(run, "first_token_seconds_count", role="answers") == 1
        assert metric(run, "first_token_seconds_count", role="watches") == small.count
        assert metric(run, "role_engine", role="watches", engine="watches") == 1


@pytest.mark.slow
async def test_each_stands_in_for_the_other_and_goes_back(encoder: LiveEncoder) -> None:
    """Killed in turn: the page hears one sentence, the work goes on, and each does its own again."""
    async with two() as (large, small, run), visitor(run, encoder) as one:
        assert (await alerted(one, encoder, "w1"))["model"] == "small-vl"
        await small.close()
        told = await one.page.next("ready", roles={}, timeout=15)
        assert "using the fallback" in told["stands_in"]
        assert (await roles(run))["watches"] == ("large-vl", True)
        assert (await alerted(one, encoder, "w2"))["model"] == "large-vl"
        await small.start()
        told = await one.page.next("ready", stands_in="", timeout=15)
        assert told["roles"]["watches"]["model"] == "small-vl"
        await large.close()
        told = await one.page.next("ready", engine="watches", timeout=15)
        assert "using the fallback" in told["stands_in"]
        small.answer_for = lambda body, jpeg: ["It ", "is ", "small."]
        answer = await one.page.ask("What is it?")
        assert (answer["text"], answer["model"]) == ("It is small.", "small-vl")
        small.answer_for = sees_white
        assert (await alerted(one, encoder, "w3"))["model"] == "small-vl"
        await large.start()
        told = await one.page.next("ready", engine="vllm", timeout=15)
        assert (told["stands_in"], told["roles"]["watches"]["model"]) == ("", "small-vl")


@pytest.mark.slow
@pytest.mark.parametrize("confirm", [True, False])
async def test_the_large_one_confirms_where_it_is_to(encoder: LiveEncoder, confirm: bool) -> None:
    """Its no silences what the small one saw; otherwise it is not asked."""

    def denies(body: dict[str, Any], jpeg: bytes | None) -> list[str]:
        return [piece.replace("true", "false") for piece in ["".join(sees_white(body, jpeg))]]

    async with two(watch_confirm=confirm) as (large, small, run), visitor(run, encoder) as one:
        large.answer_for = denies
        if not confirm:
            assert (await alerted(one, encoder, "w"))["model"] == "small-vl"
            assert large.count == 0
            return
        encoder.scene.text_px = 20
        await one.page.send(type="watch", id="w", condition="the paper is white")
        while (await listed(one.page, "looking"))["watches"][-1]["armed"] is False:
            pass
        encoder.scene.text = "WHITE"
        await large.wait_for(1, timeout=15)
        await soon(lambda: metric(run, "watch_confirmations_total", result="no") == 1)
        assert metric(run, "alerts_total") == 0
        encoder.scene.text = ""
        large.answer_for = sees_white
        count = small.count
        await small.wait_for(count + 1, timeout=15)
        encoder.scene.text = "WHITE"
        alert = await one.page.next("alert", timeout=20)
        assert alert["model"] == "large-vl"


@pytest.mark.slow
async def test_no_picture_to_a_role_on_a_machine_without_consent(encoder: LiveEncoder) -> None:
    """The small one comes up on another machine after the session began: it gets nothing before the word."""
    with named(LARGE, SMALL):
        async with FakeOpenAI(model="small-vl", answer_for=sees_white) as small:
            await small.close()
            url = f"http://{SMALL}:{small.port}/v1"
            async with FakeOpenAI(model="large-vl", answer_for=sees_white) as large:
                far = f"http://{LARGE}:{large.port}/v1"
                async with (
                    running(engine="vllm", vllm_base_url=far, watches_base_url=url) as run,
                    visitor(run, encoder) as one,
                ):
                    await one.page.send(type="confirm", host=LARGE)
                    await one.page.send(type="watch", id="w", condition="the paper is white")
                    await large.wait_for(2, timeout=15)
                    await small.start()
                    both = f"{LARGE}, {SMALL}"
                    told = await one.page.next("ready", elsewhere=both, timeout=15)
                    assert told["confirmed"] is False
                    found = await listed(one.page, "cannot")
                    assert "Watching needs your consent" in found["watches"][0]["reason"]
                    large.answer_for = lambda body, jpeg: ["A ", "cup."]
                    assert (await one.page.ask("What is it?"))["model"] == "large-vl"
                    encoder.scene.text, encoder.scene.text_px = "WHITE", 20
                    assert (await one.page.ask("And now?"))["model"] == "large-vl"
                    assert small.count == 0
                    await one.page.send(type="confirm", host=told["elsewhere"])
                    assert (await one.page.next("ready"))["confirmed"] is True
                    await small.wait_for(1, timeout=15)


@pytest.mark.slow
async def test_a_key_goes_to_no_other_server(encoder: LiveEncoder) -> None:
    """VLLM_API_KEY is the large one's; with WATCHES_MODEL alone it is one server, and one key."""
    async with two(watches_api_key="") as (_, small, run):
        small.api_key = ""
        await soon(lambda: run.program.engines.of(Role.WATCHES).name == "watches", 15)
        async with visitor(run, encoder) as one:
            assert (await alerted(one, encoder, "w"))["model"] == "small-vl"
        assert "key-of" not in str([seen.headers for seen in small.requests])
    async with (
        FakeOpenAI(model="large-vl", api_key="one-key", answer_for=sees_white) as both,
        running(
            engine="vllm",
            vllm_base_url=both.base_url,
            vllm_api_key="one-key",
            model_name="large-vl",
            watches_model="small-vl",
        ) as run,
    ):
        both.models = ["large-vl", "small-vl"]
        await soon(lambda: run.program.engines.of(Role.WATCHES).status.model == "small-vl", 15)
        async with visitor(run, encoder) as one:
            assert (await alerted(one, encoder, "w"))["model"] == "small-vl"
        assert {seen.body["model"] for seen in both.requests} == {"small-vl"}


@pytest.mark.slow
async def test_what_the_built_in_engine_cannot_watch_goes_to_the_model(
    encoder: LiveEncoder,
) -> None:
    """WATCHES_BASE_URL=builtin: any condition may be set; the list, /health and the alert say who is asked."""
    async with (
        FakeOpenAI(model="large-vl", answer_for=sees_white) as large,
        running(engine="vllm", vllm_base_url=large.base_url, watches_base_url="builtin") as run,
        visitor(run, encoder) as one,
    ):
        encoder.scene.text, encoder.scene.text_px = "", 20
        await one.page.send(type="watch", id="k", condition="the kettle boils")
        while not (found := (await listed(one.page, "looking"))["watches"][-1])["armed"]:
            pass
        assert found["model"] == "large-vl"
        async with httpx.AsyncClient(base_url=run.base_url) as client:
            told = (await client.get("/health")).json()["roles"]
        assert (told["watches"]["engine"], told["watches"]["beyond"]) == ("builtin", "vllm")
        assert "beyond" not in told["reads"]
        await one.page.send(type="watch", id="w", condition="the word WHITE appears")
        while [one["armed"] for one in (await listed(one.page, "looking"))["watches"]] != [
            True
        ] * 2:
            pass
        encoder.scene.text = "WHITE"
        alerts = [await one.page.next("alert", timeout=20) for _ in range(2)]
        assert {(one["watch"], one["model"]) for one in alerts} == {
            ("k", "large-vl"),
            ("w", "builtin"),
        }
        assert {asked(seen.body).count("WHITE") for seen in large.requests} == {0}
