"""Speech of one session's answers: send pieces to the voice while the answer is written.

If the engine produces sound itself, that is played, and no voice is used. Without a ready voice, or
without a connection for sound, the page reads the pieces with the browser's voice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.core.aio import run_in_pool
from server.core.metrics import Metrics
from server.core.sound import VoiceChunk
from server.features.voice_out.messages import Say, SpeakingState, SpeakSettings, SpeechProgress
from server.features.voice_out.sentences import Sentences, SpokenPiece, cut_text
from server.session.part import SessionContext, SessionPart, SpeechOutput
from server.shared.services import LanguageDetector
from server.shared.sound.line import RATE, VoiceLine
from server.shared.speech import SpeechError, SpeechTimeout

log = logging.getLogger(__name__)
# Loudness of a ducked answer, 0 to 1
DUCKED_LOUDNESS = 0.2
# Maximum speech synthesised ahead of playback, seconds: more is wasted by an interruption.
AHEAD_SECONDS = 8.0
# Maximum time that the voice waits for the player, because other sessions may need the voice. After it,
# the rest of a piece is queued in the player.
STALL_SECONDS = 3.0
# Stop an answer after this time without a connection for sound.
LISTENER_GONE_SECONDS = 30.0
# After this many late texts within this time the page reads all answers, so that two voices do not alternate.
_MOST_LATE, LATE_SECONDS = 2, 600.0
# Interval for polling the player's position
_LOOK_SECONDS = 0.05


class Voice(Protocol):
    """Interface of a voice. Methods raise SpeechError and nothing else."""

    @property
    def ready(self) -> bool:
        """True if it can take text, as far as is known without a request."""
        ...

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that receives the texts; "" if they stay on this one."""
        ...

    def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """Stream the sound of a text. `language`: BCP 47; None lets the voice decide.

        Closing the generator (`aclose`) or cancelling its consumer stops the work at once.
        """
        ...


class SpeechMetrics:
    """Metrics of spoken answers in all sessions."""

    def __init__(self, metrics: Metrics) -> None:
        # reason: voice, user, typing, replaced
        self.stopped = metrics.counter(
            "speech_stopped_total", "Spoken answers that somebody interrupted", "reason"
        )
        self.failures = metrics.counter(
            "speech_failures_total", "Pieces of answers that the voice did not speak", "code"
        )
        self.by_page = metrics.counter(
            "speech_by_page_total", "Pieces of answers that a page read with its own voice"
        )
        self.dropped = metrics.counter(
            "speech_dropped_seconds_total", "Speech that did not fit into a listener's queue"
        )
        self.first_chunk = metrics.seconds(
            "speech_first_chunk_seconds", "From a piece of text to its first sound"
        )


