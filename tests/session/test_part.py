"""Questions about a part of the picture that the person points at: which pictures go, and what the answer says."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.errors import FrameWithheld
from server.core.frames import Geometry, Region
from server.core.messages import Chat, CorrectTranscript, Hold, PointAt
from server.media.picture.encode import decode
from server.models import prompts
from server.models.base import Capabilities, Chunk, EngineRequest, Finished, PointedAt
from server.session.part import SessionContext, SessionPart
from server.session.request.parts import Spoken
from tests.support.fakes import FakeEngine
from tests.support.rooms import Room, live_room, room, settings

pytestmark = pytest.mark.asyncio

PART = (0.5, 0.25, 0.75, 0.75)
SIZES: dict[str, Any] = {"width": 640, "height": 360, "scene": 3}
# With a tenth of its sides around it
REGION = Region(304, 72, 496, 288)
# A model's picture has the camera's own size.
EXACT = Geometry(8, 64, 10**8)


def seeing(**more: Any) -> FakeEngine:
    return FakeEngine(capabilities=Capabilities(geometry=EXACT, **more))


async def ask(one: Room, **fields: Any) -> dict[str, Any]:
    """Ask about the part, and return the response or error."""
    message = {"type": "chat", "content": "What is this?", "id": "q", "part": PART, **fields}
    one.session.handle(Chat.model_validate(message))
    one.camera()
    one.frame(**SIZES)
    return await one.next("response", "error")


def luma(jpeg: bytes | None) -> NDArray[np.int16]:
    assert jpeg is not None
    bgr = decode(jpeg)
    assert bgr is not None
    return np.asarray(bgr.mean(axis=2), np.int16)


@pytest.mark.parametrize(
    ("part", "size", "region"),
    [
        (PART, (640, 360), REGION),
        ((0.0, 0.0, 1.0, 1.0), (640, 360), Region(0, 0, 640, 360)),
        ((0.0, 0.5, 0.5, 1.0), (640, 360), Region(0, 162, 352, 360)),
        ((0.98, 0.98, 1.0, 1.0), (640, 360), Region(608, 328, 640, 360)),
        ((0.5, 0.5, 0.52, 0.52), (20, 20), Region(0, 0, 20, 20)),
    ],
)
async def test_a_part_is_shown_with_a_little_around_it(
    part: tuple[float, float, float, float], size: tuple[int, int], region: Region
) -> None:
    """Within the frame, and never as a few pixels."""
    assert Region.around(part, *size) == region


async def test_the_engine_gets_the_whole_picture_and_the_part_of_one_frame() -> None:
    """The part with the camera's own pixels; the answer names both, and the part that was asked about."""
    async with room(seeing()) as one:
        one.session.handle(settings(thumbnails=True))
        response = await ask(one)
        (request,) = one.engine.requests
        (whole,) = (earlier.picture for earlier in request.earlier)
        assert request.extra(PointedAt) == PointedAt(PART)
        assert request.question == "What is this?"
        assert (whole.frame_id, whole.region) == (request.picture.frame_id, None)
        assert request.picture.region == REGION
        shown = luma(request.picture.jpeg)
        assert shown.shape == (REGION.height, REGION.width)
        # The whole one is small, as for any question.
        all_of_it = cv2.resize(luma(whole.jpeg), (640, 360), interpolation=cv2.INTER_LINEAR)
        there = all_of_it[REGION.top : REGION.bottom, REGION.left : REGION.right]
        assert np.abs(there - shown).mean() < 8 < shown.std()
        frame, closer = response["frame"], response["closer"]
        assert frame["part"] == list(PART)
        assert "crop" not in frame
        assert closer["crop"] == [REGION.left, REGION.top, REGION.right, REGION.bottom]
        assert all(
            told["thumbnail"].startswith("data:image/jpeg;base64,") for told in (frame, closer)
        )
        assert "frames" not in response
        for told, picture in ((frame, whole), (closer, request.picture)):
            kept = one.session.sent_pictures.get(told["picture"])
            assert kept is not None
            assert kept.jpeg == picture.jpeg


