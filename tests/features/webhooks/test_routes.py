"""Routes of webhooks: for operators a test and dead letters, for receivers pictures under links."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from server.features.webhooks import waiting as retry
from server.features.webhooks.webhooks import Webhooks
from tests.features.webhooks.receiver import OK, SECRET, Receiver, hall, receiving, written
from tests.support.clients import http, soon
from tests.support.fakes_app import assert_error
from tests.support.running import running

OPERATOR = "operator-token-of-this-test"
WEBHOOKS = "/api/operator/webhooks"


def listed(folder: Path, receiver: Receiver) -> str:
    return str(written(folder, hall(receiver.url, "people = true")))


async def test_a_test_arrives_and_a_dead_letter_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PAUSES", ())
    broken = True
    async with (
        receiving(lambda heard: b"HTTP/1.1 500 No\r\n\r\n" if broken else OK) as receiver,
        running(webhooks=listed(tmp_path, receiver), operator_token=OPERATOR) as run,
        http(run, OPERATOR) as client,
    ):
        for _ in range(3):
            assert (await client.post(f"{WEBHOOKS}/hall/test")).status_code == 202
        await soon(lambda: len(run.program.added.provided[Webhooks]._dead) == 3)
        assert receiver.messages[0]["type"] == "webhook.test"
        facts = (await client.get(WEBHOOKS)).json()
        (hook,) = facts["webhooks"]
        assert (hook["name"], hook["state"], hook["status"]) == ("hall", "failing", 500)
        assert hook["host"] == f"127.0.0.1:{receiver.port}"
        assert hook["detail"].startswith("The receiver responds with an error")
        assert SECRET not in str(facts)
        first, second, _ = (letter["id"] for letter in facts["dead"])
        assert (await client.delete(f"{WEBHOOKS}/dead/{first}")).status_code == 200
        broken = False
        assert (await client.post(f"{WEBHOOKS}/dead/{second}")).status_code == 202
        await soon(lambda: len(receiver.heard) == 4)
        assert (await client.post(f"{WEBHOOKS}/dead")).json()["sent"] == 1
        await soon(lambda: len(receiver.heard) == 5)
        unknown = ("POST", "/cellar/test"), ("POST", "/dead/msg_1"), ("DELETE", "/dead/msg_1")
        for method, path in unknown:
            reply = await client.request(method, WEBHOOKS + path)
            assert_error(reply, 404, "not_found", retryable=False)


async def test_a_picture_is_there_for_a_minute() -> None:
    """For whoever knows its word, kept by nobody on the way; then there is none."""
    async with running() as run, http(run) as client:
        links = run.program.added.provided[Webhooks].links
        word, _ = links.make(b"\xff\xd8jpeg", "session", "hall", time.monotonic())
        for _ in range(2):
            reply = await client.get(f"/at/x/evidence/{word}")
            assert (reply.status_code, reply.content) == (200, b"\xff\xd8jpeg")
            assert reply.headers["content-type"] == "image/jpeg"
            assert reply.headers["cache-control"] == "no-store"
        for wrong in (word[:-1], word + "a", "x", "%2e%2e"):
            assert (await client.get(f"/at/x/evidence/{wrong}")).status_code == 404
        over, _ = links.make(b"\xff\xd8jpeg", "session", "hall", time.monotonic() - 61)
        assert_error(await client.get(f"/at/x/evidence/{over}"), 404, "not_found", retryable=False)
        links.end("session")
        assert (await client.get(f"/at/x/evidence/{word}")).status_code == 404
