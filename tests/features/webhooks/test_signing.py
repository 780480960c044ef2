"""Signatures of webhooks, against the published example and the library that receivers use."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from server.features.webhooks.webhooks import headers, signature
from tests.features.webhooks.receiver import SECRET

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
