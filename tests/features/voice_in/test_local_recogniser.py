"""A recogniser in a process of its own, with a tiny Whisper."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.recogniser import LocalRecogniser, Transcription
from server.features.voice_in.service import ListeningService
from server.shared.speech import SpeechFailed, SpeechUnavailable
from tests.features.voice_in.test_service import OPERATOR, PATH, chosen, listens
from tests.real_model.server import PYTHON, run_module
from tests.support.children import alive
from tests.support.clients import http, page_of, soon
from tests.support.local_voice import loading
from tests.support.running import running
from tests.support.sounds import stream

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def noise(seconds: float) -> Sound:
    samples = np.random.default_rng(1).integers(-9000, 9000, int(seconds * SOUND_RATE))
    return Sound(samples.astype(np.int16), 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("speech") / "whisper"
    run_module("tests.real_model.tiny_whisper", made)
    return made


async def said(
    one: LocalRecogniser, sound: Sound, language: str | None = None
) -> list[Transcription]:
    return [words async for words in one.recognise(stream(sound), language=language)]


async def test_a_process_from_its_first_words_to_its_death(folder: Path) -> None:
    """A tiny model's words mean nothing; the same sound has the same ones, whatever came before."""
    changes: list[bool] = []
    async with loading(LocalRecogniser(folder, str(PYTHON), env=ENVIRONMENT)) as one:
        one.on_change = lambda: changes.append(one.ready)
        assert not one.ready
        await one.wait()
        (words,) = await said(one, noise(2.0), "en-GB")
        assert words.final
        assert words.text
        assert words.times
        assert [words] == await said(one, noise(2.0), "en-GB")
        assert (one.name, one.elsewhere, one.trouble) == ("local", "", "")

        # 40 s go in parts; an unknown language is the model's to find; no sound has no words.
        (long,) = await said(one, noise(40.0), "xx")
        assert long.final
        assert await said(one, noise(0.0)) == [Transcription("", True)]

        # One that is given up holds nobody up; the next one's words are its own.
        (before,) = await said(one, noise(1.0))
        async with aclosing(one.recognise(stream(noise(50.0)), language=None)) as given_up:
            task: asyncio.Future[Any] = asyncio.ensure_future(anext(given_up))
            await soon(lambda: one._worker.busy)
            task.cancel()
            await asyncio.wait([task])
        assert await said(one, noise(1.0)) == [before]

        # Killed: the words that it owes fail, it is not ready any more, and nothing is left of it.
        assert one.pid is not None
        task = asyncio.ensure_future(said(one, noise(50.0)))
        await soon(lambda: one._worker.busy)
        os.kill(one.pid, signal.SIGKILL)
        with pytest.raises(SpeechFailed):
            await task
        await soon(lambda: not one.ready)
        with pytest.raises(SpeechUnavailable, match="process ended"):
            await said(one, noise(1.0))
        assert changes == [True, False]
    assert one.pid is None


async def test_a_recogniser_is_chosen_and_ended(folder: Path) -> None:
    """Pages hear of it, words come from it, /health names it; afterwards its process is gone."""
    settings = {"operator_token": OPERATOR, "engine_python": str(PYTHON)}
    async with running(**settings) as run, http(run, OPERATOR) as client, page_of(run) as page:
        assert page.seen[0]["features"]["voice_in"]["recogniser"] is False
        answer = await client.post(f"{PATH}/recogniser", json={"folder": str(folder)})
        assert answer.json()["chosen"]["state"] == "loading"
        await chosen(client, "ready")
        await listens(page, True)
        ear = run.program.added.provided[ListeningService].asr
        assert (await said(ear, noise(1.0), "en"))[-1].final
        health = (await client.get("/health")).json()
        assert health["recogniser"]["state"] == "ready"
        pid = ear.chosen[1].pid
        assert pid is not None
        await client.delete(f"{PATH}/recogniser")
        await listens(page, False)
        await soon(lambda: not alive(pid))


class Opens:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = str(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._file, "w")


@pytest.mark.parametrize("way", ["module", "pickle"])
async def test_a_model_brings_no_code(folder: Path, tmp_path: Path, way: str) -> None:
    """Neither a module beside its weights, nor weights that run when they are read; nothing is loaded then."""
    model, mark = tmp_path / "whisper", tmp_path / "ran"
    shutil.copytree(folder, model)
    if way == "module":
        (model / "own.py").write_text(
            f"import transformers\nopen({str(mark)!r}, 'w')\n"
            "class Config(transformers.WhisperConfig):\n    model_type = 'own'\n"
        )
        config = json.loads((model / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
        (model / "config.json").write_text(json.dumps(config))
    else:
        (model / "model.safetensors").unlink()
        (model / "pytorch_model.bin").write_bytes(pickle.dumps(Opens(mark)))
    async with loading(LocalRecogniser(model, str(PYTHON), env=ENVIRONMENT)) as one:
        with pytest.raises(SpeechUnavailable, match="TRANSCRIPTION_LOCAL_MODEL") as raised:
            await one.wait()
        assert "TRANSCRIPTION" not in raised.value.visitor_message
        assert not mark.exists()


async def test_a_python_that_is_none_is_named(tmp_path: Path) -> None:
    async with loading(LocalRecogniser(tmp_path, "/nowhere", env=ENVIRONMENT)) as one:
        with pytest.raises(SpeechUnavailable, match="ENGINE_PYTHON") as raised:
            await one.wait()
        assert "ENGINE_PYTHON" not in raised.value.visitor_message
