"""The checks of all microphones: one thread, a bound, a count of how each ended."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from server.core.metrics import Metrics
from server.voice.turn_model import TurnModel

log = logging.getLogger(__name__)

# Checks under way in all sessions: as many as one thread makes within `ANSWER_SECONDS`
MOST_CHECKS = 3
# An answer that takes longer counts as none.
ANSWER_SECONDS = 0.3


class TurnJudge:
    """Has turns judged by a model in a thread. `begin` and `note` are called on one thread."""

    def __init__(self, model: TurnModel, pool: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._model = model
        self._pool = pool
        self._metrics = metrics
        self._free = threading.BoundedSemaphore(MOST_CHECKS)
        # The last check gave no answer in time: the log has said so.
        self._troubled = False

    def begin(self, samples: NDArray[np.int16]) -> Future[bool] | None:
        """Begin a check of a turn's sound; None when too many are under way."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            check = self._pool.submit(self._model.complete, samples)
        except RuntimeError:
            # The program ends.
            self._free.release()
            return None
        check.add_done_callback(lambda _: self._free.release())
        return check

    def note(self, result: str, error: BaseException | None = None) -> None:
        """Count how a check ended: complete, incomplete, unused, busy, slow, failed."""
        self._metrics.turn_checks.labels(result).inc()
        if result in ("complete", "incomplete"):
            if self._troubled:
                log.info("the end-of-turn model answers in time again")
            self._troubled = False
        elif result != "unused" and not self._troubled:
            self._troubled = True
            if error is not None:
                log.warning(
                    "the end-of-turn model failed: silence alone ends turns until it answers",
                    extra={"error": type(error).__name__},
                )
            else:
                log.warning(
                    "the end-of-turn model has no time: silence alone ends turns until it answers",
                    extra={"reason": result},
                )
