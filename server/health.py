"""What /health and its siblings say: whether questions can be answered here, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from server.engines.base import Engine
from server.frames import Kind

# Of places and requests, where nothing is shared with other processes.
OWN_LIMITS: Mapping[str, str | bool] = {
    "shared": False,
    "reason": "REDIS_URL is empty: limits hold for each process alone",
}


class Health:
    """Reads, when somebody asks, what others own."""

    def __init__(
        self,
        *,
        version: str,
        engine: Callable[[], Engine],
        sessions: Callable[[], int],
        cameras: Callable[[], int],
        queue: Callable[[], Mapping[Kind, int]],
        draining: Callable[[], bool],
        turn: Callable[[], list[dict[str, Any]]] = list,
        limits: Callable[[], Mapping[str, str | bool]] = lambda: OWN_LIMITS,
    ) -> None:
        self._version = version
        self._engine = engine
        self._sessions = sessions
        self._cameras = cameras
        self._queue = queue
        self._draining = draining
        self._turn = turn
        self._limits = limits
        self._started = time.monotonic()

    @property
    def limits_shared(self) -> bool:
        """Whether limits hold for all processes together."""
        return bool(self._limits()["shared"])

    def brief(self) -> dict[str, str]:
        return {
            "status": "ok",
            "service": "qwen-camera",
            "version": self._version,
            "health": "/health",
        }

    def why_not_ready(self) -> str | None:
        """None when questions can be answered."""
        if self._draining():
            return "draining: the server is about to stop"
        status = self._engine().status
        if not status.ready:
            return f"engine {status.state}" + (f": {status.detail}" if status.detail else "")
        return None

    def detail(self) -> tuple[dict[str, Any], bool]:
        """The body of /health, and whether questions can be answered."""
        engine = self._engine()
        status = engine.status
        why_not = self.why_not_ready()
        body: dict[str, Any] = {
            "status": "ok" if why_not is None else "unavailable",
            "version": self._version,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "engine": {
                "name": engine.name,
                "model": status.model,
                "state": status.state,
                "reachable": status.ready,
                "detail": status.detail,
                "context_length": status.capabilities.context_length,
            },
            "sessions": self._sessions(),
            "cameras": self._cameras(),
            "queue_depth": {str(kind): depth for kind, depth in self._queue().items()},
            "draining": self._draining(),
            "turn": self._turn(),
            "limits": dict(self._limits()),
        }
        if why_not is not None:
            body["reason"] = why_not
        return body, why_not is None
