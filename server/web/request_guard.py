"""Checks that routes share: address, rate limits, origin, tokens and codes."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args
from urllib.parse import quote, urlencode

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import HTTPConnection

from server.auth import (
    Claims,
    Guessed,
    Guesses,
    Issued,
    RequestLimiter,
    SharedCounts,
    TokenIssuer,
    TokenRefused,
    check_access_code,
    derive_signing_key,
    get_bearer,
    is_same_secret,
    turn_credentials,
)
from server.core.addresses import (
    HostPolicy,
    Network,
    OriginPolicy,
    get_client_address,
    is_secure,
    is_trusted,
    normalise_origin,
    parse_address,
)
from server.core.errors import Elsewhere, Forbidden, NotFound, RateLimited, Unauthorized
from server.core.metrics import Metrics
from server.core.redact import hash_session_id
from server.core.setting_text import read_certificate_der, read_certificate_names
from server.session_manager import REPLICA_UNAVAILABLE, SessionManager

if TYPE_CHECKING:
    from server.web.health import Health
    from server.webrtc_server import WebRTCServer


class AccessSettings(Protocol):
    """The settings for access."""

    host: str
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    require_auth: bool
    access_code: SecretStr
    operator_token: SecretStr
    metrics_token: SecretStr
    jwt_secret_key: SecretStr
    session_timeout: int
    token_max_age: int
    rate_limit_per_minute: int
    trusted_proxies: tuple[Network, ...]
    https_enabled: bool
    ssl_cert_path: Path | None
    ca_cert_path: Path | None
    stun_urls: tuple[str, ...]
    turn_urls: tuple[str, ...]
    turn_secret: SecretStr
    turn_ttl: int


class Access:
    """Keys, tokens, limits and policies for access, built from the settings."""

    def __init__(self, settings: AccessSettings) -> None:
        self.settings = settings
        # Access code; "" if not required
        self.code = settings.access_code.get_secret_value()
        # "" if the operator functions are off
        self.operator_token = settings.operator_token.get_secret_value()
        # True after the log line about disabled operator functions, and after the one about an untrusted proxy
        self.operator_off_logged = self.proxy_logged = False
        # Monotonic time before which refused hosts and origins are not logged
        self.silent_until = 0.0
        self.metrics_token = settings.metrics_token.get_secret_value()
        self.tokens = TokenIssuer(
            derive_signing_key(
                settings.jwt_secret_key.get_secret_value(), "session tokens", self.code
            ),
            settings.session_timeout,
            settings.token_max_age,
        )
        path = settings.ca_cert_path
        # The certificate authority of the server's own certificate, as DER; None if there is none
        self.authority = read_certificate_der(path) if path is not None else None
        self.limiter = RequestLimiter(settings.rate_limit_per_minute)
        self.guesses: dict[Guessed, Guesses] = {kind: Guesses(kind) for kind in get_args(Guessed)}
        names = {*settings.allowed_hosts, settings.host}
        if settings.https_enabled and settings.ssl_cert_path is not None:
            names |= read_certificate_names(settings.ssl_cert_path)
        self.hosts = HostPolicy(names, socket.gethostname())
        self.origins = OriginPolicy(settings.allowed_origins, self.hosts)

    def share(self, counts: SharedCounts) -> None:
        """Use counts of requests and guesses that other processes share."""
        self.limiter.share(counts)
        for guesses in self.guesses.values():
            guesses.share(counts)

    def make_ice_servers(self, session_id: str) -> list[dict[str, Any]]:
        """Return RTCIceServer dictionaries; those of relays contain credentials for the session."""
        settings = self.settings
        servers: list[dict[str, Any]] = []
        if settings.stun_urls:
            servers.append({"urls": list(settings.stun_urls)})
        if settings.turn_urls:
            secret, user = settings.turn_secret.get_secret_value(), hash_session_id(session_id)
            name, credential = turn_credentials(secret, settings.turn_ttl, user, time.time())
            urls = list(settings.turn_urls)
            servers.append({"urls": urls, "username": name, "credential": credential})
        return servers


@dataclass(frozen=True, slots=True)
class Services:
    """Services for routes."""

    access: Access
    sessions: SessionManager
    webrtc: WebRTCServer
    health: Health
    metrics: Metrics


# Checks of requests and sockets

log = logging.getLogger(__name__)


# Minimum seconds between log lines about refused origins and hosts, because anybody can cause them
_LOG_SECONDS = 60.0


class RequestGuard:
    """Checks requests and sockets, and counts refusals by reason."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._access = services.access
        self._metrics = services.metrics
        self._trusted_proxies = services.access.settings.trusted_proxies

    def get_address(self, connection: HTTPConnection) -> str:
        """Return the client's address, also behind trusted proxies."""
        peer = _get_peer(connection)
        forwarded = ",".join(connection.headers.getlist("x-forwarded-for")) or None
        if forwarded and not self._access.proxy_logged:
            self._access.proxy_logged = True
            if not is_trusted(peer, self._trusted_proxies):
                log.warning(
                    "X-Forwarded-For ignored: the sender is not in TRUSTED_PROXIES",
                    extra={
                        "reason": "if it is your proxy, add it; else its visitors share one limit"
                    },
                )
        return get_client_address(peer, forwarded, self._trusted_proxies)

    def secure(self, connection: HTTPConnection) -> bool:
        """Return whether the browser uses TLS."""
        forwarded = connection.headers.get("x-forwarded-proto")
        return is_secure(
            connection.url.scheme, _get_peer(connection), forwarded, self._trusted_proxies
        )

    def check_origin(self, connection: HTTPConnection) -> None:
        """Check the page's origin and the host name. Raises Forbidden."""
        origin, host = connection.headers.get("origin"), connection.headers.get("host")
        if self._access.origins.allows(origin, host, self.secure(connection)):
            return
        self._metrics.auth_failures.labels("origin").inc()
        known, now = self._access.origins.allows_host(host), time.monotonic()
        if now >= self._access.silent_until:
            self._access.silent_until = now + _LOG_SECONDS
            setting = "ALLOWED_ORIGINS" if known else "ALLOWED_HOSTS"
            log.warning(
                "request refused for its host or origin",
                extra={"field": setting, "reason": "if it is yours, add it to this setting"},
            )
        if known:
            raise Forbidden(
                "Pages of this origin may not use this server. Add the origin to ALLOWED_ORIGINS.",
                visitors="Pages of this origin may not use this server. Ask its administrator for its own page.",
            )
        raise Forbidden(
            "The host name of the request is not allowed. Add the name to ALLOWED_HOSTS.",
            visitors="This server does not answer under this host name. Ask its administrator for its address.",
        )

    def verify(self, token: str, *, session_id: str | None = None) -> Claims:
        """Check a token, and its session if one is given. Raises TokenRefused."""
        with self._counting():
            return self._access.tokens.verify(token, session_id=session_id)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count a refused token."""
        try:
            yield
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise

    # Rate limits and codes, for routes only

    def issue(self, session_id: str, device: Device | None = None) -> Issued:
        """Return a token for a new session. `device`: a paired device, which needs no code."""
        services = self._services
        begins = services.sessions.revoked.begin(time.time())
        if device is not None:
            # It may have been paired in the same second in which all others were revoked.
            begins = max(begins, device.since)
        name = device.name if device is not None else ""
        return self._access.tokens.issue(session_id, auth_time=begins, device=name)

    def renew(self, request: Request) -> Issued:
        """Return another token for the session of the request's token. Raises Unauthorized."""
        claims = self.get_claims(request)
        with self._counting():
            if self._services.sessions.is_revoked(claims):
                raise TokenRefused("ended")
            return self._access.tokens.renew(claims)

    async def home(self, request: Request) -> None:
        """Check that the session belongs to this process.

        Raises Elsewhere, or NotFound if its process is unavailable.
        """
        session_id = self.get_session_id(request)
        if session_id is not None:
            self.check_home(request, session_id)

    def check_home(self, request: Request, session_id: str) -> None:
        """Check that a session belongs to this process. Raises what `home` raises."""
        if self._services.sessions.replicas.is_home(session_id):
            return
        if request.query_params.get("session") == session_id:
            # The load balancer knows the session's process, but did not reach it.
            raise NotFound(REPLICA_UNAVAILABLE)
        kept = [(k, v) for k, v in request.query_params.items() if k in ("page", "attempt")]
        query = urlencode([("session", session_id), *kept])
        # A decoded path may have characters that are invalid in headers.
        raise Elsewhere(f"{quote(request.url.path, safe='/%')}?{query}")

    async def limit(self, request: Request) -> None:
        """Count a request against the rate limits. Raises RateLimited."""
        services, now = self._services, time.monotonic()
        session_id = self.get_session_id(request)
        if session_id is None:
            wait = await self._access.limiter.count_anybody(self.get_address(request), now)
        else:
            # If there is an access code, tokens are not free, so the session is treated as begun.
            begun = session_id in services.sessions or bool(self._access.code)
            address = self.get_address(request)
            wait = await self._access.limiter.count_session(session_id, address, now, begun=begun)
        self._wait(wait, "Too many tokens and offers from this address.")

    def get_session_id(self, request: Request) -> str | None:
        """Return the session of the request's valid token, or None if there is none."""
        try:
            return self._access.tokens.verify(get_bearer_token(request) or "").session_id
        except TokenRefused:
            return None

    def _wait(self, wait: float | None, why: str) -> None:
        """Raise RateLimited if `wait` (seconds) is not None."""
        if wait is not None:
            self._metrics.auth_failures.labels("rate").inc()
            again = f"{why} Wait a moment and try again."
            raise RateLimited(again, retry_after=max(1.0, wait))

    async def check_access_code(self, request: Request, given: str | None, ask: str) -> None:
        """Check the access code, within the rate limits. `ask`: the error text if no code was given.

        Raises Unauthorized, RateLimited.
        """
        await self.limit(request)
        right = check_access_code(given, self._access.code)
        if given is not None:
            await self.guess("codes", right, request)
        if right:
            return
        self._metrics.auth_failures.labels("bad_code").inc()
        if given is None:
            raise Unauthorized(ask)
        await self._access.limiter.charge_wrong_code(self.get_address(request), time.monotonic())
        raise Unauthorized("This access code is not right. Ask your administrator for it.")

    async def check_metrics_token(self, request: Request) -> None:
        """Check METRICS_TOKEN if it is set. Raises Unauthorized, RateLimited."""
        token = self._access.metrics_token
        if not token:
            return
        given = get_bearer_token(request)
        right = is_same_secret(given, token)
        if given is not None:
            await self.guess("metrics", right, request)
        if not right:
            self._metrics.auth_failures.labels("metrics").inc()
            raise Unauthorized(
                "Metrics require the metrics token. Send it as Authorization: Bearer <token>."
            )

    async def check_operator(
        self, connection: HTTPConnection, given: str | None, *, also: str = ""
    ) -> None:
        """Check the operator token, or the token `also` if given; guesses of both share their limits.

        A wrong token uses more of the address's rate limit; the right token uses nothing while requests are left.

        Raises NotFound if no token is set, RateLimited before comparing, Unauthorized.
        """
        access, address, now = self._access, self.get_address(connection), time.monotonic()
        if not access.operator_token and not also:
            if not access.operator_off_logged:
                access.operator_off_logged = True
                log.warning(
                    "operator functions disabled: OPERATOR_TOKEN is empty",
                    extra={"reason": "set it and restart the server"},
                )
            raise NotFound(
                "The operator functions are off: OPERATOR_TOKEN is empty. Set it and start the server again.",
                visitors="This server has no operator functions. Its log says how to turn them on.",
            )
        # Compare both, so that the time does not reveal which one matched.
        right = is_same_secret(given, access.operator_token) | is_same_secret(given, also)
        # Charge before the comparison, and refund for the right token.
        wait = await access.limiter.count_anybody(address, now)
        if wait is None and given is not None:
            wait = await access.guesses["operator"].check(right, address, now)
        self._wait(wait, "Too many requests or wrong operator tokens.")
        if right:
            await access.limiter.give_back(address, now)
            return
        self._metrics.auth_failures.labels("operator").inc()
        if given is None:
            raise Unauthorized(
                "Only operators may do this. Send the operator token as Authorization: Bearer <token>."
            )
        await access.limiter.charge_wrong_code(address, now)
        raise Unauthorized(
            "This operator token is wrong. Use OPERATOR_TOKEN from the server's settings."
        )

    async def guess(self, kind: Guessed, right: bool, request: Request) -> None:
        """Count a guess; raise RateLimited if its result must not be revealed to this address now."""
        guesses = self._access.guesses[kind]
        wait = await guesses.check(right, self.get_address(request), time.monotonic())
        self._wait(wait, "Too many wrong codes were tried, here or elsewhere.")

    def get_claims(self, request: Request) -> Claims:
        """Return the claims of the bearer token. Raises Unauthorized."""
        with self._counting():
            token = get_bearer(request.headers.get("authorization"))
        return self.verify(token)


