"""The settings of every session, and the parts that all sessions share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from server.core.metrics import Metrics
from server.inference import Inference
from server.media.picture.planes import Scratch
from server.media.picture.prepare import PicturePreparer
from server.models.base import Engine


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
    # Tells a text's language, for its voice; None where it is not known
    language_of: Callable[[str], str | None] = lambda _: None
