"""The HTTP client for model and speech servers: no proxies, no redirects, and a limit on bytes."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from server.core.retry_after import parse_retry_after

log = logging.getLogger(__name__)

# A list of some hundred models is smaller than 1 MiB, an answer that is not streamed much smaller.
ANSWER_BYTES = 2 * 1024 * 1024
# A stream of 8,192 tokens with an event each, and keep-alive comments
STREAM_BYTES = 32 * 1024 * 1024
# FastAPI repeats refused input, which may be a picture.
_REFUSAL_BYTES = 1024 * 1024


class ResponseTooLarge(httpx2.TransportError):
    """A response that exceeds its byte limit. The text is a predicate about the server.

    Not a QwenCameraError: HTTP clients handle it as their own.
    """


def make_http_client(
    *,
    limits: httpx2.Limits,
    connect: float,
    headers: Mapping[str, str],
    base_url: str = "",
    most: int = ANSWER_BYTES,
    most_streamed: int = STREAM_BYTES,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """Return a client for one server, without proxies, redirects and cookies.

    `connect`: time limit in seconds; the caller limits the time of an answer. `most`: maximum bytes of a response;
    `most_streamed`: maximum bytes of an event stream. Reading more raises ResponseTooLarge; an error's body is
    truncated. `transport` replaces the network in tests.
    """
    # At lower levels these libraries log addresses, headers and bodies.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)

    async def limit(answer: httpx2.Response) -> None:
        kind = answer.headers.get("content-type", "")
        bound = most_streamed if kind.startswith("text/event-stream") else most
        cut = not answer.is_success
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        answer.stream = _LimitedBody(
            answer.stream, min(bound, _REFUSAL_BYTES) if cut else bound, cut
        )

    return httpx2.AsyncClient(
        base_url=base_url,
        headers={"Accept-Encoding": "identity", **headers},
        transport=transport,
        verify=get_tls_context(),
        limits=limits,
        trust_env=False,
        follow_redirects=False,
        # All sessions share the client, so a cookie would leak between them.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx2.Timeout(None, connect=connect, write=10.0, pool=1.0),
        event_hooks={"response": [limit]},
    )


@dataclass(slots=True)
class _LimitedBody(httpx2.AsyncByteStream):
    """A body of at most `most` bytes. A longer body is truncated if `cut` is true, else ResponseTooLarge is raised."""

    stream: httpx2.AsyncByteStream
    most: int
    cut: bool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.most
        async for piece in self.stream:
            left -= len(piece)
            if left < 0:
                if self.cut:
                    return
                raise ResponseTooLarge(
                    f"answers with more than {self.most:,} bytes, and no more is read"
                )
            yield piece

    async def aclose(self) -> None:
        await self.stream.aclose()


def retry_after(answer: httpx2.Response) -> float | None:
    """Return Retry-After in seconds, at most ten minutes, or None if it is absent or malformed.

    OpenAI's retry-after-ms (milliseconds) takes precedence.
    """
    found = parse_retry_after(answer.headers.get("retry-after", ""), time.time())
    exact = parse_retry_after(answer.headers.get("retry-after-ms", ""), time.time())
    found = exact / 1000 if exact is not None else found
    return min(found, 600.0) if found is not None else None


@cache
def get_tls_context() -> ssl.SSLContext:
    """Return a TLS context with the CA certificates in SSL_CERT_FILE, or the system's. Cached: loading takes 20 ms."""
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        log.warning(
            "unreadable SSL_CERT_FILE or SSL_CERT_DIR ignored",
            extra={"error": type(error).__name__},
        )
        return httpx2.create_ssl_context(trust_env=False)


def load_ca_certificates(ca: str) -> ssl.SSLContext:
    """Return a TLS context with the CA certificates in a file; `get_tls_context()` if `ca` is empty. Blocking. Raises OSError."""
    return ssl.create_default_context(cafile=ca) if ca else get_tls_context()


def explain_unreachable(error: BaseException, host: str) -> str:
    """Return the cause why a server is unreachable, in lower case; "" if unknown."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted; set SSL_CERT_FILE to the file of its authority"
    causes = (error, *getattr(error.__cause__, "args", ()))
    if any(isinstance(one, socket.gaierror) for one in causes):
        return f"the host {host} was not found, and no proxies are used"
    return ""
