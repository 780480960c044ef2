"""Turn a model server's refusals into our own error messages. Pure.

They never quote the server's text, which may contain the question, the picture or the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineUnavailable,
)

# Maximum Retry-After to wait for (seconds); a longer one is sent to the page, because the picture would be too old.
LONGEST_WAIT = 3.0


class Reason(StrEnum):
    """The reason of a retry; labels a metric."""

    # No connection
    REFUSED = "refused"
    # The connection or the stream broke.
    BROKEN = "broken"
    # A status from 500 on that does not blame the request
    FAILED = "failed"
    # 429 or 503
    BUSY = "busy"
    LOADING = "loading"
    # The request was refused, and is sent again with fewer parts.
    PLAIN = "plain"


# The context length in a refusal; smaller numbers would leave no room for a question.
_STATED_CONTEXT = re.compile(
    r"(?:context[ _](?:length|size|window)|max_model_len|n_ctx)\D{0,30}(\d{1,9})\b", re.I
)
_LEAST_CONTEXT = 256
# Status codes of WebSocket error names: vLLM-Omni has no room for another session.
_STATUS_OF = {"resource_exhausted": 429}
# By status: description of an overloaded server, and the seconds before another attempt
_LONG, _FULL = ("took too long", 1.0), ("is busy", 1.0)
_BUSY = {
    408: _LONG,
    429: ("takes no more requests for now", 2.0),
    502: _FULL,
    503: _FULL,
    504: _LONG,
    529: _FULL,
}
# By status: the server's reaction to a question, and the remedy
_REFUSALS = {
    403: ("does not allow this question", "Its own log, or its provider's rules, say why."),
    413: (
        "or a proxy before it refused the size of the request",
        "Let it take more bytes, or ask with fewer pictures.",
    ),
    451: ("does not answer this for legal reasons", "Its provider's rules say why."),
}
# Codes of content filters: OpenAI and Azure, Alibaba
_FILTERED = ("content_filter", "content_policy_violation", "data_inspection_failed")
# Maximum number of characters of a refusal that are read
_MOST_READ = 4096


class AskFailed(Exception):
    """An unanswered request.

    With its subclasses not a QwenCameraError: the engine turns them into EngineError.
    """


class Refused(AskFailed):
    """A refusal before the first piece. `body` is the server's error, which is never shown.

    `status`: HTTP status, or the code of an error event inside a 200 (0 if none). `location`: target of a redirect.
    """

    def __init__(
        self, status: int, body: object, retry_after: float | None = None, location: str = ""
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.location = location

    @classmethod
    def of_event(cls, error: object) -> Refused:
        return cls(get_event_status(error), error)

    def _get_field(self, name: str) -> object:
        return self.body.get(name) if isinstance(self.body, Mapping) else None

    @property
    def of_another_model(self) -> bool:
        """True if the server does not serve this model."""
        return self.status == 404 or self.names_model

    @property
    def names_model(self) -> bool:
        """True if the error blames the model, in OpenAI's format."""
        return self._get_field("code") == "model_not_found"

    @property
    def of_another_address(self) -> bool:
        """True if the path does not exist: such an error does not have OpenAI's format."""
        of_form = isinstance(self._get_field("message"), str) or self.names_model
        return self.status == 405 or (self.status == 404 and not of_form)

    @property
    def fields(self) -> frozenset[str]:
        """The request fields that the error names, in OpenAI's format (`param`) or FastAPI's (`detail[].loc`)."""
        detail = self._get_field("detail")
        named = [self._get_field("param")]
        for one in detail if isinstance(detail, list) else []:
            place = one.get("loc") if isinstance(one, Mapping) else None
            named += place if isinstance(place, list) else []
        return frozenset(name for name in named if isinstance(name, str))

    @property
    def of_request(self) -> bool:
        """True if the request itself is at fault, not the key, the model or the load."""
        if 400 <= self.status < 500:
            return self.status not in (401, 402, 403, 404, 405, 408, 429)
        return self.status in (0, 500, 501)

    @property
    def of_loading(self) -> bool:
        """True if the error says that the model is loading, in Hugging Face's format."""
        return self._get_field("estimated_time") is not None

    @property
    def of_server(self) -> bool:
        """True if the model server itself answered with a JSON object, not a proxy."""
        return isinstance(self.body, Mapping)

    @property
    def context(self) -> int | None:
        """The context length (tokens) that the error states, or None if it states none."""
        own = self._get_field("n_ctx")
        if type(own) is not int:
            # Search the message only: other fields contain other numbers, such as the status.
            named = (self._get_field(name) for name in ("message", "detail", "error"))
            said = next(filter(None, named), self.body)
            found = _STATED_CONTEXT.search(str(said)[:_MOST_READ])
            own = int(found.group(1)) if found else 0
        return own if self.status in (400, 413, 422, 500, 0) and own >= _LEAST_CONTEXT else None

    def error(self, *, context_length: int | None, plain: bool = False) -> EngineError:
        """Return the error for a refusal that no setting fixes. `plain`: the request's plain form was refused."""
        status = self.status
        if self.context or self._get_field("code") == "context_length_exceeded":
            length = f" of {context_length:,} tokens" if context_length else ""
            return EngineRefused(
                f"The question and the conversation so far do not fit into the model's context{length}. "
                "Ask in fewer words or begin a new chat.",
                public=True,
            )
        if self._get_field("code") in _FILTERED:
            return EngineRefused(
                "The model server's content filter refused this question. Ask in another way, or show something else.",
                public=True,
            )
        if status == 402 or self._get_field("code") == "insufficient_quota":
            return EngineUnavailable(
                f"The account at the model server has no credit or quota left (HTTP {status}). Raise it there."
            )
        if status in _BUSY:
            what, wait = _BUSY[status]
            return EngineUnavailable(
                f"The model server {what} (HTTP {status}). Ask again in a moment.",
                retry_after=self.retry_after if self.retry_after is not None else wait,
                public=True,
            )
        if 400 <= status < 500:
            what, remedy = _REFUSALS.get(status, ("refused the request", "Its own log says why."))
            if plain and status in (400, 422):
                what += ", also with one picture and no optional fields"
                remedy = "Its own log says why; check that the model takes pictures."
            return EngineRefused(f"The model server {what} (HTTP {status}). {remedy}")
        code = f" (code {status})" if status else ""
        return EngineFailed(
            f"The model server reported an error{code}. Its own log says what happened."
        )


def make_loading_error(wait: float | None) -> EngineLoading:
    return EngineLoading(
        "The model server is loading its model (HTTP 503). Ask again when it has finished.",
        retry_after=wait if wait is not None else 5.0,
    )


def get_event_status(error: object) -> int:
    """Return the HTTP status in an error event, or 0 if there is none."""
    code: Any = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, str):
        code = int(code) if code.isascii() and code.isdigit() else _STATUS_OF.get(code)
    return code if type(code) is int and 100 <= code <= 599 else 0
