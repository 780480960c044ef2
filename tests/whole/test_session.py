"""One session with the parts of all features: its settings, the ways of its questions, and who gets tools."""

from __future__ import annotations

from typing import Any

import pytest

from server.core.errors import BadRequest
from server.core.frames import BoxUnit, Detail, Frame, JobKind, QuestionMode
from server.core.messages import Chat, DeleteAnswer
from server.features.recall.recalling import RecallLimits
from server.models.base import Capabilities
from server.session.part import SessionContext, SessionPart
from server.session.request.parts import Draft, View
from tests.features.rooms import live_room, room, settings
from tests.session.request.test_builder import HEARS, SCENE, FakeEar
from tests.session.test_part import EXACT, PART, REGION, ask, seeing
from tests.support.fakes import FakeEngine, RecordingSink, until

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("prompt", ["", "x" * 4000], ["x" * 4001, 5]),
        ("length", ["short", "medium", "long"], ["endless", 7]),
        ("changes", [True, False], ["maybe", 7]),
        ("watch_changes", [True, False], ["maybe", 7]),
        ("describe", [False], ["maybe", 7, []]),
        ("recall", [True, False], ["maybe", 7]),
        ("guidance", [True, False], ["maybe", 7]),
    ],
)
async def test_settings_of_features_are_checked(
    field: str, good: list[Any], bad: list[Any]
) -> None:
    """Beside those of the core, in one message."""
    for value in good:
        taken = settings(**{field: value}, thumbnails=True)
        assert (getattr(taken, field), taken.thumbnails) == (value, True)
    for value in bad:
        with pytest.raises(BadRequest, match=field):
            settings(**{field: value})


async def test_a_question_has_a_route_which_the_client_may_choose() -> None:
    """By its words, or as named; the answer says which, and "now" without any picture of the past."""
    async with live_room() as one:
        for question, wish, route in (
            ("What is it?", None, "now"),
            ("Read the label", None, "detail"),
            ("Where is the cat?", None, "where"),
            ("Read the label", "now", "now"),
            ("What is it?", "detail", "detail"),
            ("What just happened?", None, "now"),
        ):
            one.session.handle(
                Chat(type="chat", content=question, route=QuestionMode(wish) if wish else None)
            )
            one.frame()
            assert (await one.next("started"))["route"] == route
            assert (await one.next("response"))["route"] == route


async def test_words_for_a_way_to_look_ask_the_last_question_again() -> None:
    """Typed or spoken; without one before they are the question. What was deleted is not asked again."""
    async with live_room() as one:
        for content, route, asked in (
            ("Look closer", "detail", "Look closer"),
            ("Is there a cat?", "now", "Is there a cat?"),
            ("Where?", "where", "Is there a cat?"),
            ("Look closer, please", "detail", "Is there a cat?"),
            ("Where is the dog?", "where", "Where is the dog?"),
            ("And now?", "now", "Where is the dog?"),
        ):
            assert (await one.answered(content, id="q"))["route"] == route
            assert one.engine.requests[-1].question == asked
        # The client's wish is one for the words as they are.
        await one.answered("Where?", id="r", route="now")
        assert one.engine.requests[-1].question == "Where?"
        one.session.handle(DeleteAnswer(type="delete_answer", id="r"))
        await one.answered("Look closer")
        assert one.engine.requests[-1].question == "Look closer"


async def test_a_question_about_the_past_hears() -> None:
    """ "What just happened?": what the microphone heard goes with it, and the response says so."""
    async with live_room(FakeEngine(capabilities=HEARS)) as one:
        one.session.requests.audio_in = FakeEar(SCENE)
        response = await one.answered("What just happened?", id="q")
        assert (response["route"], response["sound"]) == ("now", "heard")
        assert one.engine.requests[-1].asks(QuestionMode.PAST)
        assert one.engine.requests[-1].sound is SCENE


@pytest.mark.parametrize(
    ("asked", "route"),
    [({"route": "past"}, "now"), ({"route": "read"}, "detail"), ({"route": "detail"}, "detail")],
)
async def test_a_part_is_one_of_one_picture_of_now(asked: dict[str, Any], route: str) -> None:
    """Neither the past nor a text over several pictures has it."""
    recall = RecallLimits(60.0, 10**6)
    async with room(seeing(), recall=recall) as one:
        one.session.handle(settings(recall=True))
        response = await ask(one, **asked)
        assert (response["route"], response["frame"]["part"]) == (route, list(PART))
        assert len(one.engine.requests) == 1


async def test_where_something_is_in_a_part() -> None:
    """The engine looks at the part alone, once; its boxes are in pixels of the camera's picture."""
    answer = 'There.\n[{"bbox_2d": [0, 0, 100, 100], "label": "key", "sure": 0.3}]'
    engine = FakeEngine(
        chunks=[answer],
        capabilities=Capabilities(grounding=True, boxes=BoxUnit.THOUSANDTHS, geometry=EXACT),
    )
    async with room(engine) as one:
        response = await ask(one, content="Where is the key?")
        (request,) = engine.requests
        assert (request.earlier, request.picture.region) == ((), REGION)
        (found,) = response["boxes"]
        left, top = REGION.left, REGION.top
        assert found["box"] == pytest.approx([left, top, left + 19.2, top + 21.6], abs=0.1)


class ProgramSink(RecordingSink):
    id = "p1"


class Program(SessionPart):
    """Asks as a program with a grant does, and wants tools, which no program does."""

    def __init__(self, context: SessionContext) -> None:
        self._requests = context.requests
        self.sink = ProgramSink()

    def ask(self, frame: Frame) -> None:
        view = View(frame, Detail.LOW, None)
        draft = Draft(question="And the program?", view=view, program="grant", tools=True)
        self._requests.submit(draft, self.sink)


async def test_nobody_else_gets_tools() -> None:
    """A description, a watch and a program's question have none, though the person has agreed."""
    able = Capabilities(calls_tools=True)
    async with room(FakeEngine(capabilities=able), program=Program) as one:
        one.session.socket_opened()
        one.camera()
        frame = one.frame()
        one.session.handle(settings(tools=True, describe=True))
        one.session.part("watches").watch_for("w1", "the kettle boils", repeat=False)
        kinds = {JobKind.DESCRIBE, JobKind.WATCH, JobKind.CHAT}
        one.session.handle(Chat(type="chat", content="What is it?", id="q1"))
        one.session.part("program").ask(frame)

        def asked() -> set[JobKind]:
            if one.services.inference.idle:
                one.frame()
            return {request.kind for request in one.engine.requests}

        await until(lambda: asked() >= kinds and one.session.part("program").sink.ended)
    requests = one.engine.requests
    assert "And the program?" in one.engine.questions()
    assert [bool(made.tools) for made in requests] == [
        made.question == "What is it?" for made in requests
    ]


async def test_a_fixed_camera_has_none() -> None:
    """Nobody who could agree asks there."""
    async with room(FakeEngine(capabilities=Capabilities(calls_tools=True))) as one:
        assert one.session.part("watches").tools
        one.session.become_fixed([], lambda _: None, "door")
        one.session.handle(settings(tools=True))
        one.camera()
        await one.answered("What is it?", id="q1")
        names = [tool["function"]["name"] for tool in one.engine.requests[0].tools]
    assert "watch" not in names
