"""ASGI middleware of the application, and the format of errors.

From outermost to innermost: security headers, refusal of uploads, CORS, body limit, handler of bugs, HEAD.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.core.errors import (
    BadRequest,
    Elsewhere,
    Internal,
    NotFound,
    QwenCameraError,
    RequestError,
    TooLarge,
    UnsupportedMediaType,
    UploadRefused,
)
from server.core.logs import get_location
from server.core.messages import make_error_body
from server.core.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """Another format of errors for some paths."""

    paths: re.Pattern[str]
    body: Callable[[QwenCameraError], Mapping[str, Any]]
    headers: Callable[[QwenCameraError], Mapping[str, str]] = lambda _: {}


class MethodNotAllowed(RequestError):
    """The path does not support this method; `Allow` lists the supported methods."""

    code = "method_not_allowed"
    status = 405


def make_error_response(
    error: QwenCameraError,
    headers: Mapping[str, str] | None = None,
    *,
    operator: bool = False,
    form: ErrorForm | None = None,
) -> Response:
    """Return the response for an HTTP error, with the headers that its status requires. `form`: None for our format."""
    extra = dict(headers or {}) | dict(form.headers(error) if form is not None else {})
    if error.status in (429, 503) and error.retry_after is not None:
        # Whole seconds (RFC 9110 section 10.2.3), never too early.
        extra["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Elsewhere):
        extra["Location"] = error.location
    if error.status == 401:
        extra.setdefault("WWW-Authenticate", "Bearer")
    extra["Cache-Control"] = "no-store"
    said = form.body(error) if form is not None else make_error_body(error, operator=operator)
    body = json.dumps(said, ensure_ascii=False).encode()
    return Response(body, error.status, extra, media_type="application/json")


def get_error_form(scope: Scope) -> ErrorForm | None:
    """Return the format of errors for a request's path; None for our format."""
    forms: Sequence[ErrorForm] = scope["app"].state.error_forms
    return next((one for one in forms if one.paths.match(scope["path"])), None)


# Our errors, which replace the framework's, because their text may quote the client
_BY_STATUS: dict[int, QwenCameraError] = {
    400: BadRequest("This request cannot be understood. See docs/protocol.md."),
    404: NotFound("There is nothing at this address. See docs/protocol.md."),
    405: MethodNotAllowed(
        "This address does not support this method. The Allow header lists the supported methods."
    ),
}

# Pydantic error types whose text never quotes the input
QUOTELESS = frozenset(
    [
        *("missing", "none_required", "literal_error", "model_type", "model_attributes_type"),
        *("string_type", "int_type", "float_type", "bool_type", "list_type", "dict_type"),
        *("string_too_long", "string_too_short", "too_long", "too_short", "finite_number"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    ]
)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}|[0-9]{1,4}", re.ASCII)
# Characters not allowed in `error_description` (RFC 6750, section 3)
_NO_DESCRIPTION = re.compile(r"[^ !#-\[\]-~]")


def make_validation_error(error: RequestValidationError) -> BadRequest:
    """Return the error about the first problem of an invalid body, without quoting the body."""
    problem: Mapping[str, Any] = error.errors()[0] if error.errors() else {}
    kind = str(problem.get("type", ""))
    if kind == "json_invalid":
        return BadRequest(
            "The body is not JSON. Send one JSON object with Content-Type: application/json."
        )
    path = [str(part) for part in problem.get("loc", ())]
    name = ".".join(path[1:] or ["body"])
    # Other error types may contain a key from the client.
    known = kind in QUOTELESS and all(_FIELD.fullmatch(part) for part in path)
    if not known:
        return BadRequest("The body does not have the expected fields. See docs/protocol.md.")
    return BadRequest(
        f'"{name}" in the {path[0] if path else "request"}: {problem.get("msg", "")}.'
    )


