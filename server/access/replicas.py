"""The processes of one installation, as sessions know them: this one alone, without a feature."""

from __future__ import annotations

from server.auth import new_session_id

# The answer to a client whose session's process does not run
GONE = "This session ended with the part of the server that it was on. Get a new token from /api/token and start again."


class Replicas:
    """One process, which shares nothing with others. A feature puts its own in place of it.

    A session lives in one process, which its id names.
    """

    # Where sessions live

    @property
    def named(self) -> bool:
        """True for one of several processes, which a balancer tells apart by their names."""
        return False

    def new_id(self) -> str:
        """Make the id of a new session of this process."""
        return new_session_id()

    def choose_id(self) -> str:
        """Make the id of a new session of the process that fits best."""
        return self.new_id()

    def is_home(self, session_id: str) -> bool:
        """Find whether the session began here, or may begin here."""
        return True

    def can_take(self) -> bool:
        """Find whether another process has space for this one's people."""
        return False

    # MAX_SESSIONS of all processes together

    async def take(self, name: str) -> bool:
        """Take a slot for a session or a further camera; True for one that has it. False when none is free."""
        return True

    async def leave(self, name: str) -> None:
        """Give a slot back."""

    # Ends that operators order

    def hear(self) -> bool:
        """Find whether other processes hear of ends now."""
        return False

    async def announce_end(self, name: str) -> bool:
        """Tell the others that a session has ended, by its hash. Returns False when nobody hears."""
        return False

    async def announce_end_of_all(self, before: int) -> bool:
        """Tell the others that all access ended that began by then (seconds since the epoch)."""
        return False
