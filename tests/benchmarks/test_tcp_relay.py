from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from benchmarks import tcp_relay
from benchmarks.tcp_relay import TcpRelay


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def test_a_cut_holds_everything_back_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Open connections and new ones go on when TCP would have tried again; an end is passed on."""
    monkeypatch.setattr(tcp_relay, "RETRY_S", 0.02)
    monkeypatch.setattr(tcp_relay, "OPEN_RETRY_S", 0.02)
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server, TcpRelay(host, port) as relay:
        address = urlsplit(relay.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"one")
        assert await asyncio.wait_for(reader.readexactly(3), 2) == b"one"
        relay.cut = True
        writer.write(b"two")
        late, later = await asyncio.open_connection(address.hostname, address.port)
        later.write(b"new")
        for each in (reader, late):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(each.readexactly(3), 0.05)
        relay.cut = False
        assert await asyncio.wait_for(reader.readexactly(3), 2) == b"two"
        assert await asyncio.wait_for(late.readexactly(3), 2) == b"new"
        for each, there in ((reader, writer), (late, later)):
            there.write_eof()
            assert await asyncio.wait_for(each.read(), 2) == b""
            there.close()
            await there.wait_closed()
