"""The settings of every session, and the parts that all sessions share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from server.attention.planes import Scratch
from server.core.metrics import Metrics
from server.engines.base import Engine
from server.engines.speech.base import Recogniser, Voice
from server.inference import Inference
from server.vision.prepare import PicturePreparer
from server.voice.detector import SpeechModel
from server.voice.turn_judge import TurnJudge


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The part of the settings that applies to every session."""

    sample_rate: float
    # Tokens of an answer
    max_tokens: int
    # Tokens of prompt and answer together; an engine's own smaller limit holds.
    context_length: int
    # Seconds without activity after which a session ends
    timeout: int
    # Of the change gate, 0.25 to 4
    sensitivity: float = 1.0
    # Visual tokens of one session's background work
    background_tokens_per_minute: int = 30_000


@dataclass(frozen=True, slots=True)
class SessionTools:
    """The parts that all sessions share."""

    inference: Inference
    current_engine: Callable[[], Engine]
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics
    # Working memory of all change gates
    scratch: Scratch
    # None: spoken questions need an engine that hears
    recogniser: Recogniser | None = None
    # Finds speech in what microphones send; None: the server takes no microphone
    speech_model: SpeechModel | None = None
    # Threads of the detectors; None: a thread of the event loop's own
    hear_pool: ThreadPoolExecutor | None = None
    # Hears whether a turn is complete; None: silence alone ends it
    turn_judge: TurnJudge | None = None
    # Speaks answers; None: pages do it with their browser's own voice.
    voice: Voice | None = None
    # Tells a text's language, for its voice; None where it is not known
    language_of: Callable[[str], str | None] = lambda _: None
