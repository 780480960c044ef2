"""Errors in OpenAI's form. No text of a request is repeated in one."""

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

# The kind of an error by its HTTP status; others below 500 are the request's, the rest the server's
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# The codes that programs know, in place of ours
_CODES: dict[type[QwenCameraError], str] = {
    Unauthorized: "invalid_api_key",
    RateLimited: "rate_limit_exceeded",
    TooLong: "context_length_exceeded",
}
# Of the interface, with and without the session in the address
PATHS = re.compile(r"(?:/at/[^/]*)?/v1(?:/|$)")


class _Named(QwenCameraError):
    """An error about one field of a request."""

    def __init__(self, message: str, param: str | None = None, known_as: str = "") -> None:
        """`param`: as OpenAI writes it: messages[0].content; None where no field is to blame.

        `known_as`: a code that programs know; "" for the usual one.
        """
        super().__init__(message)
        self.param, self.known_as = param, known_as


class FieldRefused(_Named, BadRequest):
    """A field is wrong, or cannot be done here."""


class PictureRefused(_Named, UploadRefused):
    """A picture that is not the live camera's."""


class ModelUnknown(_Named, NotFound):
    """The request names a model that does not answer here."""


def error_body(error: QwenCameraError) -> dict[str, Any]:
    """Return the body of an error, in the words for visitors."""
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


def error_headers(error: QwenCameraError) -> dict[str, str]:
    """Return the headers by which OpenAI's own clients know whether and when to ask again."""
    again = error.retryable and error.status != 409
    headers = {"x-should-retry": "true" if again else "false"}
    if error.status in (429, 503) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return headers