async def test_the_prompt_says_what_the_second_picture_is() -> None:
    """In front of it, and behind the whole one; and other words where that was left out."""
    async with room(seeing()) as one:
        await ask(one)
        (request,) = one.engine.requests
        content = prompts.make_chat_messages(request, ["whole", "part"])[-1]["content"]
        kinds = [one.get("text") or one["image_url"]["url"] for one in content]
        assert kinds == ["whole", prompts.PART_BESIDE, "part", "What is this?"]
    async with room(seeing(max_pictures=1)) as one:
        await ask(one)
        (request,) = one.engine.requests
        content = prompts.make_chat_messages(request, ["part"])[-1]["content"]
        assert content[0]["text"] == prompts.PART_ALONE


@pytest.mark.parametrize("capabilities", [{"max_pictures": 1}, {"wants_pixels": True}])
async def test_an_engine_of_one_picture_gets_the_part_alone(capabilities: dict[str, Any]) -> None:
    """And the answer says so: its frame is that part."""
    async with room(seeing(**capabilities)) as one:
        response = await ask(one)
        (request,) = one.engine.requests
        assert request.earlier == ()
        assert (request.picture.width, request.picture.height) == (REGION.width, REGION.height)
        assert response["frame"]["part"] == list(PART)
        assert response["frame"]["crop"] == [REGION.left, REGION.top, REGION.right, REGION.bottom]
        assert "closer" not in response


async def test_an_engine_that_refuses_two_pictures_has_seen_the_part_alone() -> None:
    """It learns so with its answer, and the answer names no picture that it did not see."""

    class Refusing(FakeEngine):
        async def answer(self, request: EngineRequest) -> Any:
            async for chunk in super().answer(request):
                last: Chunk = chunk
                if isinstance(chunk, Finished):
                    last = Finished("stop", pictures_left_out=1)
                yield last

    async with room(Refusing(capabilities=Capabilities(geometry=EXACT))) as one:
        response = await ask(one)
        assert response["frame"]["crop"] == [REGION.left, REGION.top, REGION.right, REGION.bottom]
        assert response["frame"]["part"] == list(PART)
        assert "closer" not in response


async def test_filters_hold_for_the_part() -> None:
    """They see the whole frame at full size, and what they change is changed in both pictures."""
    seen: list[tuple[int, ...]] = []

    class Blacken:
        name = "blacken"

        def apply(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
            seen.append(bgr.shape)
            bgr[:, 320:] = 0
            return bgr

    async with room(seeing(), Blacken()) as one:
        await ask(one)
        (request,) = one.engine.requests
        assert set(seen) == {(360, 640, 3)}
        shown = luma(request.picture.jpeg)
        assert shown[:, 320 - REGION.left + 8 :].max() < 16
        assert shown[:, : 320 - REGION.left - 8].max() > 40


async def test_a_withheld_frame_has_no_part() -> None:
    class Withhold:
        name = "withhold"

        def apply(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
            raise FrameWithheld("not this")

    async with room(seeing(), Withhold()) as one:
        error = await ask(one)
        assert (error["type"], error["code"]) == ("error", "frame_withheld")
        assert one.engine.requests == []


async def test_a_held_pictures_part() -> None:
    async with live_room(seeing()) as one:
        first = one.frame(**SIZES)
        one.session.handle(Hold(type="hold"))
        held = one.frame(**SIZES)
        await one.until(lambda message: message["type"] == "status" and message["held"])
        message = {"type": "chat", "content": "What is this?", "id": "q", "part": PART}
        one.session.handle(Chat.model_validate(message))
        response = await one.next("response")
        assert response["frame"]["held"]
        assert response["closer"]["id"] in (first.id, held.id)
        assert response["closer"]["id"] == response["frame"]["id"]


class Ear(SessionPart):
    """Asks as somebody speaks."""

    def __init__(self, context: SessionContext) -> None:
        self.ask = context.ask


async def test_what_is_said_is_about_the_part_that_is_pointed_at() -> None:
    """Until nothing is; words that are corrected are about the part of their question."""
    async with live_room(seeing(), ear=Ear) as one:
        parts = []
        for number, part in enumerate((PART, None)):
            one.session.handle(PointAt(type="point_at", part=part))
            question = Chat(type="chat", content="What is dish?", id=f"q{number}")
            one.session.part("ear").ask(question, Spoken(frame=one.frame(**SIZES)))
            parts.append((await one.next("response"))["frame"].get("part"))
            one.session.handle(PointAt(type="point_at", part=None))
            one.session.handle(
                CorrectTranscript(type="correct_transcript", id=f"q{number}", text="What is this?")
            )
            parts.append((await one.next("response"))["frame"].get("part"))
        assert parts == [list(PART), list(PART), None, None]
