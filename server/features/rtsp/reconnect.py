"""The life of a standing camera's connections: when the next attempt begins. Pure.

connecting ──▶ live ──▶ waiting ──▶ connecting
     └──────────────────▲
"""

from __future__ import annotations

from enum import StrEnum

from server.features.rtsp.worker.trouble import Trouble

# Seconds before the next attempt: doubled with each failure, up to the last.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# After a refusal that a person has to mend. Cameras lock users out after a few wrong passwords.
MENDED_PAUSE, LAST_MENDED_PAUSE = 60.0, 900.0
# Of a pause, this share and more: cameras behind one switch do not come back all at once.
LEAST_SHARE = 0.5
# A connection that lived so long was a good one: the next pause is short again.
GOOD_SECONDS = 30.0
# Seconds for a connection to send its first picture
FIRST_PICTURE_SECONDS = 30.0

NEEDS_PERSON = frozenset(
    {
        *(Trouble.CREDENTIALS, Trouble.CLEAR_PASSWORD, Trouble.CERTIFICATE, Trouble.REDIRECT),
        *(Trouble.NOT_FOUND, Trouble.CODEC, Trouble.FORMAT, Trouble.SIZE, Trouble.MEMORY),
    }
)


class StandingState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"


class Reconnect:
    """One camera's attempts. `now` is monotonic seconds.

    Bounds of attempts to reach it: one at a time; pauses of 1 to 60 s, or of 1 to 15 minutes
    where a person has to mend something.
    """

    def __init__(self, now: float) -> None:
        self.state = StandingState.WAITING
        # Why there is no picture; None while there is one, and before the first failure.
        self.trouble: Trouble | None = None
        self.detail = ""
        # Since when it is in this state, or, without a picture, since the last one
        self.since = now
        # The next attempt
        self.due = now
        self._failures = 0
        self._began = now

    def begin(self, now: float) -> None:
        """Note that an attempt begins."""
        self.state = StandingState.CONNECTING
        self._began = now

    def live(self, now: float) -> None:
        """Note its first picture."""
        self.state = StandingState.LIVE
        self.trouble, self.detail = None, ""
        self.since = self._began = now

    def too_late(self, now: float) -> bool:
        """Find whether an attempt has had no picture for too long."""
        return self.state is StandingState.CONNECTING and now >= self._began + FIRST_PICTURE_SECONDS

    def fail(self, now: float, trouble: Trouble, chance: float, detail: str = "") -> float:
        """Note the end of an attempt or a connection; return the seconds until the next one.

        `chance`: 0 to 1, random.
        """
        was_live = self.state is StandingState.LIVE
        if was_live:
            if now - self._began >= GOOD_SECONDS:
                self._failures = 0
            self.since = now
        self.state = StandingState.WAITING
        self.trouble, self.detail = trouble, detail
        first, last = (
            (MENDED_PAUSE, LAST_MENDED_PAUSE)
            if trouble in NEEDS_PERSON
            else (FIRST_PAUSE, LAST_PAUSE)
        )
        pause = min(last, first * 2.0 ** min(self._failures, 16))
        pause *= LEAST_SHARE + (1 - LEAST_SHARE) * chance
        self._failures += 1
        self.due = now + pause
        return pause
