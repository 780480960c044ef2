"""Credentials and limits: session tokens, access codes, TURN credentials, limits of requests and guesses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jose import jwt
from jose.exceptions import ExpiredSignatureError, JOSEError

from server.core.addresses import Limiter, get_limiter_key
from server.core.errors import Unauthorized

MAX_TOKEN_CHARS = 4096
# Seconds after which the access code is required again
DEFAULT_MAX_AGE = 86_400
# Maximum difference between the clocks of two processes, seconds
CLOCK_SKEW = 300
_ALGORITHM = "HS256"

Reason = Literal[
    "missing",
    "malformed",
    "bad_signature",
    "expired",
    "too_old",
    "ended",
    "wrong_session",
    "camera_ended",
]

_SENTENCES: dict[Reason, str] = {
    "missing": "This request needs a token. Get one from POST /api/token and send it as Authorization: Bearer <token>.",
    "malformed": "This token is malformed or not from this server. Get a new one from POST /api/token.",
    "bad_signature": "This token was not signed by this server, or before its code or key was changed."
    " Get a new one from POST /api/token.",
    "expired": "This token has expired. Get a new one from POST /api/token.",
    "too_old": "The code for this token was entered too long ago. Get a new token from POST /api/token with the code.",
    "ended": "The access of this token has ended. Get a new token from POST /api/token with the code.",
    "camera_ended": "This camera's token has expired: the camera was removed, or was away for too long."
    " Ask whoever gave it for another one.",
    "wrong_session": "This token belongs to another session. Use the token that came with this session.",
}


class TokenRefused(Unauthorized):
    """An invalid token. `reason`: one of a fixed set, for a metric's label."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_SENTENCES[reason])
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Issued:
    # The repr may be logged, so it has only the time.
    token: str = field(repr=False)
    # Seconds
    expires_in: int
    claims: Claims = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claims:
    session_id: str
    # Time at which the code was entered, seconds since the epoch; unchanged by renewals
    auth_time: int
    # Name of the paired device for which it was issued; "" if it was issued to none
    device: str = ""


def derive_signing_key(secret: str, purpose: str, code: str) -> str:
    """Return the signing key of tokens for `purpose`, derived from the secret and the code."""
    said = f"{purpose}\0{code}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode("utf-8", "surrogatepass"), said, hashlib.sha256).hexdigest()


class Signer:
    """Signer and verifier of JWTs (RFC 7519) with HS256 only.

    Raises ValueError if `secret` is not suitable for HS256, such as an asymmetric key in PEM format.
    """

    def __init__(self, secret: str, *, max_chars: int = MAX_TOKEN_CHARS) -> None:
        """`max_chars`: maximum length of a token."""
        if not secret:
            raise ValueError("signing tokens needs a secret")
        self._secret = secret
        self._max_chars = max_chars
        try:
            self.sign({})
        except JOSEError:
            raise ValueError("the secret is unsuitable for HS256; use random characters") from None

    def sign(self, claims: dict[str, Any]) -> str:
        return str(jwt.encode(claims, self._secret, algorithm=_ALGORITHM))

    def read(self, token: str) -> dict[str, Any]:
        """Verify a token's signature and expiry, and return its claims. Raises TokenRefused."""
        if not token:
            raise TokenRefused("missing")
        if len(token) > self._max_chars:
            raise TokenRefused("malformed")
        try:
            return jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                options={"require_exp": True, "require_iat": True, "require_jti": True},
            )
        except ExpiredSignatureError:
            raise TokenRefused("expired") from None
        except JOSEError as exc:
            # python-jose has one class for both, and hides the cause.
            unsigned = "ignature" in str(exc)
            raise TokenRefused("bad_signature" if unsigned else "malformed") from None
        # Nested, huge or non-ASCII JSON in the header, which is parsed before the signature is checked
        except (RecursionError, OverflowError, TypeError, ValueError):
            raise TokenRefused("malformed") from None


