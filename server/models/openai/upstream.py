"""Turn a model server's refusals into our own sentences. Pure.

Nothing of the server's own text goes into an error: it may hold the question, the picture or the
key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineUnavailable,
)
from server.core.frames import Kind

# Repeats of a question, and of background work, which comes again by itself
_MOST = 2
_MOST_BACKGROUND = 1
# Seconds before the first and the second repeat at the same server. The second one comes after a
# router's next health check (scripts/start_router.sh: each second): a lone question whose stream broke
# at a server that died is sent there again until then.
_PAUSES = (0.1, 1.2)
# A longer Retry-After is passed on to the page: the picture would get too old.
LONGEST_WAIT = 3.0


class Reason(StrEnum):
    """The reason of a repeat; labels a metric."""

    # No connection
    REFUSED = "refused"
    # The connection or the stream broke.
    BROKEN = "broken"
    # A status from 500 on
    FAILED = "failed"
    # 429 or 503
    BUSY = "busy"
    LOADING = "loading"


class Fault(Exception):
    """A request failed before its first token, and another attempt may succeed.

    `error` makes the error for the caller after the last attempt, and notes what the failure shows
    about the server. `wait`: seconds that the server asks for.

    Outside the tree of errors: `asked` makes an EngineError of it.
    """

    def __init__(
        self, reason: Reason, error: Callable[[], EngineError], wait: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.wait = wait


class Retries:
    """The repeats of one request. None begins after `until`.

    Bounds of repeats of a request without a token: two of a question, one of background work;
    none after its time for the first token.
    """

    def __init__(self, kind: Kind, until: float) -> None:
        self._question = kind is Kind.CHAT
        self._left = _MOST if self._question else _MOST_BACKGROUND
        self._until = until
        self._made = 0

    @property
    def last(self) -> bool:
        """True when a refused request is not sent again."""
        return self._left == 0 or not self._question

    def pause(self, fault: Fault, *, now: float) -> float | None:
        """Return the seconds until the next attempt; None when there is none."""
        pause = self._pause(fault)
        if pause is None or self._left == 0 or now + pause >= self._until:
            return None
        self._left -= 1
        self._made += 1
        return pause

    def _pause(self, fault: Fault) -> float | None:
        if not self._question and fault.reason not in (Reason.REFUSED, Reason.BROKEN):
            return None
        match fault.reason:
            case Reason.LOADING:
                # It takes minutes.
                return None
            case Reason.BUSY if fault.wait is not None:
                return fault.wait if fault.wait <= LONGEST_WAIT else None
            case Reason.BROKEN if self._made == 0:
                # As a rule a kept connection that the server has closed meanwhile
                return 0.0
        return _PAUSES[min(self._made, len(_PAUSES) - 1)]


_CONTEXT = re.compile(
    r"context[ _](length|size|window)|max_model_len|maximum (input|prompt|sequence) length"
    r"|(prompt|input) is too long|too many tokens|cannot be greater than max",
    re.I,
)
# vLLM: "At most 1 image(s) may be provided in one prompt."
_PICTURES = re.compile(r"at most (\d{1,4}) image", re.I)
# The number of tokens that a refusal names; below the least there is no room for a question.
_STATED_CONTEXT = re.compile(
    r"(?:context[ _](?:length|size|window)|max_model_len|n_ctx)\D{0,30}(\d{1,9})\b", re.I
)
_LEAST_CONTEXT = 256
_LOADING = re.compile(r"\bload(ing)?\b|starting|warming|not ready", re.I)
# vLLM's router, when none of its servers answers
NO_SERVERS = re.compile(r"\bno (?:available |healthy )?workers\b", re.I)
BUSY = re.compile(r"\bbusy\b|overload|too many|\bfull\b|queue|no slot", re.I)
# Refusals of models without pictures: vLLM, llama.cpp, LM Studio, Ollama, OpenAI, SGLang, TGI
NO_PICTURE = re.compile(
    r"not a multi-?modal model|at most 0 image|mmproj"
    r"|\b(image|images|vision|image_url|multi-?modal)\b.{0,40}\b(not|n't|only|never)\b.{0,20}(support|allow|enabled|accept|available)"
    r"|(not|n't) (support|accept|allow|have|process)\w*\b.{0,30}\b(image|images|vision|image_url|multi-?modal|picture)"
    r"|no (image|vision) (support|capab|endpoint)|missing data required for image|unknown variant .?image_url",
    re.I | re.S,
)
# Refusals of servers whose model takes no sound: vLLM, llama.cpp, OpenAI, SGLang
NO_SOUND = re.compile(
    r"at most 0 audio|\b(audio|input_audio)\b.{0,60}\b(not|n't|only|never|no)\b|(not|n't|no)\b.{0,60}\b(audio|input_audio)\b"
    r"|unknown (variant|part type|content type)\W{0,3}input_audio|unsupported content\[\].type",
    re.I | re.S,
)
# Refusals of servers whose model does not speak its answers
NO_SPEECH = re.compile(
    r"\bmodalit(y|ies)\b|\b(audio|speech)[ _]out(put)?\b|\boutput[ _](audio|speech)\b|\bspeaker\b"
    r"|\b(audio\.)?voice\b",
    re.I,
)
# Refusals of tools in words: vLLM without --enable-auto-tool-choice, llama.cpp without --jinja
NO_TOOLS = re.compile(r"\btool[ _-]?(choice|call|parser)|\btools\b|function call", re.I)
# The same of a form of answer
NO_FORM = re.compile(
    r"response_format|json_schema|json_object|\bgrammar\b|structured_?output|guided", re.I
)
# Failures that blame a part of the request
_MEDIA = re.compile(
    r"image|mmproj|vision|multi-?modal|picture|video|audio|sound|speech|voice|speaker|modalit|schema|grammar|\btools?\b",
    re.I,
)
# Statuses of servers without pictures, sound and the like, or not in this form; 0: an event without a status
NOT_TAKEN = (400, 415, 422, 500, 501, 0)
# Not implemented, and not this version of HTTP
_FOR_GOOD = (501, 505)
# Refusals of servers that answer 400 to a model they do not serve
_OTHER_MODEL = re.compile(
    r"\bpinned to\b|model_not_found|(unknown|no such|invalid) model\b"
    r"|\bmodel\b.{0,200}\b(does not exist|not found|not (being )?served)",
    re.I | re.S,
)
# Words for a status in the events of sockets: vLLM-Omni has no room for another session.
_STATUS_OF = {"resource_exhausted": 429}
# Characters of a refusal that are read
_MOST_READ = 4096


class AskFailed(Exception):
    """A request was not answered.

    Outside the tree of errors, with its subclasses: the engine makes an EngineError of it.
    """


class Refused(AskFailed):
    """The server said no before the first piece. `body` is compared, never shown.

    `status`: of HTTP, or the code of an error event inside a 200 (0 when it has none).
    """

    def __init__(self, status: int, body: object, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self._words = words_of(body)

    def says(self, what: re.Pattern[str]) -> bool:
        """Find whether its words are of a kind, whatever its status."""
        return what.search(self._words) is not None

    def about(self, what: re.Pattern[str]) -> bool:
        """Find whether it is of a kind: NO_PICTURE and the like."""
        return self.status in NOT_TAKEN and self.says(what)

    def fields(self, optional: Iterable[str]) -> set[str]:
        """Find the optional fields of the request that it names."""
        return refused_fields(self.body, optional)

    def wish(self, fields: Iterable[str]) -> str:
        """Return the field of a program's conversation that it is about; "" when it is about none."""
        fields = tuple(fields)
        if self.status not in (400, 422, 501, 0):
            return ""
        if "tools" in fields and self.says(NO_TOOLS):
            return "tools"
        if "response_format" in fields and self.says(NO_FORM):
            return "response_format"
        return min(self.fields(fields), default="")

    @property
    def of_context(self) -> bool:
        """It is because the context is full."""
        return self.status in (400, 413, 422, 0) and self.says(_CONTEXT)

    @property
    def of_another_model(self) -> bool:
        """It says that the server does not serve this model."""
        return self.status == 404 or (self.status == 400 and self.says(_OTHER_MODEL))

    @property
    def most_pictures(self) -> int | None:
        """The most pictures that it allows in a request; None when it names none, or 0."""
        found = _PICTURES.search(self._words) if self.status in (400, 422, 0) else None
        return (int(found.group(1)) or None) if found else None

    @property
    def passing(self) -> bool:
        """It may be over at the next attempt, as far as it says: it blames neither pictures, nor video, nor sound, nor
        a field.
        """
        return self.status in (500, 502, 503, 504) and not self.says(_MEDIA)

    @property
    def reason(self) -> Reason | None:
        """Why the request may be sent again; None when it may not."""
        if self.status in (429, 503):
            loading = self.status == 503 and self.says(_LOADING)
            return Reason.LOADING if loading else Reason.BUSY
        return Reason.FAILED if 500 <= self.status <= 599 and self.status not in _FOR_GOOD else None

    def error(self, *, context_length: int | None, key: str, model: str) -> EngineError:
        """Return its error. `key` and `model` are the settings of the server's key and of its model."""
        status, wait = self.status, self.retry_after
        if self.of_context:
            length = f" of {context_length:,} tokens" if context_length else ""
            return EngineRefused(
                f"The question and the conversation so far do not fit into the model's context{length}. "
                "Ask in fewer words or begin a new chat.",
                public=True,
            )
        if status in (401, 403):
            return EngineUnavailable(
                f"The model server did not accept our key (HTTP {status}). Set {key} to the key it was started with."
            )
        if self.of_another_model:
            return EngineUnavailable(
                f"The model server does not serve this model (HTTP {status}). Set {model} to one that it serves, or leave it empty."
            )
        if status == 429:
            return EngineUnavailable(
                "The model server takes no more requests for now (HTTP 429). Ask again in a moment.",
                retry_after=wait if wait is not None else 2.0,
                public=True,
            )
        if status == 503 and self.says(_LOADING):
            return EngineLoading(
                "The model server is loading its model (HTTP 503). Ask again when it has finished.",
                retry_after=wait if wait is not None else 5.0,
            )
        if status in (502, 503, 504):
            return EngineUnavailable(
                f"The model server is busy (HTTP {status}). Ask again in a moment.",
                retry_after=wait if wait is not None else 1.0,
                public=True,
            )
        if 400 <= status < 500:
            return EngineRefused(
                f"The model server refused the request (HTTP {status}). Its own log says why; check that the model takes pictures."
            )
        code = f" (code {status})" if status else ""
        return EngineFailed(
            f"The model server reported an error{code}. Its own log says what happened."
        )


