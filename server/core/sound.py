"""Sound between a microphone and those who use it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Samples a second of all sound that comes in; recognisers and speech detectors expect this rate.
SOUND_RATE = 16_000


class MicrophoneMode(StrEnum):
    """Way in which a person's microphone is heard."""

    # It is not heard.
    OFF = "off"
    # Speech itself begins and ends a turn.
    HANDS_FREE = "hands_free"
    # A button is held while somebody speaks.
    PUSH = "push"


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A piece of what a microphone heard: mono, 16 bits, `SOUND_RATE`."""

    # Shape (samples,)
    samples: NDArray[np.int16]
    # Estimated time of the first sample, seconds on this machine's monotonic clock (short by the
    # path's shortest delay), as `Frame.captured`.
    captured: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / SOUND_RATE

    @property
    def end(self) -> float:
        """The time after its last sample, monotonic seconds."""
        return self.captured + self.seconds


class SoundUse(StrEnum):
    """The fate of the sound that belongs to a question or its frames."""

    # The model got it.
    HEARD = "heard"
    # The text went alone, because the model cannot hear.
    DEAF = "deaf"
    # The text went alone: there was no sound.
    MISSING = "missing"
    # The text went alone: there was no sound worth the name.
    EMPTY = "empty"
    # The text went alone: the sound was longer than 60 s.
    TOO_LONG = "too_long"
    # The text went alone: the sound could not be decoded.
    UNDECODABLE = "undecodable"
    # The text went alone, because the engine refused the sound.
    REFUSED = "refused"
