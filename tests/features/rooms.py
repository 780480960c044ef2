"""A session with the parts of features, as in a whole server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from server.core import messages as wire
from server.features.builtin.finder import FoundObject
from server.features.builtin.seeking import SearchHit, SearchTarget
from server.features.cameras.cameras import AdditionalCameras
from server.features.cameras.messages import CameraSettings
from server.features.describe.live_description import LiveDescription
from server.features.describe.messages import DescribeSettings
from server.features.guidance.guidance import Guidance, Looker
from server.features.guidance.leading import Seeker
from server.features.guidance.messages import Goal, GuidanceSettings, Scan, WhereWas
from server.features.guidance.scanning import Scanner
from server.features.pointing.messages import Point
from server.features.pointing.pointing import Pointing
from server.features.reading.reading import ReadingPart
from server.features.recall.messages import RecallSettings
from server.features.recall.recalling import RecallLimits, RecallPart
from server.features.voice_in.listening import ListeningTools, MicrophonePart
from server.features.voice_in.messages import MicrophoneSettings, PushToTalk
from server.features.voice_in.recogniser import ChosenRecogniser, LocalRecogniser
from server.features.voice_out.messages import SpeakSettings, SpeechProgress
from server.features.voice_out.speaking import SpeechMetrics, SpeechPart, Voice
from server.features.watches.messages import Ack, FalseAlarm, Unwatch, Watch, WatchSettings
from server.features.watches.watching import Watching
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.privacy import PrivacyFilter
from server.session.part import MakePart, SessionFeatures, SpeechOutput
from server.session.request.parts import SessionLimits
from tests.support import rooms
from tests.support.fakes import FakeEngine
from tests.support.rooms import LIMITS, Room


def parser() -> wire.Parser:
    """Return a parser of the core's messages and those of `session_features`."""
    found = wire.Parser()
    found.add(Watch, Unwatch, Ack, FalseAlarm)
    found.add(CameraSettings, WatchSettings, DescribeSettings, RecallSettings, GuidanceSettings)
    found.add(SpeakSettings, SpeechProgress, MicrophoneSettings, PushToTalk, Point, Goal)
    found.add(Scan, WhereWas)
    return found


def settings(**fields: Any) -> wire.Settings:
    """Build a settings message with the fields of all features."""
    message = parser().parse(json.dumps({"type": "settings", **fields}))
    assert isinstance(message, wire.Settings)
    return message


async def _nothing(
    bgr: Bgr, wish: SearchTarget, known: Box | None
) -> tuple[list[SearchHit], float]:
    return [], 0.0


async def _nothing_around(*_: Any) -> tuple[list[FoundObject], float]:
    return [], 0.0


def session_features(
    *,
    recall: RecallLimits | None = None,
    looker: Looker | None = None,
    seeker: Seeker | None = None,
    scanner: Scanner | None = None,
    voice: Voice | None = None,
    hearing: ListeningTools | None = None,
    **more: MakePart,
) -> dict[str, MakePart]:
    """Return what makes the parts that sessions have from features, in their order, and `more` by their names.

    `recall`: None: nothing is kept; `looker`: None: no guidance; `seeker`, `scanner`: None: nobody is led to
    anything, and nothing is around anybody; `voice`: None: pages read answers;
    `hearing`: None: no microphone.
    """
    nobody = ChosenRecogniser(None, lambda folder: LocalRecogniser(folder, ""), lambda: None)
    tools = hearing or ListeningTools(nobody)
    limits = recall or RecallLimits(0.0, 0)
    parts: dict[str, MakePart] = {
        "cameras": lambda context: AdditionalCameras(context, lambda session_id, camera: None),
        "watches": Watching,
        "describe": LiveDescription,
        "recall": lambda context: RecallPart(context, limits),
        "pointing": Pointing,
        "reading": lambda context: ReadingPart(context, looker),
        "voice_out": lambda context: SpeechPart(
            context, SpeechMetrics(context.services.metrics), voice
        ),
        "voice_in": lambda context: MicrophonePart(
            context, tools, context.part("voice_out") or SpeechOutput()
        ),
    }
    if looker is not None:
        seeks, scans = seeker or Seeker(_nothing), scanner or Scanner(_nothing_around)
        parts["guidance"] = lambda context: Guidance(context, looker, seeks, scans)
    return parts | more


def with_features(**options: Any) -> SessionFeatures:
    """Return those of `session_features`."""
    parts = session_features(**options)
    return SessionFeatures(list(parts), parts)


def room(
    engine: FakeEngine | None = None,
    *filters: PrivacyFilter,
    limits: SessionLimits = LIMITS,
    **features: Any,
) -> AbstractAsyncContextManager[Room]:
    """Return a `rooms.room` with `features` as of `session_features`."""
    return rooms.room(engine, *filters, limits=limits, **session_features(**features))


@asynccontextmanager
async def live_room(*about: Any, **more: Any) -> AsyncIterator[Room]:
    """A `room` whose camera is connected."""
    async with room(*about, **more) as one:
        one.camera()
        yield one
