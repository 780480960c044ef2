"""Find a person's turns: by silence, with a model's word where there is one, or by a button."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk
from server.features.voice_in.foreground import Voice

# Silence after which the frame is taken, and after which a turn ends unless it is set otherwise
PAUSE_SECONDS = 0.2
SILENCE_SECONDS = 0.5
LEAST_SILENCE_SECONDS, MOST_SILENCE_SECONDS = 0.2, 2.0
# Sound before the first chunk of speech that belongs to the turn: a soft first consonant
PRE_ROLL_SECONDS = 0.3
# A turn ends at this length in any case.
MOST_TURN_SECONDS = 30.0
# Chunks of speech that begin a turn, within one more
_ONSET = 2
# With fewer chunks of speech a turn was no word: a cough, a door
_LEAST_SPEECH = 5
# With fewer chunks (1 s) it was a word or two: noise for some recognisers
_LITTLE_SPEECH = 31
# Silence that ends the turn of somebody who may be talk in the room, which goes on: nobody waits for an answer there
_UNSURE_SECONDS = 1.1
# With this share of a turn's chunks it is surely the person's.
_SURE_SHARE = 0.25
# Sound on its way when the button is released
_RELEASE_SECONDS = 0.15
# Chunks that may be heard together while nothing is to be decided: a turn that begins so much later
# has all of its sound all the same.
_PATIENCE = 3


class TurnState(StrEnum):
    WAITING = "waiting"
    SPEECH = "speech"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Began:
    """A turn has begun. `since`: the beginning of its sound, monotonic seconds."""

    since: float


@dataclass(frozen=True, slots=True)
class Paused:
    """The person has been silent for 200 ms. `at`: the end of speech."""

    at: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The person goes on: the pause was not the end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model is to say whether the turn is complete. `until`: the end of its sound so far."""

    number: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over: the end of speech and of its sound.

    `unsure`: perhaps somebody else's; `little`: with less than a second of speech.
    """

    since: float
    said: float
    until: float
    unsure: bool = False
    little: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """The speech was no turn: too little, or given up."""


TurnEvent = Began | Paused | Resumed | Asked | Ended | Dropped


class Turns:
    """The turns of one microphone, chunk by chunk in order."""

    def __init__(self, *, judged: bool = False) -> None:
        """`judged`: a model's word counts, and each `Asked` wants an `answer`; else silence alone ends a turn."""
        self._rule = EndOfTurn(judged)
        self.state = TurnState.WAITING
        self._silence = SILENCE_SECONDS
        # Speech of the newest chunks while waiting
        self._onset: list[float] = []
        # Of the turn: its beginning, the end of the last speech, and the chunks of speech
        self._since = self._said = 0.0
        self._speech = 0
        # Those of them that are surely the person's
        self._sure = 0
        # The end of the newest chunk
        self._heard = 0.0
        # The button is held; after that, the time at which it was released
        self.held = False
        self._released: float | None = None

    @property
    def unsure(self) -> bool:
        """True for a turn that may be somebody else's in the room."""
        return not self.held and self._released is None and self._sure < _SURE_SHARE * self._speech

    @property
    def patience(self) -> int:
        """The number of further chunks that may be heard together: each pause, and each end by
        silence, is known as early as it is chunk by chunk.
        """
        match self.state:
            case TurnState.WAITING:
                return _PATIENCE
            case TurnState.SPEECH if self._released is None:
                # 200 ms of silence come first.
                left = (PAUSE_SECONDS - (self._heard - self._said)) / CHUNK_SECONDS
                return max(1, min(_PATIENCE, math.ceil(left - 0.5)))
        return 1

    def set_silence(self, seconds: float) -> None:
        self._silence = min(MOST_SILENCE_SECONDS, max(LEAST_SILENCE_SECONDS, seconds))

    def hear(self, chunk: Chunk, voice: Voice) -> list[TurnEvent]:
        """Take the next chunk, and who speaks in it."""
        self._heard = chunk.end
        if self.state is TurnState.WAITING:
            return self._onset_of(chunk, voice)
        events: list[TurnEvent] = []
        if voice:
            self._speech += 1
            self._sure += voice is Voice.PERSON
            self._said = chunk.end
            if self.state is TurnState.SILENCE:
                self.state = TurnState.SPEECH
                events.append(Resumed())
                self._rule.begin()
        elif (
            self.state is TurnState.SPEECH
            and self._speech >= _LEAST_SPEECH
            and reached(chunk.end - self._said, PAUSE_SECONDS)
        ):
            self.state = TurnState.SILENCE
            events.append(Paused(self._said))
        number = self._check(chunk)
        if self._over(chunk):
            events.append(self._end(chunk.end))
        elif number is not None:
            events.append(Asked(number, self._since, chunk.end))
        return events

    def answer(self, number: int, complete: bool | None) -> tuple[bool, list[TurnEvent]]:
        """Take a model's answer to an `Asked`, None for none. Returns whether it was of use."""
        if not self._rule.answer(number, complete):
            return False, []
        silence = self._heard - self._said
        return True, [self._end(self._heard)] if self._rule.over(silence, self._wanted) else []

    def press(self, now: float) -> list[TurnEvent]:
        """The button is held from now on: a turn begins, in place of the one before."""
        events: list[TurnEvent] = []
        if self.state is not TurnState.WAITING:
            events.append(self._drop())
        self.held = True
        self._begin(now - PRE_ROLL_SECONDS, speech=0, said=now)
        return [*events, Began(self._since)]

    def release(self, now: float) -> None:
        """The button is released: the turn ends with the sound of this time."""
        if self.held:
            self.held = False
            self._released = now

    def expire(self, now: float) -> list[TurnEvent]:
        """End a turn whose button was released when no sound of that time has come."""
        if self._released is None or now < self._released + _RELEASE_SECONDS:
            return []
        return [self._end(self._released)]

    def give_up(self) -> list[TurnEvent]:
        """Drop the turn: the microphone is off."""
        self._onset.clear()
        return [] if self.state is TurnState.WAITING else [self._drop()]

    @property
    def _wanted(self) -> float:
        """The silence that ends the turn, seconds."""
        return max(self._silence, _UNSURE_SECONDS) if self.unsure else self._silence

    def _onset_of(self, chunk: Chunk, voice: Voice) -> list[TurnEvent]:
        self._onset = [at for at in self._onset if chunk.at - at <= (_ONSET + 0.5) * CHUNK_SECONDS]
        if not voice:
            return []
        self._onset.append(chunk.at)
        if len(self._onset) < _ONSET:
            return []
        self._begin(self._onset[0] - PRE_ROLL_SECONDS, speech=len(self._onset), said=chunk.end)
        return [Began(self._since)]

    def _begin(self, since: float, *, speech: int, said: float) -> None:
        self.state = TurnState.SPEECH
        self._since, self._speech, self._said = since, speech, said
        self._sure = 0
        self._released = None
        self._onset.clear()
        self._rule.begin()

    def _check(self, chunk: Chunk) -> int | None:
        """Return the number of the check to make after a chunk, None for none."""
        if self.held or self._released is not None or self.state is not TurnState.SILENCE:
            return None
        return self._rule.ask(chunk.end - self._said, self._wanted)

    def _over(self, chunk: Chunk) -> bool:
        if chunk.end - self._since >= MOST_TURN_SECONDS:
            return True
        if self._released is not None:
            return chunk.end >= self._released
        return not self.held and self._rule.over(chunk.end - self._said, self._wanted)

    def _end(self, until: float) -> Ended | Dropped:
        if self._speech < _LEAST_SPEECH:
            return self._drop()
        little = self._speech < _LITTLE_SPEECH
        ended = Ended(self._since, self._said, until, self.unsure, little)
        self._drop()
        return ended

    def _drop(self) -> Dropped:
        self.state = TurnState.WAITING
        self.held, self._released = False, None
        self._rule.begin()
        return Dropped()


