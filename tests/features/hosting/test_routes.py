"""The operator's routes and socket: who gets in; a model is chosen, watched and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.core.frames import Role
from server.features.hosting.hosting import LOG_SECONDS, Hosting
from tests.features.hosting.catalogue.test_entry import TINY
from tests.support.clients import Page, http, metric, open_page, page_of, soon, take_token
from tests.support.fakes_openai import FakeOpenAI
from tests.support.hub_stand_in import Model as OnHub
from tests.support.hub_stand_in import running_hub
from tests.support.running import Running, running
from tests.support.timing import allowances_held

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "operator-token-of-this-test"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
ROUTES = (
    ("GET", "/api/engine"),
    ("POST", "/api/engine/preview"),
    ("POST", "/api/engine/start"),
    ("POST", "/api/engine/stop"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(model="somebody/far-vl") as one:
        yield one


def remote(model: FakeOpenAI) -> dict[str, Any]:
    return {"mode": "remote", "url": model.base_url}


async def engine_state(run: Running) -> dict[str, Any]:
    """The engine messages that an operator gets."""
    async with http(run, TOKEN) as client:
        reply = await client.get("/api/engine")
        assert reply.status_code == 200
        told: dict[str, Any] = reply.json()
        return told


@asynccontextmanager
async def operator(run: Running, token: str = "", session_id: str = "") -> AsyncIterator[Page]:
    """The socket of one who has sent the token and heard how it stands."""
    async with page_of(run, token, session_id) as page:
        await page.send(type="operator", token=TOKEN)
        assert (await page.next("engine"))["state"] == "idle"
        yield page


def message(reply: httpx.Response, status: int) -> str:
    """The sentence of an error."""
    assert reply.status_code == status, reply.text
    return str(reply.json()["error"]["message"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_gets_in_without_the_token(run: Running, method: str, path: str) -> None:
    visitor = (await take_token(run))["token"]
    before = metric(run, "auth_failures_total", reason="operator")
    given = ["", "Bearer wrong", f"Bearer {visitor}", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
    async with http(run) as client:
        for header in given:
            headers = {"Authorization": header} if header else {}
            reply = await client.request(method, path, headers=headers, json={"mode": "no"})
            assert "operator" in message(reply, 401).lower()
            assert TOKEN not in reply.text
        other = {**RIGHT, "Origin": "https://evil.example"}
        assert (await client.request(method, path, headers=other, json={})).status_code == 403
    assert metric(run, "auth_failures_total", reason="operator") == before + len(given)


async def test_without_a_token_in_the_settings_there_is_nothing() -> None:
    """Every route and the socket say so, whatever is brought; the log says what to set."""
    async with running() as none, http(none) as client:
        for method, path in ROUTES:
            reply = await client.request(method, path, headers=RIGHT, json={})
            assert "Its log says how" in message(reply, 404)
            assert "OPERATOR_TOKEN" not in reply.text
        issued = await take_token(none)
        page = await open_page(none, issued["token"], issued["session_id"])
        await page.send(type="operator", token="")
        refused = await page.next("error")
        assert (refused["id"], refused["code"]) == ("operator", "not_found")
        await page.close()


async def test_guesses_are_limited_like_access_codes() -> None:
    """On the routes and on sockets together: a wrong one takes three requests of its address."""
    async with (
        allowances_held(),
        running(operator_token=TOKEN, rate_limit_per_minute=6) as one,
        http(one) as client,
    ):
        issued = await take_token(one)
        async with page_of(one, issued["token"], issued["session_id"]) as page:
            wrong = {"Authorization": "Bearer wrong"}
            assert (await client.get("/api/engine", headers=wrong)).status_code == 401
            await page.send(type="operator", token="wrong")
            assert (await page.next("error"))["code"] == "unauthorized"
            reply = await client.get("/api/engine", headers=RIGHT)
            assert (reply.status_code, "retry-after" in reply.headers) == (429, True)
            await page.send(type="operator", token=TOKEN)
            assert (await page.next("error"))["code"] == "rate_limited"
            # Whoever asks questions is not kept from it.
            await page.send(type="chat", content="What is it?", id="q")
            assert (await page.next("error", id="q"))["code"] == "no_camera"


async def test_what_there_is(run: Running) -> None:
    told = await engine_state(run)
    builtin = {"engine": "builtin", "model": "builtin", "server": "", "where": ""}
    assert told["engine"] == {
        "type": "engine",
        "state": "idle",
        "answers": False,
        "answering": builtin,
    }
    assert told["machine"].startswith("This machine: ")
    assert len(told["models"]) >= 2


async def test_a_bad_choice_is_a_sentence(run: Running) -> None:
    cases: list[tuple[Any, str]] = [
        ({}, "mode is missing"),
        ({"mode": "remote", "url": "http://u:secret@x/v1"}, "url is unusable"),
        ({"mode": "remote", "url": "http://x/v1#secret"}, "url is unusable"),
        (
            {"mode": "remote", "url": "http://x/v1", "api_key": "secret\r\nX: y"},
            "api_key is unusable",
        ),
        ({"mode": "in_process", "model": "../../etc"}, "model is ../../etc"),
        ({"mode": "in_process", "model": "/nowhere"}, "There is no folder /nowhere"),
        ({"mode": "in_process", "model": "nobody/knows"}, "no model nobody/knows"),
        ({"mode": "remote", "url": "http://x/v1", "trust_remote_code": True}, "no field"),
        ({"mode": "container", "model": "small", "image": "x; rm -rf /"}, "image is"),
    ]
    async with http(run, TOKEN) as client:
        for path in ("/api/engine/preview", "/api/engine/start"):
            for body, sentence in cases:
                reply = await client.post(path, json=body)
                assert sentence in message(reply, 400)
                assert "secret" not in reply.text
            reply = await client.post(path, content=b"[1]")
            assert reply.status_code in (400, 415, 422)
    assert (await engine_state(run))["engine"]["state"] == "idle"


async def test_a_model_is_chosen_watched_and_stopped(run: Running, model: FakeOpenAI) -> None:
    """The operator's socket hears each step; all visitors hear which engine answers."""
    async with http(run, TOKEN) as client, operator(run) as page, page_of(run) as other:
        shown = (await client.post("/api/engine/preview", json=remote(model))).json()
        assert model.base_url in shown["command"]
        assert shown["elsewhere"] == ""
        reply = await client.post("/api/engine/start", json=remote(model))
        assert (reply.status_code, reply.json()["engine"]["state"]) == (202, "loading")
        assert (await page.next("ready", engine="local", engine_state="ready"))["model"]
        # Not even that there is an operator.
        assert "operator" not in await other.next("ready", engine="local", engine_state="ready")
        told = await page.next("engine", answers=True)
        assert (told["mode"], told["state"]) == ("remote", "ready")
        assert told["command"] == shown["command"]
        reply = await client.post("/api/engine/stop")
        assert reply.json()["engine"]["state"] == "idle"
        assert (await other.next("ready", engine="builtin"))["engine_state"] == "ready"
        assert not {m["type"] for m in other.seen} & {"engine", "log"}


