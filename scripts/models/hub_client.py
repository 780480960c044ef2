"""The HTTP client that huggingface_hub is given: a hub, and what it leads to, may be public https addresses alone.

Where HF_ENDPOINT itself is a machine of one's own network, that one may be asked too, by plain http as well: whoever set
it chose it. Every redirect to elsewhere is held to https and public addresses. A proxy connects where it likes; through
one, https is held to, and addresses that stand in the URL.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator

import httpcore2
import httpx2
from huggingface_hub import close_session, constants, get_session, set_client_factory

from server.fetch import reach
from server.fetch.errors import FetchError
from server.fetch.fetcher import shown
from server.fetch.network import Network

# What a hub tells of a repository: names, sizes and checksums of its files. The files themselves have the sizes told.
MAX_TOLD_BYTES = 32 * 1024 * 1024
TOLD_SECONDS = 60.0


def hold_to_public_addresses() -> None:
    """From now on, for all that huggingface_hub asks in this process."""
    # What it does to each request itself (offline mode) goes on.
    hooks = get_session().event_hooks
    close_session()
    set_client_factory(
        lambda: httpx2.Client(
            transport=Guarded(constants.ENDPOINT),
            event_hooks=hooks,
            follow_redirects=True,
            max_redirects=5,
            timeout=30.0,
        )
    )


class Guarded(httpx2.BaseTransport):
    """`endpoint` is the hub's URL. Raises FetchError for what may not be asked."""

    def __init__(self, endpoint: str) -> None:
        url = httpx2.URL(endpoint)
        self._endpoint = _origin(url)
        self._api = f"{url.path.rstrip('/')}/api/"
        self._lock = threading.Lock()
        # By name: made when they are needed
        self._transports: dict[str, httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        own = _origin(url) == self._endpoint
        if url.scheme != "https" and not own:
            raise FetchError(
                f"The hub leads to {shown(url)}: only https is fetched, so that nobody on the way changes it. Set HF_ENDPOINT"
                " to another mirror."
            )
        told = own and url.path.startswith(self._api)
        if told:
            # Compressed, few bytes could become many.
            request.headers["Accept-Encoding"] = "identity"
        answer = self._transport(url, own, TOLD_SECONDS if told else None).handle_request(request)
        if answer.has_redirect_location:
            # Nobody reads what stands beside the address.
            answer.close()
            kept = [
                (name, value)
                for name, value in answer.headers.multi_items()
                if not name.startswith(("content-", "transfer-"))
            ]
            return httpx2.Response(answer.status_code, headers=kept)
        if not told:
            return answer
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            answer.close()
            raise FetchError(f"{shown(url)} comes compressed though it was not asked for so.")
        if not isinstance(answer.stream, httpx2.SyncByteStream):
            raise TypeError("a transport that is not asynchronous answered so")
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers,
            stream=_Bounded(answer.stream, shown(url)),
            extensions=answer.extensions,
        )

    def _transport(self, url: httpx2.URL, own: bool, seconds: float | None) -> httpx2.HTTPTransport:
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy and not urllib.request.proxy_bypass(url.host):
            _check_literal(url, own)
            return self._kept(f"proxy {proxy}", lambda: httpx2.HTTPTransport(proxy=proxy))
        refused: Callable[[str], str | None] = reach.refused
        if own:
            refused = _any if url.scheme == "https" else _public
        # One with an end in time is for one request.
        name = f"{own} {len(self._transports) if seconds is not None else ''}"
        return self._kept(name, lambda: _Direct(refused, seconds))

    def _kept(self, name: str, make: Callable[[], httpx2.HTTPTransport]) -> httpx2.HTTPTransport:
        with self._lock:
            if name not in self._transports:
                self._transports[name] = make()
            return self._transports[name]

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


class _Direct(httpx2.HTTPTransport):
    """Without a proxy, to addresses that are not `refused`."""

    def __init__(self, refused: Callable[[str], str | None], seconds: float | None) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            network_backend=Network(refused=refused, seconds=seconds),
        )


class _Bounded(httpx2.SyncByteStream):
    """What a hub tells, up to its limit. Raises FetchError beyond."""

    def __init__(self, stream: httpx2.SyncByteStream, named: str) -> None:
        self._stream = stream
        self._named = named

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for piece in self._stream:
            came += len(piece)
            if came > MAX_TOLD_BYTES:
                raise FetchError(
                    f"{self._named} tells more than {MAX_TOLD_BYTES} bytes, and no more is read. Set HF_ENDPOINT to another"
                    " mirror."
                )
            yield piece

    def close(self) -> None:
        self._stream.close()


def _any(address: str) -> None:
    """The hub that somebody set is asked wherever it is."""


def _public(address: str) -> str | None:
    """What keeps a hub from being asked by plain http: that anybody is on the way there."""
    return None if reach.refused(address) else "public (plain http is for one's own network)"


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _check_literal(url: httpx2.URL, own: bool) -> None:
    """An address in the URL itself is known without looking anything up."""
    kind = reach.refused(url.host)
    if kind not in (None, "no IP") and not own:
        raise FetchError(
            f"The hub leads to {shown(url)}: a {kind} address. Nothing is fetched from there."
        )
