"""The operator's routes for speech: who gets in, and a local recogniser that is chosen and ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server.core.sound import SOUND_RATE, Sound
from server.shared.speech.errors import SpeechUnavailable
from tests.real_model.server import PYTHON, run_module
from tests.support.children import alive
from tests.support.clients import Page, http, page_of, soon, take_token
from tests.support.running import running
from tests.support.transcription_server import TranscriptionServer

OPERATOR = "operator-token-of-this-test"
PATH = "/api/operator/speech"
SOUND = Sound(np.arange(-8000, 8000).astype(np.int16), 0.0)


async def chosen(client: httpx.AsyncClient, state: str) -> Any:
    """Wait until the chosen recogniser is in this state."""
    async with asyncio.timeout(120):
        while True:
            found = (await client.get(PATH)).json()["chosen"]
            if found is not None and found["state"] == state:
                return found
            await asyncio.sleep(0.05)


async def listens(page: Page, recogniser: bool) -> None:
    """Wait for a `ready` that says whether there is a recogniser."""
    while (await page.next("ready"))["features"]["voice_in"]["recogniser"] is not recogniser:
        pass


async def test_only_an_operator(tmp_path: Path) -> None:
    """Neither nobody nor a visitor, for any of them; and nothing is loaded."""
    (tmp_path / "config.json").write_text("{}")
    async with (
        running(operator_token=OPERATOR, rate_limit_per_minute=0) as run,
        http(run) as client,
    ):
        visitor = (await take_token(run))["token"]
        for headers in ({}, {"Authorization": f"Bearer {visitor}"}):
            for method, path, body in (
                ("GET", PATH, None),
                ("POST", f"{PATH}/recogniser", {"folder": str(tmp_path)}),
                ("DELETE", f"{PATH}/recogniser", None),
            ):
                answer = await client.request(method, path, json=body, headers=headers)
                assert answer.status_code == 401
        assert run.program.feature("voice_in").asr.chosen is None


async def test_without_speech() -> None:
    async with running(operator_token=OPERATOR) as run, http(run) as client:
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        nothing = {"recogniser": None, "voice": None, "chosen": None}
        assert (await client.get(PATH)).json() == nothing
        assert (await client.delete(f"{PATH}/recogniser")).json() == nothing
        with pytest.raises(SpeechUnavailable, match="No recogniser is set"):
            await anext(run.program.feature("voice_in").asr.recognise(SOUND, language=None))


@pytest.mark.parametrize("feature", ["voice_in", "voice_out"])
async def test_one_direction_alone(feature: str) -> None:
    """The other one is none; a recogniser can be chosen only where there are spoken questions."""
    async with running(operator_token=OPERATOR, features=feature) as run, http(run) as client:
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        nothing = {"recogniser": None, "voice": None, "chosen": None}
        assert (await client.get(PATH)).json() == nothing
        left = await client.delete(f"{PATH}/recogniser")
        assert left.status_code == (200 if feature == "voice_in" else 404)


@pytest.mark.parametrize(
    "folder",
    ["", "  ", 5, None, "whisper", "/nowhere/whisper", "/\0", "/" + "a" * 300, "a" * 2000],
)
async def test_what_is_no_folder_of_a_model_is_refused(folder: Any) -> None:
    async with running(operator_token=OPERATOR) as run, http(run) as client:
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        answer = await client.post(f"{PATH}/recogniser", json={"folder": folder})
        # Also a path that no file system takes
        assert answer.status_code == 400
        assert "folder" in answer.text
        assert run.program.feature("voice_in").asr.chosen is None


async def test_one_that_fails_leaves_that_of_the_settings(tmp_path: Path) -> None:
    """It says why; words still come from the server, and do when it is taken away."""
    (tmp_path / "config.json").write_text("{}")
    async with (
        TranscriptionServer() as server,
        running(
            transcription_base_url=server.base_url,
            operator_token=OPERATOR,
            engine_python="/nowhere",
        ) as run,
        http(run) as client,
    ):
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        ear = run.program.feature("voice_in").asr
        await soon(lambda: ear.ready)
        answer = await client.post(f"{PATH}/recogniser", json={"folder": str(tmp_path)})
        assert answer.status_code == 202
        found = await chosen(client, "unreachable")
        assert found["folder"] == tmp_path.name
        assert "ENGINE_PYTHON" in found["detail"]
        # A folder that the settings do not name
        assert (ear.name, ear.ready) == ("transcriptions", True)
        assert [words.text async for words in ear.recognise(SOUND, language=None)][-1].strip()
        left = (await client.delete(f"{PATH}/recogniser")).json()
        assert (left["chosen"], left["recogniser"]["state"]) == (None, "ready")


@pytest.mark.slow
async def test_a_recogniser_is_chosen_and_ended(tmp_path: Path) -> None:
    """Pages hear of it, words come from it, /health names it; afterwards its process is gone."""
    folder = tmp_path / "whisper"
    await asyncio.to_thread(run_module, "tests.real_model.tiny_whisper", folder)
    settings = {"operator_token": OPERATOR, "engine_python": str(PYTHON)}
    async with running(**settings) as run, http(run) as client, page_of(run) as page:
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        assert page.seen[0]["features"]["voice_in"]["recogniser"] is False
        answer = await client.post(f"{PATH}/recogniser", json={"folder": str(folder)})
        assert answer.json()["chosen"]["state"] == "loading"
        await chosen(client, "ready")
        await listens(page, True)
        ear = run.program.feature("voice_in").asr
        found = [
            words
            async for words in ear.recognise(Sound(SOUND.samples[:SOUND_RATE], 0.0), language="en")
        ]
        assert found[-1].final
        health = (await client.get("/health")).json()
        assert health["recogniser"]["state"] == "ready"
        assert ear.chosen is not None
        pid = ear.chosen[1].pid
        assert pid is not None
        await client.delete(f"{PATH}/recogniser")
        await listens(page, False)
        await soon(lambda: not alive(pid))
