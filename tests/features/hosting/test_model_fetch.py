"""A model fetched by the true program from a hub on loopback: progress, pause, room, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting import model_fetch
from server.features.hosting.catalogue.entry import Ability, Catalogue, Library, Model, ModelType
from server.features.hosting.catalogue.folder import find_models, read_model
from server.features.hosting.model_fetch import RESERVE_BYTES, FetchState, FetchStatus, ModelFetch
from tests.support.gguf_writer import write_projector, write_weights
from tests.support.hub_stand_in import Hub, running_hub
from tests.support.hub_stand_in import Model as OnHub

pytestmark = pytest.mark.slow
NAME, COMMIT = "someone/tiny-vl", "c" * 40
WEIGHTS = bytes(range(256)) * 12_000
PLENTY = 50 * RESERVE_BYTES


def model(**more: Any) -> Model:
    given: dict[str, Any] = {
        "id": NAME,
        "model_type": ModelType.VISION,
        "architecture": "qwen2_5_vl",
        "abilities": {Ability.IMAGES},
        "weights_bytes": len(WEIGHTS),
        "memory_bytes": 10**6,
    }
    return Model(**given | more)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as one:
        files = {"config.json": b'{"model_type": "qwen2_5_vl"}', "model.safetensors": WEIGHTS}
        one.models[NAME] = OnHub({COMMIT: files}, names={"main": COMMIT})
        yield one


@asynccontextmanager
async def fetching(
    hub: Hub,
    folder: Path,
    *models: Model,
    free: Callable[[Path], int] = lambda _: PLENTY,
    **more: Any,
) -> AsyncIterator[ModelFetch]:
    """A catalogue of these models, and the folder read as the server reads it."""
    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HOME", str(folder))
        patch.setattr(model_fetch, "get_disk_free", free)
        known = models or (model(),)
        one = ModelFetch(
            lambda: Catalogue(known).with_local(*find_models([folder / "models"])),
            folder / "models",
            **{"allowed": True, "pool": pool, **more},
        )
        try:
            yield one
        finally:
            await one.close()


async def until(fetch: ModelFetch, *states: FetchState) -> FetchStatus:
    async with asyncio.timeout(60):
        while fetch.status.state not in states:
            await asyncio.sleep(0.02)
    return fetch.status


async def test_a_model_is_fetched_and_checked(hub: Hub, tmp_path: Path) -> None:
    async with fetching(hub, tmp_path) as fetch:
        assert fetch.status == FetchStatus()
        await fetch.start(NAME)
        begun = fetch.status
        assert (begun.state, begun.model) == (FetchState.FETCHING, NAME)
        done = await until(fetch, FetchState.DONE, FetchState.FAILED)
        assert done.error == ""
        assert done.state is FetchState.DONE
        assert done.done_bytes == done.total_bytes > len(WEIGHTS)
        assert (tmp_path / "models/tiny-vl/model.safetensors").read_bytes() == WEIGHTS
        assert {path.name for path in (tmp_path / "models").iterdir()} == {"tiny-vl"}


async def test_a_paused_one_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.models[NAME].stalls["model.safetensors"] = 2_000_000
    part = tmp_path / "models" / "tiny-vl"
    async with fetching(hub, tmp_path) as fetch:
        await fetch.start(NAME)
        with pytest.raises(Conflict, match="is being fetched"):
            await fetch.start(NAME)
        async with asyncio.timeout(60):
            while sum(one.stat().st_size for one in part.rglob("*") if one.is_file()) < 1_500_000:
                await asyncio.sleep(0.02)
        await fetch.pause()
        paused = await until(fetch, FetchState.PAUSED)
        assert paused.error == ""
        await fetch.pause()
        hub.models[NAME].stalls.clear()
        hub.released.set()
        asked = len(hub.asked)
        await fetch.start(NAME)
        assert (await until(fetch, FetchState.DONE, FetchState.FAILED)).state is FetchState.DONE
        assert (part / "model.safetensors").read_bytes() == WEIGHTS
        again = [first for method, name, first in hub.asked[asked:] if "safetensors" in name]
        assert max(again) > 0


async def test_of_a_gguf_model_its_two_files_are_fetched(hub: Hub, tmp_path: Path) -> None:
    """Of all that its repository has; one whose content is not what the hub says does not stay."""
    write_weights(tmp_path / "a")
    write_projector(tmp_path / "b")
    files = {"one-Q4_K_M.gguf": (tmp_path / "a").read_bytes(), "config.json": b"{}"}
    files |= {"mmproj-F16.gguf": (tmp_path / "b").read_bytes(), "one-Q8_0.gguf": bytes(9999)}
    hub.models[NAME] = OnHub({COMMIT: files}, names={"main": COMMIT})
    hub.models[NAME].spoiled["one-Q4_K_M.gguf"] = 9
    known = model(
        library=Library.LLAMA_CPP,
        architecture="qwen3_vl",
        weights_file="one-Q4_K_M.gguf",
        projector_file="mmproj-F16.gguf",
        quantization="Q4_K_M",
        needs={"llama.cpp": ""},
        revision=COMMIT,
    )
    async with fetching(hub, tmp_path, known) as fetch:
        assert "--file one-Q4_K_M.gguf --file mmproj-F16.gguf --to" in fetch.get_command(known)
        await fetch.start(NAME)
        failed = await until(fetch, FetchState.DONE, FetchState.FAILED)
        assert failed.state is FetchState.FAILED
        assert "The checksum of one-Q4_K_M.gguf differed from the hub" in failed.error
        folder = tmp_path / "models" / "tiny-vl"
        assert not (folder / "one-Q4_K_M.gguf").exists()
        hub.models[NAME].spoiled.clear()
        await fetch.start(NAME)
        done = await until(fetch, FetchState.DONE, FetchState.FAILED)
        assert (done.state, done.error) == (FetchState.DONE, "")
        there = {path.name for path in folder.iterdir()}
        assert there == {"one-Q4_K_M.gguf", "mmproj-F16.gguf", "model-files.json"}
        (found,) = Catalogue((known,)).with_local([read_model(folder)])
        assert (found.id, found.folder) == (NAME, folder)
        assert "one-Q8_0.gguf" not in {name for _, name, _ in hub.asked}


async def test_only_models_of_the_catalogue(hub: Hub, tmp_path: Path) -> None:
    async with fetching(hub, tmp_path) as fetch:
        for name in (
            "someone/else",
            "../../etc",
            "--to",
            "",
            None,
            7,
            ["x"],
            NAME + "\n",
            "x" * 9999,
        ):
            with pytest.raises(BadRequest, match="not in the catalogue") as refused:
                await fetch.start(name)
            assert len(refused.value.message) < 300
        assert fetch.status == FetchStatus()
    assert not hub.asked


async def test_only_where_it_is_allowed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fetching(hub, tmp_path, allowed=False) as fetch:
        with pytest.raises(Conflict, match="ALLOW_MODEL_DOWNLOADS"):
            await fetch.start(NAME)
    async with fetching(hub, tmp_path) as fetch:
        with monkeypatch.context() as patch:
            patch.setattr(model_fetch, "PROGRAM", tmp_path / "none.py")
            with pytest.raises(Conflict, match="no scripts/models"):
                await fetch.start(NAME)
        await fetch.close()
        with pytest.raises(Draining):
            await fetch.start(NAME)
    assert not hub.asked


async def test_the_disk_keeps_room(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fetching(hub, tmp_path, free=lambda _: RESERVE_BYTES) as fetch:
        assert await fetch.get_free_bytes() == RESERVE_BYTES
        with pytest.raises(BadRequest, match="The disk is too full"):
            await fetch.start(NAME)
    assert not hub.asked
    monkeypatch.setattr(model_fetch, "CHECK_SECONDS", 0.05)
    hub.models[NAME].stalls["model.safetensors"] = 1000
    left = [PLENTY]
    async with fetching(hub, tmp_path, free=lambda _: left[0]) as fetch:
        await fetch.start(NAME)
        left[0] = RESERVE_BYTES // 4
        failed = await until(fetch, FetchState.FAILED)
        assert "nearly full" in failed.error
        assert "resume" in failed.error


async def test_what_fails_says_why(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME].token = "hf_" + "s" * 30
    monkeypatch.setenv("HF_TOKEN", "hf_" + "w" * 30)
    async with fetching(hub, tmp_path) as fetch:
        await fetch.start(NAME)
        failed = await until(fetch, FetchState.FAILED)
        assert "HF_TOKEN" in failed.error
        assert "hf_" not in failed.error


async def test_it_ends_with_the_server(hub: Hub, tmp_path: Path) -> None:
    hub.models[NAME].stalls["model.safetensors"] = 1000
    async with fetching(hub, tmp_path) as fetch:
        await fetch.start(NAME)
        process = fetch._process
        assert process is not None
    assert not process.running
