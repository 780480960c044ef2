"""One reading of a server: its health, its metrics, the model server's metrics, the GPUs, and the
reasons for missing parts.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.bench.http_json import Reply, request, unchecked_tls
from scripts.monitoring.samples import Samples
from server.features.hosting.gpu import Gpu, GpuError, GpuReader

SECONDS = 5.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that could not be read: the reason and the remedy."""

    text: str
    todo: str = ""
    # False: it is optional, such as the metrics of a model server without any
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """The server to read. `engine_url` "": no model server's metrics; `gpus` None: no GPUs."""

    url: str
    metrics_token: str = ""
    engine_url: str = ""
    authorities: tuple[Path, ...] = ()
    gpus: GpuReader | None = None
    # For all of /health, without a metrics token
    operator_token: str = ""

    def tls(self, url: str) -> ssl.SSLContext | None:
        """Return a TLS context that verifies certificates, except on this machine, because the
        token is sent.
        """
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if parts.hostname in LOOPBACK:
            return unchecked_tls()
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
    missing: dict[str, Missing] = field(default_factory=dict)


async def take_reading(target: Target) -> Reading:
    """Read everything in parallel. Failures do not raise: they are in `missing`."""
    reading = Reading(time.monotonic())
    await asyncio.gather(
        _health(target, reading),
        _metrics(target, reading),
        _engine(target, reading),
        _gpus(target, reading),
    )
    return reading


async def _health(target: Target, reading: Reading) -> None:
    url, tls = f"{target.url}/health", target.tls(target.url)
    token = target.metrics_token or target.operator_token or None
    reply = await _get(reading, "server", url, tls=tls, token=token)
    if token and reply is not None and reply.status in (401, 429):
        # Without a token the answer is shorter, but useful.
        reply = await _get(reading, "server", url, tls=tls)
    if reply is None:
        return
    try:
        body = reply.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("engine"), dict):
        reading.health, reading.ready = body, reply.status == 200
        return
    if reply.status in (502, 503, 504):
        text = f"The proxy in front of the server answers {reply.status}: the server behind it does not run."
        reading.missing["server"] = Missing(text, "Start it: bash scripts/run.sh")
    else:
        reading.missing["server"] = Missing(
            f"The program at {target.url} is not a qwen-camera server (status {reply.status}).",
            "Give the server's own address with --server-url.",
        )


async def _metrics(target: Target, reading: Reading) -> None:
    headers = {"Accept": "text/plain"}
    token = target.metrics_token or None
    url = f"{target.url}/metrics"
    reply = await _get(reading, "metrics", url, token=token, headers=headers, tls=target.tls(url))
    if reply is None:
        return
    if reply.status == 401:
        given = "Another METRICS_TOKEN is" if token else "METRICS_TOKEN is"
        reading.missing["metrics"] = Missing(
            f"{given} needed for the metrics: only /health can be shown.",
            "Set METRICS_TOKEN in the environment or in the file that --env-file names.",
        )
        return
    reading.metrics = _samples(reading, "metrics", reply, "qwen_camera_")


async def _engine(target: Target, reading: Reading) -> None:
    if not target.engine_url:
        return
    url = f"{target.engine_url}/metrics"
    reply = await _get(reading, "engine", url, tls=target.tls(url))
    if reply is not None:
        reading.engine = _samples(reading, "engine", reply, "vllm:")


async def _gpus(target: Target, reading: Reading) -> None:
    if target.gpus is None:
        return
    if not target.gpus.source:
        reading.missing["gpu"] = Missing(target.gpus.why_none)
        return
    try:
        reading.gpus = await asyncio.to_thread(target.gpus.read)
    except GpuError as error:
        reading.missing["gpu"] = Missing(f"The GPU cannot be read now: {error}.")


def _samples(reading: Reading, part: str, reply: Reply, prefix: str) -> Samples | None:
    try:
        samples = Samples.parse(reply.body.decode()) if reply.status == 200 else None
    except ValueError:
        samples = None
    if samples is not None and samples.has(prefix):
        return samples
    found = f"status {reply.status}" if reply.status != 200 else f"nothing of {prefix}*"
    # Only vLLM has them; other model servers answer with 404, or with a page.
    has_none = part == "engine" and reply.status in (200, 404, 405, 501)
    reading.missing[part] = Missing(f"Its /metrics cannot be used: {found}.", wanted=not has_none)
    return None


async def _get(reading: Reading, part: str, url: str, **more: Any) -> Reply | None:
    """Send a request; None, with the reason in `reading.missing`, without a response."""
    try:
        return await request("GET", url, timeout=SECONDS, **more)
    except TimeoutError:
        missing = Missing(
            f"No answer from {_host(url)} within {SECONDS:g} s.",
            "It hangs, or a firewall swallows the packets.",
        )
    except ConnectionRefusedError:
        missing = Missing(
            f"Nothing listens at {_host(url)}: the server does not run, or on another port.",
            "Start it: bash scripts/run.sh" if part == "server" else "",
        )
    except ssl.SSLCertVerificationError as error:
        missing = Missing(
            f"The certificate of {_host(url)} is not trusted: {error.verify_message}.",
            "Name its authority with --authority, or correct it.",
        )
    except ssl.SSLError:
        missing = Missing(f"{_host(url)} speaks no TLS.", "Use http:// for this address.")
    except OSError as error:
        missing = Missing(f"{_host(url)} is not reached: {error.strerror or error}.")
    except (EOFError, ValueError, IndexError):
        missing = Missing(f"The program at {_host(url)} does not speak HTTP.")
    reading.missing[part] = missing
    return None


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
