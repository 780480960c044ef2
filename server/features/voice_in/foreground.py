"""Distinguish the person at the microphone from background voices: a television, people in the room.

Loudness decides, by two rules. Speech softer than `near` is not the person's. `near` starts at the
level of somebody close, is raised to 14 dB below an accepted speaker, and is lowered when somebody
soft speaks alone and is rejected. Shortly after accepted speech a lower level suffices: a last "s" and
the first sound after a short pause belong to the sentence. Talk of 8 seconds without a pause of 1.2
seconds is background; from then on only louder speech counts, until 30 seconds of silence.

Loudness alone cannot distinguish a first sentence from a television. Speech is certainly the person's
if it is as loud as their earlier speech, or as somebody close; all other speech is `SOMEBODY`. Without
an answer playing, `SOMEBODY` may be very soft after a pause; over an answer the rules above hold.

In a loud room the detector reports speech for up to 0.2 s after its end. A chunk as soft as the room
therefore counts as silence, unless the detector is certain.
"""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum

import numpy as np

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk

# Hysteresis: likelihood at which speech begins, and below which it ends
_ON, _OFF = 0.5, 0.35
# Loudness is the highest level of this many chunks: that of a syllable, not of its weakest sound.
_SYLLABLE = 4
# `near` in dBFS: initial value, and bounds
FIRST_NEAR_DB = -42.0
_LEAST_NEAR_DB, _MOST_NEAR_DB = -60.0, -32.0
_BELOW_PERSON_DB = 14.0
_BELOW_SOFT_DB = 8.0
# Speech is certainly the person's: at most this much below their usual level, or this loud (dBFS)
_BELOW_USUAL_DB = 8.0
_CLOSE_DB = -27.5
# Soft first sentence: minimum level (dBFS), and the silence required before it
_LEAST_SOFT_DB = -58.0
_SOFT_AFTER_SECONDS = 3.0
# Speech within this time after the person's may be this much softer.
_GOES_ON_SECONDS = 0.25
_BELOW_GOING_ON_DB = 8.0
# Background talk: minimum length, fraction of speech in it, pause that ends a talk, level above it that
# counts, and silence after which it is forgotten
_SUSTAINED_SECONDS = 8.0
_SUSTAINED_SHARE = 0.55
_PAUSE_SECONDS = 1.2
_ABOVE_BACKGROUND_DB = 3.0
_FORGET_SECONDS = 30.0
_MOST_CHUNKS = round(_SUSTAINED_SECONDS / CHUNK_SECONDS)
# A loud room has at least this level in dBFS, measured as the 75th percentile of the last chunks
# without speech. Speech has ended at the second chunk within 2 dB of the room's level whose likelihood
# of speech is below `_SURE`.
_LOUD_ROOM_DB = -45.0
_ROOM_SHARE, _ROOM_CHUNKS, _LEAST_ROOM_CHUNKS = 75, 60, 9
_ABOVE_ROOM_DB = 2.0
_SURE = 0.95
_SUNK = 2
# Chunks between two measurements of the background
_EVERY = 16
# Chunks of speech required to estimate a person's level
_LEAST_SPEECH = 8


class Talker(IntEnum):
    """Speaker of a chunk."""

    NOBODY = 0
    # The person, or somebody else in the room
    SOMEBODY = 1
    # The person at the microphone
    PERSON = 2


