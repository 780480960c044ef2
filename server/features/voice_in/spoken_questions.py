"""Spoken questions of one person: recognise the turns, and submit their words as questions."""

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
from server.features.voice_in.recogniser import SpeechRecogniser, Transcription, WordTime
from server.features.voice_in.turns import MOST_TURN_SECONDS, TurnBegan, TurnEnded
from server.media.camera import QuestionTime
from server.models.routing import is_stop, parse_command
from server.session.part import SessionContext
from server.session.request.parts import Spoken
from server.shared.speech import SpeechFailed, SpeechTimeout, SpeechUnavailable

log = logging.getLogger(__name__)
# Maximum time from the end of a turn to its words, seconds
WORDS_SECONDS = 30.0
# Shown on the page for a question that was not recognised
SPOKEN_QUESTION = "(spoken question)"


class SpokenQuestions:
    """Owner of one person's current and previous turn. Call all methods on the event loop."""

    def __init__(
        self,
        context: SessionContext,
        ring: SoundRing,
        recogniser: SpeechRecogniser,
        *,
        on_change: Callable[[], None],
    ) -> None:
        """`ring`: the microphone's recent sound. `on_change`: called when a turn's recognition has ended."""
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
        # The current turn; None between turns
        self.turn: SpokenTurn | None = None
        # The previous turn, while it is being recognised; else None
        self.previous_turn: SpokenTurn | None = None

    def forget(self) -> None:
        """Drop both turns and cancel their tasks."""
        self.drop()
        self.cancel_previous_turn()

    def cancel_previous_turn(self) -> None:
        """Cancel the recognition of the previous turn."""
        if self.previous_turn is not None:
            self._forget(self.previous_turn)
            self.previous_turn = None

    def begin(self, began: TurnBegan, *, over_answer: bool = False) -> None:
        """Begin a turn and its recognition. `over_answer`: an answer is playing."""
        self._context.touch()
        self._camera.wake()
        self._context.expect(None)
        turn = self.turn = SpokenTurn(began.since, over_answer=over_answer)
        if (before := self._ring.slice(began.since, self._ring.end)) is not None:
            turn.add(before)
        turn.add_frame(self._camera.newest)
        if self._recogniser.ready:
            turn.task = self.tasks.spawn(self._recognise(turn), name="recognise")

    def pause(self, at: float) -> None:
        """Take the question's frame: the first one after `at`, the end of speech in monotonic seconds."""
        if self.turn is not None:
            self.turn.after = self.tasks.spawn(self._wait_frame_after(at), name="frame")

    async def _wait_frame_after(self, at: float) -> Frame | None:
        """Return the first frame captured after `at`, monotonic seconds; None if none arrives."""
        asked = QuestionTime(at=at, wall=time.time() - (time.monotonic() - at), sent=None)
        try:
            frame = await self._camera.wait_for_frame(asked)
        except CameraError:
            # The question itself reports the error.
            return None
        self._context.expect(frame)
        return frame

    def resume(self) -> None:
        """Discard the frame of a pause: the person continues speaking."""
        if self.turn is not None:
            self.turn.forget_pause()

    def drop(self) -> None:
        """Drop the current turn: it was not a question."""
        if self.turn is not None:
            self._forget(self.turn)
            self.turn = None

    def _forget(self, turn: SpokenTurn, *, replaced: bool = False) -> None:
        """Drop a turn, and clear its words at the client. `replaced`: another question replaces it."""
        turn.close()
        if turn.worded or replaced:
            self._send_no_words(turn, "replaced" if replaced else None)

    def _send_no_words(
        self, turn: SpokenTurn, lost: Literal["replaced", "unclear"] | None = None
    ) -> None:
        """Send the client an empty final transcript of a turn."""
        self._outbox.put(wire.Transcript(id=turn.id, text="", final=True, lost=lost))

    def end(self, ended: TurnEnded) -> None:
        """Ask the spoken question."""
        turn = self.turn
        if turn is None:
            return
        self.turn = None
        turn.doubtful = ended.unsure and turn.over_answer
        turn.little = ended.little
        turn.whole = self._ring.slice(ended.since, ended.until)
        if turn.after is None:
            turn.after = self.tasks.spawn(self._wait_frame_after(ended.said), name="frame")
        turn.finish()
        if turn.task is None and turn.doubtful:
            # An engine with `audio_in` would answer it as a question.
            self._forget(turn)
            return
        if turn.task is None:
            if not self._context.services.current_engine().status.capabilities.audio_in:
                self._on_failed(
                    turn,
                    SpeechUnavailable("No recogniser is available, and the engine takes no sound."),
                )
                return
            turn.task = self.tasks.spawn(self._ask_by_sound(turn), name="ask")
        if not turn.task.done():
            if self.previous_turn is not None:
                # A new question replaces the previous one.
                self._forget(self.previous_turn, replaced=True)
            self.previous_turn = turn

    # Words

    def recognise(self, sound: AsyncIterator[Sound]) -> AsyncGenerator[Transcription, None]:
        """Recognise sound in the language set by the client; see `SpeechRecogniser.recognise`.

        Raises NotConfirmed before sound is sent to a machine without consent; SpeechError.
        """
        self.consent.check()
        language = self._context.requests.preferences.language or None
        return self._recogniser.recognise(sound, language=language)

    async def _recognise(self, turn: SpokenTurn) -> None:
        try:
            words = await self._send_words(turn)
            if text := words.text.strip():
                await self._ask(turn, text, find_pointing_word(words.times))
        except QwenCameraError as error:
            self._on_failed(turn, error)
        except Exception as exc:  # noqa: BLE001
            # The text of the exception may hold spoken words.
            log.error("speech recognition failed", extra={"error": type(exc).__name__})
            self._on_failed(turn, SpeechFailed("The recogniser failed with an internal error."))
        finally:
            self._end_recognition(turn)

    def _end_recognition(self, turn: SpokenTurn) -> None:
        """Record that the recognition of a turn has ended."""
        if self.previous_turn is turn:
            self.previous_turn = None
            self._on_change()

    async def _send_words(self, turn: SpokenTurn) -> Transcription:
        """Send the words to the client as they arrive; return the final ones. Raises SpeechError."""
        words = Transcription("", final=True)
        # Recognition takes as long as the speech, and some time after it.
        try:
            async with asyncio.timeout(MOST_TURN_SECONDS + WORDS_SECONDS):
                async with aclosing(self.recognise(turn.stream_sound())) as stream:
                    async for words in stream:
                        if not words.final:
                            turn.worded = True
                            self._outbox.put(
                                wire.Transcript(id=turn.id, text=words.text, final=False)
                            )
        except TimeoutError:
            raise SpeechTimeout("The recogniser did not finish in time.") from None
        text = words.text.strip()
        turn.worded = bool(text)
        if text:
            self._outbox.put(wire.Transcript(id=turn.id, text=text, final=True))
        else:
            self._send_no_words(turn, "unclear")
        return words

    async def _ask_by_sound(self, turn: SpokenTurn) -> None:
        """Submit the sound itself to an engine with `audio_in`, without recognition."""
        turn.worded = True
        self._outbox.put(wire.Transcript(id=turn.id, text=SPOKEN_QUESTION, final=True))
        try:
            await self._ask(turn, "", None)
        finally:
            self._end_recognition(turn)

    async def _ask(self, turn: SpokenTurn, text: str, pointing: PointingWord | None) -> None:
        # A recogniser may finish before the turn ends, when the frame is not known yet.
        await turn.over.wait()
        invented = turn.little and is_invented(text)
        if invented or (turn.doubtful and not (is_stop(text) or parse_command(text))):
            self._send_no_words(turn, "unclear" if invented else None)
            return
        frame = turn.find_nearest(turn.captured + pointing.at) if pointing is not None else None
        if frame is None and turn.after is not None:
            # None: the question waits for a frame itself, and reports if none arrives.
            frame = await turn.after
        self._context.touch()
        # From here on the question reports its own end to the client.
        turn.worded = False
        word = pointing.word if pointing is not None and frame is not None else None
        spoken = Spoken(frame=frame, sound=turn.whole, word=word)
        self._context.ask(wire.Chat(type="chat", content=text, id=turn.id), spoken)

    def _on_failed(self, turn: SpokenTurn, error: QwenCameraError) -> None:
        turn.forget_pause()
        self._send_no_words(turn)
        self._context.send_error(error, turn.id)
        if self.turn is turn:
            # The person still speaks: the rest becomes another turn.
            self.turn = None


