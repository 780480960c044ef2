"""One reading of a server: its health, its metrics, the model server's metrics, the GPUs, and the
reasons for missing parts.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from config import Settings
from scripts.bench.http_json import Reply, make_unchecked_tls, request
from server.features.hosting.gpu import Gpu, GpuError, GpuReader


@dataclass(frozen=True, slots=True)
class Histogram:
    """Upper bounds in ascending order, the last one infinite, and the cumulative count at each."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def count(self) -> float:
        return self.counts[-1] if self.counts else 0.0

    def subtract(self, earlier: Histogram | None) -> Histogram:
        """Return the values after `earlier`; after a restart, when a count has fallen, all values."""
        if earlier is None or earlier.bounds != self.bounds:
            return self
        counts = tuple(b - a for a, b in zip(earlier.counts, self.counts, strict=True))
        return self if any(n < 0 for n in counts) else Histogram(self.bounds, counts)

    def get_quantile(self, q: float) -> float:
        """Return the quantile as PromQL's histogram_quantile: NaN without values, infinite above the last bound."""
        if not self.count:
            return math.nan
        rank = q * self.count
        below, low = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > below:
                if math.isinf(bound):
                    return math.inf
                return low + (bound - low) * (rank - below) / (count - below)
            below, low = count, bound
        return math.inf

    @property
    def largest(self) -> float:
        """The last finite bound."""
        return self.bounds[-2] if len(self.bounds) > 1 else 0.0


class Samples:
    """The samples of one /metrics page."""

    def __init__(self, values: Mapping[str, list[tuple[dict[str, str], float]]]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse Prometheus text. Raises ValueError if it is malformed."""
        values: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name].append((sample.labels, sample.value))
        return cls(values)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._values)

    def _get_samples(
        self, name: str, labels: Mapping[str, str]
    ) -> list[tuple[dict[str, str], float]]:
        return [
            (found, value)
            for found, value in self._values.get(name, ())
            if all(found.get(key) == wanted for key, wanted in labels.items())
        ]

    def _get_first(
        self, names: Iterable[str], labels: Mapping[str, str]
    ) -> list[tuple[dict[str, str], float]]:
        """Return the samples of the first of these metrics that exists; [] if none does."""
        return next((found for name in names if (found := self._get_samples(name, labels))), [])

    def get_total(self, *names: str, **labels: str) -> float | None:
        """Return the sum of the first of these metrics that exists; None if none does."""
        found = self._get_first(names, labels)
        return sum(value for _, value in found) if found else None

    def get_largest(self, *names: str) -> float | None:
        """Return the maximum of the first of these metrics that exists; None if none does."""
        return max((value for _, value in self._get_first(names, {})), default=None)

    def get_sums_by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums by the value of a label."""
        sums: dict[str, float] = defaultdict(float)
        for found, value in self._get_samples(name, labels):
            sums[found.get(label, "")] += value
        return dict(sums)

    def get_histogram(self, *names: str, **labels: str) -> Histogram | None:
        """Return the first of these histograms that exists, summed over all other labels."""
        sums: dict[float, float] = defaultdict(float)
        for found, value in self._get_first([f"{name}_bucket" for name in names], labels):
            sums[float(found["le"])] += value
        if not sums:
            return None
        bounds = tuple(sorted(sums))
        return Histogram(bounds, tuple(sums[bound] for bound in bounds))


SECONDS = 5.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def get_own_address(settings: Settings) -> str:
    """Return the URL of this machine's server, as reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' * settings.https_enabled}://{host}:{settings.port}"


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A part that could not be read: the reason and the remedy."""

    text: str
    todo: str = ""
    # False: it is optional, such as the metrics of a model server that has none
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """The server to read. `engine_url` "": no model server's metrics; `gpus` None: no GPUs."""

    url: str
    metrics_token: str = ""
    engine_url: str = ""
    authorities: tuple[Path, ...] = ()
    gpus: GpuReader | None = None
    # For the full /health response, without a metrics token
    operator_token: str = ""

    def make_tls_context(self, url: str) -> ssl.SSLContext | None:
        """Return a TLS context that verifies certificates, because the token is sent; None for this machine."""
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if parts.hostname in LOOPBACK:
            return make_unchecked_tls()
        context = ssl.create_default_context()
        for path in self.authorities:
            context.load_verify_locations(path)
        return context


@dataclass(slots=True)
class Reading:
    # Monotonic seconds
    at: float
    # The body of /health with any status; None, with the reason in `missing`
    health: dict[str, Any] | None = None
    ready: bool = False
    metrics: Samples | None = None
    engine: Samples | None = None
    gpus: list[Gpu] = field(default_factory=list)
    # By part: server, metrics, engine, gpu
    missing: dict[str, MissingPart] = field(default_factory=dict)


async def take_reading(target: Target) -> Reading:
    """Read everything in parallel. Failures are not raised, but stored in `missing`."""
    reading = Reading(time.monotonic())
    await asyncio.gather(
        _read_health(target, reading),
        _read_metrics(target, reading),
        _read_engine(target, reading),
        _read_gpus(target, reading),
    )
    return reading


async def _read_health(target: Target, reading: Reading) -> None:
    url, tls = f"{target.url}/health", target.make_tls_context(target.url)
    token = target.metrics_token or target.operator_token or None
    reply = await _get(reading, "server", url, tls=tls, token=token)
    if token and reply is not None and reply.status in (401, 429):
        # Without a token the response is shorter, but useful.
        reply = await _get(reading, "server", url, tls=tls)
    if reply is None:
        return
    try:
        body = reply.parse_json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("engine"), dict):
        reading.health, reading.ready = body, reply.status == 200
        return
    if reply.status in (502, 503, 504):
        text = f"The proxy in front of the server answers {reply.status}: the server behind it is not running."
        reading.missing["server"] = MissingPart(text, "Start it: bash scripts/run.sh")
    else:
        reading.missing["server"] = MissingPart(
            f"The program at {target.url} is not a qwen-camera server (status {reply.status}).",
            "Give the server's own address with --server-url.",
        )