class TokenIssuer:
    """Issuer of session tokens, valid for `ttl` seconds and renewable until `max_age` seconds after the
    code was entered. Raises ValueError as `Signer` does.
    """

    def __init__(self, secret: str, ttl: int, max_age: int = DEFAULT_MAX_AGE) -> None:
        # Each returns True for an otherwise valid token whose access was revoked.
        self.refusals: list[Callable[[Claims], bool]] = []
        self._signer = Signer(secret)
        self._ttl = ttl
        self._max_age = max_age

    def issue(
        self,
        session_id: str,
        *,
        auth_time: int | None = None,
        device: str = "",
        now: float | None = None,
    ) -> Issued:
        """Return a new token. `auth_time`, `device`: see `Claims`. `now`: seconds since the epoch. For both times None
        means the current time.

        Raises TokenRefused if the code was entered too long ago.
        """
        issued_at = int(time.time() if now is None else now)
        if auth_time is None:
            auth_time = issued_at
        issued_at = max(issued_at, auth_time)
        expires_at = min(issued_at + self._ttl, auth_time + self._max_age)
        if expires_at <= issued_at:
            raise TokenRefused("too_old")
        signed = {
            "sid": session_id,
            "iat": issued_at,
            "exp": expires_at,
            "jti": secrets.token_urlsafe(16),
            "auth_time": auth_time,
        }
        token = self._signer.sign(signed | {"dev": device} if device else signed)
        return Issued(token, expires_at - issued_at, Claims(session_id, auth_time, device))

    def renew(self, claims: Claims) -> Issued:
        """Return another token of the same access. Raises TokenRefused if the code was entered too long ago."""
        return self.issue(claims.session_id, auth_time=claims.auth_time, device=claims.device)

    def verify(self, token: str, *, session_id: str | None = None) -> Claims:
        """Return the claims of a valid token, which must belong to `session_id` if given. Raises TokenRefused."""
        signed = self._signer.read(token)
        try:
            claims = Claims(signed["sid"], signed["auth_time"], signed.get("dev", ""))
        except KeyError:
            raise TokenRefused("malformed") from None
        # Not in constant time, because a session id is not a credential.
        if session_id is not None and claims.session_id != session_id:
            raise TokenRefused("wrong_session")
        if claims.auth_time + self._max_age <= time.time():
            # TOKEN_MAX_AGE was longer when it was issued.
            raise TokenRefused("too_old")
        if any(refuses(claims) for refuses in self.refusals):
            raise TokenRefused("ended")
        return claims


def get_bearer(header: str | None) -> str:
    """Return the token of an `Authorization: Bearer` header (RFC 6750). Raises TokenRefused."""
    if header is None or not header.strip():
        raise TokenRefused("missing")
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRefused("malformed")
    return token.strip()


def new_session_id() -> str:
    """Return a new session id: 128 random bits as 22 URL-safe characters."""
    return secrets.token_urlsafe(16)


def is_same_secret(given: str | None, expected: str) -> bool:
    """Return whether two secrets are equal, in constant time. An empty `expected` matches nothing."""
    return hmac.compare_digest(compute_digest(given or ""), compute_digest(expected)) and bool(
        expected
    )


def check_access_code(given: str | None, expected: str) -> bool:
    """Return whether `given` is the code, apart from spaces around it, which phones add."""
    return is_same_secret(given.strip() if given is not None else None, expected)


def compute_digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def turn_credentials(secret: str, ttl: int, user: str, now: float) -> tuple[str, str]:
    """Return user name and password that are valid for `ttl` seconds from `now` (since the epoch).

    Source: draft-uberti-behave-turn-rest-00, section 2.2, as in coturn's use-auth-secret: user name
    "expiry:user", password base64(HMAC-SHA1(secret, user name)).
    """
    username = f"{int(now) + ttl}:{user}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode("ascii")


# Limits of requests and guesses, in this process or shared by several

# Burst of wrong guesses per address, and over all addresses; each is refilled within WINDOW seconds.
FLOOR, BUDGET, WINDOW = 20, 120, 1200.0
# Maximum stored addresses with a right guess; the least recently used is dropped
MAX_KNOWN = 10_000


# Secrets that strangers can guess, each with its own limits
Guessed = Literal["codes", "pairing", "operator", "metrics"]


class SharedCounts(Protocol):
    """Counts shared by several processes; see `RequestLimiter` for the first three.

    Methods with a result return the seconds to wait, 0 if the request is allowed, or None if there is no
    answer; then the process's own count decides.
    """

    async def count_anybody(self, address: str) -> float | None: ...
    async def charge(self, address: str, more: int) -> None: ...
    async def count_session(
        self, session_id: str, address: str, *, begun: bool
    ) -> float | None: ...
    async def guess(self, kind: str, most: int, seconds: float, *, count: bool) -> float | None:
        """Count a guess at the secret `kind` (limit: `most` in `seconds`), or only check if not `count`."""
        ...


