"""A person's consent to Home Assistant: a device by their word alone, ended at once."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from server.core.errors import BadRequest, Conflict
from server.core.messages import Parser
from server.features.mqtt.messages import SetHomeAssistant
from server.features.mqtt.visitors import HomeAssistantDevice, Visitors
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox
from tests.support.rooms import bare_context

ALERT = Alert(0.0, AlertSource("session"), "w1", "you see red", "So.", 0.9)


class FakeVisitors:
    """Takes as many devices as there is room for."""

    def __init__(self, room: int = 1) -> None:
        self.room = room
        self.devices: set[str] = set()
        self.alerts: list[Alert] = []

    def has(self, session_id: str) -> bool:
        return session_id in self.devices

    def begin(self, session_id: str) -> None:
        if not self.room:
            raise Conflict("Too many.")
        self.devices.add(session_id)

    def end(self, session_id: str) -> None:
        self.devices.discard(session_id)

    def alerted(self, alert: Alert) -> None:
        self.alerts.append(alert)


def part(visitors: FakeVisitors, outbox: Outbox) -> HomeAssistantDevice:
    return HomeAssistantDevice(bare_context(outbox), cast("Visitors", visitors), "home:1883")


def choose(one: HomeAssistantDevice, on: bool) -> None:
    one.handlers[SetHomeAssistant](SetHomeAssistant(type="home_assistant", on=on))


async def test_a_device_by_a_persons_word_alone() -> None:
    visitors, outbox = FakeVisitors(), Outbox()
    one = part(visitors, outbox)
    one.greet()
    assert visitors.devices == set()
    choose(one, True)
    assert visitors.devices == {"session"}
    one.alerted(ALERT)
    assert visitors.alerts == [ALERT]
    reader = outbox.attach()
    told = json.loads(await reader.get())
    assert told == {"type": "home_assistant", "host": "home:1883", "on": True}
    choose(one, False)
    assert visitors.devices == set()
    assert json.loads(await reader.get())["on"] is False


async def test_without_room_the_page_hears_what_holds() -> None:
    outbox = Outbox()
    one = part(FakeVisitors(room=0), outbox)
    with pytest.raises(Conflict):
        choose(one, True)
    assert json.loads(await outbox.attach().get())["on"] is False


@pytest.mark.parametrize("on", [None, "maybe", [1]])
def test_a_malformed_message_is_refused(on: Any) -> None:
    parser = Parser()
    parser.add(SetHomeAssistant)
    with pytest.raises(BadRequest):
        parser.parse(json.dumps({"type": "home_assistant", "on": on}))
