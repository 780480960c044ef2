"""A transport of httpx2 whose connections are those of `server.fetch.network`: httpx2's own takes
no network of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import httpcore2
import httpx2

from server.fetch import network
from server.fetch.network import Network


class PoolTransport(httpx2.BaseTransport):
    """Connections to addresses that are not `refused`, through `proxy` unless it is empty.

    `seconds` is all that they may take; None: no end.
    """

    def __init__(
        self, refused: Callable[[str], str | None], seconds: float | None, proxy: str
    ) -> None:
        trust = network.trusted()
        backend = Network(refused=refused, seconds=seconds)
        self._pool = httpcore2.ConnectionPool(ssl_context=trust, network_backend=backend)
        if not proxy:
            return
        through = httpx2.Proxy(proxy)
        self._pool = httpcore2.HTTPProxy(
            proxy_url=_target(through.url),
            proxy_auth=through.raw_auth,
            ssl_context=trust,
            proxy_ssl_context=trust if through.url.scheme == "https" else None,
            network_backend=backend,
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with _errors_of_httpx2():
            answer = self._pool.handle_request(
                httpcore2.Request(
                    request.method,
                    _target(request.url),
                    headers=request.headers.raw,
                    content=_pieces(request.stream),
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Content(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Content(httpx2.SyncByteStream):
    """The content of an answer as it comes."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx2():
            yield from _pieces(self._answer.stream)

    def close(self) -> None:
        self._answer.close()


def _pieces(stream: object) -> Iterable[bytes]:
    if not isinstance(stream, Iterable):
        raise TypeError("a transport that is not asynchronous takes no asynchronous content")
    return stream


def _target(url: httpx2.URL) -> httpcore2.URL:
    return httpcore2.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


@contextmanager
def _errors_of_httpx2() -> Iterator[None]:
    """Raise httpcore2's errors as httpx2's of the same name, which is what callers of a transport
    know.
    """
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            known = getattr(httpx2, kind.__name__, None)
            if isinstance(known, type) and issubclass(known, httpx2.TransportError):
                raise known(str(error)) from error
        raise
