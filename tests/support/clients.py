"""Clients of a running server: plain HTTP, a socket read message by message, a camera's visitor."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Literal

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder
from server.core.metrics import Metrics
from server.media.camera import Camera
from tests.support.running import Running, running

Message = dict[str, Any]
# Seconds for what comes at once: on a busy machine far more than on another
PATIENCE = 15.0
How = Literal["subprotocol", "header", "query", "message", "none"]


@cache
def trusted() -> ssl.SSLContext:
    """The certificates that clients trust, read once: that is most of a client's cost."""
    return httpx.create_ssl_context(trust_env=False)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def http(run: Running, token: str = "") -> httpx.AsyncClient:
    """A client whose addresses are relative to the server's; with `token` in each request."""
    headers = bearer(token) if token else {}
    return httpx.AsyncClient(
        base_url=run.base_url, headers=headers, verify=trusted(), trust_env=False, timeout=10
    )


@asynccontextmanager
async def with_client(**settings: Any) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """A server with `settings`, and a client of it."""
    async with running(**settings) as run, http(run) as client:
        yield run, client


async def take_token(run: Running, **body: Any) -> Message:
    """Request POST /api/token, and return its answer."""
    async with http(run) as client:
        reply = await client.post("/api/token", json=body)
        assert reply.status_code == 200, reply.text
        answer: Message = reply.json()
        return answer


def metric(run: Running, name: str, **labels: str) -> float:
    """A sample of the running server's metrics, without the prefix; 0 when it is not there yet."""
    return sample(run.program.metrics, name, **labels)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """As `metric`, without a server."""
    given = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    wanted = f"qwen_camera_{name}{{{given}}} " if labels else f"qwen_camera_{name} "
    lines = metrics.render().decode().splitlines()
    return next((float(line[len(wanted) :]) for line in lines if line.startswith(wanted)), 0.0)


async def soon(check: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until `check()` holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.005)


async def more_frames(camera: Camera, count: int = 1, seconds: float = 20.0) -> None:
    """Wait for so many frames that were not there before."""
    for _ in range(count):
        seen = {None, camera.newest}
        await soon(lambda seen=seen: camera.newest not in seen, seconds)  # type: ignore[misc]


def cut_socket(peer: CameraPeer) -> None:
    """Cut its socket without a word, as a network does."""
    if peer._socket is not None:
        peer._socket.transport.abort()


class Page:
    """One socket of a session, read in order. Messages that `next` steps over stay in `seen`."""

    def __init__(self, socket: ClientConnection, token: str, session_id: str) -> None:
        self.socket = socket
        self.token = token
        self.session_id = session_id
        # Every message read so far, the one returned last included.
        self.seen: list[Message] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self, *types: str, timeout: float = PATIENCE, **fields: Any) -> Message:
        """The next message of one of `types` with these fields.

        Raises TimeoutError, and ConnectionClosed when the socket closes first.
        """
        async with asyncio.timeout(timeout):
            while True:
                message: Message = json.loads(await self.socket.recv())
                self.seen.append(message)
                if types and message["type"] not in types:
                    continue
                if all(message.get(key) == value for key, value in fields.items()):
                    return message

    async def end(self, id: str | None = None, timeout: float = PATIENCE) -> Message:
        """The `response` or `error` of a question; of any when no id is given."""
        fields = {} if id is None else {"id": id}
        return await self.next("response", "error", timeout=timeout, **fields)

    async def ask(self, content: str, *, timeout: float = PATIENCE, **more: Any) -> Message:
        await self.send(type="chat", content=content, **more)
        return await self.end(more.get("id"), timeout)

    async def camera(self, state: str, timeout: float = PATIENCE) -> None:
        """Wait until the newest status says so of the camera."""
        known = [m for m in self.seen if m["type"] == "status"]
        if not known or known[-1].get("camera") != state:
            await self.next("status", camera=state, timeout=timeout)

    async def ponged(self) -> list[Message]:
        """Everything that came until the answer to a ping that is sent now, that answer left out."""
        start = len(self.seen)
        await self.send(type="ping")
        await self.next("pong")
        return self.seen[start:-1]

    async def closed(self, timeout: float = PATIENCE) -> tuple[int, str]:
        """Code and reason of the close that comes; what comes before it is read into `seen`."""
        async with asyncio.timeout(timeout):
            try:
                while True:
                    self.seen.append(json.loads(await self.socket.recv()))
            except ConnectionClosed:
                pass
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""

    async def close(self) -> None:
        await self.socket.close()


async def open_page(
    run: Running,
    token: str = "",
    session_id: str = "",
    *,
    how: How = "subprotocol",
    origin: str | None = None,
    protocols: list[str] | None = None,
    headers: dict[str, str] | None = None,
    attempt: str = "",
) -> Page:
    """Open a socket; nothing is read yet. With no token given, one is taken."""
    if not token and how != "none":
        issued = await take_token(run)
        token, session_id = issued["token"], issued["session_id"]
    url = f"{run.ws_url}/ws/{session_id or 'nobody'}"
    if how == "query":
        url += f"?token={token}"
    if attempt:
        url += f"?page=p1&attempt={attempt}"
    if how == "header":
        headers = {"Authorization": f"Bearer {token}"} | (headers or {})
    if protocols is None:
        protocols = ["qwen-camera", f"bearer.{token}"] if how == "subprotocol" else []
    socket = await connect(
        url,
        origin=Origin(origin) if origin is not None else None,
        subprotocols=[Subprotocol(name) for name in protocols] or None,
        additional_headers=headers,
        compression=None,
        max_size=2**22,
        # What a test leaves unread must not keep pings from being answered.
        max_queue=None,
        proxy=None,
        # Behind many messages that a test left unread, the server's answer does not come.
        close_timeout=1,
    )
    page = Page(socket, token, session_id)
    if how == "message":
        await page.send(type="auth", token=token)
    return page


@asynccontextmanager
async def page_of(run: Running, token: str = "", session_id: str = "") -> AsyncIterator[Page]:
    """A socket that has said `ready`."""
    page = await open_page(run, token, session_id)
    try:
        await page.next("ready")
        yield page
    finally:
        await page.close()


class Visitor:
    """A camera over WebRTC and a socket, of one session."""

    def __init__(self, run: Running, camera: CameraPeer, page: Page) -> None:
        self.run = run
        self.camera = camera
        self.page = page
        self.session_id = camera.session_id
        self.token = camera.token

    async def reconnect(self, *, close: bool = True) -> Page:
        """Another socket in place of the one that there is; it has said `ready`."""
        if close:
            await self.page.close()
            await soon(lambda: self.run.program.sessions.sockets == 0)
        self.page = await open_page(self.run, self.token, self.session_id)
        await self.page.next("ready")
        return self.page


@asynccontextmanager
async def visitor(run: Running, encoder: LiveEncoder) -> AsyncIterator[Visitor]:
    """Somebody whose camera is live. The session is ended afterwards."""
    camera = CameraPeer(run.base_url, encoder)
    page: Page | None = None
    session_id = ""
    try:
        await camera.connect()
        session_id = camera.session_id
        page = await open_page(run, camera.token, session_id)
        await page.next("ready")
        live = run.program.sessions.find(session_id).camera
        await soon(lambda: live.newest is not None)
        one = Visitor(run, camera, page)
        yield one
        page = one.page
    finally:
        if page is not None:
            await page.close()
        await camera.close()
        await run.program.sessions.end(session_id, "test over")
