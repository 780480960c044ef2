"""A scan in a session: when it looks, what the client hears, what nobody sees, when it ends, and when all of it is gone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import cv2
import pytest

from server.core import messages as wire
from server.core.frames import VoiceCommand
from server.features.builtin.finder import Extra, FoundObject
from server.features.guidance.messages import Goal, Scan, WhereWas
from server.features.guidance.scanning import Scanner, get_scan_counter
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.privacy import PrivacyFilter
from tests.features.guidance.panorama import HEIGHT, WIDTH, Panorama
from tests.features.guidance.test_guidance import Finds, Looks, beside, counting
from tests.features.guidance.test_leading import PAINT, WITHHOLD, takes_frames
from tests.features.rooms import room, settings
from tests.support.fakes import until
from tests.support.rooms import Room

ROOM = Panorama(11)


class Finding(Finds):
    """Finds things where a test has put them in its room."""

    def __init__(self, *things: tuple[str, float], kept: float = 300) -> None:
        super().__init__()
        self.things = things
        self.right = 0.0
        self.scanner = Scanner(self.find, kept=kept)

    async def find(
        self, bgr: Bgr, known: Sequence[Box], extra: Extra
    ) -> tuple[list[FoundObject], float]:
        await self.look(bgr, known, extra)
        width = bgr.shape[1]
        found = []
        for name, at in self.things:
            # Its middle in the whole picture of 60 degrees, about
            x = 160 + (at - self.right) / 60 * 320 - (320 - width) / 2
            if 30 < x < width - 30:
                found.append(FoundObject("thing", name, Box(x - 20, 70, x + 20, 110, name), True))
        return found, self.seconds


@asynccontextmanager
async def around(
    *things: tuple[str, float],
    filters: tuple[PrivacyFilter, ...] = (),
    begins: bool = True,
    kept: float = 300,
) -> AsyncIterator[tuple[Room, Finding]]:
    finding = Finding(*things, kept=kept)
    async with room(None, *filters, looker=Looks().looker, scanner=finding.scanner) as one:
        one.session.socket_opened()
        one.camera()
        if begins:
            one.session.handle(Scan(type="scan"))
        yield one, finding


counted = counting(get_scan_counter)


def show(one: Room, right: float, at: float) -> None:
    """A frame captured at this time looks so many degrees to the right."""
    one.frame(captured=at, bgr=cv2.cvtColor(ROOM.view(right), cv2.COLOR_GRAY2BGR))


async def looked(one: Room) -> None:
    """Wait until no look runs."""
    await until(lambda: not one.session.part("guidance").scanning.looks.running)


async def turn(
    one: Room, finding: Finding, end: float, at: float, *, start: float = 0.0, step: float = 4.0
) -> float:
    """Turn so far, ten frames a second; return the time."""
    count = round(abs(end - start) / step)
    for number in range(count + 1):
        finding.right = start + (end - start) * number / max(1, count)
        show(one, finding.right, at)
        await looked(one)
        at += 0.1
    return at


async def told(one: Room) -> list[dict[str, Any]]:
    return [one for one in await one.rest() if one["type"] in ("scanned", "bearing")]


async def scanned(one: Room) -> dict[str, Any]:
    """The end of a scan."""
    return next(message for message in await told(one) if message.get("end"))


async def test_a_turn_tells_what_is_around() -> None:
    """Once each, in the page's language, from where the person looks in the end."""
    async with around(("cup", 60), ("dog", 180), ("chair", 275), begins=False) as (one, finding):
        one.session.handle(settings(page_language="de"))
        one.session.handle(Scan(type="scan"))
        (begun,) = await told(one)
        assert (begun["turned"], begun["count"], begun["things"]) == (0, 0, [])
        assert "end" not in begun
        now = await turn(one, finding, 100, time.monotonic())
        (later,) = await told(one)
        assert later["turned"] == pytest.approx(90, abs=15)
        assert later["count"] == 1
        # So that the page can list it, should the camera end now
        assert [thing["label"] for thing in later["things"]] == ["eine Tasse"]
        await turn(one, finding, 400, now, start=100)
        end = await scanned(one)
        assert end["end"] == "whole"
        ahead = finding.right if finding.right < 380 else 350
        found = {thing["label"]: thing["degrees"] for thing in end["things"]}
        assert found.keys() == {"eine Tasse", "ein Hund", "ein Stuhl"}
        # It ended where the first view came again.
        assert end["turned"] == pytest.approx(ahead, abs=30)
        for label, at in (("eine Tasse", 60), ("ein Hund", 180), ("ein Stuhl", 275)):
            off = (found[label] - (at - end["turned"]) + 180) % 360 - 180
            assert abs(off) < 6, label
        assert not one.session.part("guidance").scanning.running


