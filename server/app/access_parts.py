"""Everything that decides who gets in, built from the settings."""

from __future__ import annotations

import socket

from config import Settings
from server.access.limits import AccessLimiter, GuessLimits, SharedCounts
from server.access.operator_guard import OperatorGuard
from server.auth import TokenIssuer, signing_key
from server.core.addresses import RequestLimiter
from server.core.metrics import Metrics
from server.core.origins import HostPolicy, OriginPolicy
from server.core.tls_files import authority_der, certificate_names
from server.web.context import AccessSettings


class AccessParts:
    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        secret = settings.jwt_secret_key.get_secret_value()
        code = settings.access_code.get_secret_value()
        self._settings = settings
        self.tokens = TokenIssuer(
            signing_key(secret, "session tokens", code),
            settings.session_timeout,
            settings.token_max_age,
        )
        path = settings.ca_cert_path
        self.authority = authority_der(path) if path is not None else None
        self.limiter = RequestLimiter(settings.rate_limit_per_minute)
        self.shared_limiter = AccessLimiter(self.limiter)
        self.guesses = GuessLimits()
        self.guard = OperatorGuard(
            settings.operator_token.get_secret_value(),
            self.shared_limiter,
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
        self.shared_limiter.shared = counts
        for guesses in self.guesses.all:
            guesses.shared = counts

    def settings(self) -> AccessSettings:
        """The settings as the routes need them."""
        settings = self._settings
        return AccessSettings(
            require_auth=settings.require_auth,
            access_code=settings.access_code.get_secret_value(),
            metrics_token=settings.metrics_token.get_secret_value(),
            trusted_proxies=settings.trusted_proxies,
            stun_urls=settings.stun_urls,
            turn_urls=settings.turn_urls,
            turn_secret=settings.turn_secret.get_secret_value(),
            turn_ttl=settings.turn_ttl,
            authority=self.authority,
        )