class SpeechPart(SessionPart, SpeechOutput):
    """The speech of one session's answers, one at a time: see `SpeechOutput`. All methods are called on the event loop."""

    def __init__(
        self,
        context: SessionContext,
        metrics: SpeechMetrics,
        voice: Voice | None,
        detect: LanguageDetector | None = None,
    ) -> None:
        """`detect`: detects an answer's language; None: unknown language."""
        self._line = VoiceLine.of(context.lines)
        self._voice, self._detect = voice, detect
        self._outbox = context.outbox
        self._metrics = metrics
        self._tasks = context.tasks
        self._context = context
        # Without consent to send answers to the voice's machine, the page reads them.
        self._consent = context.requests.consent.purpose(
            "voice_out", "Answers", self._find_other_holder
        )
        # Whether the person wants spoken answers
        self.wanted = False
        # Times of the last late texts, monotonic seconds
        self._late: deque[float] = deque(maxlen=_MOST_LATE)
        # The answer being spoken; None if there is none
        self._now: Utterance | None = None
        # Id of an answer that began while speech was off, until its first word; "" if there is none
        self._unspoken = ""
        self._task: asyncio.Task[None] | None = None
        # Set when the task has new work
        self._news = asyncio.Event()
        self._state = ""
        # Dropped samples of the player that were already counted
        self._dropped = 0
        self.handlers = {SpeakSettings: self._set, SpeechProgress: self.on_page_progress}
        context.set_speech(self)

    def ready(self) -> dict[str, Any]:
        return {
            "voice": self._voice is not None and self._voice.ready,
            "elsewhere": self._find_other_holder(),
            "confirmed": self._consent.given,
            "speak": self.wanted,
        }

    def _find_other_holder(self) -> str:
        return self._voice.elsewhere if self._voice is not None else ""

    def _set(self, message: SpeakSettings) -> None:
        if message.speak is None or message.speak == self.wanted:
            return
        self.wanted = message.speak
        if not message.speak:
            self.drop()
            return
        if self._unspoken:
            # Switched on while the model thinks, or on a slow link just before the question
            self.begin(self._unspoken)

    async def _detect_language(self, answer: str) -> str | None:
        """Return the language set by the client, else the text's (in a thread: the first call is slow)."""
        chosen, detect = self._context.requests.preferences.language, self._detect
        if chosen or detect is None:
            return chosen or None
        return await run_in_pool(self._context.services.prepare_pool, detect, answer)

    @property
    def can_play(self) -> bool:
        return self.wanted and self._line.connected

    @property
    def id(self) -> str:
        return self._now.id if self._now is not None else ""

    @property
    def talking(self) -> bool:
        return self._now is not None

    @property
    def audible(self) -> bool:
        return self._now is not None and bool(self._now.get_text_heard(self._line.player.played))

    @property
    def is_playing_back(self) -> bool:
        return self._now is not None and self._now.is_behind(self._line.player.played)

    # The answer

    def begin(self, id: str, *, by_engine: bool = False) -> None:
        self.drop()
        if not self.wanted:
            self._unspoken = id
            return
        by_engine = by_engine and self._line.connected
        ready = self._ready
        self._now = now = Utterance(id, by_page=not (ready or by_engine), by_engine=by_engine)
        if ready or by_engine:
            self._line.player.begin()
        self._news.clear()
        self._task = self._tasks.spawn(self._speak(now), name="speaking")

    def write(self, id: str, text: str) -> None:
        if (now := self._note_written(id)) is not None:
            now.write(text)
            if now.waiting:
                self._news.set()

    def play(self, id: str, chunk: VoiceChunk) -> None:
        now = self._now
        if now is None or now.id != id or not now.by_engine:
            return
        player = self._line.player
        before = player.waiting
        player.play(chunk.samples, chunk.rate)
        now.sounded += player.waiting - before

    def finish(self, id: str) -> None:
        if (now := self._note_written(id)) is not None:
            now.finish()
            self._news.set()
            self._end_if_read()

    # Interruptions

    def duck(self) -> None:
        self._play("lowered", DUCKED_LOUDNESS)

    def pause(self) -> None:
        self._play("paused", None)

    def restore(self) -> None:
        self._play("speaking", 1.0)

    def _play(self, state: str, loudness: float | None) -> None:
        if self._now is not None:
            if loudness is not None:
                self._line.player.duck(loudness)
            self._line.player.pause(loudness is None)
            self._report(state)

    def interrupt(self, reason: str = "voice") -> str:
        now = self._now
        if now is None:
            return ""
        heard = now.get_text_heard(self._line.player.played)
        self._metrics.stopped.labels(reason).inc()
        self._end("stopped")
        self._context.on_interrupted(now.id, heard, reason)
        return heard

    def drop(self) -> None:
        self._unspoken = ""
        if self._now is not None:
            self._end("stopped")

    def _note_written(self, id: str) -> Utterance | None:
        """Note that text of an answer was written: speech can no longer begin. Return it if it is spoken."""
        if self._unspoken == id:
            self._unspoken = ""
        return self._now if self.id == id else None

    def on_page_progress(self, message: SpeechProgress) -> None:
        """Store how far the browser's voice has read an answer."""
        if self._now is not None and self._now.id == message.id and self._now.by_page:
            self._now.read(message.end)
            self._end_if_read()

    def stop(self) -> None:
        self.wanted = False
        self.drop()

    # Speech of a piece

    @property
    def _ready(self) -> bool:
        if self._voice is None or not self._voice.ready or not self._line.connected:
            return False
        late = len(self._late) == _MOST_LATE and time.monotonic() - self._late[0] < LATE_SECONDS
        return not late and self._consent.given

    async def _speak(self, now: Utterance) -> None:
        """Speak an answer while it is written, as a task of the session."""
        following = asyncio.create_task(self._follow(now), name="speaking/follow")
        try:
            await self._await_engine_speech(now)
            while not now.by_engine:
                while now.waiting:
                    piece = now.waiting.pop(0)
                    if not now.by_page:
                        await self._say(now, piece)
                    else:
                        self._let_page_read(now, piece)
                if now.whole:
                    break
                self._news.clear()
                await self._news.wait()
            if now.by_page:
                # `on_page_progress` ends the answer.
                return
            self._line.player.finish()
            while self._line.player.talking:
                await asyncio.sleep(_LOOK_SECONDS)
            self._task = None
            self._end("done")
        except Exception:
            # A bug must not leave an answer without an end; the task set logs it.
            self._task = None
            self.drop()
            raise
        finally:
            following.cancel()

    async def _await_engine_speech(self, now: Utterance) -> None:
        """Wait for the end of an answer spoken by its engine. Without any sound, leave it to the voice."""
        while now.by_engine and not now.whole:
            self._news.clear()
            await self._news.wait()
        if now.by_engine and not now.sounded:
            now.by_engine, now.by_page = False, not self._ready

    async def _say(self, now: Utterance, piece: SpokenPiece) -> None:
        """Speak a piece by the voice; if that fails, leave it and all later ones to the page."""
        assert self._voice is not None
        player = self._line.player
        while player.waiting > AHEAD_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
        asked, rate, begun, stalled = time.monotonic(), RATE, False, False
        fade = CrossFade()
        try:
            language = await self._detect_language(now.get_text_until(piece))
            speaking = self._voice.speak(piece.text, language=language)
            async with aclosing(speaking) as chunks:
                async for chunk in chunks:
                    if not begun:
                        begun = True
                        self._metrics.first_chunk.observe(time.monotonic() - asked)
                        now.marks.append(PieceTiming(piece, player.played + player.waiting))
                    rate = chunk.rate
                    player.play(fade.add(chunk.samples), rate)
                    # Synthesis may be far faster than playback.
                    stalled = stalled or await self._wait_for_room()
        except SpeechError as error:
            self._metrics.failures.labels(error.code).inc()
            if isinstance(error, SpeechTimeout):
                self._late.append(time.monotonic())
            log.warning("speech synthesis failed", extra={"reason": error.message})
            if not begun:
                # The page must not read over sound that is still playing.
                player.finish()
                while player.talking:
                    await asyncio.sleep(_LOOK_SECONDS)
                now.by_page = True
                self._let_page_read(now, piece)
        if begun:
            player.play(fade.end(), rate)
            now.marks[-1].end = player.played + player.waiting

    async def _wait_for_room(self) -> bool:
        """Wait until the player has room. Return True if nothing was played for `STALL_SECONDS`."""
        player = self._line.player
        played, since = player.played, time.monotonic()
        while player.waiting > 2 * AHEAD_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
            if player.played != played:
                played, since = player.played, time.monotonic()
            elif time.monotonic() - since >= STALL_SECONDS:
                return True
        return False

    def _let_page_read(self, now: Utterance, piece: SpokenPiece) -> None:
        self._metrics.by_page.inc()
        self._outbox.put(Say(id=now.id, text=piece.text, start=piece.start, end=piece.end))

    async def _follow(self, now: Utterance) -> None:
        """Report each piece when it is played; stop the answer after `LISTENER_GONE_SECONDS` without a listener."""
        shown: SpokenPiece | None = None
        there = time.monotonic()
        while self._now is now:
            if now.by_page or self._line.connected:
                there = time.monotonic()
            elif time.monotonic() - there >= LISTENER_GONE_SECONDS:
                self.drop()
                return
            piece = now.find_piece(self._line.player.played)
            if piece is not shown and self._line.player.played > 0:
                shown = piece
                self._report(self._state if self._state in ("lowered", "paused") else "speaking")
            await asyncio.sleep(_LOOK_SECONDS)

    def _end_if_read(self) -> None:
        now = self._now
        if now is not None and now.by_page and now.read_whole:
            self._end("done")

    def _report(self, state: str) -> None:
        assert self._now is not None
        self._state = state
        piece = self._now.find_piece(self._line.player.played)
        heard = {} if piece is None else asdict(piece)
        self._outbox.put(SpeakingState(id=self._now.id, state=state, **heard))

    def _end(self, state: str) -> None:
        now, self._now = self._now, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        player = self._line.player
        player.discard()
        self._metrics.dropped.inc((player.dropped - self._dropped) / RATE)
        self._dropped = player.dropped
        self._state = ""
        if now is not None:
            self._outbox.put(SpeakingState(id=now.id, state=state))