# Decide by a model's word whether a pause may end a turn. Pure: silence and answers in, no clock.
# The person's own silence is the least that ends a turn. A model that calls the turn unfinished
# makes it wait for longer: until a later check calls it complete, at most for
# `MOST_WAIT_SECONDS`. Without an answer the silence alone decides.

# Silence after which the model is asked, as long as it has not called the turn complete. A check
# takes about 0.1 s of a core, so there are no more.
CHECKS = (0.2, 0.4, 0.8)
# Silence that ends a turn whatever the model says
MOST_WAIT_SECONDS = 2.0


class EndOfTurn:
    """The rule for one pause after the other. Each check has a number, and takes one answer."""

    def __init__(self, judged: bool) -> None:
        """`judged`: False for no checks."""
        self._judged = judged
        self._number = 0
        self.begin()

    def begin(self) -> None:
        """Note that somebody speaks: what was asked or answered about the pause before holds no more."""
        # Checks of this pause so far
        self._count = 0
        # The one without an answer yet; None without any
        self._asked: int | None = None
        # The last answer, True for a turn that is complete; None without any
        self._complete: bool | None = None

    def ask(self, silence: float, wanted: float) -> int | None:
        """Return the number of the check to make now, None for none. `wanted`: the person's silence."""
        due = sum(reached(silence, one) for one in CHECKS)
        if not self._judged or due <= self._count or self._asked is not None or self._complete:
            return None
        if wanted >= MOST_WAIT_SECONDS:
            return None  # no answer would change anything
        self._number += 1
        self._count, self._asked = due, self._number
        return self._number

    def answer(self, number: int, complete: bool | None) -> bool:
        """Take the answer to a check, None for none; returns False where it is of no use any more."""
        if number != self._asked:
            return False
        self._asked, self._complete = None, complete
        return True

    def over(self, silence: float, wanted: float) -> bool:
        """Find whether a silence ends the turn."""
        if not reached(silence, wanted):
            return False
        waits = self._asked is not None or self._complete is False
        return not waits or reached(silence, MOST_WAIT_SECONDS)


def reached(silence: float, wanted: float) -> bool:
    """Compare a silence of whole chunks with a wish, to the nearest chunk."""
    return silence >= wanted - CHUNK_SECONDS / 2
