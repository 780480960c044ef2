"""Plain ASGI wrappers around the application.

From the outside in: security headers, no uploads, cross-origin answers, body limit, the last resort
for bugs.
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
import re
import traceback
from collections.abc import Iterable
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.core.errors import (
    BadRequest,
    Internal,
    QwenCameraError,
    TooLarge,
    UnsupportedMediaType,
    UploadRefused,
)
from server.core.metrics import Metrics
from server.web.http_errors import error_response

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
# The features that the page uses, then those that it does not. Chromium knows all of these names;
# it warns of others.
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

# Response headers that a page of another origin may read; all but the first are for WHIP (RFC
# 9725).
EXPOSED_HEADERS = "Retry-After, Location, ETag, Link, Accept-Patch, Accept-Post"

_UPLOAD = re.compile(r"/uploads?(?:/|$)|/api/upload", re.ASCII)


class SecurityHeaders:
    """Adds the headers that protect a browser's page to every response; HSTS with `https` only."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Permissions-Policy": PERMISSIONS_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if https:
            self._headers["Strict-Transport-Security"] = HSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # These answers carry tokens.
        private = scope["path"].startswith("/api/")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if private:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class _Refusing:
    """Base of the wrappers that answer some requests themselves."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def _refuse(
        self, error: QwenCameraError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._metrics.errors.labels(error.code).inc()
        await error_response(error, path=scope["path"])(scope, receive, send)


class RefuseUploads(_Refusing):
    """Refuses upload addresses in any spelling, and multipart bodies, before reading anything."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = self._error(scope)
            if error is not None:
                await self._refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    @staticmethod
    def _error(scope: Scope) -> QwenCameraError | None:
        if _UPLOAD.match(plain_path(scope["path"])):
            return UploadRefused(
                "Nothing can be uploaded here: only live camera streams are accepted."
                " Open the page and press Start Camera."
            )
        types = Headers(scope=scope).getlist("content-type")
        if any(kind.strip().lower().startswith("multipart/") for kind in types):
            return UnsupportedMediaType(
                "A multipart body is not accepted: there is nothing to upload here, only live camera streams."
                " Send JSON with Content-Type: application/json."
            )
        return None


def plain_path(path: str) -> str:
    """Return a path in lower case, decoded up to four times, without `//`, `.` and `..`."""
    for _ in range(4):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    path = re.sub(r";[^/]*", "", path.replace("\\", "/"))
    return posixpath.normpath("/" + path.lstrip("/")).lower()


class AllowOrigins:
    """Answers cross-origin requests (Fetch Standard, section 3.2) for the listed origins and for no
    other.

    Credentials stay off: sessions' tokens travel in a header, and a paired device's cookie is for
    our own page alone.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        allowed = origin in self._origins
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            preflight = {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
                "Access-Control-Max-Age": "600",
                "Vary": "Origin",
            }
            await Response(status_code=204, headers=preflight)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            await send(message)

        await self._app(scope, receive, with_headers)


class HeadAsGet:
    """Has HEAD answered wherever GET is (RFC 9110, section 9.3.2); uvicorn leaves the body out.

    A route that a GET changes finds `head` in the scope.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", "head": True}
        await self._app(scope, receive, send)


class BodyLimit(_Refusing):
    """Refuses a body over `limit` bytes, announced or counted; the application gets the whole body.

    A request holds at most `limit` bytes and one received piece, and has `seconds` for its body. A
    client that leaves before its body is complete gets no answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        limit: int = MAX_BODY_BYTES,
        seconds: float = BODY_SECONDS,
    ) -> None:
        super().__init__(app, metrics=metrics)
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", announced, re.ASCII) or int(announced) > self._limit:
            await self._refuse(self._error(), scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            late = BadRequest(
                f"The body of this request was not there after {self._seconds:g} seconds. Send it at once."
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
        """Return the whole body; None when the client left. Raises TooLarge."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise self._error()
            if not message.get("more_body", False):
                return bytes(body)

    def _error(self) -> TooLarge:
        return TooLarge(
            f"The body of this request is larger than {self._limit} bytes, which is the most that is read."
            " Send less."
        )


class LastResort(_Refusing):
    """Turns a bug into an `internal` error and one log line without the exception's text.

    It runs inside Starlette's own handler, which would raise again and have it all printed.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as exc:  # noqa: BLE001 - every bug ends here: logged and counted
            where = traceback.extract_tb(exc.__traceback__)[-1:]
            log.error(
                "request failed",
                extra={
                    "error": type(exc).__name__,
                    "at": f"{where[0].name}:{where[0].lineno}" if where else "",
                },
            )
            error = Internal("Something went wrong in the server. Its log has the details.")
            if scope["type"] == "websocket":
                self._metrics.errors.labels(error.code).inc()
                await send({"type": "websocket.close", "code": 1011, "reason": ""})
            elif not started:
                await self._refuse(error, scope, receive, send)
            else:
                # A part of the answer has been sent: after a return the server cuts the connection.
                self._metrics.errors.labels(error.code).inc()


def guard_app(app: FastAPI, *, https: bool, allowed_origins: Iterable[str] = ()) -> None:
    """Put all wrappers around an application; `install_error_handlers` comes before."""
    metrics: Metrics = app.state.metrics
    # The one added last is the outermost.
    app.add_middleware(HeadAsGet)
    app.add_middleware(LastResort, metrics=metrics)
    app.add_middleware(BodyLimit, metrics=metrics)
    if origins := tuple(allowed_origins):
        app.add_middleware(AllowOrigins, origins=origins)
    app.add_middleware(RefuseUploads, metrics=metrics)
    app.add_middleware(SecurityHeaders, https=https)
