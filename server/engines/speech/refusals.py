"""Turn a speech server's refusals into our own sentences. Pure.

Nothing of the server's own text goes into an error: it may hold the spoken words, or the key.
"""

from __future__ import annotations

from server.core.errors import (
    SpeechError,
    SpeechFailed,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)


class Refusals:
    """The errors of one speech server.

    `what`: its kind, such as "transcription server"; `settings`: the prefix of its settings, such as
    "TRANSCRIPTION"; `path`: the requested path below its base address.
    """

    def __init__(self, what: str, settings: str, address: str, path: str) -> None:
        self.what = what
        self.address = address
        self.path = path
        self._server = f"The {what} at {address}"
        self._settings = settings

    def of_status(self, status: int, retry_after: float | None = None) -> SpeechError:
        """Return the error for an HTTP status."""
        server, settings = self._server, self._settings
        if status < 300:
            return self.failed()
        if status in (401, 403):
            return SpeechUnavailable(
                f"{server} did not accept our key (HTTP {status}). Set {settings}_API_KEY to the key it was started with."
            )
        if status in (404, 405, 501):
            return SpeechUnavailable(
                f"{server} has no {self.path} or no such model (HTTP {status}). Check {settings}_BASE_URL and"
                f" {settings}_MODEL."
            )
        if status in (429, 503):
            return SpeechUnavailable(
                f"{server} takes no more requests for now (HTTP {status}).", retry_after=retry_after
            )
        if status >= 500:
            return SpeechFailed(f"{server} fails (HTTP {status}). Its own log says why.")
        if 300 <= status < 400:
            return SpeechUnavailable(
                f"{server} sends us elsewhere (HTTP {status}), where nothing is sent. Set {settings}_BASE_URL to"
                " where it is."
            )
        return SpeechRefused(f"{server} refused a request (HTTP {status}). Its own log says why.")

    def unreachable(self) -> SpeechError:
        return SpeechUnavailable(
            f"{self._server} does not answer. Start it, or set {self._settings}_BASE_URL to where it is."
        )

    def too_slow(self) -> SpeechError:
        return SpeechTimeout(f"{self._server} took too long.")

    def broken(self) -> SpeechError:
        return SpeechFailed(f"{self._server} broke off in the middle.")

    def failed(self) -> SpeechError:
        """Return the error for a failure that the server reports without a status."""
        return SpeechFailed(f"{self._server} failed. Its own log says why.")

    def garbage(self, why: str = "") -> SpeechError:
        """Return the error for an answer that is none. `why`: the end of a sentence on the server."""
        return SpeechFailed(
            f"{self._server} {why or f'sent something that is no answer of {self.path}'}."
            f" Check {self._settings}_BASE_URL."
        )