# Speech of one answer: its pieces, when each is played, and how much was heard. Pure.

# Typical speed of speech
_CHARS_A_SECOND = 15.0


@dataclass(slots=True)
class PieceTiming:
    """Time range of a piece in the answer's sound, in seconds from its beginning."""

    piece: SpokenPiece
    begin: float
    # None while more sound may follow
    end: float | None = None


class Utterance:
    """One answer while it is written and spoken.

    Bounds of an answer that is spoken: one, of an answer's maximum length; the next one replaces
    it. The voice synthesises 8 s ahead of playback, then waits.
    """

    def __init__(self, id: str, *, by_page: bool, by_engine: bool = False) -> None:
        self.id = id
        # True: the engine produces the sound, which is not aligned with the text.
        self.by_engine = by_engine
        # Seconds of the engine's sound so far
        self.sounded = 0.0
        # True: the page reads it with the browser's voice, from here on or from the beginning.
        self.by_page = by_page
        # True: all of the answer is written
        self.whole = False
        # Pieces queued for the voice
        self.waiting: list[SpokenPiece] = []
        self._sentences = Sentences()
        self._text: list[str] = []
        # Time ranges of the pieces spoken by the voice
        self.marks: list[PieceTiming] = []
        # The newest piece
        self._last: SpokenPiece | None = None
        # Position in the answer up to which the page has read
        self._read = 0

    def get_text_until(self, piece: SpokenPiece) -> str:
        """Return the answer's last 300 characters up to the end of a piece."""
        return "".join(self._text)[max(0, piece.end - 300) : piece.end]

    def write(self, text: str) -> None:
        self._text.append(text)
        self._take(self._sentences.add(text))

    def finish(self) -> None:
        if not self.whole:
            self.whole = True
            self._take(self._sentences.end())

    def read(self, end: int) -> None:
        """Store the position up to which the page has read the answer."""
        self._read = max(self._read, min(end, self._last.end if self._last is not None else 0))

    @property
    def read_whole(self) -> bool:
        """True if the page has read all of a complete answer."""
        return self.whole and (self._last is None or self._read >= self._last.end)

    def is_behind(self, played: float) -> bool:
        """Return True if written text was not heard yet after `played` seconds of sound."""
        if self.waiting or self._last is None:
            return bool(self.waiting)
        if self.by_page:
            return self._read < self._last.end
        mark = self.marks[-1] if self.marks else None
        if mark is None or mark.piece is not self._last or mark.end is None:
            return True
        return played < mark.end

    def find_piece(self, played: float) -> SpokenPiece | None:
        """Return the piece playing after `played` seconds of sound; None before the first."""
        if self.by_engine:
            heard = len(self._estimate_text_heard(played))
            if not heard:
                return None
            return next((one for one in self.waiting if heard <= one.end), self._last)
        found = None
        for mark in self.marks:
            if mark.begin > played:
                break
            found = mark.piece
        return found

    def get_text_heard(self, played: float) -> str:
        """Return the part of the answer heard after `played` seconds of sound."""
        if self.by_engine:
            return self._estimate_text_heard(played)
        answer = "".join(self._text)
        by_voice = ""
        for mark in self.marks:
            if mark.begin >= played:
                break
            # A piece without a known end lasts at least as long as it has played.
            seconds = (mark.end if mark.end is not None else played + 1) - mark.begin
            share = (played - mark.begin) / seconds if seconds > 0 else 1.0
            by_voice = cut_text(answer, mark.piece, share)
        by_page = answer[: self._read].rstrip()
        return max(by_voice, by_page, key=len)

    def _estimate_text_heard(self, played: float) -> str:
        """Return the part heard of an engine's speech, assuming a constant speed."""
        answer = "".join(self._text)
        if not played or not self.sounded:
            return ""
        # More sound and text may follow.
        least = 0.0 if self.whole else len(answer) / _CHARS_A_SECOND
        share = played / max(self.sounded, least)
        return cut_text(answer, SpokenPiece(answer, 0, len(answer)), share)

    def _take(self, pieces: list[SpokenPiece]) -> None:
        self.waiting += pieces
        if pieces:
            self._last = pieces[-1]


