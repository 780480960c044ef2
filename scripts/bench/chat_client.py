"""A page without its camera: a session's token and WebSocket, its questions and answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from scripts.bench.http_json import make_unchecked_tls, request_json

# Maximum messages of a socket that are kept; older ones are dropped.
MESSAGES_KEPT = 2000

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """A message of the server, and its arrival in seconds since the epoch."""

    at: float
    message: Message


@dataclass(slots=True)
class Answer:
    id: str
    # Time at which the question was written to the socket, seconds since the epoch
    asked: float
    # All messages with this question's id, in order
    messages: list[TimedMessage] = field(default_factory=list)
    # The closing message of either kind
    response: Message | None = None
    error: Message | None = None

    @property
    def text(self) -> str:
        return "" if self.response is None else str(self.response["text"])

    @property
    def first_delta_at(self) -> float | None:
        """Arrival of the first text; None if there is none."""
        return next((a.at for a in self.messages if a.message["type"] == "delta"), None)

    @property
    def ended_at(self) -> float:
        return self.messages[-1].at

    def take(self, arrived: TimedMessage) -> None:
        """Store a message with this question's id."""
        self.messages.append(arrived)
        if arrived.message["type"] == "response":
            self.response = arrived.message
        elif arrived.message["type"] == "error":
            self.error = arrived.message


class ChatClient:
    """One session. Errors are those of asyncio, websockets and HttpError."""

    def __init__(self, base_url: str, *, access_code: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = ""
        self.session_id = ""
        # Received with the token
        self.ice_servers: list[Message] = []
        # The newest `ready` and `status`
        self.ready: Message = {}
        self.status: Message = {}
        # The messages of the socket, newest last, bounded
        self.messages: list[TimedMessage] = []
        # The close code, once the server has closed the socket
        self.close_code: int | None = None
        # Agree to other machines automatically.
        self.agrees = True
        self._access_code = access_code
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[str, Answer] = {}
        self._news = asyncio.Condition()
        # Number of messages so far
        self.seen = 0

    async def get_token(self) -> None:
        body = {} if self._access_code is None else {"access_code": self._access_code}
        reply = await request_json("POST", f"{self.base_url}/api/token", body)
        self.token, self.session_id = reply["token"], reply["session_id"]
        self.ice_servers = reply["ice_servers"]

    async def open_socket(self, *, timeout: float = 10.0) -> None:
        """Open the socket, wait for `ready`, and agree to the machines that get the drawn pictures.

        Raises ConnectionClosed if the server closes instead.
        """
        if not self.token:
            await self.get_token()
        url = f"{self.base_url.replace('http', 'ws', 1)}/ws/{self.session_id}"
        await self.close_socket()
        self.close_code = None
        self._socket = await connect(
            url,
            subprotocols=[Subprotocol("qwen-camera"), Subprotocol(f"bearer.{self.token}")],
            ssl=make_unchecked_tls() if url.startswith("wss") else None,
            max_size=2**22,
            compression=None,
            proxy=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket), name="camera-peer-socket")
        since = self.seen
        await self.wait_for(lambda m: m["type"] == "ready", timeout=timeout, since=since)
        if self.agrees and not self.ready["confirmed"]:
            await self.send({"type": "confirm", "host": self.ready["elsewhere"]})

    async def close_socket(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        if self._reader is not None:
            await asyncio.wait([self._reader])
            self._reader = None

    async def send(self, message: Message) -> None:
        """Send any message. Raises ConnectionClosed."""
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        """Send any text, even if it is not a message. Raises ConnectionClosed."""
        if self._socket is None:
            raise RuntimeError("the socket is not open: call open_socket first")
        await self._socket.send(text)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for raw in socket:
                arrived = TimedMessage(time.time(), json.loads(raw))
                self.take(arrived)
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            # With an error code; it is read below.
            pass
        finally:
            self.close_code = socket.close_code
            async with self._news:
                self._news.notify_all()

    def take(self, arrived: TimedMessage) -> None:
        """Store a message of the socket."""
        message = arrived.message
        self.messages.append(arrived)
        self.seen += 1
        if len(self.messages) > MESSAGES_KEPT:
            del self.messages[0]
        match message["type"]:
            case "ready":
                self.ready = message
            case "status":
                self.status = message
        answer = self._answers.get(str(message.get("id")))
        if answer is not None:
            answer.take(arrived)

    async def wait_for(
        self, wanted: Callable[[Message], bool], *, timeout: float = 10.0, since: int | None = None
    ) -> TimedMessage:
        """Return the first wanted message from now on, or from message number `since` on (see `seen`).

        Raises TimeoutError, and ConnectionError if the socket closes first.
        """
        position = self.seen if since is None else since
        async with asyncio.timeout(timeout), self._news:
            while True:
                first_kept = self.seen - len(self.messages)
                for arrived in self.messages[max(0, position - first_kept) :]:
                    if wanted(arrived.message):
                        return arrived
                position = self.seen
                if self._reader is None or self._reader.done() or self.close_code is not None:
                    raise ConnectionError(f"the socket was closed with {self.close_code}")
                await self._news.wait()

    async def start(self, text: str, *, sent_at: bool | float = True, **more: Any) -> Answer:
        """Ask without waiting. `sent_at`: True for now, False for none, or ms since the epoch."""
        answer = Answer(f"q{len(self._answers)}-{self.seen}", time.time())
        self._answers[answer.id] = answer
        message: Message = {"type": "chat", "content": text, "id": answer.id, **more}
        if sent_at is True:
            message["sent_at"] = answer.asked * 1000
        elif sent_at is not False:
            message["sent_at"] = sent_at
        await self.send(message)
        return answer

    async def finish(self, answer: Answer, *, timeout: float = 30.0) -> Answer:
        """Wait for the answer's `response` or `error`."""
        if answer.response is None and answer.error is None:
            await self.wait_for(
                lambda m: m.get("id") == answer.id and m["type"] in ("response", "error"),
                timeout=timeout,
                since=0,
            )
        self._answers.pop(answer.id, None)
        return answer

    async def ask(
        self, text: str, *, sent_at: bool | float = True, timeout: float = 30.0, **more: Any
    ) -> Answer:
        """Ask and wait for the end: `start` and `finish`."""
        return await self.finish(await self.start(text, sent_at=sent_at, **more), timeout=timeout)
