"""A small HTTP/1.1 server in the test's own event loop, by itself, so that it can do what a library would not let it do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from scripts.local_certificate import CertificateStore, Identity

MAX_BODY = 64 * 1024 * 1024


class HttpRequest(NamedTuple):
    """One request as it came in; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def private_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return the TLS of a server on loopback with an authority of its own, and the authority's file."""
    issued = CertificateStore(folder).provide(Identity((), ()), "on test", datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.server)
    return tls, issued.authority


class HttpStandIn:
    """The server. Use as a context manager, or `start` and `close`."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host
        # Set before it starts: it speaks https.
        self.tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen; after `close()` again on the same port."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self.port, limit=MAX_BODY, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await self._next(reader)) is not None:
                if not await self._answer(request, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client went away, or the server ends: nothing is left to say.
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _next(self, reader: asyncio.StreamReader) -> HttpRequest | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        method, path, _ = head[0].split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return HttpRequest(method, path, headers, body)

    async def _reply(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, kind: str, *extra: str
    ) -> bool:
        """Write a whole answer with further lines of its head; the connection goes on."""
        head = [f"HTTP/1.1 {status} Fake", f"content-type: {kind}", f"content-length: {len(body)}"]
        writer.write(("\r\n".join([*head, *extra]) + "\r\n\r\n").encode() + body)
        await writer.drain()
        return True

    @abstractmethod
    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; false ends the connection."""
