"""The metrics of MQTT."""

from __future__ import annotations

from server.core.metrics import Metrics


class MqttMetrics:
    def __init__(self, metrics: Metrics) -> None:
        # reason: see retry.py
        self.failures = metrics.counter(
            "mqtt_failures_total", "Connections to the MQTT broker that failed or ended", "reason"
        )
        self.sent = metrics.counter("mqtt_sent_total", "Messages that the MQTT broker has taken")
        # reason: replaced, stale, overflow, closed of those to the broker; unknown, malformed, retained, rate, busy of
        # those from there; devices: of visitors' cameras that were refused
        self.dropped = metrics.counter(
            "mqtt_dropped_total", "Messages to and from the MQTT broker that were dropped", "reason"
        )
