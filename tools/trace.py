"""Count the modules and functions of the server that a frame and a question pass through.

`python -m tools.trace` starts the server with the built-in engine and a camera, and records every call into `server/`
in three windows of equal length: with only a socket, then with a camera that sends, then with a question up to its
answer. It prints as a table what a frame adds to the first window, and a question to the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn

from config import load
from scripts.arguments import ROOT
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import ChatClient
from scripts.bench.live_encoder import LiveEncoder
from server.app.app import create_app
from server.web.serving import make_uvicorn_config

SERVER = str(ROOT / "server") + "/"
SECONDS = 2.0

Call = tuple[str, str]


class Recorder:
    """The calls into `server/` during one window, by module and function, from all threads."""

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self._on = False

    def profile(self, frame: FrameType, event: str, arg: object) -> None:
        if self._on and event == "call" and frame.f_code.co_filename.startswith(SERVER):
            module = frame.f_code.co_filename.removeprefix(SERVER).removesuffix(".py")
            self.calls.add((module, frame.f_code.co_qualname))

    async def record_window(self, seconds: float) -> set[Call]:
        self.calls, self._on = set(), True
        await asyncio.sleep(seconds)
        self._on = False
        return self.calls


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve on a free loopback port, and yield the URL."""
    app = create_app(load(env_file=None, engine="builtin", rate_limit_per_minute=0))
    # Periodic work is not part of a frame's path.
    app.state.program.added.session_features.makers.pop("builtin")
    config = make_uvicorn_config(
        app, host="127.0.0.1", port=0, tls=None, connections=app.state.program.connections
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def _run_client(url: str, way: str) -> None:
    """Act as the page, in a separate process: only a socket, a camera, or a camera with a question."""
    peer = ChatClient(url) if way == "socket" else CameraPeer(url, LiveEncoder())
    try:
        if isinstance(peer, CameraPeer):
            await peer.connect()
        await peer.open_socket()
        print("there", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if way == "question":
            await peer.ask("Is there anything red?")
        await asyncio.to_thread(sys.stdin.readline)
    finally:
        await (peer.close() if isinstance(peer, CameraPeer) else peer.close_socket())


async def _record(recorder: Recorder, url: str, way: str) -> set[Call]:
    command = (sys.executable, "-m", "tools.trace", "--client", way, "--url", url)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    # A camera's start is not part of a frame's path.
    await asyncio.sleep(2 * SECONDS)
    process.stdin.write(b"\n")
    found = await recorder.record_window(SECONDS)
    process.stdin.write(b"\n")
    await process.wait()
    return found


async def record_traces() -> dict[str, set[Call]]:
    """Return the calls that belong to a frame and to a question."""
    recorder = Recorder()
    threading.setprofile(recorder.profile)
    sys.setprofile(recorder.profile)
    try:
        async with serving() as url:
            ways = {
                way: await _record(recorder, url, way) for way in ("socket", "camera", "question")
            }
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {
        "a frame": ways["camera"] - ways["socket"],
        "a question": ways["question"] - ways["camera"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print all calls instead of the table")
    parser.add_argument(
        "--client", choices=("socket", "camera", "question"), help=argparse.SUPPRESS
    )
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        asyncio.run(_run_client(given.url, given.client))
        return
    found = asyncio.run(record_traces())
    if given.json:
        print(json.dumps({way: sorted(calls) for way, calls in found.items()}, indent=1))
        return
    print("| way | modules | of them the engine's | functions |\n|---|---|---|---|")
    for way, calls in found.items():
        modules = {module for module, _ in calls}
        own = sum(module.startswith("features/builtin/") for module in modules)
        print(f"| {way} | {len(modules)} | {own} | {len(calls)} |")


if __name__ == "__main__":
    main()
