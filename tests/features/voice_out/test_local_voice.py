"""A voice in a process of its own, with the true package and a tiny model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from server.features.voice_out.voices import LocalVoice
from server.shared.speech import SpeechFailed, SpeechRefused, SpeechUnavailable
from tests.real_model.server import PYTHON
from tests.support import local_voice
from tests.support.clients import soon
from tests.support.local_voice import loading

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
FRAME = 1920
TEXT = "There is a red cup."


def voice_of(folder: Path, **more: Any) -> LocalVoice:
    given: dict[str, Any] = {
        "python": str(PYTHON),
        "options": "max_frames=24",
        "env": local_voice.ENVIRONMENT,
        **more,
    }
    return LocalVoice(folder, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    local_voice.needed()
    made = tmp_path_factory.mktemp("speech") / "tiny"
    local_voice.make(made)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voice(folder: Path) -> AsyncIterator[LocalVoice]:
    async with loading(voice_of(folder, options="max_frames=24 use_cuda_graphs=on")) as loaded:
        await loaded.wait()
        yield loaded


async def spoken(voice: LocalVoice, text: str = TEXT) -> list[NDArray[np.int16]]:
    return [chunk.samples async for chunk in voice.speak(text, language="en")]


async def test_sound_comes_while_it_is_made(voice: LocalVoice) -> None:
    chunks = await spoken(voice)
    assert [len(chunk) // FRAME for chunk in chunks] == [2, 8, 8, 6]
    whole = np.concatenate(chunks)
    assert whole.std() > 1000


async def test_a_whole_text_comes_at_once_until_its_process_dies(folder: Path) -> None:
    """With `whole_text` the voice sends one chunk, with as many frames as the stream has."""
    async with loading(voice_of(folder, options="max_frames=24 whole_text=on")) as gathered:
        await gathered.wait()
        (whole,) = await spoken(gathered)
        assert len(whole) == 24 * FRAME
        assert whole.std() > 1000
        speaking = asyncio.ensure_future(spoken(gathered))
        await soon(lambda: gathered._worker.busy)
        gathered.kill()
        with pytest.raises(SpeechFailed, match="process ended while it spoke"):
            await asyncio.wait_for(speaking, 30)
        assert not gathered.ready


async def test_what_a_machine_cannot_do_is_said_and_left_out(voice: LocalVoice) -> None:
    assert voice.notes == ["use_cuda_graphs is off: torch finds no GPU here."]


async def test_a_text_that_is_given_up_ends_at_once(voice: LocalVoice) -> None:
    speaking = voice.speak(TEXT * 3, language=None)
    assert len((await anext(speaking)).samples) == 2 * FRAME
    await speaking.aclose()
    # The next one is not behind the rest of it.
    assert len(await spoken(voice)) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  ", "The text is empty"),
        ("a" * 5000, "5,000 characters; at most 4,000"),
        (["One.", "Two."], "one text at a time"),
    ],
)
async def test_what_is_no_text_is_refused(voice: LocalVoice, text: Any, words: str) -> None:
    with pytest.raises(SpeechRefused, match=words):
        await spoken(voice, text)
    assert voice.ready


@pytest.mark.night
async def test_what_cannot_be_compiled_runs_plain(folder: Path) -> None:
    """The decoder and the codebook predictor, each with its note."""
    quick = voice_of(
        folder,
        options="max_frames=12 use_compile=on compile_codebook_predictor=on decode_window_frames=12",
        env={
            **local_voice.ENVIRONMENT,
            "CXX": "/nowhere/compiler",
            "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        },
    )
    async with loading(quick):
        await quick.wait()
        why = "runs in eager mode, because its optimisation failed"
        assert [note.partition(" (")[0] for note in quick.notes] == [
            f"The decoder {why}",
            f"The codebook predictor {why}",
        ]
        assert [len(chunk) // FRAME for chunk in await spoken(quick)] == [2, 8, 2]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"python": "/nowhere/python"}, "Set SPEECH_PYTHON"),
        ({"voice": "carla"}, 'has no voice "carla". It has: anna, ben'),
    ],
)
async def test_a_voice_that_does_not_load_says_why(
    folder: Path, more: dict[str, str], words: str
) -> None:
    async with loading(voice_of(folder, **more)) as broken:
        with pytest.raises(SpeechUnavailable, match=words):
            await broken.wait()
        assert not broken.ready
        with pytest.raises(SpeechUnavailable):
            await spoken(broken)


async def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    async with loading(voice_of(tmp_path)) as broken:
        with pytest.raises(SpeechUnavailable, match=r"config\.json is missing"):
            await broken.wait()
