"""A recogniser in a process of its own, with a tiny Whisper."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.recogniser import LocalRecogniser, Words
from server.shared.speech import SpeechFailed, SpeechUnavailable
from tests.real_model.server import PYTHON, run_module
from tests.support.clients import soon
from tests.support.local_voice import loading
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recogniser(folder: Path) -> AsyncIterator[LocalRecogniser]:
    async with loading(LocalRecogniser(folder, str(PYTHON), env=ENVIRONMENT)) as one:
        assert not one.ready
        await one.wait()
        yield one


async def said(one: LocalRecogniser, sound: Sound, language: str | None = None) -> list[Words]:
    return [words async for words in one.recognise(stream(sound), language=language)]


async def test_words_with_their_times(recogniser: LocalRecogniser) -> None:
    """A tiny model's words mean nothing; the same sound gives the same ones, within its length."""
    (words,) = await said(recogniser, noise(2.0), "en-GB")
    assert words.final
    assert words.text
    assert words.times
    assert [words] == await said(recogniser, noise(2.0), "en-GB")
    assert (recogniser.name, recogniser.elsewhere, recogniser.trouble) == ("local", "", "")


async def test_longer_than_a_model_takes_at_once(recogniser: LocalRecogniser) -> None:
    """40 s go in parts; an unknown language is the model's to find; no sound has no words."""
    (words,) = await said(recogniser, noise(40.0), "xx")
    assert words.final
    assert await said(recogniser, noise(0.0)) == [Words("", True)]


async def test_a_sound_that_is_given_up_holds_nobody_up(recogniser: LocalRecogniser) -> None:
    """The next one is taken at once; its words are its own."""
    (before,) = await said(recogniser, noise(1.0))
    async with aclosing(recogniser.recognise(stream(noise(50.0)), language=None)) as words:
        task = asyncio.ensure_future(anext(words))
        await soon(lambda: recogniser._worker.busy)
        task.cancel()
        await asyncio.wait([task])
    assert await said(recogniser, noise(1.0)) == [before]


async def test_a_process_that_dies(folder: Path) -> None:
    """The words that it owes fail, and it is not ready any more; nothing is left of it."""
    changes: list[bool] = []
    async with loading(LocalRecogniser(folder, str(PYTHON), env=ENVIRONMENT)) as one:
        one.on_change = lambda: changes.append(one.ready)
        await one.wait()
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
        with pytest.raises(SpeechUnavailable):
            await one.wait()
        assert not mark.exists()


async def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    """A folder that holds no speech model, and a Python that is none."""
    for python, words in (
        (str(PYTHON), "TRANSCRIPTION_LOCAL_MODEL"),
        ("/nowhere", "ENGINE_PYTHON"),
    ):
        async with loading(LocalRecogniser(tmp_path, python, env=ENVIRONMENT)) as one:
            with pytest.raises(SpeechUnavailable, match=words) as raised:
                await one.wait()
            assert words not in raised.value.visitor_message
