"""Turn detection: by silence, by an end-of-turn model where one is set, or by a button."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk
from server.features.voice_in.foreground import Talker

# Silence after which the frame is taken, and default silence that ends a turn
PAUSE_SECONDS = 0.2
SILENCE_SECONDS = 0.5
LEAST_SILENCE_SECONDS, MOST_SILENCE_SECONDS = 0.2, 2.0
# Sound before the first chunk of speech included in the turn: a soft first consonant
PRE_ROLL_SECONDS = 0.3
# Maximum length of a turn
MOST_TURN_SECONDS = 30.0
# Chunks of speech that begin a turn, with at most one chunk between them
_ONSET = 2
# Minimum chunks of speech in a turn: less is a cough or a door
_LEAST_SPEECH = 5
# With fewer chunks (1 s) a turn is a word or two, which some recognisers confuse with noise.
_LITTLE_SPEECH = 31
# Minimum silence that ends a turn which may be background talk: longer, because background talk continues
_UNSURE_SECONDS = 1.1
# Share of certain chunks that makes a turn certainly the person's
_SURE_SHARE = 0.25
# Allowance for sound in transit when the button is released, seconds
_RELEASE_SECONDS = 0.15
# Chunks that may be processed together while no decision is due: a turn detected that much later still
# gets all of its sound from the ring.
_PATIENCE = 3


class TurnState(StrEnum):
    WAITING = "waiting"
    SPEECH = "speech"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """Beginning of a turn. `since`: beginning of its sound, monotonic seconds."""

    since: float


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """Silence of 200 ms in a turn. `at`: the end of speech, monotonic seconds."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """Speech after a pause: the turn continues."""


@dataclass(frozen=True, slots=True)
class CheckDue:
    """Request to check whether the turn is complete. `until`: the end of its sound so far."""

    number: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """End of a turn. `since`: beginning of its sound; `said`: end of speech; `until`: end of its sound.

    Times in monotonic seconds. `unsure`: may be somebody else's; `little`: less than 1 s of speech.
    """

    since: float
    said: float
    until: float
    unsure: bool = False
    little: bool = False


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """Cancellation of a turn: too little speech, or the microphone is off."""


TurnEvent = TurnBegan | SpeechPaused | SpeechResumed | CheckDue | TurnEnded | TurnDropped


class Turns:
    """Turn detector of one microphone; takes its chunks in order."""

    def __init__(self, *, judged: bool = False) -> None:
        """`judged`: a model is used, and each `CheckDue` expects an `answer`; else silence alone ends a turn."""
        self._rule = EndOfTurn(judged)
        self.state = TurnState.WAITING
        self._silence = SILENCE_SECONDS
        # Times of the newest chunks of speech while waiting
        self._onset: list[float] = []
        # The turn's beginning, end of the last speech, and chunks of speech
        self._since = self._said = 0.0
        self._speech = 0
        # Chunks that are certainly the person's
        self._sure = 0
        # End of the newest chunk
        self._heard = 0.0
        # Whether the button is held, and when it was released; None if it was not, and in hands-free turns
        self.held = False
        self._released: float | None = None

    @property
    def unsure(self) -> bool:
        """True if the turn may be somebody else's in the room."""
        return not self.held and self._released is None and self._sure < _SURE_SHARE * self._speech

    @property
    def patience(self) -> int:
        """Number of chunks that may be processed together without detecting a pause or an end by
        silence later than chunk by chunk.
        """
        match self.state:
            case TurnState.WAITING:
                return _PATIENCE
            case TurnState.SPEECH if self._released is None:
                # No decision is due before 200 ms of silence.
                left = (PAUSE_SECONDS - (self._heard - self._said)) / CHUNK_SECONDS
                return max(1, min(_PATIENCE, math.ceil(left - 0.5)))
        return 1

    def set_silence(self, seconds: float) -> None:
        self._silence = min(MOST_SILENCE_SECONDS, max(LEAST_SILENCE_SECONDS, seconds))

    def add(self, chunk: Chunk, voice: Talker) -> list[TurnEvent]:
        """Process the next chunk, with who speaks in it."""
        self._heard = chunk.end
        if self.state is TurnState.WAITING:
            return self._handle_onset(chunk, voice)
        events: list[TurnEvent] = []
        if voice:
            self._speech += 1
            self._sure += voice is Talker.PERSON
            self._said = chunk.end
            if self.state is TurnState.SILENCE:
                self.state = TurnState.SPEECH
                events.append(SpeechResumed())
                self._rule.begin()
        elif (
            self.state is TurnState.SPEECH
            and self._speech >= _LEAST_SPEECH
            and has_reached(chunk.end - self._said, PAUSE_SECONDS)
        ):
            self.state = TurnState.SILENCE
            events.append(SpeechPaused(self._said))
        number = self._check(chunk)
        if self._is_over(chunk):
            events.append(self._end(chunk.end))
        elif number is not None:
            events.append(CheckDue(number, self._since, chunk.end))
        return events

    def apply_check_result(
        self, number: int, complete: bool | None
    ) -> tuple[bool, list[TurnEvent]]:
        """Apply a model's answer to a `CheckDue` (None: no answer). Return whether it was used, and the events."""
        if not self._rule.store_result(number, complete):
            return False, []
        silence = self._heard - self._said
        return True, [self._end(self._heard)] if self._rule.is_over(silence, self._wanted) else []

    def press(self, now: float) -> list[TurnEvent]:
        """Begin a turn by the button, replacing the current one."""
        events: list[TurnEvent] = []
        if self.state is not TurnState.WAITING:
            events.append(self._drop())
        self.held = True
        self._begin(now - PRE_ROLL_SECONDS, speech=0, said=now)
        return [*events, TurnBegan(self._since)]

    def release(self, now: float) -> None:
        """Release the button: the turn ends with the sound of `now`, monotonic seconds."""
        if self.held:
            self.held = False
            self._released = now

    def expire(self, now: float) -> list[TurnEvent]:
        """End a turn whose button was released and whose last sound has not arrived."""
        if self._released is None or now < self._released + _RELEASE_SECONDS:
            return []
        return [self._end(self._released)]

    def give_up(self) -> list[TurnEvent]:
        """Drop the turn: the microphone is off."""
        self._onset.clear()
        return [] if self.state is TurnState.WAITING else [self._drop()]

    @property
    def _wanted(self) -> float:
        """Silence that ends the turn, seconds."""
        return max(self._silence, _UNSURE_SECONDS) if self.unsure else self._silence

    def _handle_onset(self, chunk: Chunk, voice: Talker) -> list[TurnEvent]:
        self._onset = [at for at in self._onset if chunk.at - at <= (_ONSET + 0.5) * CHUNK_SECONDS]
        if not voice:
            return []
        self._onset.append(chunk.at)
        if len(self._onset) < _ONSET:
            return []
        self._begin(self._onset[0] - PRE_ROLL_SECONDS, speech=len(self._onset), said=chunk.end)
        return [TurnBegan(self._since)]

    def _begin(self, since: float, *, speech: int, said: float) -> None:
        self.state = TurnState.SPEECH
        self._since, self._speech, self._said = since, speech, said
        self._sure = 0
        self._released = None
        self._onset.clear()
        self._rule.begin()

    def _check(self, chunk: Chunk) -> int | None:
        """Return the number of the check due after a chunk, or None if no check is due."""
        if self.held or self._released is not None or self.state is not TurnState.SILENCE:
            return None
        return self._rule.ask(chunk.end - self._said, self._wanted)

    def _is_over(self, chunk: Chunk) -> bool:
        if chunk.end - self._since >= MOST_TURN_SECONDS:
            return True
        if self._released is not None:
            return chunk.end >= self._released
        return not self.held and self._rule.is_over(chunk.end - self._said, self._wanted)

    def _end(self, until: float) -> TurnEnded | TurnDropped:
        if self._speech < _LEAST_SPEECH:
            return self._drop()
        little = self._speech < _LITTLE_SPEECH
        ended = TurnEnded(self._since, self._said, until, self.unsure, little)
        self._drop()
        return ended

    def _drop(self) -> TurnDropped:
        self.state = TurnState.WAITING
        self.held, self._released = False, None
        self._rule.begin()
        return TurnDropped()


