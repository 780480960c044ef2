"""An HTTP server that answers all with the same, and keeps the heads of what came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class Answering(NamedTuple):
    url: str
    port: int
    heads: list[str]


@asynccontextmanager
async def answering(
    text: str = "",
    status: int = 200,
    *,
    kind: str = "text/plain",
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Answering]:
    """`kind`: the content type; `port`: 0 for any."""
    heads: list[str] = []
    head = f"HTTP/1.1 {status} .\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    answer = f"{head}Content-Length: {len(text.encode())}\r\n\r\n{text}".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    async with server:
        at = server.sockets[0].getsockname()[1]
        yield Answering(f"http{'s' if tls else ''}://{host}:{at}", at, heads)