def install_error_handlers(app: FastAPI, metrics: Metrics, forms: Sequence[ErrorForm] = ()) -> None:
    """Send every error in our format, including those of the framework, and count it by code.

    `forms`: other formats for some paths.
    """
    app.state.metrics, app.state.error_forms = metrics, forms

    async def respond(conn: Request, cause: Exception) -> Response:
        if not isinstance(conn, Request):
            # The endpoint closes sockets itself, so an error of one here is a bug.
            raise cause
        headers = None
        if isinstance(cause, HTTPException):
            other = (
                Internal("Something went wrong.") if cause.status_code >= 500 else _BY_STATUS[400]
            )
            error = _BY_STATUS.get(cause.status_code, other)
            if allow := (cause.headers or {}).get("Allow"):
                headers = {"Allow": allow}
        elif isinstance(cause, RequestValidationError):
            error = make_validation_error(cause)
        else:
            assert isinstance(cause, QwenCameraError)
            error = cause
        if error.status == 401 and "authorization" in conn.headers:
            # RFC 6750, section 3; some programs show only this.
            text = _NO_DESCRIPTION.sub("'", error.visitor_message)
            headers = {
                "WWW-Authenticate": f'Bearer error="invalid_token", error_description="{text}"'
            }
        metrics.errors.labels(error.code).inc()
        # Set after a valid operator token
        operator = getattr(conn.state, "operator", False)
        return make_error_response(
            error, headers, operator=operator, form=get_error_form(conn.scope)
        )

    for kind in (QwenCameraError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, respond)


log = logging.getLogger(__name__)

MAX_BODY_BYTES = 128 * 1024
BODY_SECONDS = 15.0

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
# Browser features that the page uses, and features that it does not use. Chromium warns about unknown names.
_USED = ("camera", "microphone", "display-capture", "screen-wake-lock")
_UNUSED = (
    *("accelerometer", "geolocation", "gyroscope", "hid", "magnetometer", "midi", "payment"),
    *("publickey-credentials-get", "serial", "usb", "xr-spatial-tracking"),
)
PERMISSIONS_POLICY = ", ".join(
    [*(f"{name}=(self)" for name in _USED), *(f"{name}=()" for name in _UNUSED)]
)
# Half a year, without sub-domains
HSTS = "max-age=15552000"

# Response headers that pages of other origins may read; the second line is for WHIP (RFC 9725)
EXPOSED_HEADERS = (
    *("Retry-After", "WWW-Authenticate", "X-Request-Id", "X-Should-Retry"),
    *("Location", "ETag", "Link", "Accept-Patch", "Accept-Post"),
)

_UPLOAD = re.compile(r"/uploads?(?:/|$)|/api/upload", re.ASCII | re.IGNORECASE)


class _Wrapper:
    """Base of the middleware; override `_handle_http` for HTTP requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handle = self._handle_http if scope["type"] == "http" else self._app
        await handle(scope, receive, send)

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class SecurityHeaders(_Wrapper):
    """Middleware that adds security headers to every response; HSTS only with `https`."""

    def __init__(self, app: ASGIApp, *, https: bool, frame_ancestors: Sequence[str]) -> None:
        super().__init__(app)
        frames = " ".join(frame_ancestors) or "'none'"
        self._headers = {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace(
                "frame-ancestors 'none'", f"frame-ancestors {frames}"
            ),
            "Permissions-Policy": PERMISSIONS_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if https:
            self._headers["Strict-Transport-Security"] = HSTS

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        # API responses may contain tokens.
        private = scope["path"].startswith("/api/")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if private:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class _Refusing(_Wrapper):
    """Base of the middleware that refuses some requests."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    async def _refuse(
        self,
        error: QwenCameraError,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._metrics.errors.labels(error.code).inc()
        await make_error_response(error, headers, form=get_error_form(scope))(scope, receive, send)


