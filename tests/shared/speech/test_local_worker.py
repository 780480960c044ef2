"""The process of a local speech model, with small programs in place of a model."""

from __future__ import annotations

import sys

from server.shared.speech.local_worker import SpeechWorker
from tests.support.clients import soon

READY_AT_ITS_END = """
import sys
from server.shared.processes.wire import encode
sys.stdin.buffer.read()
sys.stdout.buffer.write(encode({"type": "ready"}))
sys.stdout.flush()
"""


async def test_one_that_is_loaded_while_it_is_ended_is_not_ready() -> None:
    """Nobody hears of it, and nobody's sound goes to a process that is about to be gone."""
    changes: list[bool] = []
    worker = SpeechWorker(
        "recogniser",
        (sys.executable, "-c", READY_AT_ITS_END),
        {},
        load_seconds=60,
        remedy="",
        on_change=lambda: changes.append(worker.ready),
    )
    worker.start()
    # Its input is open: closing it is the first way to end it.
    await soon(lambda: worker._worker.process._stdin is not None)
    await worker.close()
    assert (changes, worker.ready) == ([], False)
