"""Alerts that are kept: sent once, a few at a time, with newer words."""

from __future__ import annotations

import json
from typing import Any

from server.core.messages import DeltaMessage
from server.features.watches.alerts import KeptAlerts
from server.features.watches.rule import Firing
from server.media.picture.grounding import Box
from server.session.request.outbox import MAX_BYTES, Outbox


def alert(number: int) -> Firing:
    return Firing("w1", "it boils", 1.0, 0.9, "Steam.", f"f{number}", None)


class Page:
    """A page's end of the outbox."""

    def __init__(self) -> None:
        self.dropped = 0
        self.outbox = Outbox()
        self.reader = self.outbox.attach()
        self.alerts = KeptAlerts(self.outbox, self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def add(self, number: int) -> Firing:
        made = alert(number)
        self.alerts.add("k", made, at=5.0, jpeg=b"jpeg", region=Box(0.1, 0.2, 0.3, 0.4))
        return made

    async def read(self) -> list[dict[str, Any]]:
        found = []
        while not self.outbox.empty:
            found.append(json.loads(await self.reader.get()))
        return found


async def test_alerts_do_not_overflow_the_outbox_of_a_slow_client() -> None:
    """Eight at once, as large as they may be: those that find no room follow when others are noted."""
    page = Page()
    page.alerts.set_connected(True)
    for number in range(8):
        page.alerts.add("k", alert(number), at=5.0, jpeg=b"x" * 36 * 1024, region=None)
    assert page.outbox.size < MAX_BYTES
    seen: list[str] = []
    while found := [one["id"] for one in await page.read()]:
        seen += found
        for id in found:
            page.alerts.acknowledge(id)
    assert seen == [f"r{number}" for number in range(1, 9)]
    assert page.outbox.dropped == 0


async def test_an_alert_that_waited_for_a_slow_client_follows_with_its_words() -> None:
    """It goes out when the client has read what was before it, with its picture."""
    page = Page()
    page.alerts.set_connected(True)
    page.outbox.put(DeltaMessage(id="a", text="x" * 70_000))
    late = page.add(1)
    page.alerts.replace_reason(late, "It steams.")
    page.alerts.go_on()
    assert [one["type"] for one in await page.read()] == ["delta"]
    page.alerts.go_on()
    (sent,) = await page.read()
    assert (sent["id"], sent["reason"], "image" in sent) == ("r1", "It steams.", True)
    page.alerts.go_on()
    assert await page.read() == []
