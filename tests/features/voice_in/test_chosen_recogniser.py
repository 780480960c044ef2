"""A recogniser that an operator chooses: which of the two answers, and that each one ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from server.core.errors import Draining
from server.core.sound import Sound
from server.features.voice_in.recogniser import ChosenRecogniser, LocalRecogniser, Words
from server.shared.speech import SpeechUnavailable

SOUND = Sound(np.zeros(16_000, np.int16), 0.0)


class Fake:
    """A recogniser whose one word is its own name."""

    def __init__(self, name: str, elsewhere: str = "") -> None:
        self.name, self.elsewhere = name, elsewhere
        self.ready = False
        self.started = self.closed = 0
        # Cleared: it takes its time to end
        self.ends = asyncio.Event()
        self.ends.set()

    def start(self) -> None:
        self.started += 1

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        yield Words(f"{self.name} {language}", True)

    async def close(self) -> None:
        await self.ends.wait()
        self.closed += 1


class Rig:
    def __init__(self, settled: Fake | None) -> None:
        self.made: list[Fake] = []
        self.changes = 0
        self.ear = ChosenRecogniser(
            cast(LocalRecogniser | None, settled), self._make, self._changed
        )

    def _make(self, folder: Path) -> LocalRecogniser:
        self.made.append(Fake(folder.name))
        return cast(LocalRecogniser, self.made[-1])

    def _changed(self) -> None:
        self.changes += 1

    async def words(self) -> list[str]:
        return [one.text async for one in self.ear.recognise(SOUND, language="de")]


async def test_the_chosen_one_answers_once_it_is_loaded() -> None:
    """And that of the settings before, and again when the chosen one has failed or gone."""
    settled = Fake("server", "speech.example.org")
    settled.ready = True
    rig = Rig(settled)
    assert await rig.words() == ["server de"]
    await rig.ear.choose(Path("/models/whisper"))
    (one,) = rig.made
    assert one.started == 1
    assert await rig.words() == ["server de"]
    assert rig.ear.elsewhere == "speech.example.org"
    one.ready = True
    assert await rig.words() == ["whisper de"]
    assert (rig.ear.elsewhere, rig.ear.ready) == ("", True)
    one.ready = False
    assert await rig.words() == ["server de"]
    await rig.ear.forget()
    assert (one.closed, rig.changes, rig.ear.chosen) == (1, 1, None)
    await rig.ear.forget()
    assert (one.closed, rig.changes) == (1, 1)


async def test_another_choice_ends_the_one_before() -> None:
    rig = Rig(None)
    for name in ("one", "two"):
        await rig.ear.choose(Path(f"/models/{name}"))
    first, second = rig.made
    assert (first.closed, second.closed) == (1, 0)
    second.ready = True
    assert await rig.words() == ["two de"]


async def test_without_any_it_says_so() -> None:
    rig = Rig(None)
    assert not rig.ear.ready
    assert rig.ear.elsewhere == ""
    with pytest.raises(SpeechUnavailable, match="No recogniser is set"):
        await rig.words()


async def test_closing_ends_both() -> None:
    settled = Fake("server")
    rig = Rig(settled)
    await rig.ear.choose(Path("/models/whisper"))
    await rig.ear.close()
    assert (settled.closed, rig.made[0].closed) == (1, 1)
    assert rig.changes == 0


async def test_nothing_is_loaded_after_the_end() -> None:
    """Neither by a choice that still ended the one before, nor by a later one."""
    rig = Rig(None)
    await rig.ear.choose(Path("/models/one"))
    (one,) = rig.made
    one.ends.clear()
    late = asyncio.create_task(rig.ear.choose(Path("/models/two")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(rig.ear.close())
    await asyncio.sleep(0)
    one.ends.set()
    with pytest.raises(Draining):
        await late
    await closing
    with pytest.raises(Draining):
        await rig.ear.choose(Path("/models/three"))
    assert rig.made == [one]
    assert rig.ear.chosen is None


async def test_one_whose_end_was_cancelled_is_ended_by_the_next() -> None:
    """Its request was given up: its process would stay, with its memory."""
    rig = Rig(None)
    await rig.ear.choose(Path("/models/one"))
    (one,) = rig.made
    one.ends.clear()
    ending = asyncio.create_task(rig.ear.forget())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert one.closed == 0
    one.ends.set()
    await rig.ear.close()
    assert one.closed == 1


async def test_choices_at_once_leave_one() -> None:
    rig = Rig(None)
    await asyncio.gather(*(rig.ear.choose(Path(f"/models/{n}")) for n in range(5)))
    assert [one.closed for one in rig.made] == [1, 1, 1, 1, 0]
    assert rig.ear.chosen is not None
    assert rig.ear.chosen[0] == "4"
