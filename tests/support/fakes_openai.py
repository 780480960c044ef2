"""A whole OpenAI-compatible model server on the loopback interface, with every way of misbehaving: it dies in
mid-answer, sends half an event, keeps a connection open without a word.

Use it as `async with FakeOpenAI() as fake:` and give `fake.base_url` to the engine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.support.http_stand_in import HttpRequest, HttpStandIn
from tests.support.plays import Play

AnswerFor = Callable[[dict[str, Any], bytes | None], list[str]]


class Behaviour(StrEnum):
    NORMAL = "normal"
    # Takes the request and answers nothing at all.
    SILENT = "silent"
    # 200 and keep-alive comments for ever, never an event.
    KEEP_ALIVE_ONLY = "keep_alive_only"
    # Two pieces of the answer, then keep-alive comments for ever.
    STALLS = "stalls"
    # Two pieces of the answer, then the connection is reset.
    DIES = "dies"
    # Two pieces of the answer, then a clean end without finish_reason and [DONE].
    ENDS_EARLY = "ends_early"
    # The role's event and no piece, then as DIES and ENDS_EARLY
    DIES_FIRST = "dies_first"
    ENDS_FIRST = "ends_first"
    # Takes the request and closes the connection.
    HANGS_UP = "hangs_up"
    # The whole answer with its finish_reason; then the stream stays open without [DONE].
    NEVER_DONE = "never_done"
    # A 200 whose first event is an error; the same after two pieces.
    ERROR_EVENT = "error_event"
    ERROR_LATER = "error_later"
    # A 200 whose first event says that the queue is full.
    FULL_EVENT = "full_event"
    # An event that is no JSON; a page of HTML; JSON of another shape; an event without an end.
    GARBAGE = "garbage"
    HTML = "html"
    STRANGE_JSON = "strange_json"
    ENDLESS = "endless"
    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    LOADING = "loading"
    UNAUTHORIZED = "unauthorized"
    CONTEXT_LENGTH = "context_length"
    BAD_REQUEST = "bad_request"
    INTERNAL = "internal"
    # Refuses a request that has one of `refused_fields`, with a 400 or like FastAPI with a 422.
    REFUSES_FIELD = "refuses_field"
    REFUSES_FIELD_422 = "refuses_field_422"
    # An empty /v1/models; chat works.
    NO_MODELS = "no_models"
    # /v1/models is there, but it is none of the OpenAI interface.
    NOT_OPENAI = "not_openai"


@dataclass(eq=False)
class Seen:
    """One chat request as it came in."""

    body: dict[str, Any]
    headers: dict[str, str]
    # Every picture's bytes, in order.
    jpegs: list[bytes]
    # Arrival of the whole request: time.monotonic() and time.time().
    arrived: float
    arrived_wall: float
    # Pieces of the answer that went out.
    sent: int = 0
    # The client went away before the answer's end.
    closed_early: bool = False
    # time.monotonic() of the answer's end, or of noticing that the client had gone; None before.
    ended: float | None = None
    # Set at that time.
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def videos(self) -> list[list[bytes]]:
        """The frames of every video."""
        return _videos(self.body)

    @property
    def sounds(self) -> list[bytes]:
        """Every WAV file."""
        return _sounds(self.body)

    @property
    def jpeg(self) -> bytes | None:
        return self.jpegs[-1] if self.jpegs else None

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Role and text of every message, pictures left out."""
        found: list[tuple[str, str]] = []
        for message in self.body.get("messages", []):
            content = message.get("content")
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            found += [
                (message["role"], part["text"]) for part in parts or () if part["type"] == "text"
            ]
        return found


