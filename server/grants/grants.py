"""The grants of one session: who may do what, until when, and how often. Pure; `now` is monotonic seconds."""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from server.core.errors import BadRequest, Conflict, Forbidden, RateLimited, Unauthorized
from server.core.token_bucket import Bucket
from server.grants.tokens import new_token

MAX_GRANTS = 8
MAX_NAME_CHARS = 40
# Bounds of a grant's life
LEAST_SECONDS, MOST_SECONDS = 60, 86_400
# Calls of any kind that a program may make: a second, and at once
CALL_RATE, CALL_BURST = 2.0, 20
# Looks of all programs of a session together, relative to those of one
ALL_SHARE = 2

_WANTED = "Ask the person whose camera it is for a new one."


class Scope(StrEnum):
    """A part of what a program may do."""

    # Ask about the picture, see it, and ask about the recent past
    LOOK = "look"
    # Begin, list and end watches of its own
    WATCH = "watch"
    # Hear of the rings of the session's watches
    EVENTS = "events"


@dataclass(slots=True, eq=False)
class Grant:
    """The access of one program."""

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
    calls: Bucket
    looks: Bucket
    # Seconds since the epoch; None before the first use
    last_used: float | None = None
    # Looks so far
    looked: int = 0

    def __repr__(self) -> str:
        return f"Grant(id={self.id!r})"


def readable(name: str) -> str:
    """Return a program's name as one line of printable characters, "" when nothing is left."""
    shown = (c if not unicodedata.category(c).startswith("C") else " " for c in name)
    return " ".join("".join(shown).split())


class Grants:
    """At most eight grants of a session. Nobody but their owner may end them."""

    def __init__(self, session_id: str, looks_per_minute: int) -> None:
        """`looks_per_minute`: of one program; 0: no access is given at all."""
        self._session_id = session_id
        self._per_minute = looks_per_minute
        self._grants: dict[str, Grant] = {}
        self._looks: Bucket | None = None

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def allowed(self) -> bool:
        """False where the operator lets no program look."""
        return self._per_minute > 0

    def all(self) -> list[Grant]:
        """Return all grants, oldest first; some may have expired since the last look."""
        return list(self._grants.values())

    def get(self, id: str) -> Grant | None:
        return self._grants.get(id)

    def make(
        self, name: str, scopes: Iterable[Scope], seconds: float, now: float, wall: float
    ) -> tuple[Grant, str]:
        """Give access; return the grant and its token, which is kept nowhere.

        Raises Forbidden where the operator allows none, BadRequest, and Conflict for a ninth.
        """
        self.expire(now)
        if not self.allowed:
            raise Forbidden("Whoever runs this server lets no other program look through it.")
        wanted = frozenset(scopes)
        if not wanted:
            raise BadRequest(f'"scopes" is empty. Name some of {", ".join(Scope)}.')
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise BadRequest(
                f'"seconds" is not between {LEAST_SECONDS} and {MOST_SECONDS}. Choose a shorter or longer time.'
            )
        name = readable(name)
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise BadRequest(
                f'"name" is not a name of 1 to {MAX_NAME_CHARS} characters. Say which program it is.'
            )
        if len(self._grants) >= MAX_GRANTS:
            raise Conflict(
                f"{MAX_GRANTS} programs have access already, which is the most. End the access of one."
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
            calls=Bucket(CALL_RATE, CALL_BURST, now),
            looks=self._bucket(1, now),
        )
        self._grants[grant.id] = grant
        if self._looks is None:
            # Once: a new grant gives no looks beyond it.
            self._looks = self._bucket(ALL_SHARE, now)
        return grant, token

    def _bucket(self, share: int, now: float) -> Bucket:
        per_minute = share * self._per_minute
        return Bucket(per_minute / 60, max(1, per_minute // 4), now)

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

    def use(self, grant: Grant, scope: Scope | None, now: float, wall: float) -> None:
        """Note a call; `scope` is None for one that needs none. Raises Unauthorized, Forbidden without the scope, and
        RateLimited.
        """
        self.check(grant, now)
        if scope is not None and scope not in grant.scopes:
            raise Forbidden(
                f"The person has not allowed this: it needs the scope {scope}, and this access has"
                f" {', '.join(sorted(grant.scopes))}."
            )
        if not grant.calls.take(now):
            raise RateLimited(
                f"More than {CALL_RATE:g} calls a second came with this token. Wait a moment.",
                retry_after=1,
            )
        grant.last_used = wall

    def look(self, grant: Grant, now: float) -> None:
        """Note a look of a call that `use` has noted. Raises RateLimited."""
        assert self._looks is not None
        if not grant.looks.take(now) or not self._looks.take(now):
            raise RateLimited(
                f"One program may look {self._per_minute} times a minute, and all of a camera together"
                f" {ALL_SHARE * self._per_minute} times. Wait, and ask again.",
                retry_after=max(1.0, 60 / self._per_minute),
            )
        grant.looked += 1

    def end(self, id: str) -> Grant | None:
        """End a grant at once; None for one that is not there."""
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
    return Unauthorized(f"This access token is not valid, or its access has ended. {_WANTED}")
