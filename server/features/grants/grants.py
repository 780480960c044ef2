"""The grants of one session: rights, lifetimes and rates of programs. Pure; `now` is in monotonic seconds."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from server.auth import compute_digest
from server.core.aio import Bucket, take_all
from server.core.errors import BadRequest, Conflict, Forbidden, RateLimited, Unauthorized

MAX_GRANTS = 8
MAX_NAME_CHARS = 40
# Shortest and longest lifetime of a grant, in seconds
LEAST_SECONDS, MOST_SECONDS = 60, 86_400
# Calls of a program: per second, and at once
CALL_RATE, CALL_BURST = 2.0, 20
# Messages of a program, calls included: per second, and at once
MESSAGE_RATE, MESSAGE_BURST = 10.0, 60
# Rates of all programs of a session together, relative to those of one program
ALL_SHARE = 2


class Scope(StrEnum):
    """A right of a program."""

    # Ask about the picture, see it, and ask about the recent past
    LOOK = "look"
    # Add, list and remove watches of its own
    WATCH = "watch"
    # Receive the alerts of the session's watches
    EVENTS = "events"
    # Have sound that it sends recognised; it never gets the person's microphone
    LISTEN = "listen"
    # Get answers as sound
    SPEAK = "speak"


@dataclass(frozen=True, slots=True)
class _Rates:
    """The rate limits of one program, or of all programs together."""

    messages: Bucket
    calls: Bucket
    looks: Bucket

    @classmethod
    def of(cls, share: int, looks_per_minute: int, now: float) -> _Rates:
        """Return the combined rates of `share` programs."""
        looks = share * looks_per_minute
        return cls(
            Bucket(share * MESSAGE_RATE, share * MESSAGE_BURST, now),
            Bucket(share * CALL_RATE, share * CALL_BURST, now),
            Bucket(looks / 60, max(1, looks // 4), now),
        )


@dataclass(slots=True, eq=False)
class Grant:
    """One program's access to the session."""

    id: str
    # Name that the person gave the program
    name: str
    scopes: frozenset[Scope]
    # Seconds since the epoch
    made_at: float
    # Start and end, monotonic seconds
    since: float
    until: float
    digest: bytes
    rates: _Rates
    # Seconds since the epoch; None before the first use
    last_used: float | None = None
    # Number of looks so far
    looked: int = 0
    # Lock held by the running look; then the tasks of all looks, and of all waits for alerts
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    looks: set[asyncio.Task[Any]] = field(default_factory=set)
    waits: set[asyncio.Task[Any]] = field(default_factory=set)
    # Number of connections over which it sends sound now
    listening: int = 0
    # Ids of the watches that the program added
    watches: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Grant(id={self.id!r})"


def clean_name(name: str) -> str:
    """Return a name as one line without control characters; "" if nothing is left."""
    shown = (c if not unicodedata.category(c).startswith("C") else " " for c in name)
    return " ".join("".join(shown).split())