async def test_where_a_thing_was_is_told_from_where_one_looks_now() -> None:
    """While the scan is kept, its words are an order; without it they are a question."""
    words: dict[str, Any] = {"type": "chat", "content": "Where was the cup?", "orders": True}
    async with around(("cup", 20), ("cup", 100)) as (one, finding):
        now = await turn(one, finding, 120, time.monotonic())
        one.session.handle(Scan(type="scan", on=False))
        end = await scanned(one)
        assert end["end"] == "stopped"
        assert [round(thing["degrees"], -1) for thing in end["things"]] == [-100, -20]
        one.session.handle(wire.Chat(**words, id="q1"))
        heard = await one.next("transcript")
        assert (heard["order"], heard["condition"]) == ("where_was", "the cup")
        # Back to the left, by frames that nobody looks at
        looks = len(finding.looks)
        await turn(one, finding, 50, now, start=120)
        one.session.handle(WhereWas(type="where_was", thing="the cup"))
        (bearing,) = await told(one)
        assert bearing["found"]["degrees"] == pytest.approx(-30, abs=5)
        assert (bearing["count"], bearing["lost"]) == (2, False)
        assert len(finding.looks) == looks
        one.session.handle(WhereWas(type="where_was", thing="the dog"))
        (bearing,) = await told(one)
        assert "found" not in bearing
        one.session.handle(wire.Chat(**{**words, "content": "Where was the dog?"}, id="q2"))
        show(one, 50, now + 9)
        assert (await one.next("started", "transcript"))["type"] == "started"


async def test_a_cut_makes_the_direction_unknown() -> None:
    """It is said, and no frame is taken for it any more."""
    async with around(("cup", 20)) as (one, finding):
        now = await turn(one, finding, 60, time.monotonic())
        one.session.handle(Scan(type="scan", on=False))
        assert takes_frames(one)
        for number in range(3):
            one.frame(captured=now + 1 + number, width=WIDTH, height=HEIGHT)
        assert not takes_frames(one)
        await one.rest()
        one.session.handle(WhereWas(type="where_was", thing="the cup"))
        (bearing,) = await told(one)
        assert bearing["lost"]
        assert "found" not in bearing


async def test_frames_come_soon_after_each_other_for_a_minute() -> None:
    """Then it wants the sampled ones alone."""
    async with around(("cup", 20)) as (one, finding):
        now = await turn(one, finding, 60, time.monotonic())
        one.session.handle(Scan(type="scan", on=False))
        camera = one.session.camera
        show(one, 60, now + 59)
        assert camera.on_between
        show(one, 60, now + 62)
        assert not camera.on_between
        assert one.session.part("guidance").commands[VoiceCommand.WHERE_WAS]("the cup")