# Decide by a model's answer whether a pause ends a turn. Pure: no clock. A turn needs at least the
# silence set by the person. If the model calls it unfinished, it continues until a later check calls
# it complete, at most for `MOST_WAIT_SECONDS`. Without an answer silence alone decides.

# Silences after which a check is due, until one calls the turn complete. Only three, because a check
# takes about 0.1 s of a core.
CHECKS = (0.2, 0.4, 0.8)
# Silence that ends a turn in any case
MOST_WAIT_SECONDS = 2.0


class EndOfTurn:
    """Decides whether a pause ends the turn. Each check has a number, and takes one answer."""

    def __init__(self, judged: bool) -> None:
        """`judged`: False if no checks are made."""
        self._has_model = judged
        self._number = 0
        self.begin()

    def begin(self) -> None:
        """Reset for the next pause; checks and answers of the previous one are discarded."""
        # Checks made in this pause
        self._count = 0
        # Number of the check without an answer yet; None if there is none
        self._asked: int | None = None
        # The last answer, True for a complete turn; None if there is none
        self._complete: bool | None = None

    def ask(self, silence: float, wanted: float) -> int | None:
        """Return the number of the check that is due, or None if no check is due. Arguments: seconds of silence."""
        due = sum(has_reached(silence, one) for one in CHECKS)
        if not self._has_model or due <= self._count or self._asked is not None or self._complete:
            return None
        if wanted >= MOST_WAIT_SECONDS:
            return None  # no answer would change anything
        self._number += 1
        self._count, self._asked = due, self._number
        return self._number

    def store_result(self, number: int, complete: bool | None) -> bool:
        """Store the answer to a check (None: no answer). Return False if the check is outdated."""
        if number != self._asked:
            return False
        self._asked, self._complete = None, complete
        return True

    def is_over(self, silence: float, wanted: float) -> bool:
        """Return True if a silence ends the turn."""
        if not has_reached(silence, wanted):
            return False
        waits = self._asked is not None or self._complete is False
        return not waits or has_reached(silence, MOST_WAIT_SECONDS)


def has_reached(silence: float, wanted: float) -> bool:
    """Return True if a silence has reached `wanted`, to the nearest chunk. Both in seconds."""
    return silence >= wanted - CHUNK_SECONDS / 2
