"""The response bodies of /health, and gauges.

Everybody may see whether the server can answer questions; addresses, models, reasons and remedies are only
in `detail`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from server import __version__
from server.core import aio
from server.core.frames import JobKind, Role
from server.media.patches import datagrams
from server.models.base import Engine

if TYPE_CHECKING:
    from server.auth import RequestLimiter
    from server.core.metrics import Metrics
    from server.inference import Inference
    from server.models.selector import EngineSelector
    from server.session_manager import SessionManager
    from server.web.protocols import Connections


class Health:
    """Builds the bodies from the current state of other parts."""

    def __init__(
        self,
        *,
        engines: EngineSelector,
        queue: Callable[[], Mapping[JobKind, int]],
        draining: Callable[[], str],
        facts: Sequence[Callable[[], Mapping[str, Any]]] = (),
    ) -> None:
        """`draining()` returns why no new sessions are accepted, or "". `facts`: additional fields of `detail`."""
        self._engines = engines
        self._queue = queue
        self._draining = draining
        self._facts = facts
        self._started = time.monotonic()

    def make_brief(self) -> dict[str, str]:
        return {
            "status": "ok",
            "service": "qwen-camera",
            "version": __version__,
            "health": "/health",
        }

    def explain_not_ready(self) -> str | None:
        """Return why questions cannot be answered, as a text for visitors; None if they can."""
        return self._explain_not_ready(self._engines.current.status.visitor_detail)

    def make_summary(self) -> tuple[dict[str, Any], bool]:
        """Return the public body of /health, and True if questions can be answered."""
        return self._make_body(self._engines.current.status.visitor_detail)

    def make_detail(self) -> tuple[dict[str, Any], bool]:
        """Return the full body of /health, and True if questions can be answered."""
        engine = self._engines.current
        status = engine.status
        body, ready = self._make_body(status.detail)
        body["engine"] |= {
            "model": status.model,
            "context_length": status.capabilities.context_length,
        }
        body |= {
            # Their details say why a better engine is not used.
            "engines": [
                {
                    "name": one.name,
                    "model": one.status.model,
                    "state": one.status.state,
                    "detail": one.status.detail,
                    "context_length": one.status.capabilities.context_length,
                    "loaded": one.status.loaded,
                }
                | ({"left_out": one.status.left_out} if one.status.left_out else {})
                for one in self._engines.engines
            ],
            # Engine by role. `instead`: a fallback is used. `beyond`: the engine for conditions that
            # the watching engine does not support.
            "roles": {
                role: {
                    "engine": one.name,
                    "model": one.status.model,
                    "state": one.status.state,
                    "instead": self._engines.uses_fallback(role),
                }
                | (
                    {"beyond": engine.name}
                    if role is Role.WATCHES and _has_unsupported_conditions(one, engine)
                    else {}
                )
                for role in Role
                for one in (self._engines.of(role),)
            },
        }
        for facts in self._facts:
            body |= facts()
        return body, ready

    def _make_body(self, detail: str) -> tuple[dict[str, Any], bool]:
        """Return the public fields, and True if questions can be answered. `detail`: text about the engine."""
        engine = self._engines.current
        why_not = self._explain_not_ready(detail)
        body = {
            "status": "ok" if why_not is None else "unavailable",
            "ready": why_not is None,
            "version": __version__,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "engine": {
                "name": engine.name,
                "state": engine.status.state,
                "reachable": engine.status.ready,
                "detail": detail,
            },
            "queue_depth": {str(kind): depth for kind, depth in self._queue().items()},
            "draining": bool(self._draining()),
        }
        return body | ({"reason": why_not} if why_not else {}), why_not is None

    def _explain_not_ready(self, detail: str) -> str | None:
        if why := self._draining():
            return f"draining: {why}"
        status = self._engines.current.status
        if status.ready:
            return None
        return f"engine {status.state}" + (f": {detail}" if detail else "")


def _has_unsupported_conditions(watches: Engine, answers: Engine) -> bool:
    """Return whether the answering engine handles conditions that the watching engine does not support."""
    status = answers.status
    limited = watches.status.capabilities.cannot_watch is not None
    return limited and status.ready and status.capabilities.cannot_watch is None


# Metrics that are computed at each request for /metrics


def add_gauges(
    metrics: Metrics,
    limits: Mapping[str, int],
    *,
    sessions: SessionManager,
    inference: Inference,
    engines: EngineSelector,
    health: Health,
) -> None:
    """Add gauges of sessions, cameras, the queue and the engines. `limits`: configured maximums by name."""
    gauge = metrics.gauge
    gauge("sessions", "Sessions", lambda: len(sessions))
    gauge("sockets", "Open sockets", lambda: sessions.sockets)
    gauge(
        "sent_picture_bytes",
        "Bytes of the pictures kept to show what an engine got",
        lambda: sum(session.sent_pictures.size for session in sessions.list_all()),
    )
    gauge(
        "cameras",
        "Cameras by state",
        lambda: Counter(
            str(camera.state())
            for session in sessions.list_all()
            for camera in session.cameras
            if camera.offered
        ),
        "state",
    )
    gauge("queue_depth", "Waiting work", inference.count_waiting, "kind")
    gauge("inferences_running", "Answers that are worked on", lambda: inference.running)
    gauge(
        "limit",
        "The most that there may be of some of these, as configured (inferences: and as the engine allows)",
        lambda: {**limits, "inferences": inference.slots},
        "of",
    )
    gauge(
        "ready",
        "1 while questions can be answered here, as in /health/ready",
        lambda: health.explain_not_ready() is None,
    )
    metrics.count(
        "loop_failures_total",
        "Times that a step of a background loop raised and was tried again",
        lambda: aio.loop_failures,
        "loop",
    )
    capacity = sessions.capacity
    gauge(
        "draining",
        "1 while nobody new is taken here, because the process stops or an operator ordered it",
        lambda: {"stop": capacity.draining, "operator": capacity.operator_draining},
        "by",
    )
    gauge(
        "role_engine",
        "1 for the engine that does a role's work",
        lambda: {(role, engines.of(role).name): 1 for role in Role},
        "role",
        "engine",
    )
    gauge(
        "engine_up",
        "1 while the engine is ready",
        lambda: {one.name: one.status.ready for one in engines.engines if not one.status.unused},
        "engine",
    )


def add_network_gauges(metrics: Metrics, connections: Connections, limiter: RequestLimiter) -> None:
    """Add metrics of connections, refused datagrams and the rate limit."""
    count = metrics.count
    metrics.gauge("connections", "Open connections", lambda: len(connections))
    count(
        "connections_refused_total",
        "Connections that were refused for want of room",
        lambda: connections.refused,
    )
    count(
        "connections_cut_off_total",
        "Connections without a whole request, a token or a client that reads, that were ended to make room",
        lambda: connections.closed_idle,
    )
    count(
        "sockets_flooded_total",
        "WebSockets that were ended for more frames than are taken",
        lambda: connections.flooded,
    )
    count(
        "datagrams_refused_total",
        "Datagrams and packets of peers and strangers that went no further",
        lambda: datagrams.refused | datagrams.peers_refused,
        "reason",
    )
    count(
        "limiter_forgotten_total",
        "Addresses that the rate limit lost sight of for want of room",
        lambda: limiter.forgotten,
    )
