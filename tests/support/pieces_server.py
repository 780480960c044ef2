"""An OpenAI-compatible server in the test's own event loop, whose answers come in pieces.

It misbehaves on request. `speech_server` and `transcription_server` build theirs on it.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tests.support.http_stand_in import HttpRequest, HttpStandIn

Piece = str | bytes | float | None


@dataclass
class Request:
    """One request, as far as the server knows it."""

    fields: dict[str, Any]
    headers: dict[str, str]
    # The client hung up before the end.
    closed_early: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


R = TypeVar("R", bound=Request)


class PiecesServer(HttpStandIn, Generic[R]):
    """`POST /v1` with `path`, and `GET /v1/models`.

    `answers`: pieces of the body, sent one by one; a number is a pause in seconds, and None breaks
    the connection. `endless` is repeated for ever. `status`, `kind` and `refused` (fields answered
    with 400) steer the rest.
    """

    path = ""

    def __init__(self, model: str, kind: str) -> None:
        super().__init__()
        # Names, or whole entries of the list; None: there is no list
        self.models: list[str | dict[str, str]] | None = [model]
        self.key = ""
        self.status = 200
        # Seconds before it answers at all
        self.wait = 0.0
        self.kind = kind
        self.answers: list[Piece] | None = None
        self.endless: bytes | None = None
        self.refused: set[str] = set()
        self.names_refused = True
        self.extra: list[str] = []
        self.requests: list[R] = []

    @property
    def _kind(self) -> str:
        """The Content-Type of an answer."""
        return self.kind

    async def _json(self, writer: asyncio.StreamWriter, status: int, body: bytes = b"{}") -> bool:
        return await self._reply(writer, status, body, "application/json", *self.extra)

    @abstractmethod
    def _read(self, headers: dict[str, str], body: bytes) -> R: ...

    @abstractmethod
    async def _pieces(self, asked: R) -> list[Piece]:
        """Return the answer where the test sets none."""

    async def _upgraded(
        self, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request for a WebSocket: there is none."""
        return await self._json(writer, 403)

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        method, path, headers, body = request
        if headers.get("upgrade"):
            return await self._upgraded(headers, reader, writer)
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self._json(writer, 401)
        if (method, path) == ("GET", "/v1/models"):
            if self.models is None:
                return await self._json(writer, 404)
            data = [{"id": one} if isinstance(one, str) else one for one in self.models]
            return await self._json(writer, 200, json.dumps({"data": data}).encode())
        if (method, path) != ("POST", f"/v1{self.path}"):
            return await self._json(writer, 404)
        asked = self._read(headers, body)
        self.requests.append(asked)
        await asyncio.sleep(self.wait)
        for name in sorted(self.refused & asked.fields.keys()):
            text = f"Unrecognized request argument supplied: {name if self.names_refused else '?'}"
            return await self._json(writer, 400, json.dumps({"error": {"message": text}}).encode())
        if self.status != 200:
            return await self._json(writer, self.status, b'{"error": {"message": "secret words"}}')
        try:
            await self._send(asked, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            asked.closed_early = True
            raise
        finally:
            asked.done.set()
        return False

    async def _send(
        self, asked: R, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = ["HTTP/1.1 200 OK", f"content-type: {self._kind}", "connection: close", *self.extra]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        answers = self.answers if self.answers is not None else await self._pieces(asked)
        gone = asyncio.create_task(reader.read(1))
        try:
            for piece in answers:
                if piece is None:
                    writer.transport.abort()
                    return
                if isinstance(piece, float | int):
                    await asyncio.wait([gone], timeout=piece)
                else:
                    writer.write(piece.encode() if isinstance(piece, str) else piece)
                    await writer.drain()
                if gone.done():
                    raise ConnectionError
            while self.endless is not None:
                writer.write(self.endless)
                await writer.drain()
        finally:
            gone.cancel()
