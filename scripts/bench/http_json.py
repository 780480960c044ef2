"""Send one JSON request over HTTP/1.1, using only asyncio: measurements need no pool and no threads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Maximum bytes of a body: the metrics of a large server take some hundred KiB.
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    # By name in lower case
    headers: dict[str, str]
    body: bytes

    def parse_json(self) -> Any:
        return json.loads(self.body)


class HttpError(Exception):
    """A response with a status other than 2xx; `reply` is the response."""

    def __init__(self, method: str, path: str, reply: Reply) -> None:
        super().__init__(f"{method} {path} gave {reply.status}: {reply.body[:300]!r}")
        self.reply = reply


async def request(
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 20.0,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send `body` as JSON (None: no body), and read the whole response.

    Without `tls` certificates are not verified, because the server is the user's own. Any status is
    returned. Raises OSError if no server listens, TimeoutError after `timeout` seconds, and ValueError,
    IndexError or EOFError if the response is not HTTP, or larger than MAX_BYTES.
    """
    parts = urlsplit(url)
    secure = (tls or make_unchecked_tls()) if parts.scheme == "https" else None
    payload = b"" if body is None else json.dumps(body).encode()
    fields = {"Host": parts.netloc, "Connection": "close", "Accept": "application/json"}
    fields |= {"Accept-Encoding": "identity", "Content-Length": str(len(payload))}
    if body is not None:
        fields["Content-Type"] = "application/json"
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    fields |= headers or {}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with asyncio.timeout(timeout):
        port = parts.port or (443 if secure else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + payload)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.close()
            # The other side may have closed the connection first.
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def request_json(
    method: str, url: str, body: Any = None, *, token: str | None = None, timeout: float = 20.0
) -> Any:
    """Send a request as `request` does. Return the JSON of a 2xx response, or None. Raises HttpError for others."""
    reply = await request(method, url, body, token=token, timeout=timeout)
    if not 200 <= reply.status < 300:
        raise HttpError(method, urlsplit(url).path, reply)
    return reply.parse_json() if reply.body else None


async def _read(reader: asyncio.StreamReader) -> Reply:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.LimitOverrunError:
        raise ValueError("the response's header section is incomplete") from None
    status = int(head[0].split(" ", 2)[1])
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(_check_size(len(body) + size) - len(body))
            await reader.readline()
            # Chunks that have already arrived are read without a turn of the event loop.
            await asyncio.sleep(0)
    elif "content-length" in headers:
        body = bytearray(await reader.readexactly(_check_size(int(headers["content-length"]))))
    else:
        body = bytearray()
        while piece := await reader.read(65536):
            body += piece
            _check_size(len(body))
    return Reply(status, headers, bytes(body))


def _check_size(size: int) -> int:
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"the response has more than {MAX_BYTES} bytes")
    return size


def make_unchecked_tls() -> ssl.SSLContext:
    """Return a client's TLS context that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