class Grants:
    """The grants of one session.

    Bounds of programs with access to a session: 8; a ninth is refused. Each has one look at a time
    and three that wait, PROGRAM_LOOKS_PER_MINUTE, 2 calls and 10 messages a second, and three
    watches; all together have twice these rates. More is refused and counted.
    """

    def __init__(self, session_id: str, looks_per_minute: int) -> None:
        """Start without grants. `looks_per_minute`: limit for one program; 0 disables access."""
        self._session_id = session_id
        # Looks of one program per minute
        self.per_minute = looks_per_minute
        self._grants: dict[str, Grant] = {}
        # Rates of all programs together; None before the first grant
        self._rates: _Rates | None = None

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def allowed(self) -> bool:
        """True unless the operator has disabled access."""
        return self.per_minute > 0

    def all(self) -> list[Grant]:
        """Return all grants, oldest first, including any that expired since the last call of `expire`."""
        return list(self._grants.values())

    def make(
        self, name: str, scopes: Iterable[Scope], seconds: float, now: float, wall: float
    ) -> tuple[Grant, str]:
        """Create a grant. Return it and its token, which is not stored.

        `seconds`: its lifetime; `wall`: the current time in seconds since the epoch. Raise Forbidden if the operator
        has disabled access, BadRequest for invalid values, and Conflict for a ninth grant.
        """
        self.expire(now)
        if not self.allowed:
            raise Forbidden("This server does not give access to other programs.")
        wanted = frozenset(scopes)
        if not wanted:
            raise BadRequest(f'"scopes" is empty. Name one or more of {", ".join(Scope)}.')
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise BadRequest(
                f'"seconds" must be between {LEAST_SECONDS} and {MOST_SECONDS}. Choose a time in this range.'
            )
        name = clean_name(name)
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise BadRequest(
                f'"name" must have 1 to {MAX_NAME_CHARS} printable characters. Enter a name for the program.'
            )
        if len(self._grants) >= MAX_GRANTS:
            raise Conflict(
                f"{MAX_GRANTS} programs already have access, which is the limit. End the access of one first."
            )
        token, digest = new_token(self._session_id)
        grant = Grant(
            id=secrets.token_hex(6),
            name=name,
            scopes=wanted,
            made_at=wall,
            since=now,
            until=now + seconds,
            digest=digest,
            rates=_Rates.of(1, self.per_minute, now),
        )
        self._grants[grant.id] = grant
        if self._rates is None:
            # Create the shared buckets once, so that a new grant does not refill them.
            self._rates = _Rates.of(ALL_SHARE, self.per_minute, now)
        return grant, token

    def find(self, digest: bytes, now: float) -> Grant:
        """Return the grant with this token digest. Raise Unauthorized if it is unknown, ended or expired."""
        self.expire(now)
        found = None
        # Compare all digests, so that the duration reveals nothing.
        for grant in self._grants.values():
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        if found is None:
            raise make_access_ended_error()
        return found

    def check(self, grant: Grant, now: float) -> None:
        """Raise Unauthorized for a grant that has ended or expired."""
        self.expire(now)
        if self._grants.get(grant.id) is not grant:
            raise make_access_ended_error()

    def count_message(self, grant: Grant, now: float) -> None:
        """Count a message of any kind, before it is parsed. Raise Unauthorized or RateLimited."""
        self.check(grant, now)
        self._take(
            grant.rates.messages, self._shared_rates.messages, now, f"{MESSAGE_RATE:g} messages"
        )

    def count_call(self, grant: Grant, scope: Scope | None, now: float, wall: float) -> None:
        """Count a call that needs `scope`; None if it needs no scope. `wall`: seconds since the epoch.

        Raise Unauthorized, RateLimited, and Forbidden without the scope.
        """
        self.check(grant, now)
        # Count first, so that forbidden calls are limited, too.
        self._take(grant.rates.calls, self._shared_rates.calls, now, f"{CALL_RATE:g} calls")
        if scope is not None:
            self.allow(grant, scope, now)
        grant.last_used = wall

    def _take(self, own: Bucket, together: Bucket, now: float, rate: str) -> None:
        if not take_all((own, together), now):
            raise RateLimited(
                f"Rate limit exceeded: {rate} a second per program, twice that for all programs of a session. Wait a second, then try again.",
                retry_after=1,
            )

    def allow(self, grant: Grant, scope: Scope, now: float) -> None:
        """Raise Unauthorized if a grant has ended, and Forbidden if it lacks the scope."""
        self.check(grant, now)
        if scope not in grant.scopes:
            raise Forbidden(
                f"This call needs the scope {scope}; this access has only {', '.join(sorted(grant.scopes))}."
                " Ask the person for a new access with that scope."
            )

    def count_look(self, grant: Grant, now: float) -> None:
        """Count a look, in addition to the call of `count_call`. Raise RateLimited."""
        if not take_all((grant.rates.looks, self._shared_rates.looks), now):
            raise RateLimited(
                f"Rate limit exceeded: {self.per_minute} looks a minute per program, {ALL_SHARE * self.per_minute} for all"
                " programs of a camera. Wait, then ask again.",
                retry_after=max(1.0, 60 / self.per_minute),
            )
        grant.looked += 1

    def count_looks_left(self, grant: Grant, now: float) -> tuple[int, int, float]:
        """Return the most looks of a program at once, the number left now, and the seconds until all are left."""
        most = max(1, self.per_minute // 4)
        wait = grant.rates.looks.wait(now, most)
        return most, int(most - wait * self.per_minute / 60), wait

    @property
    def _shared_rates(self) -> _Rates:
        assert self._rates is not None
        return self._rates

    def end(self, id: str) -> Grant | None:
        """Remove and return a grant; None for an unknown id."""
        return self._grants.pop(id, None)

    def expire(self, now: float) -> list[Grant]:
        """Remove and return the expired grants."""
        over = [grant for grant in self._grants.values() if grant.until <= now]
        for grant in over:
            del self._grants[grant.id]
        return over

    def get_next_expiry(self) -> float | None:
        """Return the time of the next expiry, monotonic seconds; None if there are no grants."""
        return min((grant.until for grant in self._grants.values()), default=None)


def make_access_ended_error() -> Unauthorized:
    """Return the error for a grant that has ended."""
    return Unauthorized("This access has ended. Ask the person for a new one.")


# The token of a grant: the id of its session, and a secret of 256 random bits. Pure.

# Prefix of each token, by which people and secret scanners recognise it
PREFIX = "qcam_"
MAX_TOKEN_CHARS = 160
_TOKEN = re.compile(
    rf"{PREFIX}(?P<session>[A-Za-z0-9_-]{{1,64}})\.(?P<secret>[A-Za-z0-9_-]{{43}})", re.ASCII
)


def new_token(session_id: str) -> tuple[str, bytes]:
    """Return a new token for a session, and the digest to store."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{session_id}.{secret}", compute_digest(secret)


def read_token(token: str) -> tuple[str, bytes] | None:
    """Return the session id in a token, and the digest of its secret; None for an invalid token."""
    if len(token) > MAX_TOKEN_CHARS:
        return None
    found = _TOKEN.fullmatch(token)
    return (found["session"], compute_digest(found["secret"])) if found is not None else None
