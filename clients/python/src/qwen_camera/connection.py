"""The connection to a camera's server: one address, one token, responses of bounded size, errors of this package.

Everything but streamed text uses the MCP server: each call of a tool is one self-contained POST of JSON-RPC, so that no
session, socket or library of the protocol is needed. Streamed text comes from OpenAI's chat interface, the only one
that streams. The addresses of both contain the session, by which load balancers find its process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from qwen_camera.answers import Json, jpeg_of, number, objects, text
from qwen_camera.errors import BadInput, CameraError, ServerGone, TokenRefused, error_of

URL_VARIABLE = "QWEN_CAMERA_URL"
TOKEN_VARIABLE = "QWEN_CAMERA_TOKEN"
# The server answers or gives up within 80 s.
ANSWER_SECONDS = 100.0
# No response of this server is longer.
MOST_BYTES = 4 * 1024 * 1024
# Most characters of an error's text
_MOST_WORDS = 1000
# Most seconds that the server may request before the next attempt
_MOST_WAIT = 600.0

_TOKEN = re.compile(r"qcam_(?P<session>[A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{43}", re.ASCII)
# The last parts of the addresses that the page shows with the token
_ENDS = re.compile(r"(/at/[^/]+)?(/mcp|/v1)?/*\Z")
_HEADERS = {
    "Accept": "application/json, text/event-stream",
    # Without compression, the size of a response is the number of bytes received.
    "Accept-Encoding": "identity",
    "MCP-Protocol-Version": "2025-06-18",
    "User-Agent": "qwen-camera-client",
}
_STRANGE = "This address belongs to no camera's server, or to an older one. Check the address."


@dataclass(frozen=True)
class Said:
    """The result of a tool: text for people, structured data, pictures."""

    text: str
    facts: Json
    pictures: list[bytes] = field(repr=False)


def base_of(address: str, plain_http: bool) -> str:
    """Return a server's address without the path of one interface, such as /mcp. Raises BadInput."""
    address = address.strip()
    try:
        if not address.isprintable() or " " in address:
            raise ValueError
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
        httpx.URL(address)
    except (ValueError, httpx.InvalidURL):
        raise BadInput(
            "This address cannot be read. Give one like https://camera.example.org."
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(
            "The address does not begin with https:// or http:// and a host. Give one like https://camera.example.org, or set"
            f" {URL_VARIABLE}."
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadInput("The address has a user, a question mark or a # in it. Leave them out.")
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise BadInput(
            "With http:// everybody on the way could read the token and the pictures. Use https://, or allow it for a network of"
            " your own: plain_http=True, --plain-http."
        )
    return f"{parts.scheme}://{parts.netloc}{_ENDS.sub('', parts.path, count=1)}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def session_of(token: str) -> str:
    """Return the session of a token. Raises BadInput, whose text does not contain the token."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise BadInput(
            f"This is no access token of a camera: those begin with qcam_. Set {TOKEN_VARIABLE} to the one that the person has"
            " given you."
        )
    return found["session"]


def _verifier(ca: str | os.PathLike[str] | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=Path(ca))
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"{ca} cannot be read as a PEM file with certificates: {error.strerror or error}."
        ) from None


class Connection:
    """The connections to one server with one token."""

    def __init__(
        self,
        address: str | None,
        token: str | None,
        *,
        ca: str | os.PathLike[str] | None,
        plain_http: bool,
    ) -> None:
        """Use the address and the token from the environment if they are None. Raises BadInput."""
        token = (os.environ.get(TOKEN_VARIABLE, "") if token is None else token).strip()
        address = os.environ.get(URL_VARIABLE, "") if address is None else address
        self.base = base_of(address, plain_http)
        self.session = session_of(token)
        self._http = httpx.AsyncClient(
            headers={**_HEADERS, "Authorization": f"Bearer {token}"},
            # There may be long pauses within a response; its total time is limited below.
            timeout=httpx.Timeout(10.0, read=45.0),
            verify=_verifier(ca),
            # A proxy could read unencrypted traffic.
            trust_env=self.base.startswith("https:"),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, tool: str, arguments: Json, seconds: float = ANSWER_SECONDS) -> Said:
        """Call a tool of the MCP server. Raises CameraError."""
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": dict(arguments)},
        }
        reply = await self._json("POST", f"/at/{self.session}/mcp", body, seconds)
        result = reply.get("result")
        if not isinstance(result, dict):
            raise ServerGone(_STRANGE)
        content = objects(result.get("content"))
        said = "\n".join(text(one.get("text")) for one in content if one.get("type") == "text")
        facts = result.get("structuredContent")
        facts = facts if isinstance(facts, dict) else {}
        if result.get("isError") is True:
            raise _error(facts.get("error"), said, 0, None)
        pictures = [jpeg_of(one.get("data")) for one in content if one.get("type") == "image"]
        return Said(said, facts, pictures)

    async def get(self, path: str) -> Json:
        """Return a JSON object from the server's own HTTP interface."""
        return await self._json("GET", f"{path}?session={self.session}", None, 30.0)

    async def _json(self, method: str, path: str, body: Json | None, seconds: float) -> Json:
        async def ask() -> bytes:
            async with self._sent(method, path, body) as response:
                return await _whole(response)

        try:
            raw = await asyncio.wait_for(ask(), seconds)
        except asyncio.TimeoutError:
            raise ServerGone(f"No answer came within {seconds:g} s. Try again.") from None
        return _object(raw)

    async def events(self, body: Json) -> AsyncGenerator[Json, None]:
        """Send a request to OpenAI's chat interface, and yield the events of its stream. Raises CameraError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_SECONDS
        path = f"/at/{self.session}/v1/chat/completions"
        async with self._sent("POST", path, body) as response:
            line = b""
            async for part in _parts(response):
                *lines, line = (line + part).split(b"\n")
                for one in lines:
                    if one.startswith(b"data:") and (event := one[5:].strip()) != b"[DONE]":
                        found = _object(event)
                        if "error" in found:
                            raise _error(found["error"], "", 0, None)
                        yield found
                if loop.time() > deadline:
                    raise ServerGone(
                        f"The answer took longer than {ANSWER_SECONDS:g} s. Ask again."
                    )

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, body: Json | None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield its response, which is a success.

        Raises CameraError, also for failures while it is read.
        """
        try:
            async with self._http.stream(method, self.base + path, json=body) as response:
                if response.status_code != 200:
                    raise _refusal(response, await _whole(response))
                yield response
        except httpx.TimeoutException:
            raise ServerGone(f"{self.base} does not answer in time. Try again.") from None
        except (httpx.HTTPError, httpx.StreamError, ssl.SSLError) as error:
            raise ServerGone(_why(self.base, error)) from None


def _why(base: str, error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"The certificate of {base} is signed by nobody that this machine knows. For an authority of the server's own, give"
            " its PEM file: ca=..., --ca FILE."
        )
    if isinstance(error, httpx.ConnectError):
        return f"{base} cannot be reached ({error}). Check the address, and that the server runs."
    return f"The connection to {base} broke ({type(error).__name__}). Try again."


async def _parts(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the bytes of a response, up to the limit."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ServerGone(_STRANGE)
    length = 0
    async for part in response.aiter_raw():
        length += len(part)
        if length > MOST_BYTES:
            raise ServerGone(f"The answer is larger than {MOST_BYTES} bytes. {_STRANGE}")
        yield part


async def _whole(response: httpx.Response) -> bytes:
    return b"".join([part async for part in _parts(response)])


def _object(raw: bytes) -> Json:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServerGone(_STRANGE)
    return found


def _refusal(response: httpx.Response, raw: bytes) -> CameraError:
    """Return the error for a response that is not a success."""
    status = response.status_code
    try:
        body = _object(raw)
    except ServerGone as strange:
        if status in (401, 403, 429, 503):
            # The response came from a proxy.
            return error_of("", f"The server answers with the status {status}.", status, None)
        return strange
    after = response.headers.get("Retry-After", "")
    seconds = float(after) if after.isascii() and after.isdigit() and len(after) < 8 else None
    error = _error(body.get("error"), "", status, seconds)
    if status == 404:
        # The address contains the session, which no longer exists.
        return TokenRefused(
            "The session of this access is not there any more. Ask the person for a new one.",
            code=error.code,
        )
    return error


def _error(named: Any, said: str, status: int, retry_after: float | None) -> CameraError:
    facts: Json = named if isinstance(named, dict) else {}
    message = (said or text(facts.get("message")))[:_MOST_WORDS]
    if not message:
        return ServerGone(_STRANGE)
    known = number(facts.get("retry_after")) or retry_after
    wait = min(max(known, 0.0), _MOST_WAIT) if known is not None else None
    return error_of(text(facts.get("code")), message, status, wait)
