"""Requests of more than one picture: what goes into the context, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.core.frames import Detail, Kind
from server.core.metrics import Metrics
from server.engines.base import Capabilities, EarlierPicture, EngineRequest, Usage
from server.inference import Job, Result
from server.session.request_builder import NO_EXTRAS, Extras, View
from tests.support.fakes import FakeEngine, make_picture, until
from tests.support.rooms import Room, make_frame, room


class Listening:
    """A sink that keeps the request and the end."""

    id = "w1"

    def __init__(self) -> None:
        self.request: EngineRequest | None = None
        self.result: Result | None = None

    def started(self, engine: object, request: EngineRequest, queue_seconds: float) -> None:
        self.request = request

    def delta(self, text: str) -> None:
        pass

    thought = delta

    def finished(self, result: Result) -> None:
        self.result = result

    def failed(self, error: Exception) -> None:
        raise error


def counted(metrics: Metrics) -> float:
    return float(metrics.visual_tokens._value.get())


async def asked(
    one: Room, *tokens: int, extras: Extras = NO_EXTRAS, widths: Sequence[int] = ()
) -> EngineRequest:
    """A watch's request with earlier pictures that cost so many tokens, and have these widths."""

    async def earlier(needs: Capabilities) -> Sequence[EarlierPicture]:
        return [
            EarlierPicture(
                replace(make_picture(visual_tokens=cost), width=widths[number] if widths else 840),
                f"{number}:",
            )
            for number, cost in enumerate(tokens)
        ]

    sink = Listening()
    job: Job = one.session._requests.submit(
        "Which?",
        Kind.WATCH,
        View(make_frame(), Detail.LOW, None),
        sink,
        extras=replace(extras, earlier=earlier),
    )
    assert job.kind is Kind.WATCH
    await until(lambda: sink.result is not None)
    assert sink.request is not None
    assert sink.result is not None
    one.session._requests.learn(one.engine, sink.request, sink.result)
    return sink.request


async def test_all_pictures_of_a_request_are_counted() -> None:
    """In the metric, and in the room that is left to the answer."""
    async with room(FakeEngine(usage=Usage(700, 3, None))) as one:
        request = await asked(one, 100, 200)
        assert request.visual_tokens - request.picture.visual_tokens == 100 + 200
        assert counted(one.tools.metrics) == request.visual_tokens


async def test_the_oldest_pictures_go_when_not_all_fit() -> None:
    """The answer keeps the room that it may take."""
    engine = FakeEngine(capabilities=Capabilities(context_length=2048))
    async with room(engine) as one:
        request = await asked(one, 700, 900, 1000)
        assert [shown.picture.visual_tokens for shown in request.earlier] == [1000]
        assert request.max_tokens == 128


async def test_an_engine_gets_no_more_pictures_than_it_takes() -> None:
    """The newest ones; with one picture in all, none is made."""
    engine = FakeEngine(capabilities=Capabilities(max_pictures=2))
    async with room(engine) as one:
        request = await asked(one, 10, 20, 30)
        assert [shown.picture.visual_tokens for shown in request.earlier] == [30]
        engine.capabilities = Capabilities(max_pictures=1)

        async def none(needs: Capabilities) -> Sequence[EarlierPicture]:
            raise AssertionError("made for nothing")

        sink = Listening()
        one.session._requests.submit(
            "Which?",
            Kind.WATCH,
            View(make_frame(), Detail.LOW, None),
            sink,
            extras=Extras(none),
        )
        await until(lambda: sink.result is not None)
        assert sink.request is not None
        assert sink.request.earlier == ()


PAST = Extras(past=True)


async def test_pictures_of_the_past_go_as_a_video_where_the_engine_takes_one() -> None:
    """Two frames have the tokens of one; the number of pictures that the engine takes does not bind."""
    engine = FakeEngine(capabilities=Capabilities(video=True, max_pictures=1))
    async with room(engine) as one:
        request = await asked(one, *[100] * 6, extras=PAST)
        assert (request.video, len(request.earlier)) == (True, 6)
        assert request.visual_tokens - request.picture.visual_tokens == 300
        assert not (await asked(one, *[100] * 6)).video


@pytest.mark.parametrize(
    ("tokens", "widths"),
    [((100, 100), ()), ((100,) * 5, ()), ((100,) * 4, (840, 840, 840, 448))],
)
async def test_too_few_uneven_or_unequal_pictures_are_no_video(
    tokens: Sequence[int], widths: Sequence[int]
) -> None:
    """A video's frames have one size, and go in pairs."""
    engine = FakeEngine(capabilities=Capabilities(video=True, max_pictures=3))
    async with room(engine) as one:
        request = await asked(one, *tokens, extras=PAST, widths=widths)
        assert (request.video, len(request.earlier)) == (False, 2)


async def test_a_video_that_does_not_fit_loses_its_oldest_pair() -> None:
    """And becomes pictures when few frames are left."""
    engine = FakeEngine(capabilities=Capabilities(video=True, context_length=4096))
    async with room(engine) as one:
        request = await asked(one, *[900] * 8, extras=PAST)
        assert (request.video, len(request.earlier)) == (True, 6)
        request = await asked(one, *[2500] * 4, extras=PAST)
        assert (request.video, len(request.earlier)) == (False, 1)


async def test_a_request_may_state_its_own_answer() -> None:
    """Schema and tokens go to the engine; half of the context stays the most."""
    schema = {"type": "object"}
    async with room(FakeEngine(capabilities=Capabilities(context_length=1024))) as one:
        request = await asked(one, extras=Extras(schema=schema, max_tokens=400))
        assert (request.schema, request.max_tokens) == (schema, 400)
        assert (await asked(one, extras=Extras(max_tokens=4000))).max_tokens <= 512
