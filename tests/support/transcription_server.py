"""A transcription server in the test's own event loop, over real sockets, that misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from tests.support.pieces_server import Piece, PiecesServer, Request

_PART = re.compile(rb'name="([^"]+)"(?:; filename="[^"]*")?(?:\r\n[^\r]+)*\r\n\r\n(.*)', re.S)


@dataclass
class Heard(Request):
    """One request for words."""

    file: bytes = b""


class TranscriptionServer(PiecesServer[Heard]):
    """`POST /v1/audio/transcriptions` and `GET /v1/models`; `/v1/realtime` answers with `upgrade`."""

    path = "/audio/transcriptions"

    def __init__(self) -> None:
        super().__init__("whisper", "application/json")
        # The status of the realtime address, or the events that it sends; with none it closes
        self.upgrade: int | list[Any] = 403
        self.upgrades = 0

    def _read(self, headers: dict[str, str], body: bytes) -> Heard:
        fields, file = _form(headers["content-type"], body)
        return Heard(fields, headers, file=file)

    async def _pieces(self, asked: Heard) -> list[Piece]:
        return ['{"text": " What is this? "}']

    async def _upgraded(
        self, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        self.upgrades += 1
        if isinstance(self.upgrade, int):
            return await self._json(writer, self.upgrade)
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1((headers["sec-websocket-key"] + guid).encode()).digest()
        accept = base64.b64encode(digest).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        for event in self.upgrade:
            text = json.dumps(event).encode()
            writer.write(bytes([0x81, len(text)]) + text)
        await writer.drain()
        while self.upgrade and await reader.read(4096):
            pass
        return False


def _form(kind: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Return the fields and the file of a multipart form."""
    boundary = re.search("boundary=(.+)", kind)
    assert boundary
    fields, file = {}, b""
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        found = _PART.search(part)
        assert found
        value = found[2].removesuffix(b"\r\n")
        if found[1] == b"file":
            file = value
        else:
            fields[found[1].decode()] = value.decode()
    return fields, file
