"""One body for every HTTP error, the framework's own too; none repeats what a client sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler
from starlette.websockets import WebSocket

from server.core.errors import (
    BadRequest,
    Busy,
    Conflict,
    Elsewhere,
    Forbidden,
    Internal,
    NotFound,
    QwenCameraError,
    RateLimited,
    RequestError,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from server.core.messages import error_body
from server.core.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The form that errors have at some addresses, in place of ours."""

    paths: re.Pattern[str]
    body: Callable[[QwenCameraError], Mapping[str, Any]]
    headers: Callable[[QwenCameraError], Mapping[str, str]]


# By the pattern of their addresses; features add theirs.
_FORMS: dict[str, ErrorForm] = {}


def add_error_form(form: ErrorForm) -> None:
    _FORMS[form.paths.pattern] = form


class MethodNotAllowed(RequestError):
    """Another method is needed: `Allow` lists them."""

    code = "method_not_allowed"
    status = 405


def error_response(
    error: QwenCameraError,
    headers: Mapping[str, str] | None = None,
    *,
    operator: bool = False,
    path: str = "",
) -> Response:
    """Make the response of an HTTP error, with the headers that belong to its status.

    `path`: the address that was asked, which may have a form of its own.
    """
    form = next((one for one in _FORMS.values() if one.paths.match(path)), None)
    extra = dict(headers or {}) | dict(form.headers(error) if form is not None else {})
    if error.status in (429, 503) and error.retry_after is not None:
        # Whole seconds (RFC 9110 section 10.2.3), never too early.
        extra["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Elsewhere):
        extra["Location"] = error.location
    if error.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    extra["Cache-Control"] = "no-store"
    said = form.body(error) if form is not None else error_body(error, operator=operator)
    body = json.dumps(said, ensure_ascii=False).encode()
    return Response(body, error.status, extra, media_type="application/json")


_BY_STATUS: dict[int, QwenCameraError] = {
    400: BadRequest("This request cannot be understood. See docs/protocol.md."),
    401: Unauthorized("This needs a valid token. Ask POST /api/token for one."),
    403: Forbidden("This is not allowed."),
    404: NotFound("There is nothing at this address. See docs/protocol.md."),
    405: MethodNotAllowed(
        "This address does not take this method. The Allow header lists the methods that it takes."
    ),
    409: Conflict("This does not fit the session's state."),
    413: TooLarge("This request is too large. Send less."),
    415: UnsupportedMediaType("Send JSON with Content-Type: application/json."),
    429: RateLimited("Too many requests. Wait a moment.", retry_after=1.0),
    503: Busy("The server is busy. Try again in a moment.", retry_after=1.0),
}

# Types of pydantic's whose text says what is expected and nothing of what was given.
_TELLING = frozenset(
    [
        *("missing", "none_required", "literal_error", "model_type", "model_attributes_type"),
        *("string_type", "int_type", "float_type", "bool_type", "list_type", "dict_type"),
        *("string_too_long", "string_too_short", "too_long", "too_short", "finite_number"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    ]
)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}|[0-9]{1,4}", re.ASCII)


def of_status(status: int) -> QwenCameraError:
    """Return our error for a refusal by the framework, whose text may quote the client."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return _BY_STATUS[400] if 400 <= status < 500 else Internal("Something went wrong.")


def of_validation(error: RequestValidationError) -> BadRequest:
    """Return one sentence about a body's first error, without anything from that body."""
    problem: Mapping[str, Any] = error.errors()[0] if error.errors() else {}
    kind = str(problem.get("type", ""))
    if kind == "json_invalid":
        return BadRequest(
            "The body is not JSON. Send one JSON object with Content-Type: application/json."
        )
    path = [str(part) for part in problem.get("loc", ())]
    name = ".".join(path[1:] or ["body"])
    # A key of the client's own is named only by the errors left out here.
    known = kind in _TELLING and all(_FIELD.fullmatch(part) for part in path)
    if not known:
        return BadRequest(
            "The body does not have the fields that are expected. See docs/protocol.md."
        )
    return BadRequest(
        f'"{name}" in the {path[0] if path else "request"}: {problem.get("msg", "")}.'
    )


def install_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Give every error, the framework's own included, the one body, and count it by its code."""
    app.state.metrics = metrics

    def respond(
        conn: Request | WebSocket,
        error: QwenCameraError,
        cause: Exception,
        allow: str | None = None,
    ) -> Response:
        if not isinstance(conn, Request):
            # A socket is closed where it is served; one that gets here is a bug.
            raise cause
        metrics.errors.labels(error.code).inc()
        # Set where the operator's token was found right.
        operator = getattr(conn.state, "operator", False)
        headers = {"Allow": allow} if allow else None
        return error_response(error, headers, operator=operator, path=conn.url.path)

    async def ours(conn: Request, exc: Exception) -> Response:
        assert isinstance(exc, QwenCameraError)
        return respond(conn, exc, exc)

    async def framework(conn: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        allow = (exc.headers or {}).get("Allow")
        return respond(conn, of_status(exc.status_code), exc, allow)

    async def validation(conn: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return respond(conn, of_validation(exc), exc)

    handlers: dict[type[Exception], ExceptionHandler] = {
        QwenCameraError: ours,
        HTTPException: framework,
        RequestValidationError: validation,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
