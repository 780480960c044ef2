"""Tell the person at the microphone from voices behind them: a television, people in the room.

Speech alone does not say whose it is, so its loudness decides, by two rules. Speech softer than
`near` is not the person's: the level of somebody close to begin with, raised to 14 dB below
somebody who was heard, and lowered when somebody soft speaks alone and is not heard. Somebody who
has just spoken may be softer: a last "s" and the first sound after a short pause belong to the sentence. Talk
that goes on for 8 seconds without a pause of 1.2 seconds is a background; from then on only speech
louder than it counts, until it has been silent for 30 seconds.

Loudness alone does not tell a first sentence from a television's. Speech is surely the person's when it is as loud as they
were before, or as somebody close is; anybody else is `SOMEBODY`. While no answer is heard that may be very soft, after a
pause; over an answer it has to be as loud as above.

In a loud room the detector reports speech for up to 0.2 s after its end. A chunk as soft as the room
is therefore no speech, unless the detector is sure.
"""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum

import numpy as np

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk

# Likelihood from which speech begins, and below which it ends
_ON, _OFF = 0.5, 0.35
# Loudness is the highest level of so many chunks: a syllable, not its weakest sound.
_SYLLABLE = 4
# `near` in dBFS: at first, and its bounds
FIRST_NEAR_DB = -42.0
_LEAST_NEAR_DB, _MOST_NEAR_DB = -60.0, -32.0
_BELOW_PERSON_DB = 14.0
_BELOW_SOFT_DB = 8.0
# The person is surely who speaks: no softer than they usually do by this, or so loud
_BELOW_USUAL_DB = 8.0
_CLOSE_DB = -27.5
# A soft first sentence, in a room where nobody has spoken for so long
_LEAST_SOFT_DB = -58.0
_SOFT_AFTER_SECONDS = 3.0
# Speech within this time of the person's own may be this much softer.
_GOES_ON_SECONDS = 0.25
_BELOW_GOING_ON_DB = 8.0
# A background: its least length, the share of speech in it, the pause that ends it
_SUSTAINED_SECONDS = 8.0
_SUSTAINED_SHARE = 0.55
_PAUSE_SECONDS = 1.2
_ABOVE_BACKGROUND_DB = 3.0
_FORGET_SECONDS = 30.0
_MOST_CHUNKS = round(_SUSTAINED_SECONDS / CHUNK_SECONDS)
# A loud room has at least this level, dBFS; its level is that of three quarters of the last chunks
# without speech. Speech has ended with the second chunk that is no louder than it, by this much, and
# less likely speech than this.
_LOUD_ROOM_DB = -45.0
_ROOM_SHARE, _ROOM_CHUNKS, _LEAST_ROOM_CHUNKS = 75, 60, 9
_ABOVE_ROOM_DB = 2.0
_SURE = 0.95
_SUNK = 2
# Chunks between two measurements of the background
_EVERY = 16
# Shorter sounds say nothing of a person's level.
_LEAST_SPEECH = 8


class Voice(IntEnum):
    """The one who speaks in a chunk."""

    NOBODY = 0
    # Perhaps the person, perhaps somebody else in the room
    SOMEBODY = 1
    # The person at the microphone
    PERSON = 2


