"""The HTTP client for huggingface_hub: a hub, and all addresses it leads to, must be public https.

Where HF_ENDPOINT itself is a machine of one's own network, that one may be asked too, by plain http
as well: whoever set it chose it. Every redirect to elsewhere is held to https and public addresses.
A proxy connects where it likes; through one, https is held to, and addresses that stand in the URL.
Nothing is taken compressed: few bytes could become many.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator

import httpx2
from huggingface_hub import close_session, constants, get_session, set_client_factory

from server.features.hosting.catalogue.source import shown
from server.shared import network
from server.shared.network import FetchError, Network

# Largest response about a repository: names, sizes and checksums of its files. The files have the
# announced sizes.
MAX_REPLY_BYTES = 32 * 1024 * 1024
REPLY_SECONDS = 60.0
# Longest pause before a retry that a hub may request; a longer one is ignored.
MAX_PAUSE_SECONDS = 30


def hold_to_public_addresses() -> None:
    """Restrict all requests of huggingface_hub in this process to public addresses."""
    # Keep its own request hook (offline mode).
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


def endpoint(text: str) -> httpx2.URL:
    """Read HF_ENDPOINT. Raises FetchError when it is no URL of a hub."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        url = httpx2.URL("")
    if url.scheme not in ("https", "http") or not url.host:
        # A password may be in it.
        said = "" if "@" in text or not text.isprintable() else f" {text[:100]!r}"
        raise FetchError(
            f"HF_ENDPOINT{said} is no hub's address; one looks like https://hub.example.org. Unset, it is https://huggingface.co."
        )
    return url


class Guarded(httpx2.BaseTransport):
    """`hub` is HF_ENDPOINT. Raises FetchError for what may not be asked."""

    def __init__(self, hub: str) -> None:
        url = endpoint(hub)
        self._endpoint = _origin(url)
        self._api = f"{url.path.rstrip('/')}/api/"
        self._lock = threading.Lock()
        # By proxy, and whether they are for the hub itself: made when they are needed
        self._lasting: dict[tuple[str, bool], _Transport] = {}
        self._passing: list[_Transport] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        own = _origin(url) == self._endpoint
        if url.scheme != "https" and not own:
            raise FetchError(
                f"The hub leads to {shown(url)}: only https is fetched, so that nobody on the way changes it. Set HF_ENDPOINT"
                " to another mirror."
            )
        is_api = own and url.path.startswith(self._api)
        request.headers["Accept-Encoding"] = "identity"
        answer = self._transport(url, own, REPLY_SECONDS if is_api else None).handle_request(
            request
        )
        if answer.status_code not in (200, 206):
            # Nobody reads what stands beside an address or a refusal.
            answer.close()
            return httpx2.Response(answer.status_code, headers=_of_refusal(answer.headers))
        if answer.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            answer.close()
            raise FetchError(
                f"{shown(url)} comes compressed though it was not asked for so. Set HF_ENDPOINT to another mirror."
            )
        if not is_api:
            return answer
        if not isinstance(answer.stream, httpx2.SyncByteStream):
            raise TypeError("a transport that is not asynchronous answered so")
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers,
            stream=_Bounded(answer.stream, shown(url)),
            extensions=answer.extensions,
        )

    def _transport(self, url: httpx2.URL, own: bool, seconds: float | None) -> _Transport:
        refused: Callable[[str], str | None] = network.refused
        proxy = _proxy(url)
        if proxy:
            _check_literal(url, own)
            # It is asked wherever it is.
            refused = _any
        elif own:
            refused = _any if url.scheme == "https" else _public
        with self._lock:
            if seconds is not None:
                # One with an end in time is for one request.
                self._passing.append(_Transport(refused, seconds, proxy))
                return self._passing[-1]
            if (proxy, own) not in self._lasting:
                self._lasting[proxy, own] = _Transport(refused, None, proxy)
            return self._lasting[proxy, own]

    def close(self) -> None:
        for transport in (*self._lasting.values(), *self._passing):
            transport.close()


class _Transport(httpx2.HTTPTransport):
    """Connections to addresses that are not `refused`, through `proxy` unless it is empty.

    `seconds` is all that they may take; None: no end.
    """

    def __init__(
        self, refused: Callable[[str], str | None], seconds: float | None, proxy: str
    ) -> None:
        trust = network.trusted()
        through = httpx2.Proxy(proxy) if proxy else None
        if through is not None and through.url.scheme == "https":
            through.ssl_context = trust
        super().__init__(verify=trust, proxy=through)
        # httpx2 takes no network of ours; its pool reads this one for each new connection.
        self._pool._network_backend = Network(refused=refused, seconds=seconds)


class _Bounded(httpx2.SyncByteStream):
    """Read a hub's response up to its limit. Raises FetchError beyond."""

    def __init__(self, stream: httpx2.SyncByteStream, named: str) -> None:
        self._stream = stream
        self._named = named

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for piece in self._stream:
            came += len(piece)
            if came > MAX_REPLY_BYTES:
                raise FetchError(
                    f"{self._named} sends more than {MAX_REPLY_BYTES} bytes, and no more is read. Set HF_ENDPOINT to another"
                    " mirror."
                )
            yield piece

    def close(self) -> None:
        self._stream.close()


def _any(address: str) -> None:
    """Allow any address, for a configured hub."""


def _public(address: str) -> str | None:
    """Return the reason to refuse plain http to a public address; None for one in the own network."""
    return None if network.refused(address) else "public (plain http is for one's own network)"


def _of_refusal(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Return the headers about the answer itself, without pauses that nobody waits for."""
    kept = []
    for name, value in headers.multi_items():
        if name.startswith(("content-", "transfer-", "ratelimit")):
            continue
        short = value.isascii() and value.isdecimal() and int(value[:9]) <= MAX_PAUSE_SECONDS
        if name != "retry-after" or short:
            kept.append((name, value))
    return kept


def _proxy(url: httpx2.URL) -> str:
    """The proxy that the environment has for this one, or nothing.

    Raises FetchError for one that is of no use.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    if not proxy or urllib.request.proxy_bypass(f"{url.host}:{port}"):
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        through = httpx2.URL(proxy)
    except (httpx2.InvalidURL, ValueError):
        through = httpx2.URL("")
    if through.scheme not in ("http", "https") or not through.host:
        kind = f"of the kind {through.scheme}" if through.scheme.isalnum() else "that is no URL"
        raise FetchError(
            f"The environment names a proxy {kind} (HTTPS_PROXY or ALL_PROXY), and only http:// and https:// ones are used"
            " here. Name one in HTTPS_PROXY, or the hub in NO_PROXY."
        )
    return proxy


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _check_literal(url: httpx2.URL, own: bool) -> None:
    """An address in the URL itself is known without looking anything up."""
    kind = network.refused(url.host)
    if kind not in (None, "no IP") and not own:
        raise FetchError(
            f"The hub leads to {shown(url)}: a {kind} address. Nothing is fetched from there."
        )