def words_of(body: object) -> str:
    """Return an error body's message, for comparing only: never shown, kept or logged."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            parts = (inner.get(key) for key in ("message", "detail", "code", "type", "param"))
            return " ".join(str(part) for part in parts if part is not None)[:_MOST_READ]
        return str(inner)[:_MOST_READ]
    return str(body)[:_MOST_READ] if body is not None else ""


def refused_fields(body: object, optional: Iterable[str]) -> set[str]:
    """Find the optional fields of a request that an error names."""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list):
        # FastAPI's form; its "input" repeats the request, so only the field names count.
        named = {
            str(part)
            for problem in detail
            if isinstance(problem, Mapping)
            for part in (problem.get("loc") or ())
        }
        return named & set(optional)
    words = words_of(body)
    return {name for name in optional if re.search(rf"\b{re.escape(name)}\b", words)}


def stated_context(body: object) -> int | None:
    """Return the tokens of context that a refusal names; None when it names none."""
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    own = inner.get("n_ctx") if isinstance(inner, Mapping) else None
    if type(own) is not int:
        # Only in its sentence: other fields have numbers of other kinds, such as its status.
        sentence = inner.get("message", inner.get("detail")) if isinstance(inner, Mapping) else body
        found = _STATED_CONTEXT.search(str(sentence)[:_MOST_READ])
        own = int(found.group(1)) if found else 0
    return own if own >= _LEAST_CONTEXT else None


def event_status(error: object) -> int:
    """Return the HTTP status that an error event stands for; 0 when it names none."""
    code: Any = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, str):
        code = int(code) if code.isascii() and code.isdigit() else _STATUS_OF.get(code)
    return code if type(code) is int and 100 <= code <= 599 else 0
