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
from collections.abc import AsyncIterator, Callable
from functools import cache

MIB = 2**20
# Size of a decompressed bomb
BOMB_BYTES = 256 * MIB
LIST = json.dumps({"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]}).encode()
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


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
PACKED = "content-encoding: gzip, gzip"
# The beginning of an answer's stream
BEGIN = head(200, SSE) + ROLE
HUGE = b'"usage":{"prompt_tokens":1%s,"completion_tokens":2}' % (b"0" * 4000)
END = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],%s}\n\n' % HUGE
THOUGHT = b'data: {"choices":[{"delta":{"reasoning_content":"%s"}}]}\n\n' % (b"x" * 4096)
MESSAGES = b'{"message":{"content":"x"}},' * 2000
Attacks = dict[str, Callable[[], AsyncIterator[bytes]]]
# Attacks by the route where they happen; other routes answer normally.
LISTING: Attacks = {
    "gzip_list": lambda: once(whole(200, bomb(), PACKED)),
    "endless_list": lambda: for_ever(head(200, JSON), b" " * 65536),
    "endless_list_in_small_pieces": lambda: for_ever(
        head(200, JSON, CHUNKED), chunk(b" ") * 10_000
    ),
    "nested_list": lambda: once(whole(200, b'{"data":' + b"[" * 1_000_000)),
    "many_cards": lambda: for_ever(head(200, JSON) + b'{"data":[', b'{"id":"m"},' * 20_000),
    "long_name": lambda: once(whole(200, b'{"data":[{"id":"' + b"m" * 1_000_000 + b'"}]}')),
    "endless_refusal": lambda: for_ever(head(500, JSON), b"x" * 65536),
    "gzip_refusal": lambda: once(whole(503, bomb(), PACKED)),
    "endless_redirect": lambda: for_ever(
        head(302, JSON, "location: http://127.0.0.1:9/"), b"x" * 65536
    ),
    "endless_head": lambda: for_ever(b"HTTP/1.1 200 X\r\n", b"x-more: " + b"x" * 8192 + b"\r\n"),
    "endless_informational": lambda: for_ever(b"", head(100) * 2000),
    # Of its health, see `serve`
    "endless_health": lambda: once(whole(200, LIST)),
    "slow_list": lambda: slowly(head(200, JSON), b" "),
}
CHAT: Attacks = {
    "gzip_chat": lambda: once(whole(200, bomb(), PACKED, kind=SSE[14:])),
    "endless_line": lambda: for_ever(BEGIN + b"data: ", b"x" * 65536),
    "endless_empty_lines": lambda: for_ever(BEGIN, b"data:\n" * 10_000),
    "endless_event_in_small_pieces": lambda: for_ever(
        head(200, SSE, CHUNKED) + chunk(ROLE + b"data: "), chunk(b"x") * 10_000
    ),
    "endless_empty_events": lambda: for_ever(BEGIN, b'data:{"choices":[]}\n\n' * 3000),
    "endless_json": lambda: for_ever(head(200, JSON) + b'{"choices":[', MESSAGES),
    "nested_event": lambda: once(BEGIN + b"data: " + b'{"choices":' + b"[" * 200_000 + b"\n\n"),
    "huge_counts": lambda: once(BEGIN + END + b"data: [DONE]\n\n"),
    "endless_chat_refusal": lambda: for_ever(head(400, JSON), b"x" * 65536),
    "endless_thinking": lambda: for_ever(BEGIN, THOUGHT * 16),
}


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
        elif b"/chat/" in path:
            pieces = CHAT[manner]() if manner in CHAT else once(whole(500, b"{}"))
        else:
            pieces = LISTING[manner]() if manner in LISTING else once(whole(200, LIST))
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
