"""Frames for background work: who gets them, and when the camera sends more."""

from __future__ import annotations

import time
from dataclasses import replace

from server.core.frames import Frame
from server.session.part import BackgroundPart, FeatureParts, SessionFeatures
from tests.support.rooms import Room, bare_context, room


class Part(BackgroundPart):
    """A part that notes its calls. A stand-in."""

    def __init__(self) -> None:
        self.wants = True
        self.works = False
        self.alone = False
        self.hurries = False
        self.frames: list[str] = []
        self.calls: list[str] = []

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame.id)

    @property
    def wanted(self) -> bool:
        return self.wants

    @property
    def working(self) -> bool:
        return self.works

    @property
    def unattended(self) -> bool:
        return self.alone

    @property
    def alert(self) -> bool:
        return self.hurries

    def between(self, frame: Frame) -> None:
        self.frames.append(f"{frame.id} between")

    def new_stream(self) -> None:
        self.calls.append("new stream")

    def retry(self) -> None:
        self.calls.append("retry")


def joined(one: Room, *parts: Part) -> FeatureParts:
    session, left = one.session, iter(parts)
    features = SessionFeatures(makers={f"p{n}": lambda _: next(left) for n in range(len(parts))})
    background = FeatureParts("s", features, session.camera, 2)
    background.make(bare_context(session.outbox, requests=session.requests))
    background.wants_changed()
    return background


async def test_only_parts_that_want_frames_get_them() -> None:
    """Without any the camera samples for nobody; a closed socket stops all."""
    async with room() as one:
        wants, rests = Part(), Part()
        rests.wants = False
        background = joined(one, wants, rests)
        one.camera()
        now = time.monotonic()
        first = one.frame(captured=now)
        assert (wants.frames, rests.frames) == ([first.id], [])
        background.set_connected(False)
        assert not one.session.camera.on_sample
        one.frame(captured=now + 1)
        background.set_connected(True)
        last = one.frame(captured=now + 2)
        assert wants.frames == [first.id, last.id]
        wants.wants = False
        background.wants_changed()
        assert not one.session.camera.on_sample


async def test_the_camera_idles_less_while_a_part_works() -> None:
    async with room() as one:
        part = Part()
        background = joined(one, part)
        resting = one.session.camera.sender().idle.max_framerate
        part.works = True
        background.wants_changed()
        assert one.session.camera.sender().idle.max_framerate > resting


async def test_an_alert_part_gets_the_frames_between() -> None:
    """The others do not; and a person who chose a rate gets no camera that sends more often."""
    async with room() as one:
        alert, other = Part(), Part()
        session = one.session
        alert.hurries = True
        background = joined(one, alert, other)
        resting = session.camera.sender().idle.max_framerate
        one.camera()
        now = time.monotonic()
        names = [one.frame(captured=now + at).id for at in (0.0, 0.1, 0.5)]
        assert alert.frames == [names[0], f"{names[1]} between", names[2]]
        assert other.frames == [names[0], names[2]]
        session.requests.preferences = replace(session.requests.preferences, sample_rate=2)
        background.wants_changed()
        assert session.camera.sender().idle.max_framerate < resting
        alert.wants = False
        background.wants_changed()
        assert not session.camera.on_between
        alert.wants = True
        background.wants_changed()
        background.stop()
        assert not session.camera.on_between


async def test_parts_hear_of_streams_and_of_the_end() -> None:
    async with room() as one:
        part = Part()
        background = joined(one, part)
        one.camera()
        background.retry()
        background.stop()
        assert part.calls == ["new stream", "retry"]
        assert not one.session.camera.on_sample


async def test_an_unattended_part_gets_frames_without_a_socket() -> None:
    """The others rest until one is open."""
    async with room() as one:
        alone, rests = Part(), Part()
        alone.alone = True
        background = joined(one, alone, rests)
        one.camera()
        background.set_connected(False)
        frame = one.frame(captured=time.monotonic())
        assert (alone.frames, rests.frames) == ([frame.id], [])
