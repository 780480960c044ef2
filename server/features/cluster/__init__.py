"""Several processes and machines as one server: limits shared over Redis, sessions that move from one to
another, and the operator's drain.

HTTP and settings call a replica a gateway.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Share limits and sessions with the other processes that use the same REDIS_URL."""
    from server.auth import derive_signing_key
    from server.features.cluster.handover import HandoverPart, Handovers, OperatorDrain, add_routes
    from server.features.cluster.messages import HandoverSettings, Resume
    from server.features.cluster.replicas import Cluster
    from server.features.cluster.settings import ClusterSettings
    from server.features.cluster.shared_limits import Counts, Store

    settings, sessions, access = api.settings, api.sessions, api.access
    own = ClusterSettings.of(settings)
    secret = settings.jwt_secret_key.get_secret_value()
    failures = api.metrics.counter(
        "shared_limits_failures_total",
        "Times that Redis did not answer: limits hold for this process alone until it does",
    )
    store = Store()
    if url := own.redis_url.get_secret_value():
        # Imported here, because the library takes 0.1 s to load.
        from server.features.cluster.redis_store import RedisStore

        store = RedisStore(url, secret, on_failure=failures.inc)
        access.share(Counts(store, settings.rate_limit_per_minute))
        api.run("redis", close=store.close, last=True)
    cluster = Cluster(
        "_".join(filter(None, (own.gateway_name, own.process_name))),
        store,
        sessions,
        here=settings.sessions_here,
        most=settings.max_sessions,
    )
    sessions.share(cluster)
    api.serve(cluster.run)
    api.run("gateway", close=cluster.replicas.leave, last=True)
    api.add_health_facts(cluster.health)
    key = derive_signing_key(secret, "hand-overs", settings.access_code.get_secret_value())
    handovers = Handovers(key, access.tokens, settings.token_max_age, sessions.is_revoked)
    api.add_session_part(lambda context: HandoverPart(context, handovers), Resume, HandoverSettings)
    drain = OperatorDrain(sessions, cluster.replicas)
    api.run("drain", close=drain.close)
    api.added.drains.append(drain.stop)
    add_routes(api.make_operator_router("/api/operator"), drain)
    api.metrics.gauge(
        "limits_shared",
        "1 while limits hold for all processes together (REDIS_URL), 0 for this one alone",
        lambda: store.is_available,
    )
    api.metrics.gauge(
        "gateways",
        "Other gateways that reported to Redis, by state",
        lambda: cluster.replicas.count_states(time.monotonic()),
        "state",
    )
    api.metrics.count(
        "sessions_sent_on_total",
        "New sessions that were given to another gateway, because this one drains or has less room",
        lambda: cluster.replicas.sent_on,
    )
    api.metrics.count(
        "sessions_moved_total",
        "Sessions that went on at another gateway, because this one drains",
        lambda: drain.moved,
    )
    api.provide(Cluster, cluster)
