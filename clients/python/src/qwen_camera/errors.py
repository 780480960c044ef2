"""The errors of this package.

    CameraError
    ├── BadInput        what was given cannot be used: change it
    ├── TokenRefused    the access has ended, or is none: ask the person for a new one
    ├── ScopeMissing    the access does not allow this
    ├── PageClosed      nobody could see the look: have the person open the page
    ├── NotPossible     something else has to change first: the text says what
    ├── CameraOff       no picture: the camera is off, stalled, black or withheld
    ├── ModelFailed     the model does not answer, or cannot do this
    ├── Busy            the person's questions come first: ask again after `retry_after`
    ├── RateLimited     too many calls or looks: ask again after `retry_after`
    └── ServerGone      the server is not reached, failed, or is none

No text has the token, a question or an answer in it.
"""

from __future__ import annotations


class CameraError(Exception):
    """Base of all errors of this package."""

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        # The cause and the remedy
        self.message = message
        # The server's name for it; "" for an error of this side
        self.code = code
        # Seconds after which a retry makes sense; None when unknown
        self.retry_after = retry_after


class BadInput(CameraError, ValueError):
    """An input cannot be used: an address, a token's form, an argument, a watch that is not there."""


class TokenRefused(CameraError):
    """The access has ended, or the token is none. A retry does not help."""


class ScopeMissing(CameraError):
    """The person has not allowed this."""


class PageClosed(CameraError):
    """The page of the camera is closed, and a program looks only while somebody could see it."""


class NotPossible(CameraError):
    """The state of the session does not allow this now."""


class CameraOff(CameraError):
    """The camera gives no picture that can be used."""


class ModelFailed(CameraError):
    """The model does not answer, or cannot do this."""


class Busy(CameraError):
    """The server has no time for it now."""


class RateLimited(CameraError):
    """More calls, or more looks, than the access allows."""


class ServerGone(CameraError):
    """The server is not reached, the connection was cut, or what answers is no such server, or a broken one."""


_BY_CODE: dict[str, type[CameraError]] = {
    "unauthorized": TokenRefused,
    "invalid_api_key": TokenRefused,
    "forbidden": ScopeMissing,
    "page_closed": PageClosed,
    "conflict": NotPossible,
    "not_confirmed": NotPossible,
    "wrong_model": ModelFailed,
    "too_many_cameras": ModelFailed,
    "no_camera": CameraOff,
    "picture_black": CameraOff,
    "frame_withheld": CameraOff,
    "busy": Busy,
    "draining": Busy,
    "rate_limited": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "internal": ServerGone,
}
_BY_BEGINNING = {"camera_": CameraOff, "engine_": ModelFailed}
_BY_STATUS = {401: TokenRefused, 403: ScopeMissing, 409: NotPossible, 429: RateLimited, 503: Busy}


def error_of(code: str, message: str, status: int, retry_after: float | None) -> CameraError:
    """Return the error that a server has named. `status`: that of its answer, or 0."""
    kind = _BY_CODE.get(code) or next(
        (kind for beginning, kind in _BY_BEGINNING.items() if code.startswith(beginning)), None
    )
    if kind is None:
        kind = _BY_STATUS.get(status, ServerGone if status >= 500 else BadInput)
    return kind(message, code=code, retry_after=retry_after)
