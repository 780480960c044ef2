"""The Prometheus metrics of the process; features add their own.

The values of labels are bounded sets, and never contain the input of a client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_MS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

# Value of a metric read at scrape time: a number, or numbers by the values of its labels
Readings = float | Mapping[Any, float]


_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]


class _Live(Collector):
    """Collects the metrics that are read at scrape time."""

    def __init__(self) -> None:
        self.sources: list[tuple[_Family, str, str, tuple[str, ...], Callable[[], Readings]]] = []

    def collect(self) -> list[Metric]:
        families: list[Metric] = []
        for kind, name, text, labels, read in self.sources:
            family = kind(f"qwen_camera_{name}", text, labels=labels)
            found = read()
            for values, number in (found if isinstance(found, Mapping) else {(): found}).items():
                family.add_metric((values,) if isinstance(values, str) else values, number)
            families.append(family)
        return families


class Metrics:
    """The metrics of a process."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        self._live = _Live()
        self._registry.register(self._live)
        # Memory, processor time, file descriptors; empty without /proc
        ProcessCollector(namespace="qwen_camera", registry=self._registry)

        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        counter = self.counter

        seconds = self.seconds

        self.gauge("build_info", "The program's version", lambda: {version: 1}, "version")
        self.frames_received = counter("frames_received_total", "Frames decoded from cameras")
        self.frames_sampled = counter("frames_sampled_total", "Frames taken by the sampler")
        # reason: decode_error, backlog, broken, no_key, format, withheld, unwritten, not_needed
        self.frames_skipped = counter("frames_skipped_total", "Frames that were not used", "reason")
        self.frames_replaced = counter(
            "frames_replaced_total", "Waiting frames replaced by newer ones"
        )
        # result: kept, shown, dropped, full, large
        self.sent_pictures = counter(
            "sent_pictures_total",
            "Pictures of answers, kept so that people can see what the engine got, or dropped",
            "result",
        )
        # result: ok, length, cancelled, replaced, error, dropped
        self.inferences = counter("inferences_total", "Answers by how they ended", "kind", "result")
        # reason: refused, broken, failed, busy, loading
        self.engine_retries = counter(
            "engine_retries_total",
            "Requests repeated at a model server before their first token",
            "reason",
        )
        # result: done, refused, malformed, unknown
        self.tool_calls = counter(
            "tool_calls_total", "Tools that models called for people", "result"
        )
        # reason: user, replaced, preempted, socket_closed, session_ended, draining, other
        self.cancellations = counter(
            "cancellations_total", "Answers stopped before their end", "reason"
        )
        # direction: prompt, completion
        self.tokens = counter("tokens_total", "Tokens, as the engine counts them", "direction")
        self.visual_tokens = counter("visual_tokens_total", "Visual tokens sent to engines")
        self.visual_tokens_saved = counter(
            "visual_tokens_saved_total", "Visual tokens that the engine reused from its cache"
        )
        self.errors = counter("errors_total", "Errors sent to clients", "code")
        self.messages_dropped = counter(
            "messages_dropped_total", "Messages dropped because a client read too slowly"
        )
        # reason: missing, malformed, bad_signature, expired, too_old, ended, wrong_session,
        # bad_code, metrics, operator, device, origin, rate, program
        self.auth_failures = counter("auth_failures_total", "Refused credentials", "reason")
        self.frame_age = seconds("frame_age_seconds", "Age of a frame when sent to the model", _MS)
        self.frame_wait = seconds(
            "frame_wait_seconds", "From a question to its frame", (*_MS, 2.0, 3.0)
        )
        self.frame_prepare = seconds("frame_prepare_seconds", "Filtering, resizing, encoding", _MS)
        self.queue_wait = seconds("queue_wait_seconds", "Waiting for the engine", _SECONDS, "kind")
        # role: answers, watches, reads
        self.first_token = seconds(
            "first_token_seconds", "From request to first token", _SECONDS, "role"
        )
        self.inference = seconds(
            "inference_seconds", "From request to the answer's end", _SECONDS, "kind"
        )
        self.loop_lag = seconds(
            "loop_lag_seconds", "Delay of a timer in the event loop, each second", _MS
        )

        # Series used by alerts start at 0, because rate() misses the first event of a new series.
        for code in ("busy", "internal", "ports_exhausted"):
            self.errors.labels(code)
        for reason in ("bad_code", "bad_signature", "operator", "rate"):
            self.auth_failures.labels(reason)
        for result in ("ok", "error"):
            self.inferences.labels("chat", result)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return the counter of this name, which ends with `_total`; create it on the first call."""
        if name not in self._counters:
            self._counters[name] = Counter(
                f"qwen_camera_{name}", text, labels, registry=self._registry
            )
        return self._counters[name]

    def seconds(
        self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS, *labels: str
    ) -> Histogram:
        """Return the histogram of durations of this name, which ends with `_seconds`; create it on the first call."""
        if name not in self._histograms:
            self._histograms[name] = Histogram(
                f"qwen_camera_{name}", text, labels, registry=self._registry, buckets=buckets
            )
        return self._histograms[name]

    def gauge(self, name: str, text: str, read: Callable[[], Readings], *labels: str) -> None:
        """Add a gauge that is read at scrape time."""
        self._live.sources.append((GaugeMetricFamily, name, text, labels, read))

    def count(self, name: str, text: str, read: Callable[[], Readings], *labels: str) -> None:
        """Add a counter that is stored elsewhere and read at scrape time; `name` ends with `_total`."""
        self._live.sources.append((CounterMetricFamily, name, text, labels, read))

    def render(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