async def test_what_can_not_be_loaded_says_why_and_what_to_do(
    run: Running, model: FakeOpenAI
) -> None:
    body = {**remote(model), "url": model.base_url.removesuffix("/v1")}
    async with http(run, TOKEN) as client, operator(run) as page:
        assert (await client.post("/api/engine/start", json=body)).is_success
        failed = await page.next("engine", state="failed")
        assert f"The server at {body['url']} is not OpenAI-compatible." in failed["error"]
        assert run.program.engines.current.name == "builtin"
        assert (await client.post("/api/engine/stop")).is_success
        assert (await page.next("engine", state="idle")).get("error") is None


async def test_an_operators_socket_is_one_no_longer_when_it_closes(
    run: Running, model: FakeOpenAI
) -> None:
    """The next socket of the same session has to bring the token again."""
    issued = await take_token(run)
    own = issued["token"], issued["session_id"]
    async with operator(run, *own):
        pass
    await soon(lambda: len(run.program.sockets.operators) == 0)
    async with http(run, TOKEN) as client, page_of(run, *own) as page:
        await client.post("/api/engine/start", json=remote(model))
        await page.next("ready", engine="local")
        await client.post("/api/engine/stop")
        await page.next("ready", engine="builtin")
        assert not {m["type"] for m in page.seen} & {"engine", "log"}


