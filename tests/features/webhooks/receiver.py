"""A receiver of webhooks over true HTTP, which verifies by the library of Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.support.loopback import listening_on_loopback

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write an operator's list."""
    path = folder / "webhooks.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def hall(url: str, *lines: str) -> str:
    """A list with one receiver, and more lines of it."""
    own = (f'url = "{url}"', f'secret = "{SECRET}"', "private = true")
    return "\n".join(("[[webhook]]", 'name = "hall"', *own, *lines, ""))


@dataclass(frozen=True)
class Heard:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """The message that it brings. Raises WebhookVerificationError."""
        return dict(Webhook(SECRET).verify(self.body, self.headers))


# Gives the whole answer to a request; None leaves it without one until the end
Script = Callable[[Heard], bytes | None]


class Receiver:
    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}/hook"
        self.heard: list[Heard] = []
        # In place of what it was given; None: that
        self.script: Script | None = None
        # Connections that came, with or without a request
        self.connections = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [one.message for one in self.heard]


async def _read(reader: asyncio.StreamReader) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    method, path, _ = first.split(" ")
    return Heard(method, path, headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(
    script: Script = lambda heard: OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Serve on loopback; each request is kept and answered by `script`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        heard = await _read(reader)
        receiver.heard.append(heard)
        reply = (receiver.script or script)(heard)
        if reply is None:
            await asyncio.Event().wait()
        else:
            writer.write(reply)
            await writer.drain()

    async with listening_on_loopback(serve, tls) as port:
        receiver = Receiver(port, "https" if tls else "http")
        yield receiver
