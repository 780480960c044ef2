"""One answer of the chat interface over HTTP: whole or streamed, stopped at once when the program leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.core.aio import cancel_and_wait
from server.core.errors import QwenCameraError
from server.features.grants.guard import until_left
from server.features.openai_api.answer import KEEP_ALIVE, Writer
from server.features.openai_api.program_chat import ChatEnd
from server.features.openai_api.request import ChatRequest

# An error within so many seconds has its own HTTP status; later it is an event. Less than proxies wait for a head.
HEAD_SECONDS = 10.0
# Pause between two lines that keep a connection open
KEEP_ALIVE_SECONDS = 10.0
# A program that takes nothing of its answer for so long is left.
UNREAD_SECONDS = 30.0


class _Unread(Exception):
    """The program does not read its answer. Outside the tree of errors: nobody would get it."""


# Asks, with a function that gets each piece of text
Ask = Callable[[Callable[[str], None]], Awaitable[ChatEnd]]


class _Pieces:
    """The text that waits to be sent. Bounded by the answer, whose tokens are."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self.sent = ""
        self.arrived = asyncio.Event()

    def put(self, text: str) -> None:
        self._waiting.append(text)
        self.arrived.set()

    def take(self) -> str:
        text = "".join(self._waiting)
        self._waiting.clear()
        self.arrived.clear()
        self.sent += text
        return text


class ChatResponse(Response):
    """Answers one request. `ask` is called once; `model` is the one that answers when it begins.

    Bounds of text of a program's streamed answer that waits for it: the answer, whose tokens are
    bounded; a program that takes nothing for 30 s loses its connection.
    """

    def __init__(self, request: ChatRequest, model: str, ask: Ask) -> None:
        super().__init__()
        self._request = request
        self._model = model
        self._ask = ask
        self._writer = Writer(time.time(), request.include_usage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until the end or until the client has left. Raises QwenCameraError before the head is sent."""
        # An error goes on from here. A program that does not read loses its connection with the rest.
        with contextlib.suppress(_Unread):
            await until_left(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        pieces = _Pieces()
        asking = asyncio.ensure_future(self._ask(pieces.put))
        try:
            if self._request.stream:
                await self._stream(asking, pieces, send)
            else:
                body = self._writer.whole(await asking)
                await _send(send, json.dumps(body).encode("ascii"), "application/json", self._id)
        finally:
            await cancel_and_wait([asking])

    @property
    def _id(self) -> dict[str, str]:
        return {"x-request-id": self._writer.id}

    async def _stream(self, asking: asyncio.Future[ChatEnd], pieces: _Pieces, send: Send) -> None:
        await _first(asking, pieces, HEAD_SECONDS)
        if asking.done() and not asking.cancelled() and (error := asking.exception()) is not None:
            raise error
        await _put(send, _head("text/event-stream; charset=utf-8", self._id))
        await _put(send, _body(self._writer.begin(self._model)))
        while True:
            if text := pieces.take():
                await _put(send, _body(self._writer.piece(self._model, text)))
            elif asking.done():
                break
            elif not await _first(asking, pieces, KEEP_ALIVE_SECONDS):
                await _put(send, _body(KEEP_ALIVE))
        try:
            last = self._writer.end(await asking, pieces.sent)
        except QwenCameraError as error:
            last = self._writer.failed(error)
        await _put(send, _body(last, more=False))


async def _first(asking: asyncio.Future[ChatEnd], pieces: _Pieces, seconds: float) -> bool:
    """Wait for text or the end; False when neither came in time."""
    arrived = asyncio.ensure_future(pieces.arrived.wait())
    try:
        done, _ = await asyncio.wait(
            (asking, arrived), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        await cancel_and_wait([arrived])
    return bool(done)


async def _send(send: Send, body: bytes, kind: str, headers: dict[str, str]) -> None:
    await _put(send, _head(kind, headers | {"content-length": str(len(body))}))
    await _put(send, _body(body, more=False))


async def _put(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(UNREAD_SECONDS):
            await send(message)
    except TimeoutError:
        raise _Unread from None


def _head(kind: str, headers: dict[str, str]) -> Message:
    own = {"content-type": kind, "cache-control": "no-store", **headers}
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in own.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