class Foreground:
    """Decides of each chunk whether it is speech of the person at the microphone."""

    def __init__(self) -> None:
        self._near = FIRST_NEAR_DB
        # Speech below it is a background's; None without one
        self._background: float | None = None
        # Time of the last speech of a background
        self._background_at = 0.0
        self._speaking = False
        # Loudness of the person, dBFS, as it was heard last; None before
        self._usual: float | None = None
        # The soft speech of now began after a pause.
        self._soft = False
        self._levels: deque[float] = deque(maxlen=_SYLLABLE)
        # Levels of the last chunks without speech, and chunks of speech as soft as they are
        self._room: deque[float] = deque(maxlen=_ROOM_CHUNKS)
        self._sunk = 0
        # Loudness of each chunk of the talk that goes on; None: no speech
        self._talk: deque[float | None] = deque(maxlen=_MOST_CHUNKS)
        # Time of the last speech of any loudness, and of the last that was loud enough by itself
        self._last = -math.inf
        self._near_at = -math.inf
        # Loudness of the chunks since the last pause, and how many of them were the person's
        self._loudness: deque[float] = deque(maxlen=_MOST_CHUNKS)
        self._person = 0
        # Chunks of speech since the last measurement of the background
        self._unmeasured = 0

    @property
    def gate(self) -> float:
        """Loudness from which speech is the person's, dBFS."""
        return self._near if self._background is None else max(self._near, self._background)

    @property
    def background(self) -> bool:
        """True while talk in the room goes on, or did a short while ago."""
        return self._background is not None

    def hears(self, chunk: Chunk, *, answering: bool = False) -> Voice:
        """Return who speaks, as far as they speak to us. `answering`: an answer is heard."""
        self._levels.append(chunk.level)
        self._speaking = chunk.speech >= (_OFF if self._speaking else _ON)
        if chunk.speech < _OFF:
            self._room.append(chunk.level)
        if not self._speaking:
            self._take_silence(chunk.at)
            return Voice.NOBODY
        loudness = max(self._levels)
        if chunk.at - self._last >= _SOFT_AFTER_SECONDS:
            self._soft = True
        if answering or self._background is not None:
            self._soft = False
        near = loudness >= self.gate
        self._take_speech(chunk.at, loudness, near)
        self._sunk = self._sunk + 1 if self._is_room(chunk) else 0
        if self._sunk >= _SUNK:
            return Voice.NOBODY
        sure = _CLOSE_DB if self._usual is None else self._usual - _BELOW_USUAL_DB
        # Louder than the talk in the room is loud enough.
        if near and (self._background is not None or loudness >= sure):
            return Voice.PERSON
        if near or self._goes_on(chunk, loudness) or (self._soft and loudness >= _LEAST_SOFT_DB):
            return Voice.SOMEBODY
        return Voice.NOBODY

    def _take_silence(self, now: float) -> None:
        """End the talk after a pause, and the background after a long one."""
        self._sunk = 0
        if self._talk:
            self._talk.append(None)
        if self._loudness and now - self._last >= _PAUSE_SECONDS:
            self._pause()
        if self._background is not None and now - self._background_at >= _FORGET_SECONDS:
            self._background = None

    def _take_speech(self, now: float, loudness: float, near: bool) -> None:
        """Note speech: of the person, if it is `near`, or else of a background."""
        self._last = now
        if near:
            self._near_at = now
        self._loudness.append(loudness)
        self._person += near
        if self._background is None or not near:
            self._talk.append(loudness)
            if self._background is not None:
                self._background_at = now
            self._unmeasured += 1
            if self._unmeasured >= _EVERY:
                self._unmeasured = 0
                self._measure(now)

    def _goes_on(self, chunk: Chunk, loudness: float) -> bool:
        """Find whether softer speech is that of the person who has just spoken."""
        if chunk.at - self._near_at > _GOES_ON_SECONDS:
            return False
        softer = self._near - _BELOW_GOING_ON_DB
        return loudness >= (softer if self._background is None else max(softer, self._background))

    def _is_room(self, chunk: Chunk) -> bool:
        """Find whether a chunk is no louder than a loud room, and may be its noise."""
        if chunk.speech >= _SURE or len(self._room) < _LEAST_ROOM_CHUNKS:
            return False
        room = float(np.percentile(self._room, _ROOM_SHARE))
        return room > _LOUD_ROOM_DB and chunk.level < room + _ABOVE_ROOM_DB

    def _measure(self, now: float) -> None:
        """Find whether the talk is a background."""
        voiced = [one for one in self._talk if one is not None]
        if len(self._talk) == _MOST_CHUNKS and len(voiced) >= _SUSTAINED_SHARE * _MOST_CHUNKS:
            loud = float(np.percentile(voiced, 95)) + _ABOVE_BACKGROUND_DB
            self._background = loud
            self._background_at = now

    def _pause(self) -> None:
        """Learn how loud the person is from the speech since the last pause."""
        if len(self._loudness) >= _LEAST_SPEECH:
            usual = float(np.percentile(list(self._loudness), 75))
            if self._person >= len(self._loudness) / 3:
                self._near = max(self._near, min(_MOST_NEAR_DB, usual - _BELOW_PERSON_DB))
                self._usual = usual
            elif self._background is None:
                self._near = max(_LEAST_NEAR_DB, min(self._near, usual - _BELOW_SOFT_DB))
        self._loudness.clear()
        self._talk.clear()
        self._person = 0
        self._soft = False


# React to speech over the answer: lower it at once, hush it, stop it, or let it go on.  The first
# chunk of speech lowers the answer, and the person's of 60 ms hushes it; nothing is lost so far.
# Their speech of 250 ms within 400 ms stops it. Who may be somebody else in the room lowers it,
# no more. After 400 ms without speech it goes on where it was.

# Speech that hushes the answer and that stops it, in chunks of the last 400 ms
_HUSH, _STOP = 2, 8
_WINDOW = round(0.4 / CHUNK_SECONDS)


class Loudness(IntEnum):
    """The loudness at which the answer is played, from louder to softer."""

    FULL = 0
    LOWERED = 1
    HUSHED = 2
    STOPPED = 3


class BargeIn:
    """The rule for one answer after the other: `hear` gets each chunk of the microphone."""

    def __init__(self) -> None:
        self._heard: deque[Voice] = deque(maxlen=_WINDOW)
        self.now = Loudness.FULL

    def hear(self, chunk: Chunk, voice: Voice, *, talking: bool) -> Loudness | None:
        """Return how the answer is to be played from now on, or None for no change.

        `voice`: who speaks in the chunk; `talking`: an answer is played, however softly.
        """
        if not talking:
            self.reset()
            return None
        if self.now is Loudness.STOPPED:
            return None
        self._heard.append(voice)
        sure = sum(one is Voice.PERSON for one in self._heard)
        # The weaker chunks of the person's own words count, once they are surely theirs.
        count = sum(map(bool, self._heard)) if sure >= _HUSH else sure
        if count >= _STOP:
            wanted = Loudness.STOPPED
        elif count >= _HUSH:
            wanted = Loudness.HUSHED
        else:
            wanted = Loudness.LOWERED if any(self._heard) else Loudness.FULL
        # Softer only, until nothing is heard any more
        if wanted is self.now or (wanted < self.now and wanted is not Loudness.FULL):
            return None
        self.now = wanted
        return wanted

    def reset(self) -> None:
        """Begin with the next answer."""
        self._heard.clear()
        self.now = Loudness.FULL
