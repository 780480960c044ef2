"""Rings that are kept: sent once, a few at a time, with newer words."""

from __future__ import annotations

import json
from typing import Any

from server.core.messages import DeltaMessage
from server.features.watches.rings import MAX_RINGS, Rings
from server.features.watches.rule import Ring
from server.session.request.outbox import MAX_BYTES, Outbox
from server.vision.grounding import Box


def ring(number: int) -> Ring:
    return Ring("w1", "it boils", 1.0, 0.9, "Steam.", f"f{number}", None)


class Page:
    """A page's end of the outbox."""

    def __init__(self) -> None:
        self.dropped = 0
        self.outbox = Outbox()
        self.reader = self.outbox.attach()
        self.rings = Rings(self.outbox, self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def add(self, number: int) -> Ring:
        made = ring(number)
        self.rings.add("k", made, at=5.0, jpeg=b"jpeg", region=Box(0.1, 0.2, 0.3, 0.4))
        return made

    async def read(self) -> list[dict[str, Any]]:
        found = []
        while not self.outbox.empty:
            found.append(json.loads(await self.reader.get()))
        return found


async def test_a_ring_goes_out_at_once_while_somebody_listens() -> None:
    page = Page()
    page.rings.listen(True)
    page.add(1)
    (sent,) = await page.read()
    assert sent == {
        "type": "ring",
        "id": "r1",
        "watch": "k",
        "condition": "it boils",
        "at": 5.0,
        "sure": 0.9,
        "reason": "Steam.",
        "frame": "f1",
        "image": "data:image/jpeg;base64,anBlZw==",
        "region": [0.1, 0.2, 0.3, 0.4],
        "heard": False,
    }


async def test_a_new_socket_gets_all_rings_two_at_a_time() -> None:
    """Each that was shown makes way for the next; a newer ring does not wait for them."""
    page = Page()
    for number in range(5):
        page.add(number)
    assert await page.read() == []
    page.rings.listen(True)
    assert [one["id"] for one in await page.read()] == ["r1", "r2"]
    page.add(9)
    assert [one["id"] for one in await page.read()] == ["r6"]
    for id in ("r1", "r2", "r3"):
        page.rings.heard(id)
    assert [one["id"] for one in await page.read()] == ["r3", "r4", "r5"]
    page.rings.listen(False)
    page.rings.listen(True)
    assert [(one["id"], one["heard"]) for one in await page.read()] == [("r1", True), ("r2", True)]


async def test_the_oldest_rings_go_and_are_counted_unless_they_were_heard() -> None:
    page = Page()
    page.add(0)
    page.rings.heard("r1")
    for number in range(MAX_RINGS + 2):
        page.add(number)
    assert (len(page.rings), page.dropped) == (MAX_RINGS, 2)
    assert page.rings.get("r1") is None


async def test_newer_words_replace_those_of_a_ring() -> None:
    """Without its picture; also when they come before the picture was made."""
    page = Page()
    page.rings.listen(True)
    made = page.add(1)
    page.rings.reword(made, "Much steam.")
    first, second = await page.read()
    assert (second["id"], second["reason"], "image" in second) == (
        first["id"],
        "Much steam.",
        False,
    )
    late = ring(2)
    page.rings.reword(late, "Late.")
    page.rings.add("k", late, at=5.0, jpeg=None, region=None)
    (sent,) = await page.read()
    assert sent["reason"] == "Late."


async def test_nothing_is_left_when_it_forgets() -> None:
    page = Page()
    page.rings.listen(True)
    page.add(1)
    page.rings.forget()
    assert len(page.rings) == 0
    await page.read()
    page.rings.heard("r1")
    assert await page.read() == []


async def test_rings_do_not_overflow_the_outbox_of_a_slow_client() -> None:
    """Eight at once, as large as they may be: those that find no room follow when others are noted."""
    page = Page()
    page.rings.listen(True)
    for number in range(8):
        page.rings.add("k", ring(number), at=5.0, jpeg=b"x" * 36 * 1024, region=None)
    assert page.outbox.size < MAX_BYTES
    seen: list[str] = []
    while found := [one["id"] for one in await page.read()]:
        seen += found
        for id in found:
            page.rings.heard(id)
    assert seen == [f"r{number}" for number in range(1, 9)]
    assert page.outbox.dropped == 0


async def test_a_ring_that_waited_for_a_slow_client_follows_with_its_words() -> None:
    """It goes out when the client has read what was before it, with its picture."""
    page = Page()
    page.rings.listen(True)
    page.outbox.put(DeltaMessage(id="a", text="x" * 70_000))
    late = page.add(1)
    page.rings.reword(late, "It steams.")
    page.rings.go_on()
    assert [one["type"] for one in await page.read()] == ["delta"]
    page.rings.go_on()
    (sent,) = await page.read()
    assert (sent["id"], sent["reason"], "image" in sent) == ("r1", "It steams.", True)
    page.rings.go_on()
    assert await page.read() == []
