"""A model server that means harm, as a process of its own: `python -m
tests.support.malicious_model_server`, prints its port.

It writes raw HTTP to true sockets, as costly to read as it can make it: the first
part of the path says how, so that one process does for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
from collections.abc import AsyncIterator
from functools import cache

MIB = 2**20
# Size of a decompressed bomb
BOMB_BYTES = 256 * MIB
LIST = json.dumps({"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]}).encode()
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

# Attacks by the route where they happen; other routes answer normally.
LISTING = (
    "gzip_list",
    "endless_list",
    "endless_list_in_small_pieces",
    "nested_list",
    "many_cards",
    "long_name",
    "endless_refusal",
    "gzip_refusal",
    "endless_redirect",
    "endless_head",
    "endless_informational",
    "endless_health",
    "slow_list",
)
CHAT = (
    "gzip_chat",
    "endless_line",
    "endless_empty_lines",
    "endless_event_in_small_pieces",
    "endless_empty_events",
    "endless_json",
    "nested_event",
    "huge_counts",
    "endless_chat_refusal",
    "endless_thinking",
)


@cache
def bomb() -> bytes:
    """A few KB that are unpacked twice."""
    return gzip.compress(gzip.compress(bytes(BOMB_BYTES), 1), 9)


def head(status: int, *fields: str) -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {status} X", *fields]) + "\r\n\r\n").encode()


def whole(status: int, body: bytes, *fields: str, kind: str = "application/json") -> bytes:
    fields = (f"content-type: {kind}", f"content-length: {len(body)}", *fields)
    return head(status, *fields) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def for_ever(start: bytes, more: bytes) -> AsyncIterator[bytes]:
    yield start
    while True:
        yield more


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def slowly(start: bytes, more: bytes) -> AsyncIterator[bytes]:
    yield start
    while True:
        await asyncio.sleep(0.05)
        yield more


JSON = "content-type: application/json"
CHUNKED = "transfer-encoding: chunked"
SSE = "content-type: text/event-stream"


def listing(manner: str) -> AsyncIterator[bytes]:
    cards = b'{"id":"m"},' * 20_000
    match manner:
        case "gzip_list":
            return once(whole(200, bomb(), "content-encoding: gzip, gzip"))
        case "endless_list":
            return for_ever(head(200, JSON), b" " * 65536)
        case "endless_list_in_small_pieces":
            return for_ever(head(200, JSON, CHUNKED), chunk(b" ") * 10_000)
        case "nested_list":
            return once(whole(200, b'{"data":' + b"[" * 1_000_000))
        case "many_cards":
            return for_ever(head(200, JSON) + b'{"data":[', cards)
        case "long_name":
            return once(whole(200, b'{"data":[{"id":"' + b"m" * 1_000_000 + b'"}]}'))
        case "endless_refusal":
            return for_ever(head(500, JSON), b"x" * 65536)
        case "gzip_refusal":
            return once(whole(503, bomb(), "content-encoding: gzip, gzip"))
        case "endless_redirect":
            return for_ever(head(302, JSON, "location: http://127.0.0.1:9/"), b"x" * 65536)
        case "endless_head":
            return for_ever(b"HTTP/1.1 200 X\r\n", b"x-more: " + b"x" * 8192 + b"\r\n")
        case "endless_informational":
            return for_ever(b"", head(100) * 2000)
        case "slow_list":
            return slowly(head(200, JSON), b" ")
    return once(whole(200, LIST))


def chat(manner: str) -> AsyncIterator[bytes]:
    begin = head(200, SSE) + ROLE
    match manner:
        case "gzip_chat":
            return once(whole(200, bomb(), "content-encoding: gzip, gzip", kind=SSE[14:]))
        case "endless_line":
            return for_ever(begin + b"data: ", b"x" * 65536)
        case "endless_empty_lines":
            return for_ever(begin, b"data:\n" * 10_000)
        case "endless_event_in_small_pieces":
            return for_ever(head(200, SSE, CHUNKED) + chunk(ROLE + b"data: "), chunk(b"x") * 10_000)
        case "endless_empty_events":
            return for_ever(begin, b'data:{"choices":[]}\n\n' * 3000)
        case "endless_json":
            return for_ever(
                head(200, JSON) + b'{"choices":[', b'{"message":{"content":"x"}},' * 2000
            )
        case "nested_event":
            return once(begin + b"data: " + b'{"choices":' + b"[" * 200_000 + b"\n\n")
        case "huge_counts":
            usage = b'"usage":{"prompt_tokens":1%s,"completion_tokens":2}' % (b"0" * 4000)
            end = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],%s}\n\n'
            return once(begin + end % usage + b"data: [DONE]\n\n")
        case "endless_chat_refusal":
            return for_ever(head(400, JSON), b"x" * 65536)
        case "endless_thinking":
            piece = b'data: {"choices":[{"delta":{"reasoning_content":"%s"}}]}\n\n'
            return for_ever(begin, piece % (b"x" * 4096) * 16)
    return once(whole(500, b"{}"))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next((line[15:] for line in lines if line.startswith(b"content-length:")), b"0")
        await reader.readexactly(int(length))
        path = lines[0].split(b" ")[1]
        manner = path.split(b"/")[1].decode("ascii")
        if path.endswith(b"/health"):
            endless = for_ever(head(200, "content-type: text/plain"), b"x" * 65536)
            pieces = endless if manner == "endless_health" else once(whole(200, b""))
        else:
            pieces = chat(manner) if b"/chat/" in path else listing(manner)
        async for data in pieces:
            writer.write(data)
            await writer.drain()
    writer.close()


async def main() -> None:
    bomb()
    server = await asyncio.start_server(serve, "127.0.0.1")
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with whoever started it.
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
