"""A further camera's admission to a session: its name, who may send, and how long it waits for nobody. Pure."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import unicodedata
from dataclasses import dataclass

from server.core.errors import BadRequest
from server.models.camera_words import unnamed

# Cameras of a session, its own among them
MOST_CAMERAS = 4
# The id of the session's own camera, and those of the others
OWN = "1"
OTHERS = tuple(str(number) for number in range(2, MOST_CAMERAS + 1))
# Seconds that an invitation is good for, and that a lost camera is kept
INVITED_SECONDS = 600.0
AWAY_SECONDS = 600.0
MAX_NAME_CHARS = 40


@dataclass(frozen=True, slots=True)
class Label:
    """A camera as prompts, answers and errors name it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """The two ways to join, of which the first one that is used closes the other."""

    camera: str
    # For a device that speaks WHIP
    token: str
    # For a page
    code: str


class Admission:
    """The token that may send a further camera's pictures, and its end. `now` is monotonic seconds."""

    def __init__(self, session_id: str, camera: str, now: float) -> None:
        self._session_id = session_id
        token, self._token = make_token(session_id)
        code, digest = make_code(session_id)
        # None once it was redeemed, or a camera came without it
        self._code: bytes | None = digest
        self.invitation = Invitation(camera, token, code)
        # The camera ends then by itself.
        self.until = now + INVITED_SECONDS
        # False until a camera has sent here
        self.used = False

    def over(self, now: float) -> bool:
        return now >= self.until

    def redeem(self, secret: CameraSecret, now: float) -> str | None:
        """Change the one-time code for another token, once; None for a wrong, a used or a late one."""
        if self.over(now) or self._code is None or not secret.is_for(self._code):
            return None
        self._code = None
        # The one that was shown beside the code ends with it.
        token, self._token = make_token(self._session_id)
        return token

    def admits(self, secret: CameraSecret, now: float) -> bool:
        """Find whether a token is this camera's."""
        return not self.over(now) and secret.is_for(self._token)

    def came(self) -> None:
        """Note that a camera sends: the code is over, and the token good while it is here."""
        self._code = None
        self.used, self.until = True, math.inf

    def went(self, now: float) -> None:
        """Note that it has gone; it may come back with its token for a while."""
        self.until = now + AWAY_SECONDS


def connection_key(session_id: str, camera: str) -> str:
    """The key of a further camera's connection; no session's id has this character."""
    return f"{session_id}~{camera}"


def clean_name(given: str) -> str:
    """Return a name as it is kept: one line of visible characters; "" for none.

    Raises BadRequest for a long one.
    """
    # The categories of control, format and surrogate characters, and of line ends
    plain = "".join(
        " " if unicodedata.category(char)[0] in "CZ" else char
        for char in given[: 4 * MAX_NAME_CHARS]
    )
    name = " ".join(plain.split())
    if len(name) > MAX_NAME_CHARS:
        raise BadRequest(
            f"A camera's name has at most {MAX_NAME_CHARS} characters. Give a shorter one."
        )
    return name


def free_name(wanted: str, number: str, taken: list[str]) -> str:
    """Return a name that no other camera has: the wanted one, or "Camera" and its number.

    Raises BadRequest when another camera has the wanted one.
    """
    others = [name.casefold() for name in taken]
    if wanted and wanted.casefold() in others:
        raise BadRequest("Another camera has this name. Give each one a name of its own.")
    if wanted:
        return wanted
    name = unnamed(number)
    while name.casefold() in others:
        name += "+"
    return name


# Credentials of cameras that join a session: a token to send with, and a one-time code that is
# changed for one. Pure.  Both begin with the session's id, which is no credential, and end with
# 128 random bits. They are no session tokens: they open nothing but one further camera of one
# session, which keeps their digests alone.

# Begins a token; a session's token is three parts of base64 with dots between, and never begins so.
_TOKEN = "camera~"

_PARTS = re.compile(r"([A-Za-z0-9_-]{1,64})~([A-Za-z0-9_-]{22})", re.ASCII)

MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class CameraSecret:
    """The parts of a token or a code."""

    session_id: str
    digest: bytes

    def is_for(self, kept: bytes | None) -> bool:
        """Compare with a kept digest, in a time that depends on neither."""
        return kept is not None and hmac.compare_digest(self.digest, kept)


def _make(session_id: str) -> tuple[str, bytes]:
    text = f"{session_id}~{secrets.token_urlsafe(16)}"
    return text, _digest(text)


def make_token(session_id: str) -> tuple[str, bytes]:
    """Make a token, and its digest to keep."""
    text, digest = _make(session_id)
    return _TOKEN + text, digest


def make_code(session_id: str) -> tuple[str, bytes]:
    """Make a one-time code, and its digest to keep."""
    return _make(session_id)


def read_token(text: str) -> CameraSecret | None:
    """Read a bearer token; None for one of another kind, or malformed."""
    return read_code(text.removeprefix(_TOKEN)) if text.startswith(_TOKEN) else None


def read_code(text: str) -> CameraSecret | None:
    """Read a one-time code; None for a malformed one."""
    found = _PARTS.fullmatch(text) if len(text) <= MAX_CHARS else None
    return CameraSecret(found[1], _digest(text)) if found is not None else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
