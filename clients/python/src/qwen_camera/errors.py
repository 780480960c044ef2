"""The errors of this package.

    CameraError
    ├── BadInput        invalid arguments or input: change them
    ├── TokenRefused    the access has ended, or the token is invalid: ask the person for a new one
    ├── ScopeMissing    the access does not allow this
    ├── PageClosed      the page is closed, so nobody would notice the request: ask the person to open it
    ├── NotPossible     the request conflicts with the current state: the text says what has to change
    ├── CameraOff       no picture: the camera is off, stalled, black or withheld
    ├── ModelFailed     the model does not answer, or cannot do this
    ├── Busy            the person's questions have priority: ask again after `retry_after`
    ├── RateLimited     too many calls or looks: ask again after `retry_after`
    └── ServerGone      the server cannot be reached, failed, or is not a qwen-camera server

No error text contains the token, a question or an answer.
"""

from __future__ import annotations


class CameraError(Exception):
    """Base of all errors of this package."""

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        # Cause and remedy
        self.message = message
        # The server's error code; "" for an error of the client
        self.code = code
        # Seconds to wait before a retry; None if unknown
        self.retry_after = retry_after


class BadInput(CameraError, ValueError):
    """Raised for invalid input: an address, a token in the wrong format, an argument, an unknown watch."""


class TokenRefused(CameraError):
    """Raised if the access has ended or the token is invalid. A retry does not help."""


class ScopeMissing(CameraError):
    """Raised if the person has not granted the required scope."""


class PageClosed(CameraError):
    """Raised while the camera's page is closed: programs may look only while it is open."""


class NotPossible(CameraError):
    """Raised if the session's state does not allow the request."""


class CameraOff(CameraError):
    """Raised if the camera has no usable picture."""


class ModelFailed(CameraError):
    """Raised if the model does not answer, or does not support the request."""


class Busy(CameraError):
    """Raised while the server is busy."""


class RateLimited(CameraError):
    """Raised for more calls or looks than the access allows."""


class ServerGone(CameraError):
    """Raised if the server is unreachable, the connection was interrupted, or the response is invalid."""


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
    """Return the error for a server's error code. `status`: HTTP status, or 0."""
    kind = _BY_CODE.get(code) or next(
        (kind for beginning, kind in _BY_BEGINNING.items() if code.startswith(beginning)), None
    )
    if kind is None:
        kind = _BY_STATUS.get(status, ServerGone if status >= 500 else BadInput)
    return kind(message, code=code, retry_after=retry_after)
