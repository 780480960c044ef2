"""A place that somebody points at: the newest frame, one look at a time, nothing that is withheld."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.errors import BadRequest
from server.features.builtin.finder import PointHit
from server.features.pointing.messages import Point
from server.features.pointing.pointing import Pointing
from server.features.pointing.snap import FindAt
from server.media.picture.grounding import Box
from server.session.part import MakePart
from tests.features.rooms import parser, room
from tests.support.fakes import until
from tests.support.rooms import Filter, withhold

SIZES: dict[str, Any] = {"width": 640, "height": 360}
CUP = PointHit("thing", Box(160, 90, 320, 180, "a cup", 0.912))


class Finding:
    """Finds the same everywhere; each look waits while `slow`."""

    def __init__(self, *found: PointHit) -> None:
        self.found = found
        self.looks: list[tuple[tuple[int, ...], float, float, str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.fails: Exception | None = None

    async def at(
        self, bgr: NDArray[np.uint8], x: float, y: float, language: str
    ) -> Sequence[PointHit]:
        self.looks.append((bgr.shape, x, y, language))
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        return self.found


def made(find: FindAt) -> MakePart:
    return lambda context: Pointing(context, find_at=find)


def point(x: float, y: float) -> Point:
    return Point(type="point", x=x, y=y)


async def test_the_newest_place_replaces_the_one_that_waits() -> None:
    """One look at a time; what nobody points at any more is not answered."""
    finding = Finding(CUP)
    async with room(pointing=made(finding.at)) as one:
        one.camera()
        one.frame(**SIZES)
        finding.go.clear()
        one.session.handle(point(0.1, 0.1))
        await until(lambda: len(finding.looks) == 1)
        for x in (0.2, 0.3, 0.4):
            one.session.handle(point(x, 0.5))
        finding.go.set()
        assert (await one.next("pointed"))["x"] == 0.4
        assert [look[1] for look in finding.looks] == [64, 256]
        one.session.handle(point(0.5, 0.5))
        assert (await one.next("pointed"))["x"] == 0.5


async def test_nothing_where_nothing_can_be_found() -> None:
    """Without a frame, of a frame that a filter withholds, and after a failure, which is logged."""
    finding = Finding(CUP)
    async with room(pointing=made(finding.at)) as one:
        one.session.handle(point(0.5, 0.5))
        assert (await one.next("pointed"))["boxes"] == []
        one.camera()
        one.frame(**SIZES)
        finding.fails = RuntimeError("of a library")
        one.session.handle(point(0.5, 0.5))
        assert (await one.next("pointed"))["boxes"] == []
    async with room(None, Filter(withhold), pointing=made(finding.at)) as one:
        one.camera()
        one.frame(**SIZES)
        looks = len(finding.looks)
        one.session.handle(point(0.5, 0.5))
        assert (await one.next("pointed"))["boxes"] == []
        assert len(finding.looks) == looks


@pytest.mark.parametrize("place", ['"x":1.1,"y":0', '"x":-0.1,"y":0', '"x":NaN,"y":0', '"x":0'])
async def test_a_place_beside_the_picture_is_refused(place: str) -> None:
    with pytest.raises(BadRequest):
        parser().parse('{"type":"point",' + place + "}")
