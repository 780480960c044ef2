"""The memory and time that a malicious model server can cost us, measured with real processes on
both sides.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest

from server.models.openai.bounded_http import BoundedTransport, Bounds, network, read_json
from tests.support.malicious_model_server import CHAT, LISTING

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MOST_MIB = 64
# Of computing without a turn of the event loop; a bomb took 16 s.
MOST_BUSY_SECONDS = 0.5


Asked = Callable[[str, str], dict[str, Any]]


@contextmanager
def child(module: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """Run a process of ours that is talked to by lines; give its input and its output."""
    command, pipe = [sys.executable, "-m", module], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """Ask a server with this behaviour one kind of question, and return the result."""
    server, asker = (
        child("tests.support.malicious_model_server"),
        child("tests.support.model_asker"),
    )
    with server as (_, ports), asker as (questions, results):
        port = int(ports.readline())

        def ask(kind: str, manner: str) -> dict[str, Any]:
            print(f"{kind} http://127.0.0.1:{port}/{manner}/v1", file=questions, flush=True)
            found: dict[str, Any] = json.loads(results.readline())
            return found

        # The first has to load certificates and modules.
        ask("probe", "well")
        ask("answer", "well")
        yield ask


def within_bounds(found: dict[str, Any]) -> None:
    assert found["grown_mib"] < MOST_MIB, found
    assert found["busy_seconds"] < MOST_BUSY_SECONDS, found
    assert len(found["said"]) < 400, found


@pytest.mark.parametrize("manner", LISTING)
def test_a_list_of_models_costs_little_whatever_comes(asked: Asked, manner: str) -> None:
    """Bombs, bodies, heads and names without an end, in any pieces: refused or cut, in bounds."""
    found = asked("probe", manner)
    within_bounds(found)
    assert (found["state"] == "ready") == (manner == "endless_health"), found


@pytest.mark.parametrize("manner", CHAT)
def test_an_answer_costs_little_whatever_comes(asked: Asked, manner: str) -> None:
    """A stream, one event, one line, a refusal: each ends with an error of ours, in bounded memory."""
    found = asked("answer", manner)
    within_bounds(found)
    assert (found["state"] == "answered") == (manner == "huge_counts"), found


@pytest.mark.parametrize("manner", ["gzip_list", "endless_list", "endless_refusal", "endless_head"])
def test_a_server_of_videos_costs_little_whatever_comes(asked: Asked, manner: str) -> None:
    """The same bounds hold where videos are asked for."""
    found = asked("videos", manner)
    within_bounds(found)
    assert found["said"], found


@pytest.mark.parametrize("manner", ["endless_list", "endless_list_in_small_pieces", "gzip_list"])
def test_what_scripts_ask_with_costs_little_whatever_comes(asked: Asked, manner: str) -> None:
    """The monitor, the doctor and the benchmark stop at a bound of their own and unpack nothing."""
    found = asked("request", manner)
    within_bounds(found)
    assert found.get("bytes", 0) < 2**20, found


async def test_no_cookie_is_kept() -> None:
    """Its jar would grow without end, and name one person's server to a router for everybody's."""
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("cookie", ""))
        headers = [("Set-Cookie", f"route{len(sent)}=a; Path=/"), ("X-Kept", "yes")]
        return httpx2.Response(200 if len(sent) % 2 else 503, headers=headers, content=b"{}")

    bounded = BoundedTransport(httpx2.MockTransport(answer), lambda _: Bounds())
    async with httpx2.AsyncClient(transport=bounded) as client:
        for _ in range(4):
            assert (await client.get("http://127.0.0.1/v1/models")).headers["x-kept"] == "yes"
        assert not client.cookies
    assert sent == [""] * 4


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1e1," * 400_000 + b"1]",
        b"[" + b"{}," * 400_000 + b"{}]",
        "[" + "[]," * 400_000 + "[]]",
        ("[" + "0," * 400_000 + "0]").encode("utf-16"),
    ],
)
def test_a_text_of_values_without_end_is_not_read(
    text: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within its bytes it would hold everybody for a tenth of a second."""
    monkeypatch.setattr(json, "loads", pytest.fail)
    with pytest.raises(ValueError, match="too many values"):
        read_json(text)


def test_a_text_of_usual_values_is_read() -> None:
    """A list of a thousand models, and sound."""
    listed = {
        "data": [{"id": f"model-{number}", "permission": [{}] * 20} for number in range(1000)]
    }
    assert read_json(json.dumps(listed)) == listed
    assert read_json(json.dumps({"audio": "A" * (4 << 20)}).encode())["audio"][:1] == "A"


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 8000, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 32_000]
)
async def test_a_head_that_costs_more_than_it_shows_is_no_answer(head: bytes) -> None:
    """Each of its lines costs time, however short it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, httpx2.AsyncClient(transport=network()) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(address)
