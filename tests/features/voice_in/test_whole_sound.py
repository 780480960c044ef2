"""Sound in pieces, as one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.server_recogniser import MOST_SOUND_SECONDS, Pieces
from server.shared.speech.errors import SpeechRefused


async def pieces(*lengths: int) -> AsyncIterator[Sound]:
    at = 0
    for length in lengths:
        yield Sound(np.arange(at, at + length).astype(np.int16), at / SOUND_RATE)
        at += length


async def test_pieces_become_one() -> None:
    """Those taken one by one before count, too; empty ones are left out."""
    found = Pieces(pieces(3, 0, 4, 5))
    assert len((await anext(found)).samples) == 3
    whole = await found.rest()
    assert whole is not None
    assert whole.samples.tolist() == list(range(12))
    assert whole.captured == 0.0


async def test_one_sound_stays_as_it_is() -> None:
    """Nothing is copied; no sound is None."""
    sound = Sound(np.ones(5, np.int16), 1.0)
    assert await Pieces(sound).rest() is sound
    assert await Pieces(Sound(np.empty(0, np.int16), 1.0)).rest() is None
    assert await Pieces(pieces()).rest() is None


async def test_too_long() -> None:
    """A minute is taken, and no sample more; visitors read it in plain words."""
    most = int(MOST_SOUND_SECONDS * SOUND_RATE)
    whole = await Pieces(pieces(most - 1, 1)).rest()
    assert whole is not None
    assert whole.seconds == MOST_SOUND_SECONDS
    found = Pieces(pieces(most, 1))
    with pytest.raises(SpeechRefused) as raised:
        await found.rest()
    assert found.too_long
    assert "60 seconds" in raised.value.visitor_message
