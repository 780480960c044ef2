"""The rule of further attempts: what an answer means, and how long to pause. Pure."""

from __future__ import annotations

from enum import StrEnum

# Seconds before the second attempt, the third, and so on: seven attempts within half an hour
PAUSES = (2.0, 10.0, 60.0, 180.0, 600.0, 900.0)
# Of a pause, this share and more: alerts of one moment do not come back all at once.
LEAST_SHARE = 0.75
# A receiver may ask for a longer pause, up to this.
MOST_ASKED = 900.0


class Verdict(StrEnum):
    """The end of one attempt."""

    TAKEN = "taken"
    AGAIN = "again"
    # The receiver wants nothing from here any more.
    GONE = "gone"


class Trouble(StrEnum):
    """The reason why an attempt failed."""

    ADDRESS = "address"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    GONE = "gone"
    MALFORMED = "malformed"


def verdict(status: int) -> Verdict:
    """Judge the status of an answer. A redirect is not followed: it is no success."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    return Verdict.GONE if status == 410 else Verdict.AGAIN


def trouble(status: int) -> Trouble:
    """Name the trouble of a status that is no success."""
    if status == 410:
        return Trouble.GONE
    return Trouble.REDIRECT if 300 <= status < 400 else Trouble.STATUS


def pause(attempts: int, chance: float, asked: float = 0.0) -> float | None:
    """Return the seconds until the next attempt; None after the last one.

    `attempts`: those that have failed; `chance`: 0 to 1, random; `asked`: by the receiver.
    """
    if attempts > len(PAUSES):
        return None
    own = PAUSES[attempts - 1] * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
    return max(own, min(asked, MOST_ASKED))


def asked_pause(header: str) -> float:
    """Read `Retry-After` in seconds; 0 for a date or anything else."""
    return float(header) if header.isascii() and header.isdigit() and len(header) <= 6 else 0.0