async def test_a_newer_socket_hears_nothing_of_an_older_ones_operator(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes over the session's messages; the operator's were for the one before."""
    issued = await take_token(run)
    own = issued["token"], issued["session_id"]
    channel = run.program.added.provided[Hosting].channel
    async with operator(run, *own) as page:
        attach = run.program.sessions.attach

        def say() -> None:
            channel.add_line("a word of the engine")
            channel.publish_report()

        def told_meanwhile(*given: Any) -> None:
            """An engine never is silent, also when the other socket begins to read."""
            say()
            attach(*given)
            say()

        monkeypatch.setattr(run.program.sessions, "attach", told_meanwhile)
        async with page_of(run, *own) as newer:
            assert (await page.closed())[0] == 4409
            say()
            await asyncio.sleep(LOG_SECONDS * 1.5)
            await newer.ponged()
            assert not {m["type"] for m in newer.seen} & {"engine", "log"}


async def test_the_token_is_heard_nowhere_else(run: Running) -> None:
    """Not in an address, a cookie, a body, another header; nothing else opens an ear."""
    issued = await take_token(run)
    async with http(run) as client, page_of(run, issued["token"], issued["session_id"]) as page:
        for address in (f"/api/engine?token={TOKEN}", f"/api/engine?access_token={TOKEN}"):
            assert (await client.get(address)).status_code == 401
        for headers in (
            {"Cookie": f"token={TOKEN}"},
            {"X-Operator-Token": TOKEN},
            {"Authorization": TOKEN},
            {"Authorization": f"Bearer {issued['token']}, Bearer {TOKEN}"},
        ):
            assert (await client.get("/api/engine", headers=headers)).status_code == 401
        body = {"mode": "remote", "url": "http://127.0.0.1:9/v1", "token": TOKEN}
        assert (await client.post("/api/engine/start", json=body)).status_code == 401
        # Another site's page, a sandboxed frame's, and one that a form has sent
        for origin in ("https://evil.example", "null", f"{run.base_url}.evil.example"):
            for kind in ("application/json", "text/plain"):
                headers = {**RIGHT, "Origin": origin, "Content-Type": kind}
                reply = await client.post("/api/engine/stop", headers=headers, content=b"{}")
                assert reply.status_code == 403
        reply = await client.get("/api/engine", headers=RIGHT)
        assert "no-store" in reply.headers["cache-control"]
        assert TOKEN not in reply.text
        await page.send(type="settings", thumbnails=True)
        assert not {m["type"] for m in await page.ponged()} & {"engine", "log"}


async def test_the_catalogue_is_the_one_that_the_settings_name(tmp_path: Path) -> None:
    mine = tmp_path / "models.toml"
    mine.write_bytes(TINY)
    async with running(operator_token=TOKEN, catalogue=str(mine)) as one:
        told = await engine_state(one)
        assert "someone/tiny-vl" in str(told)
        assert "SmolVLM2" not in str(told)
        mine.write_text("a b c")
        async with http(one, TOKEN) as client:
            reply = await client.get("/api/engine")
        assert reply.status_code == 400
        assert "is not TOML" in reply.text


async def test_who_watches_is_told_where_it_is_another_one(model: FakeOpenAI) -> None:
    async with (
        FakeOpenAI(model="small-vl") as small,
        running(
            operator_token=TOKEN,
            engine="vllm",
            vllm_base_url=model.base_url,
            watches_base_url=small.base_url,
            rate_limit_per_minute=0,
        ) as run,
    ):
        told = (await engine_state(run))["engine"]
        assert {role: one["model"] for role, one in told["roles"].items()} == {
            "watches": "small-vl"
        }
        assert told["roles"]["watches"]["where"] == f"127.0.0.1:{small.port}"
        await small.close()
        run.program.engines.report_failure(run.program.engines.of(Role.WATCHES))
        await soon(lambda: run.program.engines.of(Role.WATCHES).name == "vllm", 10)
        told = (await engine_state(run))["engine"]
        assert "roles" not in told
        assert "using the fallback" in told["why"]


@pytest.mark.slow
async def test_what_answers_is_told_with_its_host_and_why_nothing_better(model: FakeOpenAI) -> None:
    settings: dict[str, Any] = {"vllm_base_url": model.base_url, "rate_limit_per_minute": 0}
    async with running(operator_token=TOKEN, engine="auto", **settings) as run:
        told = (await engine_state(run))["engine"]
        assert told["state"] == "idle"
        assert told["answering"] == {
            "engine": "vllm",
            "model": model.model,
            "server": "a model server",
            "where": f"127.0.0.1:{model.port}",
        }
        assert "why" not in told
        await model.close()
        run.program.engines.reprobe()
        await soon(lambda: run.program.engines.current.name == "builtin", 10)
        told = (await engine_state(run))["engine"]
        assert told["answering"]["engine"] == "builtin"
        assert told["why"].startswith(f"Nothing answers at {model.base_url}")


async def test_fetching_is_left_to_the_command_line_by_default(run: Running) -> None:
    listed = await engine_state(run)
    async with http(run, TOKEN) as client:
        command = next(one["fetch"] for one in listed["models"] if not one["here"])
        assert command.startswith("bash scripts/download_model.sh ")
        refused = await client.post("/api/engine/fetch", json={"model": "a/b"})
        assert "ALLOW_MODEL_DOWNLOADS" in message(refused, 409)
        told = (await client.get("/api/engine/fetch")).json()
        assert {**told, "free_bytes": 0} == {**listed["fetch"], "free_bytes": 0}
        assert told["free_bytes"] > 0
        assert told["state"] == "idle"
        assert "ALLOW_MODEL_DOWNLOADS" in told["refused"]
        paused = await client.delete("/api/engine/fetch")
        assert paused.json()["state"] == "idle"


async def test_a_model_of_the_catalogue_is_fetched_over_the_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = tmp_path / "models.toml"
    catalogue.write_bytes(TINY)
    name = "someone/tiny-vl"
    with running_hub() as hub:
        files = {"config.json": b"{}", "model.safetensors": bytes(1000)}
        for known in (name, "someone/else"):
            hub.models[known] = OnHub({"c" * 40: files}, names={"main": "c" * 40})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        settings: dict[str, Any] = {"operator_token": TOKEN, "allow_model_downloads": True}
        async with running(catalogue=str(catalogue), **settings) as one, http(one) as client:
            for method in ("GET", "POST", "DELETE"):
                nobody = await client.request(method, "/api/engine/fetch", json={"model": name})
                assert "operator" in message(nobody, 401).lower()
            client.headers.update(RIGHT)
            fetch = one.program.added.provided[Hosting].fetch
            fetch._kept = tmp_path / "models"
            other = await client.post("/api/engine/fetch", json={"model": "someone/else"})
            assert "not in the catalogue" in message(other, 400)
            begun = await client.post("/api/engine/fetch", json={"model": name})
            assert begun.status_code == 202, begun.text
            told = begun.json()
            assert told["model"] == name
            async with asyncio.timeout(60):
                while told["state"] in ("fetching", "checking"):
                    await asyncio.sleep(0.05)
                    told = (await client.get("/api/engine/fetch")).json()
            assert (told["state"], told["error"]) == ("done", "")
        assert not [one for one in hub.asked if "someone/else" in str(one)]