class Foreground:
    """Classifier of chunks: whether the person at the microphone speaks."""

    def __init__(self) -> None:
        self._near = FIRST_NEAR_DB
        # Level of background talk, dBFS; None if there is none
        self._background: float | None = None
        # Time of the last background speech, monotonic seconds
        self._background_at = 0.0
        self._speaking = False
        # Last measured loudness of the person, dBFS; None before the first
        self._usual: float | None = None
        # True if the current speech began after a pause and may be soft
        self._soft = False
        self._levels: deque[float] = deque(maxlen=_SYLLABLE)
        # Levels of the last chunks without speech; consecutive chunks of speech as soft as the room
        self._room: deque[float] = deque(maxlen=_ROOM_CHUNKS)
        self._sunk = 0
        # Loudness of each chunk of the current talk; None: no speech
        self._talk: deque[float | None] = deque(maxlen=_MOST_CHUNKS)
        # Time of the last speech of any loudness, and of the last at least as loud as `gate`
        self._last = -math.inf
        self._near_at = -math.inf
        # Loudness of the chunks of speech since the last pause, and how many were the person's
        self._loudness: deque[float] = deque(maxlen=_MOST_CHUNKS)
        self._person = 0
        # Chunks of speech since the background was last measured
        self._unmeasured = 0

    @property
    def gate(self) -> float:
        """Minimum loudness of the person's speech, dBFS."""
        return self._near if self._background is None else max(self._near, self._background)

    @property
    def background(self) -> bool:
        """True during background talk, and until 30 s after it."""
        return self._background is not None

    def classify(self, chunk: Chunk, *, answering: bool = False) -> Talker:
        """Return who speaks; NOBODY for background talk. `answering`: an answer is playing."""
        self._levels.append(chunk.level)
        self._speaking = chunk.speech >= (_OFF if self._speaking else _ON)
        if chunk.speech < _OFF:
            self._room.append(chunk.level)
        if not self._speaking:
            self._take_silence(chunk.at)
            return Talker.NOBODY
        loudness = max(self._levels)
        if chunk.at - self._last >= _SOFT_AFTER_SECONDS:
            self._soft = True
        if answering or self._background is not None:
            self._soft = False
        near = loudness >= self.gate
        self._take_speech(chunk.at, loudness, near)
        self._sunk = self._sunk + 1 if self._is_room(chunk) else 0
        if self._sunk >= _SUNK:
            return Talker.NOBODY
        sure = _CLOSE_DB if self._usual is None else self._usual - _BELOW_USUAL_DB
        # During background talk `gate` is above its level, which suffices.
        if near and (self._background is not None or loudness >= sure):
            return Talker.PERSON
        if (
            near
            or self._continues_speech(chunk, loudness)
            or (self._soft and loudness >= _LEAST_SOFT_DB)
        ):
            return Talker.SOMEBODY
        return Talker.NOBODY

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
        """Record speech: the person's if `near`, else background."""
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

    def _continues_speech(self, chunk: Chunk, loudness: float) -> bool:
        """Return True if softer speech continues that of the person who has just spoken."""
        if chunk.at - self._near_at > _GOES_ON_SECONDS:
            return False
        softer = self._near - _BELOW_GOING_ON_DB
        return loudness >= (softer if self._background is None else max(softer, self._background))

    def _is_room(self, chunk: Chunk) -> bool:
        """Return True if a chunk is no louder than a loud room and may be its noise."""
        if chunk.speech >= _SURE or len(self._room) < _LEAST_ROOM_CHUNKS:
            return False
        room = float(np.percentile(self._room, _ROOM_SHARE))
        return room > _LOUD_ROOM_DB and chunk.level < room + _ABOVE_ROOM_DB

    def _measure(self, now: float) -> None:
        """Update the background level if the talk is long enough to be background."""
        voiced = [one for one in self._talk if one is not None]
        if len(self._talk) == _MOST_CHUNKS and len(voiced) >= _SUSTAINED_SHARE * _MOST_CHUNKS:
            loud = float(np.percentile(voiced, 95)) + _ABOVE_BACKGROUND_DB
            self._background = loud
            self._background_at = now

    def _pause(self) -> None:
        """Update the person's level from the speech since the last pause."""
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


# Barge-in: duck, pause, stop or resume the answer during speech over it. The first chunk of speech
# ducks the answer, and 60 ms of the person's speech pause it; neither loses sound. 250 ms of their
# speech within 400 ms stop it. Speech that may be somebody else's only ducks it. After 400 ms without
# speech the answer resumes at the same position.

# Chunks of speech within the last 400 ms that pause the answer, and that stop it
_PAUSE_CHUNKS, _STOP_CHUNKS = 2, 8
_WINDOW = round(0.4 / CHUNK_SECONDS)


class Loudness(IntEnum):
    """Playback state of the answer, from loud to stopped."""

    FULL = 0
    DUCKED = 1
    PAUSED = 2
    STOPPED = 3


class BargeIn:
    """Barge-in rule, for one answer at a time; `update` takes every chunk of the microphone."""

    def __init__(self) -> None:
        self._heard: deque[Talker] = deque(maxlen=_WINDOW)
        self.now = Loudness.FULL

    def update(self, chunk: Chunk, voice: Talker, *, talking: bool) -> Loudness | None:
        """Return the new playback state of the answer; None for no change.

        `voice`: who speaks in the chunk; `talking`: an answer is playing, at any loudness.
        """
        if not talking:
            self.reset()
            return None
        if self.now is Loudness.STOPPED:
            return None
        self._heard.append(voice)
        sure = sum(one is Talker.PERSON for one in self._heard)
        # SOMEBODY's chunks count, too, once enough are certainly the person's.
        count = sum(map(bool, self._heard)) if sure >= _PAUSE_CHUNKS else sure
        if count >= _STOP_CHUNKS:
            wanted = Loudness.STOPPED
        elif count >= _PAUSE_CHUNKS:
            wanted = Loudness.PAUSED
        else:
            wanted = Loudness.DUCKED if any(self._heard) else Loudness.FULL
        # Only towards softer, until no speech is left in the window
        if wanted is self.now or (wanted < self.now and wanted is not Loudness.FULL):
            return None
        self.now = wanted
        return wanted

    def reset(self) -> None:
        """Reset for the next answer."""
        self._heard.clear()
        self.now = Loudness.FULL
