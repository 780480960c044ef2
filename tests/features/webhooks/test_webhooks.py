"""Receivers with their queues: who gets what, attempts again, dead letters, and what ends with consent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from server.core.errors import BadRequest, NotFound
from server.core.metrics import Metrics
from server.features.webhooks import waiting as retry
from server.features.webhooks.messages import Forward
from server.features.webhooks.sender import WebhookClient
from server.features.webhooks.settings import Evidence, Webhook, WebhookList
from server.features.webhooks.waiting import MOST_OF_A_SOURCE
from server.features.webhooks.webhooks import Forwarding, Webhooks
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox
from tests.features.webhooks.receiver import OK, SECRET, Heard, Receiver, Script, receiving
from tests.support.clients import sample, soon
from tests.support.rooms import bare_context

REFUSED = b"HTTP/1.1 503 Busy\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\n\r\n"
DOOR = AlertSource("session-of-the-door", "front-door")
VISITOR = AlertSource("session-of-a-visitor")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01))


def hook(receiver: Receiver, name: str = "hall", **given: Any) -> Webhook:
    given.setdefault("cameras", ("front-door",))
    return Webhook(name, receiver.url, SECRET, private=True, **given)


def alert(source: AlertSource = DOOR, condition: str = "a parcel") -> Alert:
    return Alert(1_700_000_000_000.0, source, "list-1", condition, jpeg=b"\xff\xd8jpeg")


class Counted(Webhooks):
    def __init__(self, *hooks: Webhook, **given: Any) -> None:
        self.metrics = Metrics("test")
        listed = WebhookList(hooks, "https://cam.example.org")
        super().__init__(listed, self.metrics, **{"new_id": lambda: "8010-id", **given})


@asynccontextmanager
async def sending(*hooks: Webhook, **given: Any) -> AsyncIterator[Counted]:
    webhooks = Counted(*hooks, **given)
    webhooks.start()
    try:
        yield webhooks
    finally:
        await webhooks.close()


@asynccontextmanager
async def sending_to(script: Script, **given: Any) -> AsyncIterator[tuple[Receiver, Counted]]:
    """With one receiver, which answers so."""
    async with receiving(script) as receiver, sending(hook(receiver, **given)) as webhooks:
        yield receiver, webhooks


def dropped(webhooks: Counted, reason: str) -> float:
    return sample(webhooks.metrics, "webhooks_dropped_total", reason=reason)


def seen(webhooks: Webhooks, number: int = 0) -> dict[str, Any]:
    every: Any = webhooks.get_status()["webhooks"]
    return dict(every[number])


def dead(webhooks: Webhooks) -> list[dict[str, Any]]:
    letters: Any = webhooks.get_status()["dead"]
    return list(letters)


async def test_an_alert_goes_to_those_who_are_named() -> None:
    """By camera; verified by the receiver's own code. A visitor's goes to none of them."""
    async with receiving() as hall, receiving() as every, receiving() as yard:
        hooks = (
            hook(hall),
            hook(every, "every", cameras=("*",), evidence=Evidence.NONE),
            hook(yard, "yard", cameras=("yard",), people=True),
        )
        async with sending(*hooks) as webhooks:
            # Before any sender had its time
            for source in (DOOR, VISITOR):
                webhooks.on_alert(alert(source))
                assert [seen(webhooks, number)["waiting"] for number in range(3)] == [1, 1, 0]
            await soon(lambda: bool(hall.heard and every.heard))
            (message,) = hall.messages
            data = message["data"]
            assert (message["type"], data["condition"]) == ("watch.alert", "a parcel")
            assert base64.b64decode(data["evidence"]["base64"]) == b"\xff\xd8jpeg"
            assert every.messages[0]["data"]["evidence"] is None
            await soon(lambda: seen(webhooks)["delivered"] == 1)
            assert (seen(webhooks)["state"], seen(webhooks, 2)["state"]) == ("ok", "unused")
            ids = {one.headers["webhook-id"] for one in (*hall.heard, *every.heard)}
            assert len(ids) == 2
        assert (len(hall.heard), len(every.heard), yard.heard) == (1, 1, [])


async def test_a_visitors_alert_goes_where_the_visitor_agreed() -> None:
    async with receiving() as offered, receiving() as other, receiving() as house:
        hooks = (
            hook(offered, "offered", cameras=(), people=True),
            hook(other, "other", cameras=(), people=True),
            hook(house, "house", cameras=("*",)),
        )
        async with sending(*hooks) as webhooks:
            assert [one.name for one in webhooks.offered] == ["offered", "other"]
            webhooks.send_for_visitor(alert(VISITOR), ["offered", "house"])
            assert [seen(webhooks, number)["waiting"] for number in range(3)] == [1, 0, 0]
            await soon(lambda: bool(offered.heard))
            assert offered.messages[0]["data"]["source"] == {"kind": "visitor", "name": ""}
            await asyncio.sleep(0.05)
        assert other.heard == house.heard == []


async def test_it_is_tried_again_with_the_same_id() -> None:
    """Signed anew each time, so that a receiver that checks the time takes it."""
    replies = [REFUSED, REFUSED, OK]
    async with sending_to(lambda heard: replies.pop(0)) as (receiver, webhooks):
        webhooks.on_alert(alert())
        await soon(lambda: seen(webhooks)["delivered"] == 1)
        assert len(receiver.messages) == 3
        assert len({one.headers["webhook-id"] for one in receiver.heard}) == 1
        assert (seen(webhooks)["failed"], seen(webhooks)["state"]) == (2, "ok")
        assert dead(webhooks) == []


async def test_what_fails_is_kept_for_operators_and_sent_again() -> None:
    """After its last attempt; the list has no secret, picture or word of it."""
    replies = [REFUSED] * 3
    async with sending_to(lambda heard: replies.pop() if replies else OK) as (receiver, webhooks):
        webhooks.on_alert(alert(condition="canary at the door"))
        await soon(lambda: len(dead(webhooks)) == 1)
        (letter,) = dead(webhooks)
        assert (letter["attempts"], letter["trouble"], letter["status"]) == (3, "status", 503)
        assert (letter["webhook"], letter["camera"]) == ("hall", "front-door")
        shown = json.dumps(webhooks.get_status())
        assert "503" in shown
        for secret in (SECRET, "canary", "/hook", "jpeg_", DOOR.id):
            assert secret not in shown
        webhooks.resend(letter["id"])
        await soon(lambda: seen(webhooks)["delivered"] == 1)
        assert dead(webhooks) == []
        assert receiver.messages[-1]["data"]["condition"] == "canary at the door"
        assert receiver.heard[-1].headers["webhook-id"] == letter["id"]
        with pytest.raises(NotFound):
            webhooks.resend(letter["id"])


async def test_dead_letters_are_dropped_and_sent_together() -> None:
    broken = True
    async with sending_to(lambda heard: REFUSED if broken else OK) as (_receiver, webhooks):
        for _ in range(3):
            webhooks.on_alert(alert())
        await soon(lambda: len(dead(webhooks)) == 3)
        webhooks.remove_dead(dead(webhooks)[0]["id"])
        assert dropped(webhooks, "forgotten") == 1
        broken = False
        assert webhooks.resend_all() == 2
        await soon(lambda: seen(webhooks)["delivered"] == 2)


async def test_whoever_wants_nothing_more_gets_nothing_more() -> None:
    """410 ends it for all alerts, until an operator sends something."""
    gone = True
    async with sending_to(lambda heard: GONE if gone else OK) as (receiver, webhooks):
        for _ in range(3):
            webhooks.on_alert(alert())
        await soon(lambda: seen(webhooks)["state"] == "gone")
        assert len(dead(webhooks)) == 3
        webhooks.on_alert(alert())
        assert dropped(webhooks, "gone") == 1
        assert len(receiver.heard) == 1
        gone = False
        webhooks.send_test("hall")
        await soon(lambda: seen(webhooks)["state"] == "ok")
        assert receiver.messages[-1]["type"] == "webhook.test"
        webhooks.on_alert(alert())
        await soon(lambda: seen(webhooks)["delivered"] == 2)


async def test_a_slow_receiver_delays_no_other_one() -> None:
    async with (
        receiving(lambda heard: None) as slow,
        receiving() as quick,
        sending(hook(slow, "slow"), hook(quick, "quick")) as webhooks,
    ):
        for _ in range(3):
            webhooks.on_alert(alert())
        await soon(lambda: seen(webhooks, 1)["delivered"] == 3)
        # One attempt at a time
        await soon(lambda: slow.connections > 0)
        assert slow.connections == 1


async def test_what_is_too_much_is_counted() -> None:
    async with sending_to(lambda heard: None) as (receiver, webhooks):
        webhooks.on_alert(alert())
        await soon(lambda: receiver.connections == 1)
        for _ in range(100):
            webhooks.on_alert(alert())
        assert dropped(webhooks, "overflow") == 100 - MOST_OF_A_SOURCE
        assert seen(webhooks)["waiting"] == MOST_OF_A_SOURCE + 1
        await webhooks.close()
        assert dropped(webhooks, "closed") == MOST_OF_A_SOURCE + 1


def linked(heard: Heard) -> str:
    url: str = heard.message["data"]["evidence"]["url"]
    begin, word = url.split("/evidence/")
    assert begin == "https://cam.example.org/at/8010-id"
    return word


async def test_a_link_is_made_for_each_attempt() -> None:
    """Its minute begins with the attempt that tells it."""
    now = 1000.0
    replies = [REFUSED, OK]
    async with receiving(lambda heard: replies.pop(0)) as receiver:
        one = hook(receiver, evidence=Evidence.LINK)
        async with sending(one, clock=lambda: now) as webhooks:
            webhooks.on_alert(alert())
            # The receiver hears it before its answer is here, from which the pause begins.
            await soon(lambda: seen(webhooks)["failed"] == 1)
            now += 30.0
            webhooks._hooks["hall"].changed.set()
            await soon(lambda: seen(webhooks)["delivered"] == 1)
            first, second = (linked(heard) for heard in receiver.heard)
            assert first != second
            assert webhooks.links.get(first, 1059.0) == webhooks.links.get(second, 1089.0)
            assert webhooks.links.get(first, 1061.0) is None
            assert webhooks.links.get(second, 1089.0) == b"\xff\xd8jpeg"
            assert webhooks.links.get(second, 1091.0) is None
            assert b"base64" not in receiver.heard[0].body


async def test_nothing_of_a_visitor_leaves_after_the_end() -> None:
    """A visitor's withdrawal drops alerts that wait, run or were given up, and links; others' stay."""
    hanging = True
    async with receiving(lambda heard: None if hanging else OK) as receiver:
        one = hook(receiver, cameras=("*",), people=True, evidence=Evidence.LINK)
        # No limit of an attempt ends it before the withdrawal does.
        async with sending(one, sender=WebhookClient(seconds=3600)) as webhooks:
            for _ in range(3):
                webhooks.send_for_visitor(alert(VISITOR), ["hall"])
            await soon(lambda: len(receiver.heard) == 1)
            webhooks.on_alert(alert())
            word = linked(receiver.heard[0])
            assert webhooks.links.get(word, 0) is not None
            hanging = False
            webhooks.end(VISITOR.id)
            assert webhooks.links.get(word, 0) is None
            await soon(lambda: seen(webhooks)["delivered"] == 1)
            assert dropped(webhooks, "ended") == 3
            assert seen(webhooks)["waiting"] == 0
            kinds = [one.message["data"]["source"]["kind"] for one in receiver.heard]
            assert kinds == ["visitor", "camera"]


async def test_dead_letters_go_with_the_visitors_word() -> None:
    async with sending_to(lambda heard: REFUSED, people=True) as (_receiver, webhooks):
        webhooks.send_for_visitor(alert(VISITOR), ["hall"])
        webhooks.on_alert(alert())
        await soon(lambda: len(dead(webhooks)) == 2)
        assert sorted(one["camera"] for one in dead(webhooks)) == ["", "front-door"]
        webhooks.end(VISITOR.id)
        assert [one["camera"] for one in dead(webhooks)] == ["front-door"]


async def test_a_failure_of_ours_loses_no_alert() -> None:
    class Broken(WebhookClient):
        async def post(self, *given: Any) -> Any:
            raise KeyError("canary")

    async with receiving() as receiver, sending(hook(receiver), sender=Broken()) as webhooks:
        webhooks.on_alert(alert())
        await soon(lambda: len(dead(webhooks)) == 1)


# A person's consent to webhooks: none at first, for the chosen receivers, ended at once


ALERT = alert(AlertSource("session"), "you see red")


@dataclass
class Scene:
    """Two receivers for people and one for fixed cameras, and one session."""

    webhooks: Counted
    people: Receiver
    other: Receiver
    house: Receiver

    def __post_init__(self) -> None:
        self.outbox = Outbox()
        self.part = Forwarding(bare_context(self.outbox), self.webhooks)

    def choose(self, names: list[str]) -> None:
        """The person agrees to these."""
        self.part.handlers[Forward](Forward(type="forward", webhooks=tuple(names)))

    @property
    def waiting(self) -> list[int]:
        """The number of alerts that each receiver has not got yet, also before any sender had its time."""
        return [seen(self.webhooks, number)["waiting"] for number in range(3)]

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
        hooks = (
            hook(people, "people", cameras=(), people=True),
            hook(other, "other", cameras=(), people=True),
            hook(house, "house", cameras=("*",)),
        )
        async with sending(*hooks) as webhooks:
            yield Scene(webhooks, people, other, house)


async def test_nothing_leaves_before_the_person_agrees(scene: Scene) -> None:
    """Then to the chosen receiver alone, and only what alerts from then on."""
    scene.part.greet()
    assert await scene.said() == [("people", False), ("other", False)]
    scene.part.on_alert(ALERT)
    assert scene.waiting == [0, 0, 0]
    scene.choose(["people"])
    assert await scene.said() == [("people", True), ("other", False)]
    scene.part.on_alert(ALERT)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.people.messages[0]["data"]["condition"] == "you see red"
    counts = [one.connections for one in (scene.people, scene.other, scene.house)]
    assert counts == [1, 0, 0]


async def test_a_models_own_watch_alerts_the_page_alone(scene: Scene) -> None:
    """Whatever the person has agreed to for the watches of their own."""
    scene.choose(["people", "other"])
    scene.part.on_alert(replace(ALERT, watch="tool:1"))
    assert scene.waiting == [0, 0, 0]
    scene.part.on_alert(ALERT)
    assert scene.waiting == [1, 1, 0]


async def test_one_word_ends_it(scene: Scene) -> None:
    scene.choose(["people", "other"])
    scene.choose(["other"])
    scene.part.on_alert(ALERT)
    assert scene.waiting == [0, 1, 0]
    await soon(lambda: len(scene.other.heard) == 1)
    scene.choose([])
    assert await scene.said() == [("people", False), ("other", False)]
    await soon(lambda: not any(scene.waiting))
    scene.part.on_alert(ALERT)
    assert scene.waiting == [0, 0, 0]
    await asyncio.sleep(0.05)
    assert (scene.people.connections, len(scene.other.heard)) == (0, 1)


@pytest.mark.parametrize("name", ["house", "cellar", ""])
async def test_what_is_not_offered_is_refused(scene: Scene, name: str) -> None:
    scene.choose(["people"])
    with pytest.raises(BadRequest, match="Allowed: people, other"):
        scene.choose(["other", name])
    scene.part.on_alert(ALERT)
    assert scene.waiting == [1, 0, 0]
    await soon(lambda: len(scene.people.heard) == 1)
    await asyncio.sleep(0.05)
    assert scene.other.connections == scene.house.connections == 0


async def test_without_webhooks_nothing_is_offered() -> None:
    outbox = Outbox()
    part = Forwarding(bare_context(outbox), Webhooks(WebhookList(), Metrics("test")))
    part.greet()
    part.on_alert(ALERT)
    with pytest.raises(BadRequest, match="Allowed: none"):
        part.handlers[Forward](Forward(type="forward", webhooks=("people",)))
    assert outbox.size == 0