@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_what_was_seen_is_kept_no_longer_than_the_recent_past(seconds: float) -> None:
    """Also where no frame comes any more. It is told all the same."""
    async with around(("cup", 20), kept=seconds) as (one, finding):
        now = await turn(one, finding, 60, time.monotonic())
        one.session.handle(Scan(type="scan", on=False))
        ended = time.monotonic()
        part = one.session.part("guidance")
        assert part.commands[VoiceCommand.WHERE_WAS]("the cup")
        await until(lambda: not part.commands[VoiceCommand.WHERE_WAS]("the cup"))
        assert time.monotonic() - ended >= seconds
        assert [thing["label"] for thing in (await scanned(one))["things"]] == ["a cup"]
        assert not takes_frames(one)
        # The next one is forgotten by its own time.
        one.session.handle(Scan(type="scan"))
        await turn(one, finding, 60, now + 1)
        assert part.scanning.running


@pytest.mark.parametrize("how", ["clear", "stream", "socket", "scan", "session"])
@pytest.mark.parametrize("over", [False, True])
async def test_all_of_it_goes(how: str, over: bool) -> None:
    """While the person turns, and afterwards."""
    async with around(("cup", 20)) as (one, finding):
        await turn(one, finding, 60, time.monotonic())
        if over:
            one.session.handle(Scan(type="scan", on=False))
        if how == "clear":
            one.session.handle(wire.ClearRecall(type="clear_recall"))
        elif how == "stream":
            one.camera()
        elif how == "socket":
            one.session.socket_closed()
        elif how == "scan":
            one.session.handle(Scan(type="scan"))
        else:
            await one.session.close("session_ended")
        part = one.session.part("guidance")
        assert not part.commands[VoiceCommand.WHERE_WAS]("the cup")
        assert part.scanning.running is (how == "scan")
        if how != "session":
            assert [one for one in await told(one) if one.get("things")] == []


async def test_a_goal_ends_it_and_it_ends_a_goal() -> None:
    async with around(("cup", 20)) as (one, finding):
        now = await turn(one, finding, 60, time.monotonic())
        one.session.handle(Goal(type="goal", thing="the dog"))
        part = one.session.part("guidance")
        assert not part.scanning.running
        assert part.leading.on
        one.session.handle(Scan(type="scan"))
        assert part.scanning.running
        assert not part.leading.on
        # A goal after a scan leaves what it found.
        await turn(one, finding, 60, now + 1)
        one.session.handle(Scan(type="scan", on=False))
        one.session.handle(Goal(type="goal", thing="the cup"))
        assert part.commands[VoiceCommand.WHERE_WAS]("the cup")


async def test_filters_hold_for_each_look() -> None:
    async with around(filters=(PAINT,)) as (one, finding):
        await turn(one, finding, 60, time.monotonic())
        assert {bgr.shape[:2] for bgr, *_ in finding.looks} == {(180, 320), (180, 180)}
        assert all((bgr == 77).all() for bgr, *_ in finding.looks)


async def test_a_withheld_picture_is_not_looked_at() -> None:
    async with around(("cup", 20), filters=(WITHHOLD,)) as (one, finding):
        await turn(one, finding, 60, time.monotonic())
        assert finding.looks == []
        assert counted(one, "withheld") > 0
        one.session.handle(Scan(type="scan", on=False))
        assert (await scanned(one))["things"] == []


async def test_two_sessions_never_tell_each_other() -> None:
    """Each has its own turn, though they share what looks, one look at a time."""
    async with around(("cup", 20)) as (one, finding):
        async with beside(one, scanner=finding.scanner) as guest:
            now = await turn(one, finding, 60, time.monotonic())
            assert await told(guest) == []
            assert not guest.session.part("guidance").commands[VoiceCommand.WHERE_WAS]("the cup")
            guest.session.handle(Scan(type="scan"))
            finding.open.clear()
            show(guest, 0, now + 1)
            await until(lambda: finding.scanner.busy)
            looks, busy = len(finding.looks), counted(one, "busy")
            show(one, 60, now + 1)
            assert counted(one, "busy") == busy + 1
            assert len(finding.looks) == looks
            finding.open.set()
            one.session.handle(Scan(type="scan", on=False))
            assert (await scanned(one))["things"]
            guest.session.handle(Scan(type="scan", on=False))
            assert (await scanned(guest))["things"] == []
        assert not finding.scanner.busy
