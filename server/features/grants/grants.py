"""The grants of one session: who may do what, until when, and how often. Pure; `now` is monotonic seconds."""

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

from server.auth import digest
from server.core.aio import Bucket, take_all
from server.core.errors import BadRequest, Conflict, Forbidden, RateLimited, Unauthorized

MAX_GRANTS = 8
MAX_NAME_CHARS = 40
# Bounds of a grant's life
LEAST_SECONDS, MOST_SECONDS = 60, 86_400
# Calls of any kind that a program may make: a second, and at once
CALL_RATE, CALL_BURST = 2.0, 20
# Messages of its assistant's protocol, calls among them: a second, and at once
MESSAGE_RATE, MESSAGE_BURST = 10.0, 60
# What all programs of a session may do together, relative to one
ALL_SHARE = 2


class Scope(StrEnum):
    """A part of what a program may do."""

    # Ask about the picture, see it, and ask about the recent past
    LOOK = "look"
    # Begin, list and end watches of its own
    WATCH = "watch"
    # Hear of the alerts of the session's watches
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class _Rates:
    messages: Bucket
    calls: Bucket
    looks: Bucket

    @classmethod
    def of(cls, share: int, looks_per_minute: int, now: float) -> _Rates:
        """Make the rates of one program, or of `share` of them together."""
        looks = share * looks_per_minute
        return cls(
            Bucket(share * MESSAGE_RATE, share * MESSAGE_BURST, now),
            Bucket(share * CALL_RATE, share * CALL_BURST, now),
            Bucket(looks / 60, max(1, looks // 4), now),
        )


@dataclass(slots=True, eq=False)
class Grant:
    id: str
    # The person's name for it
    name: str
    scopes: frozenset[Scope]
    # Seconds since the epoch
    made_at: float
    # Its beginning and its end, monotonic seconds
    since: float
    until: float
    digest: bytes
    rates: _Rates
    # Seconds since the epoch; None before the first use
    last_used: float | None = None
    # Looks so far
    looked: int = 0
    # One of its looks runs; all that run or wait are tasks, as are its waits for alerts.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    looks: set[asyncio.Task[Any]] = field(default_factory=set)
    waits: set[asyncio.Task[Any]] = field(default_factory=set)
    # The ids of the watches that it began
    watches: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Grant(id={self.id!r})"


def printable_name(name: str) -> str:
    """Return a program's name as one line of printable characters, "" when nothing is left."""
    shown = (c if not unicodedata.category(c).startswith("C") else " " for c in name)
    return " ".join("".join(shown).split())


class Grants:
    """At most eight grants of a session. Nobody but their owner may end them.

    Bounds of the programs that may look through a session: 8; a ninth is refused. Of each one
    look at a time and three that wait, PROGRAM_LOOKS_PER_MINUTE, 2 calls and 10 messages a
    second, twice that for all together; three watches; more is refused and counted.
    """

    def __init__(self, session_id: str, looks_per_minute: int) -> None:
        """`looks_per_minute`: of one program; 0: no access is given at all."""
        self._session_id = session_id
        # Looks of one program
        self.per_minute = looks_per_minute
        self._grants: dict[str, Grant] = {}
        # Of all programs together
        self._rates: _Rates | None = None

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def allowed(self) -> bool:
        """False where the operator lets no program look."""
        return self.per_minute > 0

    def all(self) -> list[Grant]:
        """Return all grants, oldest first; some may have expired since the last look."""
        return list(self._grants.values())

    def make(
        self, name: str, scopes: Iterable[Scope], seconds: float, now: float, wall: float
    ) -> tuple[Grant, str]:
        """Give access; return the grant and its token, which is kept nowhere.

        Raises Forbidden where the operator allows none, BadRequest, and Conflict for a ninth.
        """
        self.expire(now)
        if not self.allowed:
            raise Forbidden("This server does not give access to other programs.")
        wanted = frozenset(scopes)
        if not wanted:
            raise BadRequest(f'"scopes" is empty. Name some of {", ".join(Scope)}.')
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise BadRequest(
                f'"seconds" is not between {LEAST_SECONDS} and {MOST_SECONDS}. Choose a shorter or longer time.'
            )
        name = printable_name(name)
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise BadRequest(
                f'"name" is not a name of 1 to {MAX_NAME_CHARS} characters. Say which program it is.'
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
            # Once: a new grant gives nothing beyond it.
            self._rates = _Rates.of(ALL_SHARE, self.per_minute, now)
        return grant, token

    def find(self, digest: bytes, now: float) -> Grant:
        """Return the grant of a token. Raises Unauthorized for one that is unknown, ended or expired."""
        self.expire(now)
        found = None
        # All are compared, so that the time tells nothing.
        for grant in self._grants.values():
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        if found is None:
            raise ended()
        return found

    def check(self, grant: Grant, now: float) -> None:
        """Raise Unauthorized for a grant that has ended or expired."""
        self.expire(now)
        if self._grants.get(grant.id) is not grant:
            raise ended()

    def count_message(self, grant: Grant, now: float) -> None:
        """Note a message of any kind, before it is read. Raises Unauthorized and RateLimited."""
        self.check(grant, now)
        self._take(
            grant.rates.messages, self._shared_rates.messages, now, f"{MESSAGE_RATE:g} messages"
        )

    def count_call(self, grant: Grant, scope: Scope | None, now: float, wall: float) -> None:
        """Note a call; `scope` is None for one that needs none. Raises Unauthorized, Forbidden without the scope, and
        RateLimited.
        """
        self.check(grant, now)
        # First: what was not allowed is a call, too.
        self._take(grant.rates.calls, self._shared_rates.calls, now, f"{CALL_RATE:g} calls")
        if scope is not None:
            self.allow(grant, scope, now)
        grant.last_used = wall

    def _take(self, own: Bucket, together: Bucket, now: float, rate: str) -> None:
        if not take_all((own, together), now):
            raise RateLimited(
                f"More than {rate} a second came with this token, or twice that of all programs together. Wait a moment.",
                retry_after=1,
            )

    def allow(self, grant: Grant, scope: Scope, now: float) -> None:
        """Check that a program may do something. Raises Unauthorized, and Forbidden without the scope."""
        self.check(grant, now)
        if scope not in grant.scopes:
            raise Forbidden(
                f"The person has not allowed this: it needs the scope {scope}, and this access has"
                f" {', '.join(sorted(grant.scopes))}."
            )

    def count_look(self, grant: Grant, now: float) -> None:
        """Note a look of a call that `use` has noted. Raises RateLimited."""
        if not take_all((grant.rates.looks, self._shared_rates.looks), now):
            raise RateLimited(
                f"One program may look {self.per_minute} times a minute, and all of a camera together"
                f" {ALL_SHARE * self.per_minute} times. Wait, and ask again.",
                retry_after=max(1.0, 60 / self.per_minute),
            )
        grant.looked += 1

    @property
    def _shared_rates(self) -> _Rates:
        assert self._rates is not None
        return self._rates

    def end(self, id: str) -> Grant | None:
        return self._grants.pop(id, None)

    def expire(self, now: float) -> list[Grant]:
        """End the grants whose time is over, and return them."""
        over = [grant for grant in self._grants.values() if grant.until <= now]
        for grant in over:
            del self._grants[grant.id]
        return over

    def next_end(self) -> float | None:
        """Return the time of the next expiry; None without a grant."""
        return min((grant.until for grant in self._grants.values()), default=None)


def ended() -> Unauthorized:
    return Unauthorized("This access has ended. Ask the person for a new one.")


# The token of a grant: the session that it is for, and a secret of 256 random bits. Pure.

# Begins each token, so that people and programs that look for secrets know it.
PREFIX = "qcam_"
MAX_TOKEN_CHARS = 160
_TOKEN = re.compile(
    rf"{PREFIX}(?P<session>[A-Za-z0-9_-]{{1,64}})\.(?P<secret>[A-Za-z0-9_-]{{43}})", re.ASCII
)


def new_token(session_id: str) -> tuple[str, bytes]:
    """Make a token for a session; return it, and the digest that is kept of it."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{session_id}.{secret}", digest(secret)


def read_token(token: str) -> tuple[str, bytes] | None:
    """Return the session of a token, and its secret's digest; None for a text of another form."""
    if len(token) > MAX_TOKEN_CHARS:
        return None
    found = _TOKEN.fullmatch(token)
    return (found["session"], digest(found["secret"])) if found is not None else None
