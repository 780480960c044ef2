"""Errors in OpenAI's format. They never repeat text of a request."""

from __future__ import annotations

import math
import re
from typing import Any

from server.core.errors import (
    BadRequest,
    NotFound,
    QwenCameraError,
    RateLimited,
    RequestError,
    TooLong,
    Unauthorized,
    UploadRefused,
)

# Types of errors by HTTP status; the others are `invalid_request_error` or `server_error`
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# OpenAI's codes, which replace ours
_CODES: dict[type[QwenCameraError], str] = {
    Unauthorized: "invalid_api_key",
    RateLimited: "rate_limit_exceeded",
    TooLong: "context_length_exceeded",
}
# Paths of the interface, with and without the session
PATHS = re.compile(r"(?:/at/[^/]*)?/v1(?:/|$)")


class _Named(QwenCameraError):
    """An error about one field of a request."""

    def __init__(self, message: str, param: str | None = None, known_as: str = "") -> None:
        """Store the field and the code.

        `param`: as OpenAI writes it, such as messages[0].content; None if there is no field. `known_as`: OpenAI's code
        for the error; "" for the code of the class.
        """
        super().__init__(message)
        self.param, self.known_as = param, known_as


class FieldRefused(_Named, BadRequest):
    """A field is invalid or not supported."""


class PictureRefused(_Named, UploadRefused):
    """A picture is not from the live camera."""


class ModelUnknown(_Named, NotFound):
    """The request names an unknown model."""


def make_error_body(error: QwenCameraError) -> dict[str, Any]:
    """Return the body of an error, with the message for visitors."""
    param, code = (error.param, error.known_as) if isinstance(error, _Named) else (None, "")
    code = code or next(
        (name for kind, name in _CODES.items() if isinstance(error, kind)), error.code
    )
    usual = "invalid_request_error" if isinstance(error, RequestError) else "server_error"
    return {
        "error": {
            "message": error.visitor_message,
            "type": _TYPES.get(error.status, usual),
            "param": param,
            "code": code,
        }
    }


def make_error_headers(error: QwenCameraError) -> dict[str, str]:
    """Return the headers that tell OpenAI's clients whether and when to try again."""
    again = error.retryable and error.status != 409
    headers = {"x-should-retry": "true" if again else "false"}
    if error.status in (429, 503) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return headers
