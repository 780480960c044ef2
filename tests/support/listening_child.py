"""A server in a process of its own, so that its memory can be measured while somebody attacks it.

`python -m tests.support.listening_child` serves `listening` and prints its port. Stand-in for the
application alone: the connections' code is the program's.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from server.web.protocols import Connections
from server.web.serving import make_uvicorn_config
from tests.support.children import memory_mib

ROOT = Path(__file__).resolve().parents[2]


async def listening(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts a socket and hears it until it goes; answers requests with the longest work of the
    event loop in one piece, in seconds.
    """
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["type"] == "http":
        body = f"{work.longest:.3f}".encode()
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})


class Work:
    """Measure the most that the event loop does before a timer's turn comes, in seconds of the processor:
    a busy machine makes everything late, and nothing more work.
    """

    longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.thread_time() - began)


work = Work()


class Child:
    """The process, and what it weighs."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def mib(self) -> float:
        """Its resident memory."""
        return memory_mib(self._process.pid)

    def work(self) -> float:
        """The longest work for which its event loop was blocked, in seconds of the processor."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return float(answer.read())


@contextmanager
def child() -> Iterator[Child]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.listening_child"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    assert process.stdout is not None
    try:
        yield Child(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def main() -> None:
    config = make_uvicorn_config(listening, host="127.0.0.1", port=0, connections=Connections(10))
    config.lifespan = "off"
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    watching = asyncio.create_task(work.watch())
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