class FakeOpenAI(HttpStandIn):
    """The server. Everything public may be changed while it runs."""

    def __init__(
        self,
        *,
        model: str = "fake-vl",
        first_token: float = 0.0,
        between_tokens: float = 0.0,
        answer_for: AnswerFor | None = None,
        max_model_len: int | None = 8192,
        api_key: str = "",
        port: int = 0,
        host: str = "127.0.0.1",
        keep: int = 1000,
    ) -> None:
        super().__init__(port, host)
        self.behaviour = Behaviour.NORMAL
        self.model = model
        self.models = [model]
        # Seconds before the first and between further events.
        self.first_token = first_token
        self.between_tokens = between_tokens
        # Further events wait for it, each for one release; None: they do not.
        self.steps: asyncio.Semaphore | None = None
        # Seconds between the role's event and the first piece.
        self.before_text = 0.0
        # A script of each answer, in place of all that follows; scripts by questions
        self.play: Play | None = None
        self.plays: dict[str, Play] = {}
        # The pieces of the answer, from the request and its last picture.
        self.answer_for: AnswerFor = answer_for or (
            lambda _body, _jpeg: ["I ", "see ", "a ", "cup."]
        )
        self.max_model_len = max_model_len
        self.api_key = api_key
        self.finish_reason: str | None = "stop"
        # The model's thoughts before the answer, as events of their own under this name. There are
        # none when this is empty, or when the request wants none.
        self.thoughts: list[str] = []
        self.thoughts_field = "reasoning_content"
        # Answers that are sent as they are in place of `answer_for`: the deltas of a stream, or
        # with `unstreamed` one message. "modality" in a delta stands beside its choice, as in vLLM-Omni.
        self.deltas: list[dict[str, Any]] | None = None
        # The same by the request; None: as `deltas` says
        self.deltas_for: Callable[[dict[str, Any]], list[dict[str, Any]] | None] = lambda _: None
        self.unstreamed = False
        # The delta that has the finish_reason; None: one of its own after all
        self.finishes_at: int | None = None
        # Tokens of prompt and answer together, each word one; None: no limit.
        self.context: int | None = None
        # Says how large its context is when it refuses.
        self.tells_context = True
        # Status of /health, which is answered while the event is set.
        self.health = 200
        self.health_answers = asyncio.Event()
        self.health_answers.set()
        self.health_checks = 0
        # Pictures that a request may have, in vLLM's words when it has more; None: any number
        self.most_pictures: int | None = None
        # Status and words of the refusal of any video; None: it takes videos.
        self.refuses_video: tuple[int, str] | None = None
        # The same of sound, and of an answer that is spoken
        self.refuses_sound: tuple[int, str] | None = None
        self.refuses_speech: tuple[int, str] | None = None
        # Status and words of the refusal of any tools
        self.refuses_tools: tuple[int, str] | None = None
        self.refused_fields: set[str] = set()
        # Of a 429
        self.retry_after = 7.0
        # More fields of the model's card, such as {"root": "/models/x"}.
        self.card: dict[str, Any] = {}
        # Status, body and headers of /v1/models in place of its list
        self.listing: tuple[Any, ...] | None = None
        # The same in place of each answer
        self.reply: tuple[Any, ...] | None = None
        # More fields by model; what other paths answer: one answer, one by the model that is asked about, or a status
        # and an answer
        self.cards: dict[str, dict[str, Any]] = {}
        self.others: dict[str, Any] = {}
        self.other_requests: list[str] = []
        # Models that take no pictures, and what they say of it.
        self.blind: set[str] = set()
        # The same by model, with the status and words of the refusal
        self.refuses_pictures: dict[str, tuple[int, str]] = {}
        self.blind_words = "fake is not a multimodal model"
        # Requests, oldest first; the oldest ones go when there are too many.
        self.requests: deque[Seen] = deque(maxlen=keep)
        # Chat requests and looks at /v1/models so far; answers in work now, and the most at a time.
        self.count = 0
        self.probes = 0
        self.running = 0
        self.most_running = 0
        self._arrived = asyncio.Condition()

    @property
    def last(self) -> Seen:
        return self.requests[-1]

    def hold(self) -> None:
        """Let each answer wait behind its first piece, until `let_go`."""
        self.steps = asyncio.Semaphore(0)

    def let_go(self) -> None:
        """Let the answers that `hold` keeps go on to their ends, and hold no others."""
        steps, self.steps = self.steps, None
        assert steps is not None
        for _ in range(1000):
            steps.release()

    async def wait_for(self, count: int, timeout: float = 5.0) -> Seen:
        """Wait until so many chat requests came in; the newest of them."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: self.count >= count)
            return self.requests[-1]

    # One request

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; false ends the connection."""
        method, path, headers, body = request
        chat = method == "POST" and path.rstrip("/") == "/v1/chat/completions"
        listing = method == "GET" and path == "/v1/models"
        arrived, wall = time.monotonic(), time.time()
        self.probes += listing
        if self.behaviour is Behaviour.UNAUTHORIZED or (
            self.api_key and headers.get("authorization") != f"Bearer {self.api_key}"
        ):
            return await self._json(writer, 401, _error("Unauthorized", 401))
        if self.behaviour is Behaviour.LOADING:
            return await self._json(writer, 503, _error("Loading model", 503))
        if listing:
            return await self._models(writer)
        if method == "GET" and path == "/health":
            self.health_checks += 1
            await self.health_answers.wait()
            return await self._json(writer, self.health, {})
        if path in self.others:
            self.other_requests.append(path)
            found = self.others[path]
            if isinstance(found, tuple):
                return await self._json(writer, *found)
            return await self._json(
                writer, 200, found[json.loads(body)["model"]] if method == "POST" else found
            )
        if not chat:
            return await self._json(writer, 404, {"detail": "Not Found"})
        fields = json.loads(body)
        seen = Seen(fields, headers, pictures(fields), arrived, wall)
        self.requests.append(seen)
        self.count += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        async with self._arrived:
            self._arrived.notify_all()
        # Reading while the answer is written tells at once when the client hangs up.
        gone = asyncio.create_task(reader.read(1))
        work = asyncio.create_task(self._chat(seen, writer))
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                seen.closed_early = True
                return False
            return work.result()
        except ConnectionError:
            seen.closed_early = True
            return False
        finally:
            self.running -= 1
            for task in (gone, work):
                task.cancel()
            await asyncio.wait({gone, work})
            seen.ended = time.monotonic()
            seen.done.set()

    async def _json(
        self, writer: asyncio.StreamWriter, status: int, body: Any, *extra: str
    ) -> bool:
        if isinstance(body, str):
            return await self._reply(writer, status, body.encode(), "text/html", *extra)
        raw = json.dumps(body).encode()
        return await self._reply(writer, status, raw, "application/json", *extra)

    async def _models(self, writer: asyncio.StreamWriter) -> bool:
        if self.listing is not None:
            return await self._json(writer, *self.listing)
        if self.behaviour is Behaviour.HTML:
            return await self._json(writer, 200, "<html><body>It works!</body></html>")
        if self.behaviour is Behaviour.NOT_OPENAI:
            return await self._json(writer, 200, {"hello": "world"})
        if self.behaviour is Behaviour.SILENT:
            await asyncio.sleep(3600)
        names = [] if self.behaviour is Behaviour.NO_MODELS else self.models
        length = {} if self.max_model_len is None else {"max_model_len": self.max_model_len}
        cards = [
            {"id": name, "object": "model", **length, **self.card, **self.cards.get(name, {})}
            for name in names
        ]
        return await self._json(writer, 200, {"object": "list", "data": cards})

    # One answer

    async def _chat(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        play = self.plays[seen.texts[-1][1]] if self.plays else self.play
        refuse = play.refuse if play is not None else self._refusal
        refusal = self.reply or refuse(seen.body)
        if refusal is not None:
            return await self._json(writer, *refusal)
        if self.behaviour is Behaviour.SILENT:
            await asyncio.sleep(3600)
        if self.behaviour is Behaviour.HANGS_UP:
            return _abort(writer)
        if self.behaviour is Behaviour.HTML:
            return await self._json(writer, 200, "<html><body>It works!</body></html>")
        if play is not None and play.whole is not None:
            return await self._json(writer, 200, play.whole)
        kind = play.kind if play is not None else "text/event-stream; charset=utf-8"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        if play is not None:
            writer.write(head.encode())
            return await self._play(play, seen.body, writer)
        pieces = self.answer_for(seen.body, seen.jpeg)
        if self.unstreamed or not seen.body.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces)}
            if self.unstreamed:
                message |= self.deltas[0] if self.deltas else {}
            else:
                await asyncio.sleep(self.first_token)
            choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
            return await self._json(writer, 200, {"choices": [choice], "usage": _usage(pieces)})
        writer.write(head.encode())
        return await self._stream(seen, writer, pieces)

    async def _play(self, play: Play, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        for event in play.events(body) if callable(play.events) else play.events:
            if isinstance(event, int | float):
                await asyncio.sleep(event)
            else:
                said = event if isinstance(event, str) else json.dumps(event)
                await _send(writer, play.lines.format(said))
        return await _end(writer)

    async def _stream(self, seen: Seen, writer: asyncio.StreamWriter, pieces: list[str]) -> bool:
        behaviour = self.behaviour

        async def event(data: Any) -> None:
            await _send(writer, f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n")

        async def hang(comment: bool) -> None:
            while True:
                if comment:
                    await _send(writer, ": keep-alive\n\n")
                await asyncio.sleep(0.02)

        def delta(content: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            modality = {name: content[name] for name in ("modality",) if name in content}
            content = {name: value for name, value in content.items() if name not in modality}
            choice = {"index": 0, "delta": content, "finish_reason": finish}
            return {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **modality}

        await _send(writer, ": hello\n\n")
        if behaviour is Behaviour.KEEP_ALIVE_ONLY:
            await hang(True)
        await asyncio.sleep(self.first_token)
        if behaviour in (Behaviour.ERROR_EVENT, Behaviour.FULL_EVENT):
            code = 503 if behaviour is Behaviour.FULL_EVENT else 400
            await event(_error("Something raw happened", code))
        if behaviour is Behaviour.ENDLESS:
            while True:
                await _send(writer, "data: " + "x" * 65536)
        await event(delta({"role": "assistant", "content": ""}))
        await asyncio.sleep(self.before_text)
        broken = {
            Behaviour.DIES: 2,
            Behaviour.STALLS: 2,
            Behaviour.ENDS_EARLY: 2,
            Behaviour.DIES_FIRST: 0,
            Behaviour.ENDS_FIRST: 0,
            Behaviour.ERROR_LATER: 2,
            Behaviour.GARBAGE: 1,
            Behaviour.STRANGE_JSON: 1,
        }.get(behaviour)
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
        finish = self.finish_reason
        kwargs = seen.body.get("chat_template_kwargs") or {}
        if self.thoughts and kwargs.get("enable_thinking") is not False:
            deltas = [{self.thoughts_field: text} for text in self.thoughts] + deltas
            if len(deltas) > seen.body["max_tokens"]:
                deltas, finish = deltas[: seen.body["max_tokens"]], "length"
        chosen = self.deltas_for(seen.body)
        chosen = chosen if chosen is not None else self.deltas
        for n, content in enumerate(chosen if chosen is not None else deltas):
            if n == broken:
                break
            if n:
                await asyncio.sleep(self.between_tokens)
            if n and self.steps is not None:
                await self.steps.acquire()
            await event(delta(content, finish if n == self.finishes_at else None))
            seen.sent += 1
        if behaviour in (Behaviour.DIES, Behaviour.DIES_FIRST):
            return _abort(writer)
        if behaviour is Behaviour.STALLS:
            await hang(True)
        if behaviour is Behaviour.ERROR_LATER:
            await event(_error("Something raw happened", 500))
        if behaviour is Behaviour.GARBAGE:
            await event('{"choices": [{"del')
        if behaviour is Behaviour.STRANGE_JSON:
            await event({"choices": "none today"})
        if broken is None and behaviour is not Behaviour.ERROR_EVENT:
            if self.finishes_at is None:
                await event(delta({}, finish))
            if (seen.body.get("stream_options") or {}).get("include_usage"):
                await event({"id": "x", "choices": [], "usage": _usage(pieces)})
            if behaviour is Behaviour.NEVER_DONE:
                await hang(False)
            await event("[DONE]")
        return await _end(writer)

    def _refusal(self, body: dict[str, Any]) -> tuple[int, Any, str] | tuple[int, Any] | None:
        named = sorted(self.refused_fields & set(body))
        if body.get("model") in self.blind and pictures(body):
            return 400, _error(self.blind_words, 400)
        if (refused := self.refuses_pictures.get(str(body.get("model")))) and pictures(body):
            return refused[0], _error(refused[1], refused[0])
        if self.most_pictures is not None and len(pictures(body)) > self.most_pictures:
            text = f"At most {self.most_pictures} image(s) may be provided in one prompt."
            return 400, _error(f"{text} (parameter=image)", 400)
        for refused, asked in (
            (self.refuses_sound, _sounds(body)),
            (self.refuses_speech, "audio" in body.get("modalities", ())),
            (self.refuses_tools, body.get("tools")),
            (self.refuses_video, _videos(body)),
        ):
            if refused is not None and asked:
                return refused[0], _error(refused[1], refused[0])
        words = sum(len(text.split()) for _, text in Seen(body, {}, [], 0.0, 0.0).texts)
        if self.context is not None and words + body.get("max_tokens", 0) > self.context:
            told = f" of {self.context} tokens" if self.tells_context else ""
            return 400, _error(f"The prompt is too long: it exceeds the context size{told}.", 400)
        match self.behaviour:
            case Behaviour.BUSY:
                text = "The engine is currently busy and cannot accept new requests."
                return 503, _error(text, 503)
            case Behaviour.RATE_LIMITED:
                return 429, _error("Slow down", 429), f"retry-after: {self.retry_after:g}"
            case Behaviour.INTERNAL:
                return 500, _error("Something raw happened", 500)
            case Behaviour.BAD_REQUEST:
                return 400, _error("Something raw happened", 400)
            case Behaviour.CONTEXT_LENGTH:
                text = (
                    "This model's maximum context length is 8192 tokens. However, your prompt "
                    "contains at least 8193 input tokens. (parameter=input_tokens, value=8193)"
                )
                return 400, _error(text, 400)
            case Behaviour.REFUSES_FIELD if named:
                return 400, _error(f"Unexpected keys in the request: {named}", 400)
            case Behaviour.REFUSES_FIELD_422 if named:
                problems = [{"loc": ["body", name], "msg": "extra", "input": 1} for name in named]
                return 422, {"detail": problems}
        if self.models and body.get("model") not in self.models:
            return 404, _error(f"The model `{body.get('model')}` does not exist.", 404)
        return None


async def _send(writer: asyncio.StreamWriter, text: str) -> None:
    raw = text.encode()
    writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
    await writer.drain()


async def _end(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _abort(writer: asyncio.StreamWriter) -> bool:
    transport = writer.transport
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()
    return False


def _error(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "Fake", "param": None, "code": code}}


def _usage(pieces: list[str]) -> dict[str, Any]:
    return {
        "prompt_tokens": 640,
        "completion_tokens": len(pieces),
        "total_tokens": 640 + len(pieces),
        "prompt_tokens_details": {"cached_tokens": 64},
    }


def _parts(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the contents of one kind in a request's messages."""
    contents = [message.get("content") for message in body.get("messages", [])]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part[kind] for part in parts if part.get("type") == kind]


def pictures(body: dict[str, Any]) -> list[bytes]:
    found = []
    for picture in _parts(body, "image_url"):
        kind, _, data = picture["url"].partition(";base64,")
        assert kind == "data:image/jpeg", "pictures travel as data: URLs only"
        found.append(base64.b64decode(data, validate=True))
    return found


def _sounds(body: dict[str, Any]) -> list[bytes]:
    """Every sound, in OpenAI's form."""
    sounds = _parts(body, "input_audio")
    assert all(sound["format"] == "wav" for sound in sounds)
    return [base64.b64decode(sound["data"], validate=True) for sound in sounds]


def _videos(body: dict[str, Any]) -> list[list[bytes]]:
    """The frames of every video, in vLLM's form for frames that are JPEGs."""
    found = []
    for video in _parts(body, "video_url"):
        kind, _, data = video["url"].partition(";base64,")
        assert kind == "data:video/jpeg", "frames travel as data: URLs only"
        found.append([base64.b64decode(one, validate=True) for one in data.split(",")])
    return found