class RefuseUploads(_Refusing):
    """Middleware that refuses upload paths and multipart bodies before reading anything.

    `form_paths`: exact paths whose routes read a form without files.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, form_paths: Container[str]) -> None:
        super().__init__(app, metrics=metrics)
        self._form_paths = form_paths

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (error := self._get_error(scope)) is not None:
            await self._refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _get_error(self, scope: Scope) -> QwenCameraError | None:
        if _UPLOAD.match(scope["path"]):
            return UploadRefused(
                "Uploads are not supported: only live camera streams are accepted."
                " Open the page and press Start Camera."
            )
        if scope["path"] in self._form_paths:
            return None
        types = Headers(scope=scope).getlist("content-type")
        if any(kind.strip().lower().startswith("multipart/") for kind in types):
            return UnsupportedMediaType(
                "A multipart body is not accepted, because there are no uploads, only live camera streams."
                " Send JSON with Content-Type: application/json."
            )
        return None


class HeadAsGet(_Wrapper):
    """Middleware that handles HEAD like GET (RFC 9110, section 9.3.2); uvicorn omits the body.

    The scope has `head` for routes whose GET has effects.
    """

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", "head": True}
        await self._app(scope, receive, send)


class BodyLimit(_Refusing):
    """Middleware that reads the whole body, and refuses one above MAX_BODY_BYTES or slower than BODY_SECONDS.

    A request keeps at most that many bytes, and one received chunk, in memory. A client that disconnects before its
    body is complete gets no response.
    """

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if "transfer-encoding" in headers and (
            "content-length" in headers or scope["http_version"] == "1.0"
        ):
            # A proxy may have used the other one of the two lengths (RFC 9112, 6.1).
            twice = BadRequest(
                "The request has both Content-Length and Transfer-Encoding, so its length is ambiguous. Send it with only one."
            )
            await self._refuse(twice, scope, receive, send, {"Connection": "close"})
            return
        if not re.fullmatch(r"[0-9]{1,18}", announced, re.ASCII) or int(announced) > MAX_BODY_BYTES:
            await self._refuse(self._get_error(), scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(receive)
        except TimeoutError:
            late = BadRequest(
                f"The body of the request was incomplete after {BODY_SECONDS:g} seconds (limit). Send it without pauses."
            )
            await self._refuse(late, scope, receive, send)
            return
        except QwenCameraError as error:
            await self._refuse(error, scope, receive, send)
            return
        if body is None:
            return
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}
        del body

        async def replay() -> Message:
            nonlocal whole
            if whole is not None:
                message, whole = whole, None
                return message
            return await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None if the client disconnected. Raises TooLarge."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                raise self._get_error()
            if not message.get("more_body", False):
                return bytes(body)

    def _get_error(self) -> TooLarge:
        return TooLarge(
            f"The body of the request is larger than {MAX_BODY_BYTES} bytes (limit). Send less in one request."
        )


class LastResort(_Refusing):
    """Middleware that turns a bug into an `internal` error and one log line without the exception's text.

    It runs inside Starlette's own handler, which would print the traceback.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note if scope["type"] == "http" else send)
        except Exception as exc:  # noqa: BLE001 - every bug ends here: logged and counted
            log.error(
                "request failed",
                extra={"error": type(exc).__name__, "at": get_location(exc.__traceback__)},
            )
            error = Internal("Something went wrong in the server. Its log has the details.")
            if scope["type"] == "websocket":
                self._metrics.errors.labels(error.code).inc()
                await send({"type": "websocket.close", "code": 1011, "reason": ""})
            elif not started:
                await self._refuse(error, scope, receive, send)
            else:
                # The response has begun: after this return the server closes the connection.
                self._metrics.errors.labels(error.code).inc()


def guard_app(
    app: FastAPI,
    *,
    https: bool,
    allowed_origins: Iterable[str] = (),
    frame_ancestors: Sequence[str] = (),
    form_paths: Container[str] = (),
) -> None:
    """Add all middleware to an application, after `install_error_handlers`.

    `frame_ancestors`: origins whose pages may frame ours. `form_paths`: see `RefuseUploads`.
    """
    metrics: Metrics = app.state.metrics
    # The middleware that is added last is the outermost.
    app.add_middleware(HeadAsGet)
    app.add_middleware(LastResort, metrics=metrics)
    app.add_middleware(BodyLimit, metrics=metrics)
    if origins := tuple(allowed_origins):
        # Without credentials: tokens are sent in a header, and a paired device's cookie is for our own page only.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            # Clients may send any header; routes check what matters.
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RefuseUploads, metrics=metrics, form_paths=form_paths)
    app.add_middleware(SecurityHeaders, https=https, frame_ancestors=frame_ancestors)
