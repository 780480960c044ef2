"""A stand-in for the end-of-turn model whose checks the test lets go, and the count of checks."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from server.core.metrics import Metrics


class HeldTurnModel:
    """Answers when `go` is set: True, or raises `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answer, self.error = True, error
        self.go = threading.Event()
        self.heard: list[NDArray[np.int16]] = []
        self.threads: set[int] = set()

    def is_complete(self, samples: NDArray[np.int16]) -> bool:
        self.heard.append(samples)
        self.threads.add(threading.get_ident())
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        return self.answer


def checks_of(metrics: Metrics) -> dict[str, int]:
    """Return how many checks ended in which way."""
    return {
        sample.labels["result"]: int(sample.value)
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "qwen_camera_turn_checks_total"
    }
