"""Build /health and its siblings: the server can answer questions, or the reason why not.

This much is open to everybody; addresses, models, reasons and remedies need access to `detail`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.core.frames import Kind
from server.models.base import Engine


class Health:
    """Builds the bodies from values that others own, at each request."""

    def __init__(
        self,
        *,
        version: str,
        engine: Callable[[], Engine],
        sessions: Callable[[], int],
        cameras: Callable[[], int],
        queue: Callable[[], Mapping[Kind, int]],
        draining: Callable[[], str],
        turn: Callable[[], list[dict[str, Any]]] = list,
        engines: Callable[[], Sequence[Engine]] = tuple,
        features: Sequence[Callable[[], Mapping[str, Any]]] = (),
    ) -> None:
        """`draining`: why nobody new is taken, "" otherwise; `engines`: all engines that can be used, best first; `features`:
        what features add to `detail`.
        """
        self._version = version
        self._engine = engine
        self._sessions = sessions
        self._cameras = cameras
        self._queue = queue
        self._draining = draining
        self._turn = turn
        self._engines = engines
        self._features = features
        self._started = time.monotonic()

    def brief(self) -> dict[str, str]:
        return {
            "status": "ok",
            "service": "qwen-camera",
            "version": self._version,
            "health": "/health",
        }

    def why_not_ready(self) -> str | None:
        """Return the reason why questions cannot be answered, in words for everybody; None when
        they can.
        """
        return self._why_not(self._engine().status.visitor_detail)

    def summary(self) -> tuple[dict[str, Any], bool]:
        """Return the public body of /health, and True when questions can be answered."""
        engine = self._engine()
        status = engine.status
        why_not = self.why_not_ready()
        body = self._begin(why_not) | {
            "engine": {
                "name": engine.name,
                "state": status.state,
                "reachable": status.ready,
                "detail": status.visitor_detail,
            },
            "queue_depth": self._depths(),
            "draining": bool(self._draining()),
        }
        return body | ({"reason": why_not} if why_not else {}), why_not is None

    def detail(self) -> tuple[dict[str, Any], bool]:
        """Return the whole body of /health, and True when questions can be answered."""
        engine = self._engine()
        status = engine.status
        why_not = self._why_not(status.detail)
        body = self._begin(why_not) | {
            "engine": {
                "name": engine.name,
                "model": status.model,
                "state": status.state,
                "reachable": status.ready,
                "detail": status.detail,
                "context_length": status.capabilities.context_length,
            },
            # Includes the reason why a better one does not answer.
            "engines": [
                {
                    "name": one.name,
                    "model": one.status.model,
                    "state": one.status.state,
                    "detail": one.status.detail,
                }
                for one in self._engines()
            ],
            "sessions": self._sessions(),
            "cameras": self._cameras(),
            "queue_depth": self._depths(),
            "draining": bool(self._draining()),
            "turn": self._turn(),
        }
        for facts in self._features:
            body |= facts()
        return body | ({"reason": why_not} if why_not else {}), why_not is None

    def _begin(self, why_not: str | None) -> dict[str, Any]:
        return {
            "status": "ok" if why_not is None else "unavailable",
            "ready": why_not is None,
            "version": self._version,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
        }

    def _depths(self) -> dict[str, int]:
        return {str(kind): depth for kind, depth in self._queue().items()}

    def _why_not(self, detail: str) -> str | None:
        if why := self._draining():
            return f"draining: {why}"
        status = self._engine().status
        if status.ready:
            return None
        return f"engine {status.state}" + (f": {detail}" if detail else "")