# Pieces of sound queued for the recogniser: a turn of 30 s with its pre-roll
_MOST_PIECES = 2000
# Frames of one turn: minimum distance, maximum count, and maximum bytes (as 4:2:0)
_EVERY_SECONDS = 0.25
_MOST_FRAMES = 8
_MOST_FRAME_BYTES = 24 * 1024 * 1024


class SpokenTurn:
    """Owner of the sound and the frames of one turn. `stream_sound` has one reader.

    Bounds of a spoken turn: 2,000 pieces of sound wait for the recogniser, and further ones are dropped and
    counted; at most 8 frames of together 24 MiB are kept, fewer of older ones. A new turn replaces the previous one.
    """

    def __init__(self, since: float, *, over_answer: bool = False) -> None:
        """`since`: beginning of its sound, monotonic seconds. `over_answer`: an answer was playing."""
        # Id of the resulting question
        self.id = f"v{secrets.token_hex(6)}"
        self.over_answer = over_answer
        # True if it may be somebody else's: then only commands count.
        self.doubtful = False
        # True for less than 1 s of speech, for which some recognisers invent words
        self.little = False
        # Capture time of the first sound, monotonic seconds
        self.captured = since
        # Task with the frame after the last word; None before a pause
        self.after: asyncio.Task[Frame | None] | None = None
        # Task that recognises and asks; None before it starts
        self.task: asyncio.Task[None] | None = None
        # The whole sound, after the turn's end
        self.whole: Sound | None = None
        self.dropped = 0
        # True if the client has received words of this turn
        self.worded = False
        self._pieces: asyncio.Queue[Sound | None] = asyncio.Queue(_MOST_PIECES)
        # Set when no more sound follows
        self.over = asyncio.Event()
        self._begun = False
        self.frames: deque[Frame] = deque()

    def add(self, sound: Sound) -> None:
        """Queue the next piece for the recogniser; drop and count it if the queue is full."""
        if self.over.is_set():
            return
        if not self._begun:
            self._begun, self.captured = True, sound.captured
        # The last place is reserved for the end mark.
        if self._pieces.qsize() >= _MOST_PIECES - 1:
            self.dropped += 1
            return
        self._pieces.put_nowait(sound)

    def finish(self) -> None:
        """End the sound."""
        if not self.over.is_set():
            self.over.set()
            self._pieces.put_nowait(None)

    async def stream_sound(self) -> AsyncIterator[Sound]:
        """Yield the pieces as they arrive, until `finish`."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def add_frame(self, frame: Frame | None) -> None:
        """Keep the camera's newest frame if the last kept one is old enough."""
        if frame is None:
            return
        if self.frames and frame.captured < self.frames[-1].captured + _EVERY_SECONDS:
            return
        self.frames.append(frame)
        size = frame.width * frame.height * 3 // 2
        most = max(2, min(_MOST_FRAMES, _MOST_FRAME_BYTES // max(1, size)))
        if len(self.frames) > most:
            # Remove one of the two closest in time, the oldest such pair: thinner with age.
            times = [one.captured for one in self.frames]
            gaps = [later - earlier for earlier, later in zip(times, times[2:], strict=False)]
            del self.frames[1 + gaps.index(min(gaps))]

    def find_nearest(self, at: float) -> Frame | None:
        """Return the frame captured nearest to `at`, monotonic seconds; None without frames."""
        return min(self.frames, key=lambda one: abs(one.captured - at), default=None)

    def close(self) -> None:
        """Discard sound and frames, and cancel the turn's tasks."""
        self.finish()
        self.forget_pause()
        if self.task is not None:
            self.task.cancel()
        self.whole = None
        self.frames.clear()

    def forget_pause(self) -> None:
        """Discard the frame after the last word: the person continues speaking."""
        if self.after is not None:
            self.after.cancel()
            self.after = None


# Demonstrative words that point at something in front of the camera: "this", "hier". Pure.

# By language, in lower case; the last one in a question counts.
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
class PointingWord:
    """A demonstrative word and its time in the sound."""

    word: str
    # Seconds from the beginning of the sound
    at: float


def find_pointing_word(words: Sequence[WordTime]) -> PointingWord | None:
    """Return the last demonstrative word, with the time of its middle; None if there is none."""
    for one in reversed(words):
        bare = _EDGES.sub("", one.word)
        # A contraction: "that's", "c'est ça"
        parts = re.split(r"['’-]", bare.casefold())
        if any(part in _ALL for part in parts):
            return PointingWord(bare, (one.begin + one.end) / 2)
    return None


# Texts that Whisper and similar models produce for noise, from the subtitles in their training data. Pure.

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


def _to_plain_text(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


_ALL_INVENTED = frozenset(
    _to_plain_text(one) for line in _INVENTED.values() for one in line.split("/")
)


def is_invented(text: str) -> bool:
    """Return True if a text consists only of what recognisers produce for noise, once or repeated."""
    pieces = (one for one in _SENTENCE_END.split(text) if one.strip())
    return bool(text) and all(_to_plain_text(one) in _ALL_INVENTED for one in pieces)


# A piece that begins this much earlier or later than the end of the previous one does not continue it;
# smaller differences are clock drift.
_GAP_SECONDS = 0.25


class SoundRing:
    """Ring buffer of the newest `seconds` of sound; 32 kB per second.

    Memory is allocated with the first sound and freed by `clear`.

    Bounds of a microphone's last sound: 30.3 s, 970 kB; the oldest is overwritten; freed while
    the microphone is off.
    """

    def __init__(self, seconds: float) -> None:
        self._most = round(seconds * SOUND_RATE)
        self._samples: np.ndarray[tuple[int], np.dtype[np.int16]] | None = None
        # Position after the newest sample, and number of samples stored
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
        """Time after the newest sample, monotonic seconds; 0 if there is none."""
        return self._end

    def add(self, sound: Sound) -> None:
        """Append a piece of sound. Fill a gap before the piece with silence.

        If the piece begins before the end of the stored sound, discard that sound.
        """
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
        """Return a copy of the stored sound between two times (monotonic seconds); None if there is none."""
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
        """Discard the sound and free its memory."""
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
