"""The HTTP client that huggingface_hub is given: a hub, and what it leads to, may be public https addresses alone.

Where HF_ENDPOINT itself is a machine of one's own network, that one may be asked too, by plain http as well: whoever set
it chose it. Every redirect to elsewhere is held to https and public addresses. A proxy connects where it likes; through
one, https is held to, and addresses that stand in the URL.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import httpcore2
import httpx2
from huggingface_hub import close_session, constants, get_session, set_client_factory

from server.fetch import reach
from server.fetch.errors import FetchError
from server.fetch.fetcher import shown
from server.fetch.network import Network


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
        self._endpoint = _origin(httpx2.URL(endpoint))
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
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy and not urllib.request.proxy_bypass(url.host):
            _check_literal(url, own)
            transport = self._kept(f"proxy {proxy}", lambda: httpx2.HTTPTransport(proxy=proxy))
        elif url.scheme != "https":
            transport = self._kept("plain", lambda: _Direct(_public))
        elif own:
            transport = self._kept("own", lambda: _Direct(lambda address: None))
        else:
            transport = self._kept("public", lambda: _Direct(reach.refused))
        return transport.handle_request(request)

    def _kept(self, name: str, make: Callable[[], httpx2.HTTPTransport]) -> httpx2.HTTPTransport:
        if name not in self._transports:
            self._transports[name] = make()
        return self._transports[name]

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


class _Direct(httpx2.HTTPTransport):
    """Without a proxy, to addresses that are not `refused`."""

    def __init__(self, refused: Callable[[str], str | None]) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpcore2.default_ssl_context(), network_backend=Network(refused=refused)
        )


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
