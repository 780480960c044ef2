"""The parts that HTTP routes use: who gets in, and what answers."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import SecretStr

from server.access.limits import AccessLimiter, GuessLimits, SharedCounts
from server.access.operator_guard import OperatorGuard
from server.auth import TokenIssuer, ice_servers, signing_key
from server.core.addresses import Network, RequestLimiter
from server.core.metrics import Metrics
from server.core.origins import HostPolicy, OriginPolicy
from server.core.redact import session_hash
from server.core.tls_files import authority_der, certificate_names

if TYPE_CHECKING:
    from server.session_manager import SessionManager
    from server.web.health import Health
    from server.webrtc_server import WebRTCServer


class AccessSettings(Protocol):
    """The settings of who gets in."""

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
    """Everything that decides who gets in, built from the settings."""

    def __init__(self, settings: AccessSettings, metrics: Metrics) -> None:
        self.settings = settings
        # "" where none is needed
        self.code = settings.access_code.get_secret_value()
        self.metrics_token = settings.metrics_token.get_secret_value()
        self.tokens = TokenIssuer(
            signing_key(settings.jwt_secret_key.get_secret_value(), "session tokens", self.code),
            settings.session_timeout,
            settings.token_max_age,
        )
        path = settings.ca_cert_path
        # The certificate authority of the server's own certificate, as DER; None without one
        self.authority = authority_der(path) if path is not None else None
        # Of this process alone, and with the others
        self.requests = RequestLimiter(settings.rate_limit_per_minute)
        self.limiter = AccessLimiter(self.requests)
        self.guesses = GuessLimits()
        self.guard = OperatorGuard(
            settings.operator_token.get_secret_value(),
            self.limiter,
            self.guesses.operator,
            metrics,
        )
        names = {*settings.allowed_hosts, settings.host}
        if settings.https_enabled and settings.ssl_cert_path is not None:
            names |= certificate_names(settings.ssl_cert_path)
        self.hosts = HostPolicy(names, socket.gethostname())
        self.origins = OriginPolicy(settings.allowed_origins, self.hosts)

    def share(self, counts: SharedCounts) -> None:
        """Count requests and guesses with other processes."""
        self.limiter.shared = counts
        for guesses in self.guesses.all:
            guesses.shared = counts

    def ice_servers(self, session_id: str) -> list[dict[str, Any]]:
        """See `server.auth.ice_servers`."""
        return ice_servers(
            self.settings.stun_urls,
            self.settings.turn_urls,
            self.settings.turn_secret.get_secret_value(),
            self.settings.turn_ttl,
            session_hash(session_id),
            time.time(),
        )


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the routes use."""

    access: Access
    sessions: SessionManager
    webrtc: WebRTCServer
    health: Health
    metrics: Metrics
