"""The network to model servers within bounds: no compression, limits for bytes, pieces and time."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
from httpcore2 import AsyncHTTP11Connection

from server.core.retry_after import seconds_of

log = logging.getLogger(__name__)

# A list of some hundred models is below 1 MiB; a whole answer that comes unstreamed is far below.
ANSWER_BYTES = 2 * 1024 * 1024
# A stream of 8,192 tokens, an event each, with room for keep-alive comments
STREAM_BYTES = 32 * 1024 * 1024
# FastAPI repeats what it refuses, which may be a picture.
_REFUSAL_BYTES = 1024 * 1024
# A piece costs time, however small it is: it counts for at least so many bytes.
_LEAST_PIECE = 64
# Small pieces come out of one read without a pause; others have their turn after so many.
_PIECES_AT_A_TIME = 64
# An answer's head, and what is read at a time. The library's own 100 and 64 KiB held everybody for 0.2 s, and for
# 0.5 s with interim answers (100).
_HEAD_BYTES = 16 * 1024
_READ_BYTES = 8 * 1024
# Values of a JSON text, of which reading takes 0.4 µs each: some thousand models have fewer.
MOST_VALUES = 100_000
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)


class AnswerRefused(httpx2.TransportError):
    """An answer of which no more is taken. Its text is ours, the end of a sentence on the server.

    Outside the tree of errors: HTTP clients have to take it for one of their own.
    """


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one answer.

    `seconds`: from sending the request to the last byte of the answer.
    """

    bytes: int = ANSWER_BYTES
    seconds: float = 60.0


def read_json(raw: bytes | str) -> Any:
    """Read a JSON text, unless its values are so many that reading would hold everybody up.

    Raises ValueError, RecursionError.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MOST_VALUES:
        raise ValueError("a JSON text has too many values")
    return json.loads(raw)


def network(limits: httpx2.Limits = _LIMITS) -> httpx2.AsyncHTTPTransport:
    """Return the transport below the bounds. It uses no proxy."""
    # The library has no other place for these.
    AsyncHTTP11Connection.READ_NUM_BYTES = _READ_BYTES
    AsyncHTTP11Connection.MAX_INCOMPLETE_EVENT_SIZE = _HEAD_BYTES
    return httpx2.AsyncHTTPTransport(verify=trust(), trust_env=False, limits=limits)


def client(
    bounds: Callable[[httpx2.Request], Bounds],
    *,
    limits: httpx2.Limits,
    connect: float,
    headers: Mapping[str, str],
    base_url: str = "",
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """Build a client for one server; what a request says goes there and nowhere else: no proxy, no redirect.

    `connect`: seconds. `transport` replaces the network, in tests.
    """
    # These libraries log addresses, headers and bodies at lower levels.
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        base_url=base_url,
        headers=headers,
        transport=BoundedTransport(transport or network(limits), bounds),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(None, connect=connect, write=10.0, pool=1.0),
    )


def retry_after(answer: httpx2.Response) -> float | None:
    """Return Retry-After in seconds, at most ten minutes; None when it is absent or malformed."""
    found = seconds_of(answer.headers.get("retry-after", ""), time.time())
    return min(found, 600.0) if found is not None else None


@cache
def trust() -> ssl.SSLContext:
    """Read the authorities of SSL_CERT_FILE, else the system's, once for all servers: that takes some 20 ms."""
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        log.warning(
            "SSL_CERT_FILE or SSL_CERT_DIR cannot be read and is ignored",
            extra={"error": type(error).__name__},
        )
        return httpx2.create_ssl_context(trust_env=False)


def why_unreachable(error: BaseException, host: str) -> str:
    """Return the end of a sentence on why a server cannot be reached; "" where nothing more is known."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted; set SSL_CERT_FILE to the file of its authority"
    causes = (error, *getattr(error.__cause__, "args", ()))
    if any(isinstance(one, socket.gaierror) for one in causes):
        return f"the host {host} was not found, and no proxies are used"
    return ""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Everything that a model server answers comes through here, whatever its status.

    The body of a refusal is cut at its bound and its status stays; any other answer beyond its
    bounds raises AnswerRefused, or ReadTimeout.

    Bounds of a response of a model server: 2 MiB, a stream 32 MiB, an error 1 MiB; a larger one
    is refused, an error is cut.
    """

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, bounds: Callable[[httpx2.Request], Bounds]
    ) -> None:
        self._inner = inner
        self._bounds = bounds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        bounds = self._bounds(request)
        due = asyncio.get_running_loop().time() + bounds.seconds
        late = httpx2.ReadTimeout(f"no whole answer within {bounds.seconds:g} s", request=request)
        request.headers["Accept-Encoding"] = "identity"
        try:
            async with asyncio.timeout_at(due):
                answer = await self._inner.handle_async_request(request)
        except TimeoutError:
            raise late from None
        try:
            return self._bounded(answer, bounds.bytes, due, late)
        except AnswerRefused:
            await answer.aclose()
            raise

    def _bounded(
        self, answer: httpx2.Response, most: int, due: float, late: httpx2.ReadTimeout
    ) -> httpx2.Response:
        refusal, headers = answer.status_code >= 300, answer.headers
        encodings = headers.get_list("content-encoding", split_commas=True)
        packed = any(one.strip().lower() not in ("", "identity") for one in encodings)
        if packed and not refusal:
            raise AnswerRefused(
                "sends compressed answers though it was asked not to (a proxy before it may do that)"
            )
        if refusal:
            # Nobody unpacks a refusal: its status says enough.
            most = 0 if packed else min(most, _REFUSAL_BYTES)
        length = headers.get("content-length", "")
        if not refusal and length.isdecimal() and int(length[:20]) > most:
            raise _too_large(most)
        if not isinstance(answer.stream, httpx2.AsyncByteStream):
            raise TypeError("a transport that is asynchronous answered so")
        stream = _BoundedStream(answer.stream, most, refusal, due, late)
        kept = [
            (name, value)
            for name, value in headers.raw
            if not (refusal and name.lower() in (b"content-encoding", b"content-length"))
            # A client would keep cookies without end, and send one person's with everybody's.
            and name.lower() != b"set-cookie"
        ]
        return httpx2.Response(
            answer.status_code, headers=kept, stream=stream, extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(slots=True)
class _BoundedStream(httpx2.AsyncByteStream):
    """A body up to `most`; beyond, a refusal ends and anything else raises AnswerRefused, and `late` when it is `due`."""

    stream: httpx2.AsyncByteStream
    most: int
    refusal: bool
    due: float
    late: httpx2.ReadTimeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        charged = pieces = 0
        source = aiter(self.stream)
        while True:
            try:
                async with asyncio.timeout_at(self.due):
                    piece = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise self.late from None
            charged += max(len(piece), _LEAST_PIECE)
            if charged > self.most:
                if self.refusal:
                    return
                raise _too_large(self.most)
            yield piece
            pieces += 1
            if pieces % _PIECES_AT_A_TIME == 0:
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self.stream.aclose()


def _too_large(most: int) -> AnswerRefused:
    return AnswerRefused(f"answers with more than {most:,} bytes, and no more is read")
