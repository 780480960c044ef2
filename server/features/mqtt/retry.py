"""The rule of further connections to the broker, and its troubles. Pure."""

from __future__ import annotations

from enum import StrEnum

# Seconds before the next attempt: doubled with each failure, up to the last.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# After a refusal that a person has to mend
MENDED_PAUSE, LAST_MENDED_PAUSE = 30.0, 300.0
# Of a pause, this share and more: clients of one broker do not come back all at once.
LEAST_SHARE = 0.5
# A connection that lived so long was a good one: the next pause is short again.
GOOD_SECONDS = 30.0


class Trouble(StrEnum):
    """The reason why there is no connection."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    CREDENTIALS = "credentials"
    VERSION = "version"
    REFUSED = "refused"
    SILENT = "silent"
    ENDED = "ended"
    LARGE = "large"
    FLOOD = "flood"
    MALFORMED = "malformed"


NEEDS_PERSON = frozenset(
    {Trouble.CERTIFICATE, Trouble.CREDENTIALS, Trouble.VERSION, Trouble.REFUSED}
)
# Said to operators, who can mend it
SENTENCES = {
    Trouble.UNREACHABLE: "Nothing answers at its address. Check the host and port of MQTT_URL, and that the broker is on.",
    Trouble.CERTIFICATE: "Its certificate is not trusted. Set MQTT_CA to a PEM file with its authority.",
    Trouble.CREDENTIALS: "It refuses the user and password of MQTT_URL, or what they may do. Correct them, and start the server again.",
    Trouble.VERSION: "It does not speak MQTT 5. Take a newer broker.",
    Trouble.REFUSED: "It refuses the connection. Its own log says why.",
    Trouble.SILENT: "It is connected and does not answer in time.",
    Trouble.ENDED: "It has closed the connection.",
    Trouble.LARGE: "It sent a packet that is too large. Look at who may write to the topics of this server.",
    Trouble.FLOOD: "It sent too much. Look at who may write to the topics of this server.",
    Trouble.MALFORMED: "It sends something other than MQTT. Check the scheme and port of MQTT_URL.",
}

# Reason codes of a refused connection, as MQTT 5 has them
_CREDENTIALS = {134, 135, 138, 140}
_VERSION = {132}
_LATER = {136, 137, 151, 156, 157, 159}


def refusal(code: int) -> Trouble:
    """Name the trouble of a refused connection by its reason code."""
    if code in _CREDENTIALS:
        return Trouble.CREDENTIALS
    if code in _VERSION:
        return Trouble.VERSION
    return Trouble.UNREACHABLE if code in _LATER else Trouble.REFUSED


def pause(failures: int, trouble: Trouble, chance: float) -> float:
    """Return the seconds until the next attempt.

    `failures`: attempts that failed before this one, in a row; `chance`: 0 to 1, random.
    """
    first, last = (
        (MENDED_PAUSE, LAST_MENDED_PAUSE) if trouble in NEEDS_PERSON else (FIRST_PAUSE, LAST_PAUSE)
    )
    whole = min(last, first * 2.0 ** min(failures, 16))
    return whole * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
