"""The model that basic mode offers: who may start it, its way here, and what ends on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.features.hosting.hosting import Hosting
from tests.features.hosting.test_model_fetch import PLENTY
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.support.clients import bearer, http, soon, take_token
from tests.support.hub_stand_in import Hub, running_hub
from tests.support.hub_stand_in import Model as OnHub
from tests.support.real_llama import LOADS, PROGRAM
from tests.support.running import Running, running
from tests.whole.test_real_llama import CATALOGUE, COMMIT, NAME

pytestmark = pytest.mark.slow
OFFER = "/api/engine/offer"
TOKEN = "operator-token-of-this-test"
NONE = {"state": "none"}
UNDER_WAY = ("fetching", "checking", "loading")


@pytest.fixture(scope="module")
def colors(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tiny_model, tmp_path_factory.mktemp("offer") / "colors")


@pytest.fixture
def home(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without models, and a catalogue of one."""
    size = sum(path.stat().st_size for path in colors.iterdir())
    catalogue = CATALOGUE.replace("weights_bytes = 1000", f"weights_bytes = {size}")
    (tmp_path / "models.toml").write_text(catalogue)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("server.features.hosting.hosting.MODELS_FOLDER", tmp_path / "models")
    monkeypatch.setattr("server.features.hosting.offer.MODEL_FILE", tmp_path / ".model")
    # So small a model is no quicker with more, and on a busy machine slower.
    monkeypatch.setattr("server.features.hosting.host.count_cores", lambda: 1)
    return tmp_path


