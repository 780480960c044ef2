"""A recogniser that an operator chooses: which of the two answers, and that each one ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from server.core.errors import SpeechUnavailable
from server.core.sound import Sound
from server.engines.speech.base import Words
from server.engines.speech.chosen_recogniser import ChosenRecogniser
from server.engines.speech.local_recogniser import LocalRecogniser

SOUND = Sound(np.zeros(16_000, np.int16), 0.0)


class Fake:
    """A recogniser whose one word is its own name."""

    def __init__(self, name: str, elsewhere: str = "") -> None:
        self.name, self.elsewhere = name, elsewhere
        self.ready = False
        self.started = self.closed = 0

    def start(self) -> None:
        self.started += 1

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        yield Words(f"{self.name} {language}", True)

    async def close(self) -> None:
        self.closed += 1


class Rig:
    def __init__(self, settled: Fake | None) -> None:
        self.made: list[Fake] = []
        self.changes = 0
        self.ear = ChosenRecogniser(settled, self._make, self._changed)

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
    assert (rig.ear.name, rig.ear.elsewhere) == ("server", "speech.example.org")
    one.ready = True
    assert await rig.words() == ["whisper de"]
    assert (rig.ear.name, rig.ear.elsewhere, rig.ear.ready) == ("whisper", "", True)
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