# Join the chunks of a voice without clicks at their borders. Pure. Decoders of speech models produce
# sound in chunks that may not be continuous. A chunk that begins with a step is bent to meet the
# previous one; a continuous one is left unchanged, bit for bit.

# Samples of a bent border (4 ms at 24 kHz), and of the fades at the beginning and end of an utterance
FADE = 96
# A border is a step if it is this many times the largest change of slope around it ...
_STEP = 2.0
# ... and at least this large, of 32,768
_LEAST_STEP = 128
Samples = NDArray[np.int16]


class CrossFade:
    """Joiner of one utterance's chunks. Holds the last `FADE` samples back, to fade them out."""

    def __init__(self) -> None:
        # Samples not returned yet
        self._kept = np.zeros(0, np.int16)
        self._begun = False

    def add(self, samples: Samples) -> Samples:
        """Add a chunk and return what can be played. `samples`: mono, shape (n,)."""
        if not len(samples):
            return samples
        if not self._begun:
            self._begun = True
            samples = _apply_fade_in(samples)
        joined = np.concatenate([self._kept, smooth_border(self._kept, samples)])
        self._kept = joined[-FADE:]
        return joined[:-FADE]

    def end(self) -> Samples:
        """Return the remaining samples, faded out."""
        kept, self._kept = self._kept, np.zeros(0, np.int16)
        return _apply_fade_in(kept[::-1])[::-1]


