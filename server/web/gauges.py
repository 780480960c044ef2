"""Metrics that are read from their owners at each request for /metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.core import aio
from server.media.patches import datagrams
from server.models.base import EngineState
from server.models.openai.group import EngineGroup

if TYPE_CHECKING:
    from server.core.addresses import RequestLimiter
    from server.core.metrics import Metrics
    from server.inference import Inference
    from server.models.selector import EngineSelector
    from server.session_manager import SessionManager
    from server.web.connections import Connections
    from server.web.health import Health
    from server.web.turn_watch import RelayWatch


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that gauges show beside the numbers in use; a slice of the settings."""

    sessions: int
    queue: int
    connections: int


def add_gauges(
    metrics: Metrics,
    limits: Limits,
    *,
    sessions: SessionManager,
    inference: Inference,
    engines: EngineSelector,
    health: Health,
    connections: Connections,
    limiter: RequestLimiter,
    relays: RelayWatch,
) -> None:
    metrics.gauge("sessions", "Sessions", (), lambda: {(): len(sessions)})
    metrics.gauge("sockets", "Open sockets", (), lambda: {(): sessions.sockets})
    metrics.gauge(
        "sent_picture_bytes",
        "Bytes of the pictures kept to show what an engine got",
        (),
        lambda: {(): sum(session.sent_pictures.size for session in sessions.all())},
    )
    metrics.gauge(
        "cameras",
        "Cameras by state",
        ("state",),
        lambda: {
            (str(state),): count
            for state, count in Counter(
                camera.state()
                for session in sessions.all()
                for camera in session.cameras
                if camera.offered
            ).items()
        },
    )
    metrics.gauge(
        "queue_depth",
        "Waiting work",
        ("kind",),
        lambda: {(str(kind),): depth for kind, depth in inference.depth().items()},
    )
    metrics.gauge(
        "inferences_running",
        "Answers that are worked on",
        (),
        lambda: {(): inference.running},
    )
    metrics.gauge(
        "background_share",
        "Share of the slots that watches and descriptions may have: less while questions are slow",
        (),
        lambda: {(): inference.background_share},
    )
    metrics.gauge(
        "limit",
        "The most that there may be of some of these, as configured (inferences: and as the engine allows)",
        ("of",),
        lambda: {
            ("sessions",): limits.sessions,
            ("queue",): limits.queue,
            ("connections",): limits.connections,
            ("inferences",): inference.slots,
        },
    )
    metrics.gauge(
        "ready",
        "1 while questions can be answered here, as in /health/ready",
        (),
        lambda: {(): float(health.why_not_ready() is None)},
    )
    metrics.count(
        "loop_failures_total",
        "Times that a step of a background loop raised and was tried again",
        ("loop",),
        lambda: {(name,): count for name, count in aio.loop_failures.items()},
    )
    metrics.gauge("connections", "Open connections", (), lambda: {(): len(connections)})
    metrics.count(
        "connections_refused_total",
        "Connections that were refused for want of room",
        (),
        lambda: {(): connections.refused},
    )
    metrics.count(
        "connections_cut_off_total",
        "Idle connections that were ended to make room",
        (),
        lambda: {(): connections.closed_idle},
    )
    metrics.count(
        "connections_unproven_cut_off_total",
        "Connections without a whole request, and sockets without a token, that were ended to make room",
        (),
        lambda: {(): connections.closed_unproven},
    )
    metrics.count(
        "sockets_flooded_total",
        "WebSockets that were ended for more frames than are taken",
        (),
        lambda: {(): connections.flooded},
    )
    metrics.count(
        "datagrams_refused_total",
        "Datagrams and packets of peers and strangers that went no further",
        ("reason",),
        lambda: {
            (reason,): count
            for reason, count in {**datagrams.refused, **datagrams.peers_refused}.items()
        },
    )
    metrics.count(
        "limiter_forgotten_total",
        "Addresses that the rate limit lost sight of for want of room",
        (),
        lambda: {(): limiter.forgotten},
    )
    metrics.gauge(
        "draining",
        "1 while nobody new is taken here, because the process stops or an operator ordered it",
        ("by",),
        lambda: {
            ("stop",): float(sessions.draining),
            ("operator",): float(sessions.emptying),
        },
    )
    metrics.gauge(
        "relays",
        "TURN relays by whether the last check of them went through",
        ("state",),
        lambda: {
            ("working",): relays.working(),
            ("failing",): relays.failing(),
        },
    )
    metrics.gauge(
        "model_servers",
        "Model servers of VLLM_BASE_URL by state, where it names several",
        ("state",),
        lambda: {
            (str(state),): float(group.states()[state])
            for group in engines.engines
            if isinstance(group, EngineGroup)
            for state in EngineState
        },
    )
    metrics.gauge(
        "engine_up",
        "1 while the engine is ready",
        ("engine",),
        lambda: {
            (engine.name,): float(engine.status.ready)
            for engine in engines.engines
            if not engine.status.unused
        },
    )
