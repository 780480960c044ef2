"""Make questions of what one person says: turns to words, words to questions."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import numpy as np

from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import CameraError, QwenCameraError
from server.core.frames import Frame
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.recogniser import Recogniser, Words, WordTime
from server.features.voice_in.turns import MOST_TURN_SECONDS, Began, Ended
from server.media.camera import QuestionTime
from server.models.routing import is_stop, parse_command
from server.session.part import SessionContext
from server.session.request.parts import Spoken
from server.shared.speech import SpeechFailed, SpeechTimeout, SpeechUnavailable

log = logging.getLogger(__name__)
# After the end of a turn its words come within this time.
WORDS_SECONDS = 30.0
# Stands on the page for a question that nobody made words of
SPOKEN_QUESTION = "(spoken question)"


class SpokenQuestions:
    """Owns one person's turns: that of now, and the one before it. Called on the event loop."""

    def __init__(
        self,
        context: SessionContext,
        ring: SoundRing,
        recogniser: Recogniser,
        *,
        on_change: Callable[[], None],
    ) -> None:
        """`ring`: the sound of which turns are made. `on_change`: called at the end of a turn's words."""
        self._context = context
        self._ring = ring
        self._camera = context.camera
        self._outbox = context.outbox
        self._on_change = on_change
        self._recogniser = recogniser
        self.consent = context.requests.consent.purpose(
            "voice_in", "Sound", lambda: recogniser.elsewhere
        )
        self.tasks = TaskSet("spoken-questions")
        # The turn that is spoken now; None between turns
        self.turn: SpokenTurn | None = None
        # The turn before it, whose words are on their way; None without one
        self.before: SpokenTurn | None = None

    def forget(self) -> None:
        """Drop both turns, with their tasks."""
        self.drop()
        self.forget_before()

    def forget_before(self) -> None:
        """Give up the words of the turn before."""
        if self.before is not None:
            self._forget(self.before)
            self.before = None

    def begin(self, began: Began, *, over_answer: bool = False) -> None:
        """Begin a turn, and let the recogniser hear it. `over_answer`: while an answer is heard."""
        self._context.touch()
        self._camera.wake()
        self._context.expect(None)
        turn = self.turn = SpokenTurn(began.since, over_answer=over_answer)
        if (before := self._ring.slice(began.since, self._ring.end)) is not None:
            turn.add(before)
        turn.show(self._camera.newest)
        if self._recogniser.ready:
            turn.task = self.tasks.spawn(self._recognise(turn), name="recognise")

    def pause(self, at: float) -> None:
        """Take the frame of the words."""
        if self.turn is not None:
            self.turn.after = self.tasks.spawn(self._frame_after(at), name="frame")

    async def _frame_after(self, at: float) -> Frame | None:
        """Return the first frame captured after a time; None when none comes."""
        asked = QuestionTime(at=at, wall=time.time() - (time.monotonic() - at), sent=None)
        try:
            frame = await self._camera.frame_after(asked)
        except CameraError:
            # The question itself reports what is wrong.
            return None
        self._context.expect(frame)
        return frame

    def resume(self) -> None:
        """The person goes on: the question is not asked yet."""
        if self.turn is not None:
            self.turn.forget_pause()

    def drop(self) -> None:
        """Drop the turn of now: it was none."""
        if self.turn is not None:
            self._forget(self.turn)
            self.turn = None

    def _forget(self, turn: SpokenTurn, *, replaced: bool = False) -> None:
        """Drop a turn, and the words of it that the client may have. `replaced`: it was a question."""
        turn.close()
        if turn.worded or replaced:
            self._no_words(turn, "replaced" if replaced else None)

    def _no_words(
        self, turn: SpokenTurn, lost: Literal["replaced", "unclear"] | None = None
    ) -> None:
        """Tell the client that a turn has no words, or none that count."""
        self._outbox.put(wire.Transcript(id=turn.id, text="", final=True, lost=lost))

    def end(self, ended: Ended) -> None:
        """Ask the spoken question."""
        turn = self.turn
        if turn is None:
            return
        self.turn = None
        turn.doubtful = ended.unsure and turn.over_answer
        turn.little = ended.little
        turn.whole = self._ring.slice(ended.since, ended.until)
        if turn.after is None:
            turn.after = self.tasks.spawn(self._frame_after(ended.said), name="frame")
        turn.finish()
        if turn.task is None and turn.doubtful:
            # An engine that hears would take it for a question.
            self._forget(turn)
            return
        if turn.task is None:
            if not self._context.services.current_engine().status.capabilities.audio_in:
                self._failed(turn, SpeechUnavailable("No recogniser answers, and no engine hears."))
                return
            turn.task = self.tasks.spawn(self._ask_by_sound(turn), name="ask")
        if not turn.task.done():
            if self.before is not None:
                # As a question replaces the one before
                self._forget(self.before, replaced=True)
            self.before = turn

    # Words

    def words(self, sound: AsyncIterator[Sound]) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`; in the language that the client has set.

        Raises NotConfirmed before any sound is sent to a machine without consent, and SpeechError.
        """
        self.consent.check()
        language = self._context.requests.preferences.language or None
        return self._recogniser.recognise(sound, language=language)

    async def _recognise(self, turn: SpokenTurn) -> None:
        try:
            words = await self._words(turn)
            if text := words.text.strip():
                await self._ask(turn, text, find_pointing(words.times))
        except QwenCameraError as error:
            self._failed(turn, error)
        except Exception as exc:  # noqa: BLE001
            # The text of the exception may hold spoken words.
            log.error("recognising failed", extra={"error": type(exc).__name__})
            self._failed(turn, SpeechFailed("A recogniser failed with an error of its own."))
        finally:
            self._asked(turn)

    def _asked(self, turn: SpokenTurn) -> None:
        """Note that no more words of a turn come."""
        if self.before is turn:
            self.before = None
            self._on_change()

    async def _words(self, turn: SpokenTurn) -> Words:
        """Send the words as they come, and return the last. Raises SpeechError."""
        words = Words("", final=True)
        # Recognising takes as long as speaking does, and then some.
        try:
            async with asyncio.timeout(MOST_TURN_SECONDS + WORDS_SECONDS):
                async with aclosing(self.words(turn.sound())) as stream:
                    async for words in stream:
                        if not words.final:
                            turn.worded = True
                            self._outbox.put(
                                wire.Transcript(id=turn.id, text=words.text, final=False)
                            )
        except TimeoutError:
            raise SpeechTimeout("The recogniser did not end its words in time.") from None
        text = words.text.strip()
        turn.worded = bool(text)
        if text:
            self._outbox.put(wire.Transcript(id=turn.id, text=text, final=True))
        else:
            self._no_words(turn, "unclear")
        return words

    async def _ask_by_sound(self, turn: SpokenTurn) -> None:
        """Ask an engine that hears; nobody makes words of it."""
        turn.worded = True
        self._outbox.put(wire.Transcript(id=turn.id, text=SPOKEN_QUESTION, final=True))
        try:
            await self._ask(turn, "", None)
        finally:
            self._asked(turn)

    async def _ask(self, turn: SpokenTurn, text: str, pointing: Pointing | None) -> None:
        # A recogniser may have its words before the person has ended; the frame is not known then.
        await turn.over.wait()
        invented = turn.little and is_invented(text)
        if invented or (turn.doubtful and not (is_stop(text) or parse_command(text))):
            self._no_words(turn, "unclear" if invented else None)
            return
        frame = turn.nearest(turn.captured + pointing.at) if pointing is not None else None
        if frame is None and turn.after is not None:
            # None: the question waits for one itself, and says why not.
            frame = await turn.after
        self._context.touch()
        # From here on its end comes from the question.
        turn.worded = False
        word = pointing.word if pointing is not None and frame is not None else None
        spoken = Spoken(frame=frame, sound=turn.whole, word=word)
        self._context.ask(wire.Chat(type="chat", content=text, id=turn.id), spoken)

    def _failed(self, turn: SpokenTurn, error: QwenCameraError) -> None:
        turn.forget_pause()
        self._no_words(turn)
        self._context.send_error(error, turn.id)
        if self.turn is turn:
            # It failed while the person still speaks: the rest becomes another turn.
            self.turn = None


# Pieces of sound that wait for the recogniser: those of a turn of 30 s, and what comes before it
_MOST_PIECES = 2000
# Frames of one turn: so far apart, so many, and so many bytes of them (as 4:2:0)
_EVERY_SECONDS = 0.25
_MOST_FRAMES = 8
_MOST_FRAME_BYTES = 24 * 1024 * 1024


class SpokenTurn:
    """Owns the sound and the frames of one turn. `sound` has one reader.

    Bounds of a spoken turn: sound for the recogniser, frames of its time: 2,000 pieces, more are
    dropped and counted; 8 frames and 24 MiB, thinned with age. The next one replaces the one
    before.
    """

    def __init__(self, since: float, *, over_answer: bool = False) -> None:
        """`since`: the beginning of its sound, monotonic seconds. `over_answer`: an answer was heard then."""
        # That of the question which becomes of it
        self.id = f"v{secrets.token_hex(6)}"
        self.over_answer = over_answer
        # It may be somebody else's in the room: only words that are meant for us count.
        self.doubtful = False
        # With so little speech some recognisers invent words.
        self.little = False
        # The beginning of the sound that was really there
        self.captured = since
        # The frame after the last word, while one is waited for or there; None before a pause
        self.after: asyncio.Task[Frame | None] | None = None
        # Recognises and asks; None before
        self.task: asyncio.Task[None] | None = None
        # Set when it has ended
        self.whole: Sound | None = None
        self.dropped = 0
        # The client has words of it.
        self.worded = False
        self._pieces: asyncio.Queue[Sound | None] = asyncio.Queue(_MOST_PIECES)
        # No more sound follows.
        self.over = asyncio.Event()
        self._begun = False
        self.frames: deque[Frame] = deque()

    def add(self, sound: Sound) -> None:
        """Give the recogniser the next piece; one that does not fit is dropped and counted."""
        if self.over.is_set():
            return
        if not self._begun:
            self._begun, self.captured = True, sound.captured
        # The last place is kept for the end.
        if self._pieces.qsize() >= _MOST_PIECES - 1:
            self.dropped += 1
            return
        self._pieces.put_nowait(sound)

    def finish(self) -> None:
        """Note that no more sound follows."""
        if not self.over.is_set():
            self.over.set()
            self._pieces.put_nowait(None)

    async def sound(self) -> AsyncIterator[Sound]:
        """The pieces as they come, until `finish`."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def show(self, frame: Frame | None) -> None:
        """Note the newest frame of the camera; it is kept when the last one is old enough."""
        if frame is None:
            return
        if self.frames and frame.captured < self.frames[-1].captured + _EVERY_SECONDS:
            return
        self.frames.append(frame)
        size = frame.width * frame.height * 3 // 2
        most = max(2, min(_MOST_FRAMES, _MOST_FRAME_BYTES // max(1, size)))
        if len(self.frames) > most:
            # The oldest neighbours that are closest to each other lose one: thinner with age
            times = [one.captured for one in self.frames]
            gaps = [later - earlier for earlier, later in zip(times, times[2:], strict=False)]
            del self.frames[1 + gaps.index(min(gaps))]

    def nearest(self, at: float) -> Frame | None:
        """Return the frame captured nearest to a time, monotonic seconds."""
        return min(self.frames, key=lambda one: abs(one.captured - at), default=None)

    def close(self) -> None:
        """Forget sound and frames, and stop what works on them."""
        self.finish()
        self.forget_pause()
        if self.task is not None:
            self.task.cancel()
        self.whole = None
        self.frames.clear()

    def forget_pause(self) -> None:
        """The person goes on: the frame after the last word is another one."""
        if self.after is not None:
            self.after.cancel()
            self.after = None


# The words of a question that point at what is in front of the camera: "this", "hier". Pure.

# By language, as a recogniser writes them in small letters; the last one in a question counts.
_WORDS = {
    "en": "this that these those here there",
    "de": "das dies diese dieser dieses diesen diesem hier da dort",
    "fr": "ça ceci cela celui celle ceux celles ici là",
    "es": "esto eso aquello este esta estos estas ese esa esos esas aquí ahí allí",
    "it": "questo questa questi queste quello quella quelli quelle qui qua lì là",
    "pt": "isto isso aquilo este esta estes estas esse essa esses essas aqui aí ali",
    "ru": "это этот эта эти тут здесь там",
    "zh": "这 那 这个 那个 这里 那里",
}
_ALL = frozenset(" ".join(_WORDS.values()).split())
_EDGES = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class Pointing:
    """A word that points, and its time in the sound."""

    word: str
    # Seconds from the sound's beginning
    at: float


def find_pointing(words: Sequence[WordTime]) -> Pointing | None:
    """Return the last word that points, at its middle; None without one."""
    for one in reversed(words):
        bare = _EDGES.sub("", one.word)
        # A contraction: "that's", "c'est ça"
        parts = re.split(r"['’-]", bare.casefold())
        if any(part in _ALL for part in parts):
            return Pointing(bare, (one.begin + one.end) / 2)
    return None


# Whole texts that Whisper and its like write after noise, as in the subtitles that they learnt from. Pure.

# By language, without punctuation
_INVENTED = {
    "ar": "شكرا / اشتركوا في القناة / ترجمة نانسي قنقر",
    "de": "vielen dank / vielen dank fürs zuschauen / untertitel der amara org community"
    " / untertitel im auftrag des zdf für funk 2017",
    "en": "you / thank you / thank you very much / thanks for watching / thank you for watching"
    " / please subscribe / subtitles by the amara org community",
    "es": "gracias / gracias por ver el video / subtítulos realizados por la comunidad de amara org",
    "fr": "merci / merci d'avoir regardé cette vidéo / sous-titres réalisés par la communauté d'amara org"
    " / sous-titrage société radio-canada / sous-titrage st' 501",
    "it": "grazie / sottotitoli creati dalla comunità amara org / sottotitoli e revisione a cura di qtss",
    "ja": "ありがとうございました / ご視聴ありがとうございました",
    "ko": "감사합니다 / 시청해주셔서 감사합니다",
    "nl": "bedankt voor het kijken / ondertitels ingediend door de amara org gemeenschap",
    "pl": "dziękuję / dziękuję za oglądanie / napisy stworzone przez społeczność amara org",
    "pt": "obrigado / obrigado por assistir / legendas pela comunidade amara org",
    "ru": "спасибо / спасибо за просмотр / продолжение следует / субтитры сделал dimatorzok",
    "tr": "teşekkürler / izlediğiniz için teşekkür ederim / altyazı m k",
    "uk": "дякую / дякую за перегляд",
    "zh": "谢谢 / 谢谢观看 / 谢谢大家 / 字幕由 amara org 社区提供",
}
_SENTENCE_END = re.compile(r"[.!?…](?:\s|$)|[。！？]")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


_ALL_INVENTED = frozenset(_plain(one) for line in _INVENTED.values() for one in line.split("/"))


def is_invented(text: str) -> bool:
    """Return True if a text is nothing but what recognisers write after noise, once or several times."""
    pieces = (one for one in _SENTENCE_END.split(text) if one.strip())
    return bool(text) and all(_plain(one) in _ALL_INVENTED for one in pieces)


# A piece that begins this much earlier or later than the end of the one before belongs to another
# stretch of sound; less is the clocks' drift.
_GAP_SECONDS = 0.25


class SoundRing:
    """Keeps the newest `seconds` of sound; the oldest is overwritten. 32 kB a second.

    Memory is taken with the first sound, and given back by `clear`.

    Bounds of a microphone's last sound: 30.3 s, 970 kB; the oldest is overwritten; freed while
    the microphone is off.
    """

    def __init__(self, seconds: float) -> None:
        self._most = round(seconds * SOUND_RATE)
        self._samples: np.ndarray[tuple[int], np.dtype[np.int16]] | None = None
        # The position after the newest sample, and the number of samples that are there
        self._at = self._count = 0
        # Time after the newest sample, monotonic seconds
        self._end = 0.0

    @property
    def seconds(self) -> float:
        return self._count / SOUND_RATE

    @property
    def bytes(self) -> int:
        return 0 if self._samples is None else self._samples.nbytes

    @property
    def end(self) -> float:
        """The time after the newest sample, monotonic seconds; 0 without any."""
        return self._end

    def add(self, sound: Sound) -> None:
        """Append a piece. Silence fills a gap before it; a piece from before the end restarts the ring."""
        if not len(sound.samples):
            return
        if self._samples is None:
            self._samples = np.zeros(self._most, np.int16)
        gap = sound.captured - self._end if self._count else 0.0
        if gap < -_GAP_SECONDS or gap * SOUND_RATE >= self._most:
            self._count = 0
        elif gap > _GAP_SECONDS:
            self._append(np.zeros(round(gap * SOUND_RATE), np.int16))
        self._append(sound.samples)
        self._end = sound.end

    def slice(self, since: float, until: float) -> Sound | None:
        """Return a copy of the sound between two times, as far as it is there; None for nothing."""
        if self._samples is None or not self._count:
            return None
        first = self._end - self.seconds
        begin = max(0, round((since - first) * SOUND_RATE))
        end = min(self._count, round((until - first) * SOUND_RATE))
        if begin >= end:
            return None
        where = (self._at - self._count + np.arange(begin, end)) % self._most
        return Sound(self._samples[where], first + begin / SOUND_RATE)

    def clear(self) -> None:
        """Forget the sound and free its memory."""
        self._samples = None
        self._at = self._count = 0
        self._end = 0.0

    def _append(self, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> None:
        assert self._samples is not None
        samples = samples[-self._most :]
        first = min(len(samples), self._most - self._at)
        self._samples[self._at : self._at + first] = samples[:first]
        self._samples[: len(samples) - first] = samples[first:]
        self._at = (self._at + len(samples)) % self._most
        self._count = min(self._most, self._count + len(samples))
