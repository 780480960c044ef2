"""A camera that is no good one: it answers each request as a test says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from server.shared.services import ListedCameras
from tests.support.clients import http
from tests.support.loopback import listening_on_loopback
from tests.support.running import Running, running

OPERATOR = "operator-token-of-this-test"
CAMERAS = "/api/operator/cameras"


def listed(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write an operator's list."""
    path = folder / "cameras.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def written(folder: Path, **cameras: str) -> Path:
    """A list with a camera for each name, of these lines."""
    text = "".join(f'[[camera]]\nname = "{name}"\n{lines}\n' for name, lines in cameras.items())
    return listed(folder, text)


@asynccontextmanager
async def house(
    folder: Path, settings: dict[str, Any] | None = None, /, **cameras: str
) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """A server with such a list, and its operator's client."""
    usual = {"standing_cameras": str(written(folder, **cameras)), "operator_token": OPERATOR}
    async with running(**usual | (settings or {})) as run, http(run, OPERATOR) as client:
        client.timeout = httpx.Timeout(60)
        yield run, client


# The bytes of the answer to a request's text; None closes the connection
Script = Callable[[str], bytes | None]


class Scripted:
    """The requests that it has heard, and its address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[str] = []


def answer(request: str, status: str, body: str = "", **headers: str) -> bytes:
    number = re.search(r"CSeq: (\d+)", request)
    lines = [f"RTSP/1.0 {status}", f"CSeq: {number[1] if number else 0}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            text = (await reader.readuntil(b"\r\n\r\n")).decode()
            camera.heard.append(text)
            reply = script(text)
            if reply is None:
                break
            writer.write(reply)
            await writer.drain()

    async with listening_on_loopback(serve) as port:
        camera = Scripted(port)
        yield camera


def flat_jpeg(blue: int, green: int, red: int) -> bytes:
    """A picture of 320×240 in one color."""
    picture = np.full((240, 320, 3), (blue, green, red), np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def red_jpeg() -> bytes:
    return flat_jpeg(0, 0, 255)


def is_red(jpeg: bytes) -> bool:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    blue, green, red = picture.mean((0, 1))
    return bool(red > 150 > 80 > max(blue, green))


def begun(run: Running, name: str = "door") -> bool:
    """True when each watch of a camera knows how its condition was at first."""
    (told,) = run.program.added.provided[ListedCameras].reports([name])
    return None not in told.watches.values()


@asynccontextmanager
async def jpeg_camera(picture: Callable[[], bytes]) -> AsyncIterator[int]:
    """Serve `picture()`, a JPEG, ten times a second to whoever asks; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = "multipart/x-mixed-replace; boundary=frame"
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        while True:
            jpeg = picture()
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(jpeg) + jpeg + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with listening_on_loopback(serve) as port:
        yield port
