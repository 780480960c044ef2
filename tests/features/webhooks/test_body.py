"""The request for an alert: its body with the picture inline, as a link, or without, and its signature."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from server.features.webhooks.webhooks import MOST_CHARACTERS, Link, body, headers, signature
from server.session.part import Alert, AlertSource
from tests.features.webhooks.receiver import SECRET

RING = Alert(
    1_700_000_000_123.0,
    AlertSource("session-id-canary", "front-door"),
    watch="list-1",
    condition="a parcel lies at the door",
    reason="A box is there.",
    confidence=0.934,
    region=(0.1, 0.2, 0.5, 0.6),
    jpeg=b"\xff\xd8jpeg",
)


def read(alert: Alert, **way: Any) -> dict[str, Any]:
    return dict(json.loads(body(alert, **way)))


def test_an_alert_with_its_picture() -> None:
    said = read(RING, inline=True)
    assert (said["type"], said["timestamp"]) == ("watch.alert", "2023-11-14T22:13:20.123Z")
    assert said["data"] == {
        "source": {"kind": "camera", "name": "front-door"},
        "watch": "list-1",
        "condition": "a parcel lies at the door",
        "reason": "A box is there.",
        "confidence": 0.93,
        "region": [0.1, 0.2, 0.5, 0.6],
        "evidence": {"type": "image/jpeg", "base64": base64.b64encode(b"\xff\xd8jpeg").decode()},
    }


def test_a_link_has_no_picture() -> None:
    said = read(RING, link=Link("https://cam.example.org/at/id/evidence/w", 1_700_000_060.0))
    assert said["data"]["evidence"] == {
        "type": "image/jpeg",
        "url": "https://cam.example.org/at/id/evidence/w",
        "expires_at": "2023-11-14T22:14:20.000Z",
    }
    assert read(RING)["data"]["evidence"] is None


def test_a_withheld_picture_is_none() -> None:
    assert read(Alert(0, AlertSource("s", "door")), inline=True)["data"]["evidence"] is None


def test_a_visitors_session_is_not_named() -> None:
    """Nor in what a debugger or a log would show of an alert."""
    said = body(Alert(0, AlertSource("session-id-canary"), condition="a dog"), inline=True)
    assert json.loads(said)["data"]["source"] == {"kind": "visitor", "name": ""}
    assert b"canary" not in said + body(RING, inline=True)
    assert "canary" not in repr(RING)
    assert "parcel" not in repr(RING)


def test_words_are_bounded() -> None:
    said = read(Alert(0, AlertSource("s"), condition="x" * 5000, reason="ü" * 5000))
    assert len(said["data"]["condition"]) == len(said["data"]["reason"]) == MOST_CHARACTERS


def test_words_that_are_no_unicode_are_sent_all_the_same() -> None:
    assert read(replace(RING, reason="half of \ud83d"))["data"]["reason"] == "half of ?"


def test_a_test_has_nothing_of_a_camera() -> None:
    assert read(Alert(1000.0)) == {
        "type": "webhook.test",
        "timestamp": "1970-01-01T00:00:01.000Z",
        "data": {},
    }


KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def test_the_published_example() -> None:
    """Of the libraries of Standard Webhooks, which all have it in their tests."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_verifies() -> None:
    made = dict(headers(KEY, "msg_1", int(time.time()), b'{"a":1}'))
    assert Webhook(SECRET).verify(b'{"a":1}', made) == {"a": 1}
    made["webhook-timestamp"] = str(int(time.time()) - 301)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(b'{"a":1}', made)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(int(time.time()) + 1)},
        {"webhook-signature": "v1,"},
    ],
)
def test_nothing_of_it_can_be_changed(change: dict[str, str]) -> None:
    made = dict(headers(KEY, "msg_1", int(time.time()) - 1, b"{}"))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{}", made | change)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{ }", made)
