"""What a model server's refusals mean."""

from __future__ import annotations

import pytest

from server.engines import upstream
from server.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineUnavailable,
)

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
    made = upstream.error_for(status, body, context_length=8192)
    assert type(made) is error
    assert SECRET not in made.message
    assert made.message.endswith(".")


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
        ({"code": "x"}, 0),
        ({"code": True}, 0),
        ("x", 0),
    ],
)
def test_an_error_events_code(error: object, status: int) -> None:
    """Numbers and strings of numbers; all else is no status."""
    assert upstream.event_status(error) == status
