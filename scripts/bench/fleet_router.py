"""vLLM's router before the engines of a fleet, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from scripts.bench.fleet_figures import percentile
from scripts.bench.fleet_hosts import Host, killed
from scripts.bench.processes import ROOT, MeasurementError, free_port

_READY_SECONDS = 30.0
# Of a question's picture, as base64 has it in SECURITY.md's bounds and docs/figures/fleet.json
_PICTURE_BYTES = 150_000
_ANSWER_SECONDS = 20.0


class Router:
    """The process, as scripts/start_router.sh starts it. Use as a context manager."""

    def __init__(self, host: Host, workers: Sequence[str]) -> None:
        """`workers`: addresses of the engines, without /v1."""
        self.port = free_port()
        self.base_url = f"http://{host.address}:{self.port}/v1"
        self._host = host
        self._workers = workers
        self._open = contextlib.ExitStack()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Raises MeasurementError when it does not come up."""
        said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        env = {
            **os.environ,
            "ROUTER_WORKERS": ",".join(self._workers),
            "ROUTER_HOST": self._host.address,
            "ROUTER_PORT": str(self.port),
            "ROUTER_METRICS_PORT": str(free_port()),
        }
        program = ("bash", str(ROOT / "scripts" / "start_router.sh"))
        try:
            self._process = await self._host.start(
                program, self.port, _READY_SECONDS, env=env, stdout=said, stderr=said
            )
        except MeasurementError:
            said.seek(0)
            why = said.read()[-2000:].decode(errors="replace")
            await self.__aexit__()
            raise MeasurementError(f"vLLM's router does not run:\n{why}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await killed(self._process)
        self._open.close()


async def cost(router: str, engine: str, questions: int) -> dict[str, Any]:
    """Ask an engine directly and through the router, in turn; the times to the first event in ms.

    `router` and `engine` are base URLs.
    """
    body = _question()
    took: dict[str, list[float]] = {"direct": [], "router": []}
    for number in range(questions):
        for way, url in (("direct", engine), ("router", router)):
            async with asyncio.timeout(_ANSWER_SECONDS):
                took[way].append(1000 * await _first_event(url, body, f"cost-{number % 8}"))
    found: dict[str, Any] = {"questions": questions}
    for way, times in took.items():
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            found[f"{way}_{name}_ms"] = round(percentile(times, share) or 0.0, 1)
    return found


def _question() -> bytes:
    picture = base64.b64encode(os.urandom(_PICTURE_BYTES * 3 // 4)).decode()
    url = {"url": f"data:image/jpeg;base64,{picture}"}
    content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    return json.dumps(
        {"model": "stand-in", "messages": messages, "stream": True, "max_tokens": 1}
    ).encode()


async def _first_event(base_url: str, body: bytes, session: str) -> float:
    """Return the seconds from the request to its first event."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"X-Session-ID: {session}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        begin = time.perf_counter()
        writer.write(head.encode() + body)
        await writer.drain()
        if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
            raise MeasurementError(f"{parts.netloc} refused a question")
        await reader.readuntil(b"data:")
        took = time.perf_counter() - begin
        await reader.readuntil(b"[DONE]")
        return took
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
