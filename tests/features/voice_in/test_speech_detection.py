"""Sound on its way through the detector: one piece of work at a time, a bound, and no late result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.detector import CHUNK, Chunk, SpeechModel, State
from server.features.voice_in.listening import SpeechDetection
from tests.support.fakes import until

PIECE = SOUND_RATE // 50


class HeldModel:
    """A detector's model that answers when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.broken = False

    def run(self, chunk: np.ndarray, state: State) -> tuple[float, State]:
        assert self.go.wait(10)
        if self.broken:
            raise RuntimeError("What was said")
        return 0.9, state


class Ear:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.model = HeldModel()
        self.chunks: list[Chunk] = []
        self.dropped: list[int] = []
        self.detection = SpeechDetection(
            cast(SpeechModel, self.model),
            pool,
            on_chunks=self.chunks.extend,
            on_dropped=self.dropped.append,
        )

    def hear(self, pieces: int) -> None:
        rng = np.random.default_rng(1)
        for number in range(pieces):
            samples = rng.integers(-9000, 9000, PIECE).astype(np.int16)
            self.detection.add(Sound(samples, 100 + number / 50))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_all_sound_is_heard_in_order(pool: ThreadPoolExecutor) -> None:
    """Whole chunks, one after another, with the times of their first samples."""
    ear = Ear(pool)
    ear.model.go.set()
    ear.hear(50)
    await until(lambda: len(ear.chunks) == 50 * PIECE // CHUNK)
    assert ear.detection.waiting <= 1
    assert not ear.dropped
    times = [chunk.at for chunk in ear.chunks]
    assert times == pytest.approx([100 + number * CHUNK / SOUND_RATE for number in range(31)])


async def test_a_slow_machine_hears_what_is_said_now(pool: ThreadPoolExecutor) -> None:
    """Two seconds wait at most; beyond, all of it is dropped and counted."""
    ear = Ear(pool)
    ear.hear(300)
    assert sum(ear.dropped) >= 150
    assert ear.detection.waiting <= 101
    ear.model.go.set()
    await until(lambda: bool(ear.chunks) and not ear.detection.busy)


async def test_what_is_found_late_counts_no_more(pool: ThreadPoolExecutor) -> None:
    """The microphone went off while the detector worked."""
    ear = Ear(pool)
    ear.hear(10)
    assert ear.detection.busy
    ear.detection.close()
    assert not ear.detection.busy
    ear.model.go.set()
    await asyncio.wrap_future(pool.submit(lambda: None))
    await asyncio.sleep(0)
    assert ear.chunks == []
    # Other sound, and a detector that knows nothing of the sound before it
    ear.detection.renew()
    ear.hear(10)
    await until(lambda: not ear.detection.busy and bool(ear.chunks))


async def test_a_broken_detector_is_counted(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the kind of the error and nothing else of it; the next sound is tried again."""
    ear = Ear(pool)
    ear.model.broken = True
    ear.model.go.set()
    ear.hear(2)
    await until(lambda: ear.dropped == [1])
    (record,) = caplog.records
    assert vars(record)["error"] == "RuntimeError"
    assert "What was said" not in caplog.text
    ear.model.broken = False
    ear.hear(4)
    await until(lambda: bool(ear.chunks))


async def test_chunks_wait_for_each_other_while_that_is_fine(pool: ThreadPoolExecutor) -> None:
    """Fewer ways to the thread and back; as soon as it is not fine, each goes at once."""
    ear, groups, patience = Ear(pool), list[int](), [3]
    detection = SpeechDetection(
        cast(SpeechModel, ear.model),
        pool,
        on_chunks=lambda chunks: groups.append(len(chunks)),
        on_dropped=ear.dropped.append,
        patience=lambda: patience[0],
    )
    ear.model.go.set()
    for number in range(48):
        if number == 24:
            patience[0] = 1
        detection.add(Sound(np.full(PIECE, 9000, np.int16), 100 + number / 50))
        await until(lambda: not detection.busy)
    assert groups == [3] * 5 + [1] * 15
