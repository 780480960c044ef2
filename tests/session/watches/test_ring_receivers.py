"""A person's consent to webhooks: none at first, for the chosen receivers, ended at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from server.attention.watch import Ring
from server.core.errors import BadRequest, Conflict
from server.core.messages import parse
from server.core.metrics import Metrics
from server.core.webhook_list import Webhook, WebhookList
from server.session.request.outbox import Outbox
from server.session.watches.ring_receivers import RingReceivers
from server.session.watches.rings import Event
from server.webhooks.alarm import Alarm
from server.webhooks.webhooks import Webhooks
from tests.support.clients import soon
from tests.webhooks.receiver import SECRET, Receiver, receiving

RING = Event(
    "r1", "w1", Ring("1", "you see red", 0.0, 0.9, "So.", "f1", None), 0.0, b"\xff\xd8", None
)


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
        self.webhooks = Webhooks(WebhookList(hooks), Metrics("test"))
        self.outbox = Outbox()
        self.receivers = RingReceivers("session", self.outbox, self.webhooks)

    @property
    def waiting(self) -> list[int]:
        """The number of alarms that each receiver has not got yet, also before any sender had its time."""
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
    """Then to the chosen receiver alone, and only what rings from then on."""
    scene.receivers.report()
    assert await scene.said() == [("people", False), ("other", False)]
    scene.receivers.rang(RING)
    assert scene.waiting == [0, 0, 0]
    scene.receivers.choose(["people"])
    assert await scene.said() == [("people", True), ("other", False)]
    scene.receivers.rang(RING)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.people.messages[0]["data"]["condition"] == "you see red"
    counts = [one.connections for one in (scene.people, scene.other, scene.house)]
    assert counts == [1, 0, 0]


async def test_one_word_ends_it(scene: Scene) -> None:
    scene.receivers.choose(["people", "other"])
    scene.receivers.choose(["other"])
    scene.receivers.rang(RING)
    assert scene.waiting == [0, 1, 0]
    await soon(lambda: len(scene.other.heard) == 1)
    scene.receivers.choose([])
    assert await scene.said() == [("people", False), ("other", False)]
    await soon(lambda: not any(scene.waiting))
    scene.receivers.rang(RING)
    assert scene.waiting == [0, 0, 0]
    await asyncio.sleep(0.05)
    assert (scene.people.connections, len(scene.other.heard)) == (0, 1)


async def test_what_waits_is_dropped_with_it(scene: Scene) -> None:
    """Alarms that had not left yet."""
    scene.receivers.choose(["people"])
    for _ in range(5):
        scene.receivers.rang(RING)
    # No other task has run yet.
    scene.receivers.choose([])
    await asyncio.sleep(0.05)
    assert scene.people.connections == 0
    assert b'webhooks_dropped_total{reason="ended"} 5.0' in scene.webhooks._metrics.render()


@pytest.mark.parametrize("name", ["house", "cellar", ""])
async def test_what_is_not_offered_is_refused(scene: Scene, name: str) -> None:
    """All stays as it was: neither a receiver of the house alone, nor one that is not there."""
    scene.receivers.choose(["people"])
    with pytest.raises(BadRequest, match="Allowed: people, other"):
        scene.receivers.choose(["other", name])
    scene.receivers.rang(RING)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.other.connections == scene.house.connections == 0


async def test_a_camera_of_the_house_is_the_operators(scene: Scene) -> None:
    """Whoever has its token chooses nothing."""
    rung: list[Event] = []
    scene.receivers.stand(rung.append)
    scene.receivers.report()
    with pytest.raises(BadRequest):
        scene.receivers.choose(["people"])
    scene.receivers.rang(RING)
    assert rung == [RING]
    assert scene.outbox.size == 0


async def test_without_receivers_nothing_is_offered() -> None:
    outbox = Outbox()
    for webhooks in (None, Webhooks(WebhookList(), Metrics("test"))):
        receivers = RingReceivers("session", outbox, webhooks)
        receivers.report()
        receivers.choose([])
        receivers.rang(RING)
        with pytest.raises(BadRequest, match="Allowed: none"):
            receivers.choose(["people"])
    assert outbox.size == 0


class AtHome:
    """Takes as many devices as there is room for."""

    host = "home:1883"

    def __init__(self, room: int = 1) -> None:
        self.room = room
        self.devices: set[str] = set()
        self.rung: list[Alarm] = []

    def has(self, session_id: str) -> bool:
        return session_id in self.devices

    def begin(self, session_id: str) -> None:
        if not self.room:
            raise Conflict("Too many.")
        self.devices.add(session_id)

    def end(self, session_id: str) -> None:
        self.devices.discard(session_id)

    def rang(self, alarm: Alarm) -> None:
        self.rung.append(alarm)


def _same(home: AtHome | None) -> AtHome | None:
    return home


async def test_home_assistant_gets_rings_by_a_persons_word_alone() -> None:
    home, outbox = AtHome(), Outbox()
    receivers = RingReceivers("session", outbox, None, lambda: home)
    receivers.rang(RING)
    assert (home.devices, home.rung) == (set(), [])
    receivers.choose([], home=True)
    receivers.rang(RING)
    assert [one.condition for one in home.rung] == ["you see red"]
    reader = outbox.attach()
    message = json.loads(await reader.get())
    assert message == {
        "type": "webhooks",
        "webhooks": [],
        "home": {"host": "home:1883", "on": True},
    }
    receivers.choose([])
    receivers.rang(RING)
    assert (home.devices, len(home.rung)) == (set(), 1)


async def test_home_assistant_without_room_changes_nothing(scene: Scene) -> None:
    """Nor where it is not offered: neither of the operator's cameras nor of others."""
    home = AtHome(room=0)
    homes: list[tuple[AtHome | None, type[Exception]]] = [(home, Conflict), (None, BadRequest)]
    for offered, error in homes:
        receivers = RingReceivers("session", scene.outbox, scene.webhooks, partial(_same, offered))
        receivers.choose(["people"])
        with pytest.raises(error):
            receivers.choose(["other"], home=True)
        assert receivers._agreed == ("people",)
    house = AtHome()
    receivers = RingReceivers("session", scene.outbox, None, lambda: house)
    receivers.stand(lambda event: None)
    with pytest.raises(BadRequest):
        receivers.choose([], home=True)
    assert house.devices == set()


@pytest.mark.parametrize("names", [None, "people", [1], ["x" * 65], ["a"] * 9, ["a b"]])
def test_a_malformed_message_is_refused(names: Any) -> None:
    with pytest.raises(BadRequest):
        parse(json.dumps({"type": "tell", "webhooks": names}))
