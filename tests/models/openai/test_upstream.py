"""The errors for a model server's refusals."""

from __future__ import annotations

import pytest

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
)
from server.models.openai import upstream
from server.models.openai.upstream import Refused

SECRET = "canary raw text"


@pytest.mark.parametrize(
    ("status", "message", "error", "words"),
    [
        (
            400,
            "Input length (9662) exceeds model's maximum context length (8192).",
            EngineRefused,
            "fewer words",
        ),
        (
            400,
            "max_tokens=100000 cannot be greater than max_model_len=8192.",
            EngineRefused,
            "fewer words",
        ),
        (400, "Failed to load image: Truncated File Read", EngineRefused, "refused the request"),
        (402, "", EngineUnavailable, "no credit or quota left"),
        (403, "", EngineRefused, "does not allow this question"),
        (408, "", EngineUnavailable, "took too long"),
        (412, "", EngineRefused, "refused the request"),
        (413, "", EngineRefused, "the size of the request"),
        (429, "", EngineUnavailable, "no more requests for now"),
        (451, "", EngineRefused, "legal reasons"),
        (500, "", EngineFailed, "reported an error"),
        (
            503,
            "The engine is currently busy and cannot accept new requests.",
            EngineUnavailable,
            "is busy",
        ),
        (504, "", EngineUnavailable, "took too long"),
        (529, "", EngineUnavailable, "is busy"),
        (0, "", EngineFailed, "reported an error"),
    ],
)
def test_each_refusal_has_an_error_without_its_text(
    status: int, message: str, error: type[EngineError], words: str
) -> None:
    """Its status decides, and its context; its words are never repeated."""
    body = {"message": f"{message} {SECRET}", "code": status}
    made = Refused(status, body).error(context_length=8192)
    assert type(made) is error
    assert SECRET not in made.message
    assert words in made.message
    assert made.message.endswith(".")
    assert ("in a moment" in made.message) is (made.retry_after is not None)


def test_a_quota_is_not_for_a_moment() -> None:
    """Nobody is told to ask again."""
    made = Refused(429, {"code": "insufficient_quota"}).error(context_length=None)
    assert "quota" in made.message
    assert made.retry_after is None


@pytest.mark.parametrize(
    ("status", "plain", "said"),
    [(400, True, True), (422, True, True), (400, False, False), (451, True, False)],
)
def test_a_plain_form_is_named_where_it_was_refused(status: int, plain: bool, said: bool) -> None:
    made = Refused(status, {}).error(context_length=None, plain=plain)
    assert ("takes pictures" in made.message) is said


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"message": "no", "param": "priority"}, {"priority"}),
        (
            {"detail": [{"loc": ["body", "priority"], "input": {"stream_options": 1}}]},
            {"body", "priority"},
        ),
        ({"message": "Unexpected keys in the request: {'stream_options'}"}, set()),
        ("priority", set()),
        (None, set()),
        ({"detail": [{"loc": None}, 7], "param": 7}, set()),
    ],
)
def test_fields_are_those_that_a_refusal_names_in_a_field(body: object, named: set[str]) -> None:
    """In OpenAI's form and in FastAPI's, whose input repeats the whole request; never in its prose."""
    assert Refused(400, body).fields == named


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
    assert upstream.get_event_status(error) == status


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
    assert Refused(400, body).context == tokens
