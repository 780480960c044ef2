"""A TCP way to the server that can be cut: for what goes beside the camera, HTTP and the WebSocket.

A cut closes nothing: what is sent waits, as it does in the sender's kernel, and goes on when TCP
would have tried again (RFC 6298: the waits double from 0.2 s, those of a connection being opened
from 1 s).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

# Bytes taken from one side at a time; what waits beyond is the kernel's to hold back
CHUNK = 65_536
RETRY_S, OPEN_RETRY_S = 0.2, 1.0


class TcpRelay:
    """A context manager; `url` stands for the server's."""

    def __init__(self, host: str, port: int) -> None:
        """The server's address."""
        self.url = ""
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def cut(self) -> bool:
        return not self._open.is_set()

    @cut.setter
    def cut(self, value: bool) -> None:
        if value:
            self._open.clear()
        else:
            self._open.set()

    async def _passes(self, first_wait: float) -> None:
        """Return when a packet sent now comes through."""
        wait = first_wait
        while self.cut:
            await asyncio.sleep(wait)
            wait *= 2

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="tcp-relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._passes(OPEN_RETRY_S)
            there, back = await asyncio.open_connection(self._host, self._port)
            writers.append(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back))
                group.create_task(self._copy(there, writer))
        except* OSError:
            pass  # One side has gone: the close below reaches the other.
        finally:
            for each in writers:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._passes(RETRY_S)
            writer.write(data)
            await writer.drain()
        await self._passes(RETRY_S)
        writer.close()
