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
from server.session.watches.rings import Event
from server.session.watches.telling import Telling
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
        self.telling = Telling("session", self.outbox, self.webhooks)

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
    scene.telling.report()
    assert await scene.said() == [("people", False), ("other", False)]
    scene.telling.rang(RING)
    scene.telling.tell(["people"])
    assert await scene.said() == [("people", True), ("other", False)]
    scene.telling.rang(RING)
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.people.messages[0]["data"]["condition"] == "you see red"
    counts = [one.connections for one in (scene.people, scene.other, scene.house)]
    assert counts == [1, 0, 0]


async def test_one_word_ends_it(scene: Scene) -> None:
    scene.telling.tell(["people", "other"])
    scene.telling.tell(["other"])
    scene.telling.rang(RING)
    await soon(lambda: len(scene.other.heard) == 1)
    scene.telling.tell([])
    assert await scene.said() == [("people", False), ("other", False)]
    scene.telling.rang(RING)
    await asyncio.sleep(0.05)
    assert (scene.people.connections, len(scene.other.heard)) == (0, 1)


async def test_what_waits_is_dropped_with_it(scene: Scene) -> None:
    """Alarms that had not left yet."""
    scene.telling.tell(["people"])
    for _ in range(5):
        scene.telling.rang(RING)
    # No other task has run yet.
    scene.telling.tell([])
    await asyncio.sleep(0.05)
    assert scene.people.connections == 0
    assert b'webhooks_dropped_total{reason="ended"} 5.0' in scene.webhooks._metrics.render()


@pytest.mark.parametrize("name", ["house", "cellar", ""])
async def test_what_is_not_offered_is_refused(scene: Scene, name: str) -> None:
    """All stays as it was: neither a receiver of the house alone, nor one that is not there."""
    scene.telling.tell(["people"])
    with pytest.raises(BadRequest, match="Allowed: people, other"):
        scene.telling.tell(["other", name])
    scene.telling.rang(RING)
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.other.connections == scene.house.connections == 0


async def test_a_camera_of_the_house_is_the_operators(scene: Scene) -> None:
    """Whoever has its token chooses nothing."""
    rung: list[Event] = []
    scene.telling.stand(rung.append)
    scene.telling.report()
    with pytest.raises(BadRequest):
        scene.telling.tell(["people"])
    scene.telling.rang(RING)
    assert rung == [RING]
    assert scene.outbox.size == 0


async def test_without_receivers_nothing_is_offered() -> None:
    outbox = Outbox()
    for webhooks in (None, Webhooks(WebhookList(), Metrics("test"))):
        telling = Telling("session", outbox, webhooks)
        telling.report()
        telling.tell([])
        telling.rang(RING)
        with pytest.raises(BadRequest, match="Allowed: none"):
            telling.tell(["people"])
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
    telling = Telling("session", outbox, None, lambda: home)
    telling.rang(RING)
    assert (home.devices, home.rung) == (set(), [])
    telling.tell([], home=True)
    telling.rang(RING)
    assert [one.condition for one in home.rung] == ["you see red"]
    reader = outbox.attach()
    message = json.loads(await reader.get())
    assert message == {
        "type": "webhooks",
        "webhooks": [],
        "home": {"host": "home:1883", "on": True},
    }
    telling.tell([])
    telling.rang(RING)
    assert (home.devices, len(home.rung)) == (set(), 1)


async def test_home_assistant_without_room_changes_nothing(scene: Scene) -> None:
    """Nor where it is not offered: neither of the operator's cameras nor of others."""
    home = AtHome(room=0)
    homes: list[tuple[AtHome | None, type[Exception]]] = [(home, Conflict), (None, BadRequest)]
    for offered, error in homes:
        telling = Telling("session", scene.outbox, scene.webhooks, partial(_same, offered))
        telling.tell(["people"])
        with pytest.raises(error):
            telling.tell(["other"], home=True)
        assert telling._agreed == ("people",)
    house = AtHome()
    telling = Telling("session", scene.outbox, None, lambda: house)
    telling.stand(lambda event: None)
    with pytest.raises(BadRequest):
        telling.tell([], home=True)
    assert house.devices == set()


@pytest.mark.parametrize("names", [None, "people", [1], ["x" * 65], ["a"] * 9, ["a b"]])
def test_a_malformed_message_is_refused(names: Any) -> None:
    with pytest.raises(BadRequest):
        parse(json.dumps({"type": "tell", "webhooks": names}))
