"""The start message on the terminal."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from config import load
from server.app.greeting import make_greeting
from server.models.base import EngineState, EngineStatus

READY = EngineStatus(EngineState.READY, model="builtin")


def select(name: str, **roles: EngineStatus) -> Any:
    """Return engines that are ready, for answers and for roles."""
    return SimpleNamespace(
        current=SimpleNamespace(name=name, status=READY),
        of=lambda role: SimpleNamespace(name=role, status=roles[role]),
    )


@pytest.mark.parametrize(
    ("host", "engine", "said", "unsaid"),
    [
        (
            "0.0.0.0",
            "auto",
            ["http://localhost:8000", "http://gpu:8001/v1", "https"],
            [],
        ),
        ("127.0.0.1", "builtin", ["http://localhost:8000", "ENGINE=auto"], ["Other devices"]),
        ("cam.example.org", "builtin", ["http://cam.example.org:8000"], ["localhost"]),
    ],
)
def test_greeting(host: str, engine: str, said: list[str], unsaid: list[str]) -> None:
    """It has the address, the engine, how to get a better one, and a hint for other devices."""
    settings = load(None, host=host, engine=engine, vllm_base_url="http://gpu:8001/v1")
    text = make_greeting(settings, 8000, select("builtin"))
    assert all(len(line) <= 80 for line in text.splitlines())
    text = " ".join(text.split())
    assert all(part in text for part in ("builtin", "VLLM_BASE_URL", *said))
    assert not any(part in text for part in unsaid)


def test_greeting_says_who_does_what() -> None:
    settings = load(None, watches_base_url="local", reads_base_url="http://gpu:8002/v1")
    small = dataclasses.replace(READY, model="small-vl")
    text = make_greeting(settings, 1, select("vllm", watches=READY, reads=small))
    assert "  Watches         watches (builtin)\n  Reads           reads (small-vl)\n" in text