async def _read_metrics(target: Target, reading: Reading) -> None:
    headers = {"Accept": "text/plain"}
    token = target.metrics_token or None
    url = f"{target.url}/metrics"
    reply = await _get(
        reading, "metrics", url, token=token, headers=headers, tls=target.make_tls_context(url)
    )
    if reply is None:
        return
    if reply.status == 401:
        given = "Another METRICS_TOKEN is" if token else "METRICS_TOKEN is"
        reading.missing["metrics"] = MissingPart(
            f"{given} needed for the metrics: only /health can be shown.",
            "Set METRICS_TOKEN in the environment or in the file that --env-file names.",
        )
        return
    reading.metrics = _parse_samples(reading, "metrics", reply, "qwen_camera_")


async def _read_engine(target: Target, reading: Reading) -> None:
    if not target.engine_url:
        return
    url = f"{target.engine_url}/metrics"
    reply = await _get(reading, "engine", url, tls=target.make_tls_context(url))
    if reply is not None:
        reading.engine = _parse_samples(reading, "engine", reply, "vllm:")


async def _read_gpus(target: Target, reading: Reading) -> None:
    if target.gpus is None:
        return
    if not target.gpus.source:
        reading.missing["gpu"] = MissingPart(target.gpus.why_none)
        return
    try:
        reading.gpus = await asyncio.to_thread(target.gpus.read)
    except GpuError as error:
        reading.missing["gpu"] = MissingPart(f"The GPU cannot be read now: {error}.")


def _parse_samples(reading: Reading, part: str, reply: Reply, prefix: str) -> Samples | None:
    try:
        samples = Samples.parse(reply.body.decode()) if reply.status == 200 else None
    except ValueError:
        samples = None
    if samples is not None and samples.has(prefix):
        return samples
    found = f"status {reply.status}" if reply.status != 200 else f"nothing of {prefix}*"
    # Only vLLM has them; other model servers answer with 404, or with a page.
    has_none = part == "engine" and reply.status in (200, 404, 405, 501)
    reading.missing[part] = MissingPart(
        f"Its /metrics cannot be used: {found}.", wanted=not has_none
    )
    return None


async def _get(reading: Reading, part: str, url: str, **more: Any) -> Reply | None:
    """Send a request. Return None if there is no response, with the reason in `reading.missing`."""
    try:
        return await request("GET", url, timeout=SECONDS, **more)
    except TimeoutError:
        missing = MissingPart(
            f"{_host(url)} does not respond within {SECONDS:g} s.",
            "It hangs, or a firewall drops the packets.",
        )
    except ConnectionRefusedError:
        missing = MissingPart(
            f"Nothing listens at {_host(url)}: the server is not running, or uses another port.",
            "Start it: bash scripts/run.sh" if part == "server" else "",
        )
    except ssl.SSLCertVerificationError as error:
        missing = MissingPart(
            f"The certificate of {_host(url)} is not trusted: {error.verify_message}.",
            "Name its certificate authority with --authority, or correct the certificate.",
        )
    except ssl.SSLError:
        missing = MissingPart(
            f"{_host(url)} does not support TLS.", "Use http:// for this address."
        )
    except OSError as error:
        missing = MissingPart(f"{_host(url)} cannot be reached: {error.strerror or error}.")
    except (EOFError, ValueError, IndexError):
        missing = MissingPart(f"The program at {_host(url)} does not speak HTTP.")
    reading.missing[part] = missing
    return None


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
