"""A person's consent to webhooks: none at first, for the chosen receivers, ended at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from server.core.errors import BadRequest
from server.core.messages import Parser
from server.core.metrics import Metrics
from server.features.webhooks.messages import Forward
from server.features.webhooks.settings import Webhook, WebhookList
from server.features.webhooks.webhooks import Forwarding, Webhooks
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox
from tests.features.webhooks.receiver import SECRET, Receiver, receiving
from tests.support.clients import soon
from tests.support.rooms import bare_context

ALERT = Alert(0.0, AlertSource("session"), "w1", "you see red", "So.", 0.9, jpeg=b"\xff\xd8")


class Scene:
    """Two receivers for people and one for the house, and one session."""

    def __init__(self, people: Receiver, other: Receiver, house: Receiver) -> None:
        self.people, self.other, self.house = people, other, house

        def hook(name: str, receiver: Receiver, **given: Any) -> Webhook:
            return Webhook(name, receiver.url, SECRET, private=True, **given)

        hooks = (
            hook("people", people, people=True),
            hook("other", other, people=True),
            hook("house", house, cameras=("*",)),
        )
        self.metrics = Metrics("test")
        self.webhooks = Webhooks(WebhookList(hooks), self.metrics)
        self.outbox = Outbox()
        self.part = Forwarding(bare_context(self.outbox), self.webhooks)

    def choose(self, names: list[str]) -> None:
        """The person agrees to these."""
        self.part.handlers[Forward](Forward(type="forward", webhooks=tuple(names)))

    @property
    def waiting(self) -> list[int]:
        """The number of alerts that each receiver has not got yet, also before any sender had its time."""
        hooks: Any = self.webhooks.seen()["webhooks"]
        return [one["waiting"] for one in hooks]

    async def said(self) -> list[tuple[str, bool]]:
        """The names of the next `webhooks` message, with their switches."""
        reader = self.outbox.attach()
        async with asyncio.timeout(5):
            message = json.loads(await reader.get())
        reader.detach()
        assert message["type"] == "webhooks"
        return [(one["name"], one["on"]) for one in message["webhooks"]]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with receiving() as people, receiving() as other, receiving() as house:
        one = Scene(people, other, house)
        one.webhooks.start()
        try:
            yield one
        finally:
            await one.webhooks.close()


async def test_nothing_leaves_before_the_person_agrees(scene: Scene) -> None:
    """Then to the chosen receiver alone, and only what alerts from then on."""
    scene.part.greet()
    assert await scene.said() == [("people", False), ("other", False)]
    scene.part.alerted(ALERT)
    assert scene.waiting == [0, 0, 0]
    scene.choose(["people"])
    assert await scene.said() == [("people", True), ("other", False)]
    scene.part.alerted(ALERT)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.people.messages[0]["data"]["condition"] == "you see red"
    counts = [one.connections for one in (scene.people, scene.other, scene.house)]
    assert counts == [1, 0, 0]


async def test_a_models_own_watch_alerts_the_page_alone(scene: Scene) -> None:
    """Whatever the person has agreed to for the watches of their own."""
    scene.choose(["people", "other"])
    scene.part.alerted(replace(ALERT, watch="tool:1"))
    assert scene.waiting == [0, 0, 0]
    scene.part.alerted(ALERT)
    assert scene.waiting == [1, 1, 0]


async def test_one_word_ends_it(scene: Scene) -> None:
    scene.choose(["people", "other"])
    scene.choose(["other"])
    scene.part.alerted(ALERT)
    assert scene.waiting == [0, 1, 0]
    await soon(lambda: len(scene.other.heard) == 1)
    scene.choose([])
    assert await scene.said() == [("people", False), ("other", False)]
    await soon(lambda: not any(scene.waiting))
    scene.part.alerted(ALERT)
    assert scene.waiting == [0, 0, 0]
    await asyncio.sleep(0.05)
    assert (scene.people.connections, len(scene.other.heard)) == (0, 1)


async def test_what_waits_is_dropped_with_it(scene: Scene) -> None:
    """Alerts that had not left yet."""
    scene.choose(["people"])
    for _ in range(5):
        scene.part.alerted(ALERT)
    # No other task has run yet.
    scene.choose([])
    await asyncio.sleep(0.05)
    assert scene.people.connections == 0
    assert b'webhooks_dropped_total{reason="ended"} 5.0' in scene.metrics.render()


@pytest.mark.parametrize("name", ["house", "cellar", ""])
async def test_what_is_not_offered_is_refused(scene: Scene, name: str) -> None:
    """All stays as it was: neither a receiver of the house alone, nor one that is not there."""
    scene.choose(["people"])
    with pytest.raises(BadRequest, match="Allowed: people, other"):
        scene.choose(["other", name])
    scene.part.alerted(ALERT)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.other.connections == scene.house.connections == 0


async def test_without_webhooks_nothing_is_offered() -> None:
    outbox = Outbox()
    part = Forwarding(bare_context(outbox), Webhooks(WebhookList(), Metrics("test")))
    part.greet()
    part.alerted(ALERT)
    with pytest.raises(BadRequest, match="Allowed: none"):
        part.handlers[Forward](Forward(type="forward", webhooks=("people",)))
    assert outbox.size == 0


@pytest.mark.parametrize("names", [None, "people", [1], ["x" * 65], ["a"] * 9, ["a b"]])
def test_a_malformed_message_is_refused(names: Any) -> None:
    parser = Parser()
    parser.add(Forward)
    with pytest.raises(BadRequest):
        parser.parse(json.dumps({"type": "forward", "webhooks": names}))
