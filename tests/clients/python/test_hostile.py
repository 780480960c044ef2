"""The Python client against servers that are none, or no good ones: bounded, and an error that says what to do."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import qwen_camera
from qwen_camera import Camera
from qwen_camera import camera as camera_module
from qwen_camera.connection import MOST_BYTES

from tests.support.loopback import listening_on_loopback
from tests.support.turn_server import make_certificate

TOKEN = f"qcam_somebody.{'x' * 43}"
# Gives the whole answer to the head of a request, or its parts without end
Script = Callable[[str], AsyncIterator[bytes]]


def answer(body: bytes, status: str = "200 OK", *lines: str) -> Script:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines])

    async def script(request: str) -> AsyncIterator[bytes]:
        yield head.encode() + b"\r\n\r\n" + body

    return script


def result(**result: object) -> Script:
    return answer(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())


async def endless(request: str) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield b"data: {}" + b" " * 65536


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve on loopback; yield the address, and the heads of the requests that came."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        async for part in script(heard[-1]):
            writer.write(part)
            await writer.drain()

    async with listening_on_loopback(serve, tls) as port:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}", heard


@pytest.mark.parametrize(
    "address",
    [
        *("", "camera.example.org", "ftp://camera.example.org", "https://", "https://a:b@c"),
        *("https://c/?x=1", "https://c/#x", "https://c:port/", "https://[::1/", "https://a b/"),
        "http://camera.example.org",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    """Also one over which everybody could read the token."""
    with pytest.raises(qwen_camera.BadInput):
        Camera(address, TOKEN)


@pytest.mark.parametrize("address", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"])
async def test_plain_http_on_this_machine(address: str) -> None:
    async with Camera(address, TOKEN), Camera("http://c.example", TOKEN, plain_http=True):
        pass


@pytest.mark.parametrize(
    "token", ["", "abc", TOKEN[:-1], TOKEN + "x", TOKEN + "\n{}", "qcam_ä." + "x" * 43]
)
def test_tokens_that_are_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the text does not repeat it."""
    with pytest.raises(qwen_camera.BadInput) as refused:
        Camera("https://camera.example.org", token)
    assert "qcam_" not in str(refused.value).replace("begin with qcam_", "")
    monkeypatch.setenv("QWEN_CAMERA_TOKEN", token.replace("\n", ""))
    with pytest.raises(qwen_camera.BadInput):
        Camera("https://camera.example.org")


async def test_address_and_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """White space at the ends comes with a copy, and goes."""
    async with serving(result(content=[], structuredContent={"watches": []})) as (base, heard):
        monkeypatch.setenv("QWEN_CAMERA_URL", f"{base}/")
        monkeypatch.setenv("QWEN_CAMERA_TOKEN", f" {TOKEN}\n")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with Camera() as camera:
            assert await camera.watches() == []
            assert TOKEN not in repr(camera)
    assert heard[0].startswith("POST /at/somebody/mcp HTTP/1.1\r\n")
    assert f"authorization: bearer {TOKEN}".lower() in heard[0].lower()


@pytest.mark.parametrize(
    "script",
    [
        endless,
        answer(b"<html>"),
        answer(b"[" * 100_000),
        answer(b"[]"),
        answer(b'{"result": 3}'),
        answer(b'{"error": {"code": -32600, "message": "no"}}'),
        answer(b"<html>", "404 Not Found"),
        answer(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        answer(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip"),
        answer(b"{}" + b" " * MOST_BYTES),
        answer(b"{", "200 OK\r\nContent-Length: 9"),
        answer(b"oh", "500 Oh"),
        result(content=[{"type": "image", "data": "x"}]),
        result(content=[{"type": "image", "data": "AAAA"}]),
        result(content="x", structuredContent=[]),
        result(content=[], isError=True),
    ],
)
async def test_what_is_no_camera(script: Script) -> None:
    """However it answers, and over each of the ways there."""
    async with serving(script) as (base, _), Camera(base, TOKEN) as camera:
        calls: list[Awaitable[object]] = [camera.snapshot(), camera.ask("What?")]
        for call in calls:
            with pytest.raises(qwen_camera.ServerGone):
                await asyncio.wait_for(call, 20)


@pytest.mark.parametrize("wait", ["1e999", "-5", "NaN", '"soon"', "100000000", "null"])
async def test_how_long_a_server_may_ask_to_wait(wait: str) -> None:
    body = f"""{{"result": {{"isError": true, "content": [{{"type": "text", "text": "{"Wait. " * 9000}"}}],
      "structuredContent": {{"error": {{"code": "busy", "retry_after": {wait}}}}}}}}}"""
    async with serving(answer(body.encode())) as (base, _), Camera(base, TOKEN) as camera:
        with pytest.raises(qwen_camera.Busy) as refused:
            await camera.snapshot()
    assert refused.value.retry_after in (None, 0, 600)
    assert len(str(refused.value)) <= 1000


async def test_events_go_on_after_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failure of all is raised; later ones are reported, and the next request knows what came."""
    monkeypatch.setattr(camera_module, "_LEAST_PAUSE", 0.01)
    monkeypatch.setattr(camera_module, "_BETWEEN", 0.01)
    said = [
        json.dumps({"result": {"content": [], "structuredContent": {"events": [{"number": 7}]}}}),
        "",
        '{"error": {"code": "busy", "message": "Busy."}}',
        json.dumps(
            {
                "result": {
                    "content": [],
                    "structuredContent": {"events": [{"number": 7}, {"number": 8}]},
                }
            }
        ),
    ]
    bodies: list[str] = []

    async def script(request: str) -> AsyncIterator[bytes]:
        bodies.append(request)
        text = said[len(bodies) - 1]
        status = "503 Busy" if "busy" in text else "200 OK"
        if text:
            yield f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()

    troubles: list[qwen_camera.CameraError] = []
    async with serving(script) as (base, _), Camera(base, TOKEN) as camera:
        numbers = []
        async for event in camera.events(on_trouble=troubles.append):
            numbers.append(event.number)
            if len(numbers) == 2:
                break
    assert numbers == [7, 8]
    assert [type(one) for one in troubles] == [qwen_camera.ServerGone, qwen_camera.Busy]
    async with Camera("http://127.0.0.1:1", TOKEN) as camera:
        with pytest.raises(qwen_camera.ServerGone, match="cannot be reached"):
            await anext(camera.events())


async def test_a_certificate_of_nobody(tmp_path: Path) -> None:
    """It is refused before the token is sent; with its authority given it is taken."""
    made = make_certificate(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.chain, made.key)
    script = result(content=[], structuredContent={"watches": []})
    async with serving(script, context) as (base, heard):
        async with Camera(base, TOKEN) as camera:
            with pytest.raises(qwen_camera.ServerGone, match="PEM file"):
                await camera.watches()
        assert heard == []
        async with Camera(base, TOKEN, ca=made.authority) as camera:
            assert await camera.watches() == []
    for path in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(qwen_camera.BadInput, match="PEM"):
            Camera(base, TOKEN, ca=path)
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(qwen_camera.BadInput, match="PEM"):
        Camera(base, TOKEN, ca=tmp_path / "text.pem")
