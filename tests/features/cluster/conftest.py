"""More time for Redis: a busy machine is no dead one."""

from __future__ import annotations

import pytest

from server.features.cluster import redis_store
from tests.support.patient_server import ANSWER_SECONDS


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", ANSWER_SECONDS)