@pytest.fixture
def hub(colors: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as one:
        files = {path.name: path.read_bytes() for path in colors.iterdir()}
        one.models[NAME] = OnHub({COMMIT: files}, names={"main": COMMIT})
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        yield one


@dataclass
class Person:
    """A session's client at this machine, or with other headers."""

    client: httpx.AsyncClient

    async def ask(self, method: str = "GET", **headers: str) -> httpx.Response:
        return await self.client.request(method, OFFER, headers=headers, timeout=60)

    async def offer(self) -> dict[str, Any]:
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def press(self) -> dict[str, Any]:
        answer = await self.ask("POST")
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def end(self) -> dict[str, Any]:
        """Return the first state in which nothing is under way."""
        async with asyncio.timeout(LOADS):
            while (found := await self.offer())["state"] in UNDER_WAY:
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def served(home: Path, **more: Any) -> AsyncIterator[tuple[Running, Person]]:
    settings: dict[str, Any] = {
        "engine": "auto",
        "catalogue": str(home / "models.toml"),
        "llama_server": str(PROGRAM),
        "vllm_base_url": "http://127.0.0.1:9/v1",
        "rate_limit_per_minute": 0,
    }
    async with running(**settings | more) as run:
        token = (await take_token(run))["token"]
        async with http(run, token) as client:
            yield run, Person(client)


def files(home: Path) -> set[str]:
    return {path.name for path in (home / "models").rglob("*.gguf")}


# Who may


async def test_one_press_at_this_machine_brings_it(home: Path, hub: Hub) -> None:
    """Pressed twice it comes once; the built-in engine answers meanwhile, then the model; later starts take it."""
    async with served(home) as (run, person):
        offered = await person.offer()
        size = offered.pop("bytes")
        assert offered == {"state": "offered", "model": "colors-GGUF", "error": ""}
        assert size > 10_000
        first, second = await asyncio.gather(person.press(), person.press())
        assert first["state"] in UNDER_WAY
        assert second["model"] == "colors-GGUF"
        assert run.program.engines.current.name == "builtin"
        await soon(lambda: run.program.engines.current.name == "local", LOADS)
        assert await person.end() == NONE
        assert files(home) == {WEIGHTS, PROJECTOR}
        assert hub.asked.count(("GET", WEIGHTS, 0)) == 1
        folder = home / "models" / "colors-GGUF"
        await soon(lambda: (home / ".model").exists())
        assert (home / ".model").read_text() == f"{folder}\n"
        refused = await person.ask("POST")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


async def test_nobody_elsewhere_sees_or_starts_it(home: Path, hub: Hub) -> None:
    """Behind a proxy, under another name, from another page, or without a token."""
    async with served(home, allowed_origins="https://pages.example") as (run, person):
        for headers in (
            {"X-Forwarded-For": "192.0.2.7"},
            {"Via": "1.1 proxy"},
            {"Host": f"192.0.2.7:{run.port}"},
            {"Origin": "https://pages.example"},
        ):
            assert (await person.ask(**headers)).json() == NONE
            for method in ("POST", "DELETE"):
                refused = await person.ask(method, **headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        foreign = await person.ask("POST", Origin="https://other.example")
        assert foreign.status_code == 403
        for token in ({}, bearer("wrong")):
            async with http(run) as nobody:
                for method in ("GET", "POST", "DELETE"):
                    assert (await nobody.request(method, OFFER, headers=token)).status_code == 404
        assert (await person.offer())["state"] == "offered"
    assert hub.asked == []


@pytest.mark.parametrize("downloads", [False, True])
async def test_with_an_operator_it_is_the_operators(home: Path, hub: Hub, downloads: bool) -> None:
    """Nobody else's, at this machine neither; and only where operators may download models."""
    more = {"operator_token": TOKEN, "allow_model_downloads": downloads}
    async with served(home, **more) as (run, person):
        assert await person.offer() == NONE
        assert (await person.ask("POST")).status_code == 403
        async with http(run) as client:
            wrong = await client.post(OFFER, headers=bearer("wrong"))
            assert wrong.status_code == 401
        async with http(run, TOKEN) as client:
            operator = Person(client)
            if not downloads:
                assert await operator.offer() == NONE
                assert (await operator.ask("POST")).status_code == 409
                return
            await operator.press()
            # Nor does anybody else see how far it is, or stop it.
            assert await person.offer() == NONE
            assert (await person.ask("DELETE")).status_code == 403
            await soon(lambda: run.program.engines.current.name == "local", LOADS)
    assert files(home) == {WEIGHTS, PROJECTOR}


# What is offered


@pytest.mark.parametrize(
    "more",
    [{"engine": "builtin"}, {"llama_server": "/nowhere/llama-server"}],
    ids=["no model is wanted", "no program runs it"],
)
async def test_nothing_is_offered(home: Path, hub: Hub, more: dict[str, Any]) -> None:
    async with served(home, **more) as (_, person):
        assert await person.offer() == NONE
        assert (await person.ask("POST")).status_code == 409


async def test_the_size_has_llama_cpps_server_where_it_is_not_here(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    for path in (PROGRAM.parent, home):
        monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
        async with served(home, llama_server="") as (_, person):
            sizes.append((await person.offer())["bytes"])
    assert sizes[1] - sizes[0] == 34_000_000


async def test_a_model_that_does_not_fit_is_not_offered(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = 2 * 10**8, 10**8
    monkeypatch.setattr("server.features.hosting.host.get_main_memory", lambda: memory)
    async with served(home) as (_, person):
        assert await person.offer() == NONE


# What ends on the way


async def test_stopped_it_is_offered_again_and_goes_on(home: Path, hub: Hub) -> None:
    """With what is left to fetch; stopped twice is stopped once."""
    hub.models[NAME].stalls[WEIGHTS] = 30_000
    part = home / "models"
    async with served(home) as (_, person):
        size = (await person.offer())["bytes"]
        await person.press()

        def there() -> int:
            return sum(one.stat().st_size for one in part.rglob("*") if one.is_file())

        await soon(lambda: there() > 20_000, LOADS)
        async with asyncio.timeout(LOADS):
            while not (now := await person.offer()).get("done_bytes"):
                await asyncio.sleep(0.02)
        assert (now["state"], now["model"]) == ("fetching", "colors-GGUF")
        assert 0 < now["done_bytes"] < now["total_bytes"]
        for _ in range(2):
            stopped = (await person.ask("DELETE")).json()
            assert (stopped["state"], stopped["error"]) == ("offered", "")
            assert stopped["bytes"] < size
        hub.models[NAME].stalls.clear()
        hub.released.set()
        await person.press()
        assert await person.end() == NONE
        assert files(home) == {WEIGHTS, PROJECTOR}


async def test_a_broken_download_says_why_and_is_tried_again(home: Path, hub: Hub) -> None:
    hub.models[NAME].spoiled[WEIGHTS] = 9
    async with served(home) as (_, person):
        await person.press()
        failed = await person.end()
        assert failed["state"] == "failed"
        assert f"The checksum of {WEIGHTS} differed from the hub" in failed["error"]
        hub.models[NAME].spoiled.clear()
        again = await person.press()
        assert again["state"] in UNDER_WAY
        assert await person.end() == NONE


async def test_a_full_disk_says_so(home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before the fetch begins: what was free when it was offered is gone."""
    free = [PLENTY]
    monkeypatch.setattr("server.features.hosting.model_fetch.get_disk_free", lambda _: free[0])
    async with served(home) as (_, person):
        assert (await person.offer())["state"] == "offered"
        monkeypatch.setattr("server.features.hosting.model_fetch.RESERVE_BYTES", 2 * PLENTY)
        await person.press()
        failed = await person.end()
        assert failed["state"] == "failed"
        assert "The disk is too full for Colors" in failed["error"]
    assert files(home) == set()


async def test_files_that_cannot_be_loaded_say_so(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched, and refused by llama.cpp: the built-in engine goes on, and no later start takes it."""
    monkeypatch.setattr("server.features.hosting.manager.RESTART_DELAYS", ())
    program = home / "llama-server"
    refuses = 'case " $* " in *" --port "*) echo "error: out of memory" >&2; exit 1 ;; esac'
    program.write_text(f'#!/bin/sh\n{refuses}\nexec {PROGRAM} "$@"\n')
    program.chmod(0o755)
    async with served(home, llama_server=str(program)) as (run, person):
        await person.press()
        failed = await person.end()
        assert (failed["state"], failed["bytes"]) == ("failed", 0)
        assert "Colors could not be started." in failed["error"]
        assert run.program.engines.current.name == "builtin"
        assert run.program.engines.current.status.ready
    assert files(home) == {WEIGHTS, PROJECTOR}
    assert not (home / ".model").exists()


async def test_it_ends_with_the_server(home: Path, hub: Hub) -> None:
    hub.models[NAME].stalls[WEIGHTS] = 30_000
    async with served(home) as (run, person):
        await person.press()
        await soon(lambda: run.program.added.provided[Hosting].fetch.status.done_bytes > 0, LOADS)
    hub.released.set()
    assert WEIGHTS not in files(home)
