"""Frames for background work: who gets them, and when the camera sends more."""

from __future__ import annotations

import time
from dataclasses import replace

from server.core.frames import Frame
from server.session.background.background import Background
from tests.support.rooms import Room, room


class Part:
    """A part that notes its calls. A stand-in."""

    def __init__(self) -> None:
        self.wanted = True
        self.working = False
        self.unattended = False
        self.frames: list[str] = []
        self.calls: list[str] = []

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame.id)

    @property
    def alert(self) -> bool:
        return True

    def between(self, frame: Frame) -> None:
        self.frames.append(f"{frame.id} between")

    def listen(self, listening: bool) -> None:
        self.calls.append(f"listen {listening}")

    def new_stream(self) -> None:
        self.calls.append("new stream")

    def retry(self) -> None:
        self.calls.append("retry")

    def forget(self) -> None:
        self.calls.append("forget")


def joined(one: Room, *parts: Part) -> Background:
    session = one.session
    background = Background(session.camera, session._parts.requests, 2, parts)
    background.changed()
    return background


async def test_only_parts_that_want_frames_get_them() -> None:
    """Without any the camera samples for nobody; a closed socket stops all."""
    async with room() as one:
        wants, rests = Part(), Part()
        rests.wanted = False
        background = joined(one, wants, rests)
        one.camera()
        now = time.monotonic()
        first = one.frame(captured=now)
        assert (wants.frames, rests.frames) == ([first.id], [])
        background.listen(False)
        assert one.session.camera.on_sample is None
        one.frame(captured=now + 1)
        background.listen(True)
        last = one.frame(captured=now + 2)
        assert wants.frames == [first.id, last.id]
        wants.wanted = False
        background.changed()
        assert one.session.camera.on_sample is None


async def test_the_camera_idles_less_while_a_part_works() -> None:
    async with room() as one:
        part = Part()
        background = joined(one, part)
        resting = one.session.camera.sender().idle.max_framerate
        part.working = True
        background.changed()
        assert one.session.camera.sender().idle.max_framerate > resting


async def test_an_alert_part_gets_the_frames_between() -> None:
    """The others do not; and a person who chose a rate gets no camera that sends more often."""
    async with room() as one:
        alert, other = Part(), Part()
        session = one.session
        background = Background(
            session.camera, session._parts.requests, 2, (alert, other), alert=alert
        )
        background.changed()
        resting = session.camera.sender().idle.max_framerate
        one.camera()
        now = time.monotonic()
        names = [one.frame(captured=now + at).id for at in (0.0, 0.1, 0.5)]
        assert alert.frames == [names[0], f"{names[1]} between", names[2]]
        assert other.frames == [names[0], names[2]]
        session._parts.requests.preferences = replace(
            session._parts.requests.preferences, sample_rate=2
        )
        background.changed()
        assert session.camera.sender().idle.max_framerate < resting
        alert.wanted = False
        background.changed()
        assert session.camera.on_between is None
        alert.wanted = True
        background.changed()
        background.close()
        assert session.camera.on_between is None


async def test_parts_hear_of_streams_and_of_the_end() -> None:
    async with room() as one:
        part = Part()
        background = joined(one, part)
        one.camera()
        background.retry()
        background.close()
        assert part.calls == ["new stream", "retry", "forget"]
        assert one.session.camera.on_sample is None


async def test_an_unattended_part_gets_frames_without_a_socket() -> None:
    """The others rest until one is open."""
    async with room() as one:
        alone, rests = Part(), Part()
        alone.unattended = True
        background = joined(one, alone, rests)
        one.camera()
        background.listen(False)
        frame = one.frame(captured=time.monotonic())
        assert (alone.frames, rests.frames) == ([frame.id], [])