# Cost of a wrong access code in requests
WRONG_CODE_COST = 3
# Ratio of an address's limit to a session's limit
SESSION_PART = 3


class RequestLimiter:
    """Rate limit of requests for tokens and offers, so that a flood from one address does not block
    sessions behind the same address.

    A client with a token has its own limit (by session) once its session exists, and for one request
    before that. All others share the limit of their address. The process always keeps its own counts,
    which decide without shared ones.

    Bounds of request counts: 10,000 addresses, 10,000 sessions; the least recently used is
    dropped.
    """

    def __init__(self, per_minute: int) -> None:
        # By `get_limiter_key`
        self._addresses = Limiter(per_minute)
        self._sessions = Limiter(-(-per_minute // SESSION_PART))
        # See `share`
        self._shared: SharedCounts | None = None

    def share(self, counts: SharedCounts) -> None:
        """Use counts shared with other processes."""
        self._shared = counts

    @property
    def forgotten(self) -> int:
        return self._addresses.forgotten + self._sessions.forgotten

    async def count_anybody(self, address: str, now: float) -> float | None:
        """Count a request without a valid token. Return the seconds to wait, or None if it is allowed."""
        wait = await self._shared.count_anybody(address) if self._shared is not None else None
        if wait:
            return wait
        own = self._addresses.take(get_limiter_key(address), now)
        return own if wait is None else None

    async def charge_wrong_code(self, address: str, now: float) -> None:
        """Raise the cost of an allowed request that had a wrong access code to `WRONG_CODE_COST`."""
        await self._charge(address, now, WRONG_CODE_COST - 1)

    async def give_back(self, address: str, now: float) -> None:
        """Refund an allowed request that needs no limit."""
        await self._charge(address, now, -1)

    async def _charge(self, address: str, now: float, more: int) -> None:
        self._addresses.charge(get_limiter_key(address), now, more)
        if self._shared is not None:
            await self._shared.charge(address, more)

    async def count_session(
        self, session_id: str, address: str, now: float, *, begun: bool
    ) -> float | None:
        """Count a request with a valid token. Return the seconds to wait, or None if it is allowed.

        `begun`: its session exists, here or in another process that shares counts. Without an access
        code tokens are free, so a token without a session has its own limit for only one request.
        """
        wait = None
        if self._shared is not None:
            wait = await self._shared.count_session(session_id, address, begun=begun)
        if wait:
            return wait
        first = session_id not in self._sessions
        own = self._sessions.take(session_id, now)
        if own is None and not begun and not first:
            own = self._addresses.take(get_limiter_key(address), now)
        return own if wait is None else None


class Guesses:
    """Limit of guesses at one secret, per address and over all addresses.

    The second limit is against attackers with many addresses. While it is exhausted, right codes
    wait like wrong ones, except from an address with a right one before. RATE_LIMIT_PER_MINUTE
    changes neither limit.

    Bounds of wrong codes and tokens, and addresses with right ones: 20 per address, 120 in all,
    refilled within 20 minutes; 10,000 addresses each, the least recently used is dropped.
    """

    def __init__(self, kind: str, *, budget: int = BUDGET) -> None:
        self._kind = kind
        # See `share`
        self._shared: SharedCounts | None = None
        self._size = budget, WINDOW
        self._addresses = Limiter(FLOOR, window=WINDOW)
        self._all = Limiter(budget, window=WINDOW)
        self._known: OrderedDict[str, None] = OrderedDict()

    def share(self, counts: SharedCounts) -> None:
        """Use a second limit shared with other processes."""
        self._shared = counts

    async def check(self, right: bool, address: str, now: float) -> float | None:
        """Return None if the result of a check may be revealed to `address`, else the seconds to wait.

        A wrong guess counts, unless it has to wait, as its result is then not revealed. A right one
        costs nothing.
        """
        key = get_limiter_key(address)
        wait = self._addresses.take(key, now, count=not right)
        if wait is not None:
            return wait
        if key not in self._known:
            wait = await self._charge_budget(not right, now)
            if wait is not None:
                if not right:
                    self._addresses.charge(key, now, -1)
                return wait
        if right:
            self._known[key] = None
            self._known.move_to_end(key)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return None

    async def _charge_budget(self, count: bool, now: float) -> float | None:
        own = self._all.take(self._kind, now, count=count)
        if self._shared is None:
            return own
        wait = await self._shared.guess(self._kind, *self._size, count=count)
        return own if wait is None else wait or None
