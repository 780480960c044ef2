"""The errors for a model server's refusals."""

from __future__ import annotations

import math

import pytest

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineUnavailable,
)
from server.core.frames import Kind
from server.models.openai import upstream
from server.models.openai.upstream import LONGEST_WAIT, Fault, Reason, Refused, Retries

SECRET = "canary raw text"


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "Input length (9662) exceeds model's maximum context length (8192).", EngineRefused),
        (400, "max_tokens=100000 cannot be greater than max_model_len=8192.", EngineRefused),
        (400, "Failed to load image: Truncated File Read", EngineRefused),
        (401, "", EngineUnavailable),
        (404, "The model `other` does not exist.", EngineUnavailable),
        (400, "Server is pinned to '/m/tiny'; requested 'other'.", EngineUnavailable),
        (400, "model_not_found", EngineUnavailable),
        (400, "The model does not take pictures.", EngineRefused),
        (429, "", EngineUnavailable),
        (500, "", EngineFailed),
        (503, "Loading model", EngineLoading),
        (503, "The engine is currently busy and cannot accept new requests.", EngineUnavailable),
        (0, "", EngineFailed),
    ],
)
def test_each_refusal_has_an_error_without_its_text(
    status: int, message: str, error: type[EngineError]
) -> None:
    """The server's words decide, and are never repeated."""
    body = {"error": {"message": f"{message} {SECRET}", "code": status}}
    made = Refused(status, body).error(context_length=8192, key="KEY", model="MODEL")
    assert type(made) is error
    assert SECRET not in made.message
    assert made.message.endswith(".")


@pytest.mark.parametrize(("status", "setting"), [(401, "WATCHES_API_KEY"), (404, "WATCHES_MODEL")])
def test_a_refusal_names_the_settings_of_its_server(status: int, setting: str) -> None:
    made = Refused(status, {}).error(
        context_length=None, key="WATCHES_API_KEY", model="WATCHES_MODEL"
    )
    assert f"Set {setting} to" in made.message


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"message": "Unexpected keys in the request: {'stream_options'}"}, {"stream_options"}),
        ({"error": {"message": "no", "param": "priority"}}, {"priority"}),
        ({"detail": [{"loc": ["body", "priority"], "input": {"stream_options": 1}}]}, {"priority"}),
        ({"message": "my_priority_x is wrong"}, set()),
        ("priority", {"priority"}),
        (None, set()),
        ({"detail": [{"loc": None}, 7]}, set()),
    ],
)
def test_refused_fields_are_those_named(body: object, named: set[str]) -> None:
    """Also in FastAPI's form, whose input repeats the whole request."""
    assert upstream.refused_fields(body, ("stream_options", "priority")) == named


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 503}, 503),
        ({"code": "400"}, 400),
        ({"code": "resource_exhausted"}, 429),
        ({"code": "x"}, 0),
        ({"code": True}, 0),
        ("x", 0),
    ],
)
def test_an_error_events_code(error: object, status: int) -> None:
    """Numbers and strings of numbers; all else is no status."""
    assert upstream.event_status(error) == status


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"message": "This model's maximum context length is 8192 tokens. However, 9000"}, 8192),
        ({"message": "Input length (9662) exceeds model's maximum context length (8192)."}, 8192),
        ({"message": "max_tokens=900 cannot be greater than max_model_len=1024."}, 1024),
        ({"message": "it exceeds the available context size (2048 tokens)", "code": 400}, 2048),
        ({"message": "exceeds the context size", "n_ctx": 4096, "n_prompt_tokens": 5000}, 4096),
        ({"message": "it exceeds the context size", "code": 400}, None),
        ({"message": "the context length is 12"}, None),
        ("context length 4096", 4096),
        (None, None),
    ],
)
def test_how_much_context_a_refusal_tells_of(body: object, tokens: int | None) -> None:
    """vLLM, llama.cpp and others name it; a status beside the sentence is no number of tokens."""
    error = {"error": body} if isinstance(body, dict) else body
    assert upstream.stated_context(error) == tokens


def fault(reason: Reason, wait: float | None = None) -> Fault:
    return Fault(reason, lambda: EngineFailed("failed"), wait)


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.FAILED, Reason.BUSY, Reason.BROKEN])
def test_a_question_is_sent_again_twice(reason: Reason) -> None:
    """With growing pauses, but for a broken connection."""
    first = 0.0 if reason is Reason.BROKEN else 0.1
    retries = Retries(Kind.CHAT, 100.0)
    assert [retries.pause(fault(reason), now=0.0) for _ in range(3)] == [first, 1.2, None]
    assert retries.last


def test_no_repeat_begins_after_the_questions_deadline() -> None:
    retries = Retries(Kind.CHAT, 10.0)
    assert retries.pause(fault(Reason.FAILED), now=9.95) is None
    assert retries.pause(fault(Reason.FAILED), now=9.8) == 0.1


@pytest.mark.parametrize(
    ("wait", "pause"), [(0.0, 0.0), (2.0, 2.0), (LONGEST_WAIT + 1, None), (math.inf, None)]
)
def test_a_busy_server_is_given_the_time_that_it_asks_for(wait: float, pause: float | None) -> None:
    """Up to 3 s."""
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.BUSY, wait), now=0) == pause


def test_a_server_that_loads_is_not_asked_again() -> None:
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.LOADING), now=0) is None


@pytest.mark.parametrize("kind", [Kind.WATCH, Kind.DESCRIBE, Kind.PREFILL])
def test_background_work_only_gets_another_connection(kind: Kind) -> None:
    """It comes again by itself, and a busy or failing server gets no more of it."""
    for reason in (Reason.FAILED, Reason.BUSY, Reason.LOADING):
        assert Retries(kind, 100.0).pause(fault(reason), now=0.0) is None
    retries = Retries(kind, 100.0)
    assert retries.last
    assert retries.pause(fault(Reason.BROKEN), now=0.0) == 0.0
    assert retries.pause(fault(Reason.BROKEN), now=0.0) is None