# Headers that proxies add; such a request may come from anywhere
_FROM_PROXIES = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("cf-connecting-ip", "true-client-ip", "x-client-ip"),
)


def from_this_machine(connection: HTTPConnection) -> bool:
    """Return True if peer, host name and origin are loopback, and no header names a proxy."""
    peer = parse_address(_get_peer(connection))
    if peer is None or not peer.is_loopback:
        return False
    if any(name in connection.headers for name in _FROM_PROXIES):
        return False
    # A tunnel, or a page after DNS rebinding, uses another name.
    names = [connection.url.hostname or ""]
    if "origin" in connection.headers:
        names.append((normalise_origin(connection.headers["origin"]) or "").partition("://")[2])
    return all(map(_is_loopback, names))


def _is_loopback(host: str) -> bool:
    address = parse_address(host)
    return host.partition(":")[0] == "localhost" or (address is not None and address.is_loopback)


def get_bearer_token(connection: HTTPConnection) -> str | None:
    """Return the bearer token of a request, or None if there is no valid header."""
    try:
        return get_bearer(connection.headers.get("authorization"))
    except TokenRefused:
        return None


def _get_peer(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client is not None else None


def get_operator_dependencies(services: Services) -> list[Any]:
    """Return the dependencies of operators' routes, which check origin and token."""
    guard = RequestGuard(services)

    async def operator(request: Request) -> None:
        await guard.check_operator(request, get_bearer_token(request))
        request.state.operator = True

    return [Depends(guard.check_origin), Depends(operator)]


# Authentication

# Translated by the page (client/core/dialogs/dialogs.js)
ASK = "This server asks for an access code. Enter the one that you were given."


class TokenBody(BaseModel):
    """The access code of a client."""

    model_config = ConfigDict(extra="ignore")
    # The ACCESS_CODE, where one is set
    access_code: str | None = Field(default=None, max_length=256)


@dataclass(frozen=True, slots=True)
class Device:
    """A paired device, which needs no code."""

    # Its hash, which grants no access; used in tokens, the log and operators' lists
    name: str
    # Time of its pairing, seconds since the epoch
    since: int


class AuthMethod:
    """Authentication by the access code. A feature may replace it."""

    # The body of a request
    body: type[TokenBody] = TokenBody

    # The error text if no code was given
    ask = ASK

    async def enter(
        self, request: Request, response: Response, body: TokenBody
    ) -> Device | Response | None:
        """Authenticate if a code is needed. Return a device, a `Response` to send, or None to check the access code.

        Raises QwenCameraError.
        """
        return None