def smooth_border(before: Samples, after: Samples) -> Samples:
    """Return `after`, adjusted at its beginning to continue `before` if there is a step between them."""
    if len(before) < 3 or len(after) < 3:
        return after
    last, head = before[-FADE:].astype(np.float32), after[:FADE].astype(np.float32)
    # Difference to a linear extrapolation of `before`
    step = float(head[0] - (2 * last[-1] - last[-2]))
    usual = max(float(np.abs(np.diff(side, 2)).max()) for side in (last, head))
    if abs(step) < max(_LEAST_STEP, _STEP * usual):
        return after
    result = after.copy()
    result[: len(head)] = _to_int16(head - step * (1 - _make_fade_weights(len(head))))
    return result


def _apply_fade_in(samples: Samples) -> Samples:
    count = min(len(samples), FADE)
    result = samples.copy()
    result[:count] = _to_int16(samples[:count] * _make_fade_weights(count))
    return result


def _make_fade_weights(count: int) -> NDArray[np.float32]:
    """Return weights from 0 to 1: half a cosine wave, which is smooth at both ends."""
    wave = np.cos(np.linspace(0, np.pi, count, dtype=np.float32))
    return ((1 - wave) / 2).astype(np.float32)


def _to_int16(samples: NDArray[np.float32]) -> Samples:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
