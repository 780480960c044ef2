"""One spoken turn: its sound for one reader, its frames, and what is bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from server.core.sound import Sound
from server.features.voice_in import spoken_questions as spoken_turn
from server.features.voice_in.spoken_questions import SpokenTurn
from tests.support.rooms import make_frame


def piece(at: float) -> Sound:
    return Sound(np.zeros(320, np.int16), at)


async def test_the_reader_gets_all_pieces_in_order() -> None:
    """Those before it began, and those that come while it waits; then the end."""
    turn, got = SpokenTurn(1.0), []

    async def read() -> None:
        async for one in turn.sound():
            got.append(one.captured)

    for at in (0.9, 0.92):
        turn.add(piece(at))
    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    turn.add(piece(0.94))
    turn.finish()
    turn.add(piece(0.96))
    turn.finish()
    await reading
    assert got == [0.9, 0.92, 0.94]
    # The sound begins where its first piece does, not where it was wanted.
    assert turn.captured == 0.9


async def test_a_slow_reader_costs_no_memory() -> None:
    """Sound that does not fit is dropped and counted, and the end is still read."""
    turn = SpokenTurn(0.0)
    for number in range(3000):
        turn.add(piece(number * 0.02))
    turn.finish()
    assert turn.dropped == 3000 - 1999
    assert len([one async for one in turn.sound()]) == 1999


def test_frames_are_few_and_near() -> None:
    """Thirty seconds at 15 a second: eight frames, the nearest of them within 4 seconds."""
    turn = SpokenTurn(0.0)
    for number in range(450):
        turn.show(make_frame(number, captured=number / 15))
    assert turn.frames == 8
    for at in (0.0, 9.0, 17.5, 29.9):
        nearest = turn.nearest(at)
        assert nearest is not None
        assert abs(nearest.captured - at) < 4
    newest = turn.nearest(100.0)
    assert newest is not None
    assert newest.captured > 29.5


def test_large_frames_are_fewer() -> None:
    """24 MiB of them: three of 3840×2160, and never fewer than two."""
    for width, height, most in ((3840, 2160, 2), (1920, 1080, 8), (4096, 4096, 2)):
        turn = SpokenTurn(0.0)
        frame = make_frame(1, captured=0.0)
        for number in range(20):
            turn.show(replace(frame, width=width, height=height, captured=number * 0.5))
        assert turn.frames == most
    assert spoken_turn._MOST_FRAME_BYTES == 24 * 1024 * 1024


def test_the_same_frame_is_kept_once() -> None:
    """The camera stands still, or sends more often than four times a second."""
    turn, frame = SpokenTurn(0.0), make_frame(1, captured=5.0)
    for _ in range(10):
        turn.show(frame)
        turn.show(None)
    assert turn.frames == 1


async def test_closing_frees_all() -> None:
    """Frames, sound and the work on them."""
    turn = SpokenTurn(0.0)
    turn.show(make_frame(1))
    turn.task = asyncio.create_task(asyncio.sleep(60))
    turn.after = asyncio.create_task(asyncio.sleep(60, None))
    turn.close()
    await asyncio.wait([turn.task])
    assert turn.task.cancelled()
    assert turn.after is None
    assert turn.frames == 0
    assert turn.whole is None
