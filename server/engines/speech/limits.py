"""The time limits of a speech server. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.time_limits import Seconds


@dataclass(frozen=True, slots=True)
class SpeechLimits(Seconds):
    """Seconds; the defaults are those of a recogniser."""

    connect: float = 3.0
    # From sending the request, or the end of the speech, to the first piece
    first: float = 20.0
    between: float = 10.0
    # The whole answer
    total: float = 60.0
    probe: float = 5.0


@dataclass(frozen=True, slots=True)
class VoiceLimits(SpeechLimits):
    """The limits of a voice; `total` is for all of a text's sound.

    Whoever listens waits for it: after these the browser's own voice reads on.
    """

    first: float = 2.0
    between: float = 2.0
    total: float = 120.0
