"""The bodies of /health and its siblings; web/test_routes.py has the status codes."""

from __future__ import annotations

from typing import cast

import pytest

from server import __version__
from server.core.frames import JobKind, Role
from server.models.base import Capabilities, EngineState, EngineStatus
from server.models.selector import EngineSelector
from server.web.health import Health
from tests.support.fakes import FakeEngine


class Engine(FakeEngine):
    """A FakeEngine in any state."""

    def __init__(self, state: EngineState, detail: str = "") -> None:
        super().__init__("vllm")
        self._said = EngineStatus(state, detail, "m", Capabilities(context_length=8192))

    @property
    def status(self) -> EngineStatus:
        return self._said


class OneEngine:
    """The engines of a server that has one."""

    def __init__(self, engine: Engine) -> None:
        self.engines, self.current = [engine], engine

    def of(self, role: Role) -> Engine:
        return self.current

    def uses_fallback(self, role: Role) -> bool:
        return role is Role.WATCHES


def health(engine: Engine, *, draining: str = "") -> Health:
    return Health(
        engines=cast(EngineSelector, OneEngine(engine)),
        queue=lambda: {JobKind.CHAT: 1, JobKind.WATCH: 0, JobKind.DESCRIBE: 4},
        draining=lambda: draining,
        facts=[lambda: {"sessions": 3}, lambda: {"limits": {"shared": False}}],
    )


def test_ready() -> None:
    """All parts of the detail, and nothing that is wrong."""
    one = health(Engine(EngineState.READY))
    body, ok = one.make_detail()
    assert ok
    assert one.explain_not_ready() is None
    assert body.pop("uptime_seconds") >= 0
    assert body == {
        "status": "ok",
        "ready": True,
        "version": __version__,
        "engine": {
            "name": "vllm",
            "model": "m",
            "state": "ready",
            "reachable": True,
            "detail": "",
            "context_length": 8192,
        },
        "engines": [
            {
                "name": "vllm",
                "model": "m",
                "state": "ready",
                "detail": "",
                "context_length": 8192,
                "loaded": None,
            }
        ],
        "roles": {
            role: {"engine": "vllm", "model": "m", "state": "ready", "instead": role == "watches"}
            for role in ("answers", "watches", "reads")
        },
        "sessions": 3,
        "queue_depth": {"chat": 1, "watch": 0, "describe": 4},
        "draining": False,
        "limits": {"shared": False},
    }
    assert one.make_brief()["status"] == "ok"


@pytest.mark.parametrize("state", [s for s in EngineState if s is not EngineState.READY])
def test_not_ready(state: EngineState) -> None:
    """An engine that cannot answer is named with its state and with what to do."""
    one = health(Engine(state, "Start it."))
    body, ok = one.make_detail()
    assert not ok
    assert body["status"] == "unavailable"
    assert body["engine"]["reachable"] is False
    assert body["reason"] == f"engine {state}: Start it."
    assert body["engines"][0]["detail"] == "Start it."
    # Without a sentence the state alone has to do.
    assert health(Engine(state)).make_detail()[0]["reason"] == f"engine {state}"
    # Everybody else reads the state, and a sentence that is for them.
    told, ok = one.make_summary()
    assert not ok
    assert told["reason"] == one.explain_not_ready()
    assert str(told["reason"]).startswith(f"engine {state}: The model is ")
    assert "Start it" not in str(told)
