"""A stand-in for a model server, a speech recogniser and a voice: its answers do not depend on pictures and sound.

It supports OpenAI's API for a streamed chat with one picture, a transcription and speech. A chat is answered after a
fixed time, the others immediately: a transcription always has the same words and a number, speech is a tone of the
length that the text would take. It decodes each received picture, reads its clock (clock_code.py) and keeps a record of
each request: GET /records. Run it in its own process, so that the measurement does not slow down the measured program:

    python -m scripts.bench.stand_in_model --port 8001 --first-token-ms 50

With --shared, answers take longer the more of them run: pictures are processed one after the other (--first-token-ms
each), and a step of all running answers takes --between-ms, and 4 % more for each further answer. POST /factor with a
number slows down everything from then on, as a throttled GPU does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.arguments import create_parser
from scripts.bench import clock_code
from server.core import core_dumps

MODEL = "stand-in"
MAX_BODY = 64 * 1024 * 1024
RECORDS_KEPT = 100_000
ANSWER = "This is a measured answer of the stand-in , nothing was seen ."
# A question with these words gets an answer that takes minutes.
AT_LENGTH, MANY_PIECES = "at length", 600
# Increase of a step's time for each parallel answer: from 10 ms alone to 23 ms with 32, the order of magnitude of
# vLLM's published curves for 8B models.
STEP_SHARE = 0.04
# Maximum factor by which it can be slowed down
MOST_FACTOR = 1000.0
# Samples per second of speech, and seconds per spoken character
RATE = 24_000
_CHARACTER = 0.06


@dataclass(slots=True)
class Record:
    """One request. Times are seconds since the epoch."""

    # Arrival of the request's last byte
    arrived: float
    # The text of the last user message, the words of a transcription, or the text to speak
    question: str
    # chat | words | sound
    kind: str = "chat"
    # Size of the picture; 0 without a picture
    width: int = 0
    height: int = 0
    # Age of the picture by its clock; None if no clock was readable
    age_ms: float | None = None
    # Time at which the answer's first piece was written to the socket
    first_token: float | None = None
    # The client closed the stream before its end
    cancelled: bool = False


class Request(NamedTuple):
    """A request, and its connection."""

    method: str
    target: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class StandInModel:
    """The server; its fields may be changed while it runs. Times are seconds."""

    def __init__(
        self,
        *,
        first_token: float = 0.05,
        between: float = 0.01,
        pieces: int = 8,
        shared: bool = False,
    ) -> None:
        self.first_token = first_token
        self.between = between
        self.pieces = pieces
        self.factor = 1.0
        self._reading = asyncio.Lock() if shared else None
        self.records: deque[Record] = deque(maxlen=RECORDS_KEPT)
        self.running = 0
        self.host, self.port = "127.0.0.1", 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        # Decode outside the event loop while the first token is awaited, so that arrival times stay exact.
        self._pool = ThreadPoolExecutor(1, "look")

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        self._pool.shutdown(wait=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
                headers = dict(
                    line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
                )
                length = int(headers.get("content-length", "0"))
                if length > MAX_BODY:
                    return
                body = await reader.readexactly(length)
                if not await self._answer(Request(method, target, body, reader, writer)):
                    return
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError):
            # The client has disconnected, or does not send HTTP; neither is measured.
            return
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, asked: Request) -> bool:
        """Answer one request. Return False if the connection cannot be used any more."""
        arrived = time.time()
        writer = asked.writer
        match asked.method, urlsplit(asked.target).path:
            case "POST", "/v1/chat/completions":
                return await self._answer_chat(arrived, asked)
            case "GET", "/v1/models":
                card = {"id": MODEL, "object": "model", "max_model_len": 8192}
                write_json(writer, 200, {"object": "list", "data": [card]})
            case "GET", "/health":
                write_json(writer, 200, {})
            case "GET", "/records":
                write_json(writer, 200, [asdict(one) for one in self.records])
            case "POST", "/factor":
                factor = float(asked.body)
                if not 0 < factor <= MOST_FACTOR:
                    raise ValueError(
                        f"the factor must be above 0 and at most {MOST_FACTOR}, not {factor}"
                    )
                self.factor = factor
                write_json(writer, 200, {})
            case "POST", "/v1/audio/transcriptions":
                words = f"What is this, number {len(self.records)}?"
                self._record(arrived, words, "words")
                write_json(writer, 200, {"text": words})
            case "POST", "/v1/audio/speech":
                text = str(json.loads(asked.body).get("input", ""))
                await self._speak(self._record(arrived, text, "sound"), writer)
            case _:
                write_json(writer, 404, {"error": {"message": "not found", "code": 404}})
        await writer.drain()
        return True

    def _record(self, arrived: float, text: str, kind: str = "chat") -> Record:
        self.records.append(Record(arrived, text, kind))
        return self.records[-1]

    async def _answer_chat(self, arrived: float, asked: Request) -> bool:
        request = json.loads(asked.body)
        question, picture = _find_last_user_message(request["messages"])
        record = self._record(arrived, question)
        self.running += 1
        looking = asyncio.get_running_loop().run_in_executor(self._pool, _look, record, picture)
        # Reading detects that the client closes; it sends nothing while it waits for an answer.
        gone = asyncio.create_task(asked.reader.read(1), name="gone")
        work = asyncio.create_task(self._stream(record, request, asked.writer), name="stream")
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            record.cancelled = not work.done() or work.exception() is not None
        finally:
            self.running -= 1
            for task in (gone, work):
                task.cancel()
            await asyncio.wait({gone, work})
            await looking
        return not record.cancelled

    def get_answer_pieces(self, question: str, count: int) -> list[str]:
        """Return the pieces of the answer to a question, at most `count`."""
        words = ANSWER.split()
        return [(" " if i else "") + words[i % len(words)] for i in range(count)]

    async def _stream(
        self, record: Record, request: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        streamed = bool(request.get("stream"))
        most = MANY_PIECES if AT_LENGTH in record.question else self.pieces
        wanted = request.get("max_completion_tokens") or request.get("max_tokens") or most
        count = max(1, min(most, int(wanted)))
        pieces = self.get_answer_pieces(record.question, count)
        usage = {"prompt_tokens": 100, "completion_tokens": count, "total_tokens": 100 + count}
        between = self.between
        if self._reading is None:
            await asyncio.sleep(max(0.0, record.arrived + self.first_token - time.time()))
        else:
            async with self._reading:
                await asyncio.sleep(self.first_token * self.factor)
            between *= self.factor * (1 + STEP_SHARE * (self.running - 1))
        if not streamed:
            message = {"role": "assistant", "content": "".join(pieces)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            record.first_token = time.time()
            write_json(writer, 200, {"choices": [choice], "usage": usage})
            await writer.drain()
            return
        _write_head(writer, "text/event-stream")
        _write_event(writer, _make_chunk({"role": "assistant", "content": ""}))
        for i, piece in enumerate(pieces):
            if i:
                await asyncio.sleep(between)
            else:
                record.first_token = time.time()
            _write_event(writer, _make_chunk({"content": piece}))
            await writer.drain()
        _write_event(writer, _make_chunk({}, "stop"))
        if (request.get("stream_options") or {}).get("include_usage"):
            _write_event(writer, {"id": "x", "choices": [], "usage": usage})
        _write_event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _speak(self, record: Record, writer: asyncio.StreamWriter) -> None:
        _write_head(writer, f"audio/pcm;rate={RATE}")
        sound = make_tone(len(record.question) * _CHARACTER).tobytes()
        record.first_token = time.time()
        # 0.1 s per piece
        for begin in range(0, len(sound), RATE // 5):
            _write_chunk(writer, sound[begin : begin + RATE // 5])
            await writer.drain()
        writer.write(b"0\r\n\r\n")


def make_tone(seconds: float) -> NDArray[np.int16]:
    """Return a tone of this length at `RATE`."""
    times = np.arange(round(seconds * RATE)) / RATE
    return (9000 * np.sin(2 * np.pi * 660 * times)).astype(np.int16)


def _make_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def _write_head(writer: asyncio.StreamWriter, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _write_event(writer: asyncio.StreamWriter, data: Any) -> None:
    text = data if isinstance(data, str) else json.dumps(data)
    _write_chunk(writer, f"data: {text}\n\n".encode())


def write_json(writer: asyncio.StreamWriter, status: int, body: Any) -> None:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    writer.write(head.encode() + b"\r\n\r\n" + raw)


def _find_last_user_message(messages: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the text and the picture (a data URL; "" if there is none) of the last user message."""
    content: str | list[dict[str, Any]] = next(
        (message["content"] for message in messages[::-1] if message["role"] == "user"), ""
    )
    if isinstance(content, str):
        return content, ""
    texts = [part["text"] for part in content if part["type"] == "text"]
    pictures = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return "\n".join(texts), pictures[-1] if pictures else ""


def _look(record: Record, picture: str) -> None:
    if not picture.startswith("data:"):
        return
    jpeg = base64.b64decode(picture.partition(",")[2])
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return
    record.height, record.width = image.shape[:2]
    shown = clock_code.read(np.asarray(image, np.uint8))
    record.age_ms = (
        None if shown is None else clock_code.compute_age_ms(shown, record.arrived * 1000)
    )


async def main() -> None:
    """Run a stand-in until its standard input ends."""
    parser = create_parser(__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 uses a free port and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--first-token-ms", type=float, default=50)
    parser.add_argument("--between-ms", type=float, default=10)
    parser.add_argument("--pieces", type=int, default=8, help="number of words of every answer")
    parser.add_argument(
        "--shared", action="store_true", help="answers take longer while others run"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    model = StandInModel(
        first_token=args.first_token_ms / 1000,
        between=args.between_ms / 1000,
        pieces=args.pieces,
        shared=args.shared,
    )
    model.host = args.host
    await model.start(args.port)
    print(json.dumps({"base_url": model.base_url}), flush=True)
    try:
        # The parent process stops it by closing its standard input.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await model.close()


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    asyncio.run(main())
