"""The wire's messages: what is read, what is refused and how, what is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import messages as wire
from server.core.errors import BadRequest, Busy, RequestError, TooLong, UnknownType
from server.core.frames import Detail

CANARY = "canary-9c1d"


def test_every_type_is_read() -> None:
    """With nothing but what is needed, and with everything."""
    for raw, kind in (
        ({"type": "chat", "content": "x"}, wire.Chat),
        ({"type": "correct_transcript", "id": "q", "text": "x"}, wire.CorrectTranscript),
        ({"type": "cancel"}, wire.Cancel),
        ({"type": "hold"}, wire.Hold),
        ({"type": "release"}, wire.Release),
        ({"type": "settings"}, wire.Settings),
        ({"type": "typing"}, wire.Typing),
        ({"type": "ping"}, wire.Ping),
        ({"type": "auth", "token": "t"}, wire.Auth),
    ):
        assert type(wire.Parser().parse(json.dumps({**raw, "later": [1]}))) is kind
    chat = wire.Parser().parse(
        '{"type":"chat","content":" ok ","id":"a-1.b:c","sent_at":1e12,"detail":"high"}'
    )
    assert chat == wire.Chat(
        type="chat", content=" ok ", id="a-1.b:c", sent_at=1e12, detail=Detail.HIGH
    )


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", BadRequest),
        ("nothing", BadRequest),
        ("null", BadRequest),
        ("[]", BadRequest),
        ("{}", BadRequest),
        ('"chat"', BadRequest),
        ('{"type":null}', BadRequest),
        ('{"type":1}', BadRequest),
        ("[" * 100_000, BadRequest),
        ('{"type":"chat","content":' + "9" * 5000 + "}", BadRequest),
        ('{"type":"chat"}', BadRequest),
        ('{"type":"chat","content":5}', BadRequest),
        ('{"type":"chat","content":" \\n"}', BadRequest),
        ('{"type":"chat","content":"\\ud800"}', BadRequest),
        ('{"type":"chat","content":"x","id":"' + "a" * 65 + '"}', BadRequest),
        ('{"type":"chat","content":"x","id":"a b"}', BadRequest),
        ('{"type":"chat","content":"x","id":"a\\n"}', BadRequest),
        ('{"type":"chat","content":"x","id":5}', BadRequest),
        ('{"type":"chat","content":"x","sent_at":1e999}', BadRequest),
        ('{"type":"chat","content":"x","sent_at":NaN}', BadRequest),
        ('{"type":"chat","content":"x","detail":"more"}', BadRequest),
        ('{"type":"correct_transcript","text":"x"}', BadRequest),
        ('{"type":"correct_transcript","id":"","text":"x"}', BadRequest),
        ('{"type":"correct_transcript","id":"q","text":" "}', BadRequest),
        ('{"type":"correct_transcript","id":"q","text":"' + "a" * 4001 + '"}', TooLong),
        ('{"type":"settings","language":"\\udc00"}', BadRequest),
        ('{"type":"settings","language":"de\\n"}', BadRequest),
        ('{"type":"settings","page_language":"de. Obey"}', BadRequest),
        ('{"type":"auth"}', BadRequest),
        ('{"type":"auth","token":"' + "a" * 4097 + '"}', BadRequest),
        ('{"type":"Chat","content":"x"}', UnknownType),
        ('{"type":"' + CANARY + '"}', UnknownType),
        ('{"type":""}', UnknownType),
    ],
)
def test_what_is_refused(raw: str, kind: type[RequestError]) -> None:
    """Each with its kind of error and a sentence that repeats nothing of it."""
    with pytest.raises(RequestError) as refused:
        wire.Parser().parse(raw)
    assert type(refused.value) is kind
    assert CANARY not in refused.value.message
    assert len(refused.value.message.split()) > 3


def test_a_bad_id_is_told_what_an_id_may_have() -> None:
    with pytest.raises(BadRequest, match=r'^"id" of a chat message: Only letters, digits and _'):
        wire.Parser().parse('{"type":"chat","content":"x","id":"a b"}')


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([0, 0.25, 0.5, 1], (0.0, 0.25, 0.5, 1.0)),
        ([-0.5, 0.1, 0.3, 7], (0.0, 0.1, 0.3, 1.0)),
        ([0.98, 0.98, 1, 1], (0.98, 0.98, 1.0, 1.0)),
    ],
)
def test_a_part_is_cut_at_the_pictures_edges(
    given: list[float], taken: tuple[float, float, float, float]
) -> None:
    message = wire.Parser().parse(json.dumps({"type": "chat", "content": "x", "part": given}))
    assert isinstance(message, wire.Chat)
    assert message.part == taken


@pytest.mark.parametrize(
    "given",
    [
        *("[0.5, 0.1, 0.4, 0.9]", "[0.1, 0.9, 0.4, 0.9]", "[0.1, 0.1, 0.119, 0.9]"),
        *("[0.99, 0.1, 1.5, 0.9]", "[1.2, 0, 1.5, 1]", "[0.1, 0.1, NaN, 0.9]"),
        "[0.1, 0.1, Infinity, 0.9]",
        "[0.1, 0.1, 0.9]",
        "[0, 0, 1, 1, 1]",
        '"all"',
        "{}",
        '["a", 0, 1, 1]',
    ],
)
def test_a_part_that_is_none_is_refused(given: str) -> None:
    """And one that is too small to see; the error names the field."""
    with pytest.raises(BadRequest, match=r'^"part') as refused:
        wire.Parser().parse('{"type":"chat","content":"x","part":' + given + "}")
    assert len(refused.value.message.split()) > 3


def test_an_old_client_is_told_what_to_send() -> None:
    """A type that is gone is unknown; the error names the protocol, what took its place, and where to read."""
    with pytest.raises(UnknownType) as refused:
        wire.Parser().parse('{"type":"tell","webhooks":[],"home":true}')
    said = refused.value.visitor_message
    assert f"protocol {wire.PROTOCOL}" in said
    assert all(word in said for word in ("tell", "forward", "home_assistant", "docs/protocol.md"))
    assert said.count(". ") == 0


@given(
    fields=st.dictionaries(
        st.sampled_from(["content", "id", "sent_at", "detail", "prompt", "language", "token", "x"]),
        st.one_of(
            st.none(),
            st.integers(),
            st.floats(),
            st.text(st.characters(codec=None), max_size=80).map(lambda text: CANARY + text),
            st.lists(st.just(CANARY), max_size=2),
        ),
    ),
    kind=st.sampled_from(["chat", "cancel", "settings", "auth", CANARY, "", "ping"]),
)
def test_any_fields(fields: dict[str, Any], kind: str) -> None:
    """A message or a RequestError that shows nothing of it; what was read can be written as UTF-8."""
    said = ""
    try:
        wire.Parser().parse(json.dumps({"type": kind, **fields})).model_dump_json().encode()
    except RequestError as error:
        said = error.message
    assert CANARY not in said


def test_none_is_left_out() -> None:
    """Unknown values are not sent; false ones are."""
    status = json.loads(wire.Status(queue_depth=0, engine="builtin", engine_state="ready").encode())
    assert status == {
        "type": "status",
        "clock_doubted": False,
        "held": False,
        "queue_depth": 0,
        "engine": "builtin",
        "engine_state": "ready",
        "engine_detail": "",
    }


def test_errors_on_the_wire_and_over_http() -> None:
    """The same code, sentence and retryable on both ways."""
    error = Busy("All taken.", retry_after=1.5)
    assert json.loads(wire.Error.of(error, "q").encode()) == {
        "type": "error",
        "id": "q",
        "code": "busy",
        "message": "All taken.",
        "retryable": True,
        "retry_after": 1.5,
    }
    assert wire.make_error_body(error) == {
        "error": {"code": "busy", "message": "All taken.", "retryable": True},
        "detail": "All taken.",
    }
