"""Listening: why nothing can, the lines for the terminal, and signals."""

from __future__ import annotations

import dataclasses
import signal
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from server.core.aio import Deadline
from server.models.base import EngineState, EngineStatus
from server.web.serving import DrainingServer, greeting, listening_problem, uvicorn_config


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never called here."""


def test_where_nothing_can_listen() -> None:
    """Each reason in its own words; a free place is none."""
    assert listening_problem("127.0.0.1", 0) is None
    assert listening_problem("0.0.0.0", 0) is None
    assert "no address of this machine" in str(listening_problem("192.0.2.7", 0))
    assert "no known name" in str(listening_problem("nowhere.invalid", 0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is in use" in str(listening_problem("127.0.0.1", taken.getsockname()[1]))


def test_what_protects_the_server_is_set() -> None:
    """Message size, compression, logs and proxy headers are ours, not uvicorn's defaults."""
    config = uvicorn_config(nothing, host="127.0.0.1", port=0)
    assert config.ws_max_size == 64 * 1024
    assert not config.ws_per_message_deflate
    assert not config.access_log
    assert not config.proxy_headers


def test_a_signal_before_the_start() -> None:
    """Then there is nothing to drain: it just does not go on."""

    async def drain(deadline: Deadline) -> None:
        raise AssertionError("there is nothing to drain")

    server = DrainingServer(uvicorn.Config(nothing), drain=drain)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit


READY = EngineStatus(EngineState.READY, model="builtin")


def standing(name: str, status: EngineStatus) -> Any:
    """An engine, as the greeting needs it."""
    return SimpleNamespace(name=name, status=status)


@pytest.mark.parametrize(
    ("host", "better", "said", "unsaid"),
    [
        (
            "0.0.0.0",
            "http://gpu:8001/v1",
            ["http://localhost:8000", "http://gpu:8001/v1", "https"],
            [],
        ),
        ("127.0.0.1", None, ["http://localhost:8000", "ENGINE=auto"], ["Other devices"]),
        ("cam.example.org", None, ["http://cam.example.org:8000"], ["localhost"]),
    ],
)
def test_greeting(host: str, better: str | None, said: list[str], unsaid: list[str]) -> None:
    """It has the address, the engine, how to get a better one, and a hint for other devices."""
    text = greeting(
        scheme="http", host=host, port=8000, engine=standing("builtin", READY), better=better
    )
    assert all(len(line) <= 80 for line in text.splitlines())
    text = " ".join(text.split())
    assert all(part in text for part in ("builtin", "VLLM_BASE_URL", *said))
    assert not any(part in text for part in unsaid)


def test_greeting_says_what_the_built_in_engine_does() -> None:
    """As it says it of itself: NAME_THINGS may be off."""
    status = EngineStatus(EngineState.READY, for_visitors="It reads text, and no more.")
    text = greeting(
        scheme="http", host="0.0.0.0", port=1, engine=standing("builtin", status), better=None
    )
    assert "It reads text, and no more." in " ".join(text.split())


def test_greeting_says_who_does_what() -> None:
    text = greeting(
        scheme="http",
        host="127.0.0.1",
        port=1,
        engine=standing("vllm", READY),
        better=None,
        roles={
            "watches": standing("builtin", READY),
            "reads": standing("reads", dataclasses.replace(READY, model="small-vl")),
        },
    )
    assert "  Watches         builtin\n  Reads           reads (small-vl)\n" in text


def test_greeting_of_an_engine_that_does_not_answer() -> None:
    """Its trouble has its own words."""
    status = EngineStatus(EngineState.UNREACHABLE, "Nothing listens at gpu:8001.")
    text = greeting(
        scheme="https", host="0.0.0.0", port=1, engine=standing("vllm", status), better=None
    )
    assert "https://localhost:1" in text
    assert "unreachable: Nothing listens at gpu:8001." in text
